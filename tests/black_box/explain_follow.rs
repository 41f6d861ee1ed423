//! `websockets-cli explain --follow`: logs that are written meanwhile.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::Stdio;
use std::sync::mpsc::{Receiver, channel};

use nix::sys::signal::Signal;

use crate::support::{Program, TIMEOUT, websockets_cli};

const CLIENT: &str = r#"{"method":"GET","path":"/a","protocol":"HTTP/1.1","request_id":"dec97ce9","response_code":101,"response_flags":"UC","upstream_cluster":"outbound|80||web"}"#;
const SERVER: &str = r#"{"method":"GET","path":"/a","protocol":"HTTP/1.1","request_id":"dec97ce9","response_code":101,"response_flags":"UC","upstream_cluster":"inbound|80||"}"#;
const OTHER: &str = r#"{"method":"GET","path":"/other","protocol":"HTTP/1.1","request_id":"7","response_code":503,"response_flags":"UF","upstream_cluster":"outbound|80||web"}"#;

/// `explain --follow` while it runs, and its lines as they come.
struct Follower {
    program: Program,
    lines: Receiver<String>,
}

impl Follower {
    fn start(args: &[&str]) -> Self {
        let mut command = websockets_cli();
        command.args(["explain", "--follow"]).args(args).stdin(Stdio::piped());
        let mut program = Program::spawn(&mut command);
        let stdout = BufReader::new(program.stdout());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            let _ = stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line));
        });
        Self { program, lines }
    }

    /// The next line, which has `part`.
    fn says(&self, part: &str) {
        let line = self.lines.recv_timeout(TIMEOUT).expect("a line comes");
        assert!(line.contains(part), "{part:?} is not in {line:?}");
    }

    /// All lines until the end, which is in order.
    fn ends(mut self) -> String {
        assert!(self.program.end().success());
        self.lines.iter().collect::<Vec<_>>().join("\n")
    }
}

fn append(path: &Path, line: &str) {
    let mut file = File::options().append(true).create(true).open(path).expect("a file");
    writeln!(file, "{line}").expect("written");
}

#[test]
fn a_session_is_told_when_its_second_line_is_written_and_a_file_is_followed_by_its_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let logs = ["client.log", "server.log"].map(|name| folder.path().join(name));
    for log in &logs {
        File::create(log).expect("a file");
    }
    let [client, server] = &logs;
    let follower = Follower::start(&logs.each_ref().map(|log| log.to_str().expect("a name")));
    append(client, CLIENT);
    follower.says("client's sidecar: WebSocket GET /a");
    append(server, SERVER);
    follower.says("server's sidecar: WebSocket GET /a");
    follower.says("session dec97ce9, both sides");
    fs::rename(client, folder.path().join("client.log.1")).expect("rotated");
    append(client, OTHER);
    follower.says("/other");
    follower.program.signal(Signal::SIGINT);
    assert_eq!(follower.ends(), "");
}

#[test]
fn standard_input_is_followed_to_its_end() {
    let mut follower = Follower::start(&[]);
    let mut stdin = follower.program.stdin();
    writeln!(stdin, "{CLIENT}\n{SERVER}").expect("written");
    follower.says("client's sidecar");
    follower.says("server's sidecar");
    follower.says("session dec97ce9, both sides");
    write!(stdin, "{OTHER}").expect("written");
    drop(stdin);
    follower.says("/other");
    assert_eq!(follower.ends(), "");
}

#[test]
fn json_is_there_as_it_comes_and_whole_after_a_signal() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("log");
    append(&log, CLIENT);
    append(&log, OTHER);
    let follower = Follower::start(&["--output", "json", log.to_str().expect("a name")]);
    let mut said = Vec::new();
    while said.len() < 2 {
        said.push(follower.lines.recv_timeout(TIMEOUT).expect("a line comes"));
    }
    follower.program.signal(Signal::SIGTERM);
    let document = said.join("\n") + "\n" + &follower.ends();
    let document: serde_json::Value = serde_json::from_str(&document).expect("JSON");
    assert_eq!(document["explanations"].as_array().map(Vec::len), Some(2), "{document}");
}

#[test]
fn a_summary_comes_with_the_signal() {
    let mut follower = Follower::start(&["--summary"]);
    let mut stdin = follower.program.stdin();
    // What is not understood is said as it comes, so by then the line before it was read.
    writeln!(stdin, "{CLIENT}\n\"GET / HTTP/1.1\" 200").expect("written");
    follower.program.wait_for("--log-format names its format");
    follower.program.signal(Signal::SIGINT);
    let said = follower.ends();
    assert!(said.starts_with("1 line\n"), "{said}");
}
