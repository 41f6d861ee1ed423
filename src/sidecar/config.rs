//! The configuration of a sidecar, and the part of it that all workers share.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::drain_manager::DrainManager;
use super::overload::MAX_BUFFERED_BYTES;
use crate::access_log::{Format, Target};
use crate::mesh;
use crate::tls::MutualTls;

/// One sidecar.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Config {
    /// Which side of the pair, configured by the documents.
    pub direction: Direction,
    /// Where it accepts connections; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// Where the one upstream host is: the other sidecar, or the application.
    pub endpoint: SocketAddr,
    /// Worker threads, each with a listener socket, a runtime and upstream connections of its own
    /// (Envoy's `--concurrency`).
    pub concurrency: usize,
    /// Where the access log goes.
    pub access_log: Target,
    /// How its lines look.
    pub access_log_format: Format,
    /// Mutual TLS on the hop between the sidecars; `None` is plaintext.
    #[serde(skip)]
    pub mutual_tls: Option<MutualTls>,
    /// Where the admin port is, if there is one.
    pub admin: Option<SocketAddr>,
    /// How many bytes all streams together may hold in memory for peers that do not take them,
    /// before those that hold most are reset; each worker has its share.
    /// [`super::MAX_BUFFERED_BYTES`] unless there is a reason.
    pub max_buffered_bytes: usize,
    /// How long a graceful drain takes before the listener closes (Envoy's `--drain-time-s`).
    pub drain_time: Duration,
}

/// Which side of the pair.
#[derive(Debug, Clone, Serialize, Deserialize)]
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
        /// An extended CONNECT without `sec-websocket-key` gets one of the sidecar's own towards
        /// the application.
        mint_websocket_key: bool,
    },
}

impl Direction {
    /// `outbound` or `inbound`, as in names.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Outbound { .. } => "outbound",
            Self::Inbound { .. } => "inbound",
        }
    }
}

impl Config {
    /// The connection manager's name in statistics, as Istio gives it: `outbound_0.0.0.0_8080;`,
    /// `inbound_0.0.0.0_80;`. The port is the one in its clusters' names, `outbound|8080||HOST`:
    /// that of the Service, or the pod's.
    pub(super) fn stat_prefix(&self) -> String {
        let virtual_hosts = match &self.direction {
            Direction::Outbound { mesh, .. } => &mesh.virtual_hosts[..],
            Direction::Inbound { mesh, .. } => std::slice::from_ref(&mesh.virtual_host),
        };
        let port = virtual_hosts
            .iter()
            .flat_map(|virtual_host| &virtual_host.routes)
            .find_map(|route| route.action.cluster()?.name.split('|').nth(1)?.parse().ok());
        format!("{}_0.0.0.0_{};", self.direction.name(), port.unwrap_or(self.listen.port()))
    }

    /// The effective configuration, as the admin port shows it.
    pub(super) fn dump(&self) -> serde_json::Value {
        let mesh = match &self.direction {
            Direction::Outbound { mesh, passthrough } => {
                json!({ "configuration": mesh, "passthrough": passthrough })
            }
            Direction::Inbound { mesh, bind_source, mint_websocket_key } => json!({
                "configuration": mesh,
                "bind_source": bind_source,
                "mint_websocket_key": mint_websocket_key,
            }),
        };
        json!({ "configs": [{
            "direction": self.direction.name(),
            "listen": self.listen,
            "endpoint": self.endpoint,
            "concurrency": self.concurrency,
            "max_buffered_bytes": self.max_buffered_bytes,
            "drain_time": format!("{}s", self.drain_time.as_secs_f64()),
            self.direction.name(): mesh,
        }] })
    }
}

/// The configuration that all workers share, whichever direction it was made for.
#[derive(Debug)]
pub(super) struct Proxy {
    pub(super) connection_manager: mesh::HttpConnectionManager,
    pub(super) virtual_hosts: Arc<[mesh::VirtualHost]>,
    pub(super) endpoint: SocketAddr,
    pub(super) passthrough: Option<SocketAddr>,
    pub(super) bind_source: Option<IpAddr>,
    pub(super) mint_websocket_key: bool,
    pub(super) drain_manager: Arc<DrainManager>,
    /// How many bytes the streams of one worker may hold.
    pub(super) buffered_bytes: usize,
    /// The listener takes TLS alone.
    pub(super) downstream_tls: Option<MutualTls>,
    /// For clusters that have a server name.
    pub(super) upstream_tls: Option<MutualTls>,
}

impl Proxy {
    pub(super) fn new(
        direction: Direction,
        endpoint: SocketAddr,
        drain_time: Duration,
        mutual_tls: Option<MutualTls>,
    ) -> Self {
        let drain_manager = Arc::new(DrainManager::new(drain_time));
        match direction {
            Direction::Outbound { mesh, passthrough } => Self {
                connection_manager: mesh.connection_manager,
                virtual_hosts: mesh.virtual_hosts.into(),
                endpoint,
                passthrough,
                bind_source: None,
                mint_websocket_key: false,
                drain_manager,
                buffered_bytes: MAX_BUFFERED_BYTES,
                downstream_tls: None,
                upstream_tls: mutual_tls,
            },
            Direction::Inbound { mesh, bind_source, mint_websocket_key } => Self {
                connection_manager: mesh.connection_manager,
                virtual_hosts: Arc::from([mesh.virtual_host]),
                endpoint,
                passthrough: None,
                bind_source: bind_source.filter(|source| can_bind(*source)),
                mint_websocket_key,
                drain_manager,
                buffered_bytes: MAX_BUFFERED_BYTES,
                downstream_tls: mutual_tls,
                upstream_tls: None,
            },
        }
    }
}

/// Where the source address cannot be bound (other systems than Linux have no 127.0.0.6), the
/// system's choice has to do.
fn can_bind(source: IpAddr) -> bool {
    match std::net::TcpListener::bind((source, 0)) {
        Ok(_) => true,
        Err(error) => {
            tracing::warn!("{source} cannot be bound ({error}): the system chooses the source address");
            false
        }
    }
}
