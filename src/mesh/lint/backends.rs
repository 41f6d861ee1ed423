//! The Services that documents lead to by name and port: those of an Ingress, and for
//! [`super::gateway_api`] those of a route.

use super::finding::Finding;
use super::hosts::unknown_destination;
use super::rules::UNKNOWN_DESTINATION;
use super::set::Set;
use crate::mesh::document::{Port, Service};
use crate::mesh::host::service_host;
use crate::yaml::{Dialect, NodeRef, Within};

pub(super) fn check(set: &Set, findings: &mut Vec<Finding>) {
    for ingress in set.of_kind("networking.k8s.io", "Ingress") {
        let rules = ingress.document.at("spec.rules").into_iter().flat_map(NodeRef::items);
        let paths = rules.filter_map(|rule| rule.at("http.paths")).flat_map(NodeRef::items);
        let backends = paths.filter_map(|path| path.at("backend.service"));
        for backend in backends.chain(ingress.document.at("spec.defaultBackend.service")) {
            let port = backend.at("port.number").or_else(|| backend.at("port.name"));
            let backend = Backend { name: backend.at("name"), namespace: ingress.namespace(), port };
            findings.extend(check_backend(set, &backend));
        }
    }
}

/// What is led to.
pub(super) struct Backend<'d> {
    pub(super) name: Option<NodeRef<'d>>,
    pub(super) namespace: &'d str,
    /// Its number or name.
    pub(super) port: Option<NodeRef<'d>>,
}

/// What is not there of it.
pub(super) fn check_backend(set: &Set, backend: &Backend<'_>) -> Option<Finding> {
    let name = backend.name?;
    let text = name.text()?;
    let Some(service) = set.documents.service_with_host(&service_host(text, backend.namespace)) else {
        let found = unknown_destination(set, text, backend.namespace, name.place(), "")?;
        // What is to be written is a name here, and no host.
        return Some(Finding { yaml: String::new(), ..found });
    };
    let port = backend.port?;
    // Of an `ExternalName` no ports are read.
    if service.ports.is_empty() || has_port(service, port) {
        return None;
    }
    let ports: Vec<String> = service.ports.iter().map(|port| port.number.to_string()).collect();
    let message = format!(
        "the Service {text} has no port {}: it has {}",
        port.text().map_or_else(|| port.to_json(str::to_owned).to_string(), str::to_owned),
        ports.join(", ")
    );
    Some(UNKNOWN_DESTINATION.at(port.place(), message, ""))
}

fn has_port(service: &Service, port: NodeRef<'_>) -> bool {
    if let Ok(Within(number)) = port.read::<Port>(Dialect::Kubernetes) {
        return service.ports.iter().any(|port| port.number == number);
    }
    let written = service.metadata.document().at("spec.ports").into_iter().flat_map(NodeRef::items);
    let mut names = written.filter_map(|port| port.at("name")).filter_map(NodeRef::text);
    port.text().is_none_or(|name| names.any(|known| known == name))
}
