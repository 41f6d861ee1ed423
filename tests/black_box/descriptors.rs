//! A full table of file descriptors: said once a second, and over when others end.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::Instant;

use crate::support::{Program, eventually};

/// Few enough to be used up, and enough to start.
const DESCRIPTORS: usize = 60;

/// Starts the binary with a table of that size.
fn limited(args: &[&str]) -> (Program, SocketAddr) {
    let mut command = Command::new("sh");
    let limited = format!("ulimit -n {DESCRIPTORS}; exec \"$@\"");
    command.args(["-c", &limited, "sh", env!("CARGO_BIN_EXE_websockets-cli")]).args(args);
    command.env_remove("RUST_LOG").env("NO_COLOR", "1");
    let mut program = Program::spawn(&mut command);
    let line = program.wait_for("listening on ");
    (program, line.rsplit(' ').next().and_then(|word| word.parse().ok()).expect("an address"))
}

/// Whether a request on a new connection is answered.
fn answers(address: SocketAddr) -> Option<()> {
    let mut peer = TcpStream::connect(address).expect("the backlog has room");
    peer.write_all(b"GET /healthz HTTP/1.1\r\nhost: h\r\n\r\n").expect("the peer is there");
    (peer.read(&mut [0; 64]).expect("no error") > 0).then_some(())
}

#[test]
fn a_full_table_of_descriptors_is_said_once_a_second_and_new_connections_wait() {
    let sidecar = ["sidecar", "inbound", "--endpoint", "127.0.0.1:1", "--listen", "127.0.0.1:0"];
    for args in [&["server", "--listen", "127.0.0.1:0"][..], &sidecar] {
        let started = Instant::now();
        let (mut program, address) = limited(args);
        let peers: Vec<_> = (0..DESCRIPTORS).map(|_| TcpStream::connect(address).expect("room")).collect();
        for _ in 0..3 {
            program.wait_for("Too many open files");
        }
        let said = program.said.iter().filter(|line| line.contains("Too many open files")).count() as u64;
        assert!(said <= started.elapsed().as_secs() + 1, "{:?} {:#?}", started.elapsed(), program.said);
        let warning = program.said.last().expect("a warning");
        assert!(warning.contains(&format!("accept on {address}")) && warning.contains("ulimit"), "{warning}");
        drop(peers);
        eventually("an answer", || answers(address));
    }
}
