//! The routes of `VirtualService`s: whether what they lead to is there, and whether they lead
//! anywhere.

use super::finding::Finding;
use super::hosts::unknown;
use super::rules::{DIRECT_RESPONSE, REDIRECT, UNKNOWN_DESTINATION, UNROUTED_PATHS, UPGRADE_REMOVED};
use super::set::Set;
use crate::mesh::document::{Documents, Port, Service, VirtualService};
use crate::mesh::host::resolve;
use crate::mesh::scalar::scalar;
use crate::yaml::{Dialect, Document, NodeRef, Within};

pub(super) fn check(set: &Set, findings: &mut Vec<Finding>) {
    for service in set.documents.virtual_services() {
        let written = service.metadata.document();
        check_destinations(set, service, written, findings);
        check_routes(service, written, findings);
    }
}

/// What becomes of a handshake on its way: redirected, made a plain request, or left without a
/// route.
fn check_routes(service: &VirtualService, written: &Document, findings: &mut Vec<Finding>) {
    let mut for_every_path = false;
    let mut conditions = None;
    for (index, route) in written.at("spec.http").into_iter().flat_map(NodeRef::items).enumerate() {
        let unconditional = is_for_every_handshake(route);
        if let Some(redirect) = route.at("redirect")
            && unconditional
            && !for_every_path
        {
            let message = format!("every handshake for {} is redirected", service.hosts.join(", "));
            findings.push(REDIRECT.at(redirect.place_of_key(), message, ""));
        }
        if let Some(response) = route.at("directResponse")
            && unconditional
            && index == 0
            && service.for_sidecars
            && let Some(Ok(status)) = response.at("status").map(|it| it.read::<u16>(Dialect::Kubernetes))
        {
            let message =
                format!("every handshake for {} is answered with {status}", service.hosts.join(", "));
            findings.push(DIRECT_RESPONSE.at(response.place_of_key(), message, ""));
        }
        if may_take_handshakes(route) {
            check_fields(route, findings);
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

/// The fields without which a request is no handshake, and an answer accepts none (RFC 6455 section
/// 4).
const OF_HANDSHAKE: [(&str, &[&str]); 2] = [
    ("request", &["upgrade", "connection", "sec-websocket-key", "sec-websocket-version"]),
    ("response", &["upgrade", "connection", "sec-websocket-accept"]),
];

/// Whether a route, or one of its destinations, takes a field of the handshake away or writes over
/// it.
fn check_fields(route: NodeRef<'_>, findings: &mut Vec<Finding>) {
    let destinations = route.at("route").into_iter().flat_map(NodeRef::items);
    for part in std::iter::once(route).chain(destinations) {
        for (of, fields) in OF_HANDSHAKE {
            let is_of_handshake = |name: &str| fields.iter().any(|field| name.eq_ignore_ascii_case(field));
            for removed in part.at(&format!("headers.{of}.remove")).into_iter().flat_map(NodeRef::items) {
                let name = removed.text().unwrap_or_default();
                if is_of_handshake(name) {
                    let message = format!(
                        "the field {name} of each {of}, without which there is no handshake, is removed"
                    );
                    findings.push(UPGRADE_REMOVED.at(removed.place(), message, ""));
                }
            }
            for operation in ["set", "add"] {
                let written = part.at(&format!("headers.{of}.{operation}"));
                for entry in written.into_iter().flat_map(NodeRef::entries) {
                    let name = entry.key().unwrap_or_default();
                    if is_of_handshake(name) && !is_as_clients_write(name, entry.text().unwrap_or_default()) {
                        let message = format!(
                            "the field {name} of each {of} is written over, and a handshake needs it as it is"
                        );
                        findings.push(UPGRADE_REMOVED.at(entry.place_of_key(), message, ""));
                    }
                }
            }
        }
    }
}

/// What each handshake says anyhow.
fn is_as_clients_write(name: &str, value: &str) -> bool {
    match name.to_ascii_lowercase().as_str() {
        "upgrade" => value.eq_ignore_ascii_case("websocket"),
        "connection" => value.eq_ignore_ascii_case("upgrade"),
        "sec-websocket-version" => value == "13",
        _ => false,
    }
}

/// Whether one of the conditions of a route can be true of a handshake.
fn may_take_handshakes(route: NodeRef<'_>) -> bool {
    let Some(conditions) = route.at("match") else { return true };
    conditions.items().any(|condition| {
        let without = condition.at("withoutHeaders").into_iter().flat_map(NodeRef::entries);
        let mut without = without.filter_map(NodeRef::key);
        let method = condition.at("method.exact").and_then(NodeRef::text);
        method.is_none_or(|method| method == "GET")
            && !without.any(|name| name.eq_ignore_ascii_case("upgrade"))
    })
}

/// Whether a route takes every handshake: without conditions, or with one that each fulfils.
fn is_for_every_handshake(route: NodeRef<'_>) -> bool {
    let Some(conditions) = route.at("match") else { return true };
    conditions.items().any(|condition| {
        let mut entries = condition.entries();
        entries.all(|entry| match entry.key() {
            Some("name") => true,
            Some("uri") => matches!(entry.at("prefix").and_then(NodeRef::text), Some("/")),
            Some("method") => entry.at("exact").and_then(NodeRef::text) == Some("GET"),
            Some("scheme") => entry.at("exact").and_then(NodeRef::text) == Some("http"),
            Some("headers") => entry.entries().all(|field| {
                let value = field.at("exact").and_then(NodeRef::text).unwrap_or_default();
                field.key().is_some_and(|name| is_as_clients_write(name, value))
            }),
            _ => false,
        })
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
