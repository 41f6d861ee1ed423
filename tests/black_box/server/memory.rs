//! What `server` holds in memory, as the system sees it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::{UPGRADE, connect, expect, read_head, server};
use crate::support::{Program, eventually};

const MIB: usize = 1 << 20;

/// The resident memory of a process, in bytes.
fn resident(program: &Program) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", program.id())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("Linux says it");
    let kib: usize = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kib * 1024
}

fn session(address: SocketAddr) -> TcpStream {
    let mut stream = connect(address);
    stream.write_all(UPGRADE.as_bytes()).expect("the server reads");
    read_head(&mut stream);
    stream
}

/// A binary message, in frames of this length, under a mask of zeros.
fn message(length: usize, frame: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length + length / frame * 14 + 14);
    for start in (0..length).step_by(frame) {
        let part = frame.min(length - start);
        let last = if start + part == length { 0x80 } else { 0 };
        bytes.extend([last | if start == 0 { 2 } else { 0 }, 0xff]);
        bytes.extend((part as u64).to_be_bytes());
        bytes.extend([0; 4]);
        bytes.resize(bytes.len() + part, 7);
    }
    bytes
}

fn eventually_within(program: &Program, what: &str, bytes: usize) {
    eventually(what, || (resident(program) < bytes).then_some(()));
}

#[test]
fn a_session_gives_back_what_a_long_message_needed_and_holds_it_once_until_then() {
    let (server, address) = server(&["--workers", "1"]);
    let mut sessions: Vec<_> = (0..4).map(|_| session(address)).collect();
    let before = resident(&server);
    for frame in [16 * MIB, MIB, 200_000, 1000] {
        let sent = message(16 * MIB, frame);
        for session in &mut sessions {
            // The whole message is taken before an answer is read.
            session.write_all(&sent).expect("the server reads");
        }
        let held = resident(&server) - before;
        assert!(held < 4 * 16 * MIB + 16 * MIB, "{held} bytes for four messages in frames of {frame}");
        for session in &mut sessions {
            let mut answer = vec![0; 10 + 16 * MIB];
            session.read_exact(&mut answer).expect("an answer");
        }
        eventually_within(&server, "the sessions are idle", before + 4 * MIB);
    }
    for session in &mut sessions {
        session.write_all(&message(1, 1)).expect("the server reads");
        expect(session, b"\x82\x01\x07");
    }
}

#[test]
fn what_stalled_sessions_needed_is_given_back_when_they_end() {
    let (server, address) = server(&["--workers", "1"]);
    let before = resident(&server);
    for length in [100, 10_000, 100_000, 3 * MIB] {
        let sent = message(length, length);
        let stalled: Vec<_> = (0..30)
            .map(|_| {
                let mut stream = session(address);
                stream.set_nonblocking(true).expect("a socket");
                while stream.write_all(&sent).is_ok() {}
                stream
            })
            .collect();
        let last = session(address);
        drop(stalled);
        eventually_within(&server, "the sessions are gone", before + 16 * MIB);
        drop(last);
    }
}

#[test]
fn at_the_bound_new_sessions_are_refused_and_metrics_say_so() {
    let (_server, address) = server(&["--max-buffered-bytes", "100000"]);
    let sent = message(90_000, 90_000);
    let mut sessions = [session(address), session(address)];
    for session in &mut sessions {
        session.write_all(&sent[..60_000]).expect("the server reads");
    }
    eventually("new sessions are refused", || {
        let mut stream = connect(address);
        stream.write_all(UPGRADE.as_bytes()).expect("the server reads");
        read_head(&mut stream).starts_with("HTTP/1.1 503 ").then_some(())
    });
    super::pod::expect_metric(address, "buffered_bytes_limit", 100_000.0);
    drop(sessions);
    super::pod::expect_metric(address, "buffered_bytes", 0.0);
    session(address);
}
