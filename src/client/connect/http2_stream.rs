//! One HTTP/2 stream as a byte stream, with the connection that carries it: what RFC 8441 makes of a TCP connection.
//! END_STREAM is its end, RST_STREAM a reset.
//!
//! The connection has no task of its own: whoever reads or writes drives it, so that it ends with the stream.

use std::fmt::{self, Debug, Formatter};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::Response;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::tunnel::{AwaitedResponse, Client, Stream, StreamError};

/// What moves a connection's bytes.
pub(super) type Driver = Pin<Box<dyn Future<Output = Result<(), h2::Error>>>>;

/// One write takes up to this: several DATA frames.
const MAX_WRITE_BYTES: usize = 64 * 1024;

/// The only stream of a connection.
pub(super) struct Http2Stream {
    stream: Stream,
    /// `None` once the connection has ended.
    driver: Option<Driver>,
    /// Held, because a connection without a client says GOAWAY.
    _client: Client,
    /// The rest of a DATA frame.
    unread: Bytes,
}

impl Debug for Http2Stream {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Http2Stream").field("stream", &self.stream).finish_non_exhaustive()
    }
}

impl Http2Stream {
    pub(super) fn new(stream: Stream, driver: Driver, client: Client) -> Self {
        Self { stream, driver: Some(driver), _client: client, unread: Bytes::new() }
    }

    /// The next head of the answer.
    pub(super) fn poll_head(
        &mut self,
        awaited: &mut AwaitedResponse,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Response<()>, StreamError>> {
        self.drive(cx);
        awaited.poll_head(&mut self.stream, cx)
    }

    /// Moves bytes between the connection and its streams. Why it ended, the stream says.
    fn drive(&mut self, cx: &mut Context<'_>) {
        if self.driver.as_mut().is_some_and(|driver| driver.as_mut().poll(cx).is_ready()) {
            self.driver = None;
        }
    }
}

fn broken(error: StreamError) -> io::Error {
    let kind = match error {
        StreamError::Reset(_) => io::ErrorKind::ConnectionReset,
        _ => io::ErrorKind::ConnectionAborted,
    };
    io::Error::new(kind, error)
}

impl AsyncRead for Http2Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.drive(cx);
        if self.unread.is_empty() {
            let Some(data) = ready!(self.stream.poll_data(cx)).map_err(broken)? else {
                self.stream.finish();
                self.drive(cx);
                return Poll::Ready(Ok(()));
            };
            self.unread = data;
        }
        let length = self.unread.len().min(buffer.remaining());
        buffer.put_slice(&self.unread[..length]);
        self.unread.advance(length);
        self.stream.release(length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Http2Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.drive(cx);
        ready!(self.stream.poll_ready(cx));
        let part = &bytes[..bytes.len().min(MAX_WRITE_BYTES)];
        self.stream.send(Bytes::copy_from_slice(part)).map_err(broken)?;
        Poll::Ready(Ok(part.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.drive(cx);
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.finish();
        self.drive(cx);
        Poll::Ready(Ok(()))
    }
}
