//! `HTTPRoute`s of the Gateway API, of gateways and of the mesh: what becomes of a handshake in them.

use super::backends::{Backend, check_backend};
use super::finding::Finding;
use super::rules::{REDIRECT, UNROUTED_PATHS, UPGRADE_REMOVED, VIRTUAL_SERVICE_TIMEOUT};
use super::set::Set;
use super::timeouts::set_to;
use crate::mesh::config_dump::is_of_handshakes;
use crate::mesh::document::Manifest;
use crate::yaml::NodeRef;

pub(super) fn check(set: &Set, findings: &mut Vec<Finding>) {
    for route in set.of_kind("gateway.networking.k8s.io", "HTTPRoute") {
        check_route(set, route, findings);
    }
}

fn check_route(set: &Set, route: &Manifest, findings: &mut Vec<Finding>) {
    let rules = items(route.document.root(), "spec.rules");
    let for_handshakes: Vec<_> = rules.filter(|rule| is_for_handshakes(*rule)).collect();
    for rule in &for_handshakes {
        for timer in ["timeouts.request", "timeouts.backendRequest"] {
            let found = set_to(*rule, timer, &VIRTUAL_SERVICE_TIMEOUT, "timeouts:\n  request: 0s");
            findings.extend(found.map(|mut finding| {
                finding.message = format!("of an HTTPRoute's timeouts {}", finding.message);
                finding
            }));
        }
        for removed in
            items(*rule, "filters").flat_map(|filter| items(filter, "requestHeaderModifier.remove"))
        {
            let name = removed.text().unwrap_or_default();
            if is_of_handshakes(name) {
                let message =
                    format!("the field {name}, without which it is no WebSocket handshake, is removed");
                findings.push(UPGRADE_REMOVED.at(removed.place(), message, ""));
            }
        }
        for backend in items(*rule, "backendRefs") {
            if backend.at("kind").and_then(NodeRef::text).is_none_or(|kind| kind == "Service") {
                let own = backend.at("namespace").and_then(NodeRef::text);
                let namespace = own.unwrap_or_else(|| route.namespace());
                let backend = Backend { name: backend.at("name"), namespace, port: backend.at("port") };
                findings.extend(check_backend(set, &backend));
            }
        }
    }
    check_redirect(&for_handshakes, findings);
    let first = for_handshakes.iter().find_map(|rule| rule.at("matches"));
    if let Some(first) = first
        && !for_handshakes.iter().any(|rule| is_for_every_path(*rule))
    {
        let message = "only the paths that match have a route here: others get 404 (NR), unless another \
                       HTTPRoute has them";
        findings.push(UNROUTED_PATHS.at(first.place_of_key(), message, ""));
    }
}

/// Every handshake is redirected where nothing but a redirect is there. One to https alone is for
/// those who come without TLS.
fn check_redirect(rules: &[NodeRef<'_>], findings: &mut Vec<Finding>) {
    let leads = rules.iter().any(|rule| items(*rule, "backendRefs").len() > 0);
    let mut redirects = rules.iter().flat_map(|rule| {
        items(*rule, "filters").filter(|_| is_for_every_path(*rule)).filter_map(|it| it.at("requestRedirect"))
    });
    let elsewhere = |redirect: &NodeRef<'_>| {
        let fields = ["hostname", "path", "port"];
        fields.iter().any(|field| redirect.at(field).is_some())
            || redirect.at("scheme").and_then(NodeRef::text) != Some("https")
    };
    if !leads && let Some(redirect) = redirects.find(elsewhere) {
        let message = "every request of this HTTPRoute is redirected";
        findings.push(REDIRECT.at(redirect.place_of_key(), message, ""));
    }
}

/// Whether a handshake, which is a GET, may match.
fn is_for_handshakes(rule: NodeRef<'_>) -> bool {
    let mut matches = items(rule, "matches");
    let method = |it: NodeRef<'_>| it.at("method").and_then(NodeRef::text).is_none_or(|it| it == "GET");
    matches.len() == 0 || matches.any(method)
}

/// Whether a rule takes every path: without matches, or with one that all paths fulfil.
fn is_for_every_path(rule: NodeRef<'_>) -> bool {
    let mut matches = items(rule, "matches");
    let is_any_path = |it: NodeRef<'_>| {
        let text = |path: &str| it.at(path).and_then(NodeRef::text);
        let is_prefix = text("path.type").is_none_or(|kind| kind == "PathPrefix");
        let has_conditions = ["headers", "queryParams"].iter().any(|field| it.at(field).is_some());
        is_prefix && text("path.value").is_none_or(|value| value == "/") && !has_conditions
    };
    matches.len() == 0 || matches.any(is_any_path)
}

fn items<'d>(node: NodeRef<'d>, path: &str) -> std::vec::IntoIter<NodeRef<'d>> {
    node.at(path).into_iter().flat_map(NodeRef::items).collect::<Vec<_>>().into_iter()
}
