//! What lines mean, in words: the combinations that operators ask about.

use serde_json::json;

use super::*;
use crate::access_log::LineFormat;

fn line(cluster: Option<&str>, protocol: &str, code: u16, flags: &str, details: &str, ms: u64) -> ParsedLine {
    let decoded = details != "http2.invalid.header.field";
    let line = json!({
        "upstream_cluster": cluster,
        "protocol": protocol,
        "method": decoded.then_some("GET"),
        "path": decoded.then_some("/"),
        "authority": decoded.then_some("web:8080"),
        "response_code": code,
        "response_flags": flags,
        "response_code_details": details,
        "duration": ms,
        "upstream_service_time": null,
    });
    ParsedLine::parse(&line.to_string()).expect("a line")
}

/// The line with these fields, too.
fn with(line: &ParsedLine, fields: &serde_json::Value) -> ParsedLine {
    let mut all: serde_json::Map<_, _> = serde_json::from_str(line.text()).expect("an object");
    all.extend(fields.as_object().expect("an object").clone());
    ParsedLine::parse(&serde_json::Value::from(all).to_string()).expect("a line")
}

const OUT: Option<&str> = Some("outbound|8080||web.default.svc.cluster.local");
const IN: Option<&str> = Some("inbound|80||");
const CLOSED: &str = "upstream_reset_after_response_started{connection_termination}";
const CLOSED_OVER_HTTP2: &str = "upstream_reset_after_response_started{remote_error_with_CONNECT_request}";
const LOST: &str = "upstream_reset_before_response_started{connection_termination}";
const REFUSED: &str = "upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}";

#[test]
fn a_session_that_the_server_ended_while_a_side_was_silent_is_worth_a_look() {
    for (sidecar, flag, details, received, sent, expected) in [
        (IN, "UC", CLOSED, 34, 0, "the application ended the session, and it had sent nothing"),
        (
            OUT,
            "UR",
            CLOSED_OVER_HTTP2,
            0,
            9,
            "the server's side ended the session, and the client had sent nothing",
        ),
    ] {
        let line = line(sidecar, "HTTP/1.1", 101, flag, details, 2);
        let explanation = explain(&with(&line, &json!({"bytes_received": received, "bytes_sent": sent})));
        assert_eq!(explanation.health, Health::Look, "{explanation}");
        assert!(explanation.to_string().contains(expected), "{explanation}");
    }
}

#[test]
fn each_way_of_ending_is_told_apart_and_judged() {
    use Health::{Failed, Look, Normal};
    let cases = [
        (line(OUT, "HTTP/1.1", 101, "UR", CLOSED_OVER_HTTP2, 17), Normal, "UR is how that looks over HTTP/2"),
        (line(OUT, "HTTP/1.1", 101, "UC", CLOSED, 1073), Normal, "closed the connection first"),
        (line(IN, "HTTP/2", 101, "UC", CLOSED, 15), Normal, "the application closed its connection first"),
        (
            line(IN, "HTTP/2", 101, "UpstreamConnectionTermination", CLOSED, 15),
            Normal,
            "the application closed",
        ),
        (
            line(OUT, "HTTP/1.1", 101, "DC", "downstream_remote_disconnect", 14),
            Normal,
            "the client's side closed",
        ),
        (line(IN, "HTTP/2", 101, "DR", "http2.remote_reset", 5), Normal, "the client is gone"),
        (line(OUT, "HTTP/1.1", 101, "SI", "stream_idle_timeout", 1034), Look, "send WebSocket pings"),
        (line(IN, "HTTP/2", 101, "DC", "downstream_local_disconnect(x)", 4), Look, "shut down"),
        (
            with(&line(OUT, "HTTP/1.1", 101, "-", "via_upstream", 4), &json!({"bytes_received": 0})),
            Failed,
            "no session came of it",
        ),
        (
            with(&line(OUT, "HTTP/1.1", 101, "-", "via_upstream", 4), &json!({"bytes_received": 30})),
            Normal,
            "both sides ended the session in order",
        ),
        (
            line(OUT, "HTTP/1.1", 101, "-", "via_upstream", 4),
            Look,
            "look at the bytes that came from the client",
        ),
        (
            line(IN, "HTTP/1.1", 200, "-", "via_upstream", 3),
            Look,
            "answered 200; if this was a WebSocket's handshake",
        ),
        (line(IN, "HTTP/1.1", 302, "-", "via_upstream", 3), Look, "the place that it was redirected to"),
        (
            with(&line(IN, "HTTP/1.1", 200, "-", "via_upstream", 3), &json!({"upstream_service_time": 3})),
            Normal,
            "answered 200",
        ),
        (
            with(
                &line(IN, "HTTP/1.1", 0, "DC", "downstream_remote_disconnect", 3000),
                &json!({"upstream_host": null}),
            ),
            Failed,
            "a filter of it held the request",
        ),
        (line(None, "HTTP/1.0", 426, "-", "low_version", 0), Failed, "proxy_http_version"),
        (line(OUT, "HTTP/2", 503, "UC", "", 16), Failed, "allow_connect"),
        (line(OUT, "HTTP/2", 503, "UF,URX", "", 16), Failed, "the server's sidecar was not reached"),
        (
            line(IN, "HTTP/1.1", 200, "-", "websocket_handshake_unsuccessful", 1),
            Failed,
            "something else than 101",
        ),
        (line(OUT, "HTTP/1.1", 503, "UC", LOST, 1003), Failed, "allow_connect"),
        (line(None, "HTTP/2", 0, "DPE", "http2.invalid.header.field", 0), Failed, "allow_connect"),
        (line(IN, "HTTP/1.1", 503, "URX,UF", REFUSED, 39), Failed, "the application is not listening"),
        (line(OUT, "HTTP/1.1", 503, "URX,UF", REFUSED, 44), Failed, "the server's sidecar was not reached"),
        (line(OUT, "HTTP/1.1", 503, "-", "via_upstream", 43), Failed, "only passed that on"),
        (line(IN, "HTTP/1.1", 503, "UC", LOST, 1000), Failed, "closed the connection without an answer"),
        (line(IN, "HTTP/2", 426, "UC", CLOSED, 2), Failed, "refused the WebSocket handshake with 426"),
        (line(OUT, "HTTP/1.1", 403, "UR", CLOSED_OVER_HTTP2, 2), Failed, "the fields of an upgrade"),
        (line(OUT, "HTTP/1.1", 504, "UT", "response_timeout", 999), Failed, "timeout in the VirtualService"),
        (line(None, "HTTP/1.1", 404, "NR", "route_not_found", 0), Failed, "no route fits"),
        (line(None, "HTTP/1.1", 502, "-", "direct_response", 0), Failed, "REGISTRY_ONLY"),
        (line(OUT, "HTTP/1.1", 403, "-", "upgrade_failed", 0), Failed, "Upgrade: websocket"),
        (
            line(IN, "HTTP/1.1", 403, "-", "rbac_access_denied_matched_policy[none]", 0),
            Failed,
            "AuthorizationPolicy",
        ),
        (line(OUT, "HTTP/1.1", 0, "DC", "downstream_remote_disconnect", 502), Failed, "gave up"),
        (
            line(OUT, "HTTP/1.1", 503, "UO", "upstream_reset_before_response_started{overflow}", 0),
            Failed,
            "connectionPool.tcp.maxConnections",
        ),
        (
            line(OUT, "HTTP/1.1", 503, "UDO", "unconditional_drop_overload", 0),
            Failed,
            "dropped by configuration",
        ),
    ];
    for (line, health, words) in cases {
        let explanation = explain(&line);
        assert_eq!(explanation.health, health, "{line:?}: {explanation}");
        assert!(explanation.to_string().contains(words), "{line:?}: {explanation}");
        assert_eq!(explanation.change.is_none(), health == Normal, "{explanation}");
    }
}

#[test]
fn allow_connect_is_named_only_where_it_is_the_cause() {
    let about = |line: &ParsedLine| explain(line).paragraph(&particulars(line)).contains("allow_connect");
    let lost_at_once =
        explain(&line(OUT, "HTTP/1.1", 503, "UC", LOST, 0)).change.expect("there is something to do");
    assert!(lost_at_once.starts_with("if it was a WebSocket and this hop is HTTP/2"), "{lost_at_once}");
    assert!(lost_at_once.contains("DPE"), "what to look for at the server's side: {lost_at_once}");
    assert!(!about(&line(IN, "HTTP/2", 503, "UC", LOST, 1000)), "an application that closes");
    assert!(!about(&line(None, "HTTP/1.1", 400, "DPE", "http1.codec_error", 0)), "no HTTP at all");
    assert!(!about(&line(OUT, "HTTP/1.1", 503, "-", "via_upstream", 1000)), "passed on");
    assert!(!about(&line(IN, "HTTP/1.1", 503, "URX,UF", REFUSED, 1000)), "not listening");
    let (client, server) =
        (line(OUT, "HTTP/1.1", 503, "-", "via_upstream", 1000), line(IN, "HTTP/2", 503, "UC", LOST, 999));
    let application = explain_session(&client, &server);
    let paragraph = application.paragraph(&session_particulars(&client, &server));
    assert!(!paragraph.contains("allow_connect"), "{paragraph}");
}

#[test]
fn a_502_of_a_route_with_a_name_of_its_own_is_no_blocked_host() {
    let of_route = |name: &str| {
        let line =
            json!({"route_name": name, "response_code": 502, "response_code_details": "direct_response"});
        explain(&ParsedLine::parse(&line.to_string()).expect("a line")).ended
    };
    assert!(of_route("block_all").contains("lets nothing out"));
    assert!(of_route("closed").contains("the route itself says what to answer"));
}

#[test]
fn both_sides_together_give_the_word_to_the_line_nearer_to_the_cause() {
    let cases = [
        (
            line(OUT, "HTTP/1.1", 503, "UC", LOST, 300),
            line(None, "HTTP/2", 0, "DPE", "http2.invalid.header.field", 0),
            "does not allow extended CONNECT",
        ),
        (
            line(OUT, "HTTP/1.1", 503, "-", "via_upstream", 43),
            line(IN, "HTTP/2", 503, "URX,UF", REFUSED, 39),
            "the application is not listening",
        ),
        (
            line(OUT, "HTTP/1.1", 504, "UT", "response_timeout", 999),
            line(IN, "HTTP/2", 0, "DR", "http2.remote_reset", 998),
            "no response came within the route's timeout",
        ),
        (
            line(OUT, "HTTP/1.1", 101, "DC", "downstream_remote_disconnect", 5),
            line(IN, "HTTP/2", 101, "DR", "http2.remote_reset", 5),
            "the client's side closed",
        ),
        (
            line(OUT, "HTTP/1.1", 101, "UR", "upstream_reset_after_response_started{remote_reset}", 1010),
            line(IN, "HTTP/2", 101, "SI", "stream_idle_timeout", 1008),
            "nothing had passed",
        ),
        (
            line(OUT, "HTTP/1.1", 101, "UC", CLOSED, 7),
            line(IN, "HTTP/2", 101, "DC", "downstream_local_disconnect(x)", 4),
            "shut down",
        ),
        (
            line(OUT, "HTTP/1.1", 101, "UR", CLOSED_OVER_HTTP2, 17),
            line(IN, "HTTP/2", 101, "UC", CLOSED, 15),
            "the application closed its connection first",
        ),
    ];
    for (client, server, words) in cases {
        let whole = explain_session(&client, &server);
        assert!(whole.ended.contains(words), "{whole}");
    }
}

#[test]
fn a_connection_between_the_sidecars_that_is_lost_is_not_a_proper_end() {
    let client = line(OUT, "HTTP/1.1", 101, "UC", CLOSED, 7);
    let server = line(IN, "HTTP/2", 101, "DC", "downstream_remote_disconnect", 7);
    assert_eq!(explain_session(&client, &server).health, Health::Look);
}

#[test]
fn a_paragraph_says_what_each_flag_and_the_details_mean() {
    let line = line(IN, "HTTP/1.1", 503, "URX,UF", REFUSED, 39);
    let paragraph = explain(&line).paragraph(&particulars(&line));
    for words in ["URX says", "UF says", "What to do: start the application", "This is a failure."] {
        assert!(paragraph.contains(words), "{words}: {paragraph}");
    }
}

#[test]
fn a_request_that_could_not_be_read_blames_no_sidecar_that_the_line_does_not_name() {
    let dpe = line(None, "HTTP/2", 0, "DPE", "http2.invalid.header.field", 0);
    let change = explain(&dpe).change.expect("something to do");
    assert!(change.contains("the line alone does not tell"), "{change}");
    assert!(change.contains("SIDECAR_INBOUND") && change.contains("SIDECAR_OUTBOUND"), "{change}");

    let server = r#"{"protocol":"HTTP/2","method":null,"response_code":0,"response_flags":"DPE","response_code_details":"http2.invalid.header.field","requested_server_name":"outbound_.8080_._.web.default.svc.cluster.local"}"#;
    let change = explain(&ParsedLine::parse(server).expect("a line")).change.expect("something to do");
    assert!(change.contains("the server's sidecar") && !change.contains("SIDECAR_OUTBOUND"), "{change}");

    let client = line(OUT, "HTTP/1.1", 503, "UC", LOST, 1003);
    assert_eq!(explain_session(&client, &dpe).sidecar, Proxy::Server, "the other side's line names it");
}

#[test]
fn a_refusal_that_came_from_the_servers_side_may_be_its_sidecars_own() {
    let change = |cluster| explain(&line(cluster, "HTTP/1.1", 403, "-", "via_upstream", 5)).change;
    assert!(change(OUT).is_some_and(|change| change.contains("AuthorizationPolicy")));
    assert!(change(IN).is_some_and(|change| !change.contains("AuthorizationPolicy")));
}

/// Envoy's `docs/root/configuration/http/http_conn_man/response_code_details.rst`.
const DOCUMENTED: &str = "absolute_path_rejected admin_filter_response cluster_not_found downstream_local_disconnect \
    downstream_remote_disconnect duration_timeout direct_response filter_chain_not_found filter_removed_required_headers \
    internal_redirect low_version maintenance_mode max_duration_timeout missing_host_header missing_path_rejected \
    no_healthy_upstream overload path_normalization_failed request_headers_failed_strict_check request_overall_timeout \
    request_payload_exceeded_retry_buffer_limit request_payload_too_large response_payload_too_large \
    route_configuration_not_found route_not_found stream_idle_timeout upgrade_failed upstream_max_stream_duration_reached \
    upstream_per_try_timeout upstream_reset_after_response_started{details} \
    upstream_reset_before_response_started{details} upstream_response_timeout via_upstream http1.body_disallowed \
    http1.codec_error http1.connection_header_rejected http1.content_length_and_chunked_not_allowed \
    http1.content_length_not_allowed http1.headers_too_large http1.invalid_characters http1.invalid_transfer_encoding \
    http1.invalid_url http1.too_many_headers http1.transfer_encoding_not_allowed http1.unexpected_underscore \
    http2.inbound_empty_frames_flood http2.invalid.header.field http2.outbound_frames_flood http2.too_many_headers \
    http2.unexpected_underscore http2.unknown.nghttp2.error http2.violation.of.messaging.rule";

/// What Envoy's sources have beside that: `envoy/stream_info/stream_info.h` and the codecs.
const UNDOCUMENTED: &str = "request_header_timeout invalid_path websocket_handshake_unsuccessful drop_overload \
    unconditional_drop_overload response_timeout upstream_per_try_idle_timeout downstream_header_timeout \
    filter_removed_required_request_headers filter_removed_required_response_headers \
    rejecting_because_detection_failed filter_added_invalid_request_data filter_added_invalid_response_data \
    early_connect_data http1.invalid_scheme http1.https_url_on_plaintext_connection http2.remote_reset \
    http2.remote_refuse http2.header_list_size_too_large http2.cookies_total_bytes_too_large uhv.invalid_url uhv.invalid_pseudo_header";

#[test]
fn every_value_of_the_details_that_envoy_has_is_explained() {
    for details in DOCUMENTED.split(' ').chain(UNDOCUMENTED.split(' ')) {
        for (cluster, protocol, code) in [(OUT, "HTTP/1.1", 503), (IN, "HTTP/2", 101), (None, "HTTP/2", 0)] {
            let line = line(cluster, protocol, code, "-", details, 0);
            let said = explain(&line).paragraph(&particulars(&line));
            assert!(said.contains(&format!("the details {details} say: ").replacen('t', "T", 1)), "{said}");
        }
    }
}

/// Envoy's `docs/root/configuration/observability/access_log/usage.rst`, short and long.
const FLAGS: &str = "LH FailedLocalHealthCheck UH NoHealthyUpstream UT UpstreamRequestTimeout LR LocalReset UR \
    UpstreamRemoteReset UF UpstreamConnectionFailure UC UpstreamConnectionTermination UO UpstreamOverflow NR NoRouteFound \
    DI DelayInjected FI FaultInjected RL RateLimited UAEX UnauthorizedExternalService RLSE RateLimitServiceError DC \
    DownstreamConnectionTermination URX UpstreamRetryLimitExceeded SI StreamIdleTimeout IH InvalidEnvoyRequestHeaders DPE \
    DownstreamProtocolError UMSDR UpstreamMaxStreamDurationReached RFCF ResponseFromCacheFilter NFCF NoFilterConfigFound \
    DT DurationTimeout UPE UpstreamProtocolError NC NoClusterFound OM OverloadManagerTerminated DF DnsResolutionFailed DO \
    DropOverload DR DownstreamRemoteReset UDO UnconditionalDropOverload";

#[test]
fn every_flag_that_envoy_documents_is_explained_by_its_short_and_its_long_name() {
    let names: Vec<&str> = FLAGS.split(' ').collect();
    for pair in names.chunks(2) {
        let said = |flag: &str| {
            let line = ParsedLine::parse(&json!({"response_code": 503, "response_flags": flag}).to_string());
            let line = line.expect("a line");
            explain(&line).paragraph(&particulars(&line))
        };
        let short = said(pair[0]);
        assert_eq!(short, said(pair[1]));
        assert!(
            short.contains(&format!("{} says: ", pair[0])) && !short.contains("does not document"),
            "{short}"
        );
        // A delay and an answer from a cache are no failures themselves.
        assert_eq!(short.contains("What to do: "), !["DI", "RFCF"].contains(&pair[0]), "{short}");
    }
}

#[test]
fn a_flag_that_envoy_does_not_document_is_named_and_makes_nothing_normal() {
    let explained = |code: u16| {
        let line = json!({"response_code": code, "response_flags": "XX"});
        explain(&ParsedLine::parse(&line.to_string()).expect("a line"))
    };
    for (code, health) in [(101, Health::Look), (503, Health::Failed)] {
        let explanation = explained(code);
        assert_eq!(explanation.health, health);
        assert!(explanation.ended.contains("XX, a flag that Envoy does not document"), "{explanation}");
    }
}

#[test]
fn a_limit_that_closed_a_connection_is_told_apart_from_the_end_of_the_proxy() {
    let ended = |why: &str| {
        let details = format!("downstream_local_disconnect({why})");
        explain(&line(IN, "HTTP/2", 101, "DC", &details, 4)).ended
    };
    assert!(ended("max_connection_duration_reached").contains("as old as it may be"));
    assert!(ended("purging_socket_that_have_not_progressed_to_connections").contains("shut down"));
}

/// A line that says where it was called, by whom, and from where it called on.
fn at(cluster: &str, called: &str, peer: &str, own: &str) -> ParsedLine {
    let addresses = json!({
        "downstream_local_address": called, "downstream_remote_address": peer, "upstream_local_address": own,
    });
    with(&line(Some(cluster), "HTTP/1.1", 503, "UC", LOST, 5), &addresses)
}

#[test]
fn the_proxy_that_wrote_a_line_is_told_by_clusters_ports_and_names() {
    let outbound = "outbound|8080||chat.default.svc.cluster.local";
    let sni = |name: &str| {
        with(
            &line(None, "HTTP/2", 0, "DPE", "http2.invalid.header.field", 0),
            &json!({"requested_server_name": name}),
        )
    };
    for (line, proxy) in [
        (at(outbound, "10.90.0.1:8080", "10.80.45.233:59375", "10.80.45.233:37132"), Proxy::Client),
        (at(outbound, "10.1.2.233:80", "10.1.2.220:59375", "10.1.2.233:37132"), Proxy::Gateway),
        (at(outbound, "[fd00::5]:80", "[fd00::9]:59375", "[fd00::5]:37132"), Proxy::Gateway),
        // All on one machine: nothing tells them apart but the cluster.
        (at(outbound, "127.0.0.1:15001", "127.0.0.1:59375", "127.0.0.1:37132"), Proxy::Client),
        (at("httproute/default/ws/rule/0", "10.1.1.1:8443", "10.80.45.233:1", "10.1.1.1:1"), Proxy::Gateway),
        (at("inbound|8000||", "10.80.47.192:8000", "10.80.45.233:59375", "127.0.0.6:37132"), Proxy::Server),
        (
            at(
                "inbound-vip|80|http|chat.default.svc.cluster.local",
                "10.90.0.1:80",
                "10.1.1.1:1",
                "10.1.1.2:1",
            ),
            Proxy::Waypoint,
        ),
        (sni("outbound_.80_._.chat.default.svc.cluster.local"), Proxy::Server),
        (sni("outbound_.80_._.istio-egressgateway.istio-system.svc.cluster.local"), Proxy::Gateway),
        (sni("ws.example.com"), Proxy::Unknown),
    ] {
        assert_eq!(Proxy::of(&line), proxy, "{line:?}");
    }
    let gateway = explain(&sni("outbound_.80_._.my-gateway.ns.svc.cluster.local")).to_string();
    assert!(gateway.contains("(context: GATEWAY)") && !gateway.contains("SIDECAR_INBOUND"), "{gateway}");
}

#[test]
fn a_tcp_connection_is_told_as_one() {
    let tcp = |flags: &str| {
        let line = json!({
            "method": null, "path": null, "protocol": null, "response_code": 0, "response_flags": flags,
            "response_code_details": null, "upstream_host": "10.80.47.192:8000", "upstream_cluster": OUT,
        });
        ParsedLine::parse(&line.to_string()).expect("a line")
    };
    let normal = explain(&tcp("-"));
    assert_eq!(
        (normal.asked.as_str(), normal.health),
        ("a TCP connection to 10.80.47.192:8000", Health::Normal)
    );
    assert!(particulars(&tcp("-")).iter().any(|said| said.contains("passes as bytes")));
    let failed = explain(&tcp("UF,URX"));
    assert_eq!((&failed.asked, failed.health), (&normal.asked, Health::Failed));
    assert!(failed.ended.contains("was not reached"), "{}", failed.ended);
    let kuma = "[2026-07-05T10:00:00.000Z] - default 10.1.1.1(web)->10.80.47.192:8000(chat) took 3ms, sent 105 bytes, received: 61 bytes";
    let kuma = explain(&LineFormat::default().read(kuma).expect("a line"));
    assert_eq!((kuma.asked, kuma.health), (normal.asked, Health::Normal));
}

#[test]
fn what_a_line_does_not_have_is_not_made_up() {
    let line =
        ParsedLine::parse(r#"{"method":"GET","response_code":101,"response_flags":"DC"}"#).expect("a line");
    assert_eq!(explain(&line).asked, "WebSocket GET");
}

#[test]
fn what_cannot_be_a_handshake_gets_no_advice_for_one() {
    let asks = |method: &str, path: &str, code: u16, flags: &str, details: &str| {
        let line = line(OUT, "HTTP/1.1", code, flags, details, 1003);
        explain(&with(&line, &json!({"method": method, "path": path}))).to_string()
    };
    for (method, path) in [("POST", "/ws"), ("HEAD", "/"), ("GET", "/favicon.ico"), ("GET", "/a/b.JS?v=1.2")]
    {
        for (code, flags, details) in [
            (200, "-", "via_upstream"),
            (400, "-", "via_upstream"),
            (403, "-", "via_upstream"),
            (404, "-", "via_upstream"),
            (426, "-", "via_upstream"),
            (503, "UC", LOST),
            (503, "UC", ""),
            (502, "UPE", "upstream_reset_before_response_started{protocol_error}"),
        ] {
            let said = asks(method, path, code, flags, details);
            let about = ["WebSocket", "handshake", "allow_connect"].iter().any(|word| said.contains(word));
            assert!(!about, "{method} {path}: {said}");
        }
    }
    let with_dots = asks("GET", "/v1.2/chat.room", 404, "-", "via_upstream");
    assert!(with_dots.contains("has no WebSocket there"), "{with_dots}");
    let plain =
        with(&line(OUT, "HTTP/1.1", 404, "-", "via_upstream", 3), &json!({"upstream_service_time": 3}));
    let plain = explain(&plain).to_string();
    assert!(plain.contains("came as a plain request") && !plain.contains("WebSocket GET"), "{plain}");
}

#[test]
fn a_code_that_is_none_is_named_and_nothing_is_said_of_the_rest() {
    for code in [json!("abc"), json!(-1), json!([101]), json!(1011), json!(101.5), json!(true)] {
        let line = with(
            &line(OUT, "HTTP/1.1", 101, "DC", "downstream_remote_disconnect", 4),
            &json!({"response_code": code}),
        );
        let told = explain(&line);
        let named =
            format!("its response_code is {}", code.as_str().map_or_else(|| code.to_string(), str::to_owned));
        assert!(told.health == Health::Look && told.ended.contains(&named), "{told}");
    }
    let whole = with(
        &line(OUT, "HTTP/1.1", 101, "DC", "downstream_remote_disconnect", 4),
        &json!({"response_code": 101.0}),
    );
    assert_eq!(explain(&whole).health, Health::Normal, "as JavaScript's numbers may be written");
    let bytes = with(&whole, &json!({"bytes_sent": "many"}));
    assert!(particulars(&bytes).iter().any(|said| said.contains("bytes_sent is many and no whole number")));
}

#[test]
fn a_line_that_says_nothing_of_how_a_connection_went_is_not_normal() {
    let nothing = json!({
        "method": null, "path": null, "protocol": null, "response_code": 0, "response_flags": "-", "bytes_sent": null,
    });
    let told = explain(&ParsedLine::parse(&nothing.to_string()).expect("a line"));
    assert!(told.health == Health::Look && told.ended.contains("says nothing of it"), "{told}");
}

#[test]
fn a_session_that_lasted_as_long_as_a_usual_timeout_is_worth_a_look() {
    let told =
        |code, flags: &str, details: &str, ms| explain(&line(OUT, "HTTP/1.1", code, flags, details, ms));
    for (flags, details, side) in [
        ("DC", "downstream_remote_disconnect", "on the client's side"),
        ("UC", CLOSED, "on the server's side"),
        ("UR", CLOSED_OVER_HTTP2, "on the server's side"),
        ("DC", "", "on the client's side"),
    ] {
        let explanation = told(101, flags, details, 60_003);
        let change = explanation.change.clone().unwrap_or_default();
        assert!(explanation.health == Health::Look && change.contains(side), "{explanation}");
        assert!(explanation.ended.contains("lasted 60 s nearly to the millisecond"), "{explanation}");
        assert_eq!(told(101, flags, details, 61_003).health, Health::Normal);
        assert_eq!(
            told(101, flags, details, 60_050).health,
            Health::Normal,
            "one of hundreds does by chance"
        );
    }
    let idle = told(101, "SI", "stream_idle_timeout", 60_003);
    assert!(!idle.ended.contains("nearly"), "its timer is named: {idle}");
    let slow = told(200, "-", "websocket_handshake_unsuccessful", 60_003);
    assert!(!slow.ended.contains("nearly"), "no session: {slow}");
}

/// What a real Envoy (1.40.0) wrote for each way of ending that `acceptance/envoy/endings.py` leads
/// it into.
const RECORDED: &str = include_str!("../../../tests/fixtures/endings.jsonl");

#[test]
fn the_page_of_access_logs_has_what_is_said_of_every_recorded_line() {
    let page = include_str!("../../../docs/access-log.md");
    let cell = |text: &str| text.replace('|', "\\|");
    for recorded in RECORDED.lines() {
        let entry: serde_json::Value = serde_json::from_str(recorded).expect("JSON");
        let line = ParsedLine::parse(&entry["line"].to_string()).expect("a line");
        let told = explain(&line);
        let text = |key| line.text_of(key).filter(|text| !text.is_empty()).unwrap_or("-");
        let row = format!(
            "| {} | {} | {} | `{}` | {} | {} |",
            entry["how"].as_str().expect("words"),
            line.number_of("response_code").expect("a code"),
            text("response_flags"),
            cell(text("response_code_details")),
            cell(&format!("{} ({})", told.ended, told.health)),
            cell(&told.change.unwrap_or_default()),
        );
        assert!(
            page.contains(&row),
            "docs/access-log.md lacks this row; acceptance/envoy/endings.py writes it anew:\n{row}"
        );
    }
}

#[test]
fn every_flag_that_a_recorded_line_has_and_every_detail_is_known() {
    for recorded in RECORDED.lines() {
        let entry: serde_json::Value = serde_json::from_str(recorded).expect("JSON");
        let line = ParsedLine::parse(&entry["line"].to_string()).expect("a line");
        let said = particulars(&line).join("; ");
        assert!(!said.contains("does not document") && !said.contains("not in Envoy's list"), "{said}");
    }
}
