//! Lines of Istio's formats and of others.

use super::super::Field;
use super::*;

const TEXT: &str = r#"[2026-11-23T15:14:25.503Z] "GET /a b HTTP/1.1" 101 UC upstream_reset_after_response_started{connection_termination} - "-" 34 22 1019 - "-" "Python/3.11 \"websockets\" 17.4" "edd695f0" "web:8080" "127.0.10.2:8000" outbound|8080||web.default.svc.cluster.local 127.0.0.1:51908 127.0.10.1:8080 127.0.0.1:55024 - default"#;

#[test]
fn istios_text_has_the_fields_of_its_json() {
    for prefix in ["", "[pod/web-1/istio-proxy] ", "2026-11-23T15:14:26Z stdout F "] {
        let line = LineFormat::default().read(&format!("{prefix}{TEXT}\n")).expect("a line");
        assert_eq!(line.text_of("start_time"), Some("2026-11-23T15:14:25.503Z"));
        assert_eq!(line.text_of("path"), Some("/a b"));
        assert_eq!(line.number_of("response_code"), Some(101));
        assert_eq!(line.text_of("user_agent"), Some(r#"Python/3.11 \"websockets\" 17.4"#));
        assert_eq!(line.field("upstream_service_time"), Field::Null);
        assert_eq!(line.field("requested_server_name"), Field::Null);
        assert_eq!(line.text_of("route_name"), Some("default"));
        assert_eq!(line.keys().count(), 24);
    }
}

#[test]
fn other_output_is_no_line() {
    let format = LineFormat::default();
    for other in [
        "",
        "2026-11-23T15:14:25.5Z\tinfo\tEnvoy proxy is ready",
        "[2026-11-23 15:14:25.503][1][info][main] starting main dispatch loop",
        r#"{"level":"info","msg":"Envoy proxy is ready"}"#,
        "{not json}",
    ] {
        assert_eq!(format.read(other), None, "{other}");
    }
}

#[test]
fn a_json_line_is_found_behind_a_prefix_and_in_an_excerpt() {
    let format = LineFormat::default();
    let line = format.read(r#"[pod/a/istio-proxy] {"response_code":"101"}"#).expect("a line");
    assert_eq!(line.number_of("response_code"), Some(101));
    let excerpt = r#"{...."upstream_local_address":"127.0.**.**:53983","protocol":"HTTP/1.1",....}"#;
    let line = format.read(excerpt).expect("a line");
    assert_eq!(line.text_of("upstream_local_address"), Some("127.0.**.**:53983"));
    assert_eq!(line.text_of("protocol"), Some("HTTP/1.1"));
}

#[test]
fn any_format_string_becomes_a_parser() {
    let format =
        "%START_TIME(%Y-%m-%d %H:%M)% 100%% %REQ(X-TENANT):8%|%RESPONSE_FLAGS_LONG% %RESPONSE_DURATION%\n";
    let line = LineFormat::compile(format)
        .expect("a format")
        .read("2026-11-23 15:14 100% me too|DownstreamRemoteReset 7");
    let line = line.expect("a line");
    assert_eq!(line.text_of("start_time"), Some("2026-11-23 15:14"));
    assert_eq!(line.text_of("REQ(X-TENANT)"), Some("me too"));
    assert_eq!(line.text_of("response_flags"), Some("DownstreamRemoteReset"));
    assert_eq!(line.number_of("RESPONSE_DURATION"), Some(7));
}

#[test]
fn a_json_format_gives_its_keys_istios_names() {
    let format =
        LineFormat::compile(r#"{"code":"%RESPONSE_CODE%","id":"%REQ(X-REQUEST-ID)%"}"#).expect("a format");
    let line = format.read(r#"{"code":101,"id":"a","more":1}"#).expect("a line");
    assert_eq!(line.number_of("response_code"), Some(101));
    assert_eq!(line.text_of("request_id"), Some("a"));
}

#[test]
fn a_json_format_may_have_objects_and_values_that_are_no_operator_alone() {
    let format = r#"{"v":1,"http":{"code":"%RESPONSE_CODE%","p":{"p":"%PATH(NQ:ORIG)%"}},"request":"%REQ(:METHOD)% %PROTOCOL%"}"#;
    let format = LineFormat::compile(format).expect("a format");
    let line = format.read(r#"{"v":1,"http":{"code":"101","p":{"p":"/é"}},"request":"GET HTTP/2"}"#);
    let line = line.expect("a line");
    assert_eq!(line.number_of("response_code"), Some(101));
    assert_eq!(line.text_of("path"), Some("/\u{e9}"));
    assert_eq!(line.text_of("request"), Some("GET HTTP/2"));
    assert_eq!(line.number_of("v"), Some(1));
}

#[test]
fn a_malformed_format_is_refused() {
    assert!(matches!(LineFormat::compile("%RESPONSE_CODE"), Err(LineFormatError::Unclosed { .. })));
    assert!(matches!(LineFormat::compile("%REQ(:PATH%"), Err(LineFormatError::Unclosed { .. })));
    assert_eq!(LineFormat::compile("nothing").err(), Some(LineFormatError::NoOperator));
    assert_eq!(LineFormat::compile(r#"{"a":1}"#).err(), Some(LineFormatError::NoOperator));
}

#[test]
fn an_operator_that_envoy_does_not_know_is_refused() {
    for format in [
        "%NOT_AN_OPERATOR%",
        "%PROTOCOL% %protocol%",
        r#"{"a":"%NOPE(X)%"}"#,
        r#"{"a":{"b":"x %REQ(A)% %NOPE:3%"}}"#,
    ] {
        let refused = LineFormat::compile(format);
        assert!(matches!(refused, Err(LineFormatError::UnknownOperator { .. })), "{format}: {refused:?}");
    }
    for format in [
        "%REQ_WITHOUT_QUERY(X?:PATH):10% %KUMA_MESH%",
        "%FILTER_STATE(a:PLAIN)%",
        r#"{"a":"100%% %PROTOCOL%"}"#,
    ] {
        assert!(LineFormat::compile(format).is_ok(), "{format}");
    }
}

/// A line of every format that is read without being told, with what it says of method, path, code,
/// flags, host and cluster.
#[test]
fn what_meshes_write_by_default_is_read_without_being_told() {
    const HTTP: [&str; 5] = ["GET", "/ws", "503", "UC", "10.1.0.211:8088"];
    let lines = [
        // Istio 1.1 and 1.2.
        (
            r#"[2026-02-14T09:30:47.919Z] "GET /ws HTTP/1.1" 503 UC "-" "-" 20 33 60001 - "-" "curl" "id" "svc:80" "10.1.0.211:8088" inbound|80|http|ws.ns.svc.cluster.local - 10.0.0.1:8080 10.0.0.2:1234 -"#,
            HTTP,
        ),
        // Istio 1.3 to 1.7.
        (
            r#"[2026-01-02T16:18:18.260Z] "GET /ws HTTP/2" 503 UC "-" "-" 0 95 16 - "10.1.0.0" "Mozilla/5.0 (Windows NT 10.0)" "id" "dev.example.com" "10.1.0.211:8088" outbound|8088||front.ns.svc.cluster.local - 10.1.0.225:443 10.1.0.0:65438 dev.example.com -"#,
            HTTP,
        ),
        // Istio 1.8.
        (
            r#"[2026-01-02T16:18:18.260Z] "GET /ws HTTP/2" 503 UC upstream_reset_before_response_started{connection_termination} "-" 0 95 16 - "10.1.0.0" "ws 1" "id" "dev.example.com" "10.1.0.211:8088" outbound|8088||front.ns.svc.cluster.local - 10.1.0.225:443 10.1.0.0:65438 - default"#,
            HTTP,
        ),
        // Envoy, Contour and Ambassador.
        (
            r#"ACCESS [2026-08-22T09:14:59.506Z] "GET /ws HTTP/1.1" 503 UC 0 19 3 - "10.1.0.21" "Go-http-client/1.1" "id" "vgw.example" "10.1.0.211:8088""#,
            HTTP,
        ),
        // Kuma, new and old.
        (
            r#"[2026-08-22T09:14:59.506Z] default "GET /ws HTTP/1.1" 503 UC 0 19 3 - "10.1.0.21" "ws" "-" "id" "chat:80" "web" "chat" "10.1.0.3" "10.1.0.211:8088""#,
            HTTP,
        ),
        (
            r#"[2026-08-22T09:14:59.506Z] default "GET /ws HTTP/1.1" 503 UC 0 19 3 - "10.1.0.21" "ws" "id" "chat:80" "web" "chat" "10.1.0.3" "10.1.0.211:8088""#,
            HTTP,
        ),
        // Envoy Gateway, OSM, and one that writes camels.
        (
            r#"{"method":"GET","x-envoy-origin-path":"/ws","response_code":503,"response_flags":"UC",":authority":"a","x-request-id":"id","upstream_host":"10.1.0.211:8088"}"#,
            HTTP,
        ),
        (
            r#"{"start_time":"2026","method":"GET","path":"/ws","response_code":"503","time_to_first_byte":"1","response_flags":"UC","upstream_host":"10.1.0.211:8088","request_id":"id"}"#,
            HTTP,
        ),
        (
            r#"{"method":"GET","path":"/ws","responseCode":"503","responseFlags":"UC","upstreamHost":"10.1.0.211:8088","requestId":"id"}"#,
            HTTP,
        ),
    ];
    let format = LineFormat::default();
    for (text, expected) in lines {
        let line = format.read(text).unwrap_or_else(|| panic!("not read: {text}"));
        let code = line.number_of("response_code").map(|code| code.to_string());
        let said =
            ["method", "path", "response_flags", "upstream_host", "request_id"].map(|key| line.text_of(key));
        assert_eq!(said, [expected[0], expected[1], expected[3], expected[4], "id"].map(Some), "{text}");
        assert_eq!(code.as_deref(), Some(expected[2]), "{text}");
    }
    let tcp = "[2026-08-22T09:14:59.506Z] UF default 10.1.0.3(web)->10.1.0.9:80(chat) took 12ms, sent 3 bytes, received: 4 bytes";
    let tcp = format.read(tcp).expect("a line of Kuma's for TCP");
    assert_eq!((tcp.text_of("response_flags"), tcp.number_of("duration")), (Some("UF"), Some(12)));
    let of_an_application =
        r#"{"level":"info","msg":"done","request_id":"a","path":"/ws","duration":3,"host":"b"}"#;
    assert_eq!(format.read(of_an_application), None);
}

#[test]
fn a_plain_line_is_read_in_one_pass_as_any_line_is() {
    let text = TextFormat::compile(known::ISTIO).expect("Istio's format is one");
    let plain = TEXT.replace("/a b", "/a").replace("\\\"", "'");
    assert_eq!(text.plain(&plain), text.loose(&plain));
    assert!(text.plain(&plain).is_some_and(|values| values.len() == 24));
    assert_eq!(text.plain(TEXT), None, "a path with a blank, and quotation marks inside others");
}
