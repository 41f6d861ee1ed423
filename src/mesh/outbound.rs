//! What the documents make of a client's sidecar.
//!
//! Istio: `pilot/pkg/networking/core/httproute.go` (virtual hosts), `route/route.go` (routes),
//! `cluster_builder.go` and `cluster_traffic_policy.go` (clusters).

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::config::{
    Cluster, HttpConnectionManager, Outbound, OutboundTrafficPolicy, Redirect, RetryPolicy, Rewrite, Route,
    RouteAction, RouteMatch, UpstreamProtocol, VirtualHost, Workload,
};
use super::document::{
    ClientProxy, ConnectionPool, Destination, Documents, H2UpgradePolicy, HttpAction, HttpMatchRequest,
    HttpRoute, PortProtocol, Service, ServicePort, VirtualService,
};
use super::error::MeshError;
use super::host::{domains, resolve};
use super::mesh_config::MeshDefaults;
use super::patches::{self, PatchTarget, TargetListener};
use super::traffic_policy::{ProxySide, rule_for};

/// The answer of the virtual host `block_all`.
const BLOCKED: u16 = 502;

/// Which client's sidecar is asked about.
#[derive(Debug, Clone, Copy)]
pub struct OutboundQuery<'a> {
    /// The pod that the sidecar belongs to; without one no selector matches.
    pub workload: Option<&'a Workload>,
    /// What the application dials: the Service's address and port.
    pub listen: SocketAddr,
    /// What requests for other hosts meet.
    pub policy: OutboundTrafficPolicy,
    /// The version that an `EnvoyFilter`'s `proxyVersion` is searched in.
    pub istio_version: &'a str,
    /// What the mesh does where no document says otherwise.
    pub mesh: &'a MeshDefaults,
}

/// Derives a client's sidecar: its port's virtual hosts, one for each Service that has the port.
pub fn outbound(documents: &Documents, query: &OutboundQuery<'_>) -> Result<Outbound, MeshError> {
    let client = Client::new(documents, query.workload, query.mesh);
    let number = service_port(documents, query.listen.port())?;
    let services = with_http_port(documents, number);
    let dialled = dialled_service(documents, &services, query);
    let mut virtual_hosts = Vec::new();
    for (service, port) in &services {
        let address = if dialled.is_some_and(|dialled| std::ptr::eq(dialled, *service)) {
            Some(query.listen.ip())
        } else {
            service.cluster_ip
        };
        virtual_hosts.push(client.virtual_host(service, port, address));
    }
    virtual_hosts.sort_by(|one, other| one.name.cmp(&other.name));
    virtual_hosts.extend(catch_all(query.policy));

    let mut connection_manager = HttpConnectionManager::outbound();
    let target = PatchTarget {
        namespace: client.namespace,
        workload: query.workload,
        istio_version: query.istio_version,
        direction: TargetListener::Outbound(number),
    };
    patches::apply(documents, &target, &mut connection_manager);
    Ok(Outbound { connection_manager, virtual_hosts })
}

/// The Service port that a listener's port stands for: its own, or if no Service has it the one
/// that all share.
fn service_port(documents: &Documents, listened: u16) -> Result<u16, MeshError> {
    let ports: Vec<BTreeSet<u16>> = documents
        .services()
        .iter()
        .map(|service| service.http_ports().map(|port| port.number).collect())
        .filter(|ports: &BTreeSet<u16>| !ports.is_empty())
        .collect();
    if ports.iter().any(|ports| ports.contains(&listened)) {
        return Ok(listened);
    }
    let shared = ports.iter().cloned().reduce(|shared, ports| &shared & &ports).unwrap_or_default();
    if let (Some(port), 1) = (shared.first(), shared.len()) {
        return Ok(*port);
    }
    let all: BTreeSet<u16> = ports.into_iter().flatten().collect();
    Err(MeshError::Underivable(if all.is_empty() {
        "no Service in the documents has an HTTP port over TCP: name one http-… or give it an appProtocol"
            .to_owned()
    } else {
        let all: Vec<String> = all.iter().map(u16::to_string).collect();
        format!("no Service has the HTTP port {listened}: listen on one of {}", all.join(", "))
    }))
}

fn with_http_port(documents: &Documents, number: u16) -> Vec<(&Service, &ServicePort)> {
    let services = documents.services().iter();
    services
        .filter_map(|service| Some((service, service.http_ports().find(|port| port.number == number)?)))
        .collect()
}

/// The Service whose `ClusterIP` the listener's address stands for: the one with that address; else
/// the one that a `DestinationRule` is about; else the first that is not the client's own.
fn dialled_service<'d>(
    documents: &'d Documents,
    services: &[(&'d Service, &'d ServicePort)],
    query: &OutboundQuery<'_>,
) -> Option<&'d Service> {
    let services = || services.iter().map(|(service, _)| *service);
    let subject = documents.service_of_destination_rule();
    let is_own = |service: &Service| query.workload.is_some_and(|workload| service.selects(workload));
    services()
        .find(|service| service.cluster_ip == Some(query.listen.ip()))
        .or_else(|| services().find(|service| subject.is_some_and(|subject| std::ptr::eq(subject, *service))))
        .or_else(|| services().find(|service| !is_own(service)))
        .or_else(|| services().next())
}

fn catch_all(policy: OutboundTrafficPolicy) -> Option<VirtualHost> {
    let (name, action) = match policy {
        OutboundTrafficPolicy::AllowAny => {
            let cluster = Ok(Cluster::passthrough());
            ("allow_any", forward(cluster, None, RetryPolicy::default(), Rewrite::default()))
        }
        OutboundTrafficPolicy::RegistryOnly => {
            ("block_all", RouteAction::DirectResponse { status: BLOCKED, body: String::new() })
        }
        OutboundTrafficPolicy::None => return None,
    };
    Some(VirtualHost {
        name: name.to_owned(),
        domains: vec!["*".to_owned()],
        routes: vec![Route::every_path(Some(name.to_owned()), action)],
        include_request_attempt_count: true,
    })
}

/// A client's point of view of the documents.
struct Client<'a> {
    documents: &'a Documents,
    workload: Option<&'a Workload>,
    namespace: &'a str,
    mesh: &'a MeshDefaults,
}

impl<'a> Client<'a> {
    fn new(documents: &'a Documents, workload: Option<&'a Workload>, mesh: &'a MeshDefaults) -> Self {
        let namespace = workload.map_or_else(|| documents.namespace(), |workload| &workload.namespace);
        Self { documents, workload, namespace, mesh }
    }

    fn virtual_host(&self, service: &Service, port: &ServicePort, address: Option<IpAddr>) -> VirtualHost {
        let mut domains = domains(service.name(), service.namespace(), self.namespace);
        domains.extend(address.map(|address| match address {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("[{address}]"),
        }));
        VirtualHost {
            name: format!("{}:{}", service.host(), port.number),
            domains,
            routes: self.routes(service, port),
            include_request_attempt_count: true,
        }
    }

    /// The routes of a `VirtualService` for the Service, as far as they are for this client, else
    /// Istio's default one.
    fn routes(&self, service: &Service, port: &ServicePort) -> Vec<Route> {
        let mut routes = Vec::new();
        if let Some(found) = self.virtual_service(service) {
            let written = found.http.iter();
            routes.extend(written.flat_map(|route| self.routes_of(route, &found.metadata.namespace, port)));
        }
        // What comes behind a route for every path is never reached.
        if let Some(last) = routes.iter().position(|route| route.conditions.is_every_path()) {
            routes.truncate(last + 1);
        }
        if routes.is_empty() {
            let cluster = self.cluster(service, port, None);
            let action = forward(cluster, None, RetryPolicy::outbound(), Rewrite::default());
            routes.push(Route::every_path(Some("default".to_owned()), action));
        }
        routes
    }

    /// One for each of its conditions.
    fn routes_of(&self, route: &HttpRoute, namespace: &str, port: &ServicePort) -> Vec<Route> {
        let action = match &route.action {
            HttpAction::DirectResponse { status, body } => {
                RouteAction::DirectResponse { status: *status, body: body.clone() }
            }
            HttpAction::Redirect { redirect, derives_port } => {
                let port = if *derives_port { Some(port.number) } else { redirect.port };
                RouteAction::Redirect(Redirect { port, ..redirect.clone() })
            }
            HttpAction::Forward { destination, timeout, retry, rewrite } => {
                let cluster = self.destination(destination, namespace, port);
                forward(cluster, *timeout, retry.clone(), rewrite.clone())
            }
        };
        let client = ClientProxy { workload: self.workload, namespace: self.namespace, port: port.number };
        let under = |name: Option<String>, conditions: RouteMatch| Route {
            name,
            conditions,
            action: action.clone(),
            request_fields: route.request_fields.clone(),
            response_fields: route.response_fields.clone(),
        };
        if route.conditions.is_empty() {
            return vec![under(route.name.clone(), RouteMatch::every_path())];
        }
        let conditions = route.conditions.iter().filter(|condition| condition.is_for(client));
        conditions.map(|condition| under(name(route, condition), condition.route_match())).collect()
    }

    /// The cluster of a `VirtualService`'s destination, or the name of one that does not exist.
    fn destination(
        &self,
        destination: &Destination,
        namespace: &str,
        listener: &ServicePort,
    ) -> Result<Cluster, String> {
        let host = resolve(&destination.host, namespace);
        let service = self.documents.service_with_host(&host);
        let number = match (destination.port, service.map(|service| &service.ports[..])) {
            (Some(number), _) => number,
            (None, Some([only])) => only.number,
            (None, _) => listener.number,
        };
        let subset = destination.subset.as_deref();
        let known = service
            .and_then(|service| Some((service, service.ports.iter().find(|port| port.number == number)?)));
        let (service, port) = known.ok_or_else(|| cluster_name(number, subset, &host))?;
        self.cluster(service, port, subset)
    }

    /// The `VirtualService` that is for the Service: of those visible the one with the most
    /// specific host, the oldest first.
    fn virtual_service(&self, service: &Service) -> Option<&'a VirtualService> {
        let host = service.host();
        let mut candidates = self.documents.virtual_services_for(&host);
        candidates.sort_by_key(|(_, candidate)| candidate.metadata.age());
        let visible = candidates.into_iter().filter(|(_, candidate)| {
            candidate.for_sidecars
                && candidate.export_to.includes(self.namespace, &candidate.metadata.namespace)
        });
        visible.reduce(|best, next| if next.0 > best.0 { next } else { best }).map(|(_, candidate)| candidate)
    }

    /// The cluster of a Service's port, or the name of one that does not exist: no rule has the
    /// subset.
    fn cluster(
        &self,
        service: &Service,
        port: &ServicePort,
        subset: Option<&str>,
    ) -> Result<Cluster, String> {
        let host = service.host();
        let name = cluster_name(port.number, subset, &host);
        let rule = rule_for(self.documents, self.namespace, ProxySide::Client(self.workload), service)
            .unwrap_or_default();
        let pool = match subset {
            None => rule.connection_pool(port.number),
            Some(subset) => {
                let Some(subset) = rule.subset(subset) else { return Err(name) };
                rule.connection_pool_of(subset, port.number)
            }
        };
        let subset = subset.unwrap_or_default();
        let mut cluster = Cluster::endpoint(name);
        if let Some(pool) = pool {
            cluster.apply(pool);
        }
        cluster.protocol = protocol(port.protocol, pool, self.mesh);
        cluster.sni = Some(format!("outbound_.{}_.{subset}_.{host}", port.number));
        let servers = self.documents.pods_of(service).into_iter();
        cluster.subject_alt_names =
            servers.map(|deployment| deployment.workload().spiffe_identity()).collect();
        cluster.subject_alt_names.sort();
        cluster.subject_alt_names.dedup();
        Ok(cluster)
    }
}

/// `%ROUTE_NAME%` of a route with a condition: both names, if these have any.
fn name(route: &HttpRoute, condition: &HttpMatchRequest) -> Option<String> {
    match condition.name() {
        Some(of_condition) => Some(format!("{}.{of_condition}", route.name.as_deref().unwrap_or_default())),
        None => route.name.clone(),
    }
}

/// `outbound|8080|v1|websockets-server.default.svc.cluster.local` (Istio's `BuildSubsetKey`).
fn cluster_name(port: u16, subset: Option<&str>, host: &str) -> String {
    format!("outbound|{port}|{}|{host}", subset.unwrap_or_default())
}

fn forward(
    cluster: Result<Cluster, String>,
    timeout: Option<Duration>,
    retry: RetryPolicy,
    rewrite: Rewrite,
) -> RouteAction {
    match cluster {
        Ok(cluster) => RouteAction::Forward { cluster: Box::new(cluster), timeout, retry, rewrite },
        Err(name) => RouteAction::UnknownCluster { name },
    }
}

impl Cluster {
    /// Takes over what a connection pool says beside the protocol, as Istio does for both sides
    /// (`cluster_traffic_policy.go`, `applyConnectionPool`).
    pub(super) fn apply(&mut self, pool: &ConnectionPool) {
        self.connect_timeout = pool.connect_timeout.unwrap_or(self.connect_timeout);
        self.max_concurrent_streams = pool.max_concurrent_streams.unwrap_or(self.max_concurrent_streams);
        // Zero is Envoy's way to turn a timeout off.
        if let Some(timeout) = pool.idle_timeout {
            self.idle_timeout = Some(timeout).filter(|timeout| !timeout.is_zero());
        }
        self.max_connection_duration = pool.max_connection_duration.filter(|duration| !duration.is_zero());
    }
}

/// What is spoken to a Service's port: Istio's `shouldH2Upgrade`, in its order.
pub(super) fn protocol(
    port: PortProtocol,
    pool: Option<&ConnectionPool>,
    mesh: &MeshDefaults,
) -> UpstreamProtocol {
    if matches!(port, PortProtocol::Http2 | PortProtocol::Grpc) {
        return UpstreamProtocol::Http2;
    }
    if pool.is_some_and(|pool| pool.use_client_protocol) {
        return UpstreamProtocol::UseDownstream;
    }
    let upgrade = match pool.map(|pool| pool.h2_upgrade_policy).unwrap_or_default() {
        H2UpgradePolicy::Upgrade => true,
        H2UpgradePolicy::DoNotUpgrade => false,
        // The mesh's default is for ports that are declared to be HTTP.
        H2UpgradePolicy::Default => {
            port == PortProtocol::Http && mesh.h2_upgrade_policy == H2UpgradePolicy::Upgrade
        }
    };
    match port {
        _ if upgrade => UpstreamProtocol::Http2,
        PortProtocol::Detected => UpstreamProtocol::UseDownstream,
        _ => UpstreamProtocol::Http1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_upgrade_to_http2_is_decided_in_istios_order() {
        use PortProtocol::{Detected, Grpc, Http, Http2};
        use UpstreamProtocol::{Http1, UseDownstream};
        let pool = |h2_upgrade_policy, use_client_protocol| {
            Some(ConnectionPool { h2_upgrade_policy, use_client_protocol, ..ConnectionPool::default() })
        };
        let none = None::<ConnectionPool>;
        let default = pool(H2UpgradePolicy::Default, false);
        let upgrade = pool(H2UpgradePolicy::Upgrade, false);
        let do_not = pool(H2UpgradePolicy::DoNotUpgrade, false);
        let client = pool(H2UpgradePolicy::Default, true);
        for (port, pool, by_default, in_upgrading_mesh) in [
            (Http, &none, Http1, UpstreamProtocol::Http2),
            (Http, &default, Http1, UpstreamProtocol::Http2),
            (Http, &upgrade, UpstreamProtocol::Http2, UpstreamProtocol::Http2),
            (Http, &do_not, Http1, Http1),
            (Http, &client, UseDownstream, UseDownstream),
            (Detected, &none, UseDownstream, UseDownstream),
            (Detected, &upgrade, UpstreamProtocol::Http2, UpstreamProtocol::Http2),
            (Detected, &do_not, UseDownstream, UseDownstream),
            (Http2, &none, UpstreamProtocol::Http2, UpstreamProtocol::Http2),
            (Http2, &do_not, UpstreamProtocol::Http2, UpstreamProtocol::Http2),
            (Grpc, &do_not, UpstreamProtocol::Http2, UpstreamProtocol::Http2),
        ] {
            let upgrading = MeshDefaults { h2_upgrade_policy: H2UpgradePolicy::Upgrade };
            assert_eq!(
                protocol(port, pool.as_ref(), &MeshDefaults::default()),
                by_default,
                "{port:?} {pool:?}"
            );
            assert_eq!(protocol(port, pool.as_ref(), &upgrading), in_upgrading_mesh, "{port:?} {pool:?}");
        }
    }
}
