//! The HTTP/1.1 codec of the listener: one loop a connection, one request at a time.
//!
//! Head, answer or relay, the log line at the stream's end, and only then the delayed close.

use std::rc::Rc;
use std::task::Poll;

use bytes::BytesMut;
use http::header::{CONNECTION, HOST};
use http::{HeaderName, HeaderValue, Method, Version};

use super::super::connection_info::ConnectionInfo;
use super::super::filter_chain::{CountedRecord, FilterChain};
use super::super::headers;
use super::super::http1::{CODEC_ERROR, HeadOutcome, Http1};
use super::super::reset::DownstreamReset;
use super::super::stream;
use super::refusal::Refusal;
use super::target::split_target;
use super::{Downstream, Incoming};
use crate::access_log::Protocol;
use crate::http1::{self, Fields, Framing, RequestHead, ResponseHead};
use crate::websocket::extended_connect::{self, RequestParts};

const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// The methods that Envoy's parser takes (the IANA registry's, more or less).
const METHODS: [&str; 34] = [
    "ACL",
    "BIND",
    "CHECKOUT",
    "CONNECT",
    "COPY",
    "DELETE",
    "GET",
    "HEAD",
    "LINK",
    "LOCK",
    "MERGE",
    "MKACTIVITY",
    "MKCALENDAR",
    "MKCOL",
    "MOVE",
    "NOTIFY",
    "OPTIONS",
    "PATCH",
    "POST",
    "PROPFIND",
    "PROPPATCH",
    "PURGE",
    "PUT",
    "QUERY",
    "REBIND",
    "REPORT",
    "SEARCH",
    "SOURCE",
    "SUBSCRIBE",
    "TRACE",
    "UNBIND",
    "UNLINK",
    "UNLOCK",
    "UNSUBSCRIBE",
];

/// Serves a connection to its end. Reading a request needs more than an open session does, and is
/// on the heap.
#[expect(
    clippy::manual_async_fn,
    reason = "an async fn would keep its arguments twice, as long as a session is open"
)]
pub(in crate::sidecar) fn serve(
    chain: Rc<FilterChain>,
    mut connection: Box<Http1>,
    info: ConnectionInfo,
) -> impl Future<Output = ()> {
    async move {
        while let Some((incoming, requested)) = Box::pin(request(&chain, connection, &info)).await {
            let serving = stream::serve(Rc::clone(&chain), Downstream::Http1(requested), incoming);
            match serving.await {
                Some(reusable) => connection = reusable,
                None => return,
            }
        }
    }
}

/// The next request and the connection that its body is read from. Bytes that are not a request are
/// answered, and the connection ends with that.
async fn request(
    chain: &FilterChain,
    mut connection: Box<Http1>,
    info: &ConnectionInfo,
) -> Option<(Incoming, Box<Http1>)> {
    // To Envoy a request begins with its first byte.
    let mut record = None;
    let head = std::future::poll_fn(|cx| {
        // The last answer may still be on its way out.
        let _ = connection.poll_flush(cx);
        let head = connection.poll_head(http1::parse_folded_request, cx);
        if connection.has_read_ahead() || !matches!(head, Poll::Pending | Poll::Ready(Ok(None))) {
            record.get_or_insert_with(|| chain.record(info, Protocol::Http11));
        }
        head
    });
    let head = head.await;
    // No record: the connection ended before the first byte.
    let mut record = record?;
    let refusal = match head {
        Ok(Some(head)) => match accept(head, &mut connection) {
            Ok((request, close)) => {
                let tls = info.tls.clone();
                let incoming = Incoming { request, protocol: Protocol::Http11, tls, close, record };
                return Some((incoming, connection));
            }
            Err(refusal) => refusal,
        },
        Err(HeadOutcome::Malformed(error)) => Refusal::from(error),
        Ok(None) | Err(HeadOutcome::Closed) => {
            DownstreamReset::Disconnected.note(&mut record);
            record.finish();
            return None;
        }
    };
    Box::pin(refuse(chain, *connection, record, &refusal)).await;
    None
}

/// Turns a head into a request, and readies the connection for its body. Also says whether the
/// client will close.
fn accept(head: RequestHead, connection: &mut Http1) -> Result<(RequestParts, bool), Refusal> {
    let RequestHead { method, target, version, mut fields } = head;
    if version == Version::HTTP_10 {
        return Err(Refusal::low_version());
    }
    if !METHODS.contains(&method.as_str()) {
        return Err(Refusal::bad_request(CODEC_ERROR));
    }
    let close = fields.has_element(&CONNECTION, "close") || fields.has_element(&PROXY_CONNECTION, "close");
    headers::join_lists(&mut fields);
    headers::ignore_h2c(&mut fields);
    let mut framing = Framing::of_request(&fields)?;
    if extended_connect::is_upgrade(&fields) {
        framing = Framing::Raw;
    } else {
        // The body has the length that was declared, even if `Connection` names the field that
        // declares it.
        headers::remove_nominated(&mut fields)
            .map_err(|_| Refusal::bad_request("http1.connection_header_rejected"))?;
    }
    if method == Method::CONNECT {
        framing = Framing::Raw;
    }
    let (authority, path) = split_target(&method, target, joined_hosts(&fields))?;
    fields.remove(&HOST);
    connection.expect_body(framing);
    Ok((RequestParts { method, scheme: "http", authority, path, fields }, close))
}

/// Several `Host` fields are one list, as any field's.
fn joined_hosts(fields: &Fields) -> Option<HeaderValue> {
    let hosts: Vec<&[u8]> = fields.get_all(&HOST).map(HeaderValue::as_bytes).collect();
    if hosts.is_empty() { None } else { HeaderValue::from_bytes(&hosts.join(&b","[..])).ok() }
}

/// Answers bytes that are not a request, leaves their line, and closes.
async fn refuse(chain: &FilterChain, mut connection: Http1, mut record: CountedRecord, refusal: &Refusal) {
    let stats = &chain.stats.connection_manager;
    stats.cx_protocol_error.increment();
    stats.rq_completed.count(refusal.status);
    record.response_code = refusal.status.as_u16();
    record.bytes_sent = refusal.body.len() as u64;
    DownstreamReset::ProtocolError(refusal.details).note(&mut record);
    let mut fields = headers::local_reply(refusal.body);
    headers::prepare_response(refusal.status, &mut fields, false, chain.connection_manager.server_name);
    fields.set(CONNECTION, HeaderValue::from_static("close"));
    let mut head = BytesMut::new();
    ResponseHead { status: refusal.status, version: Version::HTTP_11, fields }.write(&mut head);
    head.extend_from_slice(refusal.body.as_bytes());
    connection.send_head(head, false);
    record.finish();
    connection.close_delayed(chain.connection_manager.delayed_close_timeout).await;
}
