//! What real Envoy was asked beyond its recordings: heads in parts and at their limits, interim responses, fields that
//! a hop adds or takes away.

use h2::{Reason, client};
use http::Request;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

use crate::support::*;

fn summary(line: &Value) -> Value {
    json!([
        line["method"],
        line["response_code"],
        line["response_flags"],
        line["response_code_details"],
        line["bytes_sent"]
    ])
}

/// An application that answers every request head with these bytes, on as many connections as there are.
async fn answering(answer: impl Into<Vec<u8>>) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, answer) = (listener.local_addr().unwrap(), answer.into());
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            let answer = answer.clone();
            tokio::spawn(async move {
                loop {
                    read_head(&mut socket).await;
                    socket.write_all(&answer).await.unwrap();
                }
            });
        }
    });
    address
}

/// An application that answers with the head that it got as the body.
async fn repeating() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            let head = read_head(&mut socket).await;
            let answer = format!("HTTP/1.1 403 No\r\nContent-Length: {}\r\n\r\n{head}", head.len());
            socket.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    address
}

fn request(method: &str, fields: &str) -> String {
    format!("{method} / HTTP/1.1\r\nHost: {AUTHORITY}\r\nConnection: close\r\n{fields}\r\n")
}

/// Sends bytes and reads to the end of the connection.
async fn ask(address: std::net::SocketAddr, bytes: &str) -> String {
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(bytes.as_bytes()).await.unwrap();
    String::from_utf8(read_all(&mut socket).await).unwrap()
}

const HOPS: [Hop; 2] = [Hop::Http1, Hop::Http2];

#[tokio::test]
async fn a_request_head_that_is_cut_off_leaves_a_line_from_its_first_byte_on() {
    for bytes in ["G", "\r\n", "GET / HTTP/1.1\r\nHo"] {
        let pair = Pair::start(Hop::Http1, echo());
        let mut socket = TcpStream::connect(pair.outbound).await.unwrap();
        socket.write_all(bytes.as_bytes()).await.unwrap();
        drop(socket);
        let lines = pair.wait_for_lines("client", 1).await;
        assert_eq!(summary(&lines[0]), json!([null, 0, "DC", "downstream_remote_disconnect", 0]));
    }
}

#[tokio::test]
async fn a_connection_without_a_byte_leaves_no_line() {
    let pair = Pair::start(Hop::Http1, echo());
    let mut socket = TcpStream::connect(pair.outbound).await.unwrap();
    socket.shutdown().await.unwrap();
    assert_eq!(read_all(&mut socket).await, b"");
    drop(open_session(pair.outbound).await);
    assert_eq!(pair.wait_for_lines("client", 1).await[0]["method"], "GET");
}

#[tokio::test]
async fn of_several_interim_responses_the_first_is_passed_on_without_its_hops_fields() {
    let answer = "HTTP/1.1 103 Early Hints\r\nLink: a\r\nConnection: close\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: b\r\n\r\n\
                  HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    for hop in HOPS {
        let pair = Pair::start(hop, answering(answer).await);
        let seen = ask(pair.outbound, &request("GET", "")).await;
        assert!(seen.starts_with("HTTP/1.1 103 Unknown\r\nlink: a\r\n\r\nHTTP/1.1 200 OK\r\n"), "{seen}");
    }
}

#[tokio::test]
async fn an_upstream_that_ends_after_an_interim_response_has_begun_its_response() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let application = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        read_head(&mut socket).await;
        socket.write_all(b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n").await.unwrap();
    });
    let pair = Pair::start(Hop::Http1, application);
    let seen = ask(pair.outbound, &request("GET", "")).await;
    assert!(seen.contains("\r\n\r\nHTTP/1.1 503 Service Unavailable\r\n"), "{seen}");
    let (_, server) = pair.one_line_each().await;
    let details = "upstream_reset_after_response_started{connection_termination}";
    assert_eq!(summary(&server), json!(["GET", 503, "UC", details, 95]));
}

#[tokio::test]
async fn no_length_goes_with_a_response_that_cannot_have_a_body() {
    let switching = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                     Content-Length: 0\r\n\r\n";
    for hop in HOPS {
        let pair = Pair::start(hop, answering("HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n").await);
        let seen = ask(pair.outbound, &request("GET", "")).await;
        assert!(
            seen.starts_with("HTTP/1.1 204 No Content\r\n") && !seen.contains("content-length"),
            "{seen}"
        );
        let pair = Pair::start(hop, answering(switching).await);
        let mut socket = TcpStream::connect(pair.outbound).await.unwrap();
        socket.write_all(&handshake()).await.unwrap();
        let seen = read_head(&mut socket).await;
        assert!(seen.starts_with("HTTP/1.1 101 ") && !seen.contains("content-length"), "{seen}");
    }
}

#[tokio::test]
async fn a_request_without_a_body_says_so_where_its_method_leaves_it_open() {
    for hop in HOPS {
        for (method, said) in [("OPTIONS", true), ("POST", true), ("GET", false), ("DELETE", false)] {
            let pair = Pair::start(hop, repeating().await);
            let seen = ask(pair.outbound, &request(method, "")).await;
            let (_, repeated) = seen.split_once("\r\n\r\n").unwrap();
            assert_eq!(repeated.contains("content-length: 0\r\n"), said, "{repeated}");
        }
    }
}

#[tokio::test]
async fn a_handshake_with_an_empty_body_loses_its_length_on_the_way_over_http2() {
    let fields = "Upgrade: websocket\r\nContent-Length: 0\r\n";
    for (hop, kept) in [(Hop::Http1, true), (Hop::Http2, false)] {
        let pair = Pair::start(hop, repeating().await);
        let bytes = request("GET", fields).replace("Connection: close", "Connection: Upgrade");
        let seen = ask(pair.outbound, &bytes).await;
        let (_, repeated) = seen.split_once("\r\n\r\n").unwrap();
        assert_eq!(repeated.contains("content-length: 0\r\n"), kept, "{repeated}");
    }
}

#[tokio::test]
async fn a_length_that_is_none_is_refused_in_a_handshake_too() {
    for fields in ["Content-Length: abc\r\n", "Content-Length: 3\r\nContent-Length: 3\r\n"] {
        let pair = Pair::start(Hop::Http1, echo());
        let bytes = request("GET", &format!("Upgrade: websocket\r\n{fields}"));
        let seen = ask(pair.outbound, &bytes.replace("Connection: close", "Connection: Upgrade")).await;
        assert!(seen.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{seen}");
        let lines = pair.wait_for_lines("client", 1).await;
        assert_eq!(summary(&lines[0]), json!([null, 400, "DPE", "http1.codec_error", 11]));
    }
}

#[tokio::test]
async fn a_response_with_two_lengths_breaks_the_protocol_even_if_they_are_equal() {
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok";
    let pair = Pair::start(Hop::Http1, answering(answer).await);
    assert!(ask(pair.outbound, &request("GET", "")).await.starts_with("HTTP/1.1 502 Bad Gateway\r\n"));
    let (_, server) = pair.one_line_each().await;
    assert_eq!(
        summary(&server),
        json!(["GET", 502, "UPE", "upstream_reset_before_response_started{protocol_error}", 87])
    );
}

#[tokio::test]
async fn an_application_of_http10_keeps_its_connection_if_it_says_so() {
    for (connection, connections) in [("keep-alive", 1), ("close", 2)] {
        let answer = format!("HTTP/1.0 200 OK\r\nConnection: {connection}\r\nContent-Length: 2\r\n\r\nok");
        let pair = Pair::start(Hop::Http1, answering(answer).await);
        for _ in 0..2 {
            assert!(ask(pair.outbound, &request("GET", "")).await.ends_with("\r\n\r\nok"));
        }
        let lines = pair.wait_for_lines("server", 2).await;
        let mut used: Vec<_> = lines.iter().map(|line| line["upstream_local_address"].to_string()).collect();
        used.dedup();
        assert_eq!(used.len(), connections, "{used:?}");
    }
}

#[tokio::test]
async fn the_heads_of_responses_may_have_80_kib_over_http1_and_60_over_http2() {
    let reset = "upstream_reset_before_response_started{remote_reset}";
    for (hop, kib, code, flags, details) in [
        (Hop::Http1, 70, 200, "-", "via_upstream"),
        (Hop::Http2, 59, 200, "-", "via_upstream"),
        (Hop::Http2, 70, 503, "UR", reset),
        (Hop::Http1, 81, 502, "-", "via_upstream"),
    ] {
        let big = "b".repeat(kib * 1024);
        let answer = format!("HTTP/1.1 200 OK\r\nX-Big: {big}\r\nContent-Length: 2\r\n\r\nok");
        let pair = Pair::start(hop, answering(answer).await);
        ask(pair.outbound, &request("GET", "")).await;
        let (client, _) = pair.one_line_each().await;
        assert_eq!(client["response_code"], code, "{kib} KiB");
        assert_eq!(client["response_flags"], flags, "{kib} KiB");
        assert_eq!(client["response_code_details"], details, "{kib} KiB");
    }
}

#[tokio::test]
async fn an_http2_request_with_too_much_of_a_head_is_reset_and_its_connection_lives_on() {
    let many = |count: usize| -> Vec<(String, String)> {
        (0..count).map(|number| (format!("x-{number}"), "y".to_owned())).collect()
    };
    let big = (0..8).map(|number| (format!("x-{number}"), "b".repeat(8 * 1024))).collect();
    // Four pseudo-header fields count too.
    for (fields, details) in [
        (many(96), None),
        (many(97), Some("http2.too_many_headers")),
        (big, Some("http2.header_list_size_too_large")),
    ] {
        let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        let pair = Pair::start(Hop::Http2, answering(answer).await);
        let socket = TcpStream::connect(pair.inbound).await.unwrap();
        let (mut client, connection) = client::handshake(socket).await.unwrap();
        tokio::spawn(connection);
        let ask = |fields: &[(String, String)]| {
            let mut request = Request::builder().uri(format!("http://{AUTHORITY}/"));
            for (name, value) in fields {
                request = request.header(name, value);
            }
            request.body(()).unwrap()
        };
        let (response, _) = client.send_request(ask(&fields), true).unwrap();
        let response = patiently(response).await;
        let Some(details) = details else {
            assert_eq!(response.unwrap().status(), 200);
            continue;
        };
        assert_eq!(response.unwrap_err().reason(), Some(Reason::INTERNAL_ERROR));
        let lines = pair.wait_for_lines("server", 1).await;
        assert_eq!(summary(&lines[0]), json!([null, 0, "DR", details, 0]));
        let (response, _) = client.send_request(ask(&[]), true).unwrap();
        assert_eq!(patiently(response).await.unwrap().status(), 200);
    }
}

#[tokio::test]
async fn the_scheme_that_a_plaintext_client_claims_is_not_believed() {
    let pair = Pair::start(Hop::Http1, repeating().await);
    let socket = TcpStream::connect(pair.outbound).await.unwrap();
    let (mut client, connection) = client::handshake(socket).await.unwrap();
    tokio::spawn(connection);
    let request = Request::builder().uri(format!("https://{AUTHORITY}/")).body(()).unwrap();
    let (response, _) = client.send_request(request, true).unwrap();
    let mut body = patiently(response).await.unwrap().into_body();
    let mut repeated = Vec::new();
    while let Some(data) = patiently(body.data()).await {
        repeated.extend_from_slice(&data.unwrap());
    }
    let repeated = String::from_utf8(repeated).unwrap();
    assert!(repeated.contains("x-forwarded-proto: http\r\n"), "{repeated}");
}
