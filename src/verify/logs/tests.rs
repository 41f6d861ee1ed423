//! Logs that real proxies wrote, judged from files.

use std::io::Write;

use tempfile::NamedTempFile;

use super::*;

fn file(lines: &[&str]) -> NamedTempFile {
    let mut file = NamedTempFile::new().expect("a file");
    for line in lines {
        writeln!(file, "{line}").expect("written");
    }
    file
}

fn outcome(client: &[&str], server: &[&str], expectations: &[&str]) -> Result<LogsOutcome, LogsError> {
    let (client, server) = (file(client), file(server));
    judge_logs(&LogsConfig {
        name: "logs".to_owned(),
        client: vec![client.path().to_owned()],
        server: vec![server.path().to_owned()],
        format: LineFormat::default(),
        expectations: expectations.iter().map(|text| text.parse().expect("an expectation")).collect(),
    })
}

const CLIENT: &str = r#"{"request_id":"a","protocol":"HTTP/1.1","response_code":101,"bytes_sent":18,"upstream_local_address":"10.0.0.1:5"}"#;
const SERVER: &str = r#"{"request_id":"a","protocol":"HTTP/2","response_code":101,"bytes_sent":18,"downstream_remote_address":"10.0.0.1:5"}"#;
const UNDECODED: &str = r#"{"request_id":null,"protocol":"HTTP/2","response_code":0,"response_flags":"DPE","downstream_remote_address":"10.0.**.**:5"}"#;

#[test]
fn joined_sessions_are_judged_and_other_output_is_skipped() {
    let expectations = ["server.protocol == HTTP/2", "client.bytes_sent == server.bytes_sent"];
    let prefixed = format!("[pod/web/istio-proxy] {SERVER}");
    let outcome = outcome(&["warming up", CLIENT], &[&prefixed, "bye"], &expectations).expect("readable");
    assert!(outcome.verdict.holds(), "{outcome:?}");
    assert_eq!((outcome.sessions, outcome.other_lines, outcome.alone.len()), (1, 2, 0));
}

#[test]
fn a_session_that_is_not_as_expected_fails_with_its_line() {
    let outcome = outcome(&[CLIENT], &[SERVER], &["server.protocol == HTTP/1.1"]).expect("readable");
    let failed: Vec<_> = outcome.verdict.cases[0].failed().collect();
    assert_eq!(failed.len(), 1);
    assert_eq!(failed[0].line.as_deref(), Some(SERVER));
    assert_eq!((failed[0].expected.as_str(), failed[0].actual.as_str()), ("HTTP/1.1", "HTTP/2"));
}

#[test]
fn a_line_without_a_request_id_joins_by_the_connection_also_where_it_is_masked() {
    let outcome = outcome(&[CLIENT], &[UNDECODED], &["server.response_flags == DPE"]).expect("readable");
    assert!(outcome.verdict.holds() && outcome.sessions == 1, "{outcome:?}");
}

#[test]
fn lines_that_did_not_join_are_named_and_not_judged() {
    let other = SERVER.replace("\"a\"", "\"b\"");
    let outcome = outcome(&[CLIENT], &[&other], &["server.protocol == HTTP/1.1"]).expect("readable");
    assert_eq!(outcome.sessions, 0);
    let alone: Vec<_> =
        outcome.alone.iter().map(|place| (place.side, place.number, place.request_id.as_deref())).collect();
    assert_eq!(alone, [(Side::Client, 1, Some("a")), (Side::Server, 1, Some("b"))]);
}

#[test]
fn of_many_lines_that_fail_the_first_are_shown_and_the_others_counted() {
    let lines: Vec<String> = (0..25).map(|id| CLIENT.replace("\"a\"", &format!("\"{id}\""))).collect();
    let others: Vec<String> = (0..25).map(|id| SERVER.replace("\"a\"", &format!("\"{id}\""))).collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let others: Vec<&str> = others.iter().map(String::as_str).collect();
    let outcome = outcome(&lines, &others, &["client.response_code == 503"]).expect("readable");
    let failed: Vec<_> = outcome.verdict.cases[0].failed().collect();
    assert_eq!(failed.len(), 11);
    assert_eq!(failed[10].actual, "otherwise in 15 more lines");
}

#[test]
fn with_one_side_alone_each_line_is_judged_and_the_other_side_cannot_be_expected() {
    let log = file(&[CLIENT]);
    let config = |expectation: &str| LogsConfig {
        name: "logs".to_owned(),
        client: vec![log.path().to_owned()],
        server: Vec::new(),
        format: LineFormat::default(),
        expectations: vec![expectation.parse().expect("an expectation")],
    };
    assert!(judge_logs(&config("client.response_code == 101")).expect("readable").verdict.holds());
    let refused = judge_logs(&config("server.response_code == 101")).expect_err("no such log");
    assert!(refused.to_string().contains("no log of the server"), "{refused}");
}
