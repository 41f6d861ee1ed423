//! What lies between tungstenite and the byte stream of a session, once the opening handshake is
//! done: the frames of one role, compressed if both sides agreed on it.
//!
//! ```text
//! WebSocketStream ── TransportAdapter::Plain ───────────────────── Utf8Splitter ── any byte stream
//!                 └─ TransportAdapter::Deflated ── Deflate ──────── Utf8Splitter ── any byte stream
//! ```

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tungstenite::protocol::{CloseFrame, Role};

use super::close_code::{self, BAD_GATEWAY, TRY_AGAIN_LATER};
use super::deflate::{Agreement, Deflate};
use super::utf8_splitter::Utf8Splitter;

/// The longest frame that a message of `message` bytes comes in: compressing one that does not
/// compress makes it longer, at worst by as much as zlib's `deflateBound` says of its less usual
/// settings.
#[must_use]
pub fn max_frame_bytes(message: usize, agreement: Option<Agreement>) -> usize {
    const FLUSH: usize = 16;
    match agreement {
        None => message,
        Some(_) => message.saturating_add(message / 8 + message / 64 + FLUSH),
    }
}

/// The byte stream that tungstenite is given.
#[derive(Debug)]
pub struct TransportAdapter<S> {
    kind: Stack<S>,
    /// How long the payload is of the answer to a Close with 1014.
    answer_length: Option<usize>,
}

#[derive(Debug)]
enum Stack<S> {
    Plain(Utf8Splitter<S>),
    Deflated(Box<Deflate<Utf8Splitter<S>>>),
}

impl<S> TransportAdapter<S> {
    /// The frames that follow the opening handshake on `stream`, of which `early` was read with it.
    /// `max_frame_bytes` is tungstenite's own limit: a frame that is longer passes uncut, and so is
    /// refused by its header.
    pub fn new(
        stream: S,
        early: Bytes,
        role: Role,
        agreement: Option<Agreement>,
        max_frame_bytes: usize,
    ) -> Self {
        let frames = Utf8Splitter::new(stream, early, max_frame_bytes);
        let kind = match agreement {
            None => Stack::Plain(frames),
            Some(agreement) => {
                Stack::Deflated(Box::new(Deflate::new(frames, agreement, role, max_frame_bytes)))
            }
        };
        Self { kind, answer_length: None }
    }

    /// The byte stream beneath.
    pub fn get_ref(&self) -> &S {
        self.as_arrived().get_ref()
    }

    /// A Close as the peer sent it: tungstenite tells some codes as others, and has a reason of its
    /// own for a wrong one, whose own reason is lost.
    #[must_use]
    pub fn as_sent(&self, close: CloseFrame) -> CloseFrame {
        match self.as_arrived().close() {
            Some((code, _)) if close_code::may_be_sent(code) => CloseFrame { code: code.into(), ..close },
            Some((code, _)) => CloseFrame { code: code.into(), reason: "".into() },
            None => close,
        }
    }

    /// Has tungstenite, which has just returned the peer's Close and will answer it, say the peer's
    /// code.
    pub fn answer_as_sent(&mut self) {
        self.answer_length = match self.as_arrived().close() {
            Some((BAD_GATEWAY, length)) => usize::try_from(length).ok(),
            _ => None,
        };
    }

    /// What tungstenite writes last, with 1014 in the place of its neighbour: in the low byte of
    /// the code, whatever masks it.
    fn answered_as_sent(&self, frames: &[u8]) -> Option<Vec<u8>> {
        let after_high_byte = self.answer_length? - 1;
        let mut answer = frames.to_vec();
        let low_byte = answer.get_mut(frames.len().checked_sub(after_high_byte)?)?;
        *low_byte ^= (BAD_GATEWAY ^ TRY_AGAIN_LATER).to_be_bytes()[1];
        Some(answer)
    }

    /// Whether a message or a frame of the peer's has begun to arrive and is not complete.
    #[must_use]
    pub fn is_amid_message(&self) -> bool {
        self.as_arrived().is_amid_message()
    }

    /// How long the longest message is that was read, as far as it is known without tungstenite,
    /// and whether all have come whole.
    #[must_use]
    pub fn longest_message(&self) -> (u64, bool) {
        match &self.kind {
            // tungstenite has the length of a frame from its header.
            Stack::Plain(frames) => (0, !frames.is_fragmented()),
            Stack::Deflated(frames) => frames.longest_message(),
        }
    }

    /// The frames before anything is inflated.
    fn as_arrived(&self) -> &Utf8Splitter<S> {
        match &self.kind {
            Stack::Plain(frames) => frames,
            Stack::Deflated(frames) => frames.get_ref(),
        }
    }

    /// The byte stream beneath. What is read from it is lost to the session.
    pub fn get_mut(&mut self) -> &mut S {
        match &mut self.kind {
            Stack::Plain(frames) => frames.get_mut(),
            Stack::Deflated(frames) => frames.get_mut().get_mut(),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for TransportAdapter<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.kind {
            Stack::Plain(frames) => Pin::new(frames).poll_read(cx, out),
            Stack::Deflated(frames) => Pin::new(frames).poll_read(cx, out),
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for TransportAdapter<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let answer = self.answered_as_sent(bytes);
        let bytes = answer.as_deref().unwrap_or(bytes);
        match &mut self.kind {
            Stack::Plain(frames) => Pin::new(frames).poll_write(cx, bytes),
            Stack::Deflated(frames) => Pin::new(frames).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let is_patched = self.answer_length.is_some();
        match &mut self.kind {
            Stack::Plain(frames) if !is_patched => Pin::new(frames).poll_write_vectored(cx, slices),
            _ => {
                let first = slices.iter().find(|slice| !slice.is_empty());
                self.poll_write(cx, first.map_or(&[], |slice| &**slice))
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.kind {
            Stack::Plain(frames) => frames.is_write_vectored(),
            Stack::Deflated(_) => false,
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.kind {
            Stack::Plain(frames) => Pin::new(frames).poll_flush(cx),
            Stack::Deflated(frames) => Pin::new(frames).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.kind {
            Stack::Plain(frames) => Pin::new(frames).poll_shutdown(cx),
            Stack::Deflated(frames) => Pin::new(frames).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests;
