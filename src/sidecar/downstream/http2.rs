//! The HTTP/2 codec of the listener: the task of a connection accepts streams, each of which has a
//! task of its own.

use std::borrow::Cow;
use std::rc::Rc;

use bytes::BytesMut;
use http::header::{CONTENT_LENGTH, HOST};
use http::uri::{Authority, PathAndQuery};
use http::{HeaderName, HeaderValue, Method, Request};

use super::super::connection_info::ConnectionInfo;
use super::super::filter_chain::FilterChain;
use super::super::headers;
use super::super::http1;
use super::super::reset::DownstreamReset;
use super::super::socket::Socket;
use super::super::stats::Active;
use super::super::stream;
use super::{ConnectionState, Downstream, Http2Stream, Incoming};
use crate::access_log::{Protocol, ResponseFlag};
use crate::http1::{MAX_FIELDS, MAX_HEAD_BYTES};
use crate::tunnel::{Reason, Server, Settings, StreamError};
use crate::websocket::extended_connect;

/// Envoy logs this for a request with `:protocol` on a listener without `allow_connect`: to its
/// codec that is a header field like any other, and no valid one.
const INVALID_FIELD: &str = "http2.invalid.header.field";

/// Envoy logs this for a malformed request.
const VIOLATION: &str = "http2.violation.of.messaging.rule";

/// Serves a connection to its end.
pub(in crate::sidecar) async fn serve(
    chain: Rc<FilterChain>,
    socket: Socket,
    read: BytesMut,
    info: ConnectionInfo,
) {
    let manager = &chain.connection_manager;
    let settings = Settings {
        allow_connect: manager.allow_connect,
        max_concurrent_streams: manager.max_concurrent_streams,
        initial_stream_window_size: manager.initial_stream_window_size,
        initial_connection_window_size: manager.initial_connection_window_size,
    };
    let budget = Rc::clone(&chain.budget);
    let Ok(mut server) = Server::handshake(socket, read, &settings, budget).await else { return };
    let state = Rc::new(ConnectionState::default());
    let mut gone_away = false;
    loop {
        let accepted = std::future::poll_fn(|cx| {
            if state.is_draining() && !gone_away {
                gone_away = true;
                server.go_away();
                chain.stats.http2.goaway_sent.increment();
            }
            server.poll_accept(cx)
        });
        let (request, stream, mut respond) = match accepted.await {
            Some(Ok(accepted)) => accepted,
            Some(Err(StreamError::Malformed)) => {
                return refuse_connection(&chain, server, &state, &info, VIOLATION).await;
            }
            Some(Err(_)) | None => break,
        };
        if let Some(details) = violation(&request, manager.allow_connect) {
            return refuse_connection(&chain, server, &state, &info, details).await;
        }
        if let Some(details) = excess(&request) {
            let mut record = chain.record(&info, Protocol::Http2);
            record.response_flags.set(ResponseFlag::DownstreamRemoteReset);
            record.response_code_details = Some(Cow::Borrowed(details));
            record.finish();
            respond.reset(Reason::INTERNAL_ERROR);
            continue;
        }
        let stream = Http2Stream { stream, respond, head_sent: false, connection: Rc::clone(&state) };
        chain.tasks.spawn(serve_stream(&chain, &request, stream, &info));
    }
    // Closing with unread bytes would become a reset, which destroys what was sent last.
    if let Some(mut socket) = server.abandon() {
        http1::drain(&mut socket, manager.delayed_close_timeout).await;
    }
}

/// How a request breaks the protocol in Envoy's eyes, if it does: the details of its line.
fn violation(request: &Request<()>, allow_connect: bool) -> Option<&'static str> {
    let protocol = extended_connect::protocol(request);
    let mut lengths = request.headers().get_all(CONTENT_LENGTH).iter();
    let is_number =
        |length: &HeaderValue| !length.is_empty() && length.as_bytes().iter().all(u8::is_ascii_digit);
    let uri = request.uri();
    let authority = uri.authority().map(Authority::as_str);
    let hosts = request.headers().get_all(HOST).iter().count();
    let has_scheme =
        uri.scheme_str().is_none_or(|scheme| scheme.starts_with(|c: char| c.is_ascii_alphabetic()));
    if protocol.is_some_and(|protocol| !allow_connect || HeaderName::from_bytes(protocol.as_bytes()).is_err())
        || lengths.next().is_some_and(|length| !is_number(length))
        || lengths.next().is_some()
        || authority.is_some_and(|authority| authority.contains('@'))
        || (authority.is_none() && hosts > 1)
        || !has_scheme
    {
        return Some(INVALID_FIELD);
    }
    let is_options = request.method() == Method::OPTIONS;
    let is_path = |path: &PathAndQuery| path.as_str().starts_with('/') || (path == "*" && is_options);
    let is_nobodys = authority.is_none() && (protocol.is_some() || hosts == 0);
    (is_nobodys || !uri.path_and_query().is_none_or(is_path)).then_some(VIOLATION)
}

/// Which limit of Envoy's a request exceeds, if any: the details of its line. The line has nothing
/// else, and the connection lives on.
fn excess(request: &Request<()>) -> Option<&'static str> {
    let (count, bytes) = extended_connect::request_size(request);
    if count > MAX_FIELDS {
        Some("http2.too_many_headers")
    } else if bytes > MAX_HEAD_BYTES {
        Some("http2.header_list_size_too_large")
    } else {
        None
    }
}

/// Serves a stream. Not an `async fn`, which would keep the request as HTTP/2 has it for as long as
/// the session is open.
fn serve_stream(
    chain: &Rc<FilterChain>,
    request: &Request<()>,
    stream: Http2Stream,
    info: &ConnectionInfo,
) -> impl Future<Output = ()> + use<> {
    let counted = Active::begin(&chain.stats.http2, |stats| &stats.streams);
    let record = chain.record(info, Protocol::Http2);
    let mut request = extended_connect::request_from_http2(request);
    headers::join_lists(&mut request.fields);
    let tls = info.tls.clone();
    let incoming = Incoming { request, protocol: Protocol::Http2, tls, close: false, record };
    let served = stream::serve(Rc::clone(chain), Downstream::Http2(Box::new(stream)), incoming);
    async move {
        let _counted = counted;
        served.await;
    }
}

/// As Envoy: no RST_STREAM, no GOAWAY, if nothing was sent before not even SETTINGS. The request
/// leaves a line, every open stream of the connection ends with the same flag, and the peer has the
/// time of a delayed close to close first.
async fn refuse_connection(
    chain: &FilterChain,
    server: Server<Socket>,
    state: &ConnectionState,
    info: &ConnectionInfo,
    details: &'static str,
) {
    chain.stats.connection_manager.cx_protocol_error.increment();
    let mut record = chain.record(info, Protocol::Http2);
    DownstreamReset::ProtocolError(details).note(&mut record);
    record.finish();
    state.break_off();
    if let Some(mut socket) = server.abandon() {
        http1::drain(&mut socket, chain.connection_manager.delayed_close_timeout).await;
    }
}
