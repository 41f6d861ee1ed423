//! The upstream half of a stream: one request on its way to the cluster's host, and its answer.

pub(super) mod cluster;
mod http1_pool;
mod http2_pool;

use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use ::http::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    TRANSFER_ENCODING, UPGRADE,
};
use ::http::{HeaderValue, Method, StatusCode, Version};
use bytes::{Bytes, BytesMut};

use self::http2_pool::StreamLease;
use super::half::Half;
use super::headers;
use super::http1::Http1;
use super::reset::UpstreamReset;
use super::stats::{Active, ClusterStats};
use crate::http1::{self, Fields, Framing, RequestHead, ResponseHead};
use crate::tunnel::{AwaitedResponse, Reason, Stream};
use crate::websocket::extended_connect::{self, RequestParts};
use crate::websocket::opening::client as opening;

/// How long an HTTP/2 upstream may take nothing of what is left of a request that was given up:
/// Envoy's default of `delayed_close_timeout`, which is what an HTTP/1.1 peer gets.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// Envoy's codec sends this code for a local reset.
const LOCAL_RESET: Reason = Reason::INTERNAL_ERROR;

/// The head of a response, as HTTP/1.1 has it.
#[derive(Debug)]
pub(super) struct ResponseParts {
    /// The status; 101 also where a tunnel said 200 to an upgrade.
    pub(super) status: StatusCode,
    /// The fields.
    pub(super) fields: Fields,
    /// No body follows.
    pub(super) end: bool,
    /// What it means to the request.
    pub(super) answer: Answer,
}

/// What a response means to its request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// A response before the final one (1xx).
    Interim,
    /// The upgrade that was asked for: every byte after it is data.
    Switching,
    /// Neither the upgrade that was asked for nor an error: Envoy's HTTP/1.1 codec drops the body
    /// that comes with it (`websocket_handshake_unsuccessful`).
    HandshakeUnsuccessful,
    /// The final response.
    Final,
}

/// A connection or stream that is ready for one request.
#[derive(Debug)]
pub(super) enum Ready {
    /// An HTTP/1.1 connection, for this request alone.
    Http1(Box<Http1>, SocketAddr),
    /// Room for one more stream on an HTTP/2 connection.
    Http2(StreamLease),
}

impl Ready {
    /// This proxy's end of the connection.
    pub(super) fn local_address(&self) -> SocketAddr {
        match self {
            Self::Http1(_, local_address) => *local_address,
            Self::Http2(lease) => lease.local_address(),
        }
    }

    /// Sends the request's head; `end` if no body follows. With `mint_key` a request that goes out
    /// as HTTP/1.1 gets a `sec-websocket-key`, which the answer has to accept.
    ///
    /// # Errors
    /// The connection takes no requests any more.
    pub(super) fn send(
        self,
        request: &RequestParts,
        end: bool,
        mint_key: bool,
        stats: &Arc<ClusterStats>,
    ) -> Result<Upstream, UpstreamReset> {
        let upgrade = extended_connect::is_upgrade(&request.fields)
            .then(|| request.fields.get(&UPGRADE).cloned())
            .flatten();
        match self {
            Self::Http1(mut connection, local_address) => {
                let minted_key = mint_key.then(opening::fresh_key);
                let (head, chunked) = http1_head(request, upgrade.is_some(), end, minted_key.as_ref());
                connection.send_head(head, chunked);
                let counted = Active::begin(stats, |stats| &stats.rq);
                connection.expect_body(Framing::None);
                let method = request.method.clone();
                Ok(Upstream::Http1(Box::new(Http1Request {
                    connection,
                    local_address,
                    method,
                    upgrade,
                    minted_key,
                    reusable: false,
                    _counted: counted,
                })))
            }
            Self::Http2(mut lease) => {
                let http2 =
                    extended_connect::request_to_http2(request).map_err(|_| UpstreamReset::ProtocolError)?;
                let (stream, response) = lease.open(http2, end)?;
                let counted = Active::begin(stats, |stats| &stats.rq);
                let streams = Active::begin(stats, |stats| &stats.http2_streams);
                let http2 =
                    Http2Request { stream, response, upgrade, counted, _streams: streams, _lease: lease };
                Ok(Upstream::Http2(Box::new(http2)))
            }
        }
    }
}

/// The head as it is on the wire, and whether the body goes in chunks.
fn http1_head(
    request: &RequestParts,
    upgrade: bool,
    end: bool,
    minted_key: Option<&HeaderValue>,
) -> (BytesMut, bool) {
    let mut fields = Fields::new();
    if let Some(authority) = &request.authority {
        fields.append(HOST, authority.clone());
    }
    for (name, value) in request.fields.iter() {
        fields.append(name.clone(), value.clone());
    }
    if let Some(key) = minted_key {
        fields.append(SEC_WEBSOCKET_KEY, key.clone());
    }
    let chunked = !end && !upgrade && !fields.contains(&CONTENT_LENGTH);
    if chunked {
        fields.append(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    let bodiless = matches!(
        request.method,
        Method::GET | Method::HEAD | Method::DELETE | Method::TRACE | Method::CONNECT
    );
    if end && !bodiless && !fields.contains(&CONTENT_LENGTH) {
        fields.append(CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
    let target = request.path.as_ref().map_or(&b"/"[..], HeaderValue::as_bytes);
    let target = Bytes::copy_from_slice(target);
    let head = RequestHead { method: request.method.clone(), target, version: Version::HTTP_11, fields };
    let mut out = BytesMut::with_capacity(512);
    head.write(&mut out);
    (out, chunked)
}

/// One request on its way.
#[derive(Debug)]
pub(super) enum Upstream {
    /// On an HTTP/1.1 connection.
    Http1(Box<Http1Request>),
    /// On a stream of an HTTP/2 connection.
    Http2(Box<Http2Request>),
}

/// A request on an HTTP/1.1 connection.
#[derive(Debug)]
pub(super) struct Http1Request {
    connection: Box<Http1>,
    local_address: SocketAddr,
    method: Method,
    upgrade: Option<HeaderValue>,
    /// The key that this proxy has added.
    minted_key: Option<HeaderValue>,
    /// The peer did not say that it will close.
    reusable: bool,
    _counted: Active<ClusterStats>,
}

/// A request on a stream of an HTTP/2 connection.
#[derive(Debug)]
pub(super) struct Http2Request {
    stream: Stream,
    response: AwaitedResponse,
    upgrade: Option<HeaderValue>,
    counted: Active<ClusterStats>,
    _streams: Active<ClusterStats>,
    _lease: StreamLease,
}

impl Upstream {
    /// The next response head; after an interim one there is another.
    pub(super) fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<ResponseParts, UpstreamReset>> {
        match self {
            Self::Http1(http1) => http1.poll_head(cx),
            Self::Http2(http2) => {
                let Http2Request { stream, response, upgrade, .. } = &mut **http2;
                let head = std::task::ready!(response.poll_head(stream, cx))?;
                if head.status() == StatusCode::SWITCHING_PROTOCOLS {
                    // HTTP/2 has no such status (RFC 9113 section 8.6).
                    return Poll::Ready(Err(UpstreamReset::ProtocolError));
                }
                let (count, bytes) = extended_connect::response_size(&head);
                if count > http1::MAX_FIELDS || bytes > http1::MAX_HEAD_BYTES {
                    // Envoy's codec resets the stream of a head that exceeds its limits.
                    stream.reset(Reason::INTERNAL_ERROR);
                    return Poll::Ready(Err(UpstreamReset::RemoteReset));
                }
                let (status, fields) = extended_connect::response_from_http2(&head, upgrade.as_ref());
                let answer = match status {
                    StatusCode::SWITCHING_PROTOCOLS => Answer::Switching,
                    status if status.is_informational() => Answer::Interim,
                    _ => Answer::Final,
                };
                let end = answer != Answer::Interim && stream.is_end();
                Poll::Ready(Ok(ResponseParts { status, fields, end, answer }))
            }
        }
    }

    /// The connection for another request, if the exchange left it in order.
    pub(super) fn into_reusable(self) -> Option<(Box<Http1>, SocketAddr)> {
        let Self::Http1(http1) = self else { return None };
        let Http1Request { connection, local_address, reusable, .. } = *http1;
        let in_order = connection.is_body_end() && connection.is_flushed() && !connection.has_read_ahead();
        (reusable && in_order).then_some((connection, local_address))
    }

    /// Ready when the stream holds so much that it has to be reset for it.
    pub(super) fn poll_condemned(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Http1(_) => Poll::Pending,
            Self::Http2(http2) => http2.stream.poll_condemned(cx),
        }
    }

    /// Gives the request up at once; what was sent and has not gone out is lost.
    pub(super) fn abandon_now(self) {
        if let Self::Http2(mut http2) = self {
            http2.counted.rq_tx_reset.increment();
            http2.stream.reset(LOCAL_RESET);
        }
    }

    /// Gives the request up: the connection closes or the stream is reset, after what was sent
    /// before if the peer takes that.
    pub(super) fn abandon(self) {
        match self {
            Self::Http1(mut http1) => {
                // Bytes that do not fit in the socket are lost.
                let _ = http1.connection.poll_flush(&mut Context::from_waker(Waker::noop()));
            }
            Self::Http2(mut http2) => {
                http2.counted.rq_tx_reset.increment();
                if http2.stream.is_drained() {
                    return http2.stream.reset(LOCAL_RESET);
                }
                tokio::task::spawn_local(async move {
                    http2.stream.drained(FLUSH_TIMEOUT).await;
                    http2.stream.reset(LOCAL_RESET);
                });
            }
        }
    }
}

impl Http1Request {
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<ResponseParts, UpstreamReset>> {
        // The request may still be on its way out.
        let _ = self.connection.poll_flush(cx);
        let head = match std::task::ready!(self.connection.poll_head(http1::parse_response, cx)) {
            Ok(Some(head)) => head,
            Ok(None) => return Poll::Ready(Err(UpstreamReset::ConnectionTermination)),
            Err(_) => return Poll::Ready(Err(UpstreamReset::ProtocolError)),
        };
        let ResponseHead { status, version, mut fields } = head;
        if status.is_informational() || status == StatusCode::NO_CONTENT {
            // There cannot be a body (RFC 9110 section 8.6), only a length that says so.
            if fields.contains(&TRANSFER_ENCODING)
                || fields.get_all(&CONTENT_LENGTH).any(|length| length != "0")
            {
                return Poll::Ready(Err(UpstreamReset::ProtocolError));
            }
            fields.remove(&CONTENT_LENGTH);
        }
        headers::ignore_h2c(&mut fields);
        let answer = self.answer(status, &fields);
        // The fields that declare its length have to be well formed even where they decide nothing.
        let declared = match answer {
            Answer::Interim | Answer::Switching => Framing::None,
            _ => Framing::of_response(&self.method, status, &fields)
                .map_err(|_| UpstreamReset::ProtocolError)?,
        };
        let framing = match answer {
            Answer::Interim => Framing::None,
            Answer::Switching => {
                if let Some(key) = &self.minted_key {
                    if !opening::is_accepted(key, &fields) {
                        return Poll::Ready(Err(UpstreamReset::ProtocolError));
                    }
                    // A client that did not send the key has no use for it.
                    fields.remove(&SEC_WEBSOCKET_ACCEPT);
                }
                Framing::Raw
            }
            Answer::HandshakeUnsuccessful => {
                fields.remove(&CONTENT_LENGTH);
                fields.remove(&CONTENT_TYPE);
                Framing::None
            }
            // A refusal that has an upgrade's fields: to Envoy's codec every byte after it is data,
            // whatever length it says.
            Answer::Final if self.is_agreed(&fields) => Framing::Raw,
            Answer::Final => declared,
        };
        self.connection.expect_body(framing);
        let persistent = match version {
            Version::HTTP_11 => !fields.has_element(&CONNECTION, "close"),
            _ => fields.has_element(&CONNECTION, "keep-alive"),
        };
        self.reusable = self.upgrade.is_none() && persistent;
        let end = answer != Answer::Interim && self.connection.is_body_end();
        Poll::Ready(Ok(ResponseParts { status, fields, end, answer }))
    }

    fn answer(&self, status: StatusCode, fields: &Fields) -> Answer {
        if status == StatusCode::SWITCHING_PROTOCOLS {
            return if self.is_agreed(fields) { Answer::Switching } else { Answer::Final };
        }
        if status.is_informational() {
            Answer::Interim
        } else if self.upgrade.is_some() && status < StatusCode::BAD_REQUEST {
            Answer::HandshakeUnsuccessful
        } else {
            Answer::Final
        }
    }

    /// Whether an upgrade was asked for, and the answer's fields are those of one.
    fn is_agreed(&self, fields: &Fields) -> bool {
        self.upgrade.is_some() && extended_connect::is_upgrade(fields)
    }
}

impl Half for Upstream {
    type Reset = UpstreamReset;

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, UpstreamReset>> {
        match self {
            Self::Http1(http1) => {
                let switched = http1.connection.is_raw();
                http1.connection.poll_data(cx).map_err(|_| {
                    // The end of the connection within a body of known length breaks the protocol.
                    if switched { UpstreamReset::ConnectionTermination } else { UpstreamReset::ProtocolError }
                })
            }
            Self::Http2(http2) => http2.stream.poll_data(cx).map_err(UpstreamReset::from),
        }
    }

    fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), UpstreamReset>> {
        match self {
            Self::Http1(_) => Poll::Pending,
            Self::Http2(http2) => http2.stream.poll_stalled(cx).map_err(UpstreamReset::from),
        }
    }

    fn take_received(&mut self) -> usize {
        match self {
            Self::Http1(http1) => http1.connection.take_received(),
            Self::Http2(http2) => http2.stream.take_received(),
        }
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), UpstreamReset>> {
        match self {
            Self::Http1(http1) => {
                http1.connection.poll_ready(cx).map_err(|_| UpstreamReset::ConnectionTermination)
            }
            Self::Http2(http2) => http2.stream.poll_ready(cx).map(Ok),
        }
    }

    fn send(&mut self, data: Bytes) -> Result<(), UpstreamReset> {
        match self {
            Self::Http1(http1) => {
                http1.connection.send(data);
                Ok(())
            }
            Self::Http2(http2) => http2.stream.send(data).map_err(UpstreamReset::from),
        }
    }

    fn finish(&mut self) {
        match self {
            Self::Http1(http1) => http1.connection.finish(),
            Self::Http2(http2) => http2.stream.finish(),
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), UpstreamReset>> {
        match self {
            Self::Http1(http1) => {
                http1.connection.poll_flush(cx).map_err(|_| UpstreamReset::ConnectionTermination)
            }
            Self::Http2(_) => Poll::Ready(Ok(())),
        }
    }
}
