//! The HTTP/1.1 codec of the listener: one loop a connection, one request at a time.
//!
//! Head, answer or relay, the log line at the stream's end, and only then the delayed close.

use http::header::{CONNECTION, HOST, UPGRADE};
use http::{HeaderName, HeaderValue, StatusCode, Version};

use super::super::http1::{HeadOutcome, Http1};
use super::super::reset::Gone;
use super::super::stream::{self, Incoming};
use super::super::worker::{ConnectionInfo, Worker};
use super::Downstream;
use crate::access_log::Protocol;
use crate::http1::{self, Fields, Framing, HeadError, RequestHead};
use crate::websocket::extended_connect::{self, RequestParts};

const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

/// Serves a connection to its end.
pub(in crate::sidecar) async fn serve(worker: &Worker, connection: Http1, info: ConnectionInfo) {
    let mut connection = Box::new(connection);
    loop {
        let head = std::future::poll_fn(|cx| {
            // The last answer may still be on its way out.
            let _ = connection.poll_flush(cx);
            connection.poll_head(http1::parse_request, cx)
        });
        let refusal = match head.await {
            Ok(Some(head)) => match accept(head, &mut connection) {
                Ok((request, close)) => {
                    let record = worker.record(&info, Protocol::Http11);
                    let tls = info.tls.clone();
                    let incoming = Incoming { request, protocol: Protocol::Http11, tls, close, record };
                    match stream::serve(worker, Downstream::Http1(connection), incoming).await {
                        Some(reusable) => connection = reusable,
                        None => return,
                    }
                    continue;
                }
                Err(refusal) => refusal,
            },
            Err(HeadOutcome::Malformed(error)) => Refusal::from(error),
            Ok(None) | Err(HeadOutcome::Closed) => return,
        };
        return refuse(worker, *connection, &info, &refusal).await;
    }
}

/// A request that is answered without being one (Envoy's codec errors).
struct Refusal {
    status: StatusCode,
    body: &'static str,
    details: &'static str,
}

impl From<HeadError> for Refusal {
    fn from(error: HeadError) -> Self {
        match error {
            HeadError::Malformed(_) => Self::bad_request("http1.codec_error"),
            HeadError::TooLong => Self::too_large("http1.headers_too_large"),
            HeadError::TooManyFields => Self::too_large("http1.too_many_headers"),
        }
    }
}

impl Refusal {
    /// Whether what came is no HTTP; else it is a request that is not served.
    fn is_codec_error(&self) -> bool {
        self.details.starts_with("http1.")
    }

    fn bad_request(details: &'static str) -> Self {
        Self { status: StatusCode::BAD_REQUEST, body: "Bad Request", details }
    }

    fn too_large(details: &'static str) -> Self {
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        Self { status, body: "Request Header Fields Too Large", details }
    }
}

/// Turns a head into a request, and readies the connection for its body. Also says whether the client will close.
fn accept(head: RequestHead, connection: &mut Http1) -> Result<(RequestParts, bool), Refusal> {
    let RequestHead { method, target, version, mut fields } = head;
    if version == Version::HTTP_10 {
        let status = StatusCode::UPGRADE_REQUIRED;
        return Err(Refusal { status, body: "Upgrade Required", details: "low_version" });
    }
    let close = fields.has_element(&CONNECTION, "close") || fields.has_element(&PROXY_CONNECTION, "close");
    let Some(authority) = fields.get(&HOST).cloned() else {
        return Err(Refusal::bad_request("missing_host_header"));
    };
    fields.remove(&HOST);
    ignore_h2c(&mut fields);
    let framing = if extended_connect::is_upgrade(&fields) {
        Framing::Raw
    } else {
        Framing::of_request(&fields).map_err(|_| Refusal::bad_request("http1.codec_error"))?
    };
    connection.expect_body(framing);
    let path =
        HeaderValue::from_maybe_shared(target).map_err(|_| Refusal::bad_request("http1.invalid_url"))?;
    Ok((RequestParts { method, scheme: "http", authority, path, fields }, close))
}

/// An upgrade to `h2c` is no upgrade: the fields that ask for it are dropped (Envoy's `ServerConnectionImpl`).
fn ignore_h2c(fields: &mut Fields) {
    if fields.get(&UPGRADE).is_none_or(|token| !token.as_bytes().eq_ignore_ascii_case(b"h2c")) {
        return;
    }
    let rest: Vec<&str> = fields
        .elements(&CONNECTION)
        .filter(|option| {
            !option.eq_ignore_ascii_case("upgrade") && !option.eq_ignore_ascii_case("http2-settings")
        })
        .collect();
    let rest = HeaderValue::from_str(&rest.join(",")).ok().filter(|rest| !rest.is_empty());
    fields.remove(&UPGRADE);
    fields.remove(&HTTP2_SETTINGS);
    match rest {
        Some(rest) => fields.set(CONNECTION, rest),
        None => fields.remove(&CONNECTION),
    }
}

/// Answers what is no request, leaves its line, and closes.
async fn refuse(worker: &Worker, mut connection: Http1, info: &ConnectionInfo, refusal: &Refusal) {
    let stats = &worker.stats.connection_manager;
    if refusal.is_codec_error() {
        stats.cx_protocol_error.increment();
    }
    stats.rq_completed.count(refusal.status);
    let mut record = worker.record(info, Protocol::Http11);
    record.response_code = refusal.status.as_u16();
    record.bytes_sent = refusal.body.len() as u64;
    Gone::ProtocolError(refusal.details).note(&mut record);
    let head = format!(
        "HTTP/1.1 {} {}\r\ncontent-length: {}\r\ncontent-type: text/plain\r\nconnection: close\r\n\r\n{}",
        refusal.status.as_str(),
        refusal.status.canonical_reason().unwrap_or_default(),
        refusal.body.len(),
        refusal.body
    );
    connection.send_head(head.as_str().into(), false);
    record.finish();
    connection.close_delayed(worker.connection_manager.delayed_close_timeout).await;
}
