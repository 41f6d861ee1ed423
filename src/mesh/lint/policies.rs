//! Istio's security policies, as far as they refuse every handshake, or each of a browser.

use super::finding::Finding;
use super::rules::{ALLOWS_NOBODY, STRICT_WITHOUT_TLS, TOKEN_FROM_HEADER};
use super::set::Set;
use crate::mesh::document::{Manifest, ROOT_NAMESPACE};
use crate::mesh::host::resolve;
use crate::yaml::NodeRef;

pub(super) fn check(set: &Set, findings: &mut Vec<Finding>) {
    let of_kind = |kind: &'static str| set.of_kind("security.istio.io", kind);
    for policy in of_kind("AuthorizationPolicy") {
        findings.extend(allows_nobody(policy));
    }
    let strict: Vec<&str> = of_kind("PeerAuthentication")
        .filter(|policy| policy.document.at("spec.mtls.mode").and_then(NodeRef::text) == Some("STRICT"))
        .map(Manifest::namespace)
        .collect();
    let asking: Vec<&str> =
        of_kind("AuthorizationPolicy").filter(|it| asks_for_token(it)).map(Manifest::namespace).collect();
    for authentication in of_kind("RequestAuthentication") {
        let namespace = authentication.namespace();
        if asking.iter().any(|of| [*of, namespace].contains(&ROOT_NAMESPACE) || *of == namespace) {
            findings.extend(token_from_header(authentication));
        }
    }
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

/// An ALLOW policy without rules.
fn allows_nobody(policy: &Manifest) -> Option<Finding> {
    let action = policy.document.at("spec.action").and_then(NodeRef::text).unwrap_or("ALLOW");
    let rules = policy.document.at("spec.rules").map_or(0, |rules| rules.items().len());
    if action != "ALLOW" || rules > 0 {
        return None;
    }
    let message = format!(
        "this AuthorizationPolicy allows nothing in the namespace {}: each handshake gets 403 (RBAC)",
        policy.namespace()
    );
    Some(ALLOWS_NOBODY.at(policy.document.place_of("spec"), message, "spec:\n  rules:\n  - {}"))
}

/// Whether a policy lets requests pass only with a token, of some kind.
fn asks_for_token(policy: &Manifest) -> bool {
    let is_deny = policy.document.at("spec.action").and_then(NodeRef::text) == Some("DENY");
    let principals = if is_deny { "source.notRequestPrincipals" } else { "source.requestPrincipals" };
    let mut rules = policy.document.at("spec.rules").into_iter().flat_map(NodeRef::items);
    rules.any(|rule| {
        let mut sources = rule.at("from").into_iter().flat_map(NodeRef::items);
        let keys = rule.at("when").into_iter().flat_map(NodeRef::items).filter_map(|it| it.at("key"));
        let mut keys = keys.filter_map(NodeRef::text);
        sources.any(|from| from.at(principals).is_some()) || keys.any(|key| key.starts_with("request.auth."))
    })
}

/// A token that is taken from a header field alone.
fn token_from_header(authentication: &Manifest) -> Option<Finding> {
    let rules = authentication.document.at("spec.jwtRules").into_iter().flat_map(NodeRef::items);
    let mut from_headers =
        rules.filter(|rule| ["fromParams", "fromCookies"].iter().all(|field| rule.at(field).is_none()));
    let rule = from_headers.next()?;
    let message = "a handshake needs a token, and this one is taken from a header field alone";
    Some(TOKEN_FROM_HEADER.at(rule.place(), message, "fromParams:\n- access_token"))
}
