//! `exportTo` of `DestinationRule`s and `VirtualService`s: whether a client that is known sees them.

use std::collections::BTreeSet;

use super::finding::Finding;
use super::rules::{FOR_NO_CLIENT, NOT_JUDGED};
use super::set::Set;
use crate::mesh::document::{Metadata, ROOT_NAMESPACE};
use crate::mesh::host::Visibility;
use crate::mesh::scalar::scalar;
use crate::nearest::nearest;

/// How similar (Jaro-Winkler) a namespace must be to be what was meant.
const SIMILAR: f64 = 0.85;

pub(super) fn check(set: &Set, findings: &mut Vec<Finding>) {
    let namespaces = set.namespaces();
    let rules = set.documents.destination_rules().iter().map(|rule| (&rule.metadata, &rule.export_to));
    let services = set.documents.virtual_services().iter();
    let services = services.map(|service| (&service.metadata, &service.export_to));
    findings.extend(
        rules.chain(services).filter_map(|(metadata, to)| exported_to_nobody(&namespaces, metadata, to)),
    );
}

fn exported_to_nobody(
    namespaces: &BTreeSet<&str>,
    metadata: &Metadata,
    export_to: &Visibility,
) -> Option<Finding> {
    let own = metadata.namespace.as_str();
    let mut clients = namespaces.iter().copied().chain([own, ROOT_NAMESPACE]);
    if clients.any(|namespace| export_to.includes(namespace, own)) {
        return None;
    }
    let place = metadata.document().place_of("spec.exportTo");
    let named: Vec<&str> = export_to.namespaces().collect();
    let to = named.join(", ");
    let meant = named.iter().find_map(|name| nearest(name, namespaces.iter().copied().chain([own]), SIMILAR));
    let Some(meant) = meant else {
        let message = format!(
            "only clients in {to} see this, and of none of them anything is known here: what it does there is not judged"
        );
        return Some(NOT_JUDGED.at(place, message, ""));
    };
    let message =
        format!("no namespace {to} is known here, and so no client sees this: the nearest is {meant}");
    Some(FOR_NO_CLIENT.at(place, message, format!("exportTo:\n- {}", scalar(meant))))
}
