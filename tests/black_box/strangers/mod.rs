//! What strangers write is never obeyed: every character that a terminal, a reader of lines or a CI
//! server obeys goes through every path by which this program prints something that is not its own.

mod documents;
mod peers;

use std::ffi::{OsStr, OsString};
use std::fmt::Write;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::{text, websockets_cli};

/// What makes commands of GitHub's runner, and of Azure's, out of a line's beginning and of any
/// part of a line.
const FORGED: &str = "\n::error::forged\r\n\u{a0} ::stop-commands::forged\u{2028}::error::forged ##[error]forged \
                      ##vso[task.complete]forged #\u{200d}#[error]forged \x1b]52;c;Zm9yZ2Vk\x07\u{9b}31m";

/// Whether a terminal or a reader of lines obeys the character; a line feed ends a line of ours.
fn is_obeyed(character: char) -> bool {
    matches!(
        u32::from(character),
        0..0x20 | 0x7f..0xa0 | 0x61c | 0x200e | 0x200f | 0x2028..=0x202e | 0x2066..=0x2069
    )
}

/// Every character that is obeyed, and the commands. Not the null character, which neither an
/// argument nor a file's name can have.
fn hostile() -> String {
    let obeyed: String = ('\u{1}'..='\u{2fff}').filter(|character| is_obeyed(*character)).collect();
    format!("{FORGED}{obeyed}{FORGED}")
}

/// The same as a JSON string, which is a YAML scalar too, with the null character.
fn quoted() -> String {
    let mut quoted = String::from("\"a\\u0000");
    for unit in hostile().encode_utf16() {
        write!(quoted, "\\u{unit:04x}").expect("memory");
    }
    quoted + "\""
}

/// A file in `folder` of which the name is hostile too, and ends so.
fn file(folder: &Path, name: &[u8], content: &str) -> PathBuf {
    // A name has at most 255 bytes.
    let hostile: String = hostile().chars().filter(|character| *character != '/').take(130).collect();
    let path = folder.join(OsString::from_vec([hostile.as_bytes(), name].concat()));
    fs::write(&path, content).expect("a file");
    path
}

/// What came out says something of what the stranger wrote, and nothing in it is obeyed.
fn is_told(what: &str, output: &Output) {
    let all = text(&output.stdout) + &text(&output.stderr);
    assert!(all.contains("forged"), "{what} says nothing of it: {all}");
    nothing_is_obeyed(what, output);
}

/// Nothing that came out is obeyed by whoever reads it.
fn nothing_is_obeyed(what: &str, Output { stdout, stderr, .. }: &Output) {
    for written in [stdout, stderr] {
        let written = std::str::from_utf8(written).expect(what);
        for line in written.split('\n') {
            assert!(!line.contains(is_obeyed), "{what}: {line:?}");
            assert!(!line.contains("##[") && !line.contains("##vso["), "{what}: {line:?}");
            // Our own commands have properties.
            let is_command = line.trim_start().starts_with("::");
            let is_ours = ["::error ", "::warning ", "::notice "].iter().any(|ours| line.starts_with(ours));
            assert!(!is_command || is_ours, "{what}: {line:?}");
        }
    }
}

fn run<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Output {
    websockets_cli().args(args).output().expect("the binary ends")
}

/// Runs the binary with these arguments before the file's name.
fn about(args: &str, file: &Path) -> Output {
    let mut all: Vec<&OsStr> = args.split(' ').map(OsStr::new).collect();
    all.push(file.as_os_str());
    run(all)
}

/// A line of an access log of which every text is a stranger's. Sides are told by the cluster,
/// sessions by the request id.
fn log_line(cluster: &str, code: u16) -> String {
    let texts = [
        "authority",
        "connection_termination_details",
        "downstream_remote_address",
        "method",
        "path",
        "protocol",
        "request_id",
        "response_code_details",
        "response_flags",
        "upstream_host",
        "upstream_transport_failure_reason",
        "user_agent",
    ];
    let hostile = quoted();
    let mut line =
        format!("{{\"upstream_cluster\": \"{cluster}\", \"response_code\": {code}, \"bytes_sent\": 1");
    for key in texts {
        write!(line, ", \"{key}\": {hostile}").expect("memory");
    }
    line + "}\n"
}

#[test]
fn what_a_log_says_is_explained_and_not_obeyed() {
    let folder = tempfile::tempdir().expect("a folder");
    let client = log_line("outbound|80||a", 503);
    let log = file(folder.path(), b".log", &(client.clone() + &log_line("inbound|80||", 503)));
    for args in [
        "explain",
        "explain --verbose",
        "explain --summary",
        "explain --output json",
        "explain --summary --output json",
    ] {
        is_told(args, &about(args, &log));
    }
    // Of such a format a whole line may be a stranger's.
    let log = file(folder.path(), b".txt", &format!("{}\n", hostile()));
    for args in ["explain --log-format %PROTOCOL%", "explain --summary --log-format %PROTOCOL%"] {
        is_told(args, &about(args, &log));
    }
    let not_a_log = file(folder.path(), b".log", "");
    nothing_is_obeyed("explain of no log", &about(&format!("explain --log-format {}", quoted()), &not_a_log));
    fs::remove_file(&not_a_log).expect("it is there");
    is_told("explain of nothing", &about("explain", &not_a_log));
}

#[test]
fn what_logs_say_is_judged_and_reported_and_not_obeyed() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = |side: &str, name: &[u8], cluster| {
        let lines = log_line(cluster, 503) + &log_line(cluster, 101).replace("\"a\\u0000", "\"alone");
        let mut named = OsString::from(format!("{side}="));
        named.push(file(folder.path(), name, &lines));
        named
    };
    let logs = [log("client", b"1", "outbound|80||a"), log("server", b"2", "inbound|80||")];
    let summary = folder.path().join("summary.md");
    for reports in [&["github"][..], &["junit=-"], &["json=-"], &["github", "junit=-"]] {
        let mut command = websockets_cli();
        command.args(["verify", "--log"]).arg(&logs[0]).arg("--log").arg(&logs[1]);
        command.args([
            "--expect",
            "client.authority == a",
            "--expect",
            &format!("server.path == {}", hostile()),
        ]);
        command.args(["--expect", "client.protocol == server.method"]);
        command.args(reports.iter().flat_map(|report| ["--report", report]));
        let output = command.env("GITHUB_STEP_SUMMARY", &summary).output().expect("the binary ends");
        assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
        is_told(&format!("verify --log, {reports:?}"), &output);
    }
    let summary = fs::read(&summary).expect("it was written");
    assert!(text(&summary).contains("\\\\x1b"), "{}", text(&summary));
    let summary = Output { stdout: summary, stderr: Vec::new(), status: std::process::ExitStatus::default() };
    is_told("the summary of a step", &summary);
    for ((side, name), other) in
        [("client", "missing"), ("server", "a folder")].into_iter().zip(logs.iter().rev())
    {
        let path = file(folder.path(), name.as_bytes(), "");
        fs::remove_file(&path).expect("it is there");
        if side == "server" {
            fs::create_dir(&path).expect("a folder");
        }
        let mut named = OsString::from(format!("{side}="));
        named.push(&path);
        let expected = format!("{side}.path == a");
        let args = ["verify", "--expect", &expected, "--log"].map(OsString::from);
        is_told(name, &run(args.into_iter().chain([named, "--log".into(), other.clone()])));
    }
}

#[test]
fn what_a_scenario_says_is_played_and_not_obeyed() {
    let folder = tempfile::tempdir().expect("a folder");
    let hostile = quoted();
    let scenario = format!(
        "name: stranger\ndescription: {hostile}\nsessions:\n- steps:\n  - connect: {{}}\n  - send: {hostile}\n  \
         - receive: forged\n  - close: 1000\nexpect:\n  client:\n    authority: {hostile}\n"
    );
    let path = file(folder.path(), b".yaml", &scenario);
    let utf8 = folder.path().join("stranger.yaml");
    fs::write(&utf8, &scenario).expect("a file");
    for args in ["verify --list --scenario", "verify --scenario", "verify --report junit=- --scenario"] {
        nothing_is_obeyed(args, &about(args, &utf8));
        nothing_is_obeyed(args, &about(args, &path));
    }
    let output = about("verify --report github --scenario", &utf8);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    is_told("verify --report github", &output);
    for wrong in [
        format!("name: {hostile}\ndescription: a\nsessions: []\nexpect: {{}}\n"),
        format!("{hostile}: 1\n"),
        format!("name: a\ndescription: a\nexpect: {{}}\nsessions:\n- steps:\n  - {hostile}: 1\n"),
        format!("name: a\ndescription: a\nexpect: {{}}\nsessions:\n- steps:\n  - wait: {hostile}\n"),
        format!(
            "name: a\ndescription: a\nexpect: {{}}\nsessions:\n- steps:\n  - send: {{file: {hostile}}}\n"
        ),
    ] {
        let path = folder.path().join("forged.yaml");
        fs::write(&path, &wrong).expect("a file");
        nothing_is_obeyed(&wrong, &about("verify --scenario", &path));
    }
    let new = file(folder.path(), b"-new.yaml", "");
    nothing_is_obeyed("verify init where a file is", &about("verify init", &new));
    fs::remove_file(&new).expect("it is there");
    is_told("verify init", &about("verify init", &new));
}

#[test]
fn what_was_typed_or_pasted_is_refused_and_not_obeyed() {
    let hostile = hostile();
    let not_utf8 = OsString::from_vec([b"forged\xff".as_slice(), hostile.as_bytes()].concat());
    for args in [
        &["HOSTILE"][..],
        &["--HOSTILE"],
        &["server", "--HOSTILE"],
        &["server", "HOSTILE"],
        &["server", "--listen", "HOSTILE"],
        &["server", "--delay", "HOSTILE"],
        &["server", "--origin", "HOSTILE"],
        &["server", "--close-after", "HOSTILE"],
        &["server", "--reject", "HOSTILE"],
        &["server", "--cert", "HOSTILE", "--key", "HOSTILE"],
        &["client", "HOSTILE"],
        &["client", "ws://HOSTILE/"],
        &["client", "ws://127.0.0.1:1/HOSTILE"],
        &["client", "--header", "HOSTILE", "ws://a"],
        &["client", "--header", "a: HOSTILE", "ws://a"],
        &["client", "--expect", "(HOSTILE", "ws://a"],
        &["client", "--output", "HOSTILE", "ws://a"],
        &["client", "--unix", "HOSTILE", "ws://a"],
        &["client", "--proxy", "HOSTILE", "ws://a"],
        &["client", "--connect-to", "HOSTILE", "ws://a"],
        &["client", "--cacert", "HOSTILE", "wss://127.0.0.1:1"],
        &["client", "--servername", "HOSTILE", "wss://127.0.0.1:1"],
        &["probe", "HOSTILE"],
        &["probe", "--unix", "HOSTILE", "ws://a"],
        &["probe", "--unix", "HOSTILE", "--output", "json", "ws://a"],
        &["sidecar", "outbound", "--listen", "HOSTILE", "--endpoint", "127.0.0.1:1"],
        &[
            "sidecar",
            "outbound",
            "--listen",
            "127.0.0.1:0",
            "--endpoint",
            "127.0.0.1:1",
            "--workload",
            "HOSTILE",
        ],
        &[
            "sidecar",
            "inbound",
            "--listen",
            "127.0.0.1:0",
            "--endpoint",
            "127.0.0.1:1",
            "--access-log",
            "HOSTILE/a",
        ],
        &["explain", "HOSTILE"],
        &["explain", "--log-format", "%HOSTILE", "-"],
        &["lint", "-f", "HOSTILE"],
        &["verify", "--scenario", "HOSTILE"],
        &["verify", "--scenario", "http1", "--report", "HOSTILE"],
        &["verify", "--scenario", "http1", "--report", "json=HOSTILE/a"],
        &["verify", "--scenario", "http1", "--keep", "/dev/null/HOSTILE"],
        &["verify", "--log", "HOSTILE"],
        &["verify", "--log", "client=-", "--expect", "HOSTILE"],
        &["verify", "--log", "client=-", "--expect", "client.HOSTILE == a"],
        &["verify", "--log", "client=-", "--expect", "client.path =~ (HOSTILE"],
        &["verify", "--envoy", "HOSTILE"],
        &["verify", "-f", "manifests", "--service", "HOSTILE"],
        &["verify", "--kubernetes", "--kubeconfig", "HOSTILE"],
    ] {
        let typed = args.iter().map(|arg| arg.replace("HOSTILE", &hostile));
        let output = run(typed);
        assert!(!output.status.success(), "{args:?}");
        nothing_is_obeyed(&format!("{args:?}"), &output);
    }
    let mut path = OsStr::from_bytes(b"lint -f").to_owned();
    path.clear();
    path.push(&not_utf8);
    is_told("a path that is not UTF-8", &about("lint -f", Path::new(&path)));
}

#[test]
fn what_the_environment_says_is_not_obeyed() {
    let hostile = hostile();
    let with = |args: &[&str], name: &str, value: &str| -> Command {
        let mut command = websockets_cli();
        command.args(args).env(name, value);
        command
    };
    for (args, name) in [
        (&["lint", "-f", "manifests"][..], "RUST_LOG"),
        (&["client", "ws://a"], "WS_PROXY"),
        (&["probe", "ws://a"], "WS_PROXY"),
        (&["verify", "--envoy"], "ENVOY"),
        (&["verify", "--kubernetes"], "KUBECONFIG"),
        (&["verify", "--scenario", "http1", "--report", "github"], "GITHUB_STEP_SUMMARY"),
    ] {
        let output = with(args, name, &hostile.replace('/', "")).output().expect("the binary ends");
        nothing_is_obeyed(name, &output);
    }
}

#[test]
fn what_an_envoy_says_is_told_and_not_obeyed() {
    let folder = tempfile::tempdir().expect("a folder");
    let said = folder.path().join("said");
    fs::write(&said, format!("{0}\nlast line {0}", hostile())).expect("a file");
    let said = said.display();
    let refusing = format!("#!/bin/sh\ncat {said} >&2\nexit 1\n");
    // Its log is the argument behind --log-path.
    let ending = format!(
        "#!/bin/sh\ncase \"$*\" in *validate*) exit 0;; esac\n\
         while [ \"$1\" != --log-path ]; do shift; done\ncat {said} >\"$2\"\nexit 1\n"
    );
    for script in [refusing, ending] {
        let envoy = folder.path().join("envoy");
        fs::write(&envoy, script).expect("a file");
        fs::set_permissions(&envoy, fs::Permissions::from_mode(0o755)).expect("an executable file");
        let output = about("verify --scenario http1 --envoy", &envoy);
        assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
        is_told("verify --envoy", &output);
    }
}
