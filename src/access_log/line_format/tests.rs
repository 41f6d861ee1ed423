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
fn a_plain_line_is_read_in_one_pass_as_any_line_is() {
    let text = TextFormat::compile(ISTIO_TEXT).expect("Istio's format is one");
    let plain = TEXT.replace("/a b", "/a").replace("\\\"", "'");
    assert_eq!(text.plain(&plain), text.loose(&plain));
    assert!(text.plain(&plain).is_some_and(|values| values.len() == 24));
    assert_eq!(text.plain(TEXT), None, "a path with a blank, and quotation marks inside others");
}
