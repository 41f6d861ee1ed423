//! Kinds that are read in part: `HTTPRoute`, Ingress, Sidecar, Telemetry, `RequestAuthentication` and
//! `ProxyConfig`, as far as they decide about sessions.

use super::*;

fn document(api_version: &str, kind: &str, namespace: &str, spec: &str) -> String {
    format!(
        "apiVersion: {api_version}\nkind: {kind}\nmetadata: {{name: it, namespace: {namespace}}}\nspec: {spec}\n---\n"
    )
}

/// A route of the Gateway API with these rules, beside the Service.
fn route(rules: &str) -> String {
    document("gateway.networking.k8s.io/v1", "HTTPRoute", "default", &format!("{{rules: [{rules}]}}"))
        + SERVICE
}

/// The messages of a rule's findings.
fn said(rule: &Rule, text: &str) -> Vec<String> {
    let found = findings(text).into_iter().filter(|finding| finding.rule == rule);
    found.map(|finding| finding.message).collect()
}

const TO: &str = "backendRefs: [{name: a, port: 8080}]";

#[test]
fn an_http_route_that_breaks_handshakes_is_an_error() {
    let filter = |filter: &str| format!("filters: [{filter}]");
    let redirect = |to: &str| filter(&format!("{{type: RequestRedirect, requestRedirect: {{{to}}}}}"));
    let host = redirect("hostname: other.example.com");
    let beside = format!("{{{host}}}, {{matches: [{{path: {{value: /ws}}}}], {TO}}}");
    assert_rule(&rules::REDIRECT, &route(&format!("{{{host}}}")), &route(&beside));
    // Who comes without TLS is sent to where it is; who comes with it has another route.
    assert_eq!(said(&rules::REDIRECT, &route(&format!("{{{}}}", redirect("scheme: https")))), [""; 0]);
    let removing = |field: &str| {
        let removed =
            format!("{{type: RequestHeaderModifier, requestHeaderModifier: {{remove: [{field}]}}}}");
        route(&format!("{{{}, {TO}}}", filter(&removed)))
    };
    assert_rule(&rules::UPGRADE_REMOVED, &removing("Upgrade"), &removing("x-debug"));
    let matching = |matches: &str| route(&format!("{{matches: [{matches}], {TO}}}"));
    let exact = matching("{path: {type: Exact, value: /ws}}");
    assert_rule(&rules::UNROUTED_PATHS, &exact, &matching("{path: {type: PathPrefix, value: /}}"));
    let timed = |matches: &str| {
        route(&format!("{{matches: [{matches}], timeouts: {{request: 10s}}, {TO}}}, {{{TO}}}"))
    };
    // A handshake is a GET.
    assert_rule(&rules::VIRTUAL_SERVICE_TIMEOUT, &timed("{method: GET}"), &timed("{method: POST}"));
}

#[test]
fn what_a_route_or_an_ingress_leads_to_has_to_be_there() {
    let to = |backend: &str| route(&format!("{{backendRefs: [{backend}]}}"));
    assert_rule(&rules::UNKNOWN_DESTINATION, &to("{name: a, port: 80}"), &to("{name: a, port: 8080}"));
    assert_rule(&rules::UNKNOWN_DESTINATION, &to("{name: b, port: 8080}"), &to("{name: a, port: 8080}"));
    let external = SERVICE.replace("selector: {app: a}", "type: ExternalName");
    let to_external = to("{name: a, port: 80}").replace(SERVICE, &external);
    assert_eq!(said(&rules::UNKNOWN_DESTINATION, &to_external), [""; 0]);
    // What is elsewhere, or of another kind, is not known here.
    let elsewhere = to("{name: b, namespace: other, port: 8080}");
    assert_eq!(codes(&elsewhere), ["not-judged", "unseen-host"]);
    assert_eq!(codes(&to("{kind: Backend, name: b}")), ["not-judged"]);
    let ingress = |port: &str| {
        let backend = format!("{{service: {{name: a, port: {{{port}}}}}}}");
        let paths = format!("{{rules: [{{http: {{paths: [{{path: /, backend: {backend}}}]}}}}]}}");
        document("networking.k8s.io/v1", "Ingress", "default", &paths) + SERVICE
    };
    assert_rule(&rules::UNKNOWN_DESTINATION, &ingress("number: 80"), &ingress("number: 8080"));
    assert_rule(&rules::UNKNOWN_DESTINATION, &ingress("name: web"), &ingress("name: http-ws"));
    let default = document(
        "networking.k8s.io/v1",
        "Ingress",
        "default",
        "{defaultBackend: {service: {name: a, port: {number: 1}}}}",
    );
    assert_eq!(
        said(&rules::UNKNOWN_DESTINATION, &(default + SERVICE)),
        ["the Service a has no port 1: it has 8080"]
    );
}

#[test]
fn a_sidecar_that_leaves_out_what_its_proxies_use_is_a_warning() {
    let sidecar = |namespace: &str, hosts: &str| {
        let spec =
            format!("{{outboundTrafficPolicy: {{mode: REGISTRY_ONLY}}, egress: [{{hosts: [{hosts}]}}]}}");
        document("networking.istio.io/v1", "Sidecar", namespace, &spec) + SERVICE
    };
    for (namespace, hosts) in [
        ("default", "istio-system/*"),
        ("default", "~/*"),
        ("default", "./b.default.svc.cluster.local"),
        ("default", "'*/*.example.com'"),
        // Of all that is there it knows nothing.
        ("web", "./*, istio-system/*"),
    ] {
        let found = said(&rules::NOT_IMPORTED, &sidecar(namespace, hosts));
        let expected = "the proxies of this Sidecar do not know a.default.svc.cluster.local, \
                        and with REGISTRY_ONLY a session gets 502";
        assert_eq!(found, [expected], "{namespace}: {hosts}");
    }
    for (namespace, hosts) in [
        ("default", "./*"),
        ("default", "'*/*'"),
        ("default", "istio-system/*, default/a.default.svc.cluster.local"),
        ("web", "default/*"),
        ("web", "'*/*.default.svc.cluster.local'"),
        ("istio-system", "./*, istio-system/*"),
    ] {
        assert_eq!(said(&rules::NOT_IMPORTED, &sidecar(namespace, hosts)), [""; 0], "{namespace}: {hosts}");
    }
    // What it says nothing of is as the mesh has it.
    let silent = document("networking.istio.io/v1", "Sidecar", "web", "{}") + SERVICE;
    assert_eq!(codes(&silent), ["not-judged"]);
    // Of many Services those are meant that its namespace has rules for.
    let other = SERVICE.replace("name: a}", "name: b, namespace: web}");
    let all = |rule: &str| sidecar("web", "./*") + &other + rule;
    assert_eq!(said(&rules::NOT_IMPORTED, &all("")), [""; 0]);
    let rule =
        document("networking.istio.io/v1", "DestinationRule", "web", "{host: a.default.svc.cluster.local}");
    assert_eq!(said(&rules::NOT_IMPORTED, &all(&rule)).len(), 1);
}

#[test]
fn sessions_that_telemetry_keeps_out_of_the_log_are_a_note() {
    let logging = |said: &str| {
        document("telemetry.istio.io/v1", "Telemetry", "default", &format!("{{accessLogging: [{said}]}}"))
            + SERVICE
    };
    for wrong in
        ["{disabled: true}", "{filter: {expression: response.code >= 400}}", "{providers: [{name: otel}]}"]
    {
        assert_eq!(codes(&logging(wrong)), ["no-access-log"], "{wrong}");
    }
    for right in
        ["{disabled: false}", "{providers: [{name: envoy}]}", "{providers: [{name: otel}, {name: envoy}]}"]
    {
        assert_eq!(codes(&logging(right)), [""; 0], "{right}");
    }
    let tracing = document("telemetry.istio.io/v1", "Telemetry", "default", "{tracing: []}") + SERVICE;
    assert_eq!(codes(&tracing), [""; 0]);
}

#[test]
fn a_token_that_browsers_cannot_send_is_a_note_where_one_is_needed() {
    let of = |jwt: &str, policy: &str| {
        document(
            "security.istio.io/v1",
            "RequestAuthentication",
            "default",
            &format!("{{jwtRules: [{jwt}]}}"),
        ) + &document("security.istio.io/v1", "AuthorizationPolicy", "default", policy)
            + SERVICE
    };
    let needed = "{rules: [{from: [{source: {requestPrincipals: ['*']}}]}]}";
    let issuer = "{issuer: a}";
    for policy in [
        needed,
        "{action: DENY, rules: [{from: [{source: {notRequestPrincipals: ['*']}}]}]}",
        "{rules: [{when: [{key: 'request.auth.claims[iss]', values: [a]}]}]}",
    ] {
        assert_eq!(said(&rules::TOKEN_FROM_HEADER, &of(issuer, policy)).len(), 1, "{policy}");
    }
    assert_eq!(said(&rules::TOKEN_FROM_HEADER, &of(issuer, "{rules: [{}]}")), [""; 0]);
    assert_eq!(said(&rules::TOKEN_FROM_HEADER, &of("{issuer: a, fromParams: [t]}", needed)), [""; 0]);
    assert_eq!(said(&rules::TOKEN_FROM_HEADER, &of("{issuer: a, fromCookies: [t]}", needed)), [""; 0]);
}

#[test]
fn what_is_read_in_part_is_named_with_what_is_judged_of_it() {
    let note = |api_version: &str, kind: &str, spec: &str| {
        said(&rules::NOT_JUDGED, &(document(api_version, kind, "default", spec) + SERVICE))
    };
    for (api_version, kind, spec, judged) in [
        ("networking.istio.io/v1", "Sidecar", "{}", "which Services its proxies do not know"),
        ("networking.k8s.io/v1", "Ingress", "{}", "the Services that it leads to"),
        ("security.istio.io/v1", "RequestAuthentication", "{}", "whether browsers can send its tokens"),
        (
            "networking.istio.io/v1beta1",
            "ProxyConfig",
            "{environmentVariables: {A: b}}",
            "what is not in its environmentVariables",
        ),
    ] {
        let expected = format!("{kind} ({api_version}): this document is not judged but for {judged}");
        assert_eq!(note(api_version, kind, spec), [expected]);
    }
    assert_eq!(note("networking.istio.io/v1beta1", "ProxyConfig", "{concurrency: 2}"), [""; 0]);
    let unread = note("gateway.networking.k8s.io/v1alpha3", "BackendTLSPolicy", "{}");
    assert_eq!(
        unread,
        ["BackendTLSPolicy (gateway.networking.k8s.io/v1alpha3): this document is not judged"]
    );
}

#[test]
fn app_protocols_of_the_gateway_api_are_what_a_port_speaks() {
    let with =
        |protocol: &str| SERVICE.replace("name: http-ws", &format!("name: x, appProtocol: {protocol}"));
    assert_eq!(codes(&with("kubernetes.io/ws")), [""; 0]);
    assert_eq!(codes(&with("kubernetes.io/wss")), ["tcp-port"]);
    assert_eq!(codes(&with("kubernetes.io/h2c")), ["http2-port"]);
}
