//! A message as a line of JSON. The form is an interface: `schemas/client-messages.schema.json`
//! publishes it, and a change that a reader could notice is another version.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use tungstenite::Message;

use crate::client::closing::code_of;
use crate::escape::to_json;
use crate::websocket::close_code;

/// The version of the form.
const VERSION: u8 = 1;

/// A message or a control frame of the session, or its end without the server's Close, which is
/// like a Close with 1006. The answers to a ping and to a Close are not told.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Record")]
pub(super) struct MessageRecord<'a> {
    /// The version of this form: 1.
    #[schemars(extend("const" = VERSION))]
    version: u8,
    /// When it was handed over, as RFC 3339, in UTC.
    #[schemars(extend("format" = "date-time"))]
    time: String,
    /// Which way it went.
    direction: RecordDirection,
    /// What it is.
    opcode: Opcode,
    /// How many bytes its payload has; of a Close, its code and its reason.
    size: usize,
    /// How `payload` is written.
    encoding: Encoding,
    /// The payload; of a Close, its reason.
    payload: std::borrow::Cow<'a, str>,
    /// The code of a Close, 1005 if it has none, 1006 if none came before the end; null for
    /// everything else.
    close_code: Option<u16>,
}

/// Which way a message went.
#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "Direction")]
pub(super) enum RecordDirection {
    /// To the server.
    Sent,
    /// From the server.
    Received,
}

/// What a message is (RFC 6455 section 11.8).
#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Opcode {
    Text,
    Binary,
    Ping,
    Pong,
    Close,
}

/// How a payload is written.
#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Encoding {
    /// As it is.
    Text,
    /// RFC 4648 section 4.
    Base64,
}

impl<'a> MessageRecord<'a> {
    pub(super) fn new(direction: RecordDirection, message: &'a Message) -> Self {
        let (opcode, encoding, payload) = match message {
            Message::Text(text) => (Opcode::Text, Encoding::Text, text.as_str().into()),
            Message::Binary(bytes) => (Opcode::Binary, Encoding::Base64, STANDARD.encode(bytes).into()),
            Message::Ping(bytes) => (Opcode::Ping, Encoding::Base64, STANDARD.encode(bytes).into()),
            Message::Pong(bytes) => (Opcode::Pong, Encoding::Base64, STANDARD.encode(bytes).into()),
            Message::Close(frame) => {
                let reason = frame.as_ref().map_or("", |frame| frame.reason.as_str());
                (Opcode::Close, Encoding::Text, reason.into())
            }
            Message::Frame(frame) => {
                (Opcode::Binary, Encoding::Base64, STANDARD.encode(frame.payload()).into())
            }
        };
        let close_code = match message {
            Message::Close(frame) => Some(code_of(frame.as_ref())),
            _ => None,
        };
        let size = match message {
            Message::Close(Some(frame)) => size_of::<u16>() + frame.reason.len(),
            other => other.len(),
        };
        Self {
            version: VERSION,
            time: format!("{:.6}", Timestamp::now()),
            direction,
            opcode,
            size,
            encoding,
            payload,
            close_code,
        }
    }

    /// The end of a session without a Close of the server's, or because it did not come in time
    /// (RFC 6455 section 7.1.5).
    pub(super) fn lost() -> Self {
        let close_code = Some(close_code::ABNORMAL_CLOSURE);
        Self { close_code, ..Self::new(RecordDirection::Received, &Message::Close(None)) }
    }

    /// Appends the line.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(to_json(self).expect("plain data").as_bytes());
        out.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use tungstenite::protocol::CloseFrame;

    use super::*;

    fn line(direction: RecordDirection, message: &Message) -> String {
        let mut out = Vec::new();
        let mut record = MessageRecord::new(direction, message);
        record.time = "2026-01-02T03:04:05.678901Z".to_owned();
        record.write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_record_is_one_line_that_a_terminal_can_show() {
        assert_eq!(
            line(RecordDirection::Received, &Message::text("a\nb\x1b[31m\u{9b}é")),
            "{\"version\":1,\"time\":\"2026-01-02T03:04:05.678901Z\",\"direction\":\"received\",\
             \"opcode\":\"text\",\"size\":12,\"encoding\":\"text\",\
             \"payload\":\"a\\nb\\u001b[31m\\u009bé\",\"close_code\":null}\n"
        );
        let sent = line(RecordDirection::Sent, &Message::binary(vec![0, 255]));
        assert!(sent.contains("\"encoding\":\"base64\",\"payload\":\"AP8=\""), "{sent}");
        let frame = CloseFrame { code: 4000.into(), reason: "bye".into() };
        let closed = line(RecordDirection::Received, &Message::Close(Some(frame)));
        assert!(
            closed.contains("\"size\":5,\"encoding\":\"text\",\"payload\":\"bye\",\"close_code\":4000"),
            "{closed}"
        );
        assert!(line(RecordDirection::Received, &Message::Close(None)).contains("\"close_code\":1005"));
        let mut lost = Vec::new();
        MessageRecord::lost().write(&mut lost);
        let lost: serde_json::Value = serde_json::from_slice(&lost).unwrap();
        assert_eq!(
            (&lost["direction"], &lost["opcode"], &lost["size"], &lost["close_code"]),
            (&"received".into(), &"close".into(), &0.into(), &1006.into())
        );
    }

    #[test]
    fn the_published_schema_is_the_one_of_the_records() {
        let published = include_str!("../../../schemas/client-messages.schema.json");
        let schema = serde_json::to_string_pretty(&schemars::schema_for!(MessageRecord)).unwrap();
        assert_eq!(published.trim_end(), schema, "\n{schema}");
    }
}
