//! Documents by their kind: those that a cluster would not know, and those that nobody here judges.
//! Of what was not read nothing is said to be right.

use std::collections::BTreeMap;

use super::finding::{Finding, Rule};
use super::rules::{NOT_JUDGED, NOTHING_JUDGED, UNKNOWN_KIND};
use super::set::Set;
use crate::mesh::document::Manifest;
use crate::nearest::nearest;

/// How similar (normalized Levenshtein) a kind must be to be what was meant.
const SIMILAR: f64 = 0.6;

/// The versions of Istio's networking API in which most of its kinds are the same.
const ISTIO: &[&str] = &["v1alpha3", "v1beta1", "v1"];
const V1: &[&str] = &["v1"];
const V1BETA1: &[&str] = &["v1beta1", "v1"];

/// A kind of a group, and the versions in which clusters have it.
type Kind = (&'static str, &'static [&'static str]);

/// The groups of which all kinds are known: a cluster refuses every other one.
const GROUPS: [(&str, &[Kind]); 5] = [
    (
        "",
        &[
            ("Binding", V1),
            ("ComponentStatus", V1),
            ("ConfigMap", V1),
            ("Endpoints", V1),
            ("Event", V1),
            ("LimitRange", V1),
            ("List", V1),
            ("Namespace", V1),
            ("Node", V1),
            ("PersistentVolume", V1),
            ("PersistentVolumeClaim", V1),
            ("Pod", V1),
            ("PodTemplate", V1),
            ("ReplicationController", V1),
            ("ResourceQuota", V1),
            ("Secret", V1),
            ("Service", V1),
            ("ServiceAccount", V1),
        ],
    ),
    (
        "apps",
        &[
            ("ControllerRevision", V1),
            ("DaemonSet", V1),
            ("Deployment", V1),
            ("ReplicaSet", V1),
            ("StatefulSet", V1),
        ],
    ),
    (
        "networking.istio.io",
        &[
            ("DestinationRule", ISTIO),
            ("EnvoyFilter", &["v1alpha3"]),
            ("Gateway", ISTIO),
            ("ProxyConfig", &["v1beta1"]),
            ("ServiceEntry", ISTIO),
            ("Sidecar", ISTIO),
            ("VirtualService", ISTIO),
            ("WorkloadEntry", ISTIO),
            ("WorkloadGroup", ISTIO),
        ],
    ),
    (
        "security.istio.io",
        &[
            ("AuthorizationPolicy", V1BETA1),
            ("PeerAuthentication", V1BETA1),
            ("RequestAuthentication", V1BETA1),
        ],
    ),
    ("telemetry.istio.io", &[("Telemetry", &["v1alpha1", "v1"])]),
];

/// Kinds of which a part is judged, and which.
const PARTLY: [(&str, &str, &str); 4] = [
    ("networking.istio.io", "ServiceEntry", "whether HTTP/2 is spoken to its hosts"),
    ("security.istio.io", "AuthorizationPolicy", "whether it allows nobody"),
    ("security.istio.io", "PeerAuthentication", "whether a DestinationRule contradicts it"),
    ("gateway.networking.k8s.io", "HTTPRoute", "its timeouts"),
];

/// Kinds of the core group that have no part in what becomes of a session.
const NO_PART: [&str; 14] = [
    "Binding",
    "ComponentStatus",
    "ConfigMap",
    "Event",
    "LimitRange",
    "List",
    "Namespace",
    "Node",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "PodTemplate",
    "ResourceQuota",
    "Secret",
    "ServiceAccount",
];

/// Groups without such a part.
const GROUPS_WITHOUT_PART: [&str; 8] = [
    "apiextensions.k8s.io",
    "autoscaling",
    "coordination.k8s.io",
    "events.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "scheduling.k8s.io",
    "storage.k8s.io",
];

/// The group and the version of an `apiVersion`; the core group is empty.
fn group_and_version(api_version: &str) -> (&str, &str) {
    api_version.split_once('/').unwrap_or(("", api_version))
}

/// Why a document that is not typed is worth a warning: by its kind, which no cluster knows or
/// nobody here reads. None if it has no part in what becomes of a session.
pub(in crate::mesh) fn left_out(manifest: &Manifest) -> Option<&'static Rule> {
    if unknown(manifest).is_some() {
        Some(&UNKNOWN_KIND)
    } else {
        (!is_judged(manifest)).then_some(&NOT_JUDGED)
    }
}

pub(super) fn check(set: &Set, findings: &mut Vec<Finding>) {
    let mut not_judged: BTreeMap<(&str, &str), (usize, &Manifest)> = BTreeMap::new();
    for manifest in set.documents.manifests() {
        if let Some(finding) = unknown(manifest) {
            findings.push(finding);
        } else if !is_judged(manifest) {
            let key = (manifest.api_version.as_str(), manifest.kind.as_str());
            not_judged.entry(key).or_insert((0, manifest)).0 += 1;
        }
    }
    // One note a kind: a cluster has many documents of each.
    findings.extend(not_judged.into_iter().map(|((api_version, kind), (count, first))| {
        let (group, _) = group_and_version(api_version);
        let partly = PARTLY.iter().find(|(of, known, _)| *of == group && *known == kind);
        let only = partly.map(|(.., what)| format!(" but for {what}")).unwrap_or_default();
        let documents =
            if count == 1 { "this document is".to_owned() } else { format!("{count} documents are") };
        let message = format!("{kind} ({api_version}): {documents} not judged{only}");
        NOT_JUDGED.at(first.document.place_of("kind"), message, "")
    }));
    let documents = &set.documents;
    let nothing = documents.services().is_empty()
        && documents.destination_rules().is_empty()
        && documents.virtual_services().is_empty()
        && documents.envoy_filters().is_empty();
    if nothing && let Some(first) = documents.manifests().first() {
        let message = "no Service, and no rule for one, is among these documents";
        findings.push(NOTHING_JUDGED.at(first.place(), message, ""));
    }
}

/// A kind, or a version of one, that no cluster has.
fn unknown(manifest: &Manifest) -> Option<Finding> {
    let (group, version) = group_and_version(&manifest.api_version);
    let (_, kinds) = GROUPS.iter().find(|(known, _)| *known == group)?;
    let kind = manifest.kind.as_str();
    let api = if group.is_empty() { version } else { group };
    if let Some((_, versions)) = kinds.iter().find(|(known, _)| *known == kind) {
        if versions.contains(&version) {
            return None;
        }
        let newest = versions.last()?;
        let written = if group.is_empty() { (*newest).to_owned() } else { format!("{group}/{newest}") };
        let message = format!("{group} has {kind} as {}, not as {version}", versions.join(", "));
        let place = manifest.document.place_of("apiVersion");
        return Some(UNKNOWN_KIND.at(place, message, format!("apiVersion: {written}")));
    }
    let place = manifest.document.place_of("kind");
    let elsewhere = GROUPS.iter().find(|(_, kinds)| kinds.iter().any(|(known, _)| *known == kind));
    if let Some((other, _)) = elsewhere {
        let other = if other.is_empty() { "the core group, v1" } else { other };
        return Some(UNKNOWN_KIND.at(place, format!("{api} has no kind {kind}: it belongs to {other}"), ""));
    }
    let meant = nearest(kind, kinds.iter().map(|(known, _)| *known), SIMILAR);
    let near = meant.map(|meant| format!(": the nearest is {meant}")).unwrap_or_default();
    let yaml = meant.map(|meant| format!("kind: {meant}")).unwrap_or_default();
    Some(UNKNOWN_KIND.at(place, format!("{api} has no kind {kind}{near}"), yaml))
}

/// Whether the rules look at all of a document that decides about sessions, or it has no part in
/// them.
fn is_judged(manifest: &Manifest) -> bool {
    let (group, _) = group_and_version(&manifest.api_version);
    match (group, manifest.kind.as_str()) {
        ("", kind) => kind == "Service" || NO_PART.contains(&kind),
        ("apps", kind) => ["DaemonSet", "Deployment", "StatefulSet", "ControllerRevision"].contains(&kind),
        ("networking.istio.io", "DestinationRule" | "VirtualService" | "EnvoyFilter") => true,
        (group, _) => GROUPS_WITHOUT_PART.contains(&group),
    }
}
