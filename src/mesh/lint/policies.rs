//! Istio's policies about requests, as far as they refuse every handshake, or each of a browser.
//! Those about connections are in `mutual_tls`.

use std::collections::{BTreeMap, HashMap};

use super::finding::Finding;
use super::proxies::entry;
use super::rules::{ALLOWS_NOBODY, TOKEN_FROM_HEADER};
use super::set::Set;
use crate::mesh::document::{Deployment, Manifest, ROOT_NAMESPACE, ServicePort};
use crate::yaml::NodeRef;

pub(super) fn check(set: &Set, findings: &mut Vec<Finding>) {
    let of_kind = |kind: &'static str| set.of_kind("security.istio.io", kind);
    let policies: Vec<&Manifest> = of_kind("AuthorizationPolicy").collect();
    let mut allowing: HashMap<&str, Vec<&Manifest>> = HashMap::new();
    for policy in policies.iter().filter(|it| is_allow(it) && allows_some(it) && !is_dry_run(it)) {
        allowing.entry(policy.namespace()).or_default().push(policy);
    }
    findings.extend(policies.iter().filter_map(|policy| allows_nobody(set, policy, &allowing)));
    findings.extend(policies.iter().filter_map(|policy| denies_everybody(set, policy)));
    let asking: Vec<&str> =
        of_kind("AuthorizationPolicy").filter(|it| asks_for_token(it)).map(Manifest::namespace).collect();
    for authentication in of_kind("RequestAuthentication") {
        let namespace = authentication.namespace();
        if asking.iter().any(|of| [*of, namespace].contains(&ROOT_NAMESPACE) || *of == namespace) {
            findings.extend(token_from_header(authentication));
        }
    }
}

/// An ALLOW policy without rules, or with rules that no handshake fulfils, if no other ALLOW policy lets anything pass to some of the pods
/// that it is for. With such others it is what people write to deny all but these.
fn allows_nobody(set: &Set, policy: &Manifest, allowing: &HashMap<&str, Vec<&Manifest>>) -> Option<Finding> {
    if !is_allow(policy) || allows_some(policy) || is_dry_run(policy) {
        return None;
    }
    let allowing = |namespace: &str| allowing.get(namespace).into_iter().flatten();
    let namespace = policy.namespace();
    let what = if rules(policy).len() == 0 { "nothing" } else { "no handshake, which is a GET," };
    let nothing = format!("this AuthorizationPolicy allows {what} in the namespace {namespace}");
    let message = if is_for_waypoint(policy) {
        if allowing(namespace).any(|other| is_for_waypoint(other)) {
            return None;
        }
        format!("{nothing}: each handshake gets 403 (RBAC)")
    } else if set.documents.services().is_empty() && set.documents.deployments().is_empty() {
        // Of nobody's pods anything is known.
        format!("{nothing}: each handshake gets 403 (RBAC)")
    } else {
        let mut covered = servers(set, namespace).into_iter().filter(|server| server.may_be_of(policy));
        let is_allowed = |server: &Server<'_>| {
            let mut others = allowing(server.namespace).chain(allowing(ROOT_NAMESPACE));
            others.any(|other| server.may_be_of(other))
        };
        let denied = covered.find(|server| !is_allowed(server))?;
        format!("{nothing}, and no other anything to {}: each handshake gets 403 (RBAC)", denied.name)
    };
    Some(ALLOWS_NOBODY.at(policy.document.place_of("spec"), message, "spec:\n  rules:\n  - {}"))
}

/// A DENY policy with a rule that every handshake fulfils.
fn denies_everybody(set: &Set, policy: &Manifest) -> Option<Finding> {
    if action(policy) != "DENY" || is_dry_run(policy) {
        return None;
    }
    let rule = rules(policy).find(|rule| is_of_every_handshake(*rule))?;
    let of = if is_for_waypoint(policy) || set.documents.services().is_empty() {
        String::new()
    } else {
        let mut covered = servers(set, policy.namespace()).into_iter();
        format!(" to {}", covered.find(|server| server.may_be_of(policy))?.name)
    };
    let message = format!("this rule denies every handshake{of}: each gets 403 (RBAC)");
    Some(ALLOWS_NOBODY.at(rule.place(), message, ""))
}

fn action(policy: &Manifest) -> &str {
    policy.document.at("spec.action").and_then(NodeRef::text).unwrap_or("ALLOW")
}

fn is_allow(policy: &Manifest) -> bool {
    action(policy) == "ALLOW"
}

fn rules(policy: &Manifest) -> std::vec::IntoIter<NodeRef<'_>> {
    let rules = policy.document.at("spec.rules").into_iter().flat_map(NodeRef::items);
    rules.collect::<Vec<_>>().into_iter()
}

/// Whether one of the rules may be fulfilled by a handshake.
fn allows_some(policy: &Manifest) -> bool {
    rules(policy).any(|rule| {
        let mut operations = operations(rule).peekable();
        operations.peek().is_none() || operations.any(may_be_get)
    })
}

fn operations(rule: NodeRef<'_>) -> impl Iterator<Item = NodeRef<'_>> {
    rule.at("to").into_iter().flat_map(NodeRef::items).filter_map(|to| to.at("operation"))
}

/// Whether an operation may be that of a handshake, which is a GET.
fn may_be_get(operation: NodeRef<'_>) -> bool {
    let has_get = |field: &str| {
        let methods = operation.at(field)?;
        Some(methods.items().filter_map(NodeRef::text).any(|it| it == "GET" || it == "*"))
    };
    has_get("methods").unwrap_or(true) && !has_get("notMethods").unwrap_or(false)
}

/// Whether a rule asks for nothing that a handshake may not have.
fn is_of_every_handshake(rule: NodeRef<'_>) -> bool {
    let has_any = |field: NodeRef<'_>| match field.key() {
        Some("methods") => field.items().filter_map(NodeRef::text).any(|it| it == "GET" || it == "*"),
        Some("paths" | "hosts") => field.items().filter_map(NodeRef::text).any(|it| it == "*" || it == "/*"),
        _ => false,
    };
    let mut operations = operations(rule).peekable();
    let has_others = ["from", "when"].iter().any(|field| rule.at(field).is_some());
    !has_others
        && (operations.peek().is_none() || operations.any(|operation| operation.entries().all(has_any)))
}

/// Whether the policy is only tried: what it would refuse is logged and passes.
fn is_dry_run(policy: &Manifest) -> bool {
    entry(policy.document.at("metadata.annotations"), "istio.io/dry-run") == Some("true")
}

/// Whether the policy is for a gateway or a waypoint, which no selector chooses.
fn is_for_waypoint(policy: &Manifest) -> bool {
    ["spec.targetRef", "spec.targetRefs"].iter().any(|field| policy.document.at(field).is_some())
}

/// Pods to which sessions go.
struct Server<'s> {
    name: &'s str,
    namespace: &'s str,
    labels: &'s BTreeMap<String, String>,
    /// Whether these are all labels that the pods have.
    are_all: bool,
}

impl Server<'_> {
    /// Whether the policy is for these pods, as far as their labels are known.
    fn may_be_of(&self, policy: &Manifest) -> bool {
        let selector = policy.document.at("spec.selector.matchLabels");
        [ROOT_NAMESPACE, self.namespace].contains(&policy.namespace())
            && !is_for_waypoint(policy)
            && selector.into_iter().flat_map(NodeRef::entries).all(|wanted| {
                let label = wanted.key().and_then(|name| self.labels.get(name));
                label.map_or(!self.are_all, |label| wanted.text() == Some(label.as_str()))
            })
    }
}

/// The pods behind the Services of a namespace that may carry HTTP; where it has no Services, all
/// pods.
fn servers<'s>(set: &'s Set, namespace: &'s str) -> Vec<Server<'s>> {
    let of_pods = |pods: &'s Deployment| Server {
        name: &pods.metadata.name,
        namespace: &pods.metadata.namespace,
        labels: pods.labels(),
        are_all: true,
    };
    if set.services_in(namespace).next().is_none() {
        let deployments = set.documents.deployments().iter();
        let own = deployments
            .filter(|pods| namespace == ROOT_NAMESPACE || pods.metadata.namespace.as_str() == namespace);
        return own.map(of_pods).collect();
    }
    let services =
        set.services_in(namespace).filter(|service| service.ports.iter().any(ServicePort::may_be_http));
    services
        .flat_map(|service| {
            let pods = set.documents.pods_of(service);
            let unseen = pods.is_empty().then(|| Server {
                name: service.name(),
                namespace: service.namespace(),
                labels: service.selector(),
                are_all: false,
            });
            pods.into_iter().map(of_pods).chain(unseen)
        })
        .collect()
}

/// Whether a policy lets requests pass only with a token, of some kind.
fn asks_for_token(policy: &Manifest) -> bool {
    let principals =
        if action(policy) == "DENY" { "source.notRequestPrincipals" } else { "source.requestPrincipals" };
    rules(policy).any(|rule| {
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
