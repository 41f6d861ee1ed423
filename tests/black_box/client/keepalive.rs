//! What keeps a session going, and what ends one that is none any more.

use std::io::Read;
use std::net::TcpStream;
use std::process::Stdio;
use std::sync::mpsc::channel;

use tungstenite::Message;
use tungstenite::protocol::frame::coding::CloseCode;

use super::pipe::client;
use super::terminal::Terminal;
use super::{Server, close, echo};
use crate::support::{Program, websockets_cli};

/// Reads a short frame as it is: its first byte and its payload.
fn read_frame(stream: &mut TcpStream) -> (u8, Vec<u8>) {
    let mut header = [0; 6];
    stream.read_exact(&mut header).expect("a frame comes");
    let mut payload = vec![0; usize::from(header[1] & 0x7f)];
    stream.read_exact(&mut payload).expect("a whole frame comes");
    for (position, byte) in payload.iter_mut().enumerate() {
        *byte ^= header[2 + position % 4];
    }
    (header[0], payload)
}

/// A client whose standard input stays open.
fn start(args: &[&str]) -> Program {
    Program::spawn(websockets_cli().arg("client").args(args).stdin(Stdio::piped()))
}

#[test]
fn a_server_that_answers_no_ping_is_left_with_1011() {
    let server = Server::start(|mut peer| {
        let stream = peer.get_mut();
        [(); 2].map(|()| read_frame(stream))
    });
    let mut program = start(&["--ping-interval", "10ms", "--ping-timeout", "10ms", &server.uri]);
    let _open = program.stdin();
    let [(ping, _), (end, payload)] = server.result();
    assert_eq!((ping, end), (0x89, 0x88));
    assert_eq!(payload, [&1011_u16.to_be_bytes()[..], b"keepalive ping timeout"].concat());
    // As Python's client shows it: the server has not closed.
    program.wait_for("Connection closed: 1006 (abnormal closure [internal]).");
    assert_eq!(program.end().code(), Some(3));
}

#[test]
fn pings_that_are_answered_go_on_and_nobody_is_told_of_them() {
    let server = Server::start(|mut peer| {
        for _ in 0..3 {
            assert!(peer.read().expect("a ping comes").is_ping());
        }
        close(&mut peer, CloseCode::Normal, "");
    });
    let mut program =
        start(&["--ping-interval", "10ms", "--ping-timeout", "20s", "--output", "jsonl", &server.uri]);
    let _open = program.stdin();
    let (status, stdout) = program.output();
    assert_eq!(status.code(), Some(0));
    assert_eq!(stdout.lines().count(), 1, "{stdout}");
    server.result();
}

#[test]
fn without_an_interval_there_is_no_ping() {
    let server = Server::start(|mut peer| peer.read().expect("something comes"));
    let args = ["--ping-interval", "none", "--wait", "0s", &server.uri];
    assert_eq!(client(&args, "first\n").0, Some(3));
    assert_eq!(server.result(), Message::text("first"));
}

#[test]
fn how_long_a_message_may_be_can_be_said() {
    let send = |size: usize| {
        Server::start(move |mut peer| {
            peer.send(Message::binary(vec![0; size])).expect("the client reads");
            echo(peer)
        })
    };
    let server = send(5);
    let (status, _, stderr) = client(&["-v", "--max-message-size", "4", "--replies", "2", &server.uri], "");
    assert!(stderr.contains("\n* closing with 1009 (message too big): "), "{stderr}");
    assert_eq!((status, server.result()), (Some(3), Some(CloseCode::Size)));
    let server = send((1 << 20) + 1);
    let args = ["--max-message-size", "2000000", "--replies", "1", "--raw-output", &server.uri];
    let (status, stdout, _) = client(&args, "");
    assert_eq!((status, stdout.len()), (Some(0), (1 << 20) + 1));
}

#[test]
fn frames_are_told_above_the_prompt() {
    let (pings, may_ping) = channel();
    let server = Server::start(move |mut peer| {
        for ping in may_ping {
            peer.send(Message::Ping(ping)).expect("the client reads");
        }
    });
    let args = ["-vv", "--no-compression", "--no-history", &server.uri];
    let mut terminal = Terminal::with(80, &args, std::path::Path::new("/nowhere"));
    terminal.until("the prompt", |terminal| terminal.text().ends_with("\n>"));
    terminal.type_keys("half a li");
    terminal.until("what is typed", |terminal| terminal.text().ends_with("\n> half a li"));
    pings.send("are you there".into()).expect("the server waits");
    terminal.until("both frames", |terminal| {
        let text = terminal.text();
        let told: Vec<_> = text.lines().rev().take(3).collect();
        told[0] == "> half a li"
            && told[1].starts_with("> frame pong opcode=10 fin=1 rsv=000 mask=")
            && told[2] == "< frame ping opcode=9 fin=1 rsv=000 mask=none length=13"
    });
}
