//! Documents that a cluster would not take.

use super::finding::Finding;
use super::rules::{CLIENT_PROTOCOL_WITH_UPGRADE, DUPLICATE_DOCUMENT, INVALID_DOCUMENT};
use super::set::Set;
use crate::mesh::error::{Duplicate, MeshError};

pub(super) fn check(set: &Set, findings: &mut Vec<Finding>) {
    findings.extend(set.refused.iter().filter_map(finding));
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
