//! What a pod's surroundings ask of the server, and what it is told to do to its clients.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Error, Message};

use super::{UPGRADE, answer, connect, expect_close_without_answer, read_head, server, session};
use crate::support::{run, text};

/// What GET gets.
fn get(address: SocketAddr, path: &str) -> String {
    answer(address, &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"))
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").expect("a head").1
}

/// The value of a sample of `/metrics`.
fn metric(address: SocketAddr, name: &str) -> Option<f64> {
    let page = get(address, "/metrics");
    let line = body(&page).lines().find_map(|line| line.strip_prefix(&format!("websockets_server_{name} ")));
    line.map(|value| value.parse().expect("a number"))
}

/// Asks until the sample has this value: a session is counted as ended when the server has seen its
/// end.
pub(super) fn expect_metric(address: SocketAddr, name: &str, value: f64) {
    let deadline = std::time::Instant::now() + crate::support::TIMEOUT;
    while metric(address, name) != Some(value) {
        let page = get(address, "/metrics");
        assert!(std::time::Instant::now() < deadline, "{name} is not {value}:\n{page}");
        std::thread::yield_now();
    }
}

#[test]
fn a_draining_server_is_healthy_and_not_ready_until_the_last_session_has_ended() {
    let (mut server, address) = server(&["--workers", "3", "--drain-timeout", "1h"]);
    let mut kept = connect(address);
    let probe = b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    kept.write_all(probe).unwrap();
    assert!(read_head(&mut kept).starts_with("HTTP/1.1 200 "));
    kept.read_exact(&mut [0; 3]).unwrap();
    let mut last = session(address);
    server.signal(Signal::SIGTERM);
    expect_close_without_answer(&mut last);
    // Whichever worker it is that is asked.
    for _ in 0..10 {
        assert!(get(address, "/readyz").starts_with("HTTP/1.1 503 "));
        assert!(get(address, "/healthz").starts_with("HTTP/1.1 200 "));
        let refused = answer(address, UPGRADE);
        assert!(refused.starts_with("HTTP/1.1 503 ") && refused.ends_with("shutting down\n"), "{refused}");
    }
    kept.write_all(probe).unwrap();
    assert!(read_head(&mut kept).starts_with("HTTP/1.1 503 "));
    drop(last);
    assert_eq!(server.end().code(), Some(0));
}

#[test]
fn metrics_count_sessions_messages_bytes_closes_and_refusals() {
    let (_server, address) = server(&["--workers", "2"]);
    let page = get(address, "/metrics");
    assert!(page.contains("content-type: text/plain; version=0.0.4"), "{page}");
    assert_eq!(metric(address, "sessions_open"), Some(0.0));
    let mut sessions: Vec<_> = (0..3).map(|_| session(address)).collect();
    for session in &mut sessions {
        session.send(Message::text("hello")).unwrap();
        session.send(Message::binary(vec![0; 10])).unwrap();
        assert!(session.read().unwrap().is_text() && session.read().unwrap().is_binary());
    }
    for (name, value) in [
        ("sessions_open", 3.0),
        ("sessions_total{http_version=\"1.1\"}", 3.0),
        ("received_messages_total", 6.0),
        ("received_bytes_total", 45.0),
        ("sent_messages_total", 6.0),
        ("sent_bytes_total", 45.0),
        ("session_duration_seconds_count", 0.0),
    ] {
        assert_eq!(metric(address, name), Some(value), "{name}");
    }
    let mut last = sessions.pop().unwrap();
    last.close(None).unwrap();
    while !matches!(last.read(), Err(Error::ConnectionClosed)) {}
    drop(sessions);
    answer(address, &UPGRADE.replace("Version: 13", "Version: 8"));
    for (name, value) in [
        ("sessions_open", 0.0),
        ("closes_total{code=\"1005\"}", 1.0),
        ("closes_total{code=\"1006\"}", 2.0),
        ("handshake_refusals_total{reason=\"websocket_version\"}", 1.0),
        ("session_duration_seconds_bucket{le=\"+Inf\"}", 3.0),
        ("session_duration_seconds_count", 3.0),
    ] {
        expect_metric(address, name, value);
    }
}

#[test]
fn info_says_what_the_server_saw() {
    let (_server, address) = server(&["--pod-name", "pod-1", "--node-name", "node-1"]);
    let mut stream = connect(address);
    stream
        .write_all(
            b"GET /info?x=1 HTTP/1.1\r\nHost: example.com\r\nX-A: 1\r\nX-A: 2\r\nConnection: close\r\n\r\n",
        )
        .unwrap();
    let peer = stream.local_addr().unwrap().to_string();
    let head = read_head(&mut stream);
    assert!(head.contains("content-type: application/json\r\n"), "{head}");
    let mut body = String::new();
    stream.read_to_string(&mut body).unwrap();
    let info: Value = serde_json::from_str(&body).unwrap();
    for (pointer, value) in [
        ("/method", "GET"),
        ("/target", "/info?x=1"),
        ("/version", "HTTP/1.1"),
        ("/headers/host", "example.com"),
        ("/headers/x-a", "1, 2"),
        ("/peer", &peer),
        ("/pod/name", "pod-1"),
        ("/pod/node", "node-1"),
    ] {
        assert_eq!(info.pointer(pointer).and_then(Value::as_str), Some(value), "{pointer} of {body}");
    }
}

#[test]
fn only_so_many_connections_are_sessions_at_the_same_time() {
    let (_server, address) = server(&["--max-connections", "2", "--workers", "2"]);
    let first = session(address);
    let _second = session(address);
    let refused = answer(address, UPGRADE);
    assert!(
        refused.starts_with("HTTP/1.1 503 ") && refused.ends_with("too many sessions are open\n"),
        "{refused}"
    );
    assert!(get(address, "/readyz").starts_with("HTTP/1.1 200 "));
    drop(first);
    expect_metric(address, "sessions_open", 1.0);
    session(address);
}

#[test]
fn messages_and_frames_have_limits() {
    let (_server, address) = server(&["--max-message-size", "10", "--max-frame-size", "5"]);
    for (fits, too_long) in [
        (b"\x82\x85\0\0\0\0abcde".as_slice(), b"\x82\x86\0\0\0\0".as_slice()),
        (
            b"\x02\x85\0\0\0\0abcde\x80\x85\0\0\0\0fghij",
            b"\x02\x85\0\0\0\0abcde\0\x85\0\0\0\0fghij\x80\x81\0\0\0\0k",
        ),
    ] {
        let mut session = session(address);
        session.get_mut().write_all(fits).unwrap();
        assert!(session.read().unwrap().is_binary());
        session.get_mut().write_all(too_long).unwrap();
        match session.read() {
            Ok(Message::Close(Some(frame))) => assert_eq!(frame.code, CloseCode::Size),
            other => panic!("expected a Close, got {other:?}"),
        }
    }
}

#[test]
fn silent_clients_are_pinged_and_given_up() {
    let (_server, address) = server(&["--ping-interval", "50ms", "--ping-timeout", "50ms"]);
    let mut deaf = connect(address);
    deaf.write_all(UPGRADE.as_bytes()).unwrap();
    read_head(&mut deaf);
    let mut said = Vec::new();
    deaf.read_to_end(&mut said).unwrap();
    assert!(said.starts_with(b"\x89\0\x88") && said[4..6] == 1011_u16.to_be_bytes(), "{said:?}");
    let (_server, address) = super::server(&["--idle-timeout", "50ms"]);
    match session(address).read() {
        Ok(Message::Close(Some(frame))) => assert_eq!(frame.code, CloseCode::Away),
        other => panic!("expected a Close, got {other:?}"),
    }
}

#[test]
fn of_the_subprotocols_offered_the_first_that_is_supported_is_chosen() {
    let (_server, address) = server(&["--subprotocol", "chat", "--subprotocol", "mqtt"]);
    for (offer, choice) in [
        ("Sec-WebSocket-Protocol: x, mqtt, chat\r\n", Some("mqtt")),
        ("Sec-WebSocket-Protocol: x\r\n", None),
        ("", None),
    ] {
        let mut stream = connect(address);
        stream.write_all(UPGRADE.replace("\r\n\r\n", &format!("\r\n{offer}\r\n")).as_bytes()).unwrap();
        let head = read_head(&mut stream);
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        let chosen = head.lines().find_map(|line| line.strip_prefix("sec-websocket-protocol: "));
        assert_eq!(chosen, choice, "{offer}");
    }
}

#[test]
fn browsers_come_from_the_origins_that_are_allowed() {
    let (_server, address) =
        server(&["--origin", "https://example.com", "--origin", "http://localhost:3000"]);
    for (origin, status) in [
        ("Origin: https://example.com\r\n", "101"),
        ("Origin: http://LOCALHOST:3000\r\n", "101"),
        ("Origin: https://example.com.evil\r\n", "403"),
        ("Origin: null\r\n", "403"),
        ("", "101"),
    ] {
        let mut stream = connect(address);
        stream.write_all(UPGRADE.replace("\r\n\r\n", &format!("\r\n{origin}\r\n")).as_bytes()).unwrap();
        let head = read_head(&mut stream);
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{origin}: {head}");
    }
}

#[test]
fn every_handshake_is_rejected_on_purpose_and_nothing_else_is() {
    let (_server, address) = server(&["--reject", "418"]);
    assert!(answer(address, UPGRADE).starts_with("HTTP/1.1 418 "));
    assert!(get(address, "/readyz").starts_with("HTTP/1.1 200 "));
    let malformed = answer(address, &UPGRADE.replace("ZQ==", "Z"));
    assert!(malformed.starts_with("HTTP/1.1 400 "), "{malformed}");
}

#[test]
fn sessions_are_closed_on_purpose() {
    let (_server, address) = server(&["--close-after", "1:4321"]);
    let mut session = session(address);
    session.send(Message::text("hello")).unwrap();
    assert_eq!(session.read().unwrap(), Message::text("hello"));
    match session.read() {
        Ok(Message::Close(Some(frame))) => assert_eq!(u16::from(frame.code), 4321),
        other => panic!("expected a Close, got {other:?}"),
    }
}

#[test]
fn the_test_routes_are_there_only_if_they_are_asked_for() {
    let (_server, address) = server(&[]);
    for path in ["/inemuri", "/seppuku"] {
        assert!(get(address, path).starts_with("HTTP/1.1 426 "), "{path}");
    }
    let (mut server, address) = server_with_test_routes();
    assert_eq!(body(&get(address, "/seppuku")), "Terminating\n");
    assert_eq!(server.end().code(), Some(69));
    let (_server, address) = server_with_test_routes();
    assert_eq!(body(&get(address, "/inemuri")), "Sleeping for 10s\n");
    let is_unresponsive = || {
        let mut probe = connect(address);
        probe.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        probe.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        probe.read(&mut [0]).is_err()
    };
    // It answers until it has fallen asleep.
    assert!((0..1000).any(|_| is_unresponsive()));
    assert!(get(address, "/healthz").starts_with("HTTP/1.1 200 "));
}

fn server_with_test_routes() -> (crate::support::Program, SocketAddr) {
    server(&["--enable-test-routes", "--workers", "2"])
}

#[test]
fn options_that_mean_nothing_are_refused() {
    for options in [
        ["--reject", "101"],
        ["--reject", "600"],
        ["--close-after", "x"],
        ["--close-after", "1:999"],
        ["--ping-interval", "0s"],
        ["--ping-timeout", "1s"],
        ["--idle-timeout", "0s"],
        ["--max-message-size", "big"],
    ] {
        let output = run(&[&["server", "--listen", "127.0.0.1:0"], options.as_slice()].concat(), "");
        assert_eq!(output.status.code(), Some(2), "{options:?}");
        assert!(text(&output.stderr).contains("--"), "{options:?}");
    }
}
