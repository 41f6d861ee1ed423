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
    let beside = Beside::of(&routes);
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

/// How many routes take handshakes, of each parent and of each of its hosts.
#[derive(Default)]
struct Beside<'d> {
    of_parents: HashMap<Parent<'d>, usize>,
    of_hosts: HashMap<(Parent<'d>, &'d str), usize>,
}

/// What stands for every host.
const EVERY_HOST: &str = "*";

impl<'d> Beside<'d> {
    fn of(routes: &[&'d Manifest]) -> Self {
        let mut beside = Self::default();
        for route in routes.iter().filter(|route| takes_some(route)) {
            for parent in parents(route) {
                *beside.of_parents.entry(parent).or_default() += 1;
                for host in hosts(route) {
                    *beside.of_hosts.entry((parent, host)).or_default() += 1;
                }
            }
        }
        beside
    }

    /// Whether another route of one of the parents takes some, for a host that both may have.
    fn has_another(&self, route: &Manifest) -> bool {
        let own = usize::from(takes_some(route));
        let hosts = hosts(route);
        parents(route).any(|parent| {
            let of_host = |host| self.of_hosts.get(&(parent, host)).copied().unwrap_or_default();
            if hosts.contains(&EVERY_HOST) {
                return self.of_parents.get(&parent).is_some_and(|all| *all > own);
            }
            of_host(EVERY_HOST) > 0 || hosts.iter().any(|host| of_host(host) > own)
        })
    }
}

fn takes_some(route: &Manifest) -> bool {
    items(route.document.root(), "spec.rules").any(|rule| takes(rule) > Takes::None)
}

/// The hosts that a route is for; those of a pattern may be any.
fn hosts(route: &Manifest) -> Vec<&str> {
    let hosts: Vec<&str> = items(route.document.root(), "spec.hostnames").filter_map(NodeRef::text).collect();
    let is_wide = hosts.is_empty() || hosts.iter().any(|host| host.starts_with('*'));
    if is_wide { vec![EVERY_HOST] } else { hosts }
}

fn check_route(set: &Set, route: &Manifest, beside: &Beside<'_>, findings: &mut Vec<Finding>) {
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
    let is_alone = !beside.has_another(route);
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
