//! What the documents make of a client's sidecar.
//!
//! Istio: `pilot/pkg/networking/core/httproute.go` (virtual hosts).

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use super::config::{
    Cluster, HttpConnectionManager, Outbound, OutboundTrafficPolicy, RetryPolicy, Rewrite, Route,
    RouteAction, VirtualHost, Workload,
};
use super::document::{Documents, ProxyRole, RoutedProxy, Service, ServicePort, VirtualService};
use super::error::MeshError;
use super::host::domains;
use super::mesh_config::MeshDefaults;
use super::patches::{self, PatchTarget, TargetListener};
use super::routing::{Routing, forward};

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
    let routing = Routing::new(documents, query.workload, query.mesh);
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
        virtual_hosts.push(virtual_host(&routing, service, port, address));
    }
    virtual_hosts.sort_by(|one, other| one.name.cmp(&other.name));
    virtual_hosts.extend(catch_all(query.policy));

    let mut connection_manager = HttpConnectionManager::outbound();
    let target = PatchTarget {
        namespace: routing.namespace,
        workload: query.workload,
        istio_version: query.istio_version,
        direction: TargetListener::Outbound(number),
    };
    patches::apply(documents, &target, &mut connection_manager);
    let configuration = number.to_string();
    patches::apply_to_routes(documents, &target, (&configuration, number, None), &mut virtual_hosts);
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
        requires_tls: false,
    })
}

fn virtual_host(
    routing: &Routing<'_>,
    service: &Service,
    port: &ServicePort,
    address: Option<IpAddr>,
) -> VirtualHost {
    let mut domains = domains(service.name(), service.namespace(), routing.namespace);
    domains.extend(address.map(|address| match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }));
    VirtualHost {
        name: format!("{}:{}", service.host(), port.number),
        domains,
        routes: routes(routing, service, port),
        include_request_attempt_count: true,
        requires_tls: false,
    }
}

/// The routes of a `VirtualService` for the Service, as far as they are for this client, else
/// Istio's default one.
fn routes(routing: &Routing<'_>, service: &Service, port: &ServicePort) -> Vec<Route> {
    let proxy = RoutedProxy {
        role: ProxyRole::Sidecar,
        workload: routing.workload,
        namespace: routing.namespace,
        port: port.number,
    };
    let found = virtual_service(routing, service);
    let mut routes = found.map_or_else(Vec::new, |found| routing.routes(found, proxy));
    if routes.is_empty() {
        let cluster = routing.cluster(service, port, None);
        let action = forward(cluster, None, RetryPolicy::outbound(), Rewrite::default());
        routes.push(Route::every_path(Some("default".to_owned()), action));
    }
    routes
}

/// The `VirtualService` that is for the Service: of those visible the one with the most specific
/// host, the oldest first.
fn virtual_service<'a>(routing: &Routing<'a>, service: &Service) -> Option<&'a VirtualService> {
    let host = service.host();
    let mut candidates = routing.documents.virtual_services_for(&host);
    candidates.sort_by_key(|(_, candidate)| candidate.metadata.age());
    let visible = candidates.into_iter().filter(|(_, candidate)| {
        candidate.is_for_sidecars()
            && candidate.export_to.includes(routing.namespace, &candidate.metadata.namespace)
    });
    visible.reduce(|best, next| if next.0 > best.0 { next } else { best }).map(|(_, candidate)| candidate)
}
