//! The client in a pipe: each line of standard input is a message, each message is a line on standard output, and
//! nothing else is there. The talk about the connection goes to standard error.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncWriteExt, Stdout};
use tokio::sync::{mpsc, oneshot};
use tungstenite::{Message, Utf8Bytes};

use super::connect::Connection;
use super::session::{AfterInput, Batch, Output, Session};
use super::{Outcome, render};
use crate::drain::EndSignals;

/// How much input is read at once, and how much output is gathered before it is written: what a pipe holds on Linux.
const CHUNK_BYTES: usize = 64 * 1024;

/// How many batches may wait between the reader and the connection: one in each hand, so that neither idles.
const BATCHES: usize = 2;

/// Why standard input could not be sent to its end.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// A text message is UTF-8 (RFC 6455 section 5.6).
    #[error("line {line} of standard input is not UTF-8")]
    NotText {
        /// Counted from 1.
        line: u64,
    },
    /// The system's error.
    #[error("read standard input: {0}")]
    Read(#[from] io::Error),
}

/// Runs the session of a connection between the process's standard streams.
pub(super) async fn run(
    connection: Connection,
    uri: &str,
    wait: Duration,
    signals: &mut EndSignals,
) -> io::Result<Outcome> {
    say(&format!("Connected to {uri}."));
    let (batches, mut input) = mpsc::channel(BATCHES);
    let (fails, mut failure) = oneshot::channel();
    let stdin = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    // A thread of its own, which nobody waits for: a read that blocks for ever must not keep the program from ending.
    std::thread::Builder::new().name("input".to_owned()).spawn(move || {
        // Said before `batches` is dropped, which is the end of the input.
        if let Err(error) = read_lines(stdin, &batches) {
            let _ = fails.send(error);
        }
    })?;
    let mut output = Lines { stdout: tokio::io::stdout(), gathered: String::new() };
    let mut session = Session::new(connection.stream, AfterInput::AwaitReplies(wait));
    let ended = tokio::select! {
        ended = session.run(&mut input, &mut output) => ended,
        signal = signals.next() => {
            session.say_goodbye();
            return Ok(Outcome::Signal(signal));
        }
    };
    match ended {
        Ok(closed) => {
            say(&format!("Connection closed: {}.", render::escape(&closed.status.to_string())));
            Ok(failure.try_recv().map_or(Outcome::Closed(closed), Outcome::BadInput))
        }
        // Who reads the output has seen enough, as with `| head`.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
            session.say_goodbye();
            Ok(Outcome::OutputClosed)
        }
        Err(error) => {
            session.say_goodbye();
            Err(error)
        }
    }
}

/// A line of talk. That nobody reads it is no reason to end.
pub(super) fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Standard output, a message a line, written in large pieces.
struct Lines {
    stdout: Stdout,
    gathered: String,
}

impl Output for Lines {
    async fn show(&mut self, message: &Message) -> io::Result<()> {
        render::line(message, &mut self.gathered);
        if self.gathered.len() < CHUNK_BYTES { Ok(()) } else { self.flush().await }
    }

    async fn flush(&mut self) -> io::Result<()> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        self.stdout.write_all(self.gathered.as_bytes()).await?;
        self.gathered.clear();
        self.stdout.flush().await
    }
}

/// Sends the lines of `source`, as many in a batch as were there to read; the last one may lack its newline.
fn read_lines(mut source: impl Read, batches: &mpsc::Sender<Batch>) -> Result<(), InputError> {
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut unfinished = BytesMut::new();
    let mut lines_before = 0;
    loop {
        let count = match source.read(&mut chunk) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other?,
        };
        let read = &chunk[..count];
        let searched = unfinished.len();
        unfinished.extend_from_slice(read);
        let lines = match memchr::memrchr(b'\n', read) {
            _ if count == 0 => unfinished.split(),
            Some(newline) => unfinished.split_to(searched + newline + 1),
            None => continue,
        };
        let (batch, failure) = split_lines(&lines.freeze(), lines_before);
        lines_before += batch.len() as u64;
        // Fails when the session is over.
        if !batch.is_empty() && batches.blocking_send(batch).is_err() {
            return Ok(());
        }
        match failure {
            Some(error) => return Err(error),
            None if count == 0 => return Ok(()),
            None => {}
        }
    }
}

/// The lines as text messages that share their bytes, up to the first that is not text.
fn split_lines(lines: &Bytes, lines_before: u64) -> (Batch, Option<InputError>) {
    let mut batch = Batch::new();
    let mut start = 0;
    while start < lines.len() {
        let end = memchr::memchr(b'\n', &lines[start..]).map_or(lines.len(), |length| start + length);
        let Ok(text) = Utf8Bytes::try_from(lines.slice(start..end)) else {
            let line = lines_before + batch.len() as u64 + 1;
            return (batch, Some(InputError::NotText { line }));
        };
        batch.push(Message::Text(text));
        start = end + 1;
    }
    (batch, None)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Hands out its bytes in pieces of this size.
    struct Pieces<'a>(std::slice::Chunks<'a, u8>);

    impl Read for Pieces<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let piece = self.0.next().unwrap_or_default();
            buffer[..piece.len()].copy_from_slice(piece);
            Ok(piece.len())
        }
    }

    fn lines_of(bytes: &[u8], piece: usize) -> (Vec<String>, Result<(), InputError>) {
        let (sender, mut receiver) = mpsc::channel(bytes.len() + 1);
        let outcome = read_lines(Pieces(bytes.chunks(piece)), &sender);
        drop(sender);
        let mut lines = Vec::new();
        while let Ok(batch) = receiver.try_recv() {
            lines.extend(batch.into_iter().map(|message| message.into_text().unwrap().as_str().to_owned()));
        }
        (lines, outcome)
    }

    #[test]
    fn a_line_loses_its_newline_and_nothing_else() {
        let (lines, outcome) = lines_of(b" a \r\n\n\nlast", 64);
        assert_eq!(lines, [" a \r", "", "", "last"]);
        assert!(outcome.is_ok());
    }

    #[test]
    fn the_lines_before_one_that_is_not_text_are_sent_and_it_is_named() {
        let (lines, outcome) = lines_of(b"one\ntwo\n\xff\nfour\n", 5);
        assert_eq!(lines, ["one", "two"]);
        assert_eq!(outcome.unwrap_err().to_string(), "line 3 of standard input is not UTF-8");
    }

    proptest! {
        #[test]
        fn how_the_input_is_cut_makes_no_difference(text in "[a\n😀]{0,40}", piece in 1_usize..9) {
            let (lines, outcome) = lines_of(text.as_bytes(), piece);
            prop_assert!(outcome.is_ok());
            let mut expected: Vec<&str> = text.split('\n').collect();
            // What follows the last newline is a line only if there is something.
            expected.pop_if(|last| last.is_empty());
            prop_assert_eq!(lines, expected);
        }
    }
}
