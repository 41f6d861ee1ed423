//! In a pipe: lines in, lines out, and an exit status that tells the end.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::process::{Output, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use tungstenite::Message;
use tungstenite::protocol::frame::coding::CloseCode;

use super::{Server, close, echo, read_text};
use crate::support::{Program, run, text, websockets_cli};

/// Runs the client and returns its exit status, standard output and standard error.
pub(super) fn client(args: &[&str], input: &str) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = run(&[&["client"], args].concat(), input);
    (status.code(), text(&stdout), text(&stderr))
}

/// A server that answers the request with this head and body.
pub(super) fn answering(answer: &'static str) -> Server<String> {
    Server::raw(move |mut stream| {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("a whole request comes");
            request.push(byte[0]);
        }
        stream.write_all(answer.as_bytes()).expect("the client reads");
        text(&request)
    })
}

#[test]
fn every_line_is_sent_and_standard_output_has_the_replies_alone() {
    let server = Server::start(echo);
    let uri = server.uri.clone();
    let (status, stdout, stderr) = client(&[&uri], "hello\n\n wor ld\r\nlast");
    assert_eq!(stdout, "hello\n\n wor ld\r\nlast\n");
    assert_eq!(stderr, format!("Connected to {uri}.\nConnection closed: 1000 (OK).\n"));
    assert_eq!(status, Some(0));
    assert_eq!(server.result(), Some(CloseCode::Normal));
}

#[test]
fn with_nothing_to_send_it_closes_at_once() {
    let server = Server::start(echo);
    let (status, stdout, _) = client(&["--wait", "1h", &server.uri], "");
    assert_eq!((status, stdout.as_str()), (Some(0), ""));
    assert_eq!(server.result(), Some(CloseCode::Normal));
}

#[test]
fn replies_that_do_not_come_are_awaited_for_as_long_as_asked() {
    let server = Server::start(|mut peer| {
        assert_eq!(read_text(&mut peer), "one");
        assert_eq!(read_text(&mut peer), "two");
        peer.send(Message::text("only reply")).expect("the client reads");
        echo(peer)
    });
    let (status, stdout, _) = client(&["--wait", "50ms", &server.uri], "one\ntwo\n");
    assert_eq!((status, stdout.as_str()), (Some(0), "only reply\n"));
    assert_eq!(server.result(), Some(CloseCode::Normal));
}

#[test]
fn a_server_that_closes_first_ends_it_while_there_may_be_more_input() {
    let server = Server::start(|mut peer| {
        peer.send(Message::text("bye")).expect("the client reads");
        close(&mut peer, CloseCode::Error, "boom\x07");
    });
    let mut command = websockets_cli();
    let mut program = Program::spawn(command.args(["client", &server.uri]).stdin(Stdio::piped()));
    let _open = program.stdin();
    program.wait_for("Connection closed: 1011 (internal error) boom\\x07.");
    let (status, stdout) = program.output();
    assert_eq!((status.code(), stdout.as_str()), (Some(3), "bye\n"));
}

#[test]
fn going_away_is_a_clean_end_and_a_lost_connection_is_not() {
    let away = Server::start(|mut peer| close(&mut peer, CloseCode::Away, ""));
    let (status, _, stderr) = client(&["--wait", "1h", &away.uri], "never answered\n");
    assert!(stderr.ends_with("Connection closed: 1001 (going away).\n"), "{stderr}");
    assert_eq!(status, Some(0));

    let lost = Server::start(drop);
    let (status, _, stderr) = client(&["--wait", "1h", &lost.uri], "never answered\n");
    assert!(stderr.ends_with("Connection closed: 1006 (abnormal closure [internal]).\n"), "{stderr}");
    assert_eq!(status, Some(3));
}

#[test]
fn a_message_over_one_mebibyte_is_refused_with_1009_and_one_of_that_size_is_not() {
    let server = Server::start(|mut peer| {
        peer.send(Message::text("x".repeat(1 << 20))).expect("the client reads");
        peer.send(Message::text("x".repeat((1 << 20) + 1))).expect("the client reads");
        echo(peer)
    });
    let (status, stdout, stderr) = client(&["--wait", "1h", &server.uri], "one\ntwo\n");
    assert_eq!((status, stdout.len()), (Some(3), (1 << 20) + 1));
    let told =
        "The server sent a message of 1048577 bytes, over the limit of 1048576 bytes: --max-message-size";
    assert!(stderr.contains(told), "{stderr}");
    assert!(stderr.ends_with("Connection closed: 1006 (abnormal closure [internal]).\n"), "{stderr}");
    assert_eq!(server.result(), Some(CloseCode::Size));
}

#[test]
fn a_hundred_thousand_lines_come_back_in_order() {
    let server = Server::start(echo);
    let mut lines = String::new();
    for number in 0..100_000 {
        writeln!(lines, "line {number}").expect("memory");
    }
    let output = {
        let mut command = websockets_cli();
        let mut program = Program::spawn(command.args(["client", &server.uri]).stdin(Stdio::piped()));
        let mut stdin = program.stdin();
        let input = lines.clone();
        std::thread::spawn(move || stdin.write_all(input.as_bytes()));
        program.output()
    };
    assert_eq!(output.0.code(), Some(0));
    assert!(output.1 == lines, "{} bytes of {} came back", output.1.len(), lines.len());
}

#[test]
fn a_reader_that_has_seen_enough_ends_it_quietly() {
    let server = Server::start(|mut peer| while peer.send(Message::text("more")).is_ok() {});
    let mut child = websockets_cli()
        .args(["client", &server.uri])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("a line comes");
    assert_eq!(line, "more\n");
    let _open = child.stdin.take();
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(text(&output.stderr), format!("Connected to {}.\n", server.uri));
}

#[test]
fn the_server_is_left_to_end_the_tcp_connection() {
    let server = Server::start(|mut peer| {
        while !matches!(peer.read(), Ok(Message::Close(_))) {}
        peer.flush().expect_err("the closing handshake is complete");
        let stream = peer.get_mut();
        stream.set_read_timeout(Some(Duration::from_millis(100))).expect("not zero");
        stream.read(&mut [0]).expect_err("nothing comes, not even the end").kind()
    });
    let (status, ..) = client(&[&server.uri], "");
    assert_eq!(status, Some(0));
    assert_eq!(server.result(), ErrorKind::WouldBlock);
}

#[test]
fn a_signal_closes_what_can_be_closed_and_tells_in_the_exit_status() {
    for (signal, status) in [(Signal::SIGTERM, 143), (Signal::SIGINT, 130)] {
        let server = Server::start(echo);
        let mut command = websockets_cli();
        let mut program = Program::spawn(command.args(["client", &server.uri]).stdin(Stdio::piped()));
        let mut stdin = program.stdin();
        stdin.write_all(b"hello\n").expect("it reads");
        program.wait_for("Connected to");
        program.signal(signal);
        assert_eq!(program.end().code(), Some(status));
        assert_eq!(server.result(), Some(CloseCode::Normal));
    }
}

#[test]
fn the_host_header_is_the_uri_s_wherever_it_connects_to() {
    let server = answering("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n");
    let address = server.address.to_string();
    let (status, ..) =
        client(&["ws://server.default.svc:8080/a?b", "--connect-to", &address, "-H", "X-Who: me"], "");
    assert_eq!(status, Some(1));
    let request = server.result();
    assert!(request.starts_with("GET /a?b HTTP/1.1\r\nhost: server.default.svc:8080\r\n"), "{request}");
    assert!(request.contains("\r\nx-who: me\r\n"), "{request}");
}

#[test]
fn input_that_is_not_text_is_named_after_what_came_before_it() {
    let server = Server::start(echo);
    let mut command = websockets_cli();
    let mut program = Program::spawn(command.args(["client", &server.uri]).stdin(Stdio::piped()));
    program.stdin().write_all(b"fine\n\xff\n").expect("it reads");
    program.wait_for("error: line 2 of standard input is not UTF-8");
    let (status, stdout) = program.output();
    assert_eq!((status.code(), stdout.as_str()), (Some(2), "fine\n"));
}

#[test]
fn a_compressed_message_over_the_limit_is_told_with_its_whole_size_and_in_jsonl_with_the_close() {
    let (_server, address) = Program::listening(&["server", "--listen", "127.0.0.1:0"]);
    let line = "x".repeat(2_000_000);
    let (status, stdout, stderr) = client(&["--output", "jsonl", &format!("ws://{address}")], &line);
    assert_eq!(status, Some(3));
    let told =
        "The server sent a message of 2000000 bytes, over the limit of 1048576 bytes: --max-message-size";
    assert!(stderr.contains(told), "{stderr}");
    let closes: Vec<serde_json::Value> = stdout
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .filter(|record: &serde_json::Value| record["opcode"] == "close" && record["direction"] == "sent")
        .collect();
    assert_eq!(closes.len(), 1, "{closes:?}");
    assert_eq!(closes[0]["close_code"], 1009);
    let reason = closes[0]["payload"].as_str().expect("a text");
    assert!(reason.contains("over the limit of 1048576 bytes"), "{reason}");
}

#[test]
fn what_the_server_does_not_take_is_told_with_its_code_and_its_reason() {
    let limited = ["server", "--listen", "127.0.0.1:0", "--max-message-size", "1000"];
    let (_server, address) = Program::listening(&limited);
    let (status, _, stderr) = client(&[&format!("ws://{address}")], &"x".repeat(2000));
    assert_eq!(status, Some(3));
    assert!(
        stderr.contains("Connection closed: 1009 (message too big) ") && stderr.contains("> 1000"),
        "{stderr}"
    );
}
