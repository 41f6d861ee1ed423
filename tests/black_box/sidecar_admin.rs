//! The admin port and the signals of `sidecar`, as a process has them.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;

use nix::sys::signal::Signal;

use crate::support::{Program, eventually};

/// A sidecar before an application that does not listen, and its admin port.
fn sidecar(access_log: &Path) -> (Program, SocketAddr, SocketAddr) {
    let (mut program, address) = Program::listening(&[
        "sidecar",
        "inbound",
        "--listen",
        "127.0.0.1:0",
        "--endpoint",
        "127.0.0.1:1",
        "--admin",
        "127.0.0.1:0",
        "--access-log",
        access_log.to_str().expect("UTF-8"),
        "--concurrency",
        "2",
        "--mint-websocket-key",
    ]);
    let line = program.wait_for("admin listening on ");
    let admin = line.rsplit(' ').next().and_then(|word| word.parse().ok()).expect("an address");
    (program, address, admin)
}

fn ask(address: SocketAddr, method: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("it listens");
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    answer
}

/// A request that leaves a line, since its upstream does not listen.
fn fail(address: SocketAddr) {
    let mut stream = TcpStream::connect(address).expect("it listens");
    write!(stream, "GET / HTTP/1.1\r\nHost: a\r\n\r\n").expect("it reads");
    let mut status = [0; 12];
    stream.read_exact(&mut status).expect("it answers");
    assert_eq!(&status, b"HTTP/1.1 503");
}

fn lines(path: &Path) -> usize {
    std::fs::read_to_string(path).map_or(0, |text| text.lines().count())
}

#[test]
fn the_admin_port_is_named_after_the_listener_and_adds_up_the_workers() {
    let directory = tempfile::tempdir().expect("a directory");
    let (program, address, admin) = sidecar(&directory.path().join("log"));
    assert!(program.said[0].starts_with("listening on "), "{:?}", program.said);
    assert!(ask(admin, "GET", "/ready").ends_with("\r\n\r\nLIVE\n"));
    assert!(ask(admin, "GET", "/config_dump").contains("\"mint_websocket_key\": true"));
    for _ in 0..8 {
        fail(address);
    }
    let stats = ask(admin, "GET", "/stats");
    assert!(stats.contains("\nhttp.inbound_0.0.0.0_80;.downstream_rq_total: 8\n"), "{stats}");
    assert!(stats.contains("\nserver.concurrency: 2\n"), "{stats}");
}

#[test]
fn quitquitquit_ends_the_process_with_status_0() {
    let directory = tempfile::tempdir().expect("a directory");
    let (mut program, _, admin) = sidecar(&directory.path().join("log"));
    assert!(ask(admin, "POST", "/quitquitquit").ends_with("\r\n\r\nOK\n"));
    assert!(program.end().success());
}

#[test]
fn sigusr1_opens_the_access_log_again() {
    let directory = tempfile::tempdir().expect("a directory");
    let (log, moved) = (directory.path().join("log"), directory.path().join("log.1"));
    let (program, address, _) = sidecar(&log);
    fail(address);
    eventually("the line", || (lines(&log) == 1).then_some(()));
    std::fs::rename(&log, &moved).expect("it is there");
    program.signal(Signal::SIGUSR1);
    eventually("the new file", || log.exists().then_some(()));
    fail(address);
    eventually("its line", || (lines(&log) == 1).then_some(()));
    assert_eq!(lines(&moved), 1);
}
