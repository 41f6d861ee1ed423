//! What a script sends: the arguments of `--send`, or standard input, as lines or as it is.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;

use bytes::{Bytes, BytesMut};
use tokio::sync::{mpsc, oneshot};
use tungstenite::{Message, Utf8Bytes};

use crate::client::config::Input;
use crate::client::session::Batch;

/// How much input is read at once: what a pipe holds on Linux.
const CHUNK_BYTES: usize = 64 * 1024;

/// How many batches may wait between the reader and the connection: one in each hand, so that
/// neither idles.
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

/// Messages, and why they ended before their end, which is there when they end.
pub(super) type MessageInput = (mpsc::Receiver<Batch>, oneshot::Receiver<InputError>);

/// Starts to read, on a thread that is never joined: a read that blocks for ever must not keep the
/// program from ending.
pub(super) fn start(input: &Input) -> io::Result<MessageInput> {
    let (batches, messages) = mpsc::channel(BATCHES);
    let (fails, failure) = oneshot::channel();
    let input = input.clone();
    let stdin = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    std::thread::Builder::new().name("input".to_owned()).spawn(move || {
        // Said before `batches` is dropped, which is the end of the input.
        if let Err(error) = read(&input, stdin, &batches) {
            let _ = fails.send(error);
        }
    })?;
    Ok((messages, failure))
}

fn read(input: &Input, stdin: File, batches: &mpsc::Sender<Batch>) -> Result<(), InputError> {
    match input {
        Input::Lines => read_lines(stdin, batches),
        Input::Texts(texts) => {
            let batch = texts.iter().map(|text| Message::text(text.as_str())).collect();
            // Fails when the session is over.
            let _ = batches.blocking_send(batch);
            Ok(())
        }
        Input::Binary { message_bytes } => read_binary(stdin, *message_bytes, batches),
    }
}

/// Sends `source` as binary messages of this size, the last one shorter; as one message, even if it
/// is empty, where there is no size.
fn read_binary(
    source: impl Read,
    message_bytes: Option<u64>,
    batches: &mpsc::Sender<Batch>,
) -> Result<(), InputError> {
    let mut source = io::BufReader::with_capacity(CHUNK_BYTES, source);
    loop {
        let mut payload = Vec::new();
        source.by_ref().take(message_bytes.unwrap_or(u64::MAX)).read_to_end(&mut payload)?;
        let is_last = message_bytes.is_none_or(|size| (payload.len() as u64) < size);
        let is_message = message_bytes.is_none() || !payload.is_empty();
        // Fails when the session is over.
        if is_message && batches.blocking_send(vec![Message::binary(payload)]).is_err() || is_last {
            return Ok(());
        }
    }
}

/// Sends the lines of `source`, as many in a batch as were there to read; the last one may lack its
/// newline.
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

    fn binary_of(bytes: &[u8], size: Option<u64>) -> Vec<Vec<u8>> {
        let (sender, mut receiver) = mpsc::channel(bytes.len() + 1);
        read_binary(Pieces(bytes.chunks(3)), size, &sender).unwrap();
        drop(sender);
        std::iter::from_fn(|| receiver.try_recv().ok())
            .flatten()
            .map(|message| message.into_data().to_vec())
            .collect()
    }

    #[test]
    fn binary_input_is_one_message_or_messages_of_a_size() {
        assert_eq!(binary_of(b"a\nbc\xff\0", None), [b"a\nbc\xff\0"]);
        assert_eq!(binary_of(b"", None), [b""]);
        assert_eq!(binary_of(b"abcdefgh", Some(4)), [b"abcd", b"efgh"]);
        assert_eq!(binary_of(b"abcde", Some(4)), [&b"abcd"[..], b"e"]);
        assert!(binary_of(b"", Some(4)).is_empty());
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
