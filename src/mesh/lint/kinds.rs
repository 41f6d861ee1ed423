//! Documents by their kind: those that a cluster would not know, and those that nobody here judges.
//! Of what was not read nothing is said to be right.

use std::collections::BTreeMap;

use super::finding::Finding;
use super::rules::{NOT_JUDGED, NOTHING_JUDGED, UNKNOWN_KIND};
use super::set::Set;
use crate::mesh::document::Manifest;
use crate::mesh::kinds::{UnknownKind, group_and_version, is_judged, unknown};

/// Kinds of which a part is judged, and which.
const PARTLY: [(&str, &str, &str); 12] = [
    ("install.istio.io", "IstioOperator", "the mesh's h2UpgradePolicy"),
    ("sailoperator.io", "Istio", "the mesh's h2UpgradePolicy"),
    ("sailoperator.io", "IstioRevision", "the mesh's h2UpgradePolicy"),
    ("networking.istio.io", "ProxyConfig", "what is not in its environmentVariables"),
    ("networking.istio.io", "ServiceEntry", "whether HTTP/2 is spoken to its hosts"),
    ("networking.istio.io", "Sidecar", "which Services its proxies do not know"),
    ("networking.k8s.io", "Ingress", "the Services that it leads to"),
    ("networking.k8s.io", "NetworkPolicy", "whether it lets nobody in"),
    ("security.istio.io", "AuthorizationPolicy", "whether it refuses every handshake"),
    (
        "security.istio.io",
        "PeerAuthentication",
        "whether a DestinationRule or a client without a sidecar contradicts it",
    ),
    ("security.istio.io", "RequestAuthentication", "whether browsers can send its tokens"),
    (
        "gateway.networking.k8s.io",
        "HTTPRoute",
        "what becomes of handshakes: conditions, fields, redirects, timeouts, Services",
    ),
];

pub(super) fn check(set: &Set, findings: &mut Vec<Finding>) {
    let mut not_judged: BTreeMap<(&str, &str), (usize, &Manifest)> = BTreeMap::new();
    for manifest in set.documents.manifests() {
        if let Some(UnknownKind { field, message, yaml }) = unknown(manifest) {
            findings.push(UNKNOWN_KIND.at(manifest.document.place_of(field), message, yaml));
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
    let first = documents.manifests().first().map(|first| first.place());
    let first = first.or_else(|| documents.declared_meshes().first().map(|first| first.place.clone()));
    if nothing && let Some(first) = first {
        let message = "no Service, and no rule for one, is among these documents";
        findings.push(NOTHING_JUDGED.at(first, message, ""));
    }
}
