//! A stream as bytes in both directions: what RFC 8441 makes of a TCP connection. END_STREAM is its end, RST_STREAM a reset.
//!
//! DATA frames are taken as they come, also while nobody reads, and become one buffer: the window bounds its bytes, and
//! `h2` would hold many small frames at many times their size.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::stream::{Stream, StreamError};
use crate::net::Holding;

/// One write takes up to this: several DATA frames.
const MAX_WRITE_BYTES: usize = 64 * 1024;

/// See the module. Something else has to drive the connection.
#[derive(Debug)]
pub struct ByteStream {
    stream: Stream,
    /// Taken and not yet read.
    unread: BytesMut,
    /// How the peer's side ended, once it has.
    ended: Option<Result<(), StreamError>>,
}

impl ByteStream {
    /// The bytes of a stream, for when the heads have been exchanged.
    #[must_use]
    pub fn new(stream: Stream) -> Self {
        Self { stream, unread: BytesMut::new(), ended: None }
    }

    /// The stream, of which no bytes are to be read or written but here.
    pub fn get_mut(&mut self) -> &mut Stream {
        &mut self.stream
    }

    /// Takes all there is; ready once that is everything.
    fn poll_take(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        loop {
            if let Some(ended) = self.ended {
                return Poll::Ready(ended);
            }
            match ready!(self.stream.poll_data(cx)) {
                Ok(Some(data)) if self.unread.is_empty() => self.unread = data.into(),
                Ok(Some(data)) => self.unread.extend_from_slice(&data),
                Ok(None) => self.ended = Some(Ok(())),
                Err(error) => self.ended = Some(Err(error)),
            }
        }
    }
}

/// What has come and is not read, and what is written and has not left.
impl Holding for ByteStream {
    fn held(&self) -> usize {
        self.unread.len() + self.stream.queued()
    }
}

fn broken(error: StreamError) -> io::Error {
    let kind = match error {
        StreamError::Reset(_) => io::ErrorKind::ConnectionReset,
        _ => io::ErrorKind::ConnectionAborted,
    };
    io::Error::new(kind, error)
}

impl AsyncRead for ByteStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let taken = self.poll_take(cx);
        if self.unread.is_empty() {
            return taken.map_err(broken);
        }
        let length = self.unread.len().min(buffer.remaining());
        buffer.put_slice(&self.unread[..length]);
        self.unread.advance(length);
        if self.unread.is_empty() {
            self.unread = BytesMut::new();
        }
        self.stream.release(length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ByteStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        // An end is the reader's to see, a reset is the writer's too: there is nobody who takes anything.
        if let Poll::Ready(Err(error)) = self.poll_take(cx) {
            return Poll::Ready(Err(broken(error)));
        }
        ready!(self.stream.poll_ready(cx));
        let part = &bytes[..bytes.len().min(MAX_WRITE_BYTES)];
        self.stream.send(Bytes::copy_from_slice(part)).map_err(broken)?;
        Poll::Ready(Ok(part.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.finish();
        Poll::Ready(Ok(()))
    }
}
