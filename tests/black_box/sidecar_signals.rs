//! Signals that a sidecar survives, and when: SIGHUP as Envoy takes it, and SIGUSR1.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Stdio;

use nix::sys::signal::Signal;

use crate::support::{Program, TIMEOUT, eventually, websockets_cli};

/// A request that is answered at once, since it is none, and leaves a line.
fn ask(address: SocketAddr) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    stream.write_all(b"NO-METHOD / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 400");
}

fn lines(log: &Path) -> usize {
    std::fs::read_to_string(log).unwrap_or_default().lines().count()
}

fn sidecar<'a>(direction: &'a str, log: &'a str) -> Vec<&'a str> {
    let mut args = vec!["sidecar", direction, "--listen", "127.0.0.1:0", "--endpoint", "127.0.0.1:1"];
    args.extend(["--concurrency", "2", "--access-log", log]);
    args
}

#[test]
fn sighup_is_ignored_with_a_warning_and_no_line_is_lost() {
    for direction in ["inbound", "outbound"] {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("access.log");
        let (mut sidecar, address) = Program::listening(&sidecar(direction, log.to_str().unwrap()));
        for _ in 0..2 {
            sidecar.signal(Signal::SIGHUP);
            sidecar.wait_for("caught and ignored SIGHUP");
            ask(address);
        }
        sidecar.signal(Signal::SIGTERM);
        assert_eq!(sidecar.end().code(), Some(0));
        assert_eq!(lines(&log), 2);
    }
}

#[test]
fn sigusr1_opens_the_log_again_also_after_sighup() {
    let folder = tempfile::tempdir().unwrap();
    let (log, moved) = (folder.path().join("access.log"), folder.path().join("access.log.1"));
    let (mut sidecar, address) = Program::listening(&sidecar("inbound", log.to_str().unwrap()));
    ask(address);
    eventually("a line", || (lines(&log) == 1).then_some(()));
    std::fs::rename(&log, &moved).unwrap();
    sidecar.signal(Signal::SIGHUP);
    sidecar.wait_for("caught and ignored SIGHUP");
    ask(address);
    eventually("SIGHUP opens nothing again", || (lines(&moved) == 2).then_some(()));
    sidecar.signal(Signal::SIGUSR1);
    eventually("the new file", || log.exists().then_some(()));
    ask(address);
    eventually("a line", || (lines(&log) == 1).then_some(()));
}

#[test]
#[cfg(target_os = "linux")]
fn signals_that_come_before_there_are_handlers_wait_for_them() {
    let mut args = sidecar("inbound", "-");
    args.extend(["-f", "-"]);
    let mut sidecar = Program::spawn(websockets_cli().args(&args).stdin(Stdio::piped()));
    // It waits for its documents: nothing is parsed, and the program has not been started anew.
    let blocked = |status: &str| {
        let mask = status.lines().find_map(|line| line.strip_prefix("SigBlk:"))?;
        let mask = u64::from_str_radix(mask.trim(), 16).ok()?;
        let of = |signal: Signal| mask >> (signal as u32 - 1) & 1;
        (of(Signal::SIGHUP) == 1 && of(Signal::SIGUSR1) == 1).then_some(())
    };
    let status = || std::fs::read_to_string(format!("/proc/{}/status", sidecar.id())).ok();
    eventually("signals are held back", || blocked(&status()?));
    sidecar.signal(Signal::SIGHUP);
    sidecar.signal(Signal::SIGUSR1);
    let documents = concat!(env!("CARGO_MANIFEST_DIR"), "/manifests/websockets-server.yaml");
    sidecar.stdin().write_all(&std::fs::read(documents).unwrap()).unwrap();
    sidecar.wait_for("listening on ");
    sidecar.wait_for("caught and ignored SIGHUP");
    sidecar.signal(Signal::SIGTERM);
    assert_eq!(sidecar.end().code(), Some(0));
}

#[test]
#[cfg(target_os = "linux")]
fn programs_that_do_not_serve_hold_no_signal_back() {
    let mut client = Program::spawn(websockets_cli().args(["lint", "-f", "-"]).stdin(Stdio::piped()));
    let stdin = client.stdin();
    // Its name is that of the program only once it runs.
    eventually("it runs", || {
        let wait = std::fs::read_to_string(format!("/proc/{}/wchan", client.id())).ok()?;
        wait.contains("pipe").then_some(())
    });
    let status = std::fs::read_to_string(format!("/proc/{}/status", client.id())).unwrap();
    assert!(status.contains("SigBlk:\t0000000000000000"), "{status}");
    drop(stdin);
    client.end();
}
