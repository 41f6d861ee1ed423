//! The steps of a session, as a scenario writes them. What can be said in a word is written as a
//! bare value (`send: hello`, `close: 1000`), everything else as a map (`send: {binary: AAEC}`,
//! `close: {code: 4000, reason: bye}`).

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use schemars::JsonSchema;
use serde::Deserialize;
use tungstenite::protocol::frame::coding::CloseCode;

use super::scalar_or::ScalarOr;
use super::values::{Headers, Length, MethodName};
use crate::verify::expect::Pattern;
use crate::yaml::Placed;

/// The longest payload of a control frame (RFC 6455, section 5.5).
const MAX_CONTROL_BYTES: usize = 125;

/// One thing that a session does or waits for.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", rename_all_fields = "snake_case", deny_unknown_fields)]
pub enum Step {
    /// Opens a connection and sends the opening handshake.
    Connect(Connect),
    /// Sends a message: a text, or a map with `text`, `binary`, `file` or `text_file`.
    Send(Content),
    /// Waits for a message, and no other before it: a text, or a map with `text`, `binary`, `file`,
    /// `text_file` or `matches`, and `within`.
    Receive(Awaited),
    /// Sends a Ping with this payload and waits for its Pong.
    Ping(PingPayload),
    /// Lets this time pass.
    Wait(Length),
    /// Sends a Close frame with this code, waits for the same code in answer and for the end of the
    /// connection.
    Close(Closing),
    /// Waits for the other side to close with this code: 1005 stands for a Close frame without a
    /// code, 1006 for an end without any Close frame (RFC 6455, section 7.4.1).
    Closed(Ended),
    /// Drops the TCP connection, without a Close frame.
    Drop,
    /// Sends a plain HTTP request, on a connection of its own.
    Request(Request),
    /// Waits until every session that has a step of this name has come to it.
    Meet(String),
    /// Lets the held echo answer. Only with `application: held-echo`.
    Release,
    /// Looks into the access logs: each sidecar has written this many lines by now.
    Logged(usize),
    /// Does these steps again and again.
    Repeat {
        /// How many times they are done.
        times: usize,
        /// The steps that are done again.
        steps: Vec<Placed<Step>>,
    },
}

/// An opening handshake and the answer that is expected.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Connect {
    /// The request's path and query.
    pub path: String,
    /// The `Host` field, instead of the Service's.
    pub host: Option<String>,
    /// Fields of the request beside the handshake's own.
    pub headers: Headers,
    /// The subprotocols to offer.
    pub subprotocols: Vec<String>,
    /// The subprotocol that the answer chooses.
    pub subprotocol: Option<String>,
    /// The status that answers it.
    pub status: u16,
    /// The length of the answer's body, for a status that is a refusal.
    pub body_bytes: Option<usize>,
    /// How long the answer may take; 5s where nothing is said.
    pub within: Option<Length>,
}

impl Default for Connect {
    fn default() -> Self {
        Self {
            path: "/".to_owned(),
            host: None,
            headers: Headers::default(),
            subprotocols: Vec::new(),
            subprotocol: None,
            status: 101,
            body_bytes: None,
            within: None,
        }
    }
}

/// A plain HTTP request and the answer that is expected.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Request {
    /// The method of the request.
    pub method: MethodName,
    /// The path and query.
    pub path: String,
    /// The `Host` field, instead of the Service's.
    pub host: Option<String>,
    /// Further fields of the request.
    pub headers: Headers,
    /// The body of the request.
    pub body: String,
    /// The status that answers it.
    pub status: u16,
    /// The length of the answer's body.
    pub body_bytes: Option<usize>,
    /// How long the answer may take; 5s where nothing is said.
    pub within: Option<Length>,
}

impl Default for Request {
    fn default() -> Self {
        Self {
            method: MethodName(Method::GET),
            path: "/".to_owned(),
            host: None,
            headers: Headers::default(),
            body: String::new(),
            status: 200,
            body_bytes: None,
            within: None,
        }
    }
}

/// What a message says.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(try_from = "ScalarOr<String, NamedContent>")]
#[schemars(with = "ScalarOr<String, NamedContent>")]
pub enum Content {
    /// A text message.
    Text(String),
    /// A binary message.
    Binary(Vec<u8>),
    /// A binary message, with what the file says.
    File(PathBuf),
    /// A text message, with what the file says.
    TextFile(PathBuf),
}

/// The kinds of content that are written as a map with one key.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum NamedContent {
    /// A text.
    Text(String),
    /// Bytes, in base64.
    Binary(String),
    /// The file with the bytes, relative to the scenario's.
    File(PathBuf),
    /// The file with the text, relative to the scenario's.
    TextFile(PathBuf),
}

impl TryFrom<ScalarOr<String, NamedContent>> for Content {
    type Error = String;

    fn try_from(written: ScalarOr<String, NamedContent>) -> Result<Self, String> {
        Ok(match written {
            ScalarOr::Scalar(text) | ScalarOr::Map(NamedContent::Text(text)) => Self::Text(text),
            ScalarOr::Map(NamedContent::Binary(text)) => Self::Binary(decoded(&text)?),
            ScalarOr::Map(NamedContent::File(path)) => Self::File(path),
            ScalarOr::Map(NamedContent::TextFile(path)) => Self::TextFile(path),
        })
    }
}

fn decoded(base64: &str) -> Result<Vec<u8>, String> {
    STANDARD.decode(base64).map_err(|error| format!("{base64:?} is no base64: {error}"))
}

/// A message that is waited for.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(try_from = "ScalarOr<String, NamedMessage>")]
#[schemars(with = "ScalarOr<String, NamedMessage>")]
pub struct Awaited {
    /// What the message says.
    pub message: Wanted,
    /// How long it may take; 5s where nothing is said.
    pub within: Option<Length>,
}

/// What a message is to say.
#[derive(Debug, Clone, PartialEq)]
pub enum Wanted {
    /// This content, byte by byte.
    Equal(Content),
    /// A text that the regular expression finds something in.
    Matching(Pattern),
}

/// One of the kinds of message, and how long it may take.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NamedMessage {
    /// A text message that says this.
    text: Option<String>,
    /// A binary message that says this, in base64.
    binary: Option<String>,
    /// A binary message that says what this file says, relative to the scenario's.
    file: Option<PathBuf>,
    /// A text message that says what this file says, relative to the scenario's.
    text_file: Option<PathBuf>,
    /// A text message that this regular expression finds something in.
    matches: Option<Pattern>,
    /// How long it may take; 5s where nothing is said.
    within: Option<Length>,
}

impl TryFrom<ScalarOr<String, NamedMessage>> for Awaited {
    type Error = String;

    fn try_from(written: ScalarOr<String, NamedMessage>) -> Result<Self, String> {
        let named = match written {
            ScalarOr::Scalar(text) => {
                return Ok(Self { message: Wanted::Equal(Content::Text(text)), within: None });
            }
            ScalarOr::Map(named) => named,
        };
        let mut wanted = [
            named.text.map(|text| Wanted::Equal(Content::Text(text))),
            named
                .binary
                .as_deref()
                .map(decoded)
                .transpose()?
                .map(|bytes| Wanted::Equal(Content::Binary(bytes))),
            named.file.map(|path| Wanted::Equal(Content::File(path))),
            named.text_file.map(|path| Wanted::Equal(Content::TextFile(path))),
            named.matches.map(Wanted::Matching),
        ]
        .into_iter()
        .flatten();
        match (wanted.next(), wanted.next()) {
            (Some(message), None) => Ok(Self { message, within: named.within }),
            _ => Err("a message is named by one of text, binary, file, text_file, matches".to_owned()),
        }
    }
}

/// The payload of a Ping.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String")]
pub struct PingPayload(pub String);

impl TryFrom<String> for PingPayload {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.len() {
            0..=MAX_CONTROL_BYTES => Ok(Self(text)),
            bytes => Err(format!("a Ping carries at most {MAX_CONTROL_BYTES} bytes, not {bytes}")),
        }
    }
}

/// A Close frame to send.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(try_from = "ScalarOr<u16, NamedClose>")]
#[schemars(with = "ScalarOr<u16, NamedClose>")]
pub struct Closing {
    /// Its code.
    pub code: u16,
    /// Its reason.
    pub reason: String,
}

/// The other side's Close frame, or the lack of one.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(from = "ScalarOr<u16, NamedEnd>")]
#[schemars(with = "ScalarOr<u16, NamedEnd>")]
pub struct Ended {
    /// Its code; 1005 and 1006 as RFC 6455 has them.
    pub code: u16,
    /// Its reason, if that matters.
    pub reason: Option<String>,
    /// How long it may take; 5s where nothing is said.
    pub within: Option<Length>,
}

/// A Close frame, with a reason.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NamedClose {
    /// The code.
    code: u16,
    /// The reason.
    #[serde(default)]
    reason: String,
}

/// A Close frame, with a reason, and how long it may take.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NamedEnd {
    /// The code; 1005 for a Close frame without one, 1006 for an end without a Close frame.
    code: u16,
    /// The reason, if that matters.
    reason: Option<String>,
    /// How long it may take; 5s where nothing is said.
    within: Option<Length>,
}

impl TryFrom<ScalarOr<u16, NamedClose>> for Closing {
    type Error = String;

    fn try_from(written: ScalarOr<u16, NamedClose>) -> Result<Self, String> {
        let closing = match written {
            ScalarOr::Scalar(code) => Self { code, reason: String::new() },
            ScalarOr::Map(NamedClose { code, reason }) => Self { code, reason },
        };
        if !CloseCode::from(closing.code).is_allowed() {
            return Err(format!(
                "{} is not a code that can be sent: 1000, say, or 3000 to 4999",
                closing.code
            ));
        }
        // The code takes two bytes of the payload.
        if closing.reason.len() > MAX_CONTROL_BYTES - 2 {
            return Err(format!("a reason has at most {} bytes", MAX_CONTROL_BYTES - 2));
        }
        Ok(closing)
    }
}

impl From<ScalarOr<u16, NamedEnd>> for Ended {
    fn from(written: ScalarOr<u16, NamedEnd>) -> Self {
        match written {
            ScalarOr::Scalar(code) => Self { code, reason: None, within: None },
            ScalarOr::Map(NamedEnd { code, reason, within }) => Self { code, reason, within },
        }
    }
}

impl Step {
    /// How many access-log lines it leaves at each sidecar: one a request, whether that opens a
    /// WebSocket or not.
    pub(super) fn lines(&self) -> usize {
        match self {
            Self::Connect(_) | Self::Request(_) => 1,
            Self::Repeat { times, steps } => times * lines(steps),
            _ => 0,
        }
    }

    /// The handshakes in it, to be changed.
    pub(super) fn connects_mut(&mut self) -> Vec<&mut Connect> {
        match self {
            Self::Connect(connect) => vec![connect],
            Self::Repeat { steps, .. } => {
                steps.iter_mut().flat_map(|step| step.value.connects_mut()).collect()
            }
            _ => Vec::new(),
        }
    }

    /// The files that it reads, to be changed to where they are.
    pub(super) fn files(&mut self) -> Vec<&mut PathBuf> {
        match self {
            Self::Send(content) | Self::Receive(Awaited { message: Wanted::Equal(content), .. }) => {
                match content {
                    Content::File(path) | Content::TextFile(path) => vec![path],
                    Content::Text(_) | Content::Binary(_) => Vec::new(),
                }
            }
            Self::Repeat { steps, .. } => steps.iter_mut().flat_map(|step| step.value.files()).collect(),
            _ => Vec::new(),
        }
    }
}

/// How many access-log lines some steps leave at each sidecar.
pub(super) fn lines(steps: &[Placed<Step>]) -> usize {
    steps.iter().map(|step| step.value.lines()).sum()
}

impl Content {
    /// What the file says, or what the scenario says itself.
    ///
    /// # Errors
    /// In words: the file cannot be read, or is no text though it is to be one.
    pub(in crate::verify) async fn message(&self) -> Result<tungstenite::Message, String> {
        let read = async |path: &Path| {
            tokio::fs::read(path).await.map_err(|error| format!("read {}: {error}", path.display()))
        };
        Ok(match self {
            Self::Text(text) => tungstenite::Message::text(text),
            Self::Binary(bytes) => tungstenite::Message::binary(bytes.clone()),
            Self::File(path) => tungstenite::Message::binary(read(path).await?),
            Self::TextFile(path) => {
                let text = String::from_utf8(read(path).await?);
                tungstenite::Message::text(text.map_err(|_| format!("{} is no UTF-8", path.display()))?)
            }
        })
    }
}
