//! `EnvoyFilter`s that break sessions by what they configure.

use super::*;

/// A filter whose only patch is this, for the pods of the Service.
fn filter(patch: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1alpha3\nkind: EnvoyFilter\nmetadata: {{name: f}}\nspec:\n  workloadSelector: {{labels: {{app: a}}}}\n  \
         configPatches:\n  - {{{patch}}}\n---\n{SERVICE}{DEPLOYMENT}"
    )
}

fn said(rule: &Rule, text: &str) -> Vec<String> {
    let found = findings(text).into_iter().filter(|finding| finding.rule == rule);
    found.map(|finding| finding.message).collect()
}

#[test]
fn to_remove_what_routes_requests_is_an_error() {
    let remove = |apply_to: &str, of: &str| {
        filter(&format!(
            "applyTo: {apply_to}, match: {{context: SIDECAR_INBOUND{of}}}, patch: {{operation: REMOVE}}"
        ))
    };
    let chain = |filter: &str| format!(", listener: {{filterChain: {{filter: {{{filter}}}}}}}");
    for (apply_to, of, expected) in [
        ("NETWORK_FILTER", chain(&format!("name: {NAME}")), "the HTTP connection manager"),
        ("NETWORK_FILTER", String::new(), "the HTTP connection manager"),
        (
            "HTTP_FILTER",
            chain(&format!("name: {NAME}, subFilter: {{name: envoy.filters.http.router}}")),
            "the router",
        ),
        ("HTTP_FILTER", chain(&format!("name: {NAME}")), "the router"),
    ] {
        let found = said(&rules::FILTER_REMOVED, &remove(apply_to, &of));
        assert_eq!(found, [format!("{expected} is removed, without which no request is routed")], "{of}");
    }
    for (apply_to, of) in [
        ("NETWORK_FILTER", chain("name: envoy.filters.network.rbac")),
        ("HTTP_FILTER", chain(&format!("name: {NAME}, subFilter: {{name: envoy.filters.http.cors}}"))),
        ("CLUSTER", String::new()),
    ] {
        assert_eq!(said(&rules::FILTER_REMOVED, &remove(apply_to, &of)), [""; 0], "{of}");
    }
}

#[test]
fn fields_of_handshakes_that_patched_routes_remove_are_an_error() {
    for apply_to in ["HTTP_ROUTE", "VIRTUAL_HOST", "ROUTE_CONFIGURATION"] {
        let merge = |value: &str| {
            filter(&format!(
                "applyTo: {apply_to}, match: {{context: SIDECAR_INBOUND}}, patch: {{operation: MERGE, value: {{{value}}}}}"
            ))
        };
        for (wrong, right) in [
            ("request_headers_to_remove: [upgrade]", "request_headers_to_remove: [x-debug]"),
            ("requestHeadersToRemove: [Connection]", "requestHeadersToRemove: [cookie]"),
            ("response_headers_to_remove: [sec-websocket-accept]", "response_headers_to_remove: [server]"),
            (
                "request_headers_to_add: [{header: {key: upgrade, value: h2c}}]",
                "request_headers_to_add: [{header: {key: upgrade, value: websocket}}]",
            ),
        ] {
            assert_rule(&rules::UPGRADE_REMOVED, &merge(wrong), &merge(right));
        }
    }
}

#[test]
fn a_codec_that_does_not_take_what_clients_send_is_an_error() {
    let with = |codec: &str, policy: &str| {
        with_pool(&format!("h2UpgradePolicy: {policy}"))
            + &envoy_filter(&format!("codec_type: {codec}, {ALLOW_CONNECT}"))
            + SERVICE
            + DEPLOYMENT
    };
    assert_rule(&rules::HOP_MISMATCH, &with("HTTP1", "UPGRADE"), &with("AUTO", "UPGRADE"));
    assert_rule(&rules::HOP_MISMATCH, &with("HTTP2", "DO_NOT_UPGRADE"), &with("HTTP1", "DO_NOT_UPGRADE"));
    assert_rule(&rules::HOP_MISMATCH, &with("HTTP1", "UPGRADE"), &with("HTTP2", "UPGRADE"));
    assert_eq!(
        said(&rules::HOP_MISMATCH, &with("HTTP1", "UPGRADE")),
        [
            "a.default.svc.cluster.local:8080 is spoken to in HTTP/2, which its sidecar does not take with this codec_type"
        ]
    );
}

#[test]
fn a_filter_that_is_in_no_proxy_breaks_nothing() {
    let buffer = filter(
        "applyTo: HTTP_FILTER, match: {context: SIDECAR_INBOUND}, patch: {operation: INSERT_FIRST, value: {name: envoy.filters.http.buffer}}",
    );
    assert_eq!(said(&rules::BUFFER_FILTER, &buffer).len(), 1);
    let of_nobody = buffer.replacen("labels: {app: a}", "labels: {app: b}", 1);
    assert_eq!(codes(&of_nobody), ["envoy-filter-selector"]);
    let of_others = buffer.replace("match: {", "match: {proxy: {proxyVersion: '^1\\.2\\.'}, ");
    assert_eq!(said(&rules::BUFFER_FILTER, &of_others), [""; 0]);
}

#[test]
fn what_is_for_gateways_is_found_as_for_sidecars_and_says_so() {
    let of_gateways = |filter: String| {
        filter.replace("SIDECAR_INBOUND", "GATEWAY").replacen(
            "labels: {app: a}",
            "labels: {istio: ingressgateway}",
            1,
        )
    };
    let in_gateways = "in proxies of the context GATEWAY: ";
    for (rule, text) in [
        (&rules::STREAM_IDLE_TIMEOUT, envoy_filter("stream_idle_timeout: 300s")),
        (
            &rules::MAX_STREAM_DURATION,
            envoy_filter("common_http_protocol_options: {max_stream_duration: 1h}"),
        ),
        (
            &rules::BUFFER_FILTER,
            filter(
                "applyTo: HTTP_FILTER, match: {context: SIDECAR_INBOUND}, patch: {operation: INSERT_FIRST, value: {name: envoy.filters.http.buffer}}",
            ),
        ),
        (&rules::DUPLICATE_UPGRADE_TYPE, envoy_filter("upgrade_configs: [{upgrade_type: websocket}]")),
    ] {
        let found = said(rule, &of_gateways(text));
        assert!(found.len() == 1 && found[0].starts_with(in_gateways), "{}: {found:?}", rule.code);
    }
    let said_of = |config: &str| said(&rules::NOT_JUDGED, &of_gateways(envoy_filter(config)));
    assert_eq!(said_of(ALLOW_CONNECT), [""; 0]);
    assert_eq!(said_of("request_timeout: 5s"), ["this patch for the context GATEWAY is not judged"]);
}
