//! What is found in dumps of proxies that run, alone and in pairs.

use crate::mesh::config_dump::{DumpedProxy, Side};
use crate::mesh::lint::lint_dumps;
use crate::yaml::Text;

const ADMIN: &str = "type.googleapis.com/envoy.admin.v3";
const HTTP: &str =
    "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
const WEBSOCKET: &str = r#""upgrade_configs": [{"upgrade_type": "websocket"}], "stream_idle_timeout": "0s""#;
const BREAKERS: &str =
    r#""circuit_breakers": {"thresholds": [{"max_connections": 4294967295, "max_requests": 4294967295}]}"#;
const ROUTE: &str = r#"{"match": {"prefix": "/"}, "route": {"cluster": "c"}}"#;
const HTTP2: &str = r#""http2_protocol_options": {}"#;
const PEER: &str = r#""load_assignment": {"cluster_name": "c", "endpoints": [{"lb_endpoints": [{"endpoint":
    {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 80}}}}]}]}"#;

/// A proxy on port 80 with one listener, one route and one cluster.
fn dump(manager: &str, route: &str, cluster: &str) -> String {
    format!(
        r#"{{"configs": [{{"@type": "{ADMIN}.ListenersConfigDump", "static_listeners": [{{"listener": {{"name": "l",
        "address": {{"socket_address": {{"address": "127.0.0.1", "port_value": 80}}}},
        "filter_chains": [{{"filters": [{{"name": "h", "typed_config": {{"@type": "{HTTP}", {manager},
        "route_config": {{"virtual_hosts": [{{"name": "v", "routes": [{route}]}}]}}}}}}]}}]}}}}]}},
        {{"@type": "{ADMIN}.ClustersConfigDump", "static_clusters": [{{"cluster": {{"name": "c", {cluster}}}}}]}}]}}"#
    )
}

fn proxy(text: &str, side: Side) -> DumpedProxy {
    DumpedProxy::read(&Text::new("dump.json", text.to_owned()), Some(side)).expect("a dump").remove(0)
}

fn codes(proxies: &[DumpedProxy]) -> Vec<&'static str> {
    lint_dumps(proxies).iter().map(|finding| finding.rule.code).collect()
}

/// A cluster with a host that drops so many of its requests.
fn dropping(percentage: &str) -> String {
    let policy = format!(
        r#""policy": {{"drop_overloads": [{{"category": "c", "drop_percentage": {{{percentage}}}}}]}}"#
    );
    format!("{BREAKERS}, {}", PEER.replacen('{', &format!("{{{policy}, "), 1))
}

/// What is found in a server's proxy.
fn of_server(manager: &str, route: &str, cluster: &str) -> Vec<&'static str> {
    codes(&[proxy(&dump(manager, route, cluster), Side::Server)])
}

#[test]
fn a_proxy_that_takes_websockets_and_bounds_nothing_is_clean() {
    let inside = r#""load_assignment": {"endpoints": [{"lb_endpoints": [{"endpoint":
        {"address": {"envoy_internal_address": {"server_listener_name": "l"}}}}]}]}"#;
    for cluster in [
        BREAKERS,
        &format!("{BREAKERS}, {PEER}"),
        &format!("{BREAKERS}, {inside}"),
        &dropping(r#""denominator": "MILLION""#),
    ] {
        assert_eq!(of_server(WEBSOCKET, ROUTE, cluster), Vec::<&str>::new(), "{cluster}");
    }
}

#[test]
fn each_fault_of_one_proxy_has_its_code() {
    let filter = |package: &str, message: &str, rest: &str| {
        format!(
            r#"{WEBSOCKET}, "http_filters": [{{"name": "f", "typed_config": {{"@type":
            "type.googleapis.com/{package}.v3.{message}"{rest}}}}}]"#
        )
    };
    let http = |name: &str, message: &str, rest: &str| {
        filter(&format!("envoy.extensions.filters.http.{name}"), message, rest)
    };
    for (manager, route, cluster, code) in [
        (r#""stream_idle_timeout": "0s""#, ROUTE, BREAKERS, "no-websocket-taken"),
        (&format!(r#"{WEBSOCKET}, "codec_type": "HTTP2""#), ROUTE, BREAKERS, "no-websocket-taken"),
        (r#""upgrade_configs": [{"upgrade_type": "websocket"}]"#, ROUTE, BREAKERS, "stream-idle-timeout"),
        (WEBSOCKET, r#"{"route": {"cluster": "c", "idle_timeout": "5s"}}"#, BREAKERS, "stream-idle-timeout"),
        (WEBSOCKET, r#"{"route": {"cluster": "c", "timeout": "5s"}}"#, BREAKERS, "virtual-service-timeout"),
        (
            WEBSOCKET,
            r#"{"route": {"cluster": "c", "max_stream_duration": {"max_stream_duration": "9s"}}}"#,
            BREAKERS,
            "max-stream-duration",
        ),
        (WEBSOCKET, r#"{"route": {"cluster": "other"}}"#, BREAKERS, "unknown-cluster"),
        (WEBSOCKET, r#"{"route": {"cluster_header": "x"}}"#, BREAKERS, "not-judged"),
        (WEBSOCKET, ROUTE, r#""type": "STATIC""#, "session-limit"),
        (WEBSOCKET, ROUTE, &format!(r#"{BREAKERS}, "load_assignment": {{"cluster_name": "c"}}"#), "no-hosts"),
        (
            WEBSOCKET,
            ROUTE,
            &format!(r#"{BREAKERS}, "load_assignment": {{"endpoints": [{{"locality": {{}}}}]}}"#),
            "no-hosts",
        ),
        (WEBSOCKET, ROUTE, &dropping(r#""numerator": 100"#), "no-hosts"),
        (WEBSOCKET, ROUTE, &dropping(r#""numerator": 1000000, "denominator": "MILLION""#), "no-hosts"),
        (WEBSOCKET, ROUTE, &dropping(r#""numerator": 100, "denominator": "TEN_THOUSAND""#), "not-judged"),
        (&http("buffer", "Buffer", ""), ROUTE, BREAKERS, "buffer-filter"),
        (&http("rbac", "RBAC", r#", "rules": {}"#), ROUTE, BREAKERS, "allows-nobody"),
        (&http("lua", "Lua", ""), ROUTE, BREAKERS, "not-judged"),
        (&filter("com.example", "Own", ""), ROUTE, BREAKERS, "not-judged"),
    ] {
        assert_eq!(of_server(manager, route, cluster), [code], "{manager} {route} {cluster}");
    }
    // What lets WebSockets pass is no finding, nor what is off where they are.
    for manager in [http("router", "Router", ""), http("cors", "Cors", ""), http("rbac", "RBAC", "")] {
        assert_eq!(of_server(&manager, ROUTE, BREAKERS), Vec::<&str>::new(), "{manager}");
    }
    let off =
        r#"{"route": {"cluster": "c"}, "typed_per_filter_config": {"f": {"@type": "x", "disabled": true}}}"#;
    assert_eq!(of_server(&http("buffer", "Buffer", ""), off, BREAKERS), Vec::<&str>::new());
}

#[test]
fn a_route_has_the_rules_of_its_own_where_it_says_any() {
    let anybody = r#"{"p": {"permissions": [{"any": true}], "principals": [{"any": true}]}}"#;
    let manager = |rules: &str| {
        format!(
            r#"{WEBSOCKET}, "http_filters": [{{"name": "f", "typed_config": {{"@type":
            "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC"{rules}}}}}]"#
        )
    };
    let route = |own: &str| {
        format!(
            r#"{{"route": {{"cluster": "c"}}, "typed_per_filter_config": {{"f": {{"@type":
            "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBACPerRoute"{own}}}}}}}"#
        )
    };
    let nobody = r#", "rules": {}"#;
    let all = format!(r#", "rules": {{"policies": {anybody}}}"#);
    let none = format!(r#", "rules": {{"action": "DENY", "policies": {anybody}}}"#);
    let own = |rules: &str| route(&format!(r#", "rbac": {{{}}}"#, rules.trim_start_matches(", ")));
    for (manager, route, codes) in [
        (manager(&none), ROUTE.to_owned(), &["allows-nobody"][..]),
        (manager(&all), own(nobody), &["allows-nobody"]),
        (manager(""), own(&none), &["allows-nobody"]),
        (manager(nobody), own(&all), &[]),
        (manager(nobody), route(""), &[]),
        (manager(r#", "matcher": {}"#), ROUTE.to_owned(), &["not-judged"]),
        (manager(r#", "rules": {"policies": {"p": {}}}"#), ROUTE.to_owned(), &["not-judged"]),
        (manager(r#", "rules": {"action": "LOG", "policies": {"p": {}}}"#), ROUTE.to_owned(), &[]),
    ] {
        assert_eq!(of_server(&manager, &route, BREAKERS), codes, "{manager} {route}");
    }
}

#[test]
fn a_network_filter_that_nobody_knows_is_named_as_not_judged() {
    let with = |message: &str| {
        let filter = format!(r#""filters": [{{"name": "n", "typed_config": {{"@type": "x/{message}"}}}}, "#);
        dump(WEBSOCKET, ROUTE, BREAKERS).replacen(r#""filters": ["#, &filter, 1)
    };
    for (message, found) in [
        ("envoy.extensions.filters.network.rbac.v3.RBAC", &["not-judged"][..]),
        ("envoy.extensions.filters.network.wasm.v3.Wasm", &["not-judged"]),
        ("envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit", &["not-judged"]),
        ("envoy.extensions.filters.network.sni_cluster.v3.SniCluster", &[]),
        ("envoy.tcp.metadataexchange.config.MetadataExchange", &[]),
    ] {
        assert_eq!(codes(&[proxy(&with(message), Side::Server)]), found, "{message}");
    }
}

#[test]
fn an_update_that_was_refused_is_an_error_whatever_is_in_force() {
    let refused = format!(
        r#"{{"@type": "{ADMIN}.ListenersConfigDump", "dynamic_listeners": [{{"name": "new", "error_state": {{"details": "no such filter"}}}}]}}"#
    );
    let text = dump(WEBSOCKET, ROUTE, BREAKERS).replacen("[{", &format!("[{refused}, {{"), 1);
    let findings = lint_dumps(&[proxy(&text, Side::Server)]);
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert_eq!(findings[0].rule.code, "rejected-update");
    assert_eq!(findings[0].message, "an update of the listener new was refused: no such filter");
}

#[test]
fn a_hop_over_http2_needs_allow_connect_at_its_other_end() {
    let sending = format!("{BREAKERS}, {HTTP2}, {PEER}");
    let client = || proxy(&dump(WEBSOCKET, ROUTE, &sending), Side::Client);
    let server = |manager: &str| proxy(&dump(manager, ROUTE, BREAKERS), Side::Server);
    let allowing = format!(r#"{WEBSOCKET}, "http2_protocol_options": {{"allow_connect": true}}"#);
    assert_eq!(codes(&[client(), server(WEBSOCKET)]), ["upgrade-without-allow-connect"]);
    assert_eq!(codes(&[client(), server(&allowing)]), Vec::<&str>::new());
    // Of one side alone, or of another proxy's, nothing is said to be right.
    assert_eq!(codes(&[client()]), ["not-judged"]);
    let elsewhere = dump(&allowing, ROUTE, BREAKERS).replace("\"port_value\": 80", "\"port_value\": 81");
    assert_eq!(codes(&[client(), proxy(&elsewhere, Side::Server)]), ["not-judged"]);
    // Over HTTP/1.1 nothing is needed.
    let plain = proxy(&dump(WEBSOCKET, ROUTE, &format!("{BREAKERS}, {PEER}")), Side::Client);
    assert_eq!(codes(&[plain, server(WEBSOCKET)]), Vec::<&str>::new());
}

#[test]
fn what_one_proxy_sends_and_the_other_does_not_take_is_an_error() {
    let tls = |side: &str| {
        format!(
            r#""transport_socket": {{"name": "tls", "typed_config": {{"@type":
            "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.{side}TlsContext"}}}}"#
        )
    };
    let client =
        |more: &str| proxy(&dump(WEBSOCKET, ROUTE, &format!("{BREAKERS}, {PEER}{more}")), Side::Client);
    let server = |manager: &str, tls: &str| {
        let text = dump(manager, ROUTE, BREAKERS);
        proxy(&text.replacen(r#"{"filters""#, &format!(r#"{{{tls}"filters""#), 1), Side::Server)
    };
    let allowing = r#""http2_protocol_options": {"allow_connect": true}"#;
    let http2_alone = format!(r#"{WEBSOCKET}, {allowing}, "codec_type": "HTTP2""#);
    let http1_alone = format!(r#"{WEBSOCKET}, {allowing}, "codec_type": "HTTP1""#);
    let upstream = format!(", {}", tls("Upstream"));
    let downstream = format!("{}, ", tls("Downstream"));
    for (client, server, found) in [
        (client(""), server(&http2_alone, ""), &["hop-mismatch"][..]),
        (client(&format!(", {HTTP2}")), server(&http2_alone, ""), &[]),
        (client(&format!(", {HTTP2}")), server(&http1_alone, ""), &["upgrade-without-allow-connect"]),
        (client(&upstream), server(WEBSOCKET, ""), &["hop-mismatch"]),
        (client(&upstream), server(WEBSOCKET, &downstream), &[]),
        (client(""), server(WEBSOCKET, &downstream), &["strict-without-tls"]),
    ] {
        assert_eq!(codes(&[client, server]), found);
    }
}

#[test]
fn a_dump_without_a_listener_is_not_judged_at_all() {
    let text = format!(r#"{{"configs": [{{"@type": "{ADMIN}.ClustersConfigDump"}}]}}"#);
    assert_eq!(codes(&[proxy(&text, Side::Unknown)]), ["nothing-judged"]);
}

#[test]
fn what_many_proxies_have_in_the_same_words_is_one_finding() {
    let limited = |side| proxy(&dump(WEBSOCKET, ROUTE, r#""type": "STATIC""#), side);
    let of = |count: usize| codes(&(0..count).map(|_| limited(Side::Server)).collect::<Vec<_>>());
    assert_eq!(of(2), ["session-limit", "session-limit"]);
    let many: Vec<_> = (0..5).map(|_| limited(Side::Server)).collect();
    let findings = lint_dumps(&many);
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert!(findings[0].message.ends_with("(and in 4 more proxies)"), "{}", findings[0].message);
}

/// A connection manager with one HTTP filter, of this package and message, with these fields.
fn with_filter(package: &str, message: &str, fields: &str) -> String {
    format!(
        r#"{WEBSOCKET}, "http_filters": [{{"name": "f", "typed_config": {{"@type":
        "type.googleapis.com/{package}.{message}"{fields}}}}}]"#
    )
}

#[test]
fn what_a_filter_does_to_handshakes_is_decided_by_its_configuration() {
    let http = "envoy.extensions.filters.http";
    let lua = |code: &str| format!(r#", "default_source_code": {{"inline_string": "{code}"}}"#);
    let mutation = |what: &str| format!(r#", "mutations": {{"request_mutations": [{{{what}}}]}}"#);
    for (package, message, fields, found) in [
        ("fault.v3", "HTTPFault", String::new(), None),
        ("fault.v3", "HTTPFault", r#", "abort": {"http_status": 503}"#.to_owned(), Some("not-judged")),
        ("lua.v3", "Lua", lua("-- for routes to say more\\n"), None),
        ("lua.v3", "Lua", lua("--[[ a ]] request_handle:respond()"), Some("not-judged")),
        ("lua.v3", "Lua", lua("-- a\\nfunction envoy_on_request() end"), Some("not-judged")),
        ("header_mutation.v3", "HeaderMutation", mutation(r#""remove": "x-a""#), None),
        ("header_mutation.v3", "HeaderMutation", mutation(r#""remove": "Upgrade""#), Some("upgrade-removed")),
        (
            "header_mutation.v3",
            "HeaderMutation",
            mutation(r#""append": {"header": {"key": "upgrade", "value": "h2c"}}"#),
            Some("upgrade-removed"),
        ),
        (
            "header_mutation.v3",
            "HeaderMutation",
            r#", "mutations": {"response_mutations": [{"remove": "connection"}]}"#.to_owned(),
            Some("upgrade-removed"),
        ),
        ("aws_request_signing.v3", "AwsRequestSigning", String::new(), Some("buffer-filter")),
        ("aws_request_signing.v3", "AwsRequestSigning", r#", "use_unsigned_payload": true"#.to_owned(), None),
        ("csrf.v3", "CsrfPolicy", String::new(), None),
        ("grpc_json_transcoder.v3", "GrpcJsonTranscoder", String::new(), Some("not-judged")),
        ("ext_authz.v3", "ExtAuthz", String::new(), Some("not-judged")),
        ("kill_request.v3", "KillRequest", String::new(), Some("not-judged")),
        ("jwt_authn.v3", "JwtAuthentication", String::new(), None),
        ("jwt_authn.v3", "JwtAuthentication", r#", "rules": [{}]"#.to_owned(), Some("not-judged")),
        ("oauth2.v3", "OAuth2", String::new(), None),
        ("oauth2.v3", "OAuth2", r#", "config": {}"#.to_owned(), Some("not-judged")),
        ("local_ratelimit.v3", "LocalRateLimit", String::new(), None),
        ("local_ratelimit.v3", "LocalRateLimit", r#", "token_bucket": {}"#.to_owned(), Some("not-judged")),
        ("ratelimit.v3", "RateLimit", String::new(), Some("not-judged")),
        ("cache.v3", "CacheConfig", String::new(), Some("not-judged")),
        ("wasm.v3", "Wasm", String::new(), Some("not-judged")),
        ("health_check.v3", "HealthCheck", r#", "headers": [{"name": ":path"}]"#.to_owned(), None),
        ("health_check.v3", "HealthCheck", String::new(), Some("not-judged")),
        ("ext_proc.v3", "ExternalProcessor", String::new(), Some("not-judged")),
        (
            "header_to_metadata.v3",
            "Config",
            r#", "request_rules": [{"header": "Upgrade", "remove": true}]"#.to_owned(),
            Some("upgrade-removed"),
        ),
    ] {
        let manager = with_filter(&format!("{http}.{package}"), message, &fields);
        assert_eq!(of_server(&manager, ROUTE, BREAKERS), Vec::from_iter(found), "{message} {fields}");
    }
}

#[test]
fn filters_of_older_envoys_are_known_by_their_old_messages_and_by_their_name_alone() {
    let old = with_filter("envoy.config.filter.http.buffer.v2", "Buffer", "");
    assert_eq!(of_server(&old, ROUTE, BREAKERS), ["buffer-filter"]);
    for (name, found) in [
        ("envoy.filters.http.router", None),
        ("envoy.cors", None),
        ("envoy.filters.http.buffer", Some("not-judged")),
        ("own", Some("not-judged")),
    ] {
        let manager = format!(r#"{WEBSOCKET}, "http_filters": [{{"name": "{name}"}}]"#);
        assert_eq!(of_server(&manager, ROUTE, BREAKERS), Vec::from_iter(found), "{name}");
    }
    // What comes by ECDS and is not in the dump may be anything, whatever it is called.
    let discovered = format!(
        r#"{WEBSOCKET}, "http_filters": [{{"name": "envoy.filters.http.router", "config_discovery": {{}}}}]"#
    );
    assert_eq!(of_server(&discovered, ROUTE, BREAKERS), ["not-judged"]);
}

#[test]
fn a_cluster_of_several_has_filters_of_its_own() {
    let buffer = with_filter("envoy.extensions.filters.http.buffer.v3", "Buffer", "");
    let off = r#""typed_per_filter_config": {"f": {"@type": "x", "disabled": true}}"#;
    let route = |one: &str, other: &str| {
        format!(
            r#"{{"route": {{"weighted_clusters": {{"clusters": [{{"name": "c", "weight": 1{one}}},
            {{"name": "c", "weight": 1{other}}}]}}}}}}"#
        )
    };
    let off = format!(", {off}");
    assert_eq!(of_server(&buffer, &route(&off, &off), BREAKERS), Vec::<&str>::new());
    assert_eq!(of_server(&buffer, &route(&off, ""), BREAKERS), ["buffer-filter"]);
    // Nothing is sent to what has no weight, so it may lack what it likes.
    let one = |weight: u8| {
        let clusters = format!(r#"[{{"name": "gone", "weight": {weight}}}, {{"name": "c", "weight": 1}}]"#);
        format!(r#"{{"route": {{"weighted_clusters": {{"clusters": {clusters}}}}}}}"#)
    };
    assert_eq!(of_server(WEBSOCKET, &one(0), BREAKERS), Vec::<&str>::new());
    assert_eq!(of_server(WEBSOCKET, &one(1), BREAKERS), ["unknown-cluster"]);
}

#[test]
fn filters_on_the_way_to_a_cluster_count_too() {
    let buffer =
        r#"{"name": "b", "typed_config": {"@type": "x/envoy.extensions.filters.http.buffer.v3.Buffer"}}"#;
    let codec = r#"{"name": "u", "typed_config": {"@type":
        "x/envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec"}}"#;
    let cluster = |filters: &str| {
        let options = format!(
            r#""typed_extension_protocol_options": {{"envoy.extensions.upstreams.http.v3.HttpProtocolOptions":
            {{"explicit_http_config": {{"http_protocol_options": {{}}}}, "http_filters": [{filters}]}}}}"#
        );
        of_server(WEBSOCKET, ROUTE, &format!("{BREAKERS}, {options}"))
    };
    assert_eq!(cluster(codec), Vec::<&str>::new());
    assert_eq!(cluster(&format!("{buffer}, {codec}")), ["buffer-filter"]);
    let router = |filters: &str| {
        let fields = format!(r#", "upstream_http_filters": [{filters}]"#);
        of_server(&with_filter("envoy.extensions.filters.http.router.v3", "Router", &fields), ROUTE, BREAKERS)
    };
    assert_eq!(router(codec), Vec::<&str>::new());
    assert_eq!(router(&format!("{buffer}, {codec}")), ["buffer-filter"]);
}

#[test]
fn a_route_that_answers_by_itself_takes_no_session() {
    for answer in [r#""redirect": {"https_redirect": true}"#, r#""direct_response": {"status": 200}"#] {
        let answering = format!(r#"{{"match": {{"prefix": "/"}}, {answer}}}"#);
        assert_eq!(of_server(WEBSOCKET, &answering, BREAKERS), ["no-websocket-taken"], "{answer}");
    }
}

#[test]
fn an_upgrade_that_is_not_looked_at_is_none_over_http1() {
    let ignoring = |matcher: &str| {
        let options = format!(r#""http_protocol_options": {{"ignore_http_11_upgrade": [{{{matcher}}}]}}"#);
        of_server(&format!("{WEBSOCKET}, {options}"), ROUTE, BREAKERS)
    };
    for matcher in
        [r#""exact": "WebSocket""#, r#""prefix": "web""#, r#""suffix": "socket""#, r#""contains": "s""#]
    {
        assert_eq!(ignoring(matcher), ["upgrade-removed"], "{matcher}");
    }
    assert_eq!(ignoring(r#""exact": "h2c""#), Vec::<&str>::new());
    assert_eq!(ignoring(r#""safe_regex": {"regex": "w.*"}"#), ["not-judged"]);
}

#[test]
fn a_route_that_no_handshake_matches_takes_none() {
    let route = |matching: &str| {
        format!(
            r#"{{"match": {{"prefix": "/", {matching}}}, "route": {{"cluster": "c", "timeout": "5s"}}}}, {ROUTE}"#
        )
    };
    let timed = |matching: &str| of_server(WEBSOCKET, &route(matching), BREAKERS);
    let header = |name: &str, said: &str| format!(r#""headers": [{{"name": "{name}", {said}}}]"#);
    for matching in [
        header(":method", r#""string_match": {"exact": "POST"}"#),
        header(":method", r#""exact_match": "GET", "invert_match": true"#),
        header("upgrade", r#""present_match": true, "invert_match": true"#),
        header("Upgrade", r#""present_match": false"#),
        r#""grpc": {}"#.to_owned(),
        r#""connect_matcher": {}"#.to_owned(),
    ] {
        assert_eq!(timed(&matching), Vec::<&str>::new(), "{matching}");
    }
    for matching in [
        header(":method", r#""string_match": {"exact": "GET"}"#),
        header("upgrade", r#""string_match": {"exact": "WebSocket"}"#),
        header("x-canary", r#""string_match": {"exact": "a"}"#),
        header(":method", r#""string_match": {"prefix": "G"}"#),
    ] {
        assert_eq!(timed(&matching), ["virtual-service-timeout"], "{matching}");
    }
    // The first route that matches takes a handshake.
    let later = |first: &str, later: &str| {
        let first = format!(r#"{{"match": {{{first}}}, "route": {{"cluster": "c"}}}}"#);
        let later = format!(r#"{{"match": {{{later}}}, "route": {{"cluster": "c", "timeout": "5s"}}}}"#);
        of_server(WEBSOCKET, &format!("{first}, {later}"), BREAKERS)
    };
    for (first, other) in [
        (r#""prefix": "/""#, r#""prefix": "/ws""#),
        (r#""prefix": "/""#, r#""safe_regex": {"regex": ".*"}"#),
        (r#""prefix": "/w""#, r#""path": "/ws""#),
    ] {
        assert_eq!(later(first, other), Vec::<&str>::new(), "{first} {other}");
    }
    for (first, other) in [
        (r#""prefix": "/ws""#, r#""prefix": "/""#),
        (r#""prefix": "/", "headers": [{"name": "a", "present_match": true}]"#, r#""prefix": "/ws""#),
        (r#""prefix": "/w""#, r#""safe_regex": {"regex": ".*"}"#),
        (r#""path": "/""#, r#""prefix": "/""#),
    ] {
        assert_eq!(later(first, other), ["virtual-service-timeout"], "{first} {other}");
    }
    let none = r#"{"match": {"prefix": "/", "grpc": {}}, "route": {"cluster": "c"}}"#;
    assert_eq!(of_server(WEBSOCKET, none, BREAKERS), ["no-websocket-taken"]);
}

#[test]
fn what_a_handshake_needs_is_not_to_be_removed_on_any_level() {
    let removed = r#""request_headers_to_remove": ["X-A", "Connection"]"#;
    let route = format!(r#"{{"route": {{"cluster": "c"}}, {removed}}}"#);
    assert_eq!(of_server(WEBSOCKET, &route, BREAKERS), ["upgrade-removed"]);
    let host = dump(WEBSOCKET, ROUTE, BREAKERS).replacen(
        r#"{"name": "v""#,
        &format!(r#"{{"name": "v", {removed}"#),
        1,
    );
    assert_eq!(codes(&[proxy(&host, Side::Server)]), ["upgrade-removed"]);
    let harmless = r#"{"route": {"cluster": "c"}, "request_headers_to_remove": ["X-A"]}"#;
    assert_eq!(of_server(WEBSOCKET, harmless, BREAKERS), Vec::<&str>::new());
}

/// What a route, a virtual host, a route configuration or a weighted cluster adds to fields.
fn adding(of: &str, key: &str, value: &str, more: &str) -> String {
    format!(r#""{of}_headers_to_add": [{{"header": {{"key": "{key}", "value": "{value}"}}{more}}}]"#)
}

#[test]
fn what_is_written_over_or_twice_breaks_a_handshake_and_what_it_says_anyhow_does_not() {
    const OVER: &str = r#", "append_action": "OVERWRITE_IF_EXISTS_OR_ADD""#;
    const THERE: &str = r#", "append_action": "OVERWRITE_IF_EXISTS""#;
    const ABSENT: &str = r#", "append_action": "ADD_IF_ABSENT""#;
    let broken = Some("upgrade-removed");
    for (of, key, value, more, found) in [
        ("request", "Connection", "close", OVER, broken),
        ("request", "connection", "close", THERE, broken),
        ("request", "connection", "close", r#", "append": false"#, broken),
        ("request", "connection", "close", r#", "append": true"#, None),
        ("request", "connection", "close", "", None),
        ("request", "connection", "close", ABSENT, None),
        ("request", "connection", "keep-alive, Upgrade", OVER, None),
        ("request", "upgrade", "h2c", OVER, broken),
        ("request", "upgrade", "WebSocket", OVER, None),
        ("request", "upgrade", "websocket", "", broken),
        ("request", "upgrade", "h2c", ABSENT, None),
        ("request", "sec-websocket-key", "AAAAAAAAAAAAAAAAAAAAAA==", OVER, broken),
        ("request", "sec-websocket-version", "13", OVER, None),
        ("request", "sec-websocket-version", "13", "", broken),
        ("request", "sec-websocket-protocol", "chat", "", Some("not-judged")),
        ("request", "transfer-encoding", "chunked", "", broken),
        ("request", "content-length", "0", "", None),
        ("request", "content-length", "5", THERE, None),
        ("request", "sec-websocket-accept", "a", OVER, None),
        ("response", "connection", "close", OVER, broken),
        ("response", "upgrade", "h2c", OVER, broken),
        ("response", "sec-websocket-accept", "a", OVER, broken),
        ("response", "sec-websocket-accept", "a", ABSENT, None),
        ("response", "sec-websocket-protocol", "chat", ABSENT, Some("not-judged")),
        ("response", "transfer-encoding", "chunked", "", None),
        ("response", "x-a", "b", OVER, None),
    ] {
        let fields = adding(of, key, value, more);
        let route = format!(r#"{{"match": {{"prefix": "/"}}, "route": {{"cluster": "c"}}, {fields}}}"#);
        assert_eq!(of_server(WEBSOCKET, &route, BREAKERS), Vec::from_iter(found), "{fields}");
        let weighted = format!(
            r#"{{"route": {{"weighted_clusters": {{"clusters": [{{"name": "c", "weight": 1, {fields}}}]}}}}}}"#
        );
        assert_eq!(of_server(WEBSOCKET, &weighted, BREAKERS), Vec::from_iter(found), "{fields}");
    }
}

#[test]
fn what_answers_need_is_not_to_be_removed_and_nothing_before_the_manager_looks() {
    for (field, found) in [
        ("Upgrade", Some("upgrade-removed")),
        ("connection", Some("upgrade-removed")),
        ("sec-websocket-accept", Some("upgrade-removed")),
        ("sec-websocket-extensions", Some("upgrade-removed")),
        ("sec-websocket-protocol", Some("not-judged")),
        ("sec-websocket-key", None),
        ("server", None),
    ] {
        let route = format!(r#"{{"route": {{"cluster": "c"}}, "response_headers_to_remove": ["{field}"]}}"#);
        assert_eq!(of_server(WEBSOCKET, &route, BREAKERS), Vec::from_iter(found), "{field}");
    }
    let early = |message: &str, fields: &str| {
        format!(
            r#"{WEBSOCKET}, "early_header_mutation_extensions": [{{"name": "e", "typed_config": {{"@type":
            "type.googleapis.com/{message}"{fields}}}}}]"#
        )
    };
    let known = "envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation";
    for (message, fields, found) in [
        (known, r#", "mutations": [{"remove": "upgrade"}]"#, Some("upgrade-removed")),
        (known, r#", "mutations": [{"remove": "x-a"}]"#, None),
        ("a.b.C", "", Some("not-judged")),
    ] {
        assert_eq!(of_server(&early(message, fields), ROUTE, BREAKERS), Vec::from_iter(found), "{fields}");
    }
}

#[test]
fn what_lets_no_session_through_is_an_error_whatever_else_is_right() {
    let breaker = |limits: &str| format!(r#""circuit_breakers": {{"thresholds": [{{{limits}}}]}}"#);
    for (limits, found) in [
        (r#""max_requests": 0, "max_pending_requests": 9"#, "no-sessions"),
        (r#""max_pending_requests": 0, "max_requests": 4294967295"#, "no-sessions"),
        (r#""max_connections": 0, "max_requests": 4294967295"#, "session-limit"),
        (r#""max_requests": 1, "max_pending_requests": 1"#, "session-limit"),
    ] {
        assert_eq!(of_server(WEBSOCKET, ROUTE, &breaker(limits)), [found], "{limits}");
    }
    let high = r#""circuit_breakers": {"thresholds": [{"max_connections": 4294967295, "max_requests": 4294967295},
        {"priority": "HIGH", "max_requests": 0}]}"#;
    assert_eq!(of_server(WEBSOCKET, ROUTE, high), Vec::<&str>::new(), "that of another priority");
}

#[test]
fn clusters_whose_hosts_come_with_the_requests_are_not_without_hosts() {
    let none = r#""load_assignment": {"cluster_name": "c"}"#;
    for (kind, found) in [
        (r#""type": "ORIGINAL_DST""#, None),
        (r#""cluster_type": {"name": "envoy.clusters.dynamic_forward_proxy"}"#, None),
        (r#""cluster_type": {"name": "envoy.clusters.aggregate"}"#, None),
        (r#""cluster_type": {"name": "envoy.cluster.static"}"#, Some("no-hosts")),
        (r#""type": "STATIC""#, Some("no-hosts")),
        (r#""type": "EDS""#, Some("no-hosts")),
    ] {
        let cluster = format!("{BREAKERS}, {kind}, {none}");
        assert_eq!(of_server(WEBSOCKET, ROUTE, &cluster), Vec::from_iter(found), "{cluster}");
    }
}

#[test]
fn hosts_that_are_all_ill_are_none_unless_envoy_may_panic() {
    let host = |status: &str| {
        PEER.replace(r#"{"endpoint":"#, &format!(r#"{{"health_status": "{status}", "endpoint":"#))
    };
    let without_panic =
        |value: &str| format!(r#""common_lb_config": {{"healthy_panic_threshold": {{{value}}}}}"#);
    let (none, zero, some) =
        (without_panic(""), without_panic(r#""value": 0"#), without_panic(r#""value": 1.5"#));
    for (status, panic, found) in [
        ("UNHEALTHY", &none, Some("no-hosts")),
        ("UNHEALTHY", &zero, Some("no-hosts")),
        ("DRAINING", &zero, Some("no-hosts")),
        ("DEGRADED", &zero, None),
        ("UNHEALTHY", &some, None),
    ] {
        let cluster = format!("{BREAKERS}, {}, {panic}", host(status));
        assert_eq!(of_server(WEBSOCKET, ROUTE, &cluster), Vec::from_iter(found), "{cluster}");
    }
    let panicking = format!("{BREAKERS}, {}", host("UNHEALTHY"));
    assert_eq!(of_server(WEBSOCKET, ROUTE, &panicking), Vec::<&str>::new());
}

#[test]
fn a_route_that_takes_a_part_of_what_matches_is_named_and_one_that_takes_nothing_is_none() {
    let of = |fraction: &str| {
        let route = format!(
            r#"{{"match": {{"prefix": "/", "runtime_fraction": {{"default_value": {{{fraction}}}}}}}, "route": {{"cluster": "c"}}}}"#
        );
        of_server(WEBSOCKET, &route, BREAKERS)
    };
    assert_eq!(of(""), ["no-websocket-taken"]);
    assert_eq!(of(r#""numerator": 50"#), ["not-judged"]);
    assert_eq!(of(r#""numerator": 10, "denominator": "TEN_THOUSAND""#), ["not-judged"]);
    assert_eq!(of(r#""numerator": 100"#), Vec::<&str>::new());
}

#[test]
fn heads_that_may_have_few_fields_have_no_room_for_handshakes() {
    let manager = |limit: &str| of_server(&format!("{WEBSOCKET}, {limit}"), ROUTE, BREAKERS);
    let fields = |count: u64| format!(r#""common_http_protocol_options": {{"max_headers_count": {count}}}"#);
    assert_eq!(manager(&fields(4)), ["no-room-for-handshakes"]);
    assert_eq!(manager(&fields(5)), ["little-room-for-handshakes"]);
    assert_eq!(manager(&fields(100)), Vec::<&str>::new());
    assert_eq!(manager(r#""max_request_headers_kb": 1"#), ["little-room-for-handshakes"]);
    assert_eq!(manager(r#""max_request_headers_kb": 60"#), Vec::<&str>::new());
    let cluster = |count: u64| of_server(WEBSOCKET, ROUTE, &format!("{BREAKERS}, {}", fields(count)));
    assert_eq!(cluster(2), ["no-room-for-handshakes"]);
    assert_eq!(cluster(3), ["little-room-for-handshakes"]);
    assert_eq!(cluster(10), Vec::<&str>::new());
}

#[test]
fn a_virtual_host_that_wants_tls_is_named_where_there_is_none() {
    let host = |of: &str, chain: &str| {
        let text = dump(WEBSOCKET, ROUTE, BREAKERS);
        let text = text.replacen(r#"{"name": "v""#, &format!(r#"{{"name": "v", "require_tls": "{of}""#), 1);
        codes(&[proxy(&text.replacen(r#"{"filters""#, &format!(r#"{{{chain}"filters""#), 1), Side::Gateway)])
    };
    let tls = r#""transport_socket": {"name": "tls", "typed_config": {"@type":
        "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"}}, "#;
    assert_eq!(host("ALL", ""), ["not-judged"]);
    assert_eq!(host("EXTERNAL_ONLY", ""), ["not-judged"]);
    assert_eq!(host("NONE", ""), Vec::<&str>::new());
    assert_eq!(host("ALL", tls), Vec::<&str>::new());
}

#[test]
fn connections_from_clients_are_bounded_too_and_http3_has_an_option_of_its_own() {
    let bounded =
        format!(r#"{WEBSOCKET}, "common_http_protocol_options": {{"max_connection_duration": "60s"}}"#);
    assert_eq!(of_server(&bounded, ROUTE, BREAKERS), ["max-connection-duration"]);
    let http3 = |options: &str| {
        of_server(&format!(r#"{WEBSOCKET}, "codec_type": "HTTP3"{options}"#), ROUTE, BREAKERS)
    };
    assert_eq!(http3(""), ["no-websocket-taken"]);
    assert_eq!(http3(r#", "http2_protocol_options": {"allow_connect": true}"#), ["no-websocket-taken"]);
    assert_eq!(http3(r#", "http3_protocol_options": {"allow_extended_connect": true}"#), Vec::<&str>::new());
}

#[test]
fn listeners_that_other_meshes_have_for_themselves_are_no_place_for_sessions() {
    let named = |name: &str, manager: &str| {
        let text =
            dump(manager, ROUTE, BREAKERS).replacen(r#"{"name": "l""#, &format!(r#"{{"name": "{name}""#), 1);
        codes(&[proxy(&text, Side::Unknown)])
    };
    let plain = r#""stream_idle_timeout": "0s""#;
    for name in [
        "envoy_ready_listener",
        "stats-health",
        "envoy-gateway-proxy-ready-0.0.0.0-19003",
        "kuma:metrics:prometheus",
    ] {
        assert_eq!(named(name, plain), ["nothing-judged"], "{name}");
    }
    assert_eq!(named("public_listener:10.0.0.1:20000", plain), ["no-websocket-taken"]);
    // Whoever calls a listener so and takes WebSockets there means it.
    let timed = r#""upgrade_configs": [{"upgrade_type": "websocket"}]"#;
    assert_eq!(named("stats", timed), ["stream-idle-timeout"]);
}

#[test]
fn a_proxy_that_does_not_say_where_it_is_is_no_end_of_a_hop_by_its_port_alone() {
    let sending = dump(WEBSOCKET, ROUTE, &format!("{BREAKERS}, {HTTP2}, {PEER}"));
    let anywhere = dump(WEBSOCKET, ROUTE, BREAKERS).replace("127.0.0.1", "0.0.0.0");
    let of = |side: Side, addresses: &[&str]| {
        let mut server = proxy(&anywhere, side);
        server.addresses = addresses.iter().copied().map(str::to_owned).collect();
        codes(&[proxy(&sending, Side::Client), server])
    };
    assert_eq!(of(Side::Sidecar, &[]), ["not-judged"]);
    assert_eq!(of(Side::Sidecar, &["10.0.0.1"]), ["not-judged"]);
    assert_eq!(of(Side::Sidecar, &["127.0.0.1"]), ["upgrade-without-allow-connect"]);
    assert_eq!(of(Side::Server, &[]), ["upgrade-without-allow-connect"]);
}
