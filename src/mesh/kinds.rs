//! Kinds of documents: those that a cluster knows, and those that are read here. What is said of the
//! others is for whoever reads (`document`) and for `lint`.

use super::document::Manifest;
use super::rule::Rule;
use super::rules::{NOT_JUDGED, UNKNOWN_KIND};
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
pub(super) fn group_and_version(api_version: &str) -> (&str, &str) {
    api_version.split_once('/').unwrap_or(("", api_version))
}

/// Why a document that is not typed is worth a warning: by its kind, which no cluster knows or
/// nobody here reads. None if it has no part in what becomes of a session.
pub(super) fn left_out(manifest: &Manifest) -> Option<&'static Rule> {
    if unknown(manifest).is_some() {
        Some(&UNKNOWN_KIND)
    } else {
        (!is_judged(manifest)).then_some(&NOT_JUDGED)
    }
}

/// A kind, or a version of one, that no cluster has.
pub(super) struct UnknownKind {
    /// The field that is wrong.
    pub(super) field: &'static str,
    /// What is wrong with it.
    pub(super) message: String,
    /// What to write; empty where nothing resembles it.
    pub(super) yaml: String,
}

/// What is wrong with the kind of a document.
pub(super) fn unknown(manifest: &Manifest) -> Option<UnknownKind> {
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
        return Some(UnknownKind { field: "apiVersion", message, yaml: format!("apiVersion: {written}") });
    }
    let elsewhere = GROUPS.iter().find(|(_, kinds)| kinds.iter().any(|(known, _)| *known == kind));
    if let Some((other, _)) = elsewhere {
        let other = if other.is_empty() { "the core group, v1" } else { other };
        let message = format!("{api} has no kind {kind}: it belongs to {other}");
        return Some(UnknownKind { field: "kind", message, yaml: String::new() });
    }
    let meant = nearest(kind, kinds.iter().map(|(known, _)| *known), SIMILAR);
    let near = meant.map(|meant| format!(": the nearest is {meant}")).unwrap_or_default();
    let yaml = meant.map(|meant| format!("kind: {meant}")).unwrap_or_default();
    Some(UnknownKind { field: "kind", message: format!("{api} has no kind {kind}{near}"), yaml })
}

/// Whether the rules look at all of a document that decides about sessions, or it has no part in
/// them.
pub(super) fn is_judged(manifest: &Manifest) -> bool {
    let (group, _) = group_and_version(&manifest.api_version);
    match (group, manifest.kind.as_str()) {
        ("", kind) => kind == "Service" || NO_PART.contains(&kind),
        ("apps", kind) => ["DaemonSet", "Deployment", "StatefulSet", "ControllerRevision"].contains(&kind),
        ("networking.istio.io", "DestinationRule" | "VirtualService" | "EnvoyFilter")
        | ("telemetry.istio.io", "Telemetry") => true,
        // What the proxies take from their environment may be anything.
        ("networking.istio.io", "ProxyConfig") => manifest.document.at("spec.environmentVariables").is_none(),
        (group, _) => GROUPS_WITHOUT_PART.contains(&group),
    }
}
