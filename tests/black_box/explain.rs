//! `websockets-cli explain`: lines as arguments, from files and from a pipe, of one side and of
//! both.

use crate::support::{run, text};

// What a pair of real Envoys (1.40.0) wrote of a handshake that the server's sidecar did not take,
// shortened.
const CLIENT: &str = r#"{"authority":"web:8080","duration":1003,"method":"GET","path":"/","protocol":"HTTP/1.1","request_id":"dec97ce9","response_code":503,"response_code_details":"upstream_reset_before_response_started{connection_termination}","response_flags":"UC","upstream_cluster":"outbound|8080||web.default.svc.cluster.local","upstream_local_address":"127.0.0.1:51914"}"#;
const SERVER: &str = r#"{"downstream_remote_address":"127.0.0.1:51914","duration":0,"method":null,"path":null,"protocol":"HTTP/2","request_id":null,"response_code":0,"response_code_details":"http2.invalid.header.field","response_flags":"DPE","upstream_cluster":null}"#;

// A proper end, as Istio's text format has it.
const TEXT: &str = r#"[2026-11-23T15:14:25.503Z] "GET / HTTP/1.1" 101 UC upstream_reset_after_response_started{connection_termination} - "-" 34 22 15 - "-" "-" "edd695f0" "web:8080" "127.0.10.3:8001" inbound|80|| 127.0.0.6:37872 127.0.10.2:8000 127.0.0.1:51908 - default"#;

#[test]
fn a_line_as_an_argument_is_explained_in_one_line() {
    let output = run(&["explain", TEXT], "");
    let stdout = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(stdout.lines().count(), 1, "{stdout}");
    for words in [
        "server's sidecar: WebSocket GET / at web:8080",
        "the application closed its connection first",
        "(normal)",
    ] {
        assert!(stdout.contains(words), "{words}: {stdout}");
    }
    assert!(!stdout.contains("allow_connect"), "{stdout}");
}

#[test]
fn both_sides_in_a_pipe_are_explained_line_by_line_and_as_a_session() {
    let output = run(&["explain"], &format!("starting\n{CLIENT}\n[pod/web/istio-proxy] {SERVER}\n"));
    let stdout = text(&output.stdout);
    assert_eq!(stdout.lines().count(), 3, "{stdout}");
    let session = stdout.lines().last().unwrap_or_default();
    assert!(session.starts_with("session dec97ce9, both sides"), "{session}");
    assert!(
        session.contains("does not allow extended CONNECT") && session.contains("allow_connect: true"),
        "{session}"
    );
}

#[test]
fn json_is_one_document_with_a_version() {
    let output = run(&["explain", "--output", "json", "-"], &format!("{CLIENT}\n{SERVER}\n"));
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(document["version"], 1);
    let kinds: Vec<_> =
        document["explanations"].as_array().expect("a list").iter().map(|it| &it["kind"]).collect();
    assert_eq!(kinds, ["line", "line", "session"]);
    assert_eq!(document["explanations"][2]["explanation"]["health"], "failed");
}

#[test]
fn a_summary_counts_protocols_codes_and_flags_and_names_what_is_worth_a_look() {
    let log = format!("{CLIENT}\n{TEXT}\n{TEXT}\n");
    let stdout = text(&run(&["explain", "--summary"], &log).stdout);
    for words in ["3 lines", "HTTP/1.1  3", "101  2", "UC  3", "worth a look", "dec97ce9"] {
        assert!(stdout.contains(words), "{words}: {stdout}");
    }
    let both = text(&run(&["explain", "--summary"], &format!("{CLIENT}\n{SERVER}\n")).stdout);
    let (_, worth) = both.split_once("worth a look\n  ").expect("the end of the summary");
    assert!(worth.starts_with("once, first dec97ce9: a session, both sides"), "{both}");
    assert_eq!(worth.lines().count(), 2, "a session stands for its two lines: {both}");
    let json = run(&["explain", "--summary", "--output", "json"], &log);
    let document: serde_json::Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert_eq!((&document["version"], &document["codes"]["101"]), (&1.into(), &2.into()));
}

#[test]
fn a_paragraph_says_what_each_flag_means() {
    let stdout = text(&run(&["explain", "-v", CLIENT], "").stdout);
    assert!(stdout.contains("UC says") && stdout.contains("What to do"), "{stdout}");
}

#[test]
fn what_is_neither_a_file_nor_a_line_is_wrong_input() {
    for (args, input) in [(&["explain", "no-such-file"][..], ""), (&["explain"][..], "nothing here\n")] {
        let output = run(args, input);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", text(&output.stderr));
        assert!(text(&output.stderr).contains("access-log line"), "{}", text(&output.stderr));
    }
    let twice = run(&["explain", "-", "-"], "");
    assert_eq!(twice.status.code(), Some(2));
    assert!(text(&twice.stderr).contains("more than once"), "{}", text(&twice.stderr));
}

#[test]
fn a_line_of_more_than_a_mebibyte_is_counted_and_skipped() {
    let input = format!("{}\n{TEXT}\n", "x".repeat(1024 * 1024 + 1));
    let output = run(&["explain"], &input);
    assert!(output.status.success());
    assert_eq!(text(&output.stdout).lines().count(), 1);
    assert!(text(&output.stderr).contains("longer than 1 MiB: 1 line"), "{}", text(&output.stderr));
    let summary = text(&run(&["explain", "--summary", "--output", "json"], &input).stdout);
    let summary: serde_json::Value = serde_json::from_str(&summary).expect("JSON");
    assert_eq!((&summary["lines"], &summary["lines_too_long"]), (&1.into(), &1.into()));
    let explained = text(&run(&["explain", "--output", "json"], &input).stdout);
    let explained: serde_json::Value = serde_json::from_str(&explained).expect("JSON");
    assert_eq!(explained["lines_too_long"], 1);
    let nothing = run(&["explain"], &"x".repeat(3 * 1024 * 1024));
    assert_eq!(nothing.status.code(), Some(2));
    assert!(text(&nothing.stderr).contains("longer than 1 MiB"), "{}", text(&nothing.stderr));
}

#[test]
fn a_log_in_no_format_that_is_known_is_shown_with_the_way_out() {
    let nginx = r#"127.0.0.6 - - [11/Jul/2026:08:54:13 +0000] "GET /api HTTP/1.1" 426 0 "-" "Mozilla/5.0""#;
    let output = run(&["explain"], &format!("{nginx}\n"));
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(2), ""));
    let stderr = text(&output.stderr);
    for said in ["--log-format", "istio-proxy", "\"GET /api HTTP/1.1\" 426"] {
        assert!(stderr.contains(said), "{said}: {stderr}");
    }
    let output = run(&["explain"], &format!("{nginx}\n{TEXT}\n"));
    assert_eq!((output.status.code(), text(&output.stdout).lines().count()), (Some(0), 1));
    let stderr = text(&output.stderr);
    assert!(stderr.contains("were not understood: 1, the first of them: 127.0.0.6"), "{stderr}");
}

#[test]
fn lines_of_ztunnel_are_named_and_no_format_is_asked_for() {
    let line = "2026-07-05T10:00:00.123456Z\tinfo\taccess\tconnection complete\tsrc.addr=10.244.1.5:38012 dst.addr=10.244.2.9:15008 \
                direction=\"outbound\" bytes_sent=240 bytes_recv=1801 duration=\"60001ms\"";
    let json = r#"{"level":"info","message":"connection complete","src.addr":"10.244.1.5:38012","dst.addr":"10.244.2.9:15008"}"#;
    for log in [line, json] {
        let output = run(&["explain"], &format!("{log}\n"));
        assert_eq!(output.status.code(), Some(2));
        let stderr = text(&output.stderr);
        assert!(stderr.contains("are ztunnel's") && !stderr.contains("--log-format"), "{stderr}");
    }
}

#[test]
fn a_log_in_utf_16_is_named_with_what_to_do() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("client.log");
    let utf16: Vec<u8> = format!("\u{feff}{TEXT}\r\n").encode_utf16().flat_map(u16::to_le_bytes).collect();
    std::fs::write(&path, utf16).expect("written");
    for summary in [&["--summary"][..], &[]] {
        let output = run(&[&["explain", path.to_str().expect("UTF-8")], summary].concat(), "");
        assert_eq!(output.status.code(), Some(2));
        let stderr = text(&output.stderr);
        assert!(stderr.contains("UTF-16") && stderr.contains("iconv"), "{stderr}");
    }
}

#[test]
fn a_summary_finds_the_timeout_that_ends_the_sessions_of_a_cluster() {
    let line = |to: &str, number: usize, ms: usize| {
        let line = serde_json::json!({
            "upstream_cluster": format!("outbound|80||{to}"), "request_id": format!("{to}-{number}"), "method": "GET",
            "response_code": 101, "response_flags": "DC", "response_code_details": "downstream_remote_disconnect",
            "protocol": "HTTP/1.1", "duration": ms, "bytes_received": 34, "bytes_sent": 22,
        });
        format!("{line}\n")
    };
    let mut log = String::new();
    for number in 0..30 {
        // Cut at a time, whoever is still there; ended when people like to; all at another time.
        log += &line("cut", number, if number % 3 == 0 { 300_000 + number } else { 9_876 * number });
        log += &line("free", number, 61_234 * number);
        log += &line("odd", number, 65_000 + number);
    }
    let summary = text(&run(&["explain", "--summary"], &log).stdout);
    let (_, worth) = summary.split_once("worth a look\n").expect("the end of the summary");
    let found: Vec<&str> =
        worth.lines().filter(|line| line.contains("times, first")).map(str::trim).collect();
    assert_eq!(found.len(), 2, "{summary}");
    assert!(
        found[0].starts_with("30 times, first odd-0: client's sidecar: 30 of the 30 sessions"),
        "{summary}"
    );
    assert!(found[1].starts_with("10 times, first cut-0: ") && found[1].contains("300 s"), "{summary}");
    let once = text(&run(&["explain", "--summary"], &line("cut", 0, 300_000)).stdout);
    assert!(once.contains("nothing is worth a look"), "one session may last so long by chance: {once}");
}
