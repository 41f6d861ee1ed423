//! The configuration of a sidecar or a gateway, and the part of it that all workers share.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::drain_manager::DrainManager;
use super::overload;
use crate::access_log::{Format, Target};
use crate::mesh;
use crate::tls::{ClientAuthentication, CredentialsError, MutualTls, Pem, Termination, TerminationOptions};

/// One sidecar or gateway.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Config {
    /// Which proxy of the road, configured by the documents.
    pub direction: Direction,
    /// Where a sidecar accepts connections; port 0 lets the system choose. A gateway's listeners have
    /// addresses of their own.
    pub listen: SocketAddr,
    /// Where the upstream hosts are: the other sidecar, or the application.
    pub endpoints: Endpoints,
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

/// Where the one host of each cluster is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoints {
    /// By the names of their clusters.
    pub named: BTreeMap<String, SocketAddr>,
    /// Of every other cluster; without it they have no host.
    pub other: Option<SocketAddr>,
}

impl From<SocketAddr> for Endpoints {
    /// One host for all clusters.
    fn from(address: SocketAddr) -> Self {
        Self { named: BTreeMap::new(), other: Some(address) }
    }
}

impl Endpoints {
    /// The host of a cluster.
    pub(super) fn of(&self, cluster: &str) -> Option<SocketAddr> {
        self.named.get(cluster).copied().or(self.other)
    }
}

/// Which proxy of the road.
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
    /// A gateway, at the edge of the mesh.
    Gateway {
        /// What the documents say.
        mesh: mesh::Gateway,
        /// As for the server's sidecar.
        mint_websocket_key: bool,
    },
}

impl Direction {
    /// `outbound`, `inbound` or `gateway`, as in names.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Outbound { .. } => "outbound",
            Self::Inbound { .. } => "inbound",
            Self::Gateway { .. } => "gateway",
        }
    }
}

impl Config {
    /// The connection manager's name in statistics, as Istio gives it: `outbound_0.0.0.0_8080;`,
    /// `inbound_0.0.0.0_80;`. The port is the one in its clusters' names, `outbound|8080||HOST`:
    /// that of the Service, or the pod's; of a gateway, the one that its first listener is bound to.
    pub(super) fn stat_prefix(&self) -> String {
        let virtual_hosts = match &self.direction {
            Direction::Outbound { mesh, .. } => &mesh.virtual_hosts[..],
            Direction::Inbound { mesh, .. } => std::slice::from_ref(&mesh.virtual_host),
            Direction::Gateway { mesh, .. } => {
                let port = mesh.listeners.first().map_or(0, |listener| listener.address.port());
                return format!("outbound_0.0.0.0_{port};");
            }
        };
        let port = virtual_hosts
            .iter()
            .flat_map(|virtual_host| &virtual_host.routes)
            .find_map(|route| route.action.clusters().next()?.name.split('|').nth(1)?.parse().ok());
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
            // Not its secrets.
            Direction::Gateway { mesh, mint_websocket_key } => json!({
                "configuration": { "listeners": mesh.listeners },
                "mint_websocket_key": mint_websocket_key,
            }),
        };
        let mut dump = json!({
            "direction": self.direction.name(),
            "endpoint": self.endpoints.other,
            "concurrency": self.concurrency,
            "max_buffered_bytes": self.max_buffered_bytes,
            "drain_time": format!("{}s", self.drain_time.as_secs_f64()),
            self.direction.name(): mesh,
        });
        if !self.endpoints.named.is_empty() {
            dump["endpoints"] = json!(self.endpoints.named);
        }
        if !matches!(self.direction, Direction::Gateway { .. }) {
            dump["listen"] = json!(self.listen);
        }
        json!({ "configs": [dump] })
    }

    /// Where it is bound.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        match &self.direction {
            Direction::Outbound { .. } | Direction::Inbound { .. } => vec![self.listen],
            Direction::Gateway { mesh, .. } => mesh.listeners.iter().map(|it| it.address).collect(),
        }
    }
}

/// The configuration that all workers share, whichever direction it was made for.
#[derive(Debug)]
pub(super) struct Proxy {
    /// The filter chains of each listener.
    pub(super) listeners: Vec<Vec<ChainConfig>>,
    pub(super) endpoints: Endpoints,
    pub(super) passthrough: Option<SocketAddr>,
    pub(super) bind_source: Option<IpAddr>,
    pub(super) mint_websocket_key: bool,
    pub(super) drain_manager: Arc<DrainManager>,
    /// How many bytes the streams of one worker may hold.
    pub(super) buffered_bytes: usize,
    /// For clusters that have a server name.
    pub(super) upstream_tls: Option<MutualTls>,
}

/// What makes a filter chain.
#[derive(Debug)]
pub(super) struct ChainConfig {
    /// Which server names it is for, in lower case, `*.suffix` for any name under it; none: all.
    pub(super) server_names: Vec<String>,
    pub(super) transport: Transport,
    pub(super) connection_manager: mesh::HttpConnectionManager,
    pub(super) virtual_hosts: Arc<[mesh::VirtualHost]>,
}

/// Envoy's transport socket of a filter chain.
#[derive(Debug, Clone)]
pub(super) enum Transport {
    Plain,
    /// Mutual TLS of the mesh.
    Mutual(Box<MutualTls>),
    /// TLS that a gateway ends.
    Terminated(Termination),
}

impl Proxy {
    /// # Errors
    /// A certificate of a gateway cannot be used.
    pub(super) fn new(config: Config) -> Result<Self, CredentialsError> {
        let Config { direction, endpoints, drain_time, mutual_tls, max_buffered_bytes, concurrency, .. } =
            config;
        let mut proxy = Self {
            listeners: Vec::new(),
            endpoints,
            passthrough: None,
            bind_source: None,
            mint_websocket_key: false,
            drain_manager: Arc::new(DrainManager::new(drain_time)),
            buffered_bytes: overload::share(max_buffered_bytes, concurrency),
            upstream_tls: None,
        };
        match direction {
            Direction::Outbound { mesh, passthrough } => {
                let chain = ChainConfig {
                    server_names: Vec::new(),
                    transport: Transport::Plain,
                    connection_manager: mesh.connection_manager,
                    virtual_hosts: mesh.virtual_hosts.into(),
                };
                proxy.listeners = vec![vec![chain]];
                proxy.passthrough = passthrough;
                proxy.upstream_tls = mutual_tls;
            }
            Direction::Inbound { mesh, bind_source, mint_websocket_key } => {
                let chain = ChainConfig {
                    server_names: Vec::new(),
                    transport: mutual_tls.map_or(Transport::Plain, |it| Transport::Mutual(Box::new(it))),
                    connection_manager: mesh.connection_manager,
                    virtual_hosts: Arc::from([mesh.virtual_host]),
                };
                proxy.listeners = vec![vec![chain]];
                proxy.bind_source = bind_source.filter(|source| can_bind(*source));
                proxy.mint_websocket_key = mint_websocket_key;
            }
            Direction::Gateway { mesh, mint_websocket_key } => {
                let mesh::Gateway { listeners, secrets } = mesh;
                for listener in listeners {
                    let chains = listener.filter_chains.into_iter();
                    let chains = chains.map(|chain| ChainConfig::of_gateway(chain, &secrets));
                    proxy.listeners.push(chains.collect::<Result<_, _>>()?);
                }
                proxy.upstream_tls = mutual_tls;
                proxy.mint_websocket_key = mint_websocket_key;
            }
        }
        Ok(proxy)
    }

    /// The virtual hosts of all chains.
    pub(super) fn virtual_hosts(&self) -> impl Iterator<Item = &mesh::VirtualHost> {
        self.listeners.iter().flatten().flat_map(|chain| &*chain.virtual_hosts)
    }
}

impl ChainConfig {
    fn of_gateway(
        chain: mesh::FilterChain,
        secrets: &BTreeMap<String, mesh::PemSecret>,
    ) -> Result<Self, CredentialsError> {
        let mesh::TerminalFilter::Http { connection_manager, virtual_hosts } = chain.filter;
        let transport = match &chain.tls {
            None => Transport::Plain,
            Some(tls) => Transport::Terminated(Termination::new(&termination(tls, secrets)?)?),
        };
        Ok(Self {
            server_names: chain.server_names,
            transport,
            connection_manager: *connection_manager,
            virtual_hosts: virtual_hosts.into(),
        })
    }
}

fn termination(
    tls: &mesh::DownstreamTlsContext,
    secrets: &BTreeMap<String, mesh::PemSecret>,
) -> Result<TerminationOptions, CredentialsError> {
    let (certificate, key, ca) = match &tls.credential {
        mesh::Credential::Files { certificate, key, ca } => {
            let ca = ca.as_deref().map(Pem::read).transpose()?;
            (Pem::read(certificate)?, Pem::read(key)?, ca)
        }
        mesh::Credential::Secret(name) => {
            let pem = |text: &str| Pem {
                name: format!("the Secret {name}").into(),
                text: text.as_bytes().to_vec(),
            };
            let found = secrets.get(name);
            let of = |text: fn(&mesh::PemSecret) -> &str| pem(found.map_or("", text));
            let ca = found.and_then(|found| found.ca.as_deref()).map(pem);
            (of(|found| &found.certificate), of(|found| &found.key), ca)
        }
    };
    let clients = match (tls.client_certificates, ca) {
        (mesh::ClientCertificates::NotAsked, _) => ClientAuthentication::NotAsked,
        (mesh::ClientCertificates::Optional, Some(ca)) => ClientAuthentication::Optional(ca),
        (mesh::ClientCertificates::Required, Some(ca)) => ClientAuthentication::Required(ca),
        (mesh::ClientCertificates::Optional | mesh::ClientCertificates::Required, None) => {
            let problem = "caCertificates, of the CAs of clients, is missing".to_owned();
            return Err(CredentialsError::Invalid { path: certificate.name, problem });
        }
    };
    let &mesh::DownstreamTlsContext { only_tls13, only_tls12, .. } = tls;
    Ok(TerminationOptions { certificate, key, clients, only_tls13, only_tls12 })
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
