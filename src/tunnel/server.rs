//! The accepting side of a connection.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::BytesMut;
use h2::server::{Builder, Connection, SendResponse};
use http::{Request, Response};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Reason;
use super::client::UNBOUNDED;
use super::held::Held;
use super::opening::Opening;
use super::outgoing::Outgoing;
use super::settings::Settings;
use super::stream::{Stream, StreamError};

/// Streams that the peer opened and reset before they were accepted; `h2`'s own bound (20) would close the connection
/// of all the other sessions. What the connection's task reads in one turn (tokio lets it read 128 times) is the bound: it
/// accepts them all in the same turn.
const PENDING_RESETS: usize = UNBOUNDED;

/// A connection that streams come from.
pub struct Server<T> {
    connection: Connection<Shared<T>, Outgoing>,
    io: Shared<T>,
    held: Rc<Held>,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Server<T> {
    /// Reads the preface, of which `read` has been read already. Nothing is sent yet.
    ///
    /// # Errors
    /// The peer is gone, or what it sent is not HTTP/2.
    pub async fn handshake(io: T, read: BytesMut, settings: &Settings) -> Result<Self, StreamError> {
        let io = Shared(Rc::new(RefCell::new(Opening::server(io, read, settings.server_frame()))));
        let connection = Builder::new()
            // What is announced is the opening's business; see there.
            .enable_connect_protocol()
            .initial_window_size(settings.initial_stream_window_size)
            .initial_connection_window_size(settings.initial_connection_window_size)
            .max_concurrent_streams(settings.max_concurrent_streams)
            .max_pending_accept_reset_streams(PENDING_RESETS)
            .data_frame_budget(UNBOUNDED)
            .max_local_error_reset_streams(None)
            .max_send_buffer_size(super::outgoing::HIGH_WATERMARK * 2)
            .handshake(io.clone())
            .await?;
        Ok(Self { connection, io, held: Rc::new(Held::new(settings.initial_connection_window_size)) })
    }

    /// The next stream; `None` when the connection has ended. Everything on the connection moves only while this is
    /// polled. What was held back of the opening goes out when there is no request left to look at.
    ///
    /// # Errors
    /// [`StreamError`].
    #[expect(
        clippy::type_complexity,
        reason = "a poll of an optional result of three parts, named nowhere else"
    )]
    pub fn poll_accept(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<(Request<()>, Stream, Respond), StreamError>>> {
        if let Some(window) = self.held.poll_window(cx) {
            self.connection.set_target_window_size(window);
        }
        match self.connection.poll_accept(cx) {
            Poll::Pending => {
                if self.io.0.borrow_mut().release() {
                    // Errors show with the next read.
                    let _ = Pin::new(&mut *self.io.0.borrow_mut()).poll_flush(cx);
                }
                Poll::Pending
            }
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(error.into()))),
            Poll::Ready(Some(Ok((request, response)))) => {
                let (parts, receive) = request.into_parts();
                let stream = Stream::new(None, Some(receive), &self.held);
                Poll::Ready(Some(Ok((Request::from_parts(parts, ()), stream, Respond { response }))))
            }
        }
    }

    /// Tells the peer to open no more streams here (GOAWAY); those that are open live on.
    pub fn go_away(&mut self) {
        self.connection.graceful_shutdown();
    }

    /// Gives up on the connection: every stream ends with [`StreamError::ConnectionLost`], nothing more is sent, and the
    /// byte stream is handed back still open.
    pub fn abandon(self) -> Option<T> {
        drop(self.connection);
        Rc::into_inner(self.io.0).map(|opening| opening.into_inner().into_inner())
    }
}

/// The answer to one request.
#[derive(Debug)]
pub struct Respond {
    response: SendResponse<Outgoing>,
}

impl Respond {
    /// Sends the head; from then on `stream` can be written, unless `end`.
    ///
    /// # Errors
    /// The stream has ended.
    pub fn head(&mut self, stream: &mut Stream, head: Response<()>, end: bool) -> Result<(), StreamError> {
        stream.set_send(self.response.send_response(head, end)?);
        Ok(())
    }

    /// Sends the head of an interim response (1xx).
    ///
    /// # Errors
    /// The stream has ended.
    pub fn interim(&mut self, head: Response<()>) -> Result<(), StreamError> {
        Ok(self.response.send_informational(head)?)
    }

    /// Sends RST_STREAM instead of a head.
    pub fn reset(&mut self, reason: Reason) {
        self.response.send_reset(reason);
    }

    /// Ready when the peer resets the stream.
    pub fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<StreamError> {
        match std::task::ready!(self.response.poll_reset(cx)) {
            Ok(reason) => Poll::Ready(StreamError::Reset(reason)),
            Err(error) => Poll::Ready(error.into()),
        }
    }
}

/// The byte stream, of which a part stays behind when the connection is given up.
#[derive(Debug)]
struct Shared<T>(Rc<RefCell<Opening<T>>>);

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Shared<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_read(cx, buffer)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Shared<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.borrow().is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_shutdown(cx)
    }
}
