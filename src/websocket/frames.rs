//! What lies between tungstenite and the byte stream of a session, once the opening handshake is done: the frames of
//! one role, compressed if both sides agreed on it.
//!
//! ```text
//! WebSocketStream ── Frames::Plain ───────────────────── PromptText ── any byte stream
//!                 └─ Frames::Deflated ── Deflate ──────── PromptText ── any byte stream
//! ```

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{CloseFrame, Role};

use super::deflate::{Agreement, Deflate};
use super::prompt_text::PromptText;

/// The byte stream that tungstenite is given.
#[derive(Debug)]
pub struct Frames<S>(Kind<S>);

#[derive(Debug)]
enum Kind<S> {
    Plain(PromptText<S>),
    Deflated(Box<Deflate<PromptText<S>>>),
}

impl<S> Frames<S> {
    /// The frames that follow the opening handshake on `stream`, of which `early` was read with it. `longest_frame` is
    /// tungstenite's own limit: a frame that is longer passes uncut, and so is refused by its header.
    pub fn new(
        stream: S,
        early: Bytes,
        role: Role,
        agreement: Option<Agreement>,
        longest_frame: usize,
    ) -> Self {
        let frames = PromptText::new(stream, early, longest_frame);
        Self(match agreement {
            None => Kind::Plain(frames),
            Some(agreement) => Kind::Deflated(Box::new(Deflate::new(frames, agreement, role, longest_frame))),
        })
    }

    /// The byte stream beneath.
    pub fn get_ref(&self) -> &S {
        self.as_arrived().get_ref()
    }

    /// A Close as the peer sent it: tungstenite tells some codes as others.
    #[must_use]
    pub fn as_sent(&self, close: CloseFrame) -> CloseFrame {
        CloseFrame { code: self.as_arrived().close_code().map_or(close.code, CloseCode::from), ..close }
    }

    /// Whether a message or a frame of the peer's has begun to arrive and is not complete.
    #[must_use]
    pub fn is_amid_message(&self) -> bool {
        self.as_arrived().is_amid_message()
    }

    /// The frames before anything is inflated.
    fn as_arrived(&self) -> &PromptText<S> {
        match &self.0 {
            Kind::Plain(frames) => frames,
            Kind::Deflated(frames) => frames.get_ref(),
        }
    }

    /// The byte stream beneath. What is read from it is lost to the session.
    pub fn get_mut(&mut self) -> &mut S {
        match &mut self.0 {
            Kind::Plain(frames) => frames.get_mut(),
            Kind::Deflated(frames) => frames.get_mut().get_mut(),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Frames<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Kind::Plain(frames) => Pin::new(frames).poll_read(cx, out),
            Kind::Deflated(frames) => Pin::new(frames).poll_read(cx, out),
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Frames<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.0 {
            Kind::Plain(frames) => Pin::new(frames).poll_write(cx, bytes),
            Kind::Deflated(frames) => Pin::new(frames).poll_write(cx, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Kind::Plain(frames) => Pin::new(frames).poll_flush(cx),
            Kind::Deflated(frames) => Pin::new(frames).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Kind::Plain(frames) => Pin::new(frames).poll_shutdown(cx),
            Kind::Deflated(frames) => Pin::new(frames).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests;
