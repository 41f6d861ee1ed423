//! From what was expected and what was found to a verdict: a plain function over data, one [`Check`] for everything that
//! was looked at. Starts nothing, reads no file, prints nothing.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::evidence::{Evidence, Joined};
use super::expect::{Across, FieldRef, Side, shown};
use super::placed::Placed;
use super::scenario::{Case, nearest};
use super::template::Facts;
use crate::access_log::{Field, ParsedLine};

/// What a scenario came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Its name.
    pub scenario: String,
    /// Its file; none of a built-in one.
    pub file: Option<PathBuf>,
    /// How long it took.
    pub elapsed: Duration,
    /// Itself and its variants, as far as they were run.
    pub cases: Vec<CaseVerdict>,
}

/// What one case of a scenario came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaseVerdict {
    /// What it is called beside the scenario's other variants.
    pub label: Option<String>,
    /// Everything that was looked at.
    pub checks: Vec<Check>,
    /// The fields that decided it, with what they said.
    pub decided_by: Vec<Decisive>,
}

/// One expectation and what was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What it is about.
    pub subject: Subject,
    /// The key of the line, or the step of the session.
    pub field: String,
    /// In words.
    pub expected: String,
    /// In words.
    pub actual: String,
    /// Whether they agree.
    pub holds: bool,
    /// The line it was read from.
    pub line: Option<String>,
    /// The line of the scenario's file that expects it.
    pub at: Option<u64>,
}

/// What a check is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// What the client saw.
    Session,
    /// What a sidecar wrote.
    Log(Side),
}

impl fmt::Display for Subject {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Session => formatter.write_str("session"),
            Self::Log(side) => side.fmt(formatter),
        }
    }
}

/// A field with the values that it had, each once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decisive {
    /// Which.
    pub field: FieldRef,
    /// What it said, in words.
    pub values: BTreeSet<String>,
    /// In how many lines.
    pub lines: usize,
}

/// A step that went otherwise than the scenario says. The session ended there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Departure {
    /// The step's name, as in the scenario.
    pub step: &'static str,
    /// What the step says.
    pub expected: String,
    /// What happened.
    pub actual: String,
    /// The step's line in the scenario's file.
    pub line: Option<u64>,
}

impl Departure {
    /// A departure from a step of which it is not known where it stands.
    #[must_use]
    pub fn new(step: &'static str, expected: String, actual: String) -> Self {
        Self { step, expected, actual, line: None }
    }
}

impl Verdict {
    /// Whether everything was as expected.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.cases.iter().all(CaseVerdict::holds)
    }
}

impl CaseVerdict {
    /// Whether everything was as expected.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.failed().next().is_none()
    }

    /// The same, called `name` beside what others made of the same case.
    #[must_use]
    pub fn named(self, name: &str) -> Self {
        let label = match &self.label {
            Some(label) => format!("{label}, {name}"),
            None => name.to_owned(),
        };
        Self { label: Some(label), ..self }
    }

    /// The checks that do not hold.
    pub fn failed(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(|check| !check.holds)
    }
}

/// Judges one case: how each of its sessions ended, and what the sidecars wrote of them.
#[must_use]
pub fn judge(
    case: &Case,
    facts: &Facts,
    endings: &[Result<(), Departure>],
    evidence: &Evidence,
) -> CaseVerdict {
    let mut checks: Vec<Check> = endings.iter().map(of_session).collect();
    for side in Side::BOTH {
        checks.push(line_count(side, case.line_count(side), evidence));
    }
    checks.extend(evidence.unreadable.iter().map(|line| Check {
        subject: Subject::Log(line.side),
        field: "line".to_owned(),
        expected: "one JSON object".to_owned(),
        actual: line.reason.clone(),
        holds: false,
        line: Some(line.text.clone()),
        at: None,
    }));
    for session in &evidence.sessions {
        for side in Side::BOTH {
            match session.line(side) {
                Some(line) => of_line(case, facts, session, side, line, &mut checks),
                // Where one side is to write more lines than the other, some stand alone.
                None if case.line_count(Side::Client) == case.line_count(Side::Server) => {
                    checks.extend(missing_line(session, side));
                }
                None => {}
            }
        }
    }
    for (field, across) in &case.expect.across {
        checks.push(over_all_sessions(field, across, evidence));
    }
    let decided_by = case.decided_by.iter().map(|field| decisive(field, evidence)).collect();
    CaseVerdict { label: case.label.clone(), checks, decided_by }
}

fn of_session(ending: &Result<(), Departure>) -> Check {
    let (field, expected, actual) = match ending {
        Ok(()) => ("steps", "each as the scenario says".to_owned(), "each as the scenario says".to_owned()),
        Err(departure) => (departure.step, departure.expected.clone(), departure.actual.clone()),
    };
    Check {
        subject: Subject::Session,
        field: field.to_owned(),
        expected,
        actual,
        holds: ending.is_ok(),
        line: None,
        at: ending.as_ref().err().and_then(|departure| departure.line),
    }
}

fn line_count(side: Side, sessions: usize, evidence: &Evidence) -> Check {
    let count = evidence.count(side);
    let lines = |count| if count == 1 { "1 line".to_owned() } else { format!("{count} lines") };
    Check {
        subject: Subject::Log(side),
        field: "lines".to_owned(),
        expected: lines(sessions),
        actual: lines(count),
        holds: count == sessions,
        line: None,
        at: None,
    }
}

/// A line on one side only; the other side's absence is the finding.
fn missing_line(session: &Joined, side: Side) -> Option<Check> {
    let there = Side::BOTH.into_iter().find_map(|side| session.line(side))?;
    Some(Check {
        subject: Subject::Log(side),
        field: "request_id".to_owned(),
        expected: "a line of the same session".to_owned(),
        actual: "none".to_owned(),
        holds: false,
        line: Some(there.text().to_owned()),
        at: None,
    })
}

fn of_line(
    case: &Case,
    facts: &Facts,
    session: &Joined,
    side: Side,
    line: &ParsedLine,
    checks: &mut Vec<Check>,
) {
    let mut check = |field: &str, expected: String, actual: String, holds, at| {
        checks.push(Check {
            subject: Subject::Log(side),
            field: field.to_owned(),
            expected,
            actual,
            holds,
            line: Some(line.text().to_owned()),
            at,
        });
    };
    for (key, expected) in case.expect.of(side) {
        if let Some(finding) = expected.holds(line.field(key), session, facts) {
            check(key, finding.expected, found(line, key), finding.holds, expected.line);
        }
    }
    if !case.expect.keys.is_empty() {
        let expected: BTreeSet<&str> = case.expect.keys.iter().map(String::as_str).collect();
        let actual: BTreeSet<&str> = line.keys().collect();
        let joined = |keys: &BTreeSet<&str>| keys.iter().copied().collect::<Vec<_>>().join(" ");
        check("keys", joined(&expected), joined(&actual), expected == actual, None);
    }
    if let Some(text) = &case.expect.free_of {
        let found = line.text().contains(text.as_str());
        let actual = if found { "it does" } else { "it does not" };
        check("text", format!("does not contain {text:?}"), actual.to_owned(), !found, None);
    }
}

/// What the line says for the key, in words; where it has no such key, which of its keys might have been meant.
fn found(line: &ParsedLine, key: &str) -> String {
    let said = shown(line.field(key));
    match nearest(key, line.keys()) {
        Some(meant) if line.field(key) == Field::Absent => format!("{said} (the line has {meant})"),
        _ => said,
    }
}

fn over_all_sessions(field: &FieldRef, across: &Placed<Across>, evidence: &Evidence) -> Check {
    let Decisive { values, lines, .. } = decisive(field, evidence);
    let (expected, holds) = match across.value {
        Across::Shared => ("the same in every line", values.len() == 1),
        Across::Distinct => ("another in every line", values.len() == lines),
    };
    Check {
        subject: Subject::Log(field.side),
        field: field.key.clone(),
        expected: expected.to_owned(),
        actual: format!("{} different in {lines} lines", values.len()),
        holds,
        line: None,
        at: across.line,
    }
}

fn decisive(field: &FieldRef, evidence: &Evidence) -> Decisive {
    let lines = evidence.sessions.iter().filter_map(|session| session.line(field.side));
    let said: Vec<String> = lines.map(|line| shown(line.field(&field.key))).collect();
    Decisive { field: field.clone(), lines: said.len(), values: said.into_iter().collect() }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
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
            route_name: Fact::Is("default".to_owned()),
            outbound_cluster: Fact::Is(
                "outbound|8080||websockets-server.default.svc.cluster.local".to_owned(),
            ),
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

    fn verdict(folder: &str, client: &str, server: &str) -> CaseVerdict {
        judge(&case(folder), &recorded(), &[Ok(())], &Evidence::parse(client, server))
    }

    /// `subject field: expected, actual` of each check that failed.
    fn failures(verdict: &CaseVerdict) -> Vec<String> {
        let say = |check: &Check| {
            format!("{} {}: {}, {}", check.subject, check.field, check.expected, check.actual)
        };
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
        let departure = Departure::new("connect", "101".to_owned(), "503".to_owned());
        let evidence = Evidence::parse(HTTP2_CLIENT, HTTP2_SERVER);
        let verdict = judge(&case("http2"), &recorded(), &[Err(departure)], &evidence);
        assert_eq!(failures(&verdict), ["session connect: 101, 503"]);
    }

    #[test]
    fn a_key_too_many_or_too_few_and_a_text_that_must_not_be_there_fail() {
        let case = Case { sessions: case("http2").sessions, ..case("one-line-per-connection") };
        let failed = |client: &str| {
            let evidence = Evidence::parse(client, "");
            let verdict = judge(&case, &recorded(), &[], &evidence);
            verdict.failed().map(|check| check.field.clone()).collect::<Vec<_>>()
        };
        assert!(!failed(HTTP2_CLIENT).iter().any(|field| field == "keys" || field == "text"));
        assert!(failed(&HTTP2_CLIENT.replace("\"path\":\"/\",", "")).contains(&"keys".to_owned()));
        assert!(
            failed(&HTTP2_CLIENT.replace("\"path\"", "\"opcode\":1,\"path\"")).contains(&"keys".to_owned())
        );
        let mention = HTTP2_CLIENT.replace("\"path\":\"/\"", "\"path\":\"/message that no log mentions\"");
        assert!(failed(&mention).contains(&"text".to_owned()));
    }

    #[test]
    fn over_all_sessions_a_shared_field_has_one_value_and_a_distinct_one_as_many_as_lines() {
        let lines = |addresses: &[&str]| -> Evidence {
            let line = |address: &&str| format!("{{\"upstream_local_address\":\"{address}\"}}\n");
            Evidence::parse(&addresses.iter().map(line).collect::<String>(), "")
        };
        let field: FieldRef = "client.upstream_local_address".parse().expect("a field");
        for (addresses, shared, distinct) in [(["a", "a"], true, false), (["a", "b"], false, true)] {
            let evidence = lines(&addresses);
            assert_eq!(
                over_all_sessions(&field, &Across::Shared.into(), &evidence).holds,
                shared,
                "{addresses:?}"
            );
            assert_eq!(
                over_all_sessions(&field, &Across::Distinct.into(), &evidence).holds,
                distinct,
                "{addresses:?}"
            );
        }
    }
}
