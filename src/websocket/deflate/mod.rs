//! permessage-deflate (RFC 7692) as a byte stream beneath tungstenite, which knows no extension and
//! needs not be changed.
//!
//! What is read from `Deflate` are plain frames: a compressed message comes as fragments, as it is
//! inflated. What is written to it goes out compressed. `agreement` is the negotiation in the
//! opening handshake; the two halves know nothing of sockets, and nothing of each other. Sessions
//! without the extension do not have this beneath them:
//! [`TransportAdapter`](super::TransportAdapter) is with it or without.

mod agreement;
mod deflater;
mod deflating;
mod inflating;

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::coop::poll_proceed;
use tokio_util::io::poll_read_buf;
use tungstenite::protocol::Role;

pub use agreement::{Agreement, OFFER, Sending};
use deflating::Deflating;
pub use inflating::Corrupt;
use inflating::Inflating;

/// How much is read at once.
const READ: usize = 16 * 1024;

/// How much is compressed at once. tungstenite moves the rest of what it writes to the front of its
/// buffer each time, so less would be slow with long messages.
const WRITE: usize = 1024 * 1024;

/// How much that is compressed may wait to be written before no more is taken.
const WAITING: usize = 64 * 1024;

/// How many bytes are worth one of the 128 turns after which tokio has a task make way for others.
const TURN: usize = 64 * 1024;

/// A stream whose messages are compressed.
#[derive(Debug)]
pub(super) struct Deflate<S> {
    stream: S,
    inflating: Inflating,
    deflating: Deflating,
    /// What was read and not yet inflated. An idle session holds nothing here and below.
    arrived: BytesMut,
    /// What is compressed and not yet written.
    leaving: BytesMut,
}

impl<S> Deflate<S> {
    /// The frames of `stream`, seen from `role`.
    pub(super) fn new(stream: S, agreement: Agreement, role: Role, max_frame_bytes: usize) -> Self {
        let (peers, own) = match role {
            Role::Server => (agreement.client, agreement.server),
            Role::Client => (agreement.server, agreement.client),
        };
        Self {
            stream,
            inflating: Inflating::new(peers, role == Role::Server, max_frame_bytes),
            deflating: Deflating::new(own),
            arrived: BytesMut::new(),
            leaving: BytesMut::new(),
        }
    }

    pub(super) fn get_ref(&self) -> &S {
        &self.stream
    }

    /// See [`Inflating::longest_message`].
    pub(super) fn longest_message(&self) -> (u64, bool) {
        self.inflating.longest_message()
    }

    pub(super) fn get_mut(&mut self) -> &mut S {
        &mut self.stream
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Deflate<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let turn = ready!(poll_proceed(cx));
        loop {
            let made = this.inflating.advance(&mut this.arrived, out.initialize_unfilled());
            if this.arrived.is_empty() {
                this.arrived = BytesMut::new();
            }
            let made = made.map_err(|corrupt| io::Error::new(io::ErrorKind::InvalidData, corrupt))?;
            if made > 0 || out.remaining() == 0 {
                out.advance(made);
                turn.made_progress();
                return Poll::Ready(Ok(()));
            }
            this.arrived.reserve(READ);
            let read = poll_read_buf(Pin::new(&mut this.stream), cx, &mut this.arrived);
            if this.arrived.is_empty() {
                this.arrived = BytesMut::new();
            }
            if ready!(read)? == 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> Deflate<S> {
    /// Writes everything that is compressed.
    fn poll_write_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.leaving.is_empty() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.leaving))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.leaving.advance(written);
        }
        self.leaving = BytesMut::new();
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Deflate<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.leaving.len() > WAITING {
            ready!(this.poll_write_out(cx))?;
        }
        ready!(poll_proceed(cx)).made_progress();
        let taken = &bytes[..bytes.len().min(WRITE)];
        this.deflating.take(taken, &mut this.leaving);
        for _ in 0..taken.len() / TURN {
            if let Poll::Ready(turn) = poll_proceed(cx) {
                turn.made_progress();
            }
        }
        Poll::Ready(Ok(taken.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_write_out(cx))?;
        Pin::new(&mut this.stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_write_out(cx))?;
        Pin::new(&mut this.stream).poll_shutdown(cx)
    }
}
