//! `websockets-cli server`.

mod health;
mod memory;
mod pod;
mod tls;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Error, Message, WebSocket};

use crate::support::{Program, TIMEOUT, run, text, websockets_cli};

const UPGRADE: &str = "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

fn server(options: &[&str]) -> (Program, SocketAddr) {
    Program::listening(&[&["server", "--listen", "127.0.0.1:0"], options].concat())
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the server accepts");
    stream.set_read_timeout(Some(TIMEOUT)).expect("a socket");
    stream
}

fn session(address: SocketAddr) -> WebSocket<TcpStream> {
    let uri = format!("ws://{address}/any/path");
    tungstenite::client(uri, connect(address)).expect("the opening handshake succeeds").0
}

/// Sends a request and reads up to the end of the connection.
fn answer(address: SocketAddr, request: &str) -> String {
    let mut stream = connect(address);
    stream.write_all(request.as_bytes()).expect("the server reads");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("the connection ends without a reset");
    text(&answer)
}

/// Reads up to the end of a head, not a byte further.
fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("a head");
        head.extend(byte);
    }
    text(&head)
}

fn expect(stream: &mut TcpStream, bytes: &[u8]) {
    let mut read = vec![0; bytes.len()];
    stream.read_exact(&mut read).expect("an answer");
    assert_eq!(text(&read), text(bytes));
}

/// Reads the Close that a drain sends, and the end of the session after it.
fn expect_going_away(session: &mut WebSocket<TcpStream>) {
    match session.read() {
        Ok(Message::Close(Some(frame))) => assert_eq!(frame.code, CloseCode::Away),
        other => panic!("expected a Close, got {other:?}"),
    }
    assert!(matches!(session.read(), Err(Error::ConnectionClosed)));
}

#[test]
fn signals_that_end_nothing_are_ignored_with_a_warning() {
    let (mut server, address) = server(&[]);
    let mut session = session(address);
    for (signal, warning) in
        [(Signal::SIGHUP, "caught and ignored SIGHUP"), (Signal::SIGUSR1, "SIGUSR1 is ignored")]
    {
        server.signal(signal);
        server.wait_for(warning);
        session.send(Message::text("hello")).unwrap();
        assert_eq!(session.read().unwrap(), Message::text("hello"));
    }
    server.signal(Signal::SIGTERM);
    expect_going_away(&mut session);
    assert!(server.end().success());
}

#[test]
fn text_binary_and_empty_messages_come_back() {
    let (_server, address) = server(&[]);
    let mut session = session(address);
    for message in [
        Message::text("hello"),
        Message::text("wörld ✓"),
        Message::binary(vec![0, 255, 128]),
        Message::text(""),
        Message::binary(vec![7; 3 << 20]),
    ] {
        session.send(message.clone()).unwrap();
        assert!(session.read().unwrap() == message);
    }
    session.send(Message::Ping(b"are you there".as_slice().into())).unwrap();
    assert_eq!(session.read().unwrap(), Message::Pong(b"are you there".as_slice().into()));
    session.close(None).unwrap();
    assert!(matches!(session.read(), Ok(Message::Close(None))));
    // The client's side of tungstenite waits for the end of the connection, which is the server's
    // to begin.
    assert!(matches!(session.read(), Err(Error::ConnectionClosed)));
}

#[test]
fn frames_in_the_packet_of_the_opening_handshake_are_answered() {
    let (_server, address) = server(&[]);
    let early = b"\x81\x85\0\0\0\0hello\x01\x83\0\0\0\0one\x80\x83\0\0\0\0two\x88\x82\0\0\0\0\x03\xe8";
    let mut stream = connect(address);
    stream.write_all(&[UPGRADE.as_bytes(), early].concat()).unwrap();
    let head = read_head(&mut stream);
    assert!(head.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{head}");
    assert!(head.contains("sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{head}");
    let mut frames = Vec::new();
    stream.read_to_end(&mut frames).unwrap();
    assert_eq!(text(&frames), text(b"\x81\x05hello\x81\x06onetwo\x88\x02\x03\xe8"));
}

#[test]
fn an_opening_handshake_byte_by_byte_succeeds() {
    let (_server, address) = server(&[]);
    let mut stream = connect(address);
    stream.set_nodelay(true).unwrap();
    for byte in UPGRADE.bytes() {
        stream.write_all(&[byte]).unwrap();
    }
    assert!(read_head(&mut stream).starts_with("HTTP/1.1 101 "));
}

#[test]
fn a_compressed_message_comes_back_compressed() {
    let (_server, address) = server(&[]);
    let mut stream = connect(address);
    let offer = "\r\nSec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n";
    stream.write_all(UPGRADE.replace("\r\n\r\n", offer).as_bytes()).unwrap();
    let head = read_head(&mut stream);
    assert!(head.contains("\r\nsec-websocket-extensions: permessage-deflate\r\n"), "{head}");
    // `Hello` of RFC 7692 section 7.2.3.1.
    stream.write_all(b"\xc1\x87\0\0\0\0\xf2\x48\xcd\xc9\xc9\x07\x00").unwrap();
    let mut echo = [0; 9];
    stream.read_exact(&mut echo).unwrap();
    assert_eq!(&echo, b"\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00");
}

#[test]
fn a_plain_request_needs_a_host_too_and_only_one() {
    let (_server, address) = server(&[]);
    for hosts in ["", "Host: a\r\nHost: b\r\n"] {
        let request = format!("GET /healthz HTTP/1.1\r\n{hosts}Connection: close\r\n\r\n");
        let answer = answer(address, &request);
        assert!(
            answer.starts_with("HTTP/1.1 400 ") && answer.ends_with("Host field is needed\n"),
            "{answer}"
        );
    }
    assert!(answer(address, "GET /healthz HTTP/1.0\r\n\r\n").contains(" 200 OK\r\n"));
}

#[test]
fn a_close_with_1014_is_answered_and_counted_as_such() {
    let (_server, address) = server(&[]);
    let mut stream = connect(address);
    let frames = b"\x81\x81\0\0\0\0x\x88\x82\0\0\0\0\x03\xf6";
    stream.write_all(&[UPGRADE.as_bytes(), frames].concat()).unwrap();
    read_head(&mut stream);
    let mut answers = Vec::new();
    stream.read_to_end(&mut answers).unwrap();
    assert_eq!(text(&answers), text(b"\x81\x01x\x88\x02\x03\xf6"));
    pod::expect_metric(address, "closes_total{code=\"1014\"}", 1.0);
}

#[test]
fn a_request_that_is_not_finished_in_time_hears_so() {
    let (_server, address) = server(&["--handshake-timeout", "50ms"]);
    let answer = answer(address, "GET / HTTP/1.1\r\n");
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.ends_with("within 50ms\n"), "{answer}");
}

#[test]
fn the_health_check_answers_and_keeps_the_connection_for_a_session() {
    let (_server, address) = server(&[]);
    let mut stream = connect(address);
    for _ in 0..2 {
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let head = read_head(&mut stream);
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.contains("content-length: 3\r\n"), "{head}");
        expect(&mut stream, b"OK\n");
    }
    stream.write_all(UPGRADE.replace("13\r\n", "12\r\n").as_bytes()).unwrap();
    let head = read_head(&mut stream);
    assert!(head.starts_with("HTTP/1.1 426 ") && head.contains("sec-websocket-version: 13\r\n"), "{head}");
    let mut body = vec![0; "Sec-WebSocket-Version has to be 13\n".len()];
    stream.read_exact(&mut body).unwrap();
    stream.write_all(&[UPGRADE.as_bytes(), b"\x81\x85\0\0\0\0early"].concat()).unwrap();
    assert!(read_head(&mut stream).starts_with("HTTP/1.1 101 "));
    stream.write_all(b"\x81\x84\0\0\0\0late\x88\x80\0\0\0\0").unwrap();
    expect(&mut stream, b"\x81\x05early\x81\x04late\x88\x00");
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
}

#[test]
fn plain_http_gets_plain_answers() {
    let (_server, address) = server(&[]);
    for (request, status, part) in [
        ("GET /healthz HTTP/1.1", "200 OK", "\r\n\r\nOK\n"),
        ("HEAD /healthz HTTP/1.1", "200 OK", "content-length: 3\r\n"),
        ("POST /healthz HTTP/1.1", "405 Method Not Allowed", "allow: GET, HEAD\r\n"),
        ("GET / HTTP/1.1", "426 Upgrade Required", "upgrade: websocket\r\n"),
    ] {
        let answer = answer(address, &format!("{request}\r\nHost: localhost\r\nConnection: close\r\n\r\n"));
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")) && answer.contains(part), "{answer}");
    }
}

#[test]
fn a_refused_handshake_hears_a_status_and_a_sentence() {
    let (_server, address) = server(&[]);
    let long = format!("GET /{} HTTP/1.1", "a".repeat(100_000));
    let big = format!("Host: localhost\r\nX: {}", "a".repeat(100_000));
    for (part, instead, status, sentence) in [
        ("GET / HTTP/1.1", "POST / HTTP/1.1", "405 Method Not Allowed", "is GET"),
        ("GET / HTTP/1.1", "GET / HTTP/1.0", "426 Upgrade Required", "needs HTTP/1.1"),
        ("GET / HTTP/1.1", "GET / HTTP/2.0", "400 Bad Request", "not an HTTP/1.1 head"),
        ("GET / HTTP/1.1", "garbage", "400 Bad Request", "not an HTTP/1.1 head"),
        ("GET / HTTP/1.1", &long, "414 URI Too Long", "too long"),
        ("Host: localhost", &big, "431 Request Header Fields Too Large", "more than 61440 bytes"),
        ("Host: localhost", &"X: y\r\n".repeat(200), "431 Request Header Fields Too Large", "100 fields"),
        ("Host: localhost\r\n", "", "400 Bad Request", "Host"),
        ("Upgrade: websocket", "Upgrade: h2c", "426 Upgrade Required", "does not ask for websocket"),
        ("Upgrade: websocket", "Upgrade:\r\n websocket", "400 Bad Request", "not an HTTP/1.1 head"),
        ("Connection: Upgrade", "Connection: close", "426 Upgrade Required", "does not list Upgrade"),
        ("Version: 13", "Version: 8", "426 Upgrade Required", "has to be 13"),
        ("dGhlIHNhbXBsZSBub25jZQ==", "short", "400 Bad Request", "Sec-WebSocket-Key"),
        ("\r\n\r\n", "\r\nContent-Length: 5\r\n\r\nhello", "400 Bad Request", "no body"),
    ] {
        let answer = answer(address, &UPGRADE.replacen(part, instead, 1));
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
        assert!(head.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{instead:.40}: {answer}");
        assert!(body.contains(sentence) && body.ends_with('\n'), "{instead:.40}: {answer}");
        assert!(head.contains(&format!("content-length: {}", body.len())), "{head}");
    }
}

#[test]
fn probes_that_say_nothing_leave_no_trace() {
    let (mut server, address) = server(&[]);
    for _ in 0..10 {
        drop(connect(address));
    }
    let mut half = connect(address);
    half.write_all(b"GET /hea").unwrap();
    half.shutdown(Shutdown::Write).unwrap();
    assert_eq!(half.read(&mut [0]).unwrap(), 0);
    let mut alive = session(address);
    alive.send(Message::text("still there")).unwrap();
    assert_eq!(alive.read().unwrap(), Message::text("still there"));
    drop(alive);
    server.signal(Signal::SIGTERM);
    let (status, output) = server.output();
    assert!(status.success());
    assert_eq!((output.as_str(), server.said.len()), ("", 1), "{:?}", server.said);
}

fn server_with_rust_log(directives: &str) -> Program {
    let mut command = websockets_cli();
    Program::spawn(command.args(["server", "--listen", "127.0.0.1:0"]).env("RUST_LOG", directives))
}

#[test]
fn rust_log_makes_it_say_more() {
    for directives in ["debug", "websockets_cli::server=debug,tokio=off"] {
        let mut server = server_with_rust_log(directives);
        let listening = server.wait_for("listening on ");
        let address = listening.trim_start_matches("listening on ").parse().expect("an address");
        answer(address, &UPGRADE.replace("Version: 13", "Version: 8"));
        server.wait_for("rejected: ");
    }
}

#[test]
fn the_events_of_a_session_carry_its_id_its_peer_and_its_protocol() {
    let mut server = server_with_rust_log("websockets_cli::server=debug");
    let listening = server.wait_for("listening on ");
    let address = listening.trim_start_matches("listening on ").parse().expect("an address");
    let mut client = connect(address);
    let request = UPGRADE.replace("\r\n\r\n", "\r\nX-Request-Id: the-one\r\n\r\n");
    client.write_all(request.as_bytes()).unwrap();
    let peer = client.local_addr().unwrap();
    let span = format!(" session{{id=\"the-one\" protocol=HTTP/1.1 peer={peer}}}: ");
    server.wait_for(&format!("{span}open"));
    drop(client);
    server.wait_for(&format!("{span}closed"));
}

#[test]
fn a_rust_log_that_is_none_is_named_and_changes_nothing() {
    let mut server = server_with_rust_log("server=loud");
    server.wait_for("RUST_LOG=server=loud: ");
    let listening = server.wait_for("listening on ");
    let address = listening.trim_start_matches("listening on ").parse().expect("an address");
    answer(address, &UPGRADE.replace("Version: 13", "Version: 8"));
    server.signal(Signal::SIGTERM);
    assert!(server.output().0.success());
    // Only warnings are shown, as without it.
    assert!(!server.said.iter().any(|line| line.contains("rejected: ")), "{:?}", server.said);
}

#[test]
fn a_delayed_answer_holds_up_no_other_session() {
    let (_server, address) = server(&["--delay", "300ms", "--workers", "1"]);
    let mut sessions: Vec<_> = (0..10).map(|_| session(address)).collect();
    let start = Instant::now();
    for session in &mut sessions {
        session.send(Message::text("hello")).unwrap();
    }
    for session in &mut sessions {
        assert_eq!(session.read().unwrap(), Message::text("hello"));
    }
    let elapsed = start.elapsed();
    // One after the other would take three seconds.
    assert!((Duration::from_millis(300)..Duration::from_millis(2500)).contains(&elapsed), "{elapsed:?}");
}

#[test]
fn sigterm_closes_every_session_with_1001_and_ends_with_0() {
    let (mut server, address) = server(&["--delay", "200ms", "--workers", "2"]);
    let mut idle: Vec<_> = (0..5).map(|_| session(address)).collect();
    let mut busy = session(address);
    for message in ["one", "two"] {
        busy.send(Message::text(message)).unwrap();
    }
    // With the first answer the second message has been received as well.
    assert_eq!(busy.read().unwrap(), Message::text("one"));
    let _unfinished = connect(address);
    server.signal(Signal::SIGTERM);
    for session in &mut idle {
        expect_going_away(session);
    }
    assert_eq!(busy.read().unwrap(), Message::text("two"));
    expect_going_away(&mut busy);
    assert_eq!(server.end().code(), Some(0));
}

#[test]
fn a_drain_ends_in_time_even_if_a_session_does_not_answer() {
    for (options, second_signal) in [(["--drain-timeout", "100ms"], false), (["--drain-timeout", "1h"], true)]
    {
        let (mut server, address) = server(&options);
        let mut deaf = session(address);
        server.signal(Signal::SIGINT);
        expect_close_without_answer(&mut deaf);
        if second_signal {
            server.signal(Signal::SIGTERM);
        }
        assert_eq!(server.end().code(), Some(0));
    }
}

/// Reads the Close off the socket, so that nothing answers it.
fn expect_close_without_answer(session: &mut WebSocket<TcpStream>) {
    let mut opcode = [0];
    session.get_mut().read_exact(&mut opcode).unwrap();
    assert_eq!(opcode, [0x88]);
}

#[test]
fn an_address_in_use_is_wrong_usage() {
    for (theirs, ours) in [("1", "1"), ("1", "2"), ("2", "1"), ("2", "2")] {
        let (_server, address) = server(&["--workers", theirs]);
        let output = run(&["server", "--listen", &address.to_string(), "--workers", ours], "");
        assert_eq!(output.status.code(), Some(2));
        let said = text(&output.stderr);
        assert!(said.starts_with(&format!("error: listen on {address}: Address already in use")), "{said}");
    }
}

#[test]
fn options_that_mean_nothing_are_wrong_usage() {
    for options in
        [["--delay", "5 parsecs"], ["--workers", "0"], ["--listen", "here"], ["--drain-timeout", "soon"]]
    {
        let output = run(&[&["server"], options.as_slice()].concat(), "");
        assert_eq!(output.status.code(), Some(2), "{options:?}");
        assert!(text(&output.stderr).contains(options[0]), "{options:?}");
    }
}
