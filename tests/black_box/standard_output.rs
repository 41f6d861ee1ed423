//! Standard output that takes nothing: closed, opened for reading, or full. Whatever is run for its
//! output then ends with 1 and says so.

use std::fs::File;
use std::process::{Command, Stdio};

use crate::support::{Program, text, websockets_cli};

/// The exit status and standard error of a command whose standard output a shell redirects like
/// this.
fn redirected(redirection: &str, args: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new("sh");
    let script = format!("exec \"$@\" {redirection}");
    command.args(["-c", &script, "sh", env!("CARGO_BIN_EXE_websockets-cli")]).args(args);
    command.env_remove("GITHUB_ACTIONS").env_remove("RUST_LOG").stdin(Stdio::null());
    let output = command.output().expect("it runs");
    (output.status.code(), text(&output.stderr))
}

/// Each subcommand whose standard output is data, with what it does well.
fn commands(server: &str) -> Vec<Vec<String>> {
    let line = "{\"request_id\":\"a\",\"protocol\":\"HTTP/1.1\",\"response_code\":101}";
    let log = |side: &str, line: &str| {
        let log = tempfile::NamedTempFile::new().expect("a file").into_temp_path().keep().expect("kept");
        std::fs::write(&log, format!("{line}\n")).expect("written");
        format!("{side}={}", log.display())
    };
    let logs = [log("client", line), log("server", &line.replace("1.1", "2"))];
    let manifests = concat!(env!("CARGO_MANIFEST_DIR"), "/manifests");
    [
        &["client", "--send", "hi", server][..],
        &["probe", server],
        &["explain", line],
        &["lint", "--output", "json", "-f", manifests],
        &["verify", "--list"],
        &["verify", "schema"],
        &["verify", "--log", &logs[0], "--log", &logs[1], "--expect", "client.response_code == 101"],
        &["verify", "--scenario", "http1"],
    ]
    .into_iter()
    .map(|args| args.iter().map(ToString::to_string).collect())
    .collect()
}

#[test]
fn standard_output_that_takes_nothing_is_a_failure_of_what_writes_there() {
    let (_server, address) = Program::listening(&["server", "--listen", "127.0.0.1:0"]);
    for args in commands(&format!("ws://{address}")) {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        for (redirection, said) in [
            (">&-", "error: standard output is closed"),
            ("1</dev/null", "error: standard output cannot be written to"),
            (">/dev/full", "No space left on device"),
        ] {
            let (status, stderr) = redirected(redirection, &args);
            assert_eq!(status, Some(1), "{args:?} {redirection}: {stderr}");
            assert!(stderr.contains(said), "{args:?} {redirection}: {stderr}");
        }
        // As other programs hand it over: for reading and writing.
        let null = File::options().read(true).write(true).open("/dev/null").expect("it is there");
        let status =
            websockets_cli().args(&args).stdout(null).stderr(Stdio::null()).status().expect("it runs");
        assert_eq!(status.code(), Some(0), "{args:?}");
    }
}

#[test]
fn a_sidecar_does_not_start_when_its_log_has_nowhere_to_go() {
    let args = ["sidecar", "inbound", "--listen", "127.0.0.1:0", "--endpoint", "127.0.0.1:1"];
    for log in ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"] {
        let (status, stderr) = redirected(">&-", &[&args[..], &["--access-log", log]].concat());
        assert_eq!(status, Some(1), "{log}: {stderr}");
        assert!(stderr.contains("standard output is closed"), "{log}: {stderr}");
    }
}

#[test]
fn what_writes_no_data_needs_no_standard_output() {
    let mut server = Command::new("sh");
    server.args(["-c", "exec \"$@\" >&-", "sh", env!("CARGO_BIN_EXE_websockets-cli")]);
    let mut server = Program::spawn(server.args(["server", "--listen", "127.0.0.1:0"]));
    server.wait_for("listening on ");
}
