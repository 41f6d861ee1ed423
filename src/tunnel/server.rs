//! The accepting side of a connection.

use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::BytesMut;
use h2::ext::Protocol;
use h2::server::{Builder, Connection, SendResponse};
use http::header::CONTENT_LENGTH;
use http::{Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};

use super::Reason;
use super::settings::{Settings, builder};
use super::stream::{Stream, StreamError};
use super::wire::{Payload, ReceiveBuffers, SendBuffers, Wire};
use crate::net::Budget;

/// How many streams the peer may open and reset before they are accepted; `h2`'s own bound (20)
/// would close the connection of all the other sessions. One turn of the connection's task reads
/// fewer, and then accepts them all; each costs some hundred bytes, so this bounds a flood to about
/// 10 MiB.
const MAX_PENDING_RESETS: usize = 32 * 1024;

/// A connection that streams come from.
pub struct Server<T> {
    connection: Connection<Wire<T>, Payload>,
    wire: Wire<T>,
    /// The highest stream that was accepted.
    last_accepted: u32,
    /// A malformed request ends the connection.
    is_strict: bool,
    buffers: Rc<ReceiveBuffers>,
    send_buffers: Rc<SendBuffers>,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Server<T> {
    /// Reads the preface, of which `read` has been read already. Nothing is sent yet. What its
    /// streams hold counts in `budget`.
    ///
    /// # Errors
    /// The peer is gone, or what it sent is not HTTP/2.
    pub async fn handshake(
        io: T,
        read: BytesMut,
        settings: &Settings,
        budget: Rc<Budget>,
    ) -> Result<Self, StreamError> {
        let buffers = Rc::new(ReceiveBuffers::new(settings, budget));
        let wire = Wire::server(io, read, settings.server_frame(), Rc::clone(&buffers));
        let connection = builder!(Builder::new(), settings)
            // The wire decides whether it is announced.
            .enable_connect_protocol()
            .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
            .handshake(wire.clone())
            .await?;
        Ok(Self { connection, wire, last_accepted: 0, is_strict: true, buffers, send_buffers: Rc::default() })
    }

    /// Leaves malformed requests to `h2`, which resets their streams: the others live on. Otherwise
    /// the connection ends with one, as in Envoy. Nothing is held back either: a peer whose first
    /// frames end the connection gets the GOAWAY.
    #[must_use]
    pub fn lenient(self) -> Self {
        self.wire.release();
        Self { is_strict: false, ..self }
    }

    /// The next stream; `None` when the connection has ended. Everything on the connection moves
    /// only while this is polled. What was held back of the opening goes out when all requests have
    /// been looked at.
    ///
    /// # Errors
    /// [`StreamError::Malformed`] for a request, which `h2` does not show; the connection is to be
    /// abandoned, and what `h2` would answer does not go out. Any other: the connection has ended.
    #[expect(
        clippy::type_complexity,
        reason = "a poll of an optional result of three parts, named nowhere else"
    )]
    pub fn poll_accept(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<(Request<()>, Stream, Respond), StreamError>>> {
        self.buffers.begin_turn(&mut self.connection, cx);
        let accepted = self.connection.poll_accept(cx);
        if let Poll::Ready(Some(Ok((_, respond)))) = &accepted {
            self.last_accepted = self.last_accepted.max(respond.stream_id().as_u32());
        } else if self.is_strict && self.wire.last_protocol_error() > self.last_accepted {
            return Poll::Ready(Some(Err(StreamError::Malformed)));
        }
        if accepted.is_pending() {
            self.wire.release();
            self.wire.end_turn();
            self.buffers.end_turn(cx);
        }
        // An error shows with the next read.
        let _ = self.wire.poll_send(cx);
        match accepted {
            Poll::Pending => Poll::Pending,
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(error.into()))),
            Poll::Ready(Some(Ok((request, response)))) => {
                let (parts, receive) = request.into_parts();
                // An extended CONNECT has no length; if it declares one all the same, `h2` checks
                // it.
                let is_tunnel = parts.extensions.get::<Protocol>().is_some()
                    && !parts.headers.contains_key(CONTENT_LENGTH);
                let id = receive.stream_id().as_u32();
                let mut stream = Stream::new(None, Some(receive), &self.buffers, &self.send_buffers);
                if is_tunnel {
                    stream.bypass_h2(id);
                }
                Poll::Ready(Some(Ok((Request::from_parts(parts, ()), stream, Respond { response }))))
            }
        }
    }

    /// Tells the peer to open no more streams here (GOAWAY); those that are open live on.
    pub fn go_away(&mut self) {
        self.connection.graceful_shutdown();
    }

    /// Gives up on the connection: every stream ends with [`StreamError::ConnectionLost`], nothing
    /// more is sent, and the byte stream is handed back still open.
    pub fn abandon(self) -> Option<T> {
        drop(self.connection);
        self.wire.into_inner()
    }
}

/// The answer to one request.
#[derive(Debug)]
pub struct Respond {
    response: SendResponse<Payload>,
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
