//! `verify --log`: judging lines that other proxies wrote.

use std::io::Write;
use std::process::Output;

use tempfile::NamedTempFile;

use crate::support::{run, text};

/// More than is read of one line.
const LONG: usize = 1024 * 1024 + 1;

const CLIENT: &str = r#"{"request_id":"a","protocol":"HTTP/1.1","response_code":101,"response_flags":"UR","bytes_sent":18,"upstream_local_address":"10.0.0.1:5"}"#;
const SERVER: &str = r#"[pod/web/istio-proxy] {"request_id":"a","protocol":"HTTP/2","response_code":101,"response_flags":"UC","bytes_sent":18,"upstream_local_address":"127.0.**.**:34477","downstream_remote_address":"10.0.0.1:5"}"#;

fn file(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().expect("a file");
    writeln!(file, "{text}").expect("written");
    file
}

/// Judges the client's line from a file and the server's from a pipe.
fn judged(expectations: &[&str], server: &str) -> Output {
    judged_with(&[], expectations, server)
}

fn judged_with(options: &[&str], expectations: &[&str], server: &str) -> Output {
    let client = file(CLIENT);
    let client = format!("client={}", client.path().display());
    let mut args = [&["verify", "--log", &client, "--log", "server=-"], options].concat();
    args.extend(expectations.iter().flat_map(|expectation| ["--expect", expectation]));
    run(&args, server)
}

#[test]
fn expectations_that_hold_for_every_session_end_with_0() {
    let expectations = [
        "server.protocol == HTTP/2",
        "server.response_flags one of UC, DC",
        "client.bytes_sent == server.bytes_sent",
        "server.upstream_local_address in 127.0.0.0/8",
        "client.response_code in 100..199",
    ];
    let output = judged(&expectations, SERVER);
    assert_eq!(output.status.code(), Some(0), "{}{}", text(&output.stdout), text(&output.stderr));
    assert!(
        text(&output.stdout).contains("1 session joined; 0 lines did not join"),
        "{}",
        text(&output.stdout)
    );
}

#[test]
fn a_session_that_is_otherwise_ends_with_1_and_shows_field_line_and_explanation() {
    let output = judged(&["server.protocol == HTTP/1.1"], SERVER);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let stdout = text(&output.stdout);
    let why = "FAIL  logs: server: protocol: expected HTTP/1.1, was HTTP/2\n        request id a (-v";
    assert!(stdout.starts_with(why), "{stdout}");
    let stdout = text(&judged_with(&["-v"], &["server.protocol == HTTP/1.1"], SERVER).stdout);
    for words in
        ["server: protocol", "expected HTTP/1.1, was HTTP/2", "\"request_id\":\"a\"", "UC", "(normal)"]
    {
        assert!(stdout.contains(words), "{words}: {stdout}");
    }
}

#[test]
fn nothing_to_judge_and_wrong_input_end_with_2() {
    let nothing = judged(&["server.protocol == HTTP/2"], &SERVER.replace("\"a\"", "\"b\""));
    assert_eq!(nothing.status.code(), Some(2));
    assert!(text(&nothing.stdout).contains("did not join: request id b"), "{}", text(&nothing.stdout));
    assert!(text(&nothing.stderr).contains("nothing to judge"), "{}", text(&nothing.stderr));
    assert_eq!(judged(&["protocol == HTTP/2"], SERVER).status.code(), Some(2));
    assert_eq!(judged(&[], SERVER).status.code(), Some(2));
    let missing = run(
        &[
            "verify",
            "--log",
            "client=no-such-file",
            "--log",
            "server=-",
            "--expect",
            "client.protocol == HTTP/2",
        ],
        "",
    );
    assert_eq!(missing.status.code(), Some(2));
    let twice = ["verify", "--log", "client=-", "--log", "server=-", "--expect", "client.protocol == HTTP/2"];
    let twice = run(&twice, CLIENT);
    assert_eq!(twice.status.code(), Some(2));
    assert!(text(&twice.stderr).contains("more than once"), "{}", text(&twice.stderr));
}

#[test]
fn where_nothing_is_run_what_is_for_a_run_is_refused() {
    for more in
        [&["-f", "manifests"][..], &["--envoy"], &["--compare"], &["--kubernetes"], &["--keep", "logs"]]
    {
        let args = ["verify", "--log", "client=-", "--expect", "client.protocol == HTTP/2"];
        let output = run(&[&args[..], more].concat(), CLIENT);
        assert_eq!(output.status.code(), Some(2), "{more:?}");
        assert!(text(&output.stderr).contains("cannot be used with"), "{}", text(&output.stderr));
    }
}

#[test]
fn a_format_string_makes_lines_of_ones_own_readable() {
    let log = file("101|DownstreamConnectionTermination|7 ms|a");
    let client = format!("client={}", log.path().display());
    let format = "%RESPONSE_CODE%|%RESPONSE_FLAGS_LONG%|%DURATION% ms|%REQ(X-REQUEST-ID)%";
    let args = [
        "verify",
        "--log",
        &client,
        "--log",
        "server=-",
        "--log-format",
        format,
        "--expect",
        "client.duration < 8",
        "--expect",
        "client.response_flags =~ ^Downstream",
    ];
    let output = run(&args, "101|DownstreamRemoteReset|6 ms|a\n");
    assert_eq!(output.status.code(), Some(0), "{}{}", text(&output.stdout), text(&output.stderr));
}

#[test]
fn one_log_alone_has_no_session() {
    let output = run(&["verify", "--log", "client=-", "--expect", "client.response_code == 101"], CLIENT);
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(2), ""));
    assert!(text(&output.stderr).contains("--log server=FILE"), "{}", text(&output.stderr));
}

#[test]
fn lines_beyond_the_bounds_are_counted_and_said_and_the_end_is_no_all_clear() {
    let long = SERVER.replace("\"a\"", &format!("\"{}\"", "a".repeat(LONG)));
    let output = judged(&["client.response_code == 101"], &format!("{long}\n{SERVER}"));
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(2), "{stdout}{stderr}");
    assert!(stdout.contains("1 session joined; 0 lines did not join"), "{stdout}");
    assert!(stdout.contains("1 line skipped: longer than 1 MiB"), "{stdout}");
    assert!(stdout.starts_with("not judged  logs\n      not judged: sessions-missed\n"), "{stdout}");
    assert!(stderr.contains("there may be sessions that were not judged"), "{stderr}");
    // What failed is a failure all the same.
    let output = judged(&["client.response_code == 200"], &format!("{long}\n{SERVER}"));
    assert_eq!(output.status.code(), Some(1));
}
