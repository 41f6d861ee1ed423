//! Standard output of a script: messages as lines, as bytes, or as records.

use std::borrow::Cow;
use std::io::{self, IsTerminal};

use tokio::io::{AsyncWriteExt, Stdout};
use tungstenite::Message;

use super::record::{MessageRecord, RecordDirection};
use crate::client::config::OutputFormat;
use crate::client::render;
use crate::client::session::Output;
use crate::escape::escape_line;

/// How much is gathered before it is written: what a pipe holds on Linux.
const CHUNK_BYTES: usize = 64 * 1024;

/// Standard output, written in large pieces.
pub(super) struct MessageOutput {
    stdout: Stdout,
    format: OutputFormat,
    /// How the texts of [`OutputFormat::Lines`] are escaped.
    escape: fn(&str) -> Cow<'_, str>,
    gathered: Vec<u8>,
}

impl MessageOutput {
    pub(super) fn new(format: OutputFormat) -> Self {
        // A terminal obeys what it is shown; in a pipe or a file messages are data.
        let escape = if io::stdout().is_terminal() { escape_line } else { as_it_is };
        Self { stdout: tokio::io::stdout(), format, escape, gathered: Vec::new() }
    }
}

fn as_it_is(text: &str) -> Cow<'_, str> {
    Cow::Borrowed(text)
}

impl Output for MessageOutput {
    fn sent(&mut self, message: &Message) {
        if self.format == OutputFormat::Jsonl {
            MessageRecord::new(RecordDirection::Sent, message).write(&mut self.gathered);
        }
    }

    fn received(&mut self, message: &Message) {
        match (self.format, message) {
            (OutputFormat::Jsonl, _) => {
                MessageRecord::new(RecordDirection::Received, message).write(&mut self.gathered);
            }
            (OutputFormat::Lines, _) => {
                if let Some(text) = render::data(message, self.escape) {
                    self.gathered.extend_from_slice(text.as_bytes());
                    self.gathered.push(b'\n');
                }
            }
            (OutputFormat::Raw, Message::Text(text)) => self.gathered.extend_from_slice(text.as_bytes()),
            (OutputFormat::Raw, Message::Binary(bytes)) => self.gathered.extend_from_slice(bytes),
            (OutputFormat::Raw, _) => {}
        }
    }

    fn lost(&mut self) {
        if self.format == OutputFormat::Jsonl {
            MessageRecord::lost().write(&mut self.gathered);
        }
    }

    fn is_full(&self) -> bool {
        self.gathered.len() >= CHUNK_BYTES
    }

    async fn flush(&mut self) -> io::Result<()> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        self.stdout.write_all(&self.gathered).await?;
        self.gathered.clear();
        self.stdout.flush().await
    }
}
