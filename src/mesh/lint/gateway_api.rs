//! `HTTPRoute`s of the Gateway API, of gateways and of the mesh: what becomes of a handshake in them.

use std::collections::HashMap;

use super::backends::{Backend, check_backend};
use super::finding::Finding;
use super::handshake::{HandshakeHead, Takes, takes_any};
use super::rules::{
    INVALID_DOCUMENT, NO_DESTINATION, NO_HANDSHAKE_ROUTE, REDIRECT, UNROUTED_PATHS, VIRTUAL_SERVICE_TIMEOUT,
};
use super::set::Set;
use super::timeouts::set_to;
use crate::mesh::config::{FieldMatch, PathMatch, Pattern, QueryParameterMatch, RouteMatch, ValueMatch};
use crate::mesh::document::Manifest;
use crate::yaml::NodeRef;

pub(super) fn check(set: &Set, findings: &mut Vec<Finding>) {
    let routes: Vec<&Manifest> = set.of_kind("gateway.networking.k8s.io", "HTTPRoute").collect();
    let mut beside: HashMap<Parent<'_>, Vec<&Manifest>> = HashMap::new();
    for route in &routes {
        for parent in parents(route) {
            beside.entry(parent).or_default().push(route);
        }
    }
    for route in routes {
        check_route(set, route, &beside, findings);
    }
}

/// What a route belongs to: its kind, namespace and name.
type Parent<'d> = (&'d str, &'d str, &'d str);

fn parents(route: &Manifest) -> impl Iterator<Item = Parent<'_>> {
    items(route.document.root(), "spec.parentRefs").map(|parent| {
        let text = |field: &str| parent.at(field).and_then(NodeRef::text);
        let kind = text("kind").unwrap_or("Gateway");
        (kind, text("namespace").unwrap_or_else(|| route.namespace()), text("name").unwrap_or_default())
    })
}

/// Whether another route of one of the parents takes some handshakes, for a host that both may have.
fn has_another(route: &Manifest, beside: &HashMap<Parent<'_>, Vec<&Manifest>>) -> bool {
    let hosts = |route: &Manifest| -> Vec<String> {
        let hosts = items(route.document.root(), "spec.hostnames").filter_map(NodeRef::text);
        hosts.map(str::to_owned).collect()
    };
    let own = hosts(route);
    let shares_a_host = |other: &Manifest| {
        let others = hosts(other);
        let is_wide = |hosts: &[String]| hosts.is_empty() || hosts.iter().any(|host| host.starts_with('*'));
        is_wide(&own) || is_wide(&others) || own.iter().any(|host| others.contains(host))
    };
    let others = parents(route).filter_map(|parent| beside.get(&parent)).flatten();
    others
        .filter(|other| !std::ptr::eq(**other, route) && shares_a_host(other))
        .any(|other| items(other.document.root(), "spec.rules").any(|rule| takes(rule) > Takes::None))
}

fn check_route(
    set: &Set,
    route: &Manifest,
    beside: &HashMap<Parent<'_>, Vec<&Manifest>>,
    findings: &mut Vec<Finding>,
) {
    let rules: Vec<_> = items(route.document.root(), "spec.rules").collect();
    if rules.is_empty() {
        // One rule for every path, without backends, is the default.
        let message = "this HTTPRoute has no rules, and so leads nowhere: each handshake gets 500";
        findings.push(NO_DESTINATION.at(route.document.place_of("spec"), message, ""));
        return;
    }
    let for_handshakes: Vec<_> = rules.iter().copied().filter(|rule| takes(*rule) > Takes::None).collect();
    for rule in &rules {
        findings.extend(items(*rule, "backendRefs").filter_map(without_port));
        let timers = rule.at("timeouts").into_iter().flat_map(NodeRef::entries);
        findings.extend(timers.filter_map(no_duration));
    }
    for rule in &for_handshakes {
        check_rule(set, route, *rule, findings);
    }
    let is_of_mesh = parents(route).any(|(kind, ..)| kind == "Service");
    findings.extend(redirected(&for_handshakes, is_of_mesh));
    let Some(first) = rules.iter().find_map(|rule| rule.at("matches")) else { return };
    let is_alone = !has_another(route, beside);
    if for_handshakes.is_empty() && is_alone {
        let message = "no rule of this HTTPRoute takes a handshake, which is a GET: each gets 404 (NR)";
        findings.push(NO_HANDSHAKE_ROUTE.at(first.place_of_key(), message, ""));
    } else if !for_handshakes.iter().any(|rule| takes(*rule) == Takes::Every) {
        let message = "only the paths that match have a route here: others get 404 (NR), unless another \
                       HTTPRoute has them";
        findings.push(UNROUTED_PATHS.at(first.place_of_key(), message, ""));
    }
}

/// What a rule that takes handshakes does with them.
fn check_rule(set: &Set, route: &Manifest, rule: NodeRef<'_>, findings: &mut Vec<Finding>) {
    for timer in ["timeouts.request", "timeouts.backendRequest"] {
        let found = set_to(rule, timer, &VIRTUAL_SERVICE_TIMEOUT, "timeouts:\n  request: 0s");
        findings.extend(found.map(|mut finding| {
            finding.message = format!("of an HTTPRoute's timeouts {}", finding.message);
            finding
        }));
    }
    let of_backends = items(rule, "backendRefs").flat_map(|backend| items(backend, "filters"));
    let filters: Vec<_> = items(rule, "filters").collect();
    for filter in filters.iter().copied().chain(of_backends) {
        check_fields(filter, findings);
    }
    let is_redirected = filters.iter().any(|filter| filter.at("requestRedirect").is_some());
    let mut weights = items(rule, "backendRefs").map(|backend| backend.at("weight"));
    let is_zero = |weight: NodeRef<'_>| weight.to_json(str::to_owned) == 0;
    // One that is not written is 1.
    if !is_redirected && weights.all(|weight| weight.is_some_and(is_zero)) {
        let (place, what) = match rule.at("backendRefs").filter(|backends| backends.items().len() > 0) {
            Some(backends) => (backends.place_of_key(), "backends whose weights are all 0"),
            None => (rule.place(), "no backends"),
        };
        let message = format!("this rule has {what}: each handshake that it takes gets 500");
        findings.push(NO_DESTINATION.at(place, message, ""));
    }
    for backend in items(rule, "backendRefs").filter(|backend| is_service(*backend)) {
        let own = backend.at("namespace").and_then(NodeRef::text);
        let namespace = own.unwrap_or_else(|| route.namespace());
        let backend = Backend { name: backend.at("name"), namespace, port: backend.at("port") };
        findings.extend(check_backend(set, &backend));
    }
}

fn is_service(backend: NodeRef<'_>) -> bool {
    let text = |field: &str| backend.at(field).and_then(NodeRef::text);
    text("kind").is_none_or(|kind| kind == "Service") && text("group").is_none_or(str::is_empty)
}

/// A Service whose port is not named, which the API server refuses.
fn without_port(backend: NodeRef<'_>) -> Option<Finding> {
    let is_refused = is_service(backend) && backend.at("port").is_none();
    let message = "port: expected a value where the backend is a Service, found nothing";
    is_refused.then(|| INVALID_DOCUMENT.at(backend.place(), message, "port: 80"))
}

/// A timer that is no duration as the Gateway API takes them (GEP-2257), which the API server refuses.
fn no_duration(timer: NodeRef<'_>) -> Option<Finding> {
    let is_part = |part: &str| {
        let digits = part.trim_end_matches(char::is_alphabetic);
        let unit = &part[digits.len()..];
        (1..=5).contains(&digits.len())
            && digits.bytes().all(|byte| byte.is_ascii_digit())
            && ["h", "m", "s", "ms"].contains(&unit)
    };
    let is_duration = |text: &str| {
        let parts =
            text.split_inclusive(char::is_alphabetic).fold(Vec::new(), |mut parts: Vec<String>, part| {
                // `m` and `s` are two letters of one unit.
                match parts.last_mut().filter(|last| part == "s" && last.ends_with('m')) {
                    Some(last) => last.push_str(part),
                    None => parts.push(part.to_owned()),
                }
                parts
            });
        (1..=4).contains(&parts.len()) && parts.iter().all(|part| is_part(part))
    };
    let written = timer.to_json(str::to_owned);
    let message = format!(
        "timeouts.{}: expected a duration such as 10s or 1h30m, found {written}",
        timer.key().unwrap_or_default()
    );
    let is_right = written.is_null() || timer.text().is_some_and(is_duration);
    (!is_right).then(|| INVALID_DOCUMENT.at(timer.place(), message, "timeouts:\n  request: 0s"))
}

fn check_fields(filter: NodeRef<'_>, findings: &mut Vec<Finding>) {
    for (field, head) in [
        ("requestHeaderModifier", HandshakeHead::Request),
        ("responseHeaderModifier", HandshakeHead::Response),
    ] {
        let Some(modifier) = filter.at(field) else { continue };
        let removed = items(modifier, "remove");
        findings.extend(removed.filter_map(|it| head.without(it.text().unwrap_or_default(), it.place())));
        for written in items(modifier, "set").chain(items(modifier, "add")) {
            let text = |field: &str| written.at(field).and_then(NodeRef::text).unwrap_or_default();
            findings.extend(head.with(text("name"), text("value"), written.place()));
        }
    }
}

/// Every handshake is redirected where nothing but a redirect takes any. One to https alone is for
/// those who come to a gateway without TLS.
fn redirected(rules: &[NodeRef<'_>], is_of_mesh: bool) -> Option<Finding> {
    let redirects: Option<Vec<_>> = rules.iter().map(|rule| redirect(*rule, is_of_mesh)).collect();
    let first = redirects?.into_iter().next()?;
    let message = "every request of this HTTPRoute is redirected";
    Some(REDIRECT.at(first.place_of_key(), message, ""))
}

fn redirect(rule: NodeRef<'_>, is_of_mesh: bool) -> Option<NodeRef<'_>> {
    let redirect = items(rule, "filters").find_map(|filter| filter.at("requestRedirect"))?;
    let fields = ["hostname", "path", "port"];
    let is_elsewhere = is_of_mesh
        || fields.iter().any(|field| redirect.at(field).is_some())
        || redirect.at("scheme").and_then(NodeRef::text) != Some("https");
    is_elsewhere.then_some(redirect)
}

/// How many handshakes a rule takes.
fn takes(rule: NodeRef<'_>) -> Takes {
    let matches: Vec<RouteMatch> = items(rule, "matches").map(conditions).collect();
    if matches.is_empty() { Takes::Every } else { takes_any(&matches) }
}

/// An `HTTPRouteMatch` in Envoy's terms, as Istio translates it.
fn conditions(written: NodeRef<'_>) -> RouteMatch {
    fn text<'d>(node: NodeRef<'d>, path: &str) -> Option<&'d str> {
        node.at(path).and_then(NodeRef::text)
    }
    let value = |node: NodeRef<'_>| {
        let value = text(node, "value").unwrap_or_default().to_owned();
        match text(node, "type") {
            Some("RegularExpression") => {
                Pattern::try_from(value).map_or(ValueMatch::Present, ValueMatch::Regex)
            }
            _ => ValueMatch::Exact(value),
        }
    };
    let path = text(written, "path.value").unwrap_or("/").to_owned();
    let path = match text(written, "path.type") {
        Some("Exact") => PathMatch::Exact(path),
        Some("RegularExpression") => {
            Pattern::try_from(path.clone()).map_or(PathMatch::Exact(path), PathMatch::Regex)
        }
        _ => PathMatch::Prefix(path),
    };
    let method = text(written, "method").map(|method| FieldMatch {
        name: ":method".to_owned(),
        value: ValueMatch::Exact(method.to_owned()),
        invert: false,
    });
    let fields = items(written, "headers").map(|field| FieldMatch {
        name: text(field, "name").unwrap_or_default().to_ascii_lowercase(),
        value: value(field),
        invert: false,
    });
    let parameters = items(written, "queryParams").map(|parameter| QueryParameterMatch {
        name: text(parameter, "name").unwrap_or_default().to_owned(),
        value: value(parameter),
    });
    RouteMatch {
        path,
        case_sensitive: true,
        fields: fields.chain(method).collect(),
        query_parameters: parameters.collect(),
    }
}

fn items<'d>(node: NodeRef<'d>, path: &str) -> std::vec::IntoIter<NodeRef<'d>> {
    node.at(path).into_iter().flat_map(NodeRef::items).collect::<Vec<_>>().into_iter()
}
