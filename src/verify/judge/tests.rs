//! What departs from what is expected, and how a failed check reads.

use std::net::SocketAddr;

use super::*;
use crate::verify::played::RunLogs;
use crate::verify::scenario::{Case, Scenario, built_in};
use crate::verify::template::Fact;

// What a pair of real Envoys (1.40.0) wrote of the same sessions.
const HTTP2_CLIENT: &str = r#"{"authority":"websockets-server.default.svc.cluster.local:8080","bytes_received":30,"bytes_sent":18,"connection_termination_details":null,"downstream_local_address":"127.0.10.1:8080","downstream_remote_address":"127.0.0.1:54482","duration":17,"method":"GET","path":"/","protocol":"HTTP/1.1","request_id":"2fcf4acf-c83a-4bef-addd-323d2faa91ec","requested_server_name":null,"response_code":101,"response_code_details":"upstream_reset_after_response_started{remote_error_with_CONNECT_request}","response_flags":"UR","route_name":"default","start_time":"2026-11-23T15:13:45.369Z","upstream_cluster":"outbound|8080||websockets-server.default.svc.cluster.local","upstream_host":"127.0.10.2:8000","upstream_local_address":"127.0.0.1:36806","upstream_service_time":null,"upstream_transport_failure_reason":null,"user_agent":"Python/3.11 websockets/17.4","x_forwarded_for":null}"#;
const HTTP2_SERVER: &str = r#"{"authority":"websockets-server.default.svc.cluster.local:8080","bytes_received":30,"bytes_sent":18,"connection_termination_details":null,"downstream_local_address":"127.0.10.2:8000","downstream_remote_address":"127.0.0.1:36806","duration":15,"method":"GET","path":"/","protocol":"HTTP/2","request_id":"2fcf4acf-c83a-4bef-addd-323d2faa91ec","requested_server_name":null,"response_code":101,"response_code_details":"upstream_reset_after_response_started{connection_termination}","response_flags":"UC","route_name":"default","start_time":"2026-11-23T15:13:45.371Z","upstream_cluster":"inbound|80||","upstream_host":"127.0.10.3:8001","upstream_local_address":"127.0.0.6:52702","upstream_service_time":null,"upstream_transport_failure_reason":null,"user_agent":"Python/3.11 websockets/17.4","x_forwarded_for":null}"#;
const HTTP1_CLIENT: &str = r#"{"authority":"websockets-server.default.svc.cluster.local:8080","bytes_received":30,"bytes_sent":18,"connection_termination_details":null,"downstream_local_address":"127.0.10.1:8080","downstream_remote_address":"127.0.0.1:36028","duration":1073,"method":"GET","path":"/","protocol":"HTTP/1.1","request_id":"f224a525-d462-4419-9577-1307bcccfa11","requested_server_name":null,"response_code":101,"response_code_details":"upstream_reset_after_response_started{connection_termination}","response_flags":"UC","route_name":"default","start_time":"2026-11-23T15:13:39.606Z","upstream_cluster":"outbound|8080||websockets-server.default.svc.cluster.local","upstream_host":"127.0.10.2:8000","upstream_local_address":"127.0.0.1:50076","upstream_service_time":null,"upstream_transport_failure_reason":null,"user_agent":"Python/3.11 websockets/17.4","x_forwarded_for":null}"#;
const HTTP1_SERVER: &str = r#"{"authority":"websockets-server.default.svc.cluster.local:8080","bytes_received":30,"bytes_sent":18,"connection_termination_details":null,"downstream_local_address":"127.0.10.2:8000","downstream_remote_address":"127.0.0.1:50076","duration":68,"method":"GET","path":"/","protocol":"HTTP/1.1","request_id":"f224a525-d462-4419-9577-1307bcccfa11","requested_server_name":null,"response_code":101,"response_code_details":"upstream_reset_after_response_started{connection_termination}","response_flags":"UC","route_name":"default","start_time":"2026-11-23T15:13:39.607Z","upstream_cluster":"inbound|80||","upstream_host":"127.0.10.3:8001","upstream_local_address":"127.0.0.6:59654","upstream_service_time":null,"upstream_transport_failure_reason":null,"user_agent":"Python/3.11 websockets/17.4","x_forwarded_for":null}"#;
const REFUSED_CLIENT: &str = r#"{"authority":"websockets-server.default.svc.cluster.local:8080","bytes_received":0,"bytes_sent":95,"connection_termination_details":null,"downstream_local_address":"127.0.10.1:8080","downstream_remote_address":"127.0.0.1:55052","duration":1003,"method":"GET","path":"/","protocol":"HTTP/1.1","request_id":"dec97ce9-1885-46bc-93f7-430be4791ba3","requested_server_name":null,"response_code":503,"response_code_details":"upstream_reset_before_response_started{connection_termination}","response_flags":"UC","route_name":"default","start_time":"2026-11-23T15:14:30.114Z","upstream_cluster":"outbound|8080||websockets-server.default.svc.cluster.local","upstream_host":"127.0.10.2:8000","upstream_local_address":"127.0.0.1:51914","upstream_service_time":null,"upstream_transport_failure_reason":null,"user_agent":null,"x_forwarded_for":null}"#;
const REFUSED_SERVER: &str = r#"{"authority":null,"bytes_received":0,"bytes_sent":0,"connection_termination_details":null,"downstream_local_address":"127.0.10.2:8000","downstream_remote_address":"127.0.0.1:51914","duration":0,"method":null,"path":null,"protocol":"HTTP/2","request_id":null,"requested_server_name":null,"response_code":0,"response_code_details":"http2.invalid.header.field","response_flags":"DPE","route_name":null,"start_time":"2026-11-23T15:14:30.115Z","upstream_cluster":null,"upstream_host":null,"upstream_local_address":null,"upstream_service_time":null,"upstream_transport_failure_reason":null,"user_agent":null,"x_forwarded_for":null}"#;

/// Where everything was in those recordings.
fn recorded() -> Facts {
    Facts {
        authority: Fact::Is("websockets-server.default.svc.cluster.local:8080".to_owned()),
        path: Fact::Is("/".to_owned()),
        route_name: Fact::Is("default".to_owned()),
        outbound_cluster: Fact::Is("outbound|8080||websockets-server.default.svc.cluster.local".to_owned()),
        inbound_cluster: Fact::Is("inbound|80||".to_owned()),
        client_sidecar: SocketAddr::from(([127, 0, 10, 1], 8080)).into(),
        server_sidecar: SocketAddr::from(([127, 0, 10, 2], 8000)).into(),
        application: SocketAddr::from(([127, 0, 10, 3], 8001)).into(),
    }
}

fn case(folder: &str) -> Case {
    let all = built_in().iter().flat_map(Scenario::cases);
    all.into_iter().find(|case| case.folder == folder).expect("a built-in case")
}

/// The verdict over a session that ended so and left these lines.
fn judged(case: &Case, endings: &[Result<(), StepFailure>], client: &str, server: &str) -> CaseVerdict {
    let logs = RunLogs::parse(client, server);
    let played = Played { facts: recorded(), endings: endings.to_vec(), logs, elapsed: Duration::ZERO };
    judge(case, &played)
}

fn verdict(folder: &str, client: &str, server: &str) -> CaseVerdict {
    judged(&case(folder), &[Ok(())], client, server)
}

/// `subject field: expected, actual` of each check that failed.
fn failures(verdict: &CaseVerdict) -> Vec<String> {
    let say =
        |check: &Check| format!("{} {}: {}, {}", check.subject, check.field, check.expected, check.actual);
    verdict.failed().map(say).collect()
}

#[test]
fn what_real_envoys_wrote_meets_the_expectations_of_the_same_session() {
    for (folder, client, server) in [
        ("http1", HTTP1_CLIENT, HTTP1_SERVER),
        ("http1-no-destination-rule", HTTP1_CLIENT, HTTP1_SERVER),
        ("do-not-upgrade", HTTP1_CLIENT, HTTP1_SERVER),
        ("http2", HTTP2_CLIENT, HTTP2_SERVER),
        ("no-allow-connect", REFUSED_CLIENT, REFUSED_SERVER),
    ] {
        let verdict = verdict(folder, client, server);
        assert_eq!(failures(&verdict), [""; 0], "{folder}");
        assert!(verdict.checks.len() > 40, "{folder}: only {} checks", verdict.checks.len());
    }
}

#[test]
fn a_failed_check_names_side_field_expected_and_actual_and_shows_the_line() {
    let verdict = verdict("http2", HTTP1_CLIENT, HTTP1_SERVER);
    let failed: Vec<_> = verdict.failed().collect();
    let protocol = failed.iter().find(|check| check.field == "protocol").expect("HTTP/1.1 is not HTTP/2");
    assert_eq!(protocol.subject, Subject::Log(Side::Server));
    assert_eq!((protocol.expected.as_str(), protocol.actual.as_str()), ("HTTP/2", "HTTP/1.1"));
    assert_eq!(protocol.line.as_deref(), Some(HTTP1_SERVER));
    let fields: Vec<_> = failed.iter().map(|check| check.field.as_str()).collect();
    assert_eq!(fields, ["response_code_details", "response_flags", "protocol"]);
}

#[test]
fn a_second_line_and_a_missing_line_each_fail_the_one_line_a_session() {
    let twice = format!("{HTTP2_SERVER}\n{HTTP2_SERVER}\n");
    assert_eq!(failures(&verdict("http2", HTTP2_CLIENT, &twice))[0], "server lines: 1 line, 2 lines");
    let missing = verdict("http2", HTTP2_CLIENT, "");
    assert_eq!(
        failures(&missing),
        ["server lines: 1 line, 0 lines", "server request_id: a line of the same session, none"]
    );
}

#[test]
fn a_line_that_is_no_json_fails() {
    let verdict = verdict("http2", HTTP2_CLIENT, "oops");
    assert!(verdict.failed().any(|check| check.line.as_deref() == Some("oops")), "{verdict:?}");
}

#[test]
fn a_session_that_went_otherwise_fails_with_its_step() {
    let failure = StepFailure::new("connect", "101".to_owned(), "503".to_owned());
    let verdict = judged(&case("http2"), &[Err(failure)], HTTP2_CLIENT, HTTP2_SERVER);
    assert_eq!(failures(&verdict), ["session connect: 101, 503"]);
}

#[test]
fn a_key_too_many_or_too_few_and_a_text_that_must_not_be_there_fail() {
    let case = Case { sessions: case("http2").sessions, ..case("one-line-per-connection") };
    let failed = |client: &str| {
        let verdict = judged(&case, &[], client, "");
        verdict.failed().map(|check| check.field.clone()).collect::<Vec<_>>()
    };
    assert!(!failed(HTTP2_CLIENT).iter().any(|field| field == "keys" || field == "text"));
    assert!(failed(&HTTP2_CLIENT.replace("\"path\":\"/\",", "")).contains(&"keys".to_owned()));
    assert!(failed(&HTTP2_CLIENT.replace("\"path\"", "\"opcode\":1,\"path\"")).contains(&"keys".to_owned()));
    let mention = HTTP2_CLIENT.replace("\"path\":\"/\"", "\"path\":\"/message that no log mentions\"");
    assert!(failed(&mention).contains(&"text".to_owned()));
}

#[test]
fn over_all_sessions_a_shared_field_has_one_value_and_a_distinct_one_as_many_as_lines() {
    let field: FieldRef = "client.upstream_local_address".parse().expect("a field");
    for (addresses, shared, distinct) in [(["a", "a"], true, false), (["a", "b"], false, true)] {
        let line = |address: &&str| format!("{{\"upstream_local_address\":\"{address}\"}}\n");
        let logs = RunLogs::parse(&addresses.iter().map(line).collect::<String>(), "");
        for (across, holds) in [(Across::Shared, shared), (Across::Distinct, distinct)] {
            let facts = Facts::default();
            let mut judge = Judge::of_logs([], [(field.clone(), across.into())], &facts);
            for session in &logs.sessions {
                judge.session(session);
            }
            let verdict = judge.verdict(None, Duration::ZERO);
            assert_eq!(verdict.holds(), holds, "{addresses:?} {across:?}");
        }
    }
}

#[test]
fn played_sessions_and_the_same_lines_in_logs_fail_the_same_expectations() {
    let case = case("http2");
    let facts = recorded();
    let logs = RunLogs::parse(HTTP1_CLIENT, HTTP1_SERVER);
    let assertions = Side::BOTH.into_iter().flat_map(|side| Assertion::all_of(&case.expect, side));
    let mut foreign = Judge::of_logs(assertions, [], &facts);
    for session in &logs.sessions {
        foreign.session(session);
    }
    let foreign = foreign.verdict(None, Duration::ZERO);
    assert_eq!(failures(&foreign), failures(&verdict("http2", HTTP1_CLIENT, HTTP1_SERVER)));
    assert_eq!(failures(&foreign).len(), 3);
}
