//! HTTP/1.1 messages beside and around upgrades: bodies, interim responses, connections that are
//! used again.

use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::support::*;

const BOTH: [Hop; 2] = [Hop::Http1, Hop::Http2];

/// A handshake with some more fields, and what follows them.
fn handshake_with(rest: &str) -> String {
    let request = String::from_utf8(handshake()).unwrap();
    format!("{}{rest}", request.strip_suffix("\r\n").unwrap())
}

/// A request that is the last of its connection.
fn last(method: &str) -> String {
    format!("{method} / HTTP/1.1\r\nHost: {AUTHORITY}\r\nConnection: close\r\n\r\n")
}

/// Reads one response whose length is given.
async fn read_response(stream: &mut TcpStream) -> (String, Vec<u8>) {
    let head = read_head(stream).await;
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
    let body = read_exactly(stream, length.parse().unwrap()).await;
    (head, body)
}

#[tokio::test]
async fn the_body_of_a_handshake_is_held_back_until_the_101() {
    let request = handshake_with("Content-Length: 5\r\n\r\nabcde");
    for hop in BOTH {
        let application = Application::answering("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n").await;
        let pair = Pair::start(hop, application.address);
        assert!(ask(pair.outbound, &request).await.starts_with("HTTP/1.1 403 "));
        let (client, server) = pair.one_line_each().await;
        assert_eq!(ending(&client), json!([403, "-", "via_upstream", 5, 0]));
        assert_eq!(ending(&server), json!([403, "-", "via_upstream", 0, 0]));

        let application = Application::scripted(|mut stream: TcpStream| async move {
            stream.write_all(SWITCHING.as_bytes()).await.unwrap();
            assert_eq!(read_exactly(&mut stream, 5).await, b"abcde");
            stream.write_all(b"read").await.unwrap();
        })
        .await;
        let pair = Pair::start(hop, application.address);
        let mut client = send(pair.outbound, &request).await;
        assert!(read_head(&mut client).await.starts_with("HTTP/1.1 101 "));
        assert_eq!(read_exactly(&mut client, 4).await, b"read");
        let (client, server) = pair.one_line_each().await;
        assert_eq!((&client["bytes_received"], &server["bytes_received"]), (&json!(5), &json!(5)));
    }
}

#[tokio::test]
async fn frames_that_come_with_the_101_are_not_lost() {
    for hop in BOTH {
        let application = Application::closing_after(format!("{SWITCHING}\u{1}\u{2}hi")).await;
        let pair = Pair::start(hop, application.address);
        let mut client = send(pair.outbound, handshake()).await;
        assert!(read_head(&mut client).await.starts_with("HTTP/1.1 101 "));
        assert_eq!(read_all(&mut client).await, b"\x01\x02hi");
        let (client, server) = pair.one_line_each().await;
        assert_eq!((&client["bytes_sent"], &server["bytes_sent"]), (&json!(4), &json!(4)));
    }
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order_and_the_last_one_may_upgrade() {
    for hop in BOTH {
        let pair = Pair::start(hop, echo());
        let pipelined =
            [get("/healthz"), get("/healthz"), handshake(), HELLO.to_vec(), CLOSE.to_vec()].concat();
        let mut client = send(pair.outbound, pipelined).await;
        for _ in 0..2 {
            let (head, body) = read_response(&mut client).await;
            assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
            assert_eq!(body, b"OK\n");
        }
        assert!(read_head(&mut client).await.starts_with("HTTP/1.1 101 "));
        assert_eq!(read_all(&mut client).await, b"\x81\x05hello\x88\x02\x03\xe8");
        let codes: Vec<_> =
            pair.wait_for_lines("client", 3).await.iter().map(|line| line["response_code"].clone()).collect();
        assert_eq!(codes, [200, 200, 101]);
        // The plain requests shared a connection on the hop.
        let lines = pair.wait_for_lines("server", 3).await;
        assert_eq!(lines[0]["downstream_remote_address"], lines[1]["downstream_remote_address"]);
    }
}

#[tokio::test]
async fn after_a_refused_handshake_the_connection_is_of_no_more_use() {
    let application = Application::answering("HTTP/1.1 403 Forbidden\r\nContent-Length: 3\r\n\r\nno\n").await;
    let pair = Pair::start(Hop::Http1, application.address);
    let mut client = send(pair.outbound, [handshake(), get("/healthz")].concat()).await;
    let (head, body) = read_response(&mut client).await;
    assert!(head.contains("\r\nconnection: close\r\n"), "{head}");
    assert_eq!(body, b"no\n");
    drop(client);
    pair.one_line_each().await;
    assert_eq!(application.heads().len(), 1);
}

#[tokio::test]
async fn a_request_that_asks_for_it_is_the_last_of_its_connection() {
    let pair = Pair::start(Hop::Http1, echo());
    let mut request = get("/healthz");
    request.splice(request.len() - 2.., *b"Connection: close\r\n\r\n");
    let answer = ask(pair.outbound, request).await;
    assert!(answer.contains("\r\nconnection: close\r\n") && answer.ends_with("\r\n\r\nOK\n"), "{answer}");
}

#[tokio::test]
async fn the_first_of_several_interim_responses_comes_before_the_answer() {
    for hop in BOTH {
        for (request, end) in
            [(handshake(), SWITCHING), (get("/"), "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")]
        {
            let interim = "HTTP/1.1 103 Early Hints\r\nX-App: 1\r\n\r\n";
            let application = Application::answering(format!("{interim}{interim}{end}")).await;
            let pair = Pair::start(hop, application.address);
            let mut client = send(pair.outbound, request).await;
            let head = read_head(&mut client).await;
            assert!(head.starts_with("HTTP/1.1 103 ") && head.contains("\r\nx-app: 1\r\n"), "{head}");
            let head = read_head(&mut client).await;
            assert!(head.starts_with(&end[..12]), "{head}");
        }
    }
}

#[tokio::test]
async fn an_interim_response_does_not_wait_for_the_answer() {
    // The body of this one does not come either.
    let upload = String::from_utf8(get("/")).unwrap().replacen("GET", "POST", 1);
    let upload = upload.replace("\r\n\r\n", "\r\nContent-Length: 5\r\n\r\n").into_bytes();
    for hop in BOTH {
        for request in [handshake(), get("/"), upload.clone()] {
            let application = Application::answering("HTTP/1.1 103 Early Hints\r\n\r\n").await;
            let pair = Pair::start(hop, application.address);
            let mut client = send(pair.outbound, request).await;
            let head = read_head(&mut client).await;
            assert!(head.starts_with("HTTP/1.1 103 "), "{head}");
        }
    }
}

#[tokio::test]
async fn an_answer_to_head_and_one_without_content_have_no_body() {
    for hop in BOTH {
        for (method, answer) in [
            ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"),
            ("GET", "HTTP/1.1 204 No Content\r\n\r\n"),
            ("GET", "HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n"),
        ] {
            let application = Application::scripted(move |mut stream: TcpStream| async move {
                stream.write_all(answer.as_bytes()).await.unwrap();
                read_head(&mut stream).await;
                stream.write_all(answer.as_bytes()).await.unwrap();
                read_all(&mut stream).await;
            })
            .await;
            let pair = Pair::start(hop, application.address);
            let request = String::from_utf8(get("/")).unwrap().replacen("GET", method, 1);
            let mut client = send(pair.outbound, &request).await;
            let first = read_head(&mut client).await;
            assert!(first.starts_with(&answer[..12]), "{first}");
            assert_eq!(first.contains("\r\ncontent-length: 3\r\n"), method == "HEAD", "{first}");
            assert!(
                !first.contains("\r\nconnection: ") && !first.contains("\r\ntransfer-encoding: "),
                "{first}"
            );
            // What comes next is a head again.
            client.write_all(request.as_bytes()).await.unwrap();
            assert!(read_head(&mut client).await.starts_with(&answer[..12]));
            let lines = pair.wait_for_lines("client", 2).await;
            assert_eq!(lines[0]["bytes_sent"], 0);
            assert_eq!(application.heads().len(), 1, "the connection to the application was used again");
        }
    }
}

#[tokio::test]
async fn a_length_where_no_body_can_be_is_a_protocol_error_unless_it_is_0() {
    let protocol_error = "upstream_reset_before_response_started{protocol_error}";
    for head in ["204 No Content", "103 Early Hints", "101 Switching Protocols"] {
        for (framing, is_taken) in
            [("Content-Length: 9", false), ("Transfer-Encoding: chunked", false), ("Content-Length: 0", true)]
        {
            let answer = format!("HTTP/1.1 {head}\r\n{framing}\r\n\r\n");
            let application = Application::answering(answer).await;
            let pair = Pair::start(Hop::Http1, application.address);
            let mut client = send(pair.outbound, get("/x")).await;
            let answered = read_head(&mut client).await;
            let expected = if is_taken { &head[..3] } else { "502" };
            assert!(answered.starts_with(&format!("HTTP/1.1 {expected} ")), "{framing}: {answered}");
            if !is_taken {
                let (_, server) = pair.one_line_each().await;
                assert_eq!(ending(&server), json!([502, "UPE", protocol_error, 0, 87]));
            }
        }
    }
}

#[tokio::test]
async fn bodies_keep_their_framing_over_http1() {
    let length = ("Content-Length: 5\r\n\r\nhello", "content-length: 5\r\n", &b"hello"[..]);
    let chunked = (
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "transfer-encoding: chunked\r\n",
        &b"5\r\nhello\r\n0\r\n\r\n"[..],
    );
    for (sent, field, received) in [length, chunked] {
        let application = Application::scripted(move |mut stream: TcpStream| async move {
            assert_eq!(read_exactly(&mut stream, received.len()).await, received);
            stream.write_all(format!("HTTP/1.1 200 OK\r\n{sent}").as_bytes()).await.unwrap();
            read_all(&mut stream).await;
        })
        .await;
        let pair = Pair::start(Hop::Http1, application.address);
        let mut client =
            send(pair.outbound, format!("POST /p HTTP/1.1\r\nHost: {AUTHORITY}\r\n{sent}")).await;
        let head = read_head(&mut client).await;
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.contains(field), "{head}");
        assert_eq!(read_exactly(&mut client, received.len()).await, received);
        assert!(application.head().contains(field), "{}", application.head());
        let (client, server) = pair.one_line_each().await;
        assert_eq!(ending(&client), json!([200, "-", "via_upstream", 5, 5]));
        assert_eq!(ending(&server), json!([200, "-", "via_upstream", 5, 5]));
    }
}

#[tokio::test]
async fn a_body_without_a_length_arrives_in_chunks_and_the_connection_lives_on() {
    for hop in BOTH {
        let application = Application::closing_after("HTTP/1.1 200 OK\r\n\r\nuntil close").await;
        let pair = Pair::start(hop, application.address);
        let mut client = send(pair.outbound, get("/")).await;
        for _ in 0..2 {
            let head = read_head(&mut client).await;
            assert!(head.ends_with("\r\ntransfer-encoding: chunked\r\n\r\n"), "{head}");
            // However the chunks were cut, the two parts come whole.
            let mut body = String::new();
            while !body.ends_with("0\r\n\r\n") {
                body.push_str(std::str::from_utf8(&read_exactly(&mut client, 1).await).unwrap());
            }
            assert_eq!(body, "b\r\nuntil close\r\n0\r\n\r\n");
            client.write_all(&get("/")).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_client_that_leaves_within_its_body_is_dc() {
    let pair = Pair::start(Hop::Http1, Application::answering("").await.address);
    let request = format!("POST / HTTP/1.1\r\nHost: {AUTHORITY}\r\nContent-Length: 10\r\n\r\nhello");
    drop(send(pair.outbound, request).await);
    let line = pair.wait_for_lines("client", 1).await.remove(0);
    assert_eq!(ending(&line), json!([0, "DC", "downstream_remote_disconnect", 5, 0]));
}

#[tokio::test]
async fn a_101_to_a_plain_request_ends_with_its_head_or_is_a_protocol_error_over_http2() {
    let protocol_error = "upstream_reset_before_response_started{protocol_error}";
    for (hop, client_ending) in [
        (Hop::Http1, json!([101, "-", "via_upstream", 0, 0])),
        (Hop::Http2, json!([502, "UPE", protocol_error, 0, 87])),
    ] {
        let application = Application::answering(SWITCHING).await;
        let pair = Pair::start(hop, application.address);
        let mut client = send(pair.outbound, get("/x")).await;
        let head = read_head(&mut client).await;
        assert!(!head.contains("upgrade") && !head.contains("connection"), "{head}");
        let (client, server) = pair.one_line_each().await;
        assert_eq!(ending(&client), client_ending);
        assert_eq!(ending(&server), json!([101, "-", "via_upstream", 0, 0]));
    }
}

#[tokio::test]
async fn of_several_interim_responses_the_first_is_passed_on_without_its_hops_fields() {
    let answer = "HTTP/1.1 103 Early Hints\r\nLink: a\r\nConnection: close\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: b\r\n\r\n\
                  HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    for hop in BOTH {
        let pair = Pair::start(hop, Application::answering(answer).await.address);
        let seen = ask(pair.outbound, last("GET")).await;
        assert!(seen.starts_with("HTTP/1.1 103 Unknown\r\nlink: a\r\n\r\nHTTP/1.1 200 OK\r\n"), "{seen}");
    }
}

#[tokio::test]
async fn an_application_of_http10_keeps_its_connection_if_it_says_so() {
    for (connection, connections) in [("keep-alive", 1), ("close", 2)] {
        let answer = format!("HTTP/1.0 200 OK\r\nConnection: {connection}\r\nContent-Length: 2\r\n\r\nok");
        let application = Application::scripted(move |mut stream| {
            let answer = answer.clone();
            async move {
                stream.write_all(answer.as_bytes()).await.unwrap();
                while try_read_head(&mut stream).await.is_ok() {
                    stream.write_all(answer.as_bytes()).await.unwrap();
                }
            }
        })
        .await;
        let pair = Pair::start(Hop::Http1, application.address);
        for _ in 0..2 {
            assert!(ask(pair.outbound, last("GET")).await.ends_with("\r\n\r\nok"));
        }
        let lines = pair.wait_for_lines("server", 2).await;
        let mut used: Vec<_> = lines.iter().map(|line| line["upstream_local_address"].to_string()).collect();
        used.dedup();
        assert_eq!(used.len(), connections, "{used:?}");
    }
}
