//! Documents that a cluster would not take.

use super::finding::Finding;
use super::rules::{CLIENT_PROTOCOL_WITH_UPGRADE, DUPLICATE_DOCUMENT, INVALID_DOCUMENT};
use super::service::labels;
use super::set::Set;
use crate::mesh::document::{Deployment, Metadata};
use crate::mesh::error::{Duplicate, MeshError};
use crate::yaml::{Dialect, NodeRef};

pub(super) fn check(set: &Set, findings: &mut Vec<Finding>) {
    findings.extend(set.refused.iter().filter_map(finding));
    for service in set.documents.virtual_services() {
        let routes = service.metadata.document().at("spec.http").into_iter().flat_map(NodeRef::items);
        findings.extend(routes.filter_map(contradictory));
    }
    findings.extend(set.documents.deployments().iter().filter_map(unselected));
    let rules = set.documents.destination_rules().iter().map(|rule| &rule.metadata);
    let services = set.documents.virtual_services().iter().map(|service| &service.metadata);
    for document in rules.chain(services).map(Metadata::document) {
        let hosts = document.at("spec.hosts").into_iter().flat_map(NodeRef::items);
        let mut hosts = hosts.chain(document.at("spec.host"));
        findings.extend(hosts.find(|host| host.text() == Some("")).map(|host| {
            let message = "expected the name of a host, found an empty text";
            INVALID_DOCUMENT.at(host.place(), message, "")
        }));
    }
}

/// A workload whose selector does not select its own pods, which the API server refuses.
fn unselected(deployment: &Deployment) -> Option<Finding> {
    let selector = deployment.metadata.document().at("spec.selector.matchLabels")?;
    let is_there = |label: NodeRef<'_>| {
        let found = label.key().and_then(|name| deployment.labels().get(name));
        found.map(String::as_str) == label.text()
    };
    let lacking = selector.entries().find(|label| !is_there(*label))?;
    let message = format!(
        "spec.selector.matchLabels: expected labels of spec.template.metadata.labels, found {}: {}",
        lacking.key().unwrap_or_default(),
        lacking.text().unwrap_or_default()
    );
    let yaml = labels("matchLabels", deployment.labels());
    Some(INVALID_DOCUMENT.at(lacking.place_of_key(), message, yaml))
}

/// A route that does nothing, or two things that exclude each other (Istio's `validateHTTPRoute` and
/// `validateHTTPRouteDestinations`).
fn contradictory(route: NodeRef<'_>) -> Option<Finding> {
    let has = |field: &&str| {
        route.at(field).is_some_and(|value| value.items().len() > 0 || value.entries().len() > 0)
    };
    let actions: Vec<&str> =
        ["route", "redirect", "directResponse", "delegate"].into_iter().filter(has).collect();
    let message = match actions[..] {
        [] => "the route: expected a route, redirect, directResponse or delegate, found none".to_owned(),
        [one, other, ..] => format!("the route: expected one of {one} and {other}, found both"),
        ["redirect" | "directResponse"] if has(&"fault") => {
            format!("the route: expected one of {} and fault, found both", actions[0])
        }
        ["route"] => {
            let destinations = route.at("route")?;
            let weight = |it: NodeRef<'_>| it.at("weight")?.read::<u32>(Dialect::Kubernetes).ok();
            let is_refused =
                destinations.items().len() > 1 && destinations.items().all(|it| weight(it).unwrap_or(0) == 0);
            let message =
                "route: expected a weight of more than 0 in one of several destinations, found none";
            return is_refused
                .then(|| INVALID_DOCUMENT.at(destinations.place_of_key(), message, "weight: 100"));
        }
        _ => return None,
    };
    Some(INVALID_DOCUMENT.at(route.place(), message, ""))
}

/// The other errors are about files and about answers, not about one document.
fn finding(error: &MeshError) -> Option<Finding> {
    match error {
        MeshError::Document(error) => Some(INVALID_DOCUMENT.at(error.place()?.clone(), error.message(), "")),
        MeshError::ClientProtocolWithUpgrade { place, field } => {
            let message = format!("{field} is true where h2UpgradePolicy is UPGRADE");
            let yaml = "connectionPool:\n  http:\n    h2UpgradePolicy: UPGRADE";
            Some(CLIENT_PROTOCOL_WITH_UPGRADE.at(place.clone(), message, yaml))
        }
        MeshError::Duplicate(duplicate) => {
            let Duplicate { kind, namespace, name, first, second } = &**duplicate;
            let message = format!("{kind} {namespace}/{name} is already defined at {first}");
            Some(DUPLICATE_DOCUMENT.at(second.clone(), message, ""))
        }
        _ => None,
    }
}
