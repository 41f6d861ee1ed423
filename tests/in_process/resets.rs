//! A server's sidecar that ends the stream of a session with frames of its choice: what the
//! client's sidecar makes of it.

use serde_json::json;

use crate::support::*;

/// `:status: 200`, `204`, as entries of HPACK's static table, and `403` as a literal (RFC 7541
/// appendix A).
const OK: &[u8] = &[0x88];
const NO_CONTENT: &[u8] = &[0x89];
const FORBIDDEN: &[u8] = b"\x08\x03403";
const EARLY_HINTS: &[u8] = b"\x08\x03103";
const SWITCHING_PROTOCOLS: &[u8] = b"\x08\x03101";

const HI: &[u8] = b"\x81\x02hi";

/// The flag and the reason for RST_STREAM with a code, other than REFUSED_STREAM, which is tried
/// again before a response.
fn expected(code: u32) -> (&'static str, &'static str) {
    match code {
        1 => ("UPE", "protocol_error"),
        7 => ("UR", "remote_refused_stream_reset"),
        10 => ("UR", "remote_error_with_CONNECT_request"),
        _ => ("UR", "remote_reset"),
    }
}

#[tokio::test]
async fn a_reset_instead_of_the_answer_is_named_after_its_code() {
    for code in (0..15).filter(|code| *code != 7) {
        let server = FrameServer::start(move |_, stream| vec![rst_stream(stream, code)]).await;
        let sidecar = Alone::outbound(Hop::Http2, server.address, |_| {});
        let answer = ask(sidecar.address, handshake()).await;
        let (flag, reason) = expected(code);
        let words = format!("before headers. reset reason: {}", reason.replace('_', " "));
        assert!(answer.ends_with(&words), "{code}: {answer}");
        let (status, length) = match code {
            1 => (502, 87),
            10 => (503, 106),
            _ => (503, 85),
        };
        let details = format!("upstream_reset_before_response_started{{{reason}}}");
        assert_eq!(ending(&sidecar.line().await), json!([status, flag, details, 0, length]), "{code}");
    }
}

#[tokio::test]
async fn a_reset_of_an_open_session_is_named_after_its_code_and_comes_after_the_data() {
    for code in 0..15 {
        let server = FrameServer::start(move |_, stream| {
            vec![
                frame(HEADERS, END_HEADERS, stream, OK),
                frame(DATA, 0, stream, HI),
                rst_stream(stream, code),
            ]
        })
        .await;
        let sidecar = Alone::outbound(Hop::Http2, server.address, |_| {});
        let mut client = send(sidecar.address, handshake()).await;
        assert!(read_head(&mut client).await.starts_with("HTTP/1.1 101 "));
        assert_eq!(read_all(&mut client).await, HI, "{code}");
        let (flag, reason) = expected(code);
        let details = format!("upstream_reset_after_response_started{{{reason}}}");
        assert_eq!(ending(&sidecar.line().await), json!([101, flag, details, 0, 4]), "{code}");
    }
}

#[tokio::test]
async fn a_stream_that_is_ended_in_order_leaves_no_flag() {
    for data in [&b""[..], HI] {
        let server = FrameServer::start(move |_, stream| {
            if data.is_empty() {
                return vec![frame(HEADERS, END_HEADERS | END_STREAM, stream, OK)];
            }
            vec![frame(HEADERS, END_HEADERS, stream, OK), frame(DATA, END_STREAM, stream, data)]
        })
        .await;
        let sidecar = Alone::outbound(Hop::Http2, server.address, |_| {});
        let mut client = send(sidecar.address, handshake()).await;
        let head = read_head(&mut client).await;
        assert!(head.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{head}");
        assert_eq!(read_all(&mut client).await, data);
        assert_eq!(ending(&sidecar.line().await), json!([101, "-", "via_upstream", 0, data.len()]));
    }
}

#[tokio::test]
async fn a_refusal_on_the_hop_is_passed_on() {
    let server = FrameServer::start(|before, stream| {
        if before == 0 {
            return vec![
                frame(HEADERS, END_HEADERS, stream, FORBIDDEN),
                frame(DATA, END_STREAM, stream, b"no"),
            ];
        }
        vec![frame(HEADERS, END_HEADERS | END_STREAM, stream, NO_CONTENT)]
    })
    .await;
    let sidecar = Alone::outbound(Hop::Http2, server.address, |_| {});
    let answer = ask(sidecar.address, handshake()).await;
    assert!(answer.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{answer}");
    assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
    assert!(answer.ends_with("\r\ntransfer-encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n"), "{answer}");
    let answer = ask(sidecar.address, handshake()).await;
    assert!(answer.starts_with("HTTP/1.1 204 No Content\r\n") && answer.ends_with("\r\n\r\n"), "{answer}");
    let lines = sidecar.lines(2).await;
    assert_eq!(ending(&lines[0]), json!([403, "-", "via_upstream", 0, 2]));
    assert_eq!(ending(&lines[1]), json!([204, "-", "via_upstream", 0, 0]));
}

#[tokio::test]
async fn an_interim_answer_on_the_hop_goes_before_the_101() {
    let server = FrameServer::start(|_, stream| {
        vec![frame(HEADERS, END_HEADERS, stream, EARLY_HINTS), frame(HEADERS, END_HEADERS, stream, OK)]
    })
    .await;
    let sidecar = Alone::outbound(Hop::Http2, server.address, |_| {});
    let mut client = send(sidecar.address, handshake()).await;
    assert!(read_head(&mut client).await.starts_with("HTTP/1.1 103 "));
    assert!(read_head(&mut client).await.starts_with("HTTP/1.1 101 "));
}

#[tokio::test]
async fn a_101_on_the_hop_is_a_protocol_error() {
    let server =
        FrameServer::start(|_, stream| vec![frame(HEADERS, END_HEADERS, stream, SWITCHING_PROTOCOLS)]).await;
    let sidecar = Alone::outbound(Hop::Http2, server.address, |_| {});
    assert!(ask(sidecar.address, handshake()).await.starts_with("HTTP/1.1 502 Bad Gateway\r\n"));
    let details = "upstream_reset_before_response_started{protocol_error}";
    assert_eq!(ending(&sidecar.line().await), json!([502, "UPE", details, 0, 87]));
}

#[tokio::test]
async fn a_server_that_is_lost_ends_all_sessions_of_its_connection_with_uc() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let sidecar = Alone::outbound(Hop::Http2, listener.local_addr().unwrap(), |_| {});
    let mut clients = Vec::new();
    let mut server = None;
    for stream in [1, 3] {
        let mut client = send(sidecar.address, handshake()).await;
        if server.is_none() {
            let (mut accepted, _) = patiently(listener.accept()).await.unwrap();
            let mut preface = [0; 24];
            patiently(tokio::io::AsyncReadExt::read_exact(&mut accepted, &mut preface)).await.unwrap();
            server = Some(accepted);
        }
        let server = server.as_mut().unwrap();
        read_until(server, HEADERS).await;
        let settings = frame(SETTINGS, 0, 0, &[]);
        let answer = frame(HEADERS, END_HEADERS, stream, OK);
        let written = if stream == 1 { [settings, answer].concat() } else { answer };
        tokio::io::AsyncWriteExt::write_all(server, &written).await.unwrap();
        assert!(read_head(&mut client).await.starts_with("HTTP/1.1 101 "));
        clients.push(client);
    }
    reset(server.unwrap());
    for mut client in clients {
        assert_eq!(read_all(&mut client).await, b"");
    }
    let details = "upstream_reset_after_response_started{connection_termination}";
    for line in sidecar.lines(2).await {
        assert_eq!(ending(&line), json!([101, "UC", details, 0, 0]));
    }
}
