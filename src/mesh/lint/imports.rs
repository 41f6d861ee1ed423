//! Istio's `Sidecar`, as far as it leaves out Services that the proxies it is for have to know.

use std::collections::BTreeSet;

use super::finding::Finding;
use super::rules::NOT_IMPORTED;
use super::set::Set;
use crate::mesh::document::{Manifest, ROOT_NAMESPACE};
use crate::mesh::host::resolve;
use crate::yaml::NodeRef;

pub(super) fn check(set: &Set, findings: &mut Vec<Finding>) {
    let services = set.documents.services().iter();
    let services: Vec<(String, &str)> = services
        .filter(|service| service.http_ports().next().is_some())
        .map(|service| (service.host(), service.namespace()))
        .collect();
    for sidecar in set.of_kind("networking.istio.io", "Sidecar") {
        findings.extend(not_imported(set, &services, sidecar));
    }
}

/// What a `Sidecar` leaves out of what its namespace is known to use: its own Services, those that
/// its rules and routes are for, and if it has none of all that are there, these.
fn not_imported(set: &Set, services: &[(String, &str)], sidecar: &Manifest) -> Option<Finding> {
    let egress = sidecar.document.at("spec.egress")?;
    let hosts = egress.items().filter_map(|listener| listener.at("hosts")).flat_map(NodeRef::items);
    let hosts: Vec<&str> = hosts.filter_map(NodeRef::text).collect();
    if hosts.is_empty() {
        return None;
    }
    let namespace = sidecar.namespace();
    let is_there = |&&(ref host, of): &&(String, &str)| {
        // Istio's root namespace says it for all, each of which is its own.
        let own = if namespace == ROOT_NAMESPACE { of } else { namespace };
        hosts.iter().any(|import| imports(import, own, host, of))
    };
    let left_out: Vec<&(String, &str)> = services.iter().filter(|service| !is_there(service)).collect();
    let used: Vec<&str> = if left_out.len() == services.len() {
        left_out.iter().map(|(host, _)| host.as_str()).collect()
    } else {
        let named = named_in(set, namespace);
        let is_used = |(host, of): &&&(String, &str)| *of == namespace || named.contains(host.as_str());
        left_out.iter().filter(is_used).map(|(host, _)| host.as_str()).collect()
    };
    let (first, more) = used.split_first()?;
    let more = if more.is_empty() { String::new() } else { format!(" (and {} more)", more.len()) };
    let policy = sidecar.document.at("spec.outboundTrafficPolicy.mode").and_then(NodeRef::text);
    let then = match policy {
        Some("REGISTRY_ONLY") => "and with REGISTRY_ONLY a session gets 502",
        Some("ALLOW_ANY") => "and a session passes unchanged, without rules and mTLS",
        _ => {
            "and a session passes unchanged, without rules and mTLS, or gets 502 where the mesh is REGISTRY_ONLY"
        }
    };
    let message = format!("the proxies of this Sidecar do not know {first}{more}, {then}");
    let of = first.split('.').nth(1).unwrap_or("*");
    let yaml = format!("hosts:\n- {of}/{first}");
    Some(NOT_IMPORTED.at(egress.place_of_key(), message, yaml))
}

/// Whether `NAMESPACE/HOST` of an egress listener is a Service's.
fn imports(import: &str, own: &str, host: &str, namespace: &str) -> bool {
    let (from, name) = import.split_once('/').unwrap_or(("*", import));
    let is_namespace = match from {
        "*" => true,
        "." => namespace == own,
        "~" => false,
        named => namespace == named,
    };
    let is_host = match name.strip_prefix('*') {
        Some(suffix) => host.ends_with(suffix),
        None => host == name,
    };
    is_namespace && is_host
}

/// The hosts that `DestinationRule`s and `VirtualService`s of a namespace are for.
fn named_in(set: &Set, namespace: &str) -> BTreeSet<String> {
    let rules = set.documents.destination_rules().iter();
    let rules = rules.filter(|rule| rule.metadata.namespace == namespace).map(|rule| &rule.host);
    let routes = set.documents.virtual_services().iter();
    let routes = routes.filter(|it| it.metadata.namespace == namespace && it.is_for_sidecars());
    rules.chain(routes.flat_map(|it| &it.hosts)).map(|host| resolve(host, namespace)).collect()
}
