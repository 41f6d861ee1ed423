//! What the documents make of a server's sidecar.
//!
//! Istio: `pilot/pkg/networking/core/listener_inbound.go` and `cluster_builder.go`
//! (`buildInboundCluster`).

use super::config::{
    Cluster, HttpConnectionManager, Inbound, RetryPolicy, Rewrite, Route, RouteAction, UpstreamProtocol,
    VirtualHost, Workload,
};
use super::document::{Documents, PortProtocol, Service, ServicePort, TargetPort};
use super::error::MeshError;
use super::patches::{self, PatchTarget, TargetListener};
use super::traffic_policy::{ProxySide, rule_for};

/// The guide's Service, which a sidecar without a workload stands for if there are several.
const GUIDES_SERVICE: &str = "websockets-server";

/// Which server's sidecar is asked about.
#[derive(Debug, Clone, Copy)]
pub struct InboundQuery<'a> {
    /// The pod that the sidecar belongs to; without one no selector matches.
    pub workload: Option<&'a Workload>,
    /// The Service and its port that sessions come by; without one it is the first HTTP port of the
    /// Service that selects the pod, of several the oldest.
    pub port: Option<(&'a Service, u16)>,
    /// The version that an `EnvoyFilter`'s `proxyVersion` is searched in.
    pub istio_version: &'a str,
}

/// Derives a server's sidecar: the filter chain for the target port of the Service that selects the
/// workload.
pub fn inbound(documents: &Documents, query: &InboundQuery<'_>) -> Result<Inbound, MeshError> {
    let (service, port) = if let Some((service, number)) = query.port {
        listening(documents, query.workload, service, number)?
    } else {
        let service = service_of(documents, query.workload)?;
        (service, service.http_ports().next().ok_or_else(|| without_http(service))?)
    };
    let target_port = target_port(documents, service, query.workload, port)?;

    let rule = rule_for(documents, service.namespace(), ProxySide::Server, service).unwrap_or_default();
    let pool = rule.connection_pool(port.number);
    let mut cluster = Cluster::endpoint(format!("inbound|{target_port}||"));
    if let Some(pool) = pool {
        cluster.apply(pool);
    }
    // No upgrade here, whatever the rule says: the application gets what it declares.
    cluster.protocol = match port.protocol {
        PortProtocol::Http2 | PortProtocol::Grpc => UpstreamProtocol::Http2,
        PortProtocol::Detected => UpstreamProtocol::UseDownstream,
        _ if pool.is_some_and(|pool| pool.use_client_protocol) => UpstreamProtocol::UseDownstream,
        _ => UpstreamProtocol::Http1,
    };
    let retry =
        if port.protocol == PortProtocol::Grpc { RetryPolicy::default() } else { RetryPolicy::inbound() };
    let action = RouteAction::Forward {
        cluster: Box::new(cluster),
        timeout: None,
        retry,
        rewrite: Rewrite::default(),
    };

    let mut connection_manager = HttpConnectionManager::inbound();
    let target = PatchTarget {
        namespace: service.namespace(),
        workload: query.workload,
        istio_version: query.istio_version,
        direction: TargetListener::Inbound(target_port),
    };
    patches::apply(documents, &target, &mut connection_manager);
    let configuration = format!("inbound|{target_port}||");
    let mut virtual_host = VirtualHost {
        name: format!("inbound|http|{}", port.number),
        domains: vec!["*".to_owned()],
        routes: vec![Route::every_path(Some("default".to_owned()), action)],
        include_request_attempt_count: false,
        requires_tls: false,
    };
    patches::apply_to_routes(
        documents,
        &target,
        (&configuration, target_port, None),
        std::slice::from_mut(&mut virtual_host),
    );
    Ok(Inbound { connection_manager, virtual_host })
}

fn without_http(service: &Service) -> MeshError {
    let name = service.name();
    MeshError::Underivable(format!(
        "the Service {name} has no HTTP port: name it http-… or give it an appProtocol"
    ))
}

/// The Service, and its port, that makes the listener which this port of a Service leads to: of those
/// that have its target port the oldest.
fn listening<'d>(
    documents: &'d Documents,
    workload: Option<&Workload>,
    service: &'d Service,
    number: u16,
) -> Result<(&'d Service, &'d ServicePort), MeshError> {
    let port = service.http_ports().find(|port| port.number == number).ok_or_else(|| {
        let all: Vec<String> = service.http_ports().map(|port| port.number.to_string()).collect();
        let name = service.name();
        MeshError::Underivable(format!(
            "the Service {name} has no HTTP port {number}: those that it has are {}",
            if all.is_empty() { "none".to_owned() } else { all.join(", ") }
        ))
    })?;
    let target = target_port(documents, service, workload, port)?;
    let mut others = workload.map(|workload| documents.services_of(workload)).unwrap_or_default();
    others.sort_by_key(|service| service.metadata.age());
    let leads_there = |service: &'d Service| {
        let is_it =
            |port: &&ServicePort| target_port(documents, service, workload, port).ok() == Some(target);
        service.http_ports().find(is_it).map(|port| (service, port))
    };
    Ok(others.into_iter().find_map(leads_there).unwrap_or((service, port)))
}

/// The Service that a sidecar stands for: of several that select its workload, the oldest.
fn service_of<'d>(documents: &'d Documents, workload: Option<&Workload>) -> Result<&'d Service, MeshError> {
    let Some(workload) = workload else {
        return match documents.services() {
            [only] => Ok(only),
            _ => documents.service(GUIDES_SERVICE),
        };
    };
    documents.services_of(workload).into_iter().min_by_key(|service| service.metadata.age()).ok_or_else(
        || {
            let Workload { name, namespace, .. } = workload;
            MeshError::Underivable(format!(
                "no Service in the namespace {namespace} selects the pods of the Deployment {name}: \
             compare the Service's selector with the labels of the Deployment's pod template"
            ))
        },
    )
}

/// The container's port that a Service's port leads to.
pub(super) fn target_port(
    documents: &Documents,
    service: &Service,
    workload: Option<&Workload>,
    port: &ServicePort,
) -> Result<u16, MeshError> {
    match &port.target {
        TargetPort::Number(number) => Ok(*number),
        TargetPort::Name(name) => named_port(documents, service, workload, name),
    }
}

/// The number of a container's named port.
fn named_port(
    documents: &Documents,
    service: &Service,
    workload: Option<&Workload>,
    name: &str,
) -> Result<u16, MeshError> {
    let mut deployments = match workload {
        Some(workload) => documents
            .pods_with(Some(&workload.namespace), &workload.labels)
            .filter(|deployment| deployment.metadata.name == workload.name)
            .collect(),
        None => documents.pods_of(service),
    }
    .into_iter();
    deployments.find_map(|deployment| deployment.ports.get(name).copied()).ok_or_else(|| {
        let service = service.name();
        MeshError::Underivable(format!(
            "the Service {service} has the targetPort {name}, but no container of its pods has a port of that name"
        ))
    })
}
