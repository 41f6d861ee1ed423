//! Fields that there are not, and words that a field does not have, in each kind that is read.

use super::*;

fn document(api_version: &str, kind: &str, spec: &str) -> String {
    format!("apiVersion: {api_version}\nkind: {kind}\nmetadata: {{name: it}}\nspec: {spec}\n---\n{SERVICE}")
}

/// The messages of a rule's findings.
fn said(rule: &Rule, text: &str) -> Vec<String> {
    let found = findings(text).into_iter().filter(|finding| finding.rule == rule);
    found.map(|finding| finding.message).collect()
}

#[test]
fn a_word_that_a_field_does_not_have_is_refused_with_the_nearest_one() {
    for (api_version, kind, wrong, right, yaml) in [
        (
            "security.istio.io/v1",
            "AuthorizationPolicy",
            "{action: Allow, rules: [{}]}",
            "ALLOW",
            "action: ALLOW",
        ),
        ("security.istio.io/v1", "PeerAuthentication", "{mtls: {mode: STRCT}}", "STRICT", "mode: STRICT"),
        ("security.istio.io/v1", "PeerAuthentication", "{portLevelMtls: {80: {mode: OFF}}}", "DISABLE", ""),
        (
            "networking.istio.io/v1",
            "DestinationRule",
            "{host: a, trafficPolicy: {tls: {mode: NONE}}}",
            "DISABLE",
            "",
        ),
        (
            "networking.istio.io/v1",
            "DestinationRule",
            "{host: a, subsets: [{name: b, trafficPolicy: {tls: {mode: mutual}}}]}",
            "MUTUAL",
            "mode: MUTUAL",
        ),
        (
            "networking.istio.io/v1",
            "DestinationRule",
            "{host: a, trafficPolicy: {loadBalancer: {simple: LEAST_REQUESTS}}}",
            "LEAST_REQUEST",
            "simple: LEAST_REQUEST",
        ),
        (
            "networking.istio.io/v1",
            "ServiceEntry",
            "{hosts: [b.example.com], location: EXTERNAL}",
            "MESH_EXTERNAL",
            "",
        ),
        (
            "networking.istio.io/v1",
            "Sidecar",
            "{outboundTrafficPolicy: {mode: ALLOW_ALL}}",
            "ALLOW_ANY",
            "mode: ALLOW_ANY",
        ),
        (
            "telemetry.istio.io/v1",
            "Telemetry",
            "{accessLogging: [{match: {mode: BOTH}}]}",
            "CLIENT_AND_SERVER",
            "",
        ),
        (
            "gateway.networking.k8s.io/v1",
            "HTTPRoute",
            "{rules: [{matches: [{path: {type: Prefix, value: /}}], backendRefs: [{name: a, port: 8080}]}]}",
            "PathPrefix",
            "",
        ),
        (
            "gateway.networking.k8s.io/v1",
            "HTTPRoute",
            "{rules: [{timeouts: {request: 5}, backendRefs: [{name: a, port: 8080}]}]}",
            "",
            "timeouts:\n  request: 0s",
        ),
        (
            "gateway.networking.k8s.io/v1",
            "HTTPRoute",
            "{rules: [{timeouts: {request: 5 sec}, backendRefs: [{name: a, port: 8080}]}]}",
            "",
            "timeouts:\n  request: 0s",
        ),
        ("v1", "Service", "{type: LoadBalancr, ports: [{name: http, port: 80}]}", "LoadBalancer", ""),
        ("v1", "Service", "{ports: [{name: http, port: 80, protocol: tcp}]}", "TCP", "protocol: TCP"),
    ] {
        let text = document(api_version, kind, wrong);
        let found = findings(&text);
        let found: Vec<_> = found.iter().filter(|it| it.rule == &rules::INVALID_DOCUMENT).collect();
        assert!(found.len() == 1 && found[0].message.contains(right), "{wrong}: {found:?}");
        let is_meant = yaml.is_empty() || found[0].yaml == yaml;
        assert!(is_meant, "{wrong}: {found:?}");
    }
}

#[test]
fn a_word_that_a_field_has_is_not_refused() {
    for (api_version, kind, right) in [
        ("security.istio.io/v1", "AuthorizationPolicy", "{action: AUDIT, rules: [{}]}"),
        ("security.istio.io/v1", "PeerAuthentication", "{portLevelMtls: {80: {mode: PERMISSIVE}}}"),
        (
            "networking.istio.io/v1",
            "DestinationRule",
            "{host: a, trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}}",
        ),
        (
            "gateway.networking.k8s.io/v1",
            "HTTPRoute",
            "{rules: [{timeouts: {request: 1h30m10s500ms}, backendRefs: [{name: a, port: 8080}]}]}",
        ),
        ("networking.istio.io/v1", "Sidecar", "{outboundTrafficPolicy: null}"),
    ] {
        let text = document(api_version, kind, right);
        assert_eq!(said(&rules::INVALID_DOCUMENT, &text), [""; 0], "{right}");
        assert_eq!(said(&rules::UNKNOWN_FIELD, &text), [""; 0], "{right}");
    }
}

#[test]
fn a_field_that_there_is_not_is_found_in_each_kind_that_is_read() {
    for (api_version, kind, wrong, nearest) in [
        ("telemetry.istio.io/v1", "Telemetry", "{acessLogging: []}", "accessLogging"),
        ("telemetry.istio.io/v1", "Telemetry", "{accessLogging: [{disable: true}]}", "disabled"),
        (
            "security.istio.io/v1",
            "AuthorizationPolicy",
            "{rules: [{to: [{operation: {method: [GET]}}]}]}",
            "methods",
        ),
        ("security.istio.io/v1", "AuthorizationPolicy", "{selectors: {matchLabels: {app: a}}}", "selector"),
        ("security.istio.io/v1", "PeerAuthentication", "{portLevelMTLS: {}}", "portLevelMtls"),
        ("networking.istio.io/v1", "DestinationRule", "{host: a, traffic_policy: {}}", "trafficPolicy"),
        (
            "networking.istio.io/v1",
            "DestinationRule",
            "{host: a, trafficPolicy: {connection_pool: {http: {}}}}",
            "connectionPool",
        ),
        ("networking.istio.io/v1", "VirtualService", "{hosts: [a], export_to: [a]}", "exportTo"),
        ("gateway.networking.k8s.io/v1", "HTTPRoute", "{rules: [{backendRef: [{name: a}]}]}", "backendRefs"),
        ("v1", "Service", "{ports: [{name: http, port: 80, target_port: 80}]}", "targetPort"),
    ] {
        let found = said(&rules::UNKNOWN_FIELD, &document(api_version, kind, wrong));
        assert!(
            found.len() == 1 && found[0].ends_with(&format!("the nearest is {nearest}")),
            "{wrong}: {found:?}"
        );
    }
    let keepalive = with_pool("http2KeepAlive: {interval: 30s, timeout: 5s}") + SERVICE;
    assert_eq!(said(&rules::UNKNOWN_FIELD, &keepalive), [""; 0]);
}

#[test]
fn a_mistake_in_the_meshs_configuration_is_named_where_it_is_in_the_file() {
    let head = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio}\ndata:\n  mesh: |-\n    accessLogFile: /dev/stdout\n    ";
    let place = |text: &str, rule: &Rule| {
        let found = findings(&(text.to_owned() + "\n---\n" + SERVICE));
        let found = found.into_iter().find(|finding| finding.rule == rule).expect(text);
        (found.message, found.place.line, found.place.column)
    };
    assert_eq!(
        place(&format!("{head}h2UpgradePolcy: UPGRADE"), &rules::UNKNOWN_FIELD),
        (
            "the mesh's configuration has no field h2UpgradePolcy: the nearest is h2UpgradePolicy".to_owned(),
            7,
            5
        )
    );
    assert_eq!(
        place(&format!("{head}h2UpgradePolicy: UPGRADED"), &rules::INVALID_DOCUMENT),
        ("h2UpgradePolicy: expected one of DO_NOT_UPGRADE, UPGRADE, found \"UPGRADED\"".to_owned(), 7, 22)
    );
    let values = "meshConfig:\n  outboundTrafficPolicy: {mode: REGISTRY}\n";
    let (message, line, column) = place(values, &rules::INVALID_DOCUMENT);
    assert_eq!((line, column), (2, 33), "{message}");
    let known = format!("{head}h2_upgrade_policy: DO_NOT_UPGRADE\n---\n{SERVICE}");
    assert_eq!(codes(&known), [""; 0]);
}
