//! What a probe found, as data. The JSON of it is an interface: `schemas/probe.schema.json`
//! describes it.

use schemars::JsonSchema;
use serde::Serialize;

use super::REPORT_VERSION;
use super::attempt::SeenBeneath;
use crate::client::WebSocketUri;

/// Everything that a probe found.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Report {
    /// The version of this form.
    pub version: u32,
    /// What was probed.
    pub uri: String,
    /// The address that was connected to; null if there was no connection.
    pub address: Option<String>,
    /// What TLS agreed on, the first time; null for ws://.
    pub tls: Option<TlsReport>,
    /// The protocols that the server agreed to by ALPN, of `http/1.1` and `h2`, each offered alone.
    pub alpn: Vec<String>,
    /// The server's HTTP/2 SETTINGS, in its order; null if it did not speak HTTP/2.
    pub settings: Option<Vec<PeerSetting>>,
    /// The ways in which a WebSocket was tried to be opened.
    pub attempts: Vec<Attempt>,
    /// Whether one of them opened one.
    pub opened: bool,
    /// What that means.
    pub verdict: String,
    /// What to do about it, a sentence each; empty where all is well.
    pub advice: Vec<String>,
}

/// A way to open a WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// An upgrade (RFC 6455).
    Http1Upgrade,
    /// An extended CONNECT (RFC 8441).
    Http2Connect,
    /// An extended CONNECT with `sec-websocket-key`.
    Http2ConnectWithKey,
}

impl Way {
    /// All, in the order in which they are tried.
    pub const ALL: [Self; 3] = [Self::Http1Upgrade, Self::Http2Connect, Self::Http2ConnectWithKey];

    /// Its name for people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Http1Upgrade => "HTTP/1.1 upgrade",
            Self::Http2Connect => "HTTP/2 extended CONNECT",
            Self::Http2ConnectWithKey => "HTTP/2 extended CONNECT with a key",
        }
    }
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "Outcome")]
pub enum AttemptOutcome {
    /// A WebSocket was opened.
    Opened,
    /// The server answered, and refused.
    Refused,
    /// The server's SETTINGS do not allow extended CONNECT, so it was not sent.
    NotAllowed,
    /// There was no answer, or it is no HTTP.
    Failed,
}

/// One attempt, on a connection of its own.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Attempt {
    /// What was tried.
    pub way: Way,
    /// How it ended.
    pub outcome: AttemptOutcome,
    /// Why no WebSocket was opened.
    pub error: Option<String>,
    /// What may help then.
    pub advice: Option<String>,
    /// The answer that refused it.
    pub refusal: Option<RefusalReport>,
    /// Whether the server agreed to compress messages; null if no WebSocket was opened.
    pub permessage_deflate: Option<Compression>,
    /// The subprotocol that the server chose.
    pub subprotocol: Option<String>,
    /// How long a Ping took there and its Pong back; null if no Pong came.
    pub ping_ms: Option<f64>,
    /// What came of a Close with 1000.
    pub close: Option<CloseReport>,
    /// How long each phase took.
    pub timings: Timings,
}

/// What became of the offer of permessage-deflate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Compression {
    /// Whether it was agreed on.
    pub agreed: bool,
    /// The server's `Sec-WebSocket-Extensions`.
    pub parameters: Option<String>,
}

/// An HTTP answer that refused a WebSocket.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct RefusalReport {
    /// Its status.
    pub status: u16,
    /// Status line and fields, a line each.
    pub head: Vec<String>,
    /// Its body, up to 64 KiB, as text.
    pub body: String,
    /// What it means.
    pub why: String,
    /// What may help.
    pub advice: String,
}

/// What came of a Close with 1000.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct CloseReport {
    /// The code of the server's Close; null if it sent none, 1005 if it sent one without a code.
    pub code: Option<u16>,
    /// Its reason.
    pub reason: String,
    /// Whether the session ended before it was to, by a Close of the server's or without one.
    pub unasked: bool,
    /// Whether the server then ended the connection, as it should (RFC 6455 section 7.1.1).
    pub ended_by_server: bool,
    /// How long all that took.
    pub ms: f64,
}

/// How long each phase of an attempt took, in milliseconds; null for one that was not there or not
/// finished.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub struct Timings {
    /// Resolving the name.
    pub dns_ms: Option<f64>,
    /// Connecting, to the proxy if there is one.
    pub tcp_ms: Option<f64>,
    /// Asking the proxy.
    pub proxy_ms: Option<f64>,
    /// The TLS handshake.
    pub tls_ms: Option<f64>,
    /// Waiting for the server's SETTINGS.
    pub settings_ms: Option<f64>,
    /// The opening handshake, until the head of its answer.
    pub handshake_ms: Option<f64>,
    /// All of it, until the WebSocket was open or could not be opened.
    pub total_ms: f64,
}

/// What TLS agreed on.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct TlsReport {
    /// Its version.
    pub version: String,
    /// The cipher suite.
    pub cipher_suite: String,
    /// The name that was asked for.
    pub server_name: String,
    /// Whether the certificate was verified.
    pub verified: bool,
    /// The server's certificate.
    pub certificate: Option<Certificate>,
}

/// A certificate.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Certificate {
    /// Whose it is.
    pub subject: String,
    /// Who says so.
    pub issuer: String,
    /// Its alternative names.
    pub names: Vec<String>,
    /// The end of its validity.
    pub not_after: String,
}

/// A setting of the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PeerSetting {
    /// Its registered name, or its number.
    pub name: String,
    /// Its value.
    pub value: u32,
}

impl Report {
    pub(super) fn new(uri: &WebSocketUri) -> Self {
        Self {
            version: REPORT_VERSION,
            uri: uri.to_string(),
            address: None,
            tls: None,
            alpn: Vec::new(),
            settings: None,
            attempts: Vec::new(),
            opened: false,
            verdict: String::new(),
            advice: Vec::new(),
        }
    }

    /// Takes in what an attempt saw beneath the WebSocket.
    pub(super) fn saw(&mut self, seen: SeenBeneath) {
        if let Some(name) = seen.alpn.filter(|name| !self.alpn.contains(name)) {
            self.alpn.push(name);
        }
        self.address = self.address.take().or(seen.address);
        self.tls = self.tls.take().or(seen.tls);
        self.settings = self.settings.take().or(seen.settings);
    }

    /// The attempt in one of the ways, if it was made.
    pub(super) fn attempt(&self, way: Way) -> Option<&Attempt> {
        self.attempts.iter().find(|attempt| attempt.way == way)
    }

    /// Puts into words what the attempts say together.
    pub(super) fn conclude(&mut self) {
        let outcome = |way| self.attempt(way).map(|attempt| attempt.outcome);
        let opened = |way| outcome(way) == Some(AttemptOutcome::Opened);
        let [http1, without_key, with_key] = Way::ALL.map(opened);
        let first = self.attempts.first().and_then(|attempt| attempt.error.as_deref()).unwrap_or_default();
        let verdict = match (http1, without_key, with_key) {
            (true, true, _) => "WebSocket works here over HTTP/1.1 and over HTTP/2.".to_owned(),
            (true, false, true) => {
                "WebSocket works here over HTTP/1.1, and over HTTP/2 if the request has a \
                 sec-websocket-key (--send-key): a proxy passes it on to a server that speaks HTTP/1.1."
                    .to_owned()
            }
            (true, false, false) => {
                format!("WebSocket works here over HTTP/1.1, not over HTTP/2: {}.", self.http2_words())
            }
            (false, true, _) => format!("WebSocket works here over HTTP/2 only; over HTTP/1.1: {first}."),
            (false, false, true) => format!(
                "WebSocket works here over HTTP/2 only, and only with a sec-websocket-key (--send-key); over HTTP/1.1: {first}."
            ),
            (false, false, false) if self.attempts.len() == 1 => {
                format!("This endpoint cannot be reached: {first}.")
            }
            (false, false, false) => format!(
                "No WebSocket can be opened here. Over HTTP/1.1: {first}. Over HTTP/2: {}.",
                self.http2_words()
            ),
        };
        self.opened = http1 || without_key || with_key;
        self.verdict = verdict;
    }

    fn http2_words(&self) -> &str {
        let attempt = self.attempt(Way::Http2Connect);
        attempt.and_then(|attempt| attempt.error.as_deref()).unwrap_or("it was not tried")
    }
}
