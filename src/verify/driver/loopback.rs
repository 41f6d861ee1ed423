//! Sessions over loopback, by the real client in this process.

use std::collections::VecDeque;
use std::future::Future;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use http::header::SEC_WEBSOCKET_PROTOCOL;
use tokio::time::timeout;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{CloseFrame, Message};

use super::{Dialer, DrivenSession, StepFailure, plain_http};
use crate::client::{self, ConnectConfig, ConnectError, Connection, Endpoint, WebSocketUri};
use crate::verify::expect::Side;
use crate::verify::played::LogFiles;
use crate::verify::scenario::{Awaited, Closing, Connect, Content, Ended, Length, Request, Wanted};
use crate::verify::target::RunningPair;

/// How long one step may take. Over loopback it takes milliseconds; behind a real Envoy, closing
/// takes two seconds.
const STEP_LIMIT: Duration = Duration::from_secs(5);

/// The longest message that is accepted: what a file may hold that is sent and comes back.
const MAX_MESSAGE_BYTES: usize = 64 * 1024 * 1024;

/// How much of a text is shown where it is not what was expected.
const SHOWN_CHARS: usize = 200;

/// A pair of sidecars on this machine.
#[derive(Debug)]
pub(in crate::verify) struct Loopback<'a> {
    /// The sidecars and the application behind them.
    pub(in crate::verify) target: &'a RunningPair,
    /// What requests carry as `Host`.
    pub(in crate::verify) authority: &'a str,
    /// Its access logs.
    pub(in crate::verify) logs: &'a LogFiles,
}

/// A session and what came before it was waited for.
#[derive(Debug)]
pub(in crate::verify) struct LoopbackSession {
    connection: Connection,
    /// Messages that came while a Pong was waited for.
    early: VecDeque<Message>,
}

impl Dialer for Loopback<'_> {
    type DrivenSession = LoopbackSession;

    async fn connect(&self, connect: &Connect) -> Result<Option<LoopbackSession>, StepFailure> {
        let mut expected = expected_answer(connect.status, connect.body_bytes);
        if let Some(subprotocol) = &connect.subprotocol {
            expected = format!("{expected}, subprotocol {subprotocol}");
        }
        let failure = |actual| StepFailure::new("connect", expected.clone(), actual);
        let config = self.config(connect).map_err(failure)?;
        match client::connect(&config).await {
            Ok(connection) => {
                let status = connection.response.status.as_u16();
                let chosen = connection.response.fields.get(&SEC_WEBSOCKET_PROTOCOL);
                let chosen = chosen.map(|value| String::from_utf8_lossy(value.as_bytes()));
                let wanted = connect.subprotocol.as_deref();
                if status == connect.status && (wanted.is_none() || wanted == chosen.as_deref()) {
                    return Ok(Some(LoopbackSession { connection, early: VecDeque::new() }));
                }
                Err(failure(match wanted {
                    Some(_) => format!("{status}, subprotocol {}", chosen.as_deref().unwrap_or("none")),
                    None => status.to_string(),
                }))
            }
            Err(ConnectError::Refused(refusal)) => {
                let status = refusal.head.status.as_u16();
                answered(connect.status, connect.body_bytes, status, &refusal.body).map_err(failure)?;
                Ok(None)
            }
            Err(error) => Err(failure(error.to_string())),
        }
    }

    async fn request(&self, request: &Request) -> Result<(), StepFailure> {
        let expected = expected_answer(request.status, request.body_bytes);
        let failure = |actual| StepFailure::new("request", expected, actual);
        let exchange = plain_http::exchange(self.target.client_sidecar, self.authority, request);
        let answer = limited(request.within, exchange).await.and_then(|answer| answer);
        let (status, body) = match answer {
            Ok(answer) => answer,
            Err(problem) => return Err(failure(problem)),
        };
        answered(request.status, request.body_bytes, status, &body).map_err(failure)
    }

    fn release(&self) {
        self.target.release();
    }

    async fn logged(&self, side: Side) -> Result<usize, String> {
        self.logs.count(side).map_err(|error| error.to_string())
    }
}

impl Loopback<'_> {
    fn config(&self, connect: &Connect) -> Result<ConnectConfig, String> {
        let authority = connect.host.as_deref().unwrap_or(self.authority);
        let uri = format!("ws://{authority}{}", connect.path).parse::<WebSocketUri>();
        Ok(ConnectConfig {
            endpoint: Endpoint::Tcp(self.target.client_sidecar.into()),
            max_redirects: 0,
            subprotocols: connect.subprotocols.clone(),
            fields: connect.headers.0.clone(),
            timeout: limit(connect.within),
            max_message_bytes: MAX_MESSAGE_BYTES,
            // The logs count the bytes of the frames.
            compression: false,
            ..ConnectConfig::new(uri.map_err(|error| error.to_string())?)
        })
    }
}

/// An answer as a scenario expects it, in words.
fn expected_answer(status: u16, body_bytes: Option<usize>) -> String {
    match body_bytes {
        Some(bytes) => format!("{status} with a body of {bytes} bytes"),
        None => status.to_string(),
    }
}

/// Compares an answer with what is expected; the answer in words where they differ.
fn answered(status: u16, body_bytes: Option<usize>, actual: u16, body: &[u8]) -> Result<(), String> {
    if actual == status && body_bytes.is_none_or(|wanted| wanted == body.len()) {
        return Ok(());
    }
    if body.is_empty() {
        return Err(format!("{actual} without a body"));
    }
    let text = String::from_utf8_lossy(body);
    let shown: String = text.trim().chars().take(SHOWN_CHARS).collect();
    Err(format!("{actual} with a body of {} bytes: {shown}", body.len()))
}

impl DrivenSession for LoopbackSession {
    async fn send(&mut self, content: &Content) -> Result<(), StepFailure> {
        let message = content.message().await;
        let expected = message.as_ref().map_or_else(|_| "a message".to_owned(), named);
        let failure = |actual| StepFailure::new("send", format!("{expected} sent"), actual);
        let sent = limited(None, self.connection.stream.send(message.map_err(failure)?)).await;
        sent.and_then(|sent| sent.map_err(|error| error.to_string())).map_err(failure)
    }

    async fn receive(&mut self, awaited: &Awaited) -> Result<(), StepFailure> {
        let (expected, wanted) = match &awaited.message {
            Wanted::Equal(content) => match content.message().await {
                Ok(message) => (named(&message), Some(message)),
                Err(problem) => return Err(StepFailure::new("receive", "a message".to_owned(), problem)),
            },
            Wanted::Matching(pattern) => (format!("a match of {pattern}"), None),
        };
        let failure = |actual| StepFailure::new("receive", expected, actual);
        let received = match self.early.pop_front() {
            Some(message) => Ok(message),
            None => limited(awaited.within, self.next_message()).await.and_then(|message| message),
        };
        let fits = |message: &Message| match (&wanted, &awaited.message) {
            (Some(wanted), _) => message == wanted,
            (None, Wanted::Matching(pattern)) => {
                matches!(message, Message::Text(text) if pattern.is_match(text))
            }
            (None, Wanted::Equal(_)) => false,
        };
        match received {
            Ok(message) if fits(&message) => Ok(()),
            Ok(other) => Err(failure(named(&other))),
            Err(end) => Err(failure(end)),
        }
    }

    async fn ping(&mut self, payload: &str) -> Result<(), StepFailure> {
        let failure = |actual| StepFailure::new("ping", format!("a Pong that says {payload:?}"), actual);
        let exchange = async {
            let ping = Message::Ping(payload.as_bytes().to_vec().into());
            self.connection.stream.send(ping).await.map_err(|error| error.to_string())?;
            loop {
                match self.next_frame().await? {
                    Message::Pong(answer) if answer == payload.as_bytes() => return Ok(()),
                    Message::Ping(_) | Message::Pong(_) => {}
                    message @ (Message::Text(_) | Message::Binary(_)) => self.early.push_back(message),
                    other => return Err(named(&other)),
                }
            }
        };
        limited(None, exchange).await.and_then(|outcome| outcome).map_err(failure)
    }

    /// The closing handshake from the client's side; then the server's end of TCP, which comes
    /// first (RFC 6455, section 7.1.1): to go before it would be another ending, and another
    /// access-log line.
    async fn close(&mut self, closing: &Closing) -> Result<(), StepFailure> {
        let code = closing.code;
        let failure = |actual| StepFailure::new("close", format!("{code} in answer, then the end"), actual);
        let frame = CloseFrame { code: CloseCode::from(code), reason: closing.reason.as_str().into() };
        let exchange = async {
            self.connection.stream.close(Some(frame)).await.map_err(|error| error.to_string())?;
            match self.next_message().await? {
                Message::Close(Some(answer)) if u16::from(answer.code) == code => {}
                other => return Err(named(&other)),
            }
            self.end().await
        };
        limited(None, exchange).await.and_then(|outcome| outcome).map_err(failure)
    }

    async fn closed(&mut self, ended: &Ended) -> Result<(), StepFailure> {
        let expected = match &ended.reason {
            Some(reason) => format!("Close {} with the reason {reason:?}", ended.code),
            None => format!("Close {}", ended.code),
        };
        let failure = |actual| StepFailure::new("closed", expected, actual);
        let wait = async {
            let (code, reason, actual) = match self.next_message().await {
                Ok(Message::Close(Some(frame))) => {
                    (frame.code.into(), frame.reason.to_string(), named(&Message::Close(Some(frame))))
                }
                Ok(Message::Close(None)) => (1005, String::new(), named(&Message::Close(None))),
                Ok(other) => return Err(named(&other)),
                Err(end) => (1006, String::new(), end),
            };
            if code != ended.code || ended.reason.as_ref().is_some_and(|wanted| *wanted != reason) {
                return Err(actual);
            }
            if code == 1006 { Ok(()) } else { self.end().await }
        };
        limited(ended.within, wait).await.and_then(|outcome| outcome).map_err(failure)
    }
}

impl LoopbackSession {
    /// The next frame; the end of the connection in words.
    async fn next_frame(&mut self) -> Result<Message, String> {
        match self.connection.stream.next().await {
            Some(Ok(message)) => Ok(message),
            Some(Err(error)) => Err(error.to_string()),
            None => Err("the end of the connection".to_owned()),
        }
    }

    /// The next message that is not a control frame which the library answers itself; the end of
    /// the connection in words.
    async fn next_message(&mut self) -> Result<Message, String> {
        loop {
            match self.next_frame().await? {
                Message::Ping(_) | Message::Pong(_) => {}
                message => return Ok(message),
            }
        }
    }

    /// The end of the connection, after the Close frames.
    async fn end(&mut self) -> Result<(), String> {
        match self.next_message().await {
            Err(_) => Ok(()),
            Ok(other) => Err(format!("{} after the Close", named(&other))),
        }
    }
}

fn named(message: &Message) -> String {
    match message {
        Message::Text(text) if text.len() <= SHOWN_CHARS => format!("{:?}", text.as_str()),
        Message::Text(text) => format!("a text message of {} bytes", text.len()),
        Message::Close(Some(frame)) if frame.reason.is_empty() => format!("Close {}", u16::from(frame.code)),
        Message::Close(Some(frame)) => {
            format!("Close {} with the reason {:?}", u16::from(frame.code), frame.reason.as_str())
        }
        Message::Close(None) => "Close without a code".to_owned(),
        Message::Binary(bytes) => format!("a binary message of {} bytes", bytes.len()),
        Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => "a control frame".to_owned(),
    }
}

fn limit(within: Option<Length>) -> Duration {
    within.map_or(STEP_LIMIT, |length| length.0)
}

async fn limited<T>(within: Option<Length>, step: impl Future<Output = T>) -> Result<T, String> {
    let limit = limit(within);
    timeout(limit, step).await.map_err(|_| format!("nothing within {limit:?}"))
}
