//! What the routes of `VirtualService`s lead to: whether the host, the port and the subset are there.

use super::finding::Finding;
use super::hosts::unknown_destination;
use super::rules::UNKNOWN_DESTINATION;
use super::set::Set;
use crate::mesh::document::{Port, Service, VirtualService};
use crate::mesh::host::resolve;
use crate::mesh::scalar::scalar;
use crate::yaml::{Dialect, NodeRef, Within};

pub(super) fn check(set: &Set, findings: &mut Vec<Finding>) {
    for service in set.documents.virtual_services() {
        let routes = service.metadata.document().at("spec.http").into_iter().flat_map(NodeRef::items);
        let destinations = routes.filter_map(|route| route.at("route")).flat_map(NodeRef::items);
        for destination in destinations.filter_map(|it| it.at("destination")) {
            findings.extend(missing(set, service, destination));
        }
    }
}

/// What is not there of a destination.
fn missing(set: &Set, service: &VirtualService, destination: NodeRef<'_>) -> Option<Finding> {
    let host_node = destination.at("host")?;
    let host = host_node.text()?;
    let namespace = &service.metadata.namespace;
    let Some(target) = set.documents.service_with_host(&resolve(host, namespace)) else {
        return unknown_destination(set, host, namespace, host_node.place(), "host: ");
    };
    let without_port = match destination.at("port.number") {
        Some(port) => {
            let Within(number) = port.read::<Port>(Dialect::Kubernetes).ok()?;
            (!has_port(target, number)).then(|| (port.place(), format!("has no port {number}")))
        }
        // Of several ports the one is meant that the client dials.
        None if target.ports.len() > 1 => {
            let mut dialled = dialled_ports(set, service).into_iter();
            dialled.find(|number| !has_port(target, *number)).map(|number| {
                let what = format!("has several ports, and none like the one that clients dial, {number}");
                (destination.place(), what)
            })
        }
        None => None,
    };
    if let Some((place, what)) = without_port {
        let ports: Vec<String> = target.ports.iter().map(|port| port.number.to_string()).collect();
        let yaml = format!("port:\n  number: {}", ports.first().map_or("…", String::as_str));
        let finding = UNKNOWN_DESTINATION.at(place, format!("the Service {host} {what}"), yaml);
        // Of an `ExternalName` no ports are read.
        return (!target.ports.is_empty()).then_some(finding);
    }
    let subset = destination.at("subset")?;
    without_subset(set, target, subset.text()?, subset)
}

fn has_port(service: &Service, number: u16) -> bool {
    service.ports.iter().any(|port| port.number == number)
}

/// The HTTP ports of the Services that the routes are for.
fn dialled_ports(set: &Set, service: &VirtualService) -> Vec<u16> {
    let hosts = service.hosts.iter().filter(|host| !host.starts_with('*'));
    let hosts = hosts.map(|host| resolve(host, &service.metadata.namespace));
    let services = hosts.filter_map(|host| set.documents.service_with_host(&host));
    services.flat_map(Service::http_ports).map(|port| port.number).collect()
}

/// A subset that no rule has, or that no pod is in.
fn without_subset(set: &Set, target: &Service, name: &str, subset: NodeRef<'_>) -> Option<Finding> {
    let host = target.host();
    let rules = set.documents.destination_rules_for(&host);
    let mut found = rules.iter().flat_map(|(_, rule)| &rule.subsets).filter(|it| it.name == name).peekable();
    if found.peek().is_none() {
        let message = format!("no DestinationRule for {host} has the subset {name}");
        let name = scalar(name);
        let yaml = format!("subsets:\n- name: {name}\n  labels:\n    version: {name}");
        return Some(UNKNOWN_DESTINATION.at(subset.place(), message, yaml));
    }
    let is_empty = found.all(|it| set.has_no_pods(target, it));
    let message = format!("no pod of {host} is in the subset {name}: a session gets 503 (UH)");
    is_empty.then(|| UNKNOWN_DESTINATION.at(subset.place(), message, ""))
}
