//! Istio's security policies: whom they are for, and which of several counts.

use super::*;

fn policy(kind: &str, name: &str, namespace: &str, spec: &str) -> String {
    format!(
        "apiVersion: security.istio.io/v1\nkind: {kind}\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: {spec}\n---\n"
    )
}

fn authorization(name: &str, namespace: &str, spec: &str) -> String {
    policy("AuthorizationPolicy", name, namespace, spec)
}

#[test]
fn to_allow_nothing_and_then_something_is_how_all_else_is_denied() {
    let nothing = authorization("deny", "default", "{}");
    let pods = SERVICE.to_owned() + DEPLOYMENT;
    for (namespace, spec, is_allowed) in [
        ("default", "{rules: [{}]}", true),
        ("default", "{selector: {matchLabels: {app: a}}, rules: [{}]}", true),
        ("istio-system", "{rules: [{}]}", true),
        ("istio-system", "{selector: {matchLabels: {app: a}}, rules: [{}]}", true),
        ("other", "{rules: [{}]}", false),
        ("default", "{selector: {matchLabels: {app: b}}, rules: [{}]}", false),
        ("default", "{selector: {matchLabels: {app: a, tier: b}}, rules: [{}]}", false),
        ("default", "{targetRefs: [{kind: Gateway, name: w}], rules: [{}]}", false),
        ("default", "{action: DENY, rules: [{}]}", false),
        ("default", "{rules: []}", false),
    ] {
        let all = nothing.clone() + &authorization("allow", namespace, spec) + &pods;
        assert_eq!(!codes(&all).contains(&"allows-nobody"), is_allowed, "{namespace} {spec}");
    }
    // One of two is left out.
    let allow = authorization("allow", "default", "{selector: {matchLabels: {app: a}}, rules: [{}]}");
    let other = (SERVICE.to_owned() + DEPLOYMENT).replace("name: a}", "name: b}").replace("app: a", "app: b");
    let found = findings(&(nothing.clone() + &allow + &pods + &other));
    let message = &found.iter().find(|it| it.rule.code == "allows-nobody").expect("a finding").message;
    assert_eq!(
        message,
        "this AuthorizationPolicy allows nothing in the namespace default, and no other anything to b: each \
         handshake gets 403 (RBAC)"
    );
    // A client that takes no sessions, and a database, need not be allowed anything.
    let client = DEPLOYMENT.replace("name: a}", "name: c}").replace("app: a", "app: c");
    let database = other.replace("http-ws", "tcp-db").replace("8080", "5432");
    let all = nothing.clone() + &allow + &pods + &client + &database;
    assert!(!codes(&all).contains(&"allows-nobody"));
    // Pods that are not among the documents may have more labels than their Service asks for.
    let more = allow.replace("{app: a}", "{app: a, tier: b}");
    assert!(!codes(&(nothing + &more + SERVICE)).contains(&"allows-nobody"));
}

#[test]
fn a_policy_that_allows_nothing_is_an_error_for_pods_that_are_there() {
    let pods = SERVICE.to_owned() + DEPLOYMENT;
    for (namespace, spec, is_error) in [
        ("default", "{}", true),
        ("istio-system", "{}", true),
        ("default", "{selector: {matchLabels: {app: a}}}", true),
        ("default", "{selector: {matchLabels: {app: b}}}", false),
        ("other", "{}", false),
        ("default", "{targetRefs: [{kind: Gateway, name: w}]}", true),
    ] {
        let found = codes(&(authorization("deny", namespace, spec) + &pods));
        assert_eq!(found.contains(&"allows-nobody"), is_error, "{namespace} {spec}");
    }
    let dry_run = authorization("deny", "default", "{}")
        .replace("namespace: default}", "namespace: default, annotations: {istio.io/dry-run: 'true'}}");
    assert!(!codes(&(dry_run + &pods)).contains(&"allows-nobody"));
    let alone = authorization("deny", "default", "{}") + &with_pool("maxRetries: 1");
    assert!(codes(&alone).contains(&"allows-nobody"), "of unseen pods");
}
