//! What mesh documents make of a pair of sidecars, and where the client's requests go.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::path;
use crate::http1::Fields;
use crate::mesh::{
    self, ConnectionManagerFilter, Documents, Inbound, InboundQuery, MeshDefaults, MeshError, Outbound,
    OutboundQuery, OutboundTrafficPolicy, Places, ROOT_NAMESPACE, RequestHead, RouteAction, Service,
    UpstreamProtocol, Workload, match_virtual_host,
};

/// The Service that sessions go to if nothing names another: the guide's.
const SERVICE: &str = "websockets-server";

/// The port of the http scheme, which a client leaves out of `Host` (RFC 9110, section 4.2.1).
const HTTP_PORT: u16 = 80;

/// The client's Deployment if nothing names another: the guide's.
const CLIENT_WORKLOAD: &str = "websockets-client-sleep";

/// The request of a session, as far as the conditions of routes ask for it.
#[derive(Debug)]
pub(super) struct Handshake<'a> {
    pub(super) path: &'a str,
    pub(super) authority: &'a str,
    pub(super) fields: &'a Fields,
}

impl RequestHead for Handshake<'_> {
    fn path(&self) -> &[u8] {
        self.path.as_bytes()
    }

    fn field(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        match name {
            ":method" => Some(b"GET".into()),
            ":authority" => Some(self.authority.as_bytes().into()),
            ":scheme" => Some(b"http".into()),
            "upgrade" => Some(b"websocket".into()),
            "connection" => Some(b"Upgrade".into()),
            _ => self.fields.get(name).map(|value| value.as_bytes().into()),
        }
    }
}

/// How long a sidecar of the pair keeps a connection that it is done with open for the peer to
/// close it first. Envoy's default of 1 s is what closing a session and the 503 of a missing
/// `allow_connect` take; over loopback that is too long. In Istio's root namespace, so that it
/// applies to every workload and the user's own filters have the word over it.
fn delayed_close() -> Result<Documents, MeshError> {
    let filter = ConnectionManagerFilter {
        name: "websockets-cli-verify-delayed-close",
        namespace: ROOT_NAMESPACE,
        labels: &BTreeMap::new(),
        context: "ANY",
        options: "delayed_close_timeout: 0.05s",
    };
    Documents::parse("verify's own EnvoyFilter", &filter.to_string())
}

/// The configuration of a pair of sidecars.
#[derive(Debug, Clone)]
pub struct PairConfig {
    /// Of the client's sidecar.
    pub outbound: Outbound,
    /// Of the server's sidecar.
    pub inbound: Inbound,
    /// What requests carry as `Host`: the Service's fully qualified name and port.
    pub authority: String,
    /// What the sidecars see and log instead, where the route says so.
    pub logged_authority: String,
    /// The path that sessions ask for where nothing names another.
    pub path: String,
    /// The client's sidecar's route to the Service, for this path.
    pub route_name: Option<String>,
    /// The cluster that this route leads to.
    pub outbound_cluster: Option<String>,
    /// The server's sidecar's cluster.
    pub inbound_cluster: Option<String>,
    /// Whether the client's sidecar speaks HTTP/2 to the server's.
    pub upgrades: bool,
    /// Whether the server's sidecar speaks HTTP/2 to the application, too.
    pub application_is_http2: bool,
    /// Where the documents say what of it.
    pub places: Places,
    /// Whose sessions these are.
    pub client: Workload,
    /// Who answers them.
    pub server: Workload,
    /// Where they go.
    pub service: Service,
    /// Its HTTP port that they go to.
    pub port: u16,
}

/// The Service that sessions go to where none is named: the one that a `DestinationRule` is about,
/// the guide's if it is there, the only one with an HTTP port beside the client's own. The built-in
/// one, if there is none.
///
/// # Errors
/// It may be one of several.
fn service_of(documents: &Documents, client_workload: &str) -> Result<String, MeshError> {
    let name = |service: &Service| format!("{}/{}", service.namespace(), service.name());
    if let Some(service) = documents.service_of_destination_rule() {
        return Ok(name(service));
    }
    if documents.services().iter().any(|service| service.name() == SERVICE) {
        return Ok(SERVICE.to_owned());
    }
    let client = documents.workload(client_workload).ok();
    let is_own = |service: &Service| client.as_ref().is_some_and(|client| service.selects(client));
    let candidates = documents.services().iter().filter(|it| it.http_port().is_some() && !is_own(it));
    let names: Vec<String> = candidates.map(name).collect();
    match &names[..] {
        [] => Ok(SERVICE.to_owned()),
        [only] => Ok(only.clone()),
        several => Err(MeshError::Underivable(format!(
            "sessions may go to several Services ({}): name one with --service",
            several.join(", ")
        ))),
    }
}

/// The port behind the name of a Service, `NAME:PORT`.
fn with_port(named: &str) -> (String, Option<u16>) {
    let with =
        named.rsplit_once(':').and_then(|(name, port)| Some((name.to_owned(), Some(port.parse().ok()?))));
    with.unwrap_or_else(|| (named.to_owned(), None))
}

impl PairConfig {
    /// Derives both sidecars. A Service or Deployment that the documents lack is the built-in one. No
    /// path is one that a route to the Service takes.
    ///
    /// # Errors
    /// The documents do not say what is needed.
    pub fn new(
        mut documents: Documents,
        service: Option<&str>,
        client_workload: Option<&str>,
        path: Option<&str>,
        defaults: &MeshDefaults,
        istio_version: &str,
    ) -> Result<Self, MeshError> {
        let places = documents.places();
        documents.merge(delayed_close()?)?;
        let client_workload = client_workload.unwrap_or(CLIENT_WORKLOAD);
        let (service, port) = match service {
            Some(named) => with_port(named),
            None => (service_of(&documents, client_workload)?, None),
        };
        documents.complete(&service, client_workload)?;

        let service = documents.service(&service)?;
        let port = port.or_else(|| service.http_port()).ok_or_else(|| {
            let name = service.name();
            MeshError::Underivable(format!(
                "the Service {name} has no HTTP port: name it http-… or give it an appProtocol"
            ))
        })?;
        let server = documents.workload_of(service)?;
        let client = documents.workload(client_workload)?;
        let query = InboundQuery { workload: Some(&server), port: Some((service, port)), istio_version };
        let inbound = mesh::inbound(&documents, &query)?;
        let outbound = mesh::outbound(
            &documents,
            &OutboundQuery {
                workload: Some(&client),
                listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port),
                policy: OutboundTrafficPolicy::default(),
                istio_version,
                mesh: defaults,
            },
        )?;
        let authority = if port == HTTP_PORT { service.host() } else { format!("{}:{port}", service.host()) };
        let virtual_host = match_virtual_host(&outbound.virtual_hosts, &service.host());
        let routes = virtual_host.map_or(&[][..], |host| &host.routes);
        let (path, route) = match path {
            Some(path) => (path.to_owned(), path::route_of(routes, path, &authority)),
            None => path::played(routes, &service.host(), &authority),
        };
        let rewritten = route.and_then(|route| match &route.action {
            RouteAction::Forward { rewrite, .. } => rewrite.authority.clone(),
            _ => None,
        });
        let cluster = route.and_then(|route| route.action.clusters().next());
        let inbound_cluster =
            inbound.virtual_host.routes.first().and_then(|route| route.action.clusters().next());
        let upgrades = cluster.is_some_and(|cluster| cluster.protocol == UpstreamProtocol::Http2);
        let application_is_http2 = inbound_cluster.is_some_and(|cluster| match cluster.protocol {
            UpstreamProtocol::Http1 => false,
            UpstreamProtocol::Http2 => true,
            UpstreamProtocol::UseDownstream => upgrades,
        });
        Ok(Self {
            logged_authority: rewritten.unwrap_or_else(|| authority.clone()),
            authority,
            path,
            route_name: route.and_then(|route| route.name.clone()),
            outbound_cluster: cluster.map(|cluster| cluster.name.clone()),
            inbound_cluster: inbound_cluster.map(|cluster| cluster.name.clone()),
            upgrades,
            application_is_http2,
            outbound,
            inbound,
            places,
            client,
            server,
            service: service.clone(),
            port,
        })
    }
}
