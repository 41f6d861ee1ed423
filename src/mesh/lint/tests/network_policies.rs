//! `NetworkPolicy`s that let nobody in.

use super::*;

fn policy(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: {name}}}\nspec: {{{spec}}}\n---\n"
    )
}

fn is_found(policies: &str) -> bool {
    codes(&(policies.to_owned() + SERVICE + DEPLOYMENT)).contains(&"network-policy")
}

#[test]
fn a_network_policy_that_lets_nothing_in_to_the_port_is_an_error() {
    for (spec, expected) in [
        ("podSelector: {}", true),
        ("podSelector: {}, policyTypes: [Ingress, Egress]", true),
        ("podSelector: {matchLabels: {app: a}}, ingress: []", true),
        ("podSelector: {}, ingress: [{ports: [{port: 8080}]}]", true),
        ("podSelector: {}, ingress: [{ports: [{port: 80, protocol: UDP}]}]", true),
        ("podSelector: {}, ingress: [{ports: [{port: other}]}]", true),
        ("podSelector: {}, policyTypes: [Egress]", false),
        ("podSelector: {matchLabels: {app: b}}", false),
        ("podSelector: {}, ingress: [{}]", false),
        ("podSelector: {}, ingress: [{from: [{podSelector: {}}]}]", false),
        ("podSelector: {}, ingress: [{ports: [{port: 80}]}]", false),
        ("podSelector: {}, ingress: [{ports: [{port: web}]}]", false),
        ("podSelector: {}, ingress: [{ports: [{port: 70, endPort: 90}]}]", false),
        ("podSelector: {matchExpressions: [{key: app, operator: Exists}]}", false),
    ] {
        assert_eq!(is_found(&policy("p", spec)), expected, "{spec}");
    }
}

#[test]
fn to_let_nothing_in_and_then_something_is_how_all_else_is_kept_out() {
    let nothing = policy("deny", "podSelector: {}");
    let allow = |selector: &str| {
        policy(
            "allow",
            &format!("podSelector: {{matchLabels: {{{selector}}}}}, ingress: [{{ports: [{{port: 80}}]}}]"),
        )
    };
    assert!(!is_found(&(nothing.clone() + &allow("app: a"))));
    assert!(is_found(&(nothing.clone() + &allow("app: b"))));
    let found = findings(&(nothing + SERVICE + DEPLOYMENT));
    let found = found.iter().find(|it| it.rule == &rules::NETWORK_POLICY).expect("a finding");
    assert_eq!(
        found.message,
        "no NetworkPolicy that selects the pods of a lets anything in to their port 80, to which the Service a leads"
    );
}
