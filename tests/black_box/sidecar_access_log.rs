//! `sidecar --access-log` where the log cannot be written: no session is lost, and standard error
//! says so once.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use nix::sys::signal::Signal;

use crate::support::{Program, TIMEOUT, eventually};

const SESSIONS: usize = 20;

/// A sidecar; its application does not matter.
fn args(access_log: &str) -> Vec<&str> {
    vec![
        "sidecar",
        "inbound",
        "--listen",
        "127.0.0.1:0",
        "--endpoint",
        "127.0.0.1:1",
        "--concurrency",
        "1",
        "--access-log",
        access_log,
    ]
}

/// So many requests that are answered at once, since they are none.
fn ask(address: SocketAddr, requests: usize) {
    for _ in 0..requests {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        stream.write_all(b"NO-METHOD / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 400");
    }
}

fn said(program: &Program, part: &str) -> usize {
    program.said.iter().filter(|line| line.contains(part)).count()
}

#[test]
fn a_full_disk_costs_lines_and_no_session() {
    let (mut sidecar, address) = Program::listening(&args("/dev/full"));
    ask(address, 1);
    sidecar.wait_for("the access log cannot be written (No space left on device");
    ask(address, SESSIONS);
    sidecar.signal(Signal::SIGTERM);
    assert!(sidecar.end().success());
    sidecar.wait_for_end();
    assert_eq!(said(&sidecar, "access log"), 1, "{:?}", sidecar.said);
}

#[test]
fn a_closed_pipe_costs_lines_and_no_session() {
    let (mut sidecar, address) = Program::listening(&args("-"));
    drop(sidecar.stdout());
    ask(address, 1);
    sidecar.wait_for("the access log cannot be written (Broken pipe");
    ask(address, SESSIONS);
    sidecar.signal(Signal::SIGTERM);
    assert!(sidecar.end().success());
    sidecar.wait_for_end();
    assert_eq!(said(&sidecar, "access log"), 1, "{:?}", sidecar.said);
}

#[test]
fn a_reader_that_does_not_read_holds_up_neither_sessions_nor_the_end() {
    // More than a pipe holds.
    const LINES: usize = 500;
    let (mut sidecar, address) = Program::listening(&args("-"));
    ask(address, LINES);
    sidecar.signal(Signal::SIGTERM);
    assert!(sidecar.end().success());
    sidecar.wait_for("nobody reads the access log");
    let mut log = String::new();
    sidecar.stdout().read_to_string(&mut log).unwrap();
    let whole = log.lines().filter(|line| line.ends_with('}')).count();
    assert!(whole > 10 && whole < LINES, "{whole} lines");
}

/// How many lines a log has, each of which has to be whole.
fn whole_lines(log: &str) -> usize {
    for line in log.lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    }
    log.lines().count()
}

/// A sidecar whose files may have so many blocks of 512 bytes: like a disk that is full in the
/// middle of a line.
fn on_a_small_disk(blocks: usize, log: &str) -> (Program, SocketAddr) {
    let limited = format!("ulimit -f {blocks}; exec \"$@\"");
    let mut command = std::process::Command::new("sh");
    command.args(["-c", &limited, "sh", env!("CARGO_BIN_EXE_websockets-cli")]).args(args(log));
    let mut program = Program::spawn(&mut command);
    let ready = program.wait_for("listening on ");
    (program, ready.rsplit(' ').next().unwrap().parse().unwrap())
}

#[test]
fn what_was_written_to_a_full_disk_is_whole_lines_and_so_is_what_comes_next() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let log = path.to_str().unwrap();
    let whole = || {
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.is_empty() || text.ends_with('\n'), "{text}");
        whole_lines(&text)
    };
    let (mut sidecar, address) = on_a_small_disk(4, log);
    ask(address, SESSIONS);
    sidecar.wait_for("the access log cannot be written (File too large");
    sidecar.signal(Signal::SIGTERM);
    assert!(sidecar.end().success());
    let before = whole();
    assert!(before > 0 && before < SESSIONS, "{before} lines");
    // What other writers left: half a line, and a line without its end.
    let text = std::fs::read_to_string(&path).unwrap();
    let line = text.lines().next().unwrap();
    for (left, kept) in [(&line[..line.len() / 2], 0), (line, 1)] {
        std::fs::write(&path, format!("{text}{left}")).unwrap();
        let (mut sidecar, address) = Program::listening(&args(log));
        ask(address, 1);
        eventually("a line", || std::fs::read_to_string(&path).unwrap().ends_with("}\n").then_some(()));
        sidecar.signal(Signal::SIGTERM);
        assert!(sidecar.end().success());
        assert_eq!(whole(), before + kept + 1);
    }
}

#[test]
fn two_sidecars_that_share_a_log_leave_whole_lines_on_a_full_disk_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let log = path.to_str().unwrap();
    let mut sidecars = [on_a_small_disk(64, log), on_a_small_disk(64, log)];
    std::thread::scope(|scope| {
        for (_, address) in &sidecars {
            scope.spawn(|| ask(*address, 4 * SESSIONS));
        }
    });
    for (sidecar, _) in &mut sidecars {
        sidecar.signal(Signal::SIGTERM);
        assert!(sidecar.end().success());
    }
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.ends_with('\n'));
    let lines = whole_lines(&text);
    assert!(lines > SESSIONS && lines < 8 * SESSIONS, "{lines} lines");
}
