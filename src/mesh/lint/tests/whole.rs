//! Nothing unread is called right, and which proxy a document is about: kinds, ports that are
//! HTTP/2 from the start, pods without a sidecar, gateways, hosts outside, and what breaks every
//! handshake.

use super::*;

/// A mesh in which HTTP/2 is spoken to the Service, and its sidecar takes WebSockets over it.
fn upgraded() -> String {
    with_pool("h2UpgradePolicy: UPGRADE") + SERVICE + DEPLOYMENT + &envoy_filter(ALLOW_CONNECT)
}

/// The Deployment with this in the metadata of its pod template.
fn with_template(metadata: &str) -> String {
    DEPLOYMENT.replace("{labels: {app: a}}", &format!("{{labels: {{app: a}}, {metadata}}}"))
}

/// The messages of a rule's findings.
fn said(rule: &Rule, text: &str) -> Vec<String> {
    let found = findings(text).into_iter().filter(|finding| finding.rule == rule);
    found.map(|finding| finding.message).collect()
}

#[test]
fn a_kind_or_a_version_that_no_cluster_has_is_an_error_with_the_nearest_that_it_has() {
    let rule = |api_version: &str, kind: &str| {
        destination_rule("{host: a}")
            .replace("networking.istio.io/v1", api_version)
            .replace("kind: DestinationRule", &format!("kind: {kind}"))
    };
    for (api_version, kind, expected) in [
        (
            "networking.istio.io/v1",
            "DestinationRules",
            "networking.istio.io has no kind DestinationRules: the nearest is DestinationRule",
        ),
        ("networking.istio.io/v1", "HTTPRoute", "networking.istio.io has no kind HTTPRoute"),
        (
            "networking.istio.io/v1beta2",
            "DestinationRule",
            "networking.istio.io has DestinationRule as v1alpha3, v1beta1, v1, not as v1beta2",
        ),
        (
            "networking.istio.io/v1beta1",
            "EnvoyFilter",
            "networking.istio.io has EnvoyFilter as v1alpha3, not as v1beta1",
        ),
        ("v1", "DestinationRule", "v1 has no kind DestinationRule: it belongs to networking.istio.io"),
        ("apps/v1beta1", "Deployment", "apps has Deployment as v1, not as v1beta1"),
    ] {
        assert_eq!(said(&rules::UNKNOWN_KIND, &rule(api_version, kind)), [expected]);
    }
    for right in [
        ("networking.istio.io/v1beta1", "Gateway"),
        ("v1", "ConfigMap"),
        ("example.com/v1", "DestinationRules"),
    ] {
        assert_eq!(said(&rules::UNKNOWN_KIND, &rule(right.0, right.1)), [""; 0]);
    }
}

#[test]
fn what_is_not_read_is_named_once_a_kind_and_nothing_read_is_nothing_judged() {
    let foreign = "apiVersion: projectcontour.io/v1\nkind: HTTPProxy\nmetadata: {name: N}\nspec: {}\n---\n";
    let two = foreign.to_owned() + &foreign.replace("name: N", "name: M");
    assert_eq!(codes(&two), ["nothing-judged", "not-judged"]);
    assert_eq!(
        said(&rules::NOT_JUDGED, &two),
        ["HTTPProxy (projectcontour.io/v1): 2 documents are not judged"]
    );
    assert_eq!(codes(&(two + SERVICE)), ["not-judged"]);
    let partly =
        "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: a}\nspec: {}\n---\n";
    let partly = said(&rules::NOT_JUDGED, partly);
    assert!(
        partly[0].ends_with(
            "not judged but for whether a DestinationRule or a client without a sidecar contradicts it"
        ),
        "{partly:?}"
    );
    let without_part = "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\n---\n";
    assert_eq!(codes(&(without_part.to_owned() + SERVICE)), [""; 0]);
}

#[test]
fn the_mesh_configuration_counts_wherever_it_is() {
    for mesh in [
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio, namespace: istio-system}\ndata: {mesh: 'h2UpgradePolicy: UPGRADE'}\n---\n",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio-1-30}\ndata: {mesh: 'h2UpgradePolicy: UPGRADE'}\n---\n",
        "apiVersion: install.istio.io/v1alpha1\nkind: IstioOperator\nspec: {meshConfig: {h2UpgradePolicy: UPGRADE}}\n---\n",
        "apiVersion: install.istio.io/v1alpha1\nkind: IstioOperator\nspec: {meshConfig: {}, values: {meshConfig: {h2UpgradePolicy: UPGRADE}}}\n---\n",
        "global: {}\nmeshConfig: {h2UpgradePolicy: UPGRADE}\n---\n",
        "apiVersion: sailoperator.io/v1\nkind: Istio\nspec: {values: {meshConfig: {h2UpgradePolicy: UPGRADE}}}\n---\n",
    ] {
        let found = said(&rules::UPGRADE_WITHOUT_ALLOW_CONNECT, &(mesh.to_owned() + SERVICE + DEPLOYMENT));
        assert!(
            found.len() == 1 && found[0].starts_with("the mesh's h2UpgradePolicy is UPGRADE"),
            "{mesh}: {found:?}"
        );
        let other = mesh
            .replace("name: istio", "name: other")
            .replace("h2UpgradePolicy: UPGRADE", "enableTracing: true");
        assert_eq!(said(&rules::UPGRADE_WITHOUT_ALLOW_CONNECT, &(other + SERVICE + DEPLOYMENT)), [""; 0]);
        let given = MeshDefaults { h2_upgrade_policy: H2UpgradePolicy::DoNotUpgrade };
        let texts = [Text::new("test.yaml", mesh.to_owned() + SERVICE + DEPLOYMENT)];
        let found = findings_in(&texts, Some(&given));
        assert!(
            !found.iter().any(|it| *it.rule == rules::UPGRADE_WITHOUT_ALLOW_CONNECT),
            "{mesh}: {found:?}"
        );
    }
    let values = "meshConfig: {h2UpgradePolicy: UPGRADE}\n";
    assert_eq!(codes(values), ["nothing-judged"]);
    assert_eq!(
        codes(&format!("meshConfig: {{h2UpgradePolicy: UPGRAD}}\n---\n{SERVICE}")),
        ["invalid-document"]
    );
}

#[test]
fn two_configurations_of_the_mesh_that_differ_are_named() {
    let operator = "apiVersion: install.istio.io/v1alpha1\nkind: IstioOperator\nspec: {meshConfig: {h2UpgradePolicy: UPGRADE}}\n---\n";
    let values = "meshConfig: {h2UpgradePolicy: DO_NOT_UPGRADE}\n---\n";
    let both = operator.to_owned() + values + SERVICE;
    assert_eq!(
        said(&rules::MESH_CONFIGS_DIFFER, &both),
        ["the mesh's h2UpgradePolicy is DO_NOT_UPGRADE here and UPGRADE at test.yaml:3:38"]
    );
    assert_eq!(said(&rules::MESH_CONFIGS_DIFFER, &(values.repeat(2) + SERVICE)), [""; 0]);
}

#[test]
fn a_port_that_is_http2_needs_allow_connect_whatever_the_policy() {
    for (port, field) in [
        ("name: http2-ws", "name http2-ws"),
        ("name: grpc-ws", "name grpc-ws"),
        ("name: x, appProtocol: kubernetes.io/h2c", "appProtocol kubernetes.io/h2c"),
    ] {
        let service = SERVICE.replace("name: http-ws", port) + DEPLOYMENT;
        for policy in [String::new(), with_pool("h2UpgradePolicy: DO_NOT_UPGRADE")] {
            let found = said(&rules::HTTP2_PORT, &(policy + &service));
            assert!(found.len() == 1 && found[0].contains(field), "{found:?}");
            assert!(found[0].contains("HTTP/2, with h2UpgradePolicy DO_NOT_UPGRADE too"), "{found:?}");
        }
        assert_eq!(said(&rules::HTTP2_PORT, &(service + &envoy_filter(ALLOW_CONNECT))), [""; 0]);
    }
    assert_eq!(said(&rules::HTTP2_PORT, &(SERVICE.to_owned() + DEPLOYMENT)), [""; 0]);
}

#[test]
fn http2_to_pods_without_a_sidecar_is_an_error_that_no_filter_mends() {
    assert_eq!(codes(&upgraded()), [""; 0]);
    let namespace = |labels: &str| {
        format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: default, labels: {{{labels}}}}}\n---\n")
    };
    for (documents, why) in [
        (
            with_template("annotations: {sidecar.istio.io/inject: 'false'}"),
            "sidecar.istio.io/inject is false",
        ),
        (
            DEPLOYMENT.replace("{app: a}", "{app: a, sidecar.istio.io/inject: 'false'}"),
            "sidecar.istio.io/inject is false",
        ),
        (DEPLOYMENT.replace("{app: a}", "{app: a, istio.io/dataplane-mode: ambient}"), "ambient"),
        (
            with_template("annotations: {traffic.sidecar.istio.io/excludeInboundPorts: '22, 80'}"),
            "excludeInboundPorts takes port 80",
        ),
        (
            with_template("annotations: {traffic.sidecar.istio.io/includeInboundPorts: '8080, 22'}"),
            "includeInboundPorts leaves port 80",
        ),
        (
            with_template("annotations: {traffic.sidecar.istio.io/includeInboundPorts: ''}"),
            "includeInboundPorts leaves port 80",
        ),
        (with_template("annotations: {sidecar.istio.io/interceptionMode: NONE}"), "interceptionMode NONE"),
        (with_template("annotations: {inject.istio.io/templates: grpc-agent}"), "grpc-agent"),
        (DEPLOYMENT.replace("spec: {containers", "spec: {hostNetwork: true, containers"), "hostNetwork"),
        (DEPLOYMENT.to_owned() + &namespace("istio.io/dataplane-mode: ambient"), "ambient"),
        (DEPLOYMENT.to_owned() + &namespace("istio-injection: disabled"), "istio-injection: disabled"),
    ] {
        let all = upgraded().replace(DEPLOYMENT, &documents);
        let found = said(&rules::UPGRADE_WITHOUT_SIDECAR, &all);
        assert!(found.len() == 1 && found[0].contains(why), "{why}: {found:?}");
        assert!(!codes(&all).contains(&"upgrade-without-allow-connect"), "{why}");
        let lowered = all.replace("UPGRADE", "DO_NOT_UPGRADE");
        assert_eq!(said(&rules::UPGRADE_WITHOUT_SIDECAR, &lowered), [""; 0], "{why}");
    }
    for right in [
        with_template("annotations: {sidecar.istio.io/inject: 'true'}"),
        with_template("annotations: {traffic.sidecar.istio.io/excludeInboundPorts: '8080'}"),
        with_template("annotations: {traffic.sidecar.istio.io/includeInboundPorts: '*'}"),
        with_template("annotations: {traffic.sidecar.istio.io/includeInboundPorts: '22,80'}"),
        // Where ports are listed nothing is taken out of them.
        with_template(
            "annotations: {traffic.sidecar.istio.io/includeInboundPorts: '80', \
             traffic.sidecar.istio.io/excludeInboundPorts: '80'}",
        ),
        with_template("annotations: {sidecar.istio.io/interceptionMode: TPROXY}"),
        with_template("annotations: {inject.istio.io/templates: 'sidecar,custom'}"),
        DEPLOYMENT.replace("spec: {containers", "spec: {hostNetwork: false, containers"),
        DEPLOYMENT.to_owned() + &namespace("istio-injection: enabled"),
    ] {
        assert_eq!(said(&rules::UPGRADE_WITHOUT_SIDECAR, &upgraded().replace(DEPLOYMENT, &right)), [""; 0]);
    }
}

#[test]
fn a_gateway_takes_extended_connect_by_a_filter_for_gateways() {
    let gateway = upgraded().replace("app: a", "istio: egressgateway");
    let found = said(&rules::UPGRADE_WITHOUT_ALLOW_CONNECT, &gateway);
    assert!(found.len() == 1 && found[0].contains("in the gateway a"), "{found:?}");
    let right = gateway.replace("SIDECAR_INBOUND", "GATEWAY");
    assert_eq!(codes(&right), [""; 0]);
    // A filter for gateways beside sidecars is none of their business, and one that selects them
    // is.
    let beside = envoy_filter(ALLOW_CONNECT).replace("SIDECAR_INBOUND", "GATEWAY");
    let elsewhere = beside.replace("app: a", "istio: ingressgateway") + SERVICE + DEPLOYMENT;
    assert_eq!(codes(&elsewhere), [""; 0]);
    assert_eq!(codes(&(beside + SERVICE + DEPLOYMENT)), ["envoy-filter-context"]);
}

#[test]
fn http2_to_a_host_outside_of_the_mesh_is_an_error() {
    let entry = "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: e}\nspec:\n  hosts: [ws.example.com]\n  \
                 location: MESH_EXTERNAL\n  ports: [{number: 80, name: http, protocol: HTTP}]\n---\n";
    let rule = |policy: &str| {
        destination_rule(&format!(
            "{{host: ws.example.com, trafficPolicy: {{connectionPool: {{http: {{h2UpgradePolicy: {policy}}}}}}}}}"
        ))
    };
    let found = said(&rules::UPGRADE_WITHOUT_SIDECAR, &(entry.to_owned() + &rule("UPGRADE")));
    assert_eq!(
        found,
        ["h2UpgradePolicy is UPGRADE for ws.example.com, and a host outside of the mesh has no sidecar"]
    );
    let upgrade = MeshDefaults { h2_upgrade_policy: H2UpgradePolicy::Upgrade };
    let of_mesh = |text: String| {
        let found = findings_in(&[Text::new("a.yaml", text)], Some(&upgrade));
        found.iter().filter(|finding| *finding.rule == rules::UPGRADE_WITHOUT_SIDECAR).count()
    };
    assert_eq!(of_mesh(entry.to_owned()), 1);
    assert_eq!(of_mesh(entry.to_owned() + &rule("DO_NOT_UPGRADE")), 0);
    assert_eq!(of_mesh(entry.replace("MESH_EXTERNAL", "MESH_INTERNAL")), 0);
    assert_eq!(of_mesh(entry.replace("protocol: HTTP", "protocol: TLS")), 0);
}

#[test]
fn what_breaks_every_handshake_is_an_error() {
    let route = |http: &str| virtual_service(&format!("{{hosts: [a], http: [{http}]}}")) + SERVICE;
    let to = "route: [{destination: {host: a}}]";
    assert_rule(
        &rules::REDIRECT,
        &route("{redirect: {uri: /}}"),
        &route(&format!("{{{to}}}, {{redirect: {{uri: /}}}}")),
    );
    let removing = |field: &str| route(&format!("{{headers: {{request: {{remove: [{field}]}}}}, {to}}}"));
    assert_rule(&rules::UPGRADE_REMOVED, &removing("Upgrade"), &removing("x-debug"));
    let headers = |conditions: &str, headers: &str| {
        route(&format!("{{{conditions} headers: {{{headers}}}, {to}}}, {{{to}}}"))
    };
    for (wrong, right) in [
        ("request: {set: {Upgrade: h2c}}", "request: {set: {Upgrade: WebSocket}}"),
        ("request: {add: {connection: close}}", "request: {set: {connection: Upgrade}}"),
        ("request: {remove: [Sec-WebSocket-Version]}", "request: {set: {sec-websocket-version: '13'}}"),
        ("response: {remove: [sec-websocket-accept]}", "response: {remove: [server]}"),
    ] {
        assert_rule(&rules::UPGRADE_REMOVED, &headers("", wrong), &headers("", right));
        let no_handshake = headers("match: [{withoutHeaders: {upgrade: {}}}],", wrong);
        assert_rule(&rules::UPGRADE_REMOVED, &headers("match: [{uri: {prefix: /}}],", wrong), &no_handshake);
    }
    let at_destination = |field: &str| {
        route(&format!(
            "{{route: [{{destination: {{host: a}}, headers: {{request: {{remove: [{field}]}}}}}}]}}"
        ))
    };
    assert_rule(&rules::UPGRADE_REMOVED, &at_destination("sec-websocket-key"), &at_destination("x-debug"));
    let answering =
        |action: &str, conditions: &str| route(&format!("{{match: [{{{conditions}}}], {action}}}, {{{to}}}"));
    for (rule, action) in
        [(&rules::REDIRECT, "redirect: {uri: /}"), (&rules::DIRECT_RESPONSE, "directResponse: {status: 503}")]
    {
        let every = "headers: {upgrade: {exact: websocket}}, scheme: {exact: http}";
        assert_rule(rule, &answering(action, every), &answering(action, "withoutHeaders: {upgrade: {}}"));
    }
    let exact = format!("{{match: [{{uri: {{exact: /ws}}}}], {to}}}");
    assert_rule(&rules::UNROUTED_PATHS, &route(&exact), &route(&format!("{exact}, {{{to}}}")));
    let filter = |apply_to: &str, operation: &str, value: &str| {
        envoy_filter(ALLOW_CONNECT)
            .replace("NETWORK_FILTER", apply_to)
            .replace("MERGE", operation)
            .replace(&format!("{{typed_config: {{'@type': {TYPE}, {ALLOW_CONNECT}}}}}"), value)
            + SERVICE
            + DEPLOYMENT
    };
    let buffer = |operation| {
        let filter = filter("HTTP_FILTER", operation, "{name: envoy.filters.http.buffer}");
        // Without a name all of them would be removed.
        let named = format!("{{name: {NAME}, subFilter: {{name: envoy.filters.http.buffer}}}}");
        filter.replace(&format!("{{name: {NAME}}}"), &named)
    };
    assert_rule(&rules::BUFFER_FILTER, &buffer("INSERT_BEFORE"), &buffer("REMOVE"));
    let upgrade = |enabled: &str| {
        let value =
            format!("{{route: {{upgrade_configs: [{{upgrade_type: websocket, enabled: {enabled}}}]}}}}");
        filter("HTTP_ROUTE", "MERGE", &value)
    };
    assert_rule(&rules::UPGRADE_DISABLED, &upgrade("false"), &upgrade("true"));
    let idle =
        |timeout: &str| filter("HTTP_ROUTE", "MERGE", &format!("{{route: {{idle_timeout: {timeout}}}}}"));
    assert_rule(&rules::STREAM_IDLE_TIMEOUT, &idle("60s"), &idle("0s"));
    let types = |kind: &str| {
        envoy_filter(&format!("upgrade_configs: [{{upgrade_type: {kind}}}]")) + SERVICE + DEPLOYMENT
    };
    assert_rule(&rules::DUPLICATE_UPGRADE_TYPE, &types("websocket"), &types("spdy/3.1"));
}

#[test]
fn policies_that_refuse_every_handshake_are_errors() {
    let of = |kind: &str, spec: &str| {
        format!(
            "apiVersion: security.istio.io/v1\nkind: {kind}\nmetadata: {{name: p}}\nspec: {spec}\n---\n{SERVICE}"
        )
    };
    let authorization = |spec: &str| of("AuthorizationPolicy", spec);
    assert_rule(&rules::ALLOWS_NOBODY, &authorization("{}"), &authorization("{rules: [{}]}"));
    assert_rule(&rules::ALLOWS_NOBODY, &authorization("{action: ALLOW}"), &authorization("{action: DENY}"));
    let tls =
        |mode: &str| destination_rule(&format!("{{host: a, trafficPolicy: {{tls: {{mode: {mode}}}}}}}"));
    let strict = of("PeerAuthentication", "{mtls: {mode: STRICT}}");
    let permissive = of("PeerAuthentication", "{mtls: {mode: PERMISSIVE}}");
    let [wrong, right] = [strict.clone() + &tls("DISABLE"), strict + &tls("ISTIO_MUTUAL")];
    assert_rule(&rules::STRICT_WITHOUT_TLS, &wrong, &right);
    assert_rule(&rules::STRICT_WITHOUT_TLS, &wrong, &(permissive + &tls("DISABLE")));
}

#[test]
fn two_services_may_not_differ_about_a_port_and_a_subset_has_pods() {
    let other = |name: &str| SERVICE.replace("name: a}", "name: b}").replace("http-ws", name);
    let all = |name: &str| SERVICE.to_owned() + &other(name) + DEPLOYMENT;
    assert_rule(&rules::PORT_PROTOCOL_CONFLICT, &all("tcp-ws"), &all("http-other"));
    let found = said(&rules::PORT_PROTOCOL_CONFLICT, &all("tcp-ws"));
    assert_eq!(found, ["port 80 of a is TCP to the Service b and HTTP/1.1 to the Service a"]);
    let subset = |labels: &str| {
        destination_rule(&format!("{{host: a, subsets: [{{name: v1, labels: {{{labels}}}}}]}}"))
            + SERVICE
            + DEPLOYMENT
    };
    assert_rule(&rules::SUBSET_WITHOUT_PODS, &subset("version: v1"), &subset("app: a"));
}

#[test]
fn the_timeouts_of_an_http_route_count_as_those_of_a_virtual_service() {
    let route = |timeouts: &str| {
        format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: h}}\nspec:\n  rules:\n  - timeouts: {timeouts}\n---\n{SERVICE}"
        )
    };
    let found = said(&rules::VIRTUAL_SERVICE_TIMEOUT, &route("{request: 10s}"));
    assert_eq!(found, ["of an HTTPRoute's timeouts request is 10s"]);
    assert_eq!(said(&rules::VIRTUAL_SERVICE_TIMEOUT, &route("{request: 0s}")), [""; 0]);
}

#[test]
fn websocket_upgrade_is_told_to_be_needless() {
    let route =
        virtual_service("{hosts: [a], http: [{websocketUpgrade: true, route: [{destination: {host: a}}]}]}");
    let found = said(&rules::UNKNOWN_FIELD, &(route + SERVICE));
    assert!(found.len() == 1 && found[0].contains("on by default since Istio 1.0"), "{found:?}");
}
