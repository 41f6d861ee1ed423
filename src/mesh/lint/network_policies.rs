//! `NetworkPolicy`s that let no connection in to the port of a Service's pods. Whom they let in, and
//! out, is not looked at.

use std::collections::{HashMap, HashSet};

use super::finding::Finding;
use super::rules::NETWORK_POLICY;
use super::set::Set;
use crate::mesh::document::{Deployment, Manifest, Service};
use crate::mesh::inbound::target_port;
use crate::yaml::NodeRef;

pub(super) fn check(set: &Set, findings: &mut Vec<Finding>) {
    let mut policies: HashMap<Selected<'_>, Vec<&Manifest>> = HashMap::new();
    for policy in set.of_kind("networking.k8s.io", "NetworkPolicy").filter(|it| is_for_ingress(it)) {
        policies.entry((policy.namespace(), selector(policy).next())).or_default().push(policy);
    }
    if policies.is_empty() {
        return;
    }
    let mut places = HashSet::new();
    for service in set.documents.services() {
        for pods in set.documents.pods_of(service) {
            let labels = pods.labels().iter().map(|(name, value)| (name.as_str(), value.as_str()));
            let keys = labels.map(Some).chain([None]).map(|label| (service.namespace(), label));
            let candidates = keys.filter_map(|key| policies.get(&key)).flatten();
            let selecting: Vec<&Manifest> = candidates.copied().filter(|it| selects(it, pods)).collect();
            findings.extend(let_in_by_none(set, service, pods, &selecting).filter(|finding| {
                let place = &finding.place;
                places.insert((place.file.clone(), place.line, place.column))
            }));
        }
    }
}

/// A namespace, and the first of the labels that a policy selects; none, if it selects all pods.
type Selected<'s> = (&'s str, Option<(&'s str, &'s str)>);

fn selector(policy: &Manifest) -> impl Iterator<Item = (&str, &str)> {
    let labels = policy.document.at("spec.podSelector.matchLabels").into_iter().flat_map(NodeRef::entries);
    labels.map(|label| (label.key().unwrap_or_default(), label.text().unwrap_or_default()))
}

fn selects(policy: &Manifest, pods: &Deployment) -> bool {
    selector(policy).all(|(name, value)| pods.labels().get(name).is_some_and(|label| label == value))
}

/// Who says nothing of the types means at least what comes in.
fn is_for_ingress(policy: &Manifest) -> bool {
    let types = policy.document.at("spec.policyTypes");
    types.is_none_or(|types| types.items().any(|it| it.text() == Some("Ingress")))
}

/// The first of the policies that select pods, if none of them lets connections in to the port of a
/// Service.
fn let_in_by_none(
    set: &Set,
    service: &Service,
    pods: &Deployment,
    selecting: &[&Manifest],
) -> Option<Finding> {
    // Whom expressions select is not looked at, and so not what they let in.
    let is_expression =
        |policy: &&Manifest| policy.document.at("spec.podSelector.matchExpressions").is_some();
    if selecting.iter().any(is_expression) {
        return None;
    }
    let rules = || selecting.iter().flat_map(|policy| ingress(policy));
    let first = selecting.first()?;
    let refused = service.http_ports().find_map(|port| {
        let number = target_port(&set.documents, service, Some(&pods.workload()), port).ok()?;
        (!rules().any(|rule| lets_in(rule, number, pods))).then_some(number)
    })?;
    let message = format!(
        "no NetworkPolicy that selects the pods of {} lets anything in to their port {refused}, to which the Service {} \
         leads",
        pods.metadata.name,
        service.name()
    );
    let yaml = format!("ingress:\n- ports:\n  - port: {refused}");
    let place = first.document.at("spec.ingress").or_else(|| first.document.at("spec"))?.place_of_key();
    Some(NETWORK_POLICY.at(place, message, yaml))
}

fn ingress(policy: &Manifest) -> impl Iterator<Item = NodeRef<'_>> {
    policy.document.at("spec.ingress").into_iter().flat_map(NodeRef::items)
}

/// Whether a rule is for a port of pods; one without ports is for all.
fn lets_in(rule: NodeRef<'_>, number: u16, pods: &Deployment) -> bool {
    let Some(ports) = rule.at("ports").filter(|ports| ports.items().len() > 0) else { return true };
    let as_number = |node: NodeRef<'_>| node.to_json(str::to_owned).as_u64();
    let number = u64::from(number);
    ports.items().any(|it| {
        let is_tcp = it.at("protocol").is_none_or(|protocol| protocol.text() == Some("TCP"));
        let is_this = it.at("port").is_none_or(|port| match (as_number(port), port.text()) {
            (Some(first), _) => {
                (first..=it.at("endPort").and_then(as_number).unwrap_or(first)).contains(&number)
            }
            (None, Some(name)) => pods.ports.get(name).is_some_and(|named| u64::from(*named) == number),
            (None, None) => true,
        });
        is_tcp && is_this
    })
}
