//! Sessions over loopback, by the real client in this process.

use std::future::Future;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::time::timeout;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{CloseFrame, Message};

use super::{Dialer, Session};
use crate::client::{self, ConnectConfig, ConnectError, Connection, Endpoint, WebSocketUri};
use crate::verify::evidence::Logs;
use crate::verify::expect::Side;
use crate::verify::judge::Departure;
use crate::verify::target::Running;

/// How long one step may take. Over loopback it takes milliseconds; behind a real Envoy, closing takes two seconds.
const STEP_LIMIT: Duration = Duration::from_secs(5);

/// A pair of sidecars on this machine.
#[derive(Debug)]
pub(in crate::verify) struct Loopback<'a> {
    /// The pair.
    pub(in crate::verify) target: &'a Running,
    /// What requests carry as `Host`.
    pub(in crate::verify) authority: &'a str,
    /// Its access logs.
    pub(in crate::verify) logs: &'a Logs,
}

impl Dialer for Loopback<'_> {
    type Session = Connection;

    async fn connect(
        &self,
        path: &str,
        status: u16,
        body_bytes: Option<usize>,
    ) -> Result<Option<Connection>, Departure> {
        let expected = match body_bytes {
            Some(bytes) => format!("{status} with a body of {bytes} bytes"),
            None => status.to_string(),
        };
        let departure = |actual| Departure { step: "connect", expected: expected.clone(), actual };
        let uri: WebSocketUri = format!("ws://{}{path}", self.authority)
            .parse()
            .map_err(|error: client::UriError| departure(error.to_string()))?;
        let config = ConnectConfig {
            endpoint: Endpoint::Tcp(self.target.client_sidecar.into()),
            max_redirects: 0,
            timeout: STEP_LIMIT,
            // The logs count the bytes of the frames.
            compression: false,
            ..ConnectConfig::new(uri)
        };
        match client::connect(&config).await {
            Ok(connection) if status == connection.response.status.as_u16() => Ok(Some(connection)),
            Ok(connection) => Err(departure(connection.response.status.as_u16().to_string())),
            Err(ConnectError::Refused(refusal)) => {
                let bytes = refusal.body.len();
                if refusal.head.status.as_u16() == status && body_bytes.is_none_or(|wanted| wanted == bytes) {
                    return Ok(None);
                }
                let body = String::from_utf8_lossy(&refusal.body);
                let actual =
                    format!("{} with a body of {bytes} bytes: {}", refusal.head.status.as_u16(), body.trim());
                Err(departure(actual))
            }
            Err(error) => Err(departure(error.to_string())),
        }
    }

    fn release(&self) {
        self.target.release();
    }

    async fn logged(&self, side: Side) -> Result<usize, String> {
        self.logs.count(side).map_err(|error| error.to_string())
    }
}

impl Session for Connection {
    async fn send(&mut self, text: &str) -> Result<(), Departure> {
        let departure = |actual| Departure { step: "send", expected: format!("{text:?} sent"), actual };
        limited(self.stream.send(Message::text(text)))
            .await
            .and_then(|sent| sent.map_err(|error| error.to_string()))
            .map_err(departure)
    }

    async fn receive(&mut self, text: &str) -> Result<(), Departure> {
        let departure = |actual| Departure { step: "receive", expected: format!("{text:?}"), actual };
        match limited(next_message(self)).await.map_err(departure)? {
            Ok(Message::Text(received)) if received == text => Ok(()),
            Ok(other) => Err(departure(named(&other))),
            Err(end) => Err(departure(end)),
        }
    }

    /// The closing handshake from the client's side; then the server's end of TCP, which comes first (RFC 6455, section
    /// 7.1.1): to go before it would be another ending, and another access-log line.
    async fn close(&mut self, code: u16) -> Result<(), Departure> {
        let departure =
            |actual| Departure { step: "close", expected: format!("{code} in answer, then the end"), actual };
        let frame = CloseFrame { code: CloseCode::from(code), reason: "".into() };
        let exchange = async {
            self.stream.close(Some(frame)).await.map_err(|error| error.to_string())?;
            match next_message(self).await? {
                Message::Close(Some(answer)) if u16::from(answer.code) == code => {}
                other => return Err(named(&other)),
            }
            match next_message(self).await {
                Err(_) => Ok(()),
                Ok(other) => Err(format!("{} after the Close", named(&other))),
            }
        };
        limited(exchange).await.and_then(|outcome| outcome).map_err(departure)
    }
}

/// The next message that is not a control frame which the library answers itself; the end of the connection in words.
async fn next_message(connection: &mut Connection) -> Result<Message, String> {
    loop {
        match connection.stream.next().await {
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            Some(Ok(message)) => return Ok(message),
            Some(Err(error)) => return Err(error.to_string()),
            None => return Err("the end of the connection".to_owned()),
        }
    }
}

fn named(message: &Message) -> String {
    match message {
        Message::Text(text) => format!("{:?}", text.as_str()),
        Message::Close(Some(frame)) => format!("Close {}", u16::from(frame.code)),
        Message::Close(None) => "Close without a code".to_owned(),
        Message::Binary(bytes) => format!("a binary message of {} bytes", bytes.len()),
        Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => "a control frame".to_owned(),
    }
}

async fn limited<T>(step: impl Future<Output = T>) -> Result<T, String> {
    timeout(STEP_LIMIT, step).await.map_err(|_| format!("nothing within {STEP_LIMIT:?}"))
}
