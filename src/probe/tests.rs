//! Probes of servers that follow a script.

use futures_util::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::coding::CloseCode;

use super::*;

/// Where a server listens that answers each connection as `answer` does.
async fn endpoint<F: Future<Output = ()>>(
    answer: impl Fn(tokio::net::TcpStream) -> F + 'static,
) -> (ConnectConfig, impl Future<Output = ()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("ws://{}/", listener.local_addr().unwrap());
    let server = async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            answer(socket).await;
        }
    };
    (ConnectConfig::new(uri.parse().unwrap()), server)
}

async fn probed<F: Future<Output = ()>>(answer: impl Fn(tokio::net::TcpStream) -> F + 'static) -> Report {
    let (config, server) = endpoint(answer).await;
    tokio::select! {
        report = probe(&config) => report,
        () = server => unreachable!("it accepts for ever"),
    }
}

/// An echo server that speaks HTTP/1.1 only, and ends the connection of whoever speaks something
/// else.
async fn echo(socket: tokio::net::TcpStream) {
    if let Ok(mut stream) = tokio_tungstenite::accept_async(socket).await {
        while stream.next().await.is_some_and(|message| message.is_ok()) {}
    }
}

#[tokio::test]
async fn a_server_of_http1_is_opened_in_one_way_of_three() {
    let report = probed(echo).await;
    let outcomes: Vec<_> = report.attempts.iter().map(|attempt| attempt.outcome).collect();
    assert_eq!(outcomes, [AttemptOutcome::Opened, AttemptOutcome::Failed, AttemptOutcome::Failed]);
    let first = &report.attempts[0];
    assert!(
        first.ping_ms.is_some() && first.timings.tcp_ms.is_some() && first.timings.handshake_ms.is_some()
    );
    let close = first.close.as_ref().unwrap();
    assert_eq!((close.code, close.ended_by_server), (Some(1000), true));
    assert!(report.opened);
    assert!(
        report.verdict.starts_with("WebSocket works here over HTTP/1.1, not over HTTP/2"),
        "{}",
        report.verdict
    );
    let text = render(&report);
    assert!(
        text.contains("HTTP/1.1 upgrade: opened\n")
            && text.contains(&format!("\n{}\nhint: ", report.verdict)),
        "{text}"
    );
}

#[tokio::test]
async fn a_refusal_is_reported_with_status_body_and_meaning_and_cannot_control_the_terminal() {
    let report = probed(async |mut socket| {
        let mut first = [0; 1024];
        let _ = socket.read(&mut first).await;
        let answer =
            "HTTP/1.1 503 X\r\nserver: envoy\r\ncontent-length: 23\r\n\r\nno healthy upstream\x1b[2J";
        let _ = socket.write_all(answer.as_bytes()).await;
    })
    .await;
    assert!(!report.opened);
    let refusal = report.attempts[0].refusal.as_ref().unwrap();
    assert_eq!((refusal.status, refusal.body.as_str()), (503, "no healthy upstream\x1b[2J"));
    assert!(refusal.why.contains("no healthy endpoint"));
    assert_eq!(report.advice, [refusal.advice.as_str()]);
    assert!(
        report.verdict.contains("Over HTTP/1.1: server rejected WebSocket connection: HTTP 503"),
        "{}",
        report.verdict
    );
    assert!(!render(&report).contains('\x1b'));
}

#[tokio::test]
async fn a_server_that_closes_at_once_is_told_from_one_that_answers_no_close() {
    let report = probed(async |socket| {
        if let Ok(mut stream) = tokio_tungstenite::accept_async(socket).await {
            let frame = CloseFrame { code: CloseCode::Policy, reason: "who are you?".into() };
            let _ = stream.close(Some(frame)).await;
            while stream.next().await.is_some_and(|message| message.is_ok()) {}
        }
    })
    .await;
    let close = report.attempts[0].close.as_ref().unwrap();
    assert_eq!((close.code, close.reason.as_str(), close.unasked), (Some(1008), "who are you?", true));
    let advice = report.advice.iter().find(|sentence| sentence.contains("has just begun, with 1008"));
    assert!(advice.is_some() && !report.advice.iter().any(|sentence| sentence.contains("pong")));
    assert!(
        render(&report).contains("the server's came first, with 1008 who are you?;"),
        "{}",
        render(&report)
    );
}

#[tokio::test]
async fn whoever_cannot_be_reached_is_tried_once() {
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let report = probe(&ConnectConfig::new(format!("ws://{address}").parse().unwrap())).await;
    assert_eq!(report.attempts.len(), 1);
    assert!(report.verdict.starts_with("This endpoint cannot be reached"), "{}", report.verdict);
}

#[tokio::test]
async fn the_published_schema_is_the_one_of_the_report() {
    let schema = schemars::schema_for!(Report);
    let made = serde_json::to_string_pretty(&schema).unwrap();
    let published = include_str!("../../schemas/probe.schema.json");
    assert_eq!(published.trim_end(), made, "schemas/probe.schema.json");
}
