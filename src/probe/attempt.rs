//! One attempt: open a WebSocket in one way, ping it, close it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use http::header::{SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_PROTOCOL};
use http::{HeaderName, HeaderValue};
use tokio::time::timeout;
use tungstenite::Message;
use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::coding::CloseCode;

use super::report::{
    Attempt, AttemptOutcome, CloseReport, Compression, PeerSetting, RefusalReport, Timings, TlsReport, Way,
};
use super::stopwatch::{Stopwatch, milliseconds};
use crate::client::{
    ConnectConfig, ConnectError, Connection, Http, Observer, Refusal, connect, response_lines,
};
use crate::websocket::close_code;

/// How long the answer to a Ping, and then to a Close, may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// What an attempt saw beneath the WebSocket.
#[derive(Debug, Default)]
pub(super) struct SeenBeneath {
    pub(super) address: Option<String>,
    pub(super) tls: Option<TlsReport>,
    pub(super) alpn: Option<String>,
    pub(super) settings: Option<Vec<PeerSetting>>,
}

/// Tries one way; the error is given apart, because what follows depends on its kind.
pub(super) async fn attempt(
    config: &ConnectConfig,
    way: Way,
) -> (Attempt, SeenBeneath, Option<ConnectError>) {
    let stopwatch = Arc::new(Mutex::new(Some(Stopwatch::start())));
    let watch = Arc::clone(&stopwatch);
    let config = ConnectConfig {
        http: match way {
            Way::Http1Upgrade => Http::Http1,
            Way::Http2Connect => Http::Http2 { send_key: false },
            Way::Http2ConnectWithKey => Http::Http2 { send_key: true },
        },
        // A redirect is an answer of this endpoint, too.
        max_redirects: 0,
        observer: Observer::new(move |event| {
            if let Some(stopwatch) = &mut *watch.lock().unwrap_or_else(PoisonError::into_inner) {
                stopwatch.notice(event);
            }
        }),
        ..config.clone()
    };
    let outcome = connect(&config).await;
    let stopwatch = stopwatch.lock().unwrap_or_else(PoisonError::into_inner).take();
    let (timings, seen) = stopwatch.map_or_else(Default::default, Stopwatch::stop);
    match outcome {
        Ok(connection) => (opened(way, timings, connection).await, seen, None),
        Err(error) => (not_opened(way, timings, &error), seen, Some(error)),
    }
}

fn not_opened(way: Way, timings: Timings, error: &ConnectError) -> Attempt {
    let refusal = match error {
        ConnectError::Refused(refusal) | ConnectError::ProxyRefused { refusal, .. } => Some(refusal),
        _ => None,
    };
    let outcome = match error {
        ConnectError::Refused(_) => AttemptOutcome::Refused,
        ConnectError::ConnectNotAllowed(_) => AttemptOutcome::NotAllowed,
        _ => AttemptOutcome::Failed,
    };
    Attempt {
        way,
        outcome,
        error: Some(error.to_string()),
        advice: Some(error.meaning().advice.to_owned()),
        refusal: refusal.map(|refusal| refusal_report(refusal)),
        permessage_deflate: None,
        subprotocol: None,
        ping_ms: None,
        close: None,
        timings,
    }
}

fn refusal_report(refusal: &Refusal) -> RefusalReport {
    let meaning = refusal.meaning();
    RefusalReport {
        status: refusal.head.status.as_u16(),
        head: response_lines(&refusal.head),
        body: String::from_utf8_lossy(&refusal.body).into_owned(),
        why: meaning.why.to_owned(),
        advice: meaning.advice.to_owned(),
    }
}

async fn opened(way: Way, timings: Timings, mut connection: Connection) -> Attempt {
    let field = |name: &HeaderName| {
        let value: Option<&HeaderValue> = connection.response.fields.get(name);
        value.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    let parameters = field(&SEC_WEBSOCKET_EXTENSIONS);
    let agreed = parameters.as_deref().is_some_and(|value| value.starts_with("permessage-deflate"));
    let subprotocol = field(&SEC_WEBSOCKET_PROTOCOL);
    let mut report =
        CloseReport { code: None, reason: String::new(), unasked: false, ended_by_server: false, ms: 0.0 };
    let ping_ms = ping(&mut connection, &mut report).await.map(milliseconds);
    close(&mut connection, &mut report).await;
    Attempt {
        way,
        outcome: AttemptOutcome::Opened,
        error: None,
        advice: None,
        refusal: None,
        permessage_deflate: Some(Compression { agreed, parameters }),
        subprotocol,
        ping_ms,
        close: Some(report),
        timings,
    }
}

/// How long a Ping and its Pong take; other messages may come in between. An end that comes instead
/// is noted in `report`.
async fn ping(connection: &mut Connection, report: &mut CloseReport) -> Option<Duration> {
    let payload = b"websockets-cli probe";
    let started = Instant::now();
    let exchange = async {
        // Fails where the server has closed already, which is read below.
        let _ = connection.stream.send(Message::Ping(payload.as_slice().into())).await;
        loop {
            match connection.stream.next().await {
                Some(Ok(Message::Pong(answer))) if answer[..] == payload[..] => {
                    return Some(started.elapsed());
                }
                Some(Ok(Message::Close(frame))) => note_close(connection, frame, report),
                Some(Ok(_)) => continue,
                None | Some(Err(_)) => {}
            }
            report.unasked = true;
            return None;
        }
    };
    timeout(TIMEOUT, exchange).await.ok()?
}

/// Closes with 1000, and sees what the server makes of it.
async fn close(connection: &mut Connection, report: &mut CloseReport) {
    let started = Instant::now();
    let frame = CloseFrame { code: CloseCode::Normal, reason: "".into() };
    let exchange = async {
        // Fails where the server has closed already, which is read below.
        let _ = connection.stream.send(Message::Close(Some(frame))).await;
        while let Some(Ok(message)) = connection.stream.next().await {
            if let Message::Close(frame) = message {
                note_close(connection, frame, report);
            }
        }
        report.ended_by_server = true;
    };
    // A server that does not end the connection in time is left.
    let _ = timeout(TIMEOUT, exchange).await;
    report.ms = milliseconds(started.elapsed());
}

fn note_close(connection: &Connection, frame: Option<CloseFrame>, report: &mut CloseReport) {
    let frame = frame.map(|frame| connection.stream.get_ref().as_sent(frame));
    report.code = Some(frame.as_ref().map_or(close_code::NO_STATUS_RECEIVED, |frame| frame.code.into()));
    report.reason = frame.map_or(String::new(), |frame| frame.reason.as_str().to_owned());
}
