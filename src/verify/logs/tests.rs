//! Logs that real proxies wrote, judged from files.

use std::io::Write;

use tempfile::NamedTempFile;

use super::*;
use crate::access_log::{MAX_LINE_BYTES, MAX_WAITING};
use crate::verify::judge::Outcome;

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
        files: BySide { client: vec![client.path().to_owned()], server: vec![server.path().to_owned()] },
        ..expecting(expectations)
    })
}

/// These expectations, of no log yet.
fn expecting(expectations: &[&str]) -> LogsConfig {
    LogsConfig {
        name: "logs".to_owned(),
        file: None,
        files: BySide::default(),
        format: LineFormat::default(),
        max_waiting: MAX_WAITING,
        expectations: expectations.iter().map(|text| text.parse().expect("an expectation")).collect(),
        scenarios: Vec::new(),
    }
}

const CLIENT: &str = r#"{"request_id":"a","protocol":"HTTP/1.1","response_code":101,"bytes_sent":18,"upstream_local_address":"10.0.0.1:5"}"#;
const SERVER: &str = r#"{"request_id":"a","protocol":"HTTP/2","response_code":101,"bytes_sent":18,"downstream_remote_address":"10.0.0.1:5"}"#;
const UNDECODED: &str = r#"{"request_id":null,"protocol":"HTTP/2","response_code":0,"response_flags":"DPE","downstream_remote_address":"10.0.**.**:5"}"#;

#[test]
fn joined_sessions_are_judged_and_other_output_is_skipped() {
    let expectations = ["server.protocol == HTTP/2", "client.bytes_sent == server.bytes_sent"];
    let prefixed = format!("[pod/web/istio-proxy] {SERVER}");
    let outcome = outcome(&["warming up", CLIENT], &[&prefixed, "bye"], &expectations).expect("readable");
    assert_eq!(outcome.verdict.outcome(), Outcome::Ok, "{outcome:?}");
    assert_eq!((outcome.sessions, outcome.unread.others, outcome.unmatched.len()), (1, 2, 0));
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
    assert_eq!((outcome.verdict.outcome(), outcome.sessions), (Outcome::Ok, 1), "{outcome:?}");
}

#[test]
fn lines_that_did_not_join_are_named_and_not_judged() {
    let other = SERVER.replace("\"a\"", "\"b\"");
    let outcome = outcome(&[CLIENT], &[&other], &["server.protocol == HTTP/1.1"]).expect("readable");
    assert_eq!(outcome.sessions, 0);
    let unmatched: Vec<_> = outcome
        .unmatched
        .iter()
        .map(|place| (place.side, place.number, place.request_id.as_deref()))
        .collect();
    assert_eq!(unmatched, [(Side::Client, 1, Some("a")), (Side::Server, 1, Some("b"))]);
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
fn one_log_is_not_enough_and_neither_is_one_for_both_sides() {
    let log = file(&[CLIENT]);
    let path = || vec![log.path().to_owned()];
    for (files, words) in [
        (BySide { client: path(), server: Vec::new() }, "no log of the server's: --log server=FILE"),
        (BySide { client: Vec::new(), server: path() }, "no log of the client's: --log client=FILE"),
        (BySide { client: path(), server: path() }, "are the same: line 1 of "),
    ] {
        let config = LogsConfig { files, ..expecting(&["client.response_code == 101"]) };
        let refused = judge_logs(&config).expect_err("no two sidecars");
        assert!(refused.to_string().contains(words), "{refused}");
    }
    let copied = outcome(&[CLIENT], &[CLIENT], &["client.response_code == 101"]).expect_err("a copy");
    assert!(copied.to_string().contains("are the same"), "{copied}");
}

#[test]
fn logs_of_the_other_side_each_are_named_the_wrong_way_round() {
    let of =
        |cluster: &str| format!(r#"{{"request_id":"a","upstream_cluster":"{cluster}","response_code":101}}"#);
    let (client, server) = (of("outbound|80||chat"), of("inbound|80||"));
    let expected = &["client.response_code == 101"];
    assert_eq!(outcome(&[&client], &[&server], expected).expect("right").sessions, 1);
    let refused = outcome(&[&server], &[&client], expected).expect_err("the wrong way round");
    assert!(refused.to_string().contains("the wrong way round"), "{refused}");
}

/// What the sessions of two lines each come to under a scenario's expectations: what failed, and
/// what was not judged.
fn under_a_scenario(expectations: &str, client: &[&str], server: &[&str]) -> (Vec<String>, Vec<String>) {
    let (client, server) = (file(client), file(server));
    let outcome = judge_logs(&LogsConfig {
        files: BySide { client: vec![client.path().to_owned()], server: vec![server.path().to_owned()] },
        scenarios: vec![crate::yaml::from_str(expectations).expect("expectations")],
        ..expecting(&[])
    });
    let outcome = outcome.expect("readable");
    let failed = outcome.verdict.cases[0].failed();
    let failed = failed.map(|check| format!("{} {}: {}", check.subject, check.field, check.actual)).collect();
    (failed, outcome.not_judged.iter().map(ToString::to_string).collect())
}

#[test]
fn what_a_scenario_expects_of_whole_lines_and_over_all_of_them_is_judged_too() {
    let [client, server] = [CLIENT, SERVER].map(|line| [line.to_owned(), line.replace("\"a\"", "\"b\"")]);
    let [client, server] = [&client, &server].map(|lines| lines.each_ref().map(String::as_str));
    let judged = |expectations| under_a_scenario(expectations, &client, &server).0;
    assert_eq!(
        judged("{across: {client.upstream_local_address: shared, client.request_id: distinct}}"),
        [""; 0]
    );
    assert_eq!(
        judged("{across: {client.upstream_local_address: distinct, server.request_id: shared}}"),
        [
            "client upstream_local_address: 1 different in 2 lines",
            "server request_id: 2 different in 2 lines"
        ]
    );
    assert_eq!(judged("{free_of: HTTP/2}"), ["server text: it does"; 2]);
    assert!(
        judged("{keys: [request_id]}").iter().any(|failed| failed.starts_with("client keys: bytes_sent "))
    );
}

#[test]
fn what_only_a_run_knows_is_not_judged_and_said() {
    let expectations =
        "{client: {authority: '${authority}'}, server: {protocol: HTTP/2}, lines: {client: 2}}";
    let (failed, not_judged) = under_a_scenario(expectations, &[CLIENT], &[SERVER]);
    assert_eq!(failed, [""; 0]);
    assert_eq!(not_judged.len(), 2, "{not_judged:?}");
    assert!(not_judged[0].starts_with("client.authority was not judged"), "{not_judged:?}");
    assert!(not_judged[1].starts_with("the number of the client's lines was not judged"), "{not_judged:?}");
}

/// The outcome of these lines where at most two of a side wait for the other.
fn with_two_waiting(client: &[String], server: &[String]) -> LogsOutcome {
    let text = |lines: &[String]| file(&lines.iter().map(String::as_str).collect::<Vec<_>>());
    let (client, server) = (text(client), text(server));
    let outcome = judge_logs(&LogsConfig {
        files: BySide { client: vec![client.path().to_owned()], server: vec![server.path().to_owned()] },
        max_waiting: 2,
        ..expecting(&["client.response_code == 101"])
    });
    outcome.expect("readable")
}

#[test]
fn of_more_lines_than_may_wait_the_oldest_are_given_up_and_counted() {
    let lines = |of: &str, ids: &[&str]| -> Vec<String> {
        ids.iter().map(|id| of.replace("\"a\"", &format!("\"{id}\""))).collect()
    };
    // The client's other traffic, of which the server's log has nothing, hides no session.
    let outcome =
        with_two_waiting(&lines(CLIENT, &["a", "1", "2", "3", "4", "b"]), &lines(SERVER, &["a", "b"]));
    assert_eq!(outcome.given_up, BySide { client: 2, server: 0 });
    assert_eq!((outcome.sessions, outcome.unmatched.len()), (2, 2));
    assert!(!outcome.may_lack_sessions());
    // The first line of the client is given up before its other side comes.
    let outcome =
        with_two_waiting(&lines(CLIENT, &["a", "1", "2", "3"]), &lines(SERVER, &["4", "5", "6", "7", "a"]));
    assert_eq!(outcome.given_up, BySide { client: 2, server: 3 });
    assert_eq!((outcome.sessions, outcome.unmatched.len()), (0, 4));
    assert!(outcome.may_lack_sessions());
}

#[test]
fn a_line_that_is_too_long_may_be_a_session_and_is_counted() {
    let long = CLIENT.replace("\"a\"", &format!("\"{}\"", "a".repeat(MAX_LINE_BYTES)));
    let outcome = outcome(&[&long, CLIENT], &[SERVER], &["client.response_code == 101"]).expect("readable");
    assert_eq!(outcome.verdict.outcome(), Outcome::NotJudged);
    assert!(outcome.may_lack_sessions());
    assert_eq!((outcome.sessions, outcome.too_long, outcome.unread.others), (1, 1, 0));
}
