//! `websockets-cli probe` against servers of this program.

use serde_json::Value;

use crate::json_schema::violations;
use crate::support::{Program, run, text};

/// What a probe of a server with these options reports, and its exit status.
fn report(server: &[&str], options: &[&str]) -> (Option<i32>, Value) {
    let (_server, address) = Program::listening(&[&["server", "--listen", "127.0.0.1:0"], server].concat());
    let uri = format!("ws://{address}/");
    let output = run(&[&["probe", "--output", "json"], options, &[&uri]].concat(), "");
    assert_eq!(text(&output.stderr), "");
    let report = serde_json::from_slice(&output.stdout).expect("JSON");
    let schema = include_str!("../../schemas/probe.schema.json");
    let schema = serde_json::from_str(schema).expect("JSON");
    assert_eq!(violations(&schema, &report), Vec::<String>::new(), "{report:#}");
    (output.status.code(), report)
}

fn advice(report: &Value) -> String {
    let sentences = report["advice"].as_array().expect("sentences").iter();
    sentences.map(|sentence| sentence.as_str().expect("text")).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_server_that_can_do_everything_needs_no_advice() {
    let (status, report) = report(&["--subprotocol", "chat"], &["--subprotocol", "chat"]);
    assert_eq!((status, &report["opened"]), (Some(0), &true.into()));
    let attempts = report["attempts"].as_array().expect("attempts");
    assert_eq!(attempts.len(), 3);
    for attempt in attempts {
        assert_eq!(attempt["outcome"], "opened", "{attempt:#}");
        assert_eq!(attempt["permessage_deflate"]["agreed"], true);
        assert_eq!(attempt["subprotocol"], "chat");
        assert_eq!((&attempt["close"]["code"], &attempt["close"]["unasked"]), (&1000.into(), &false.into()));
        assert!(attempt["ping_ms"].is_number());
    }
    let allows = Value::from_iter([("name", Value::from("ENABLE_CONNECT_PROTOCOL")), ("value", 1.into())]);
    assert!(report["settings"].as_array().expect("SETTINGS").contains(&allows), "{report:#}");
}

#[test]
fn a_server_that_refuses_everybody_fails_with_its_words_and_advice() {
    let (status, report) = report(&["--reject", "403"], &[]);
    assert_eq!((status, &report["opened"]), (Some(1), &false.into()));
    let refusal = &report["attempts"][0]["refusal"];
    assert_eq!(refusal["status"], 403);
    assert!(refusal["body"].as_str().is_some_and(|body| body.contains("refused")), "{refusal:#}");
    assert!(advice(&report).contains("--origin"), "{report:#}");
}

#[test]
fn a_server_that_closes_by_itself_is_seen_to() {
    let (status, report) = report(&["--close-after", "0:1011"], &[]);
    assert_eq!(status, Some(0));
    assert!(advice(&report).contains("has just begun, with 1011"), "{report:#}");
}

#[test]
fn what_is_no_endpoint_has_an_exit_status_of_its_own() {
    let address =
        std::net::TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("it is bound");
    let output = run(&["probe", &format!("ws://{address}/")], "");
    assert_eq!(output.status.code(), Some(1));
    let report = text(&output.stdout);
    assert!(report.contains("This endpoint cannot be reached") && report.contains("\nhint: "), "{report}");
    assert!(report.contains("is this its port?") && !report.contains('\x1b'), "{report}");
    let output = run(&["probe", "http://h/"], "");
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(2), ""));
    assert!(
        text(&output.stderr).starts_with("error: http://h/ isn't a valid URI"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn a_wrong_certificate_file_is_wrong_input_whatever_the_network_does() {
    for program in ["probe", "client"] {
        for option in ["--cacert", "--cert"] {
            // Nothing listens on port 1.
            let output = run(&[program, option, "/nowhere/file.pem", "wss://127.0.0.1:1/"], "");
            let stderr = text(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{program} {option}: {stderr}");
            assert!(stderr.contains("/nowhere/file.pem"), "{program} {option}: {stderr}");
        }
    }
}
