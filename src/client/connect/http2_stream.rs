//! One HTTP/2 stream as a byte stream, with the connection that carries it: what RFC 8441 makes of
//! a TCP connection.
//!
//! The connection has no task of its own: reads and writes of the stream drive it, so that it ends
//! with the stream.

use std::fmt::{self, Debug, Formatter};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::Response;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::tunnel::{AwaitedResponse, ByteStream, Client, Stream, StreamError};

/// What moves a connection's bytes.
pub(super) type Driver = Pin<Box<dyn Future<Output = Result<(), h2::Error>>>>;

/// The only stream of a connection.
pub(super) struct OnlyStream {
    stream: ByteStream,
    /// `None` once the connection has ended.
    driver: Option<Driver>,
    /// Held, because a connection without a client says GOAWAY.
    _client: Client,
}

impl Debug for OnlyStream {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("OnlyStream").field("stream", &self.stream).finish_non_exhaustive()
    }
}

impl OnlyStream {
    pub(super) fn new(stream: Stream, driver: Driver, client: Client) -> Self {
        Self { stream: ByteStream::new(stream), driver: Some(driver), _client: client }
    }

    /// The next head of the answer.
    pub(super) fn poll_head(
        &mut self,
        awaited: &mut AwaitedResponse,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Response<()>, StreamError>> {
        self.drive(cx);
        awaited.poll_head(self.stream.get_mut(), cx)
    }

    /// Moves bytes between the connection and its streams. The stream has the reason of its end.
    fn drive(&mut self, cx: &mut Context<'_>) {
        if self.driver.as_mut().is_some_and(|driver| driver.as_mut().poll(cx).is_ready()) {
            self.driver = None;
        }
    }
}

impl AsyncRead for OnlyStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.drive(cx);
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        if buffer.filled().len() == before {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
            self.drive(cx);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for OnlyStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.drive(cx);
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.drive(cx);
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let ended = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.drive(cx);
        ended
    }
}
