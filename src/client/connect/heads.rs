//! Heads as lines of text, for people. What a server sent is not escaped here.

use http::header::HOST;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Version};

use crate::http1::{RequestHead, ResponseHead};
use crate::websocket::extended_connect::protocol;

/// A request in HTTP/1.1.
pub(super) fn request(head: &RequestHead) -> Vec<String> {
    let mut lines = vec![format!("{} {} HTTP/1.1", head.method, head.target_str())];
    lines.extend(head.fields.iter().map(field));
    lines
}

/// A request in HTTP/2, pseudo-header fields first (RFC 9113 section 8.3.1).
pub(super) fn http2_request(request: &Request<()>) -> Vec<String> {
    let uri = request.uri();
    let pseudo = [
        (":method", Some(request.method().as_str())),
        (":protocol", protocol(request)),
        (":scheme", uri.scheme_str()),
        (":authority", uri.authority().map(http::uri::Authority::as_str)),
        (":path", uri.path_and_query().map(http::uri::PathAndQuery::as_str)),
    ];
    let mut lines: Vec<String> =
        pseudo.into_iter().filter_map(|(name, value)| Some(format!("{name}: {}", value?))).collect();
    let headers: &HeaderMap = request.headers();
    lines.extend(headers.iter().filter(|(name, _)| **name != HOST).map(field));
    lines
}

/// A response in either version.
#[must_use]
pub fn response(head: &ResponseHead) -> Vec<String> {
    let status = head.status;
    let first = match head.version {
        Version::HTTP_2 => format!(":status: {}", status.as_u16()),
        version => {
            format!("{version:?} {} {}", status.as_u16(), status.canonical_reason().unwrap_or_default())
        }
    };
    let mut lines = vec![first.trim_end().to_owned()];
    lines.extend(head.fields.iter().map(field));
    lines
}

fn field((name, value): (&HeaderName, &HeaderValue)) -> String {
    format!("{name}: {}", String::from_utf8_lossy(value.as_bytes()))
}
