//! Istio's security policies, as far as they refuse every handshake.

use super::finding::Finding;
use super::rules::{ALLOWS_NOBODY, STRICT_WITHOUT_TLS};
use super::set::Set;
use crate::mesh::document::{Manifest, ROOT_NAMESPACE};
use crate::mesh::host::resolve;
use crate::yaml::NodeRef;

pub(super) fn check(set: &Set, findings: &mut Vec<Finding>) {
    let of_kind = |kind: &'static str| {
        let manifests = set.documents.manifests().iter();
        manifests.filter(move |it| it.kind == kind && it.api_version.starts_with("security.istio.io/"))
    };
    for policy in of_kind("AuthorizationPolicy") {
        findings.extend(allows_nobody(policy));
    }
    let strict: Vec<&str> = of_kind("PeerAuthentication")
        .filter(|policy| policy.document.at("spec.mtls.mode").and_then(NodeRef::text) == Some("STRICT"))
        .map(|policy| namespace(policy))
        .collect();
    for rule in set.documents.destination_rules() {
        let written = rule.metadata.document();
        let Some(mode) = written.at("spec.trafficPolicy.tls.mode") else { continue };
        let host = resolve(&rule.host, &rule.metadata.namespace);
        let of_host = host.split('.').nth(1).unwrap_or_default();
        let is_strict = strict.iter().any(|namespace| *namespace == ROOT_NAMESPACE || *namespace == of_host);
        if mode.text() == Some("DISABLE") && is_strict {
            let message = format!("tls mode is DISABLE for {host}, whose PeerAuthentication says STRICT");
            findings.push(STRICT_WITHOUT_TLS.at(mode.place(), message, "mode: ISTIO_MUTUAL"));
        }
    }
}

fn namespace(manifest: &Manifest) -> &str {
    manifest.document.at("metadata.namespace").and_then(NodeRef::text).unwrap_or("default")
}

/// An ALLOW policy without rules.
fn allows_nobody(policy: &Manifest) -> Option<Finding> {
    let action = policy.document.at("spec.action").and_then(NodeRef::text).unwrap_or("ALLOW");
    let rules = policy.document.at("spec.rules").map_or(0, |rules| rules.items().len());
    if action != "ALLOW" || rules > 0 {
        return None;
    }
    let message = format!(
        "this AuthorizationPolicy allows nothing in the namespace {}: each handshake gets 403 (RBAC)",
        namespace(policy)
    );
    Some(ALLOWS_NOBODY.at(policy.document.place_of("spec"), message, "spec:\n  rules:\n  - {}"))
}
