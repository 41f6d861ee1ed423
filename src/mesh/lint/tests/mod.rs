//! For each rule the smallest documents that trigger it, and the smallest that do not.

mod dumps;
mod fields;
mod filters;
mod kinds;
mod levels;
mod meshes;
mod network_policies;
mod pods;
mod policies;
mod reading;
mod routes;
mod unplayed;
mod whole;

use super::*;
use crate::mesh::{Documents, H2UpgradePolicy, ISTIO_VERSION, Rule, Severity, Source};

const SERVICE: &str = "
apiVersion: v1
kind: Service
metadata: {name: a}
spec:
  selector: {app: a}
  ports: [{name: http-ws, port: 8080, targetPort: 80}]
---
";
const DEPLOYMENT: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: a}
spec:
  template:
    metadata: {labels: {app: a}}
    spec: {containers: [{name: a, ports: [{name: web, containerPort: 80}]}]}
---
";
const NAME: &str = "envoy.filters.network.http_connection_manager";
const TYPE: &str =
    "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
const ALLOW_CONNECT: &str = "http2_protocol_options: {allow_connect: true}";

fn destination_rule(spec: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: r}}\nspec: {spec}\n---\n"
    )
}

fn with_pool(http: &str) -> String {
    destination_rule(&format!("{{host: a, trafficPolicy: {{connectionPool: {{http: {{{http}}}}}}}}}"))
}

fn virtual_service(spec: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: v}}\nspec: {spec}\n---\n"
    )
}

/// An `EnvoyFilter` for the HTTP connection manager, of which a part may be replaced.
fn envoy_filter(config: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {{name: f, namespace: default}}
spec:
  workloadSelector: {{labels: {{app: a}}}}
  configPatches:
  - applyTo: NETWORK_FILTER
    match: {{context: SIDECAR_INBOUND, listener: {{filterChain: {{filter: {{name: {NAME}}}}}}}}}
    patch: {{operation: MERGE, value: {{typed_config: {{'@type': {TYPE}, {config}}}}}}}
---
"
    )
}

fn findings_in(texts: &[Arc<Text>], mesh: Option<&MeshDefaults>) -> Vec<Finding> {
    lint(texts, &Circumstances { mesh, istio_version: ISTIO_VERSION }).expect("documents")
}

fn findings(text: &str) -> Vec<Finding> {
    let text = Text::new("test.yaml", text.to_owned());
    findings_in(&[text], None)
}

/// The rules that the documents break; what the sidecars here leave out is none.
fn codes(text: &str) -> Vec<&'static str> {
    let found = findings(text).into_iter().map(|finding| finding.rule);
    found.filter(|rule| **rule != rules::NOT_PLAYED).map(|rule| rule.code).collect()
}

#[track_caller]
fn assert_rule(rule: &Rule, triggering: &str, clean: &str) {
    let found = codes(triggering);
    assert!(found.contains(&rule.code), "{}: {found:?} in\n{triggering}", rule.code);
    let found = findings(clean);
    assert!(found.iter().all(|finding| finding.rule.code != rule.code), "{found:?} in\n{clean}");
    let worse = found.iter().filter(|finding| finding.rule.severity > Severity::Note);
    assert_eq!(worse.map(|finding| &finding.message).collect::<Vec<_>>(), [""; 0], "in\n{clean}");
}

/// The project's manifests, as they are in its folder.
fn manifests(paths: &[&str]) -> Vec<Arc<Text>> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let sources: Vec<Source> = paths.iter().map(|path| Source::from(folder.join(path))).collect();
    Source::read_all(&sources).expect("the manifests")
}

#[test]
fn the_guides_documents_and_the_manifests_have_nothing_above_a_note() {
    for paths in [
        &["tests/fixtures/guide.yaml"][..],
        &["manifests"],
        &["manifests/http1"],
        &["manifests/destination-rule.yaml", "manifests/envoy-filter.yaml"],
        &["manifests/websockets-server.yaml"],
        &["manifests/websockets-client.yaml", "manifests/websockets-server.yaml", "manifests/http1"],
    ] {
        let found = findings_in(&manifests(paths), None);
        let worse: Vec<_> = found.iter().filter(|finding| finding.rule.severity > Severity::Note).collect();
        assert!(worse.is_empty(), "{paths:?}: {worse:#?}");
    }
    let found = findings_in(&manifests(&["manifests"]), None);
    let notes: Vec<_> = found.iter().map(|finding| (finding.rule.code, finding.place.line)).collect();
    assert_eq!(notes, [("undeclared-port", 12)], "of the client's Service alone");
}

#[test]
fn upgrade_needs_allow_connect_in_the_servers_sidecar() {
    let upgrade = with_pool("h2UpgradePolicy: UPGRADE");
    let rule = &rules::UPGRADE_WITHOUT_ALLOW_CONNECT;
    assert_rule(rule, &upgrade, &(upgrade.clone() + &envoy_filter(ALLOW_CONNECT)));
    assert_rule(
        rule,
        &(upgrade.clone() + SERVICE),
        &(with_pool("h2UpgradePolicy: DO_NOT_UPGRADE") + SERVICE),
    );
    let all = upgrade + SERVICE + DEPLOYMENT;
    assert_rule(rule, &all, &(all.clone() + &envoy_filter(ALLOW_CONNECT)));
    for (from, to) in [
        ("context: SIDECAR_INBOUND", "context: SIDECAR_OUTBOUND"),
        ("labels: {app: a}", "labels: {app: b}"),
        ("namespace: default", "namespace: other"),
        ("allow_connect", "allow_conect"),
        ("allow_connect: true", "allow_connect: false"),
        (NAME, "envoy.http_connection_manager"),
        ("MERGE", "ADD"),
        ("v3.HttpC", "v2.HttpC"),
        ("match: {", "match: {proxy: {proxyVersion: '^2'}, "),
    ] {
        let filter = envoy_filter(ALLOW_CONNECT).replace(from, to);
        assert_ne!(filter, envoy_filter(ALLOW_CONNECT), "{from}");
        assert!(codes(&(all.clone() + &filter)).contains(&rule.code), "{to}");
    }
    let finding = findings(&all).remove(0);
    assert_eq!((finding.place.line, finding.place.column), (4, 74));
    assert_eq!(finding.place.span.len(), "UPGRADE".len());
    Documents::parse("fix.yaml", &finding.yaml).expect("the fix is a document");
    assert!(!codes(&(all + &finding.yaml)).contains(&rule.code), "the fix mends it");
}

#[test]
fn a_policy_of_a_subset_a_port_or_the_mesh_counts_too() {
    let code = rules::UPGRADE_WITHOUT_ALLOW_CONNECT.code;
    let pool = "connectionPool: {http: {h2UpgradePolicy: UPGRADE}}";
    let subset =
        destination_rule(&format!("{{host: a, subsets: [{{name: v1, trafficPolicy: {{{pool}}}}}]}}"));
    let port = |number: u16| {
        destination_rule(&format!(
            "{{host: a, trafficPolicy: {{portLevelSettings: [{{port: {{number: {number}}}, {pool}}}]}}}}"
        ))
    };
    assert_eq!(codes(&(subset + SERVICE)), [code]);
    assert_eq!(codes(&(port(8080) + SERVICE)), [code]);
    assert_eq!(codes(&(port(80) + SERVICE)), [""; 0], "it is the Service's port that is meant");
    let mesh = MeshDefaults { h2_upgrade_policy: H2UpgradePolicy::Upgrade };
    let text = |text: &str| Text::new("test.yaml", text.to_owned());
    assert_eq!(findings_in(&[text(SERVICE)], Some(&mesh))[0].rule.code, code);
    assert!(
        findings_in(&[text(&(SERVICE.to_owned() + &envoy_filter(ALLOW_CONNECT)))], Some(&mesh)).is_empty()
    );
}

#[test]
fn a_block_that_replaces_the_policy_has_to_repeat_it() {
    let outer = "connectionPool: {http: {h2UpgradePolicy: DO_NOT_UPGRADE}}";
    let (lost, kept) =
        ("http: {maxConcurrentStreams: 5}", "http: {maxConcurrentStreams: 5, h2UpgradePolicy: UPGRADE}");
    let subset = |pool: &str| {
        destination_rule(&format!(
            "{{host: a, trafficPolicy: {{{outer}}}, subsets: [{{name: v1, trafficPolicy: {{connectionPool: {{{pool}}}}}}}]}}"
        ))
    };
    let port = |pool: &str| {
        destination_rule(&format!(
            "{{host: a, trafficPolicy: {{{outer}, portLevelSettings: [{{port: {{number: 8080}}, connectionPool: {{{pool}}}}}]}}}}"
        ))
    };
    let filter = envoy_filter(ALLOW_CONNECT);
    assert_rule(&rules::UPGRADE_POLICY_LOST, &subset(lost), &(subset(kept) + &filter));
    assert_rule(&rules::UPGRADE_POLICY_LOST, &port(lost), &(port(kept) + &filter));
}

#[test]
fn what_istio_refuses_is_an_error_and_the_rest_is_judged() {
    let both = with_pool("h2UpgradePolicy: UPGRADE, useClientProtocol: true");
    assert_rule(&rules::CLIENT_PROTOCOL_WITH_UPGRADE, &both, &with_pool("useClientProtocol: true"));
    let misspelt = with_pool("h2UpgradePolicy: UPGRADED");
    assert_rule(&rules::INVALID_DOCUMENT, &misspelt, &with_pool("h2UpgradePolicy: DEFAULT"));
    assert_rule(&rules::DUPLICATE_DOCUMENT, &SERVICE.repeat(2), SERVICE);
    let port = SERVICE.replace("http-ws", "tcp-ws");
    assert_eq!(codes(&(misspelt + &port)), ["invalid-document", "tcp-port"]);
}

#[test]
fn an_envoy_filter_that_matches_nothing_says_which_condition_it_is() {
    let pods = SERVICE.to_owned() + DEPLOYMENT;
    let good = envoy_filter(ALLOW_CONNECT);
    for (rule, from, to) in [
        (&rules::ENVOY_FILTER_SELECTOR, "labels: {app: a}", "labels: {app: b}"),
        (&rules::ENVOY_FILTER_NAMESPACE, "namespace: default", "namespace: other"),
        (&rules::ENVOY_FILTER_CONTEXT, "SIDECAR_INBOUND", "SIDECAR_OUTBOUND"),
        (&rules::ENVOY_FILTER_CONTEXT, "SIDECAR_INBOUND", "GATEWAY"),
        (&rules::ENVOY_FILTER_PROXY_VERSION, "match: {", "match: {proxy: {proxyVersion: '^1\\.16'}, "),
        (&rules::ENVOY_FILTER_LISTENER, "listener: {", "listener: {portNumber: 8080, "),
        (&rules::ENVOY_FILTER_LISTENER, "listener: {", "listener: {name: virtualOutbound, "),
        (&rules::ENVOY_FILTER_FILTER_NAME, NAME, "envoy.http_connection_manager"),
        (&rules::ENVOY_FILTER_TYPE, "v3.HttpC", "v2.HttpC"),
        (&rules::ENVOY_FILTER_OPERATION, "MERGE", "INSERT_FIRST"),
        (&rules::ENVOY_FILTER_OPERATION, "NETWORK_FILTER", "HTTP_FILTER"),
    ] {
        let bad = good.replacen(from, to, 1);
        assert_ne!(bad, good, "{from}");
        assert_rule(rule, &(bad.clone() + &pods), &(good.clone() + &pods));
        assert_eq!(codes(&(bad.clone() + &pods)), [rule.code], "and nothing else: {to}");
    }
    let untyped = good.replace(&format!("'@type': {TYPE}, "), "");
    assert_eq!(codes(&(untyped + &pods)), ["envoy-filter-type"]);
}

#[test]
fn an_unknown_field_is_named_with_the_nearest_one() {
    for (text, expected) in [
        (
            envoy_filter("http2_protocol_options: {allow_conect: true}"),
            "has no field allow_conect: the nearest is allow_connect",
        ),
        (envoy_filter("http2_protocol_option: {}"), "the nearest is http2_protocol_options"),
        (envoy_filter("http2ProtocolOptions: {allowConect: true}"), "the nearest is allowConnect"),
        (
            envoy_filter("allow_connect: true"),
            "it belongs in spec.configPatches[0].patch.value.typed_config.http2_protocol_options",
        ),
        (with_pool("h2UpgradePolcy: UPGRADE"), "has no field h2UpgradePolcy: the nearest is h2UpgradePolicy"),
        (virtual_service("{hosts: [a], htp: []}"), "spec has no field htp: the nearest is http"),
        (destination_rule("{host: a, xyz: 1}"), "spec has no field xyz"),
    ] {
        let found = findings(&text);
        let unknown = found.iter().find(|finding| finding.rule == &rules::UNKNOWN_FIELD);
        let message = &unknown.unwrap_or_else(|| panic!("{found:?}")).message;
        assert!(message.ends_with(expected), "{message}");
    }
    let known =
        envoy_filter("merge_slashes: true, http2_protocol_options: {connection_keepalive: {interval: 5s}}");
    assert_rule(&rules::UNKNOWN_FIELD, &envoy_filter("http2_protocol_options: {allow_conect: true}"), &known);
}

#[test]
fn the_protocol_of_a_port_is_declared() {
    for name in ["tcp-ws", "https", "tls-ws"] {
        assert_rule(&rules::TCP_PORT, &SERVICE.replace("http-ws", name), SERVICE);
    }
    let by_app_protocol = SERVICE.replace("name: http-ws", "name: http-ws, appProtocol: tcp");
    assert_rule(&rules::TCP_PORT, &by_app_protocol, &SERVICE.replace("http-ws", "redis"));
    let database = SERVICE.replace("http-ws", "tcp-db").replace("8080", "5432");
    assert_rule(&rules::TCP_PORT, &database.replace("5432", "5433"), &database);
    assert_rule(&rules::UNDECLARED_PROTOCOL, &SERVICE.replace("http-ws", "websocket"), SERVICE);
}

#[test]
fn a_service_leads_to_a_port_of_a_pod() {
    let pods = |service: &str| service.to_owned() + DEPLOYMENT;
    let (named, misnamed) = (
        SERVICE.replace("targetPort: 80", "targetPort: web"),
        SERVICE.replace("targetPort: 80", "targetPort: http"),
    );
    assert_rule(&rules::SERVICE_SELECTOR, &pods(&SERVICE.replace("app: a", "app: b")), &pods(SERVICE));
    assert_rule(
        &rules::SERVICE_SELECTOR,
        &pods(&SERVICE.replace("app: a", "app: b")),
        &SERVICE.replace("app: a", "app: b"),
    );
    assert_rule(&rules::UNDECLARED_NAMED_PORT, &pods(&misnamed), &pods(&named));
    assert_rule(
        &rules::UNDECLARED_PORT,
        &pods(&SERVICE.replace("80,", "81,").replace("targetPort: 80", "targetPort: 81")),
        &pods(SERVICE),
    );
    assert_eq!(rules::UNDECLARED_PORT.severity, Severity::Note);
}

#[test]
fn a_host_is_a_services_full_name_or_its_name_alone() {
    let rule = |host: &str| destination_rule(&format!("{{host: '{host}'}}")) + SERVICE;
    for wrong in ["a.default", "a.default.svc", "b", "a.other", "aa.default.svc.cluster.local"] {
        assert_rule(&rules::UNKNOWN_HOST, &rule(wrong), &rule("a"));
    }
    for right in ["a.default.svc.cluster.local", "*.cluster.local", "*", "ws.example.com"] {
        assert_eq!(codes(&rule(right)), [""; 0], "{right}");
    }
    assert_eq!(codes(&destination_rule("{host: a.default}")), ["unknown-host"]);
    assert_rule(&rules::UNSEEN_HOST, &destination_rule("{host: a}"), &rule("a"));
    let routed = |host: &str| virtual_service(&format!("{{hosts: [{host}]}}")) + SERVICE;
    assert_rule(&rules::UNKNOWN_HOST, &routed("a.default"), &routed("a"));
    let finding = findings(&rule("a.default")).remove(0);
    assert_eq!(finding.yaml, "host: a.default.svc.cluster.local");
}

#[test]
fn a_route_leads_to_something() {
    let to = |destination: &str| {
        virtual_service(&format!("{{hosts: [a], http: [{{route: [{{destination: {{{destination}}}}}]}}]}}"))
            + SERVICE
    };
    let good = to("host: a, port: {number: 8080}");
    assert_rule(&rules::UNKNOWN_DESTINATION, &to("host: a, port: {number: 1}"), &good);
    // A delegate has no hosts.
    assert_eq!(codes(&good.replace("hosts: [a], ", "")), [""; 0]);
    let subset = to("host: a, subset: v1");
    let rule = destination_rule("{host: a, subsets: [{name: v1}]}");
    assert_rule(&rules::UNKNOWN_DESTINATION, &subset, &(subset.clone() + &rule));
    assert_rule(&rules::UNKNOWN_DESTINATION, &to("host: a.default"), &good);
}

#[test]
fn a_route_that_answers_by_itself_opens_no_session() {
    let routes = |http: &str| virtual_service(&format!("{{hosts: [a], http: [{http}]}}")) + SERVICE;
    let answer = "{directResponse: {status: 503}}";
    let matched = "{match: [{uri: {prefix: /old}}], directResponse: {status: 410}}";
    let behind =
        format!("{{match: [{{uri: {{prefix: /ws}}}}], route: [{{destination: {{host: a}}}}]}}, {answer}");
    assert_rule(&rules::DIRECT_RESPONSE, &routes(answer), &routes(matched));
    assert_rule(&rules::DIRECT_RESPONSE, &routes(answer), &routes(&behind));
}

#[test]
fn two_documents_for_a_host_hide_each_other() {
    let rule = with_pool("maxRetries: 1");
    let other = |text: &str, from: &str| text.replacen(from, "name: z", 1);
    let subsets = other(&destination_rule("{host: a, subsets: [{name: v1}]}"), "name: r");
    let twice = rule.clone() + &other(&rule, "name: r") + SERVICE;
    assert_rule(&rules::DUPLICATE_DESTINATION_RULE, &twice, &(rule + &subsets + SERVICE));
    let routes = virtual_service("{hosts: [a]}");
    let for_gateway = other(&virtual_service("{hosts: [a], gateways: [g]}"), "name: v");
    let twice = routes.clone() + &other(&routes, "name: v") + SERVICE;
    assert_rule(&rules::DUPLICATE_VIRTUAL_SERVICE, &twice, &(routes + &for_gateway + SERVICE));
}

#[test]
fn a_timer_that_ends_sessions_is_a_warning() {
    let route = |timeout: &str| {
        virtual_service(&format!(
            "{{hosts: [a], http: [{{timeout: {timeout}, route: [{{destination: {{host: a}}}}]}}]}}"
        )) + SERVICE
    };
    assert_rule(&rules::VIRTUAL_SERVICE_TIMEOUT, &route("15s"), &route("0s"));
    let conditional = route("15s").replace("timeout:", "match: [{uri: {prefix: /ws}}], timeout:");
    assert_eq!(codes(&conditional), ["unrouted-paths", "virtual-service-timeout"]);
    let idle = envoy_filter("stream_idle_timeout: 300s");
    assert_rule(&rules::STREAM_IDLE_TIMEOUT, &idle, &idle.replace("300s", "0s"));
    let longest = envoy_filter("common_http_protocol_options: {max_stream_duration: 1h}");
    assert_rule(
        &rules::MAX_STREAM_DURATION,
        &longest,
        &longest.replace("max_stream_duration", "idle_timeout"),
    );
    let tcp = |settings: &str| {
        destination_rule(&format!("{{host: a, trafficPolicy: {{connectionPool: {{tcp: {{{settings}}}}}}}}}"))
    };
    let service = |text: String| text + SERVICE;
    assert_rule(
        &rules::MAX_CONNECTION_DURATION,
        &service(tcp("maxConnectionDuration: 1h")),
        &service(tcp("connectTimeout: 1s")),
    );
    let opaque = tcp("idleTimeout: 1h") + &SERVICE.replace("http-ws", "tcp-ws");
    assert_rule(&rules::TCP_IDLE_TIMEOUT, &opaque, &service(tcp("idleTimeout: 1h")));
}
