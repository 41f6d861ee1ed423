//! Retries as Istio's default routes have them: what is tried again, how often, and what never is.

use serde_json::{Value, json};
use websockets_cli::mesh::RetryPolicy;

use crate::support::*;

const REFUSED_STREAM: &str = "upstream_reset_before_response_started{remote_refused_stream_reset}";
const REFUSED: &str = "upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}";

/// `:status: 200` as an entry of HPACK's static table (RFC 7541 appendix A).
const OK: &[u8] = &[0x88];

/// The number of attempts that the application was told of.
fn attempt_count(head: &str) -> Option<&str> {
    head.lines().find_map(|line| line.strip_prefix("x-envoy-attempt-count: "))
}

#[tokio::test]
async fn a_server_sidecar_that_does_not_listen_is_dialled_three_times() {
    for hop in [Hop::Http1, Hop::Http2] {
        let sidecar = Alone::outbound(hop, nobody(), |_| {});
        let answer = ask(sidecar.address, handshake()).await;
        assert!(
            answer.ends_with("retried and the latest reset reason: remote connection failure"),
            "{answer}"
        );
        let line = sidecar.line().await;
        assert_eq!(ending(&line), json!([503, "URX,UF", REFUSED, 0, 121]));
        assert_eq!(line["upstream_transport_failure_reason"], "delayed_connect_error:_Connection_refused");
        assert!(line["upstream_host"].is_string());
        assert_eq!(line["upstream_local_address"], Value::Null);
    }
}

#[tokio::test]
async fn without_a_retry_policy_a_connection_that_fails_is_uf_alone() {
    for hop in [Hop::Http1, Hop::Http2] {
        let pair = Pair::configured(hop, nobody(), |_, inbound| {
            *route(&mut inbound.virtual_host).1 = RetryPolicy::default();
        });
        let answer = ask(pair.outbound, handshake()).await;
        assert!(answer.ends_with("before headers. reset reason: remote connection failure"), "{answer}");
        let (client, server) = pair.one_line_each().await;
        assert_eq!(ending(&client), json!([503, "-", "via_upstream", 0, 98]));
        assert_eq!(ending(&server), json!([503, "UF", REFUSED, 0, 98]));
    }
}

#[tokio::test]
async fn refused_streams_are_tried_twice_more() {
    let server = FrameServer::start(|_, stream| vec![rst_stream(stream, 7)]).await;
    let sidecar = Alone::outbound(Hop::Http2, server.address, |_| {});
    let answer = ask(sidecar.address, handshake()).await;
    assert!(answer.ends_with("retried and the latest reset reason: remote refused stream reset"), "{answer}");
    assert_eq!(ending(&sidecar.line().await), json!([503, "URX,UR", REFUSED_STREAM, 0, 123]));
    assert_eq!((server.requests(), server.connections()), (3, 1));
}

#[tokio::test]
async fn a_stream_that_is_refused_once_succeeds_with_the_second_attempt() {
    let server = FrameServer::start(|before, stream| {
        let head = frame(HEADERS, END_HEADERS, stream, OK);
        vec![if before == 0 { rst_stream(stream, 7) } else { head }]
    })
    .await;
    let sidecar = Alone::outbound(Hop::Http2, server.address, |_| {});
    let mut client = send(sidecar.address, handshake()).await;
    assert!(read_head(&mut client).await.starts_with("HTTP/1.1 101 "));
    drop(client);
    assert_eq!(sidecar.line().await["response_flags"], "DC");
    assert_eq!(server.requests(), 2);
}

#[tokio::test]
async fn a_goaway_instead_of_an_answer_leads_to_a_new_connection() {
    // Whatever the code: the stream was not looked at.
    for code in [0, 1, 2, 7, 11] {
        let server = FrameServer::start(move |_, _| vec![goaway(0, code)]).await;
        let sidecar = Alone::outbound(Hop::Http2, server.address, |_| {});
        ask(sidecar.address, handshake()).await;
        assert_eq!(ending(&sidecar.line().await), json!([503, "URX,UR", REFUSED_STREAM, 0, 123]), "{code}");
        assert_eq!((server.requests(), server.connections()), (3, 3), "{code}");
    }
}

#[tokio::test]
async fn after_goaway_an_open_session_lives_on_and_the_next_one_takes_a_new_connection() {
    let server = FrameServer::start(|_, stream| {
        vec![
            frame(HEADERS, END_HEADERS, stream, OK),
            goaway(stream, 0),
            frame(DATA, 0, stream, b"\x81\x02hi"),
        ]
    })
    .await;
    let sidecar = Alone::outbound(Hop::Http2, server.address, |_| {});
    let mut sessions = Vec::new();
    for number in 1..=3 {
        let mut client = send(sidecar.address, handshake()).await;
        assert!(read_head(&mut client).await.starts_with("HTTP/1.1 101 "));
        // What comes after the GOAWAY has come through, so it has been read.
        assert_eq!(read_exactly(&mut client, 4).await, b"\x81\x02hi");
        assert_eq!(server.connections(), number);
        sessions.push(client);
    }
    drop(sessions);
    for line in sidecar.lines(3).await {
        assert_eq!(ending(&line), json!([101, "DC", "downstream_remote_disconnect", 0, 4]));
    }
}

#[tokio::test]
async fn a_request_that_was_sent_is_not_sent_again() {
    for (code, reason) in [
        (0, "remote_reset"),
        (1, "protocol_error"),
        (2, "remote_reset"),
        (8, "remote_reset"),
        (10, "remote_error_with_CONNECT_request"),
    ] {
        let server = FrameServer::start(move |_, stream| vec![rst_stream(stream, code)]).await;
        let sidecar = Alone::outbound(Hop::Http2, server.address, |_| {});
        ask(sidecar.address, handshake()).await;
        let line = sidecar.line().await;
        let details = format!("upstream_reset_before_response_started{{{reason}}}");
        assert_eq!(line["response_code_details"], details.as_str());
        assert_eq!(server.requests(), 1, "{code}");
    }
    // Nor is a plain one whose connection ends without an answer.
    let application = Application::closing_after("").await;
    let pair = Pair::start(Hop::Http1, application.address);
    let mut request = get("/");
    request.splice(request.len() - 2.., *b"Connection: close\r\n\r\n");
    assert!(ask(pair.outbound, request).await.starts_with("HTTP/1.1 503 "));
    pair.one_line_each().await;
    assert_eq!(application.heads().len(), 1);
}

#[tokio::test]
async fn answers_of_the_application_are_not_tried_again() {
    let answer = "HTTP/1.1 503 Busy\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx";
    for hop in [Hop::Http1, Hop::Http2] {
        let application = Application::answering(answer).await;
        let pair = Pair::start(hop, application.address);
        let answer = ask(pair.outbound, handshake()).await;
        assert!(answer.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{answer}");
        let (client, _) = pair.one_line_each().await;
        assert_eq!(ending(&client), json!([503, "-", "via_upstream", 0, 1]));
        assert_eq!(application.heads().len(), 1);
    }
}

#[tokio::test]
async fn the_attempt_that_arrived_is_numbered_where_the_virtual_host_says_so() {
    for numbered in [true, false] {
        let application = Application::answering(SWITCHING).await;
        let pair = Pair::configured(Hop::Http1, application.address, |outbound, _| {
            outbound.virtual_hosts[0].include_request_attempt_count = numbered;
        });
        let mut client = send(pair.outbound, handshake()).await;
        read_head(&mut client).await;
        assert_eq!(attempt_count(&application.head()), numbered.then_some("1"));
    }
    // The number that a client claims is replaced.
    let application = Application::answering(SWITCHING).await;
    let pair = Pair::start(Hop::Http2, application.address);
    let request = String::from_utf8(handshake()).unwrap();
    let request = request.replacen("\r\n\r\n", "\r\nX-Envoy-Attempt-Count: 7\r\n\r\n", 1);
    let mut client = send(pair.outbound, request).await;
    read_head(&mut client).await;
    assert_eq!(attempt_count(&application.head()), Some("1"));
}

#[tokio::test]
async fn every_attempt_on_the_hop_says_which_one_it_is() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let sidecar = Alone::outbound(Hop::Http2, listener.local_addr().unwrap(), |_| {});
    let _client = send(sidecar.address, handshake()).await;
    let (stream, _) = patiently(listener.accept()).await.unwrap();
    let mut server =
        patiently(h2::server::Builder::new().enable_connect_protocol().handshake::<_, bytes::Bytes>(stream))
            .await
            .unwrap();
    let mut counts = Vec::new();
    while counts.len() < 3 {
        let (request, mut respond) = patiently(server.accept()).await.unwrap().unwrap();
        counts.push(request.headers()["x-envoy-attempt-count"].to_str().unwrap().to_owned());
        respond.send_reset(h2::Reason::REFUSED_STREAM);
    }
    assert_eq!(counts, ["1", "2", "3"]);
}
