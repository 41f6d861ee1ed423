//! What becomes of handshakes in the routes of `VirtualService`s and `HTTPRoute`s.

use super::*;

const TO: &str = "route: [{destination: {host: a}}]";
const BACKEND: &str = "{name: a, port: 8080}";

/// A `VirtualService` with these routes, beside the Service.
fn routes(http: &str) -> String {
    virtual_service(&format!("{{hosts: [a], http: [{http}]}}")) + SERVICE
}

/// A route of the Gateway API with these rules, for the Service, and beside it.
fn mesh_route(rules: &str) -> String {
    http_route("h", &format!("parentRefs: [{{group: '', kind: Service, name: a}}], rules: [{rules}]"))
        + SERVICE
}

fn http_route(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: {name}}}\nspec: {{{spec}}}\n---\n"
    )
}

/// The rules that are broken, without what is left out or not judged.
fn broken(text: &str) -> Vec<&'static str> {
    codes(text).into_iter().filter(|code| *code != "not-judged").collect()
}

/// The messages of a rule's findings.
fn said(rule: &Rule, text: &str) -> Vec<String> {
    let found = findings(text).into_iter().filter(|finding| finding.rule == rule);
    found.map(|finding| finding.message).collect()
}

#[test]
fn an_http_route_leads_its_handshakes_to_a_backend() {
    let to = |backends: &str| mesh_route(&format!("{{backendRefs: [{backends}]}}"));
    let beside = format!("{BACKEND}, {{name: a, port: 8080, weight: 0}}");
    for right in [BACKEND, &beside] {
        assert_eq!(broken(&to(right)), [""; 0], "{right}");
    }
    for wrong in [
        "",
        "{name: a, port: 8080, weight: 0}",
        "{name: a, port: 8080, weight: 0}, {name: a, port: 8080, weight: 0}",
    ] {
        assert_eq!(broken(&to(wrong)), ["no-destination"], "{wrong}");
    }
    assert_eq!(broken(&mesh_route("{}")), ["no-destination"]);
    assert_eq!(broken(&(http_route("h", "") + SERVICE)), ["no-destination"]);
    // The API server asks for the port of a Service; other kinds need none.
    assert_eq!(broken(&to("{name: a}")), ["invalid-document"]);
    assert_eq!(broken(&to("{group: example.com, kind: Backend, name: a}")), [""; 0]);
    // What takes no handshake may answer as it likes.
    assert_eq!(
        broken(&mesh_route(&format!("{{matches: [{{method: POST}}]}}, {{backendRefs: [{BACKEND}]}}"))),
        [""; 0]
    );
}

#[test]
fn an_http_route_has_a_rule_that_takes_a_get() {
    let matching = |matches: &str| format!("{{matches: [{matches}], backendRefs: [{BACKEND}]}}");
    for wrong in [
        "{method: POST}",
        "{path: {value: /ws}, method: PUT}, {method: POST}",
        "{headers: [{name: Upgrade, value: h2c}]}",
        "{headers: [{name: sec-websocket-version, value: '8'}]}",
    ] {
        assert_eq!(broken(&mesh_route(&matching(wrong))), ["no-handshake-route"], "{wrong}");
        let other = http_route(
            "i",
            &format!("parentRefs: [{{kind: Service, name: a}}], rules: [{}]", matching("{}")),
        );
        assert_eq!(broken(&(mesh_route(&matching(wrong)) + &other)), ["unrouted-paths"], "{wrong}");
        let elsewhere = other.replace("kind: Service, name: a", "kind: Service, name: b");
        assert_eq!(broken(&(mesh_route(&matching(wrong)) + &elsewhere)), ["no-handshake-route"], "{wrong}");
    }
    for right in ["{method: GET}", "{headers: [{name: Upgrade, value: websocket}]}", "{method: POST}, {}"] {
        assert_eq!(broken(&mesh_route(&matching(right))), [""; 0], "{right}");
    }
    for some in ["{headers: [{name: x-version, value: v2}]}", "{path: {type: Exact, value: /ws}}"] {
        assert_eq!(broken(&mesh_route(&matching(some))), ["unrouted-paths"], "{some}");
    }
}

#[test]
fn an_http_route_leaves_the_fields_of_a_handshake_as_they_are() {
    let rule = |kind: &str, of: &str| format!("filters: [{{{kind}HeaderModifier: {{{of}}}}}]");
    for (kind, wrong, right) in [
        ("request", "remove: [connection]", "remove: [x-debug]"),
        ("request", "set: [{name: Connection, value: close}]", "set: [{name: Connection, value: Upgrade}]"),
        ("request", "add: [{name: Upgrade, value: h2c}]", "set: [{name: Upgrade, value: websocket}]"),
        ("request", "set: [{name: Sec-WebSocket-Key, value: x}]", "set: [{name: x-key, value: x}]"),
        ("response", "remove: [Sec-WebSocket-Accept]", "remove: [server]"),
    ] {
        let of_route = |said| mesh_route(&format!("{{{}, backendRefs: [{BACKEND}]}}", rule(kind, said)));
        let of_backend =
            |said| mesh_route(&format!("{{backendRefs: [{{name: a, port: 8080, {}}}]}}", rule(kind, said)));
        for (wrong, right) in [(of_route(wrong), of_route(right)), (of_backend(wrong), of_backend(right))] {
            assert_eq!(broken(&wrong), ["upgrade-removed"], "{wrong}");
            assert_eq!(broken(&right), [""; 0], "{right}");
        }
    }
}

#[test]
fn a_redirect_of_all_handshakes_is_an_error_in_the_mesh_with_tls_too() {
    let rule = "{filters: [{type: RequestRedirect, requestRedirect: {scheme: https}}]}";
    assert_eq!(broken(&mesh_route(rule)), ["redirect"]);
    let of_gateway = http_route("h", &format!("parentRefs: [{{name: g}}], rules: [{rule}]")) + SERVICE;
    assert_eq!(broken(&of_gateway), [""; 0]);
    let to_tls = "{match: [{port: 80}], redirect: {scheme: https}}";
    let both =
        virtual_service(&format!("{{hosts: [a], gateways: [g], http: [{to_tls}, {{{TO}}}]}}")) + SERVICE;
    assert_eq!(broken(&both), [""; 0]);
    assert_eq!(
        broken(&both.replace("gateways: [g], ", "").replace("port: 80}", "port: 8080}")),
        ["redirect"]
    );
    // What is behind a route for WebSockets takes none.
    let behind = format!("{{match: [{{uri: {{prefix: /ws}}}}], {TO}}}, {{redirect: {{uri: /}}}}");
    assert_eq!(broken(&routes(&behind)), [""; 0]);
    let all = "{match: [{uri: {prefix: /ws}}], redirect: {uri: /}}, {directResponse: {status: 404}}";
    assert_eq!(broken(&routes(all)), ["redirect"]);
}

#[test]
fn a_fault_that_aborts_every_handshake_is_an_error() {
    let fault = |conditions: &str, abort: &str| {
        routes(&format!("{{{conditions} fault: {{abort: {{{abort}}}}}, {TO}}}, {{{TO}}}"))
    };
    let whole = "httpStatus: 503, percentage: {value: 100}";
    let found = said(&rules::FAULT_ABORT, &fault("", whole));
    assert_eq!(found, ["every handshake for a is answered with 503 by the client's sidecar"]);
    // Without a percentage it is nothing, and with a part of them it is chance.
    for (right, chances) in [("httpStatus: 503, percentage: {value: 50}", 1), ("httpStatus: 503", 0)] {
        assert_eq!(said(&rules::FAULT_ABORT, &fault("", right)), [""; 0], "{right}");
        assert_eq!(said(&rules::NOT_PLAYED, &fault("", right)).len(), chances, "{right}");
    }
    let for_one = "match: [{headers: {end-user: {exact: jason}}}],";
    assert_eq!(said(&rules::FAULT_ABORT, &fault(for_one, whole)), [""; 0]);
    let for_gateways = fault("", whole).replace("hosts: [a],", "hosts: [a], gateways: [g],");
    assert_eq!(
        said(&rules::FAULT_ABORT, &for_gateways),
        ["every handshake for a is answered with 503 by the gateway"]
    );
}

#[test]
fn routes_are_judged_for_the_clients_that_have_them() {
    let matching = |conditions: &str| routes(&format!("{{match: [{{{conditions}}}], {TO}}}")) + DEPLOYMENT;
    for (conditions, expected) in [
        // Whoever does not have the route has Istio's own.
        ("port: 9999", "for-no-client"),
        ("gateways: [g]", "for-no-client"),
        ("sourceLabels: {app: nosuch}", "not-judged"),
        ("sourceNamespace: nosuch", "not-judged"),
        ("port: 8080", ""),
        ("gateways: [mesh]", ""),
        ("sourceLabels: {app: a}", ""),
        ("sourceNamespace: default", ""),
        ("port: 8080, uri: {prefix: /ws}", "unrouted-paths"),
        ("sourceLabels: {app: a}, uri: {prefix: /ws}", "unrouted-paths"),
        ("method: {exact: POST}", "no-handshake-route"),
        ("headers: {upgrade: {exact: h2c}}", "no-handshake-route"),
        ("port: 8080, withoutHeaders: {upgrade: {}}", "no-handshake-route"),
        ("uri: {regex: '.*'}", ""),
        ("uri: {regex: '*'}", ""),
        ("queryParams: {room: {exact: a}}", "unrouted-paths"),
    ] {
        let expected: Vec<&str> = Some(expected).filter(|code| !code.is_empty()).into_iter().collect();
        assert_eq!(codes(&matching(conditions)), expected, "{conditions}");
    }
    // Each port has its own routes.
    let ports = "[{name: http-ws, port: 8080, targetPort: 80}, {name: http-x, port: 9090, targetPort: 80}]";
    let two = |second: &str| {
        let http = format!("{{match: [{{port: 9090}}], {TO}}}, {{match: [{{{second}}}], {TO}}}");
        routes(&http).replace("[{name: http-ws, port: 8080, targetPort: 80}]", ports)
    };
    assert_eq!(broken(&two("port: 8080")), ["unknown-destination"; 0]);
    assert_eq!(broken(&two("port: 8080, uri: {exact: /ws}")), ["unrouted-paths"]);
}

#[test]
fn what_is_exported_to_nobody_that_is_known_is_told() {
    let http = format!("http: [{{{TO}}}]");
    for (export_to, expected) in [
        ("[nosuch]", "not-judged"),
        ("['~']", "not-judged"),
        ("[defualt]", "for-no-client"),
        ("['.']", ""),
        ("['*']", ""),
        ("[nosuch, default]", ""),
        ("[istio-system]", ""),
    ] {
        let expected: Vec<&str> = Some(expected).filter(|code| !code.is_empty()).into_iter().collect();
        let service = virtual_service(&format!("{{hosts: [a], exportTo: {export_to}, {http}}}")) + SERVICE;
        assert_eq!(codes(&service), expected, "{export_to}");
        let rule = destination_rule(&format!("{{host: a, exportTo: {export_to}}}")) + SERVICE;
        assert_eq!(codes(&rule), expected, "{export_to}");
    }
}

#[test]
fn a_destination_that_is_nowhere_is_an_error_and_one_that_may_be_elsewhere_a_note() {
    let to = |host: &str| routes(&format!("{{route: [{{destination: {{host: {host}}}}}]}}"));
    for (host, expected) in [
        ("nosuch", "unknown-destination"),
        ("a.default", "unknown-destination"),
        ("nosuch.default.svc.cluster.local", "unknown-destination"),
        ("b.elsewhere.svc.cluster.local", "unseen-host"),
        ("ws.example.com", "unseen-host"),
    ] {
        assert_eq!(codes(&to(host)), [expected], "{host}");
    }
    let entry = |host: &str| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: e}}\nspec:\n  hosts: ['{host}']\n  \
             location: MESH_EXTERNAL\n  ports: [{{number: 80, name: http, protocol: HTTP}}]\n---\n"
        )
    };
    for known in ["ws.example.com", "*.example.com"] {
        assert_eq!(broken(&(to("ws.example.com") + &entry(known))), [""; 0], "{known}");
    }
    let several =
        SERVICE.replace("name: a}", "name: b}").replace("[{name", "[{name: http-x, port: 81}, {name");
    assert_eq!(broken(&(to("b") + &several)), [""; 0], "the port that is dialled");
    let other = several.replace("port: 8080", "port: 82");
    assert_eq!(
        said(&rules::UNKNOWN_DESTINATION, &(to("b") + &other)),
        ["the Service b has several ports, and none like the one that clients dial, 8080"]
    );
}

#[test]
fn a_subset_without_pods_that_a_route_leads_to_is_an_error() {
    let all = |version: &str| {
        routes("{route: [{destination: {host: a, subset: v1}}]}")
            + DEPLOYMENT
            + &destination_rule(&format!("{{host: a, subsets: [{{name: v1, labels: {{{version}}}}}]}}"))
    };
    assert_eq!(broken(&all("version: v1")), ["unknown-destination", "subset-without-pods"]);
    assert_eq!(broken(&all("app: a")), [""; 0]);
}

#[test]
fn a_route_that_istio_refuses_is_an_invalid_document() {
    let two = |weights: [&str; 2]| {
        let [one, other] = weights.map(|weight| format!("{{destination: {{host: a}}{weight}}}"));
        format!("{{route: [{one}, {other}]}}")
    };
    for (wrong, right) in [
        (two(["", ""]), two([", weight: 1", ""])),
        (two([", weight: 0", ", weight: 0"]), two([", weight: 0", ", weight: 1"])),
        ("{timeout: 0s}".to_owned(), format!("{{timeout: 0s, {TO}}}")),
        (format!("{{redirect: {{uri: /}}, {TO}}}"), format!("{{{TO}}}")),
        (format!("{{directResponse: {{status: 503}}, {TO}}}"), format!("{{{TO}}}")),
    ] {
        assert!(broken(&routes(&wrong)).contains(&"invalid-document"), "{wrong}");
        assert_eq!(broken(&routes(&right)), [""; 0], "{right}");
    }
    // Of one destination the weight does not matter.
    assert_eq!(codes(&routes("{route: [{destination: {host: a}, weight: 0}]}")), [""; 0]);
}

#[test]
fn a_host_that_is_empty_is_refused() {
    assert_eq!(codes(&(destination_rule("{host: ''}") + SERVICE)), ["invalid-document"]);
    assert_eq!(codes(&(virtual_service("{hosts: ['']}") + SERVICE)), ["invalid-document"]);
}

#[test]
fn a_route_for_another_gateway_is_for_nobody() {
    let of = |gateway: &str| {
        let http = format!("http: [{{match: [{{gateways: [{gateway}]}}], {TO}}}]");
        broken(&(virtual_service(&format!("{{hosts: [a], gateways: [front], {http}}}")) + SERVICE))
    };
    for own in ["front", "default/front", "./front"] {
        assert_eq!(of(own), [""; 0], "{own}");
    }
    for other in ["back", "istio-system/front", "mesh"] {
        assert_eq!(of(other), ["for-no-client"], "{other}");
    }
}
