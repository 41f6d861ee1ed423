//! Request and response heads (RFC 9112 sections 2 to 5), parsed off the front of a buffer.
//!
//! What follows a head stays in the buffer: for a WebSocket these are early frames, and they must
//! not be lost. Semantics (is this an upgrade, how long is the body) are not here.

use bytes::{Bytes, BytesMut};
use http::{HeaderName, HeaderValue, Method, StatusCode, Version};

use super::Fields;

/// The most bytes that the head of a request may have: Envoy's `max_request_headers_kb`, 60 KiB.
pub const MAX_HEAD_BYTES: usize = 60 * 1024;

/// The most bytes that the head of a response may have: Envoy's default of
/// `max_response_headers_kb`, 80 KiB.
pub const MAX_RESPONSE_HEAD_BYTES: usize = 80 * 1024;

/// The most fields that a head may have: Envoy's `max_headers_count`.
pub const MAX_FIELDS: usize = 100;

/// Why bytes are not a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// The start line or a field breaks the grammar.
    #[error("not an HTTP/1.1 head: {0}")]
    Malformed(httparse::Error),
    /// More bytes than this without an end, or in all.
    #[error("a head of more than {0} bytes")]
    TooLong(usize),
    /// More than [`MAX_FIELDS`] fields.
    #[error("a head of more than {MAX_FIELDS} fields")]
    TooManyFields,
}

/// The head of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHead {
    /// The method, any token.
    pub method: Method,
    /// The request target as it was sent: origin form, absolute form, authority form or `*`.
    pub target: Bytes,
    /// HTTP/1.0 or HTTP/1.1.
    pub version: Version,
    /// The header fields.
    pub fields: Fields,
}

/// The head of a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponseHead {
    /// The status code.
    pub status: StatusCode,
    /// HTTP/1.0 or HTTP/1.1.
    pub version: Version,
    /// The header fields.
    pub fields: Fields,
}

impl RequestHead {
    /// The target as text. Targets are visible ASCII or, leniently, UTF-8: `httparse` has checked.
    #[must_use]
    pub fn target_str(&self) -> &str {
        std::str::from_utf8(&self.target).unwrap_or_default()
    }

    /// Writes the head, names in lower case, and the empty line.
    pub fn write(&self, out: &mut BytesMut) {
        out.extend_from_slice(self.method.as_str().as_bytes());
        out.extend_from_slice(b" ");
        out.extend_from_slice(&self.target);
        out.extend_from_slice(b" HTTP/1.1\r\n");
        write_fields(&self.fields, out);
    }
}

impl ResponseHead {
    /// Writes the head as HTTP/1.1 with the standard reason phrase, names in lower case, and the
    /// empty line.
    pub fn write(&self, out: &mut BytesMut) {
        out.extend_from_slice(b"HTTP/1.1 ");
        out.extend_from_slice(self.status.as_str().as_bytes());
        out.extend_from_slice(b" ");
        out.extend_from_slice(reason(self.status).as_bytes());
        out.extend_from_slice(b"\r\n");
        write_fields(&self.fields, out);
    }
}

/// The reason phrase, as Envoy knows it (`CodeUtility::toString`).
fn reason(status: StatusCode) -> &'static str {
    match status.as_u16() {
        102 | 103 | 418 | 451 => "Unknown",
        599 => "Last Unassigned Server Error Code",
        _ => status.canonical_reason().unwrap_or("Unknown"),
    }
}

fn write_fields(fields: &Fields, out: &mut BytesMut) {
    for (name, value) in fields.iter() {
        out.extend_from_slice(name.as_str().as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
}

/// As [`parse_request`], of a head whose fields may be folded: Envoy mends them.
///
/// # Errors
/// [`HeadError`]; the connection is of no use any more.
pub fn parse_folded_request(buffer: &mut BytesMut) -> Result<Option<RequestHead>, HeadError> {
    match parse_request(buffer) {
        Err(HeadError::Malformed(httparse::Error::HeaderName)) if unfold(buffer) => parse_request(buffer),
        parsed => parsed,
    }
}

/// Drops the line breaks within fields of a head (RFC 9112 section 5.2), as Envoy does. Returns
/// whether there were any. An indented first field is not a folded one.
fn unfold(buffer: &mut BytesMut) -> bool {
    let mut unfolded = BytesMut::with_capacity(buffer.len());
    let mut lines = 0;
    let mut rest = &buffer[..];
    while let Some(end) = memchr::memchr(b'\n', rest) {
        let (line, after) = rest.split_at(end + 1);
        let text = line.strip_suffix(b"\r\n").unwrap_or(&line[..end]);
        // Empty lines may come before the head; one after it is its end.
        if text.is_empty() && lines > 0 {
            break;
        }
        lines += usize::from(!text.is_empty());
        let folded = lines > 1 && after.first().is_some_and(|next| matches!(next, b' ' | b'\t'));
        unfolded.extend_from_slice(if folded { text } else { line });
        rest = after;
    }
    unfolded.extend_from_slice(rest);
    let changed = unfolded.len() < buffer.len();
    *buffer = unfolded;
    changed
}

/// Takes a request head off the front of `buffer`; `None` if it is not all there yet. A line that
/// is folded is refused (RFC 9112 section 5.2).
///
/// # Errors
/// [`HeadError`]; the connection is of no use any more.
pub fn parse_request(buffer: &mut BytesMut) -> Result<Option<RequestHead>, HeadError> {
    let mut slots = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut parsed = httparse::Request::new(&mut slots);
    let outcome = parsed.parse(buffer).map_err(|error| request_error(buffer, error));
    let Some(length) = complete(buffer.len(), MAX_HEAD_BYTES, outcome)? else { return Ok(None) };
    let base = buffer.as_ptr() as usize;
    let target = span(base, parsed.path.unwrap_or_default().as_bytes());
    let method = Method::from_bytes(parsed.method.unwrap_or_default().as_bytes())
        .map_err(|_| HeadError::Malformed(httparse::Error::Token))?;
    let version = version(parsed.version);
    let spans = field_spans(base, parsed.headers);
    let head = buffer.split_to(length).freeze();
    Ok(Some(RequestHead {
        method,
        target: head.slice(target),
        version,
        fields: slice_fields(&head, &spans)?,
    }))
}

/// Takes a response head off the front of `buffer`; `None` if it is not all there yet.
///
/// # Errors
/// [`HeadError`]; the connection is of no use any more.
pub fn parse_response(buffer: &mut BytesMut) -> Result<Option<ResponseHead>, HeadError> {
    // Empty lines, which a server skips, are what a response that was smuggled in may begin with
    // (RFC 9112 section 2.2).
    if matches!(buffer.first(), Some(b'\r' | b'\n')) {
        return Err(HeadError::Malformed(httparse::Error::Status));
    }
    let mut slots = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut parsed = httparse::Response::new(&mut slots);
    let Some(length) = complete(buffer.len(), MAX_RESPONSE_HEAD_BYTES, parsed.parse(buffer))? else {
        return Ok(None);
    };
    let status = StatusCode::from_u16(parsed.code.unwrap_or_default())
        .map_err(|_| HeadError::Malformed(httparse::Error::Status))?;
    let version = version(parsed.version);
    let spans = field_spans(buffer.as_ptr() as usize, parsed.headers);
    let head = buffer.split_to(length).freeze();
    Ok(Some(ResponseHead { status, version, fields: slice_fields(&head, &spans)? }))
}

/// What is wrong with the first line of a request. `Version` only if everything else is in order:
/// the rest of a target with a blank in it is not a version.
fn request_error(buffer: &[u8], error: httparse::Error) -> httparse::Error {
    if is_simple_request(buffer) {
        return httparse::Error::Version;
    }
    if error != httparse::Error::Version {
        return error;
    }
    let line = buffer.split(|byte| matches!(byte, b'\r' | b'\n')).find(|line| !line.is_empty());
    let mut words = line.unwrap_or_default().split(|byte| *byte == b' ').skip(2);
    match (words.next(), words.next()) {
        (Some([b'H', b'T', b'T', b'P', b'/', major, b'.', minor]), None)
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            error
        }
        _ => httparse::Error::Token,
    }
}

/// Whether the first line is a method and a target without a version, HTTP/0.9's request.
fn is_simple_request(buffer: &[u8]) -> bool {
    let line = buffer.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let mut words = line.split(|byte| *byte == b' ').filter(|_| !line.contains(&b'\r'));
    words.next().is_some_and(|method| !method.is_empty() && method.iter().all(u8::is_ascii_uppercase))
        && words.next().is_some_and(|target| target.starts_with(b"/"))
        && words.next().is_none()
}

/// The length of the head, `None` if more bytes are needed.
fn complete(
    available: usize,
    max: usize,
    outcome: Result<httparse::Status<usize>, httparse::Error>,
) -> Result<Option<usize>, HeadError> {
    match outcome {
        Ok(httparse::Status::Complete(length)) if length > max => Err(HeadError::TooLong(max)),
        Ok(httparse::Status::Complete(length)) => Ok(Some(length)),
        Ok(httparse::Status::Partial) if available > max => Err(HeadError::TooLong(max)),
        Ok(httparse::Status::Partial) => Ok(None),
        Err(httparse::Error::TooManyHeaders) => Err(HeadError::TooManyFields),
        Err(error) => Err(HeadError::Malformed(error)),
    }
}

fn version(minor: Option<u8>) -> Version {
    if minor == Some(0) { Version::HTTP_10 } else { Version::HTTP_11 }
}

/// Where a part lies in the buffer that starts at `base`. `httparse` lends slices of that buffer,
/// so this is the way back to positions, and so to shared bytes instead of copies.
fn span(base: usize, part: &[u8]) -> std::ops::Range<usize> {
    if part.is_empty() {
        return 0..0;
    }
    let start = part.as_ptr() as usize - base;
    start..start + part.len()
}

/// A field's name, `None` if `http` does not take it, and where its value lies.
type FieldSpan = (Option<HeaderName>, std::ops::Range<usize>);

fn field_spans(base: usize, headers: &[httparse::Header<'_>]) -> Vec<FieldSpan> {
    headers
        .iter()
        .map(|header| (HeaderName::from_bytes(header.name.as_bytes()).ok(), span(base, header.value)))
        .collect()
}

fn slice_fields(head: &Bytes, spans: &[FieldSpan]) -> Result<Fields, HeadError> {
    spans
        .iter()
        .map(|(name, span)| {
            let name = name.clone().ok_or(HeadError::Malformed(httparse::Error::HeaderName))?;
            let value = HeaderValue::from_maybe_shared(head.slice(span.clone()))
                .map_err(|_| HeadError::Malformed(httparse::Error::HeaderValue))?;
            Ok((name, value))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SAMPLE: &[u8] = b"GET /chat?a=1 HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\n\
        Empty:\r\nX-Twice: 1\r\nX-Twice: 2\r\n\r\n\x81\x05hello";

    #[test]
    fn what_follows_a_head_stays_in_the_buffer() {
        let mut buffer = BytesMut::from(SAMPLE);
        let head = parse_request(&mut buffer).unwrap().unwrap();
        assert_eq!(head.target_str(), "/chat?a=1");
        assert_eq!(head.fields.len(), 5);
        assert_eq!(head.fields.get(&http::header::HOST).unwrap(), "server.example.com");
        assert_eq!(&buffer[..], b"\x81\x05hello");
    }

    #[test]
    fn a_field_over_several_lines_is_one_without_the_line_breaks() {
        for (field, value) in [
            ("b\r\n c", "b c"),
            ("b \r\n \t c", "b  \t c"),
            ("\r\n c", "c"),
            ("b\r\n ", "b"),
            ("b\n c", "b c"),
        ] {
            let text = format!("\r\nGET / HTTP/1.1\r\nx: {field}\r\ny: 1\r\n\r\n\n early");
            let mut buffer = BytesMut::from(text.as_str());
            let head = parse_folded_request(&mut buffer).unwrap().unwrap();
            let fields: Vec<_> = head.fields.iter().map(|(_, value)| value.to_str().unwrap()).collect();
            assert_eq!(fields, [value, "1"], "{field:?}");
            assert_eq!(&buffer[..], b"\n early");
            assert!(parse_request(&mut BytesMut::from(text.as_str())).is_err(), "{field:?}");
        }
        let indented = "GET / HTTP/1.1\r\n x: y\r\n\r\n";
        let error = parse_folded_request(&mut BytesMut::from(indented)).unwrap_err();
        assert_eq!(error, HeadError::Malformed(httparse::Error::HeaderName));
    }

    #[test]
    fn writing_keeps_the_order_and_lowers_the_names() {
        let head = parse_request(&mut BytesMut::from(SAMPLE)).unwrap().unwrap();
        let mut out = BytesMut::new();
        head.write(&mut out);
        let expected = "GET /chat?a=1 HTTP/1.1\r\nhost: server.example.com\r\nupgrade: websocket\r\nempty: \r\n\
                        x-twice: 1\r\nx-twice: 2\r\n\r\n";
        assert_eq!(std::str::from_utf8(&out).unwrap(), expected);
    }

    #[test]
    fn a_response_head_is_read_without_its_body() {
        let mut buffer = BytesMut::from("HTTP/1.1 426 Upgrade Required\r\nserver: x\r\n\r\nbody");
        let head = parse_response(&mut buffer).unwrap().unwrap();
        assert_eq!((head.status.as_u16(), head.version), (426, Version::HTTP_11));
        assert_eq!(&buffer[..], b"body");
    }

    #[test]
    fn a_wrong_version_is_told_from_a_wrong_line() {
        let error = |line: &str| {
            let text = format!("{line}\r\nHost: a\r\n\r\n");
            parse_request(&mut BytesMut::from(text.as_str())).unwrap_err()
        };
        for line in ["GET / HTTP/2.0", "GET / HTTP/1.2", "GET / HTTP/0.9", "GET /", "\r\nGET / HTTP/3.0"] {
            assert_eq!(error(line), HeadError::Malformed(httparse::Error::Version), "{line}");
        }
        for line in [
            "GET /a b HTTP/1.1",
            "GET /a\rb HTTP/1.1",
            "GET /a b HTTP/2.0",
            "GET / http/1.1",
            "GET / HTTP/1",
            "GET / HTTP/2",
            "GET / HTTP/1.10",
            "GET / HTTP/+1.1",
            "GET / HTTPS/1.1",
            "GET  / HTTP/1.1",
            "GET /  HTTP/1.1",
            "GET / HTTP/1.1 ",
            " GET / HTTP/1.1",
        ] {
            let error = error(line);
            assert_ne!(error, HeadError::Malformed(httparse::Error::Version), "{line}");
            assert!(matches!(error, HeadError::Malformed(_)), "{line}: {error}");
        }
    }

    #[test]
    fn a_response_begins_with_its_status_line() {
        for before in ["\r\n", "\n", "\r", " "] {
            let text = format!("{before}HTTP/1.1 200 OK\r\n\r\n");
            assert!(parse_response(&mut BytesMut::from(text.as_str())).is_err(), "{before:?}");
        }
    }

    #[test]
    fn too_long_and_too_many_are_told_from_malformed() {
        let long = format!("GET / HTTP/1.1\r\nx: {}", "y".repeat(MAX_HEAD_BYTES));
        let error = parse_request(&mut BytesMut::from(long.as_str())).unwrap_err();
        assert_eq!(error, HeadError::TooLong(MAX_HEAD_BYTES));
        let response = long.replace("GET / HTTP/1.1", "HTTP/1.1 200 OK");
        assert!(parse_response(&mut BytesMut::from(response.as_str())).unwrap().is_none());
        let longer = response + &"y".repeat(MAX_RESPONSE_HEAD_BYTES - MAX_HEAD_BYTES);
        let error = parse_response(&mut BytesMut::from(longer.as_str())).unwrap_err();
        assert_eq!(error, HeadError::TooLong(MAX_RESPONSE_HEAD_BYTES));
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(MAX_FIELDS + 1));
        assert_eq!(parse_request(&mut BytesMut::from(many.as_str())).unwrap_err(), HeadError::TooManyFields);
        let error = parse_request(&mut BytesMut::from("\x16\x03\x01\r\n\r\n")).unwrap_err();
        assert!(matches!(error, HeadError::Malformed(_)));
    }

    proptest! {

        #[test]
        fn a_head_that_is_not_all_there_is_awaited(split in 0..SAMPLE.len() - 7) {
            prop_assert!(parse_request(&mut BytesMut::from(&SAMPLE[..split])).unwrap().is_none());
        }
    }
}
