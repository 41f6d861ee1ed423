//! `sidecar --access-log` where the log cannot be written: no session is lost, and standard error says so once.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use nix::sys::signal::Signal;

use crate::support::{PATIENCE, Program};

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
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
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
