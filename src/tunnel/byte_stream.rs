//! A stream as bytes in both directions: what RFC 8441 makes of a TCP connection. END_STREAM is its
//! end, RST_STREAM a reset.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::stream::{Stream, StreamError};
use crate::net::Holding;

/// One write takes up to this: several DATA frames.
const MAX_WRITE_BYTES: usize = 64 * 1024;

/// See the module. Something else has to drive the connection.
#[derive(Debug)]
pub struct ByteStream {
    stream: Stream,
    /// The rest of the part that was taken last.
    unread: Bytes,
    /// How the peer's side ended, once it has.
    ended: Option<Result<(), StreamError>>,
}

impl ByteStream {
    /// The bytes of a stream whose heads have been exchanged.
    #[must_use]
    pub fn new(stream: Stream) -> Self {
        Self { stream, unread: Bytes::new(), ended: None }
    }

    /// The stream, whose bytes are to be read and written only through this.
    pub fn get_mut(&mut self) -> &mut Stream {
        &mut self.stream
    }

    /// Ready when something is unread, or at the end.
    fn poll_unread(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        while self.unread.is_empty() {
            if let Some(ended) = self.ended {
                return Poll::Ready(ended);
            }
            match ready!(self.stream.poll_data(cx)) {
                Ok(Some(data)) => self.unread = data,
                Ok(None) => self.ended = Some(Ok(())),
                Err(error) => self.ended = Some(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// Bytes that have come and are not read, and bytes that are written and have not left.
impl Holding for ByteStream {
    fn held(&self) -> usize {
        self.unread.len() + self.stream.unread() + self.stream.queued()
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
    /// Fills `buffer` with all there is.
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        while buffer.remaining() > 0 {
            let polled = self.poll_unread(cx);
            if self.unread.is_empty() {
                // An end or an error is for the next read if this one has got something.
                return if buffer.filled().len() > before {
                    Poll::Ready(Ok(()))
                } else {
                    polled.map_err(broken)
                };
            }
            let length = self.unread.len().min(buffer.remaining());
            buffer.put_slice(&self.unread[..length]);
            self.unread.advance(length);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ByteStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        // The reader alone is told of an end. A reset is for the writer too: the peer takes nothing
        // any more.
        if self.ended.is_none()
            && let Poll::Ready(ended) = self.stream.poll_stalled(cx)
        {
            ended.map_err(broken)?;
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
