//! Clients without a sidecar, or past it, before servers that take mutual TLS alone.

use super::finding::Finding;
use super::mutual_tls::{PeerAuthentications, Taken};
use super::proxies::{PastSidecar, outbound_past_sidecar};
use super::rules::CLIENT_WITHOUT_SIDECAR;
use super::set::Set;
use crate::mesh::document::{Deployment, ROOT_NAMESPACE, Service, ServicePort};

pub(super) fn check(set: &Set, findings: &mut Vec<Finding>) {
    let policies = PeerAuthentications::of(set);
    let ports = set.documents.services().iter().flat_map(|service| {
        let ports = service.ports.iter().filter(|port| port.may_be_http());
        ports.map(move |port| (service, port))
    });
    let strict: Vec<(&Service, &ServicePort)> = ports
        .filter(|(service, port)| policies.taken_by(set, service, port, None).contains(&Taken::MutualTls))
        .collect();
    if strict.is_empty() {
        return;
    }
    findings.extend(set.documents.deployments().iter().filter_map(|client| refused(set, &strict, client)));
}

/// A client that is refused by one of the servers at least.
fn refused(set: &Set, strict: &[(&Service, &ServicePort)], client: &Deployment) -> Option<Finding> {
    let namespace = client.metadata.namespace.as_str();
    let past = outbound_past_sidecar(set, client);
    // What Istio's own namespace has is the mesh's, and opens no sessions to applications.
    if past == PastSidecar::Ports(Vec::new()) || namespace == ROOT_NAMESPACE {
        return None;
    }
    let workload = client.workload();
    let mut leading = set.services_in(namespace).filter(|service| service.selects(&workload)).peekable();
    let is_server = leading.peek().is_some();
    if is_server && !leading.any(|service| service.ports.iter().any(ServicePort::may_be_http)) {
        return None;
    }
    let mut refusing = strict.iter().filter(|(service, port)| {
        let is_past = match &past {
            PastSidecar::All(_) => true,
            PastSidecar::Ports(ports) => ports.contains(&port.number),
        };
        is_past && !service.selects(&workload) && (!is_server || service.namespace() == namespace)
    });
    let (service, port) = refusing.next()?;
    let others = match refusing.count() {
        0 => String::new(),
        more => format!(" (and {more} more ports like this)"),
    };
    let why = match &past {
        PastSidecar::All(why) => why.clone(),
        PastSidecar::Ports(_) => format!("excludeOutboundPorts has {}", port.number),
    };
    let message = format!(
        "what {} sends to {}:{} is plain text, and PeerAuthentication says STRICT there: {why}{others}",
        client.metadata.name,
        service.host(),
        port.number
    );
    let place = client.metadata.document().place_of("spec.template.metadata");
    Some(CLIENT_WITHOUT_SIDECAR.at(place, message, ""))
}
