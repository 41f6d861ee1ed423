//! Whose pods a document is about: those of every kind with a pod template, and those that are not
//! among the documents.

use super::*;

const POD_LABELS: &str = "metadata: {labels: {app: a}}";

#[test]
fn an_envoy_filter_whose_pods_are_not_among_the_documents_is_not_judged_by_them() {
    assert_eq!(codes(&envoy_filter(ALLOW_CONNECT)), [""; 0]);
    let other_kind = DEPLOYMENT.replace("Deployment", "ReplicaSet");
    let elsewhere = envoy_filter(ALLOW_CONNECT).replace("{app: a}", "{role: b}");
    assert_eq!(codes(&(elsewhere.clone() + SERVICE)), [""; 0]);
    assert_eq!(codes(&(elsewhere + SERVICE + &other_kind)), ["not-judged"]);
    // A patch for something else is none of these rules' business.
    let of_http_filter = envoy_filter(ALLOW_CONNECT)
        .replace("NETWORK_FILTER", "HTTP_FILTER")
        .replace(TYPE, "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua")
        .replace("MERGE", "INSERT_BEFORE");
    assert_eq!(codes(&(of_http_filter + SERVICE + DEPLOYMENT)), [""; 0]);
    // A patch a version is common, and one of them is for this one.
    let of_versions =
        envoy_filter(ALLOW_CONNECT).replace("match: {", "match: {proxy: {proxyVersion: '^1\\.16'}, ");
    let second = envoy_filter(ALLOW_CONNECT);
    let second = second.split("configPatches:\n").nth(1).expect("the patch");
    let both = of_versions.replace("---\n", second);
    assert_eq!(codes(&(both + SERVICE + DEPLOYMENT)), [""; 0]);
}

#[test]
fn every_kind_of_workload_has_pods() {
    for kind in ["StatefulSet", "DaemonSet"] {
        let pods = DEPLOYMENT
            .replace("Deployment", kind)
            .replace(POD_LABELS, "metadata: {labels: {app: a, tier: b}}");
        let all = with_pool("h2UpgradePolicy: UPGRADE") + SERVICE + &pods;
        let filter = |label: &str| envoy_filter(ALLOW_CONNECT).replace("{app: a}", label);
        assert_eq!(codes(&(all.clone() + &filter("{tier: b}"))), [""; 0]);
        assert_eq!(
            codes(&(all + &filter("{tier: c}"))),
            ["upgrade-without-allow-connect", "envoy-filter-selector"]
        );
        let misnamed = SERVICE.replace("targetPort: 80", "targetPort: http") + &pods;
        let found = findings(&misnamed).remove(0);
        assert_eq!(found.message, format!("no container of the {kind} a has a port named http"));
        // Two kinds may have one name.
        assert_eq!(codes(&(pods + SERVICE + DEPLOYMENT)), [""; 0]);
    }
}

#[test]
fn pods_that_are_not_among_the_documents_may_have_the_labels_that_a_filter_selects() {
    let upgrade = with_pool("h2UpgradePolicy: UPGRADE") + SERVICE;
    let filter = |label: &str| upgrade.clone() + &envoy_filter(ALLOW_CONNECT).replace("{app: a}", label);
    assert_eq!(codes(&filter("{tier: b}")), [""; 0]);
    // Not another one than their Service says.
    assert_eq!(codes(&filter("{app: b}")), ["upgrade-without-allow-connect", "envoy-filter-selector"]);
}

#[test]
fn a_filter_for_gateways_is_not_looked_for_among_the_pods() {
    let of_root =
        envoy_filter("use_remote_address: true").replace("namespace: default", "namespace: istio-system");
    let filter = |label: &str, context: &str| {
        of_root.replace("{app: a}", label).replace("SIDECAR_INBOUND", context) + SERVICE + DEPLOYMENT
    };
    assert_eq!(codes(&filter("{istio: ingressgateway}", "GATEWAY")), [""; 0]);
    assert_eq!(codes(&filter("{istio: eastwestgateway}", "ANY")), [""; 0]);
    assert_eq!(codes(&filter("{app: edge}", "GATEWAY")), [""; 0]);
    assert_eq!(codes(&filter("{app: edge}", "ANY")), ["envoy-filter-selector"]);
}

#[test]
fn a_service_without_a_pod_that_runs_is_an_error() {
    let replicas = |number: &str| {
        SERVICE.to_owned() + &DEPLOYMENT.replace("  template:", &format!("  replicas: {number}\n  template:"))
    };
    assert_rule(&rules::NO_REPLICAS, &replicas("0"), &replicas("1"));
    let other = DEPLOYMENT.replace("name: a}", "name: b}");
    assert_eq!(codes(&(replicas("0") + &other)), [""; 0], "others run");
    let scaled = "apiVersion: keda.sh/v1alpha1\nkind: ScaledObject\nmetadata: {name: s}\nspec: {}\n---\n";
    assert_eq!(codes(&(replicas("0") + scaled)), ["not-judged"]);
}

#[test]
fn a_workload_that_does_not_select_its_own_pods_is_refused() {
    let selecting = |label: &str| {
        let selector = format!("  selector: {{matchLabels: {{{label}}}}}\n  template:");
        SERVICE.to_owned() + &DEPLOYMENT.replace("  template:", &selector)
    };
    for wrong in ["app: b", "app: a, tier: web"] {
        assert_rule(&rules::INVALID_DOCUMENT, &selecting(wrong), &selecting("app: a"));
    }
}

#[test]
fn a_grpc_port_is_an_error_only_where_its_name_says_that_sessions_come_to_it() {
    let named = |name: &str| codes(&(SERVICE.replace("http-ws", name) + DEPLOYMENT));
    for (name, expected) in [
        ("grpc", "not-judged"),
        ("grpc-api", "not-judged"),
        ("grpc-web", "not-judged"),
        ("grpc-ws", "http2-port"),
        ("grpc-websocket", "http2-port"),
        ("http2-api", "http2-port"),
    ] {
        assert_eq!(named(name), [expected], "{name}");
    }
}

#[test]
fn whether_an_application_takes_sessions_over_http2_is_not_judged() {
    let named = |name: &str| {
        let all = SERVICE.replace("http-ws", name) + DEPLOYMENT + &envoy_filter(ALLOW_CONNECT);
        codes(&all)
    };
    for name in ["http2-ws", "grpc-ws", "grpc"] {
        assert_eq!(named(name), ["not-judged"], "{name}");
    }
    assert_eq!(named("http-ws"), [""; 0]);
}

#[test]
fn http2_to_outside_by_a_port_or_an_external_name_is_found() {
    let entry = |protocol: &str| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: e}}\nspec:\n  hosts: [ws.example.com]\n  \
             location: MESH_EXTERNAL\n  ports: [{{number: 80, name: x, protocol: {protocol}}}]\n---\n"
        )
    };
    assert_rule(&rules::HTTP2_PORT, &entry("HTTP2"), &entry("HTTP"));
    assert_rule(&rules::HTTP2_PORT, &entry("http2"), &entry("GRPC"));
    let external = |name: &str| {
        SERVICE.replace("selector: {app: a}", &format!("type: ExternalName\n  externalName: {name}"))
    };
    let upgrade = with_pool("h2UpgradePolicy: UPGRADE");
    let do_not = with_pool("h2UpgradePolicy: DO_NOT_UPGRADE");
    let rule = &rules::UPGRADE_WITHOUT_SIDECAR;
    assert_rule(rule, &(external("ws.example.com") + &upgrade), &(external("ws.example.com") + &do_not));
    let alias = external("b.chat.svc.cluster.local") + &upgrade;
    assert!(!codes(&alias).contains(&rule.code));
}

#[test]
fn a_service_of_udp_ports_carries_no_session_that_rules_are_for() {
    let udp = SERVICE.replace("name: http-ws,", "name: http-ws, protocol: UDP,");
    let pool = with_pool("maxRetries: 1");
    assert_rule(&rules::TCP_PORT, &(udp.clone() + &pool), &(SERVICE.to_owned() + &pool));
    assert_eq!(codes(&udp), [""; 0], "nobody says that it carries HTTP");
    let beside = udp.replace("ports: [", "ports: [{name: http, port: 81}, ");
    assert_eq!(codes(&(beside + &pool)), [""; 0]);
}

#[test]
fn the_meshs_configuration_says_what_sidecars_take_and_send() {
    let mesh = |config: &str| {
        format!(
            "apiVersion: install.istio.io/v1alpha1\nkind: IstioOperator\nspec: {{meshConfig: {{{config}}}}}\n---\n{SERVICE}{DEPLOYMENT}"
        )
    };
    let upgraded = with_pool("h2UpgradePolicy: UPGRADE") + &envoy_filter(ALLOW_CONNECT);
    let mode = |mode: &str| mesh(&format!("defaultConfig: {{interceptionMode: {mode}}}")) + &upgraded;
    assert_rule(&rules::UPGRADE_WITHOUT_SIDECAR, &mode("NONE"), &mode("REDIRECT"));
    let strict = |auto: &str| {
        mesh(&format!("enableAutoMtls: {auto}"))
            + "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: p}\nspec: {mtls: {mode: STRICT}}\n---\n"
    };
    assert_rule(&rules::STRICT_WITHOUT_TLS, &strict("false"), &strict("true"));
    let mutual = destination_rule("{host: a, trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}}");
    assert_rule(&rules::STRICT_WITHOUT_TLS, &strict("false"), &(strict("false") + &mutual));
}
