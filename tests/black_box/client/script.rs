//! Options for scripts: what is sent, what is waited for, how messages are written, and what the
//! exit status tells.

use std::io::{ErrorKind, Write};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Error, Message};

use super::pipe::client;
use super::{Server, close, echo, read_text};
use crate::support::{Program, websockets_cli};

/// Sends number after number until the client closes.
fn count(mut peer: super::Peer) {
    peer.get_mut().set_read_timeout(Some(Duration::from_millis(5))).expect("not zero");
    for number in 1.. {
        peer.send(Message::text(number.to_string())).expect("the client reads");
        match peer.read() {
            Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => {}
            Ok(Message::Close(_)) => break,
            other => panic!("{other:?}"),
        }
    }
    while peer.read().is_ok() {}
}

#[test]
fn texts_of_the_command_line_are_sent_instead_of_the_input() {
    let server = Server::start(echo);
    let (status, stdout, _) = client(&["--send", "one", "--send", "-two", &server.uri], "not this\n");
    assert_eq!((status, stdout.as_str()), (Some(0), "one\n-two\n"));
}

#[test]
fn it_closes_after_so_many_replies_and_not_at_the_end_of_the_input() {
    let server = Server::start(count);
    let (status, stdout, _) = client(&["--replies", "3", &server.uri], "");
    assert!(stdout.starts_with("1\n2\n3\n"), "{stdout}");
    assert_eq!(status, Some(0));
}

#[test]
fn replies_that_never_come_are_awaited_until_the_timeout() {
    let server = Server::start(echo);
    let (status, stdout, stderr) =
        client(&["--replies", "2", "--wait", "1ms", "--timeout", "300ms", &server.uri], "only one\n");
    assert_eq!((status, stdout.as_str()), (Some(4), "only one\n"));
    assert!(stderr.ends_with("error: timed out: --timeout has passed\n"), "{stderr}");
}

#[test]
fn a_server_that_never_answers_the_handshake_is_timed_out_too() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let uri = format!("ws://{}", listener.local_addr().expect("it is bound"));
    assert_eq!(client(&["--timeout", "200ms", &uri], "").0, Some(4));
}

#[test]
fn an_expected_message_ends_it_well_and_its_absence_does_not() {
    let server = Server::start(count);
    assert_eq!(client(&["--expect", "^[5]$", &server.uri], "").0, Some(0));
    let server = Server::start(echo);
    assert_eq!(client(&["--expect", "never", "--wait", "50ms", &server.uri], "x\n").0, Some(4));
    let server = Server::start(|mut peer| close(&mut peer, CloseCode::Normal, ""));
    assert_eq!(client(&["--expect", "never", &server.uri], "x\n").0, Some(3));
    assert_eq!(client(&["--expect", "(", "ws://127.0.0.1:1"], "").0, Some(2));
}

#[test]
fn binary_input_is_one_message_or_several_and_its_bytes_come_back() {
    let server = Server::start(|mut peer| {
        let message = peer.read().expect("a message comes");
        peer.send(message.clone()).expect("the client reads");
        echo(peer);
        message
    });
    let (status, stdout, _) = client(&["--binary", "--raw-output", &server.uri], "a\nb\0");
    assert_eq!((status, stdout.as_str()), (Some(0), "a\nb\0"));
    assert_eq!(server.result(), Message::binary(b"a\nb\0".to_vec()));

    let server = Server::start(echo);
    let (status, stdout, _) = client(&["--frame-size", "2", &server.uri], "abc");
    assert_eq!((status, stdout.as_str()), (Some(0), "(binary) 6162\n(binary) 63\n"));
}

#[test]
fn in_a_pipe_no_line_is_a_command() {
    let server = Server::start(echo);
    let (status, stdout, _) = client(&[&server.uri], "/help\n//x\n");
    assert_eq!((status, stdout.as_str()), (Some(0), "/help\n//x\n"));
}

#[test]
fn records_tell_both_directions_and_the_close() {
    let server = Server::start(|mut peer| {
        let text = read_text(&mut peer);
        peer.send(Message::text(text)).expect("the client reads");
        close(&mut peer, CloseCode::from(4001), "gone\u{9b}");
    });
    let (status, stdout, _) = client(&["--output", "jsonl", &server.uri], "hi\n");
    assert_eq!(status, Some(3));
    assert!(!stdout.contains('\u{9b}'));
    let records: Vec<Value> = stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let told: Vec<_> = records
        .iter()
        .map(|record| (record["direction"].as_str(), record["opcode"].as_str(), record["payload"].as_str()))
        .collect();
    assert_eq!(told[0], (Some("sent"), Some("text"), Some("hi")));
    assert_eq!(told[1], (Some("received"), Some("text"), Some("hi")));
    let last = records.last().expect("a record");
    assert_eq!(
        (&last["opcode"], &last["close_code"], &last["version"]),
        (&"close".into(), &4001.into(), &1.into())
    );
}

/// The direction and the close code of each Close among the records of a run with these arguments.
fn closes(args: &[&str], uri: &str, status: i32) -> Vec<(String, u16)> {
    let (code, stdout, _) = client(&[&["--output", "jsonl"], args, &[uri]].concat(), "");
    assert_eq!(code, Some(status));
    let records = stdout.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let closes = records.filter(|record| record["opcode"] == "close").map(|record| {
        assert_eq!(record["payload"], "", "{record}");
        let code = record["close_code"].as_u64().and_then(|code| code.try_into().ok());
        (record["direction"].as_str().expect("a direction").to_owned(), code.expect("a code"))
    });
    closes.collect()
}

#[test]
fn records_tell_the_end_of_a_session_without_a_close_too() {
    let (sent, received) = (|code| ("sent".to_owned(), code), |code| ("received".to_owned(), code));
    let lost = Server::start(drop);
    assert_eq!(closes(&["--replies", "1"], &lost.uri, 3), [received(1006)]);
    let wrong = Server::start(|mut peer| {
        peer.get_mut().write_all(b"\x81\x01\xff").expect("the client reads");
        while peer.read().is_ok() {}
    });
    assert_eq!(closes(&["--replies", "1"], &wrong.uri, 3), [sent(1007), received(1006)]);
    let silent = Server::start(|peer| peer);
    let timeout = ["--replies", "1", "--timeout", "300ms"];
    assert_eq!(closes(&timeout, &silent.uri, 4), [sent(1000), received(1006)]);
    let odd = Server::start(|mut peer| {
        peer.get_mut().write_all(b"\x88\x05\x03\xe7odd").expect("the client reads");
        while peer.read().is_ok() {}
    });
    assert_eq!(closes(&["--replies", "1"], &odd.uri, 3), [received(999)]);
}

#[test]
fn exit_statuses_can_be_those_of_python() {
    let server = Server::start(|mut peer| close(&mut peer, CloseCode::Error, ""));
    assert_eq!(client(&["--exit-status", "compat", &server.uri], "").0, Some(0));
    assert_eq!(client(&["--exit-status", "compat", "foo"], "").0, Some(1));
}

#[test]
fn a_server_that_closes_but_keeps_the_connection_does_not_hold_it_up() {
    let (done, wait) = std::sync::mpsc::channel::<()>();
    let server = Server::start(move |mut peer| {
        peer.close(None).expect("the client is there");
        // Until the test is over.
        let _ = wait.recv();
    });
    let mut command = websockets_cli();
    let mut program = Program::spawn(command.args(["client", &server.uri]).stdin(Stdio::piped()));
    let _open = program.stdin();
    assert_eq!(program.end().code(), Some(3));
    drop(done);
}
