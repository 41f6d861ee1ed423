//! The downstream half of a stream: who asked, over which codec, and how an answer gets there.

pub(super) mod http1;
pub(super) mod http2;
mod refusal;
mod target;

use std::cell::Cell;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use ::http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use ::http::{HeaderValue, StatusCode, Version};
use bytes::{Bytes, BytesMut};

use super::connection_info::DownstreamTls;
use super::filter_chain::CountedRecord;
use super::half::Half;
use super::http1::{CODEC_ERROR, Http1, ReadEnd};
use super::reset::DownstreamReset;
use crate::access_log::Protocol;
use crate::http1::{Fields, Framing, ResponseHead};
use crate::tunnel::{Reason, Respond, Stream, StreamError};
use crate::websocket::extended_connect::{self, RequestParts};

/// Envoy logs this for the other streams of a connection that is given up because its peer broke
/// the protocol.
const CONNECTION_BROKEN: &str = "codec_error:The_user_callback_function_failed";

/// What the streams of one HTTP/2 connection share.
#[derive(Debug, Default)]
struct ConnectionState {
    /// The connection is given up because its peer broke the protocol.
    broken: Cell<bool>,
    /// A response has gone out with which the connection begins to drain.
    draining: Cell<bool>,
}

impl ConnectionState {
    /// Has GOAWAY sent before the response head that has to follow at once: the head wakes the task
    /// of the connection.
    fn go_away(&self) {
        self.draining.set(true);
    }

    /// Whether GOAWAY is on its way.
    fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// Gives the connection up because its peer broke the protocol.
    fn break_off(&self) {
        self.broken.set(true);
    }

    /// Why a stream was reset, given how it ended.
    fn reset(&self, error: StreamError) -> DownstreamReset {
        match (error, self.broken.get()) {
            (StreamError::Reset(reason), _) => DownstreamReset::RemoteReset(reason),
            (StreamError::Protocol(_), _) | (_, true) => DownstreamReset::ProtocolError(CONNECTION_BROKEN),
            (StreamError::ConnectionLost | StreamError::GoAway | StreamError::Malformed, false) => {
                DownstreamReset::Disconnected
            }
        }
    }
}

/// One stream as the downstream codec gives it.
#[derive(Debug)]
pub(super) enum Downstream {
    /// The one request that an HTTP/1.1 connection is in.
    Http1(Box<Http1>),
    /// A stream of an HTTP/2 connection.
    Http2(Box<Http2Stream>),
}

/// A stream of an HTTP/2 connection and its answer.
#[derive(Debug)]
pub(super) struct Http2Stream {
    stream: Stream,
    respond: Respond,
    head_sent: bool,
    connection: Rc<ConnectionState>,
}

/// A request as its codec decoded it.
#[derive(Debug)]
pub(super) struct Incoming {
    /// The request.
    pub(super) request: RequestParts,
    /// The codec.
    pub(super) protocol: Protocol,
    /// The handshake of its connection, with mutual TLS.
    pub(super) tls: Option<Rc<DownstreamTls>>,
    /// The client will send no other request (`Connection: close`).
    pub(super) close: bool,
    /// The line to be.
    pub(super) record: CountedRecord,
}

impl Downstream {
    /// Whether the request has been read to its end.
    pub(super) fn is_request_complete(&self) -> bool {
        match self {
            Self::Http1(connection) => connection.is_body_end(),
            Self::Http2(http2) => http2.stream.is_end(),
        }
    }

    /// Ready when the peer goes away although nothing of its request is left to be read.
    pub(super) fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<DownstreamReset> {
        match self {
            Self::Http1(connection) => connection.poll_closed(cx).map(|()| DownstreamReset::Disconnected),
            Self::Http2(http2) => {
                let error = if http2.head_sent {
                    std::task::ready!(http2.stream.poll_reset(cx))
                } else {
                    std::task::ready!(http2.respond.poll_reset(cx))
                };
                Poll::Ready(http2.connection.reset(error))
            }
        }
    }

    /// Ready when the stream holds so much that it has to be reset for it.
    pub(super) fn poll_condemned(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Http1(_) => Poll::Pending,
            Self::Http2(http2) => http2.stream.poll_condemned(cx),
        }
    }

    /// Whether the peer still opens streams here; an HTTP/1.1 connection drains with its one
    /// request.
    pub(super) fn is_draining(&self) -> bool {
        matches!(self, Self::Http2(http2) if http2.connection.is_draining())
    }

    /// Tells an HTTP/2 peer with the head that is sent next to open no more streams here.
    pub(super) fn go_away(&self) {
        if let Self::Http2(http2) = self {
            http2.connection.go_away();
        }
    }

    /// Sends the head of an interim response (1xx).
    ///
    /// # Errors
    /// The peer is gone.
    pub(super) fn send_interim(&mut self, status: StatusCode, fields: Fields) -> Result<(), DownstreamReset> {
        match self {
            Self::Http1(connection) => {
                let mut head = BytesMut::new();
                ResponseHead { status, version: Version::HTTP_11, fields }.write(&mut head);
                connection.send_head(head, false);
                Ok(())
            }
            Self::Http2(http2) => {
                let head = extended_connect::response_to_http2(status, &fields);
                let connection = &http2.connection;
                http2.respond.interim(head).map_err(|error| connection.reset(error))
            }
        }
    }

    /// Sends the response head; `end` if no body follows.
    ///
    /// # Errors
    /// The peer is gone.
    pub(super) fn send_head(
        &mut self,
        status: StatusCode,
        mut fields: Fields,
        end: bool,
    ) -> Result<(), DownstreamReset> {
        match self {
            Self::Http1(connection) => {
                let mut chunked = false;
                let bodiless = status.is_informational() || status == StatusCode::NO_CONTENT;
                if !bodiless && !fields.contains(&CONTENT_LENGTH) {
                    if !end {
                        // A body behind an upgrade's fields is passed on as it is, though Envoy
                        // says otherwise in the head.
                        chunked = !extended_connect::is_upgrade(&fields);
                        fields.append(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
                    } else if status != StatusCode::NOT_MODIFIED {
                        fields.append(CONTENT_LENGTH, HeaderValue::from_static("0"));
                    }
                }
                let mut head = BytesMut::with_capacity(256);
                ResponseHead { status, version: Version::HTTP_11, fields }.write(&mut head);
                connection.send_head(head, chunked);
                Ok(())
            }
            Self::Http2(http2) => {
                let is_upgrade = extended_connect::is_upgrade(&fields);
                if end && status == StatusCode::SWITCHING_PROTOCOLS && !is_upgrade {
                    // HTTP/2 has no status 101 (RFC 9113 section 8.6), and 200 stands for it only
                    // where it is the answer to an upgrade: its client takes it for a protocol error.
                    http2.respond.reset(Reason::PROTOCOL_ERROR);
                    return Ok(());
                }
                http2.head_sent = true;
                let head = extended_connect::response_to_http2(status, &fields);
                let Http2Stream { stream, respond, connection, .. } = &mut **http2;
                respond.head(stream, head, end).map_err(|error| connection.reset(error))
            }
        }
    }

    /// From now on every byte in both directions is data.
    pub(super) fn switch_protocols(&mut self) {
        if let Self::Http1(connection) = self {
            connection.expect_body(Framing::Raw);
        }
    }

    /// Resets an HTTP/2 stream after what was sent before has gone out, or when the peer has taken
    /// nothing of it for `flush_timeout`.
    pub(super) async fn reset(&mut self, code: Reason, flush_timeout: Duration) {
        let Self::Http2(http2) = self else { return };
        http2.stream.drained(flush_timeout).await;
        self.reset_now(code);
    }

    /// Resets an HTTP/2 stream; what was sent and has not gone out is lost.
    pub(super) fn reset_now(&mut self, code: Reason) {
        let Self::Http2(http2) = self else { return };
        if http2.head_sent {
            http2.stream.reset(code);
        } else {
            http2.respond.reset(code);
        }
    }
}

impl Half for Downstream {
    type Reset = DownstreamReset;

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, DownstreamReset>> {
        match self {
            Self::Http1(connection) => connection.poll_data(cx).map_err(|end| match end {
                ReadEnd::Closed => DownstreamReset::Disconnected,
                ReadEnd::Malformed => DownstreamReset::ProtocolError(CODEC_ERROR),
            }),
            Self::Http2(http2) => {
                let connection = &http2.connection;
                http2.stream.poll_data(cx).map_err(|error| connection.reset(error))
            }
        }
    }

    fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), DownstreamReset>> {
        match self {
            Self::Http1(_) => Poll::Pending,
            Self::Http2(http2) => {
                let connection = &http2.connection;
                http2.stream.poll_stalled(cx).map_err(|error| connection.reset(error))
            }
        }
    }

    fn take_received(&mut self) -> usize {
        match self {
            Self::Http1(connection) => connection.take_received(),
            Self::Http2(http2) => http2.stream.take_received(),
        }
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), DownstreamReset>> {
        match self {
            Self::Http1(connection) => connection.poll_ready(cx).map_err(|_| DownstreamReset::Disconnected),
            Self::Http2(http2) => http2.stream.poll_ready(cx).map(Ok),
        }
    }

    fn send(&mut self, data: Bytes) -> Result<(), DownstreamReset> {
        match self {
            Self::Http1(connection) => {
                connection.send(data);
                Ok(())
            }
            Self::Http2(http2) => http2.stream.send(data).map_err(|error| {
                // `h2` does not say here why a stream takes nothing; it does when it is asked for a
                // reset.
                let reset = http2.stream.poll_reset(&mut Context::from_waker(Waker::noop()));
                http2.connection.reset(if let Poll::Ready(reset) = reset { reset } else { error })
            }),
        }
    }

    fn finish(&mut self) {
        match self {
            Self::Http1(connection) => connection.finish(),
            Self::Http2(http2) => http2.stream.finish(),
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), DownstreamReset>> {
        match self {
            Self::Http1(connection) => connection.poll_flush(cx).map_err(|_| DownstreamReset::Disconnected),
            Self::Http2(_) => Poll::Ready(Ok(())),
        }
    }
}
