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

#[test]
fn a_policy_that_denies_every_handshake_or_allows_no_get_is_an_error() {
    let pods = SERVICE.to_owned() + DEPLOYMENT;
    let to = |operation: &str| format!("[{{to: [{{operation: {{{operation}}}}}]}}]");
    for (spec, is_error) in [
        ("{action: DENY, rules: [{}]}".to_owned(), true),
        ("{action: DENY, selector: {matchLabels: {app: a}}, rules: [{}]}".to_owned(), true),
        ("{action: DENY, selector: {matchLabels: {app: b}}, rules: [{}]}".to_owned(), false),
        ("{action: DENY}".to_owned(), false),
        ("{action: DENY, rules: [{from: [{source: {namespaces: [b]}}]}]}".to_owned(), false),
        (format!("{{action: DENY, rules: {}}}", to("methods: [GET]")), true),
        (format!("{{action: DENY, rules: {}}}", to("paths: ['/*']")), true),
        (format!("{{action: DENY, rules: {}}}", to("methods: [GET], paths: [/admin]")), false),
        (format!("{{action: DENY, rules: {}}}", to("methods: [DELETE]")), false),
        (format!("{{action: DENY, rules: {}}}", to("notPorts: ['80']")), false),
        (format!("{{rules: {}}}", to("methods: [POST]")), true),
        (format!("{{rules: {}}}", to("notMethods: [GET]")), true),
        (format!("{{rules: {}}}", to("methods: [GET, POST]")), false),
        (format!("{{rules: {}}}", to("paths: [/ws]")), false),
        ("{action: AUDIT, rules: [{}]}".to_owned(), false),
    ] {
        let found = codes(&(authorization("p", "default", &spec) + &pods));
        assert_eq!(found.contains(&"allows-nobody"), is_error, "{spec}");
    }
}

fn peers(name: &str, namespace: &str, spec: &str) -> String {
    policy("PeerAuthentication", name, namespace, spec)
}

fn tls(mode: &str) -> String {
    destination_rule(&format!("{{host: a, trafficPolicy: {{tls: {{mode: {mode}}}}}}}"))
}

/// Whether the documents, beside the Service and its pods, have a finding of that code.
#[track_caller]
fn assert_found(code: &str, documents: &str, is_found: bool) {
    let found = codes(&(documents.to_owned() + SERVICE + DEPLOYMENT));
    assert_eq!(found.contains(&code), is_found, "{code}: {found:?} in\n{documents}");
}

const SELECTING: &str = "selector: {matchLabels: {app: a}}";

#[test]
fn the_most_specific_peer_authentication_counts() {
    let strict = |name: &str, namespace: &str| peers(name, namespace, "{mtls: {mode: STRICT}}");
    let of_namespace = strict("of-all", "default");
    let of_mesh = strict("m", "istio-system");
    let of_pods = |rest: &str| peers("p", "default", &format!("{{{SELECTING}, {rest}}}"));
    for (policies, is_strict) in [
        (of_namespace.clone(), true),
        (of_mesh.clone(), true),
        (strict("o", "other"), false),
        (of_namespace.clone() + &of_pods("mtls: {mode: PERMISSIVE}"), false),
        (of_namespace.clone() + &of_pods("mtls: {mode: UNSET}"), true),
        (of_namespace.clone() + &of_pods("mtls: {mode: DISABLE}").replace("app: a", "app: b"), true),
        (of_mesh.clone() + &peers("of-all", "default", "{mtls: {mode: PERMISSIVE}}"), false),
        (of_mesh.clone() + &peers("of-all", "default", "{}"), true),
        (of_pods("mtls: {mode: STRICT}"), true),
        // By the pod's port, not the Service's.
        (of_pods("mtls: {mode: STRICT}, portLevelMtls: {80: {mode: DISABLE}}"), false),
        (of_pods("mtls: {mode: STRICT}, portLevelMtls: {8080: {mode: DISABLE}}"), true),
        (of_pods("mtls: {mode: STRICT}, portLevelMtls: {80: {mode: UNSET}}"), true),
        (of_pods("portLevelMtls: {80: {mode: STRICT}}"), true),
        (of_pods("portLevelMtls: {'80': {mode: STRICT}}"), true),
        // Without a selector, and in the root namespace with one, it does not count.
        (peers("of-all", "default", "{portLevelMtls: {80: {mode: STRICT}}}"), false),
        (of_pods("mtls: {mode: STRICT}").replace("namespace: default", "namespace: istio-system"), false),
        // Of two alike the older.
        (of_namespace.clone() + &peers("a", "default", "{mtls: {mode: PERMISSIVE}}"), false),
        (of_namespace + &peers("z", "default", "{mtls: {mode: PERMISSIVE}}"), true),
    ] {
        assert_found("strict-without-tls", &(policies + &tls("DISABLE")), is_strict);
    }
}

#[test]
fn a_tls_mode_counts_where_it_is_written() {
    let strict = peers("of-all", "default", "{mtls: {mode: STRICT}}");
    let disable = "tls: {mode: DISABLE}";
    let at_port = |port: u16, more: &str, settings: &str| {
        format!("{{{more}portLevelSettings: [{{port: {{number: {port}}}, {settings}}}]}}")
    };
    for (policy, is_wrong) in [
        (at_port(8080, "", disable), true),
        (at_port(80, "", disable), false),
        (at_port(8080, &format!("{disable}, "), "loadBalancer: {simple: RANDOM}"), false),
    ] {
        let rule = destination_rule(&format!("{{host: a, trafficPolicy: {policy}}}"));
        assert_found("strict-without-tls", &(strict.clone() + &rule), is_wrong);
    }
    let subset = |labels: &str| {
        destination_rule(&format!(
            "{{host: a, subsets: [{{name: v1, labels: {{{labels}}}, trafficPolicy: {{{disable}}}}}]}}"
        ))
    };
    assert_found("strict-without-tls", &(strict.clone() + &subset("app: a")), true);
    assert_found("strict-without-tls", &(strict.clone() + &subset("app: b")), false);
    // Pods without a sidecar take plain text, whatever the policy says.
    let uninjected = DEPLOYMENT.replace("{app: a}", "{app: a, sidecar.istio.io/inject: 'false'}");
    assert!(
        !codes(&(strict.clone() + &tls("DISABLE") + SERVICE + &uninjected)).contains(&"strict-without-tls")
    );
    // Without the Service its namespace is known.
    let unseen = codes(&(strict + &tls("DISABLE")));
    assert!(unseen.contains(&"strict-without-tls"), "{unseen:?}");
}

#[test]
fn mutual_tls_to_pods_that_take_none_is_an_error() {
    let disabled = peers("of-all", "default", "{mtls: {mode: DISABLE}}");
    assert_found("hop-mismatch", &(disabled.clone() + &tls("ISTIO_MUTUAL")), true);
    assert_found("hop-mismatch", &(disabled + &tls("DISABLE")), false);
    assert_found("hop-mismatch", &tls("ISTIO_MUTUAL"), false);
    for (label, is_wrong) in [
        ("sidecar.istio.io/inject: 'false'", true),
        ("sidecar.istio.io/inject: 'true'", false),
        ("istio.io/dataplane-mode: ambient", false),
        ("istio: egressgateway", false),
    ] {
        let pods = DEPLOYMENT.replace("{app: a}", &format!("{{app: a, {label}}}"));
        let found = codes(&(tls("ISTIO_MUTUAL") + SERVICE + &pods));
        assert_eq!(found.contains(&"hop-mismatch"), is_wrong, "{label}: {found:?}");
    }
}

#[test]
fn a_client_without_a_sidecar_is_refused_by_a_server_that_takes_mutual_tls_alone() {
    let strict = peers("of-all", "default", "{mtls: {mode: STRICT}}");
    let client = DEPLOYMENT.replace("name: a}", "name: c}").replace("app: a", "app: c");
    let labelled = |label: &str| client.replace("{app: c}", &format!("{{app: c, {label}}}"));
    let annotated = |annotation: &str| {
        client
            .replace("{labels: {app: c}}", &format!("{{labels: {{app: c}}, annotations: {{{annotation}}}}}"))
    };
    let namespace = |labels: &str| {
        format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: web, labels: {{{labels}}}}}\n---\n")
    };
    let elsewhere = client.replace("name: c}", "name: c, namespace: web}");
    let uninjected = labelled("sidecar.istio.io/inject: 'false'");
    let code = "client-without-sidecar";
    for wrong in [
        uninjected.clone(),
        annotated("sidecar.istio.io/inject: 'false'"),
        annotated("traffic.sidecar.istio.io/excludeOutboundPorts: '22, 8080'"),
        annotated("traffic.sidecar.istio.io/includeOutboundIPRanges: ''"),
        annotated("sidecar.istio.io/interceptionMode: NONE"),
        annotated("inject.istio.io/templates: grpc-agent"),
        client.replace("spec: {containers", "spec: {hostNetwork: true, containers"),
        elsewhere.clone() + &namespace("istio-injection: disabled"),
    ] {
        assert_found(code, &(strict.clone() + &wrong), true);
        assert_found(code, &wrong, false);
    }
    for right in [
        client.clone(),
        annotated("traffic.sidecar.istio.io/excludeOutboundPorts: '80'"),
        annotated("traffic.sidecar.istio.io/includeOutboundIPRanges: '*'"),
        labelled("istio.io/dataplane-mode: ambient"),
        labelled("istio: ingressgateway"),
        elsewhere + &namespace("istio-injection: enabled"),
        uninjected.replace("name: c}", "name: c, namespace: istio-system}"),
    ] {
        assert_found(code, &(strict.clone() + &right), false);
    }
    // What is a server itself is taken for a client beside its server alone, and a database never.
    let service = |from: &str, to: &str| {
        let service = SERVICE.replace("name: a}", "name: c}").replace("app: a", "app: c");
        strict.clone() + &uninjected + &service.replace(from, to)
    };
    assert_found(code, &service("", ""), true);
    assert_found(code, &service("http-ws, port: 8080", "tcp-db, port: 5432"), false);
    let of_other_namespace = service("", "").replace("name: c}", "name: c, namespace: web}");
    assert_found(code, &of_other_namespace, false);
    // The server itself, and one that takes plain text on the port.
    let pods = DEPLOYMENT.replace("{app: a}", "{app: a, sidecar.istio.io/inject: 'false'}");
    assert!(!codes(&(strict.clone() + SERVICE + &pods)).contains(&code));
    let port =
        peers("p", "default", &format!("{{{SELECTING}, portLevelMtls: {{80: {{mode: PERMISSIVE}}}}}}"));
    assert_found(code, &(strict + &port + &uninjected), false);
}

#[test]
fn a_port_of_mutual_tls_that_no_pod_has_is_a_note() {
    let of_port = |port: u16| {
        let spec = format!(
            "{{selector: {{matchLabels: {{app: a}}}}, portLevelMtls: {{{port}: {{mode: DISABLE}}}}}}"
        );
        codes(&(peers("p", "default", &spec) + SERVICE + DEPLOYMENT)).contains(&"undeclared-port")
    };
    assert!(of_port(8080), "it is the Service's");
    assert!(!of_port(80));
}
