//! The routes of `VirtualService`s: whether what they lead to is there, and whether they lead
//! anywhere.

use super::finding::Finding;
use super::hosts::unknown;
use super::rules::{DIRECT_RESPONSE, REDIRECT, UNKNOWN_DESTINATION, UNROUTED_PATHS, UPGRADE_REMOVED};
use super::set::Set;
use crate::mesh::document::{Documents, HttpAction, Port, Service, VirtualService};
use crate::mesh::host::resolve;
use crate::mesh::scalar::scalar;
use crate::yaml::{Dialect, Document, NodeRef, Within};

pub(super) fn check(set: &Set, findings: &mut Vec<Finding>) {
    for service in set.documents.virtual_services() {
        let written = service.metadata.document();
        check_destinations(set, service, written, findings);
        check_routes(service, written, findings);
        if let Some(first) = service.http.first()
            && let HttpAction::DirectResponse { status, .. } = first.action
            && first.is_for_every_path()
            && service.for_sidecars
        {
            let place = written.place_of("spec.http[0].directResponse");
            let message = format!("every request for {} is answered with {status}", service.hosts.join(", "));
            findings.push(DIRECT_RESPONSE.at(place, message, ""));
        }
    }
}

/// What becomes of a handshake on its way: redirected, made a plain request, or left without a
/// route.
fn check_routes(service: &VirtualService, written: &Document, findings: &mut Vec<Finding>) {
    let mut for_every_path = false;
    let mut conditions = None;
    for route in written.at("spec.http").into_iter().flat_map(NodeRef::items) {
        let unconditional = is_for_every_path(route);
        if let Some(redirect) = route.at("redirect")
            && unconditional
            && !for_every_path
        {
            let message = format!("every request for {} is redirected", service.hosts.join(", "));
            findings.push(REDIRECT.at(redirect.place_of_key(), message, ""));
        }
        for removed in route.at("headers.request.remove").into_iter().flat_map(NodeRef::items) {
            let name = removed.text().unwrap_or_default();
            if ["upgrade", "connection", "sec-websocket-key"]
                .iter()
                .any(|field| name.eq_ignore_ascii_case(field))
            {
                let message =
                    format!("the field {name}, without which it is no WebSocket handshake, is removed");
                findings.push(UPGRADE_REMOVED.at(removed.place(), message, ""));
            }
        }
        conditions = conditions.or_else(|| route.at("match"));
        for_every_path |= unconditional;
    }
    // A delegate's routes are parts of another's.
    if let Some(first) = conditions
        && !for_every_path
        && !service.hosts.is_empty()
    {
        let message = format!(
            "of {} only the paths that match have a route: others get 404 (NR)",
            service.hosts.join(", ")
        );
        findings.push(UNROUTED_PATHS.at(first.place_of_key(), message, ""));
    }
}

/// Whether a route takes every path: without conditions, or with one that all paths fulfil.
fn is_for_every_path(route: NodeRef<'_>) -> bool {
    let Some(conditions) = route.at("match") else { return true };
    conditions.items().any(|condition| {
        let mut entries = condition.entries().filter(|entry| entry.key() != Some("name"));
        match (entries.next(), entries.next()) {
            (None, _) => true,
            (Some(only), None) => {
                only.key() == Some("uri") && only.at("prefix").and_then(NodeRef::text) == Some("/")
            }
            _ => false,
        }
    })
}

fn check_destinations(set: &Set, service: &VirtualService, written: &Document, findings: &mut Vec<Finding>) {
    let documents = &set.documents;
    let routes = written.at("spec.http").into_iter().flat_map(NodeRef::items);
    let routes = routes.filter_map(|route| route.at("route"));
    for destination in routes.flat_map(NodeRef::items) {
        let Some(destination) = destination.at("destination") else { continue };
        let Some(host_node) = destination.at("host") else { continue };
        let Some(host) = host_node.text() else { continue };
        let namespace = &service.metadata.namespace;
        let resolved = resolve(host, namespace);
        let Some(target) = documents.service_with_host(&resolved) else {
            findings.extend(unknown(set, host, namespace, host_node.place(), "host: "));
            continue;
        };
        if let Some(port) = destination.at("port.number")
            && let Ok(Within(number)) = port.read::<Port>(Dialect::Kubernetes)
            && !target.ports.iter().any(|port| port.number == number)
        {
            let ports: Vec<String> = target.ports.iter().map(|port| port.number.to_string()).collect();
            let message = format!("the Service {host} has no port {number}");
            let yaml = format!("port:\n  number: {}", ports.first().map_or("…", String::as_str));
            findings.push(UNKNOWN_DESTINATION.at(port.place(), message, yaml));
        }
        if let Some(subset) = destination.at("subset")
            && let Some(name) = subset.text()
            && !has_subset(documents, target, name)
        {
            let message = format!("no DestinationRule for {resolved} has the subset {name}");
            let name = scalar(name);
            let yaml = format!("subsets:\n- name: {name}\n  labels:\n    version: {name}");
            findings.push(UNKNOWN_DESTINATION.at(subset.place(), message, yaml));
        }
    }
}

fn has_subset(documents: &Documents, service: &Service, name: &str) -> bool {
    let rules = documents.destination_rules_for(&service.host());
    rules.iter().any(|(_, rule)| rule.subsets.iter().any(|subset| subset.name == name))
}
