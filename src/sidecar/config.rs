//! What a sidecar is started with, and what its workers share of it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crate::access_log::{Format, Target};
use crate::mesh;
use crate::tls::MutualTls;

/// One sidecar.
#[derive(Debug, Clone)]
pub struct Config {
    /// Which side of the pair, configured by the documents.
    pub direction: Direction,
    /// Where it accepts connections; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// Where the one upstream host is: the other sidecar, or the application.
    pub endpoint: SocketAddr,
    /// Worker threads, each with a listener socket, a runtime and upstream connections of its own (Envoy's
    /// `--concurrency`).
    pub concurrency: usize,
    /// Where the access log goes.
    pub access_log: Target,
    /// How its lines look.
    pub access_log_format: Format,
    /// Mutual TLS on the hop between the sidecars; `None` is plaintext.
    pub mutual_tls: Option<MutualTls>,
    /// How long a graceful drain takes before the listener closes (Envoy's `--drain-time-s`).
    pub drain_time: Duration,
}

/// Which side of the pair.
#[derive(Debug, Clone)]
pub enum Direction {
    /// The client's sidecar.
    Outbound {
        /// What the documents say.
        mesh: mesh::Outbound,
        /// The original destination that `PassthroughCluster` stands for.
        passthrough: Option<SocketAddr>,
    },
    /// The server's sidecar.
    Inbound {
        /// What the documents say.
        mesh: mesh::Inbound,
        /// The source address towards the application; Istio's is 127.0.0.6.
        bind_source: Option<IpAddr>,
    },
}

/// What all workers share: the direction does not matter any more.
#[derive(Debug)]
pub(super) struct Proxy {
    pub(super) connection_manager: mesh::HttpConnectionManager,
    pub(super) virtual_hosts: Arc<[mesh::VirtualHost]>,
    pub(super) endpoint: SocketAddr,
    pub(super) passthrough: Option<SocketAddr>,
    pub(super) bind_source: Option<IpAddr>,
    /// The listener takes TLS alone.
    pub(super) downstream_tls: Option<MutualTls>,
    /// For clusters that have a server name.
    pub(super) upstream_tls: Option<MutualTls>,
}

impl Proxy {
    pub(super) fn new(direction: Direction, endpoint: SocketAddr, mutual_tls: Option<MutualTls>) -> Self {
        match direction {
            Direction::Outbound { mesh, passthrough } => Self {
                connection_manager: mesh.connection_manager,
                virtual_hosts: mesh.virtual_hosts.into(),
                endpoint,
                passthrough,
                bind_source: None,
                downstream_tls: None,
                upstream_tls: mutual_tls,
            },
            Direction::Inbound { mesh, bind_source } => Self {
                connection_manager: mesh.connection_manager,
                virtual_hosts: Arc::from([mesh.virtual_host]),
                endpoint,
                passthrough: None,
                bind_source: bind_source.filter(|source| can_bind(*source)),
                downstream_tls: mutual_tls,
                upstream_tls: None,
            },
        }
    }
}

/// Where the source address cannot be bound (other systems than Linux have no 127.0.0.6), the system's choice has to do.
fn can_bind(source: IpAddr) -> bool {
    match std::net::TcpListener::bind((source, 0)) {
        Ok(_) => true,
        Err(error) => {
            tracing::warn!("{source} cannot be bound ({error}): the system chooses the source address");
            false
        }
    }
}
