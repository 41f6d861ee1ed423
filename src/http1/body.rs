//! How long a message body is, and taking it apart (RFC 9112 sections 6 and 7).
//!
//! Trailers of a chunked body are read and dropped, as a proxy may (RFC 9110 section 6.5.1).

use bytes::{Buf, Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{Method, StatusCode};

use super::{Fields, MAX_HEAD_BYTES};

/// The longest chunk-size line with its extensions. Envoy has no bound; no sender needs so long a
/// line.
const MAX_CHUNK_LINE: usize = 4 * 1024;

/// How the end of a body is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// No body.
    None,
    /// `Content-Length`.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
    /// A response without either: it ends with the connection.
    UntilClose,
    /// Not a body: after an upgrade (or an upgrade request) every byte is data, and the end of the
    /// connection cuts the stream off.
    Raw,
}

/// Fields that leave the length of the body open to more than one reading, or in an unknown coding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    /// Not a number, or several.
    #[error("an invalid content-length")]
    ContentLength,
    /// A coding other than `chunked`.
    #[error("an unsupported transfer-encoding")]
    TransferEncoding,
    /// Both fields: a request smuggling vector (RFC 9112 section 6.1).
    #[error("both content-length and transfer-encoding")]
    Both,
}

/// A body that breaks the chunked grammar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a malformed chunk")]
pub struct ChunkError;

impl Framing {
    /// The framing of a request's body.
    ///
    /// # Errors
    /// [`FramingError`].
    pub fn of_request(fields: &Fields) -> Result<Self, FramingError> {
        Ok(Self::declared(fields)?.unwrap_or(Self::None))
    }

    /// The framing of a response's body.
    ///
    /// # Errors
    /// [`FramingError`].
    pub fn of_response(request: &Method, status: StatusCode, fields: &Fields) -> Result<Self, FramingError> {
        let bodiless = status.is_informational()
            || status == StatusCode::NO_CONTENT
            || status == StatusCode::NOT_MODIFIED
            || *request == Method::HEAD;
        if bodiless {
            return Ok(Self::None);
        }
        Ok(Self::declared(fields)?.unwrap_or(Self::UntilClose))
    }

    fn declared(fields: &Fields) -> Result<Option<Self>, FramingError> {
        let length = content_length(fields)?;
        if !fields.contains(&TRANSFER_ENCODING) {
            return Ok(length.map(Self::Length));
        }
        if length.is_some() {
            return Err(FramingError::Both);
        }
        // As in Envoy: one coding, and no list, not even one whose other elements are empty.
        let mut codings = fields.get_all(&TRANSFER_ENCODING);
        match (codings.next(), codings.next()) {
            (Some(coding), None) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => {
                Ok(Some(Self::Chunked))
            }
            _ => Err(FramingError::TransferEncoding),
        }
    }
}

/// The declared length. Duplicate Content-Length fields are rejected, even when equal, as RFC 9110
/// section 8.6 permits.
fn content_length(fields: &Fields) -> Result<Option<u64>, FramingError> {
    let mut length = None;
    for value in fields.get_all(&CONTENT_LENGTH) {
        let text = value.to_str().map_err(|_| FramingError::ContentLength)?;
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(FramingError::ContentLength);
        }
        if length.is_some() {
            return Err(FramingError::ContentLength);
        }
        length = Some(text.parse().map_err(|_| FramingError::ContentLength)?);
    }
    Ok(length)
}

/// The outcome of decoding the front of a buffer.
#[derive(Debug, PartialEq, Eq)]
pub enum Decoded {
    /// The next part of the body.
    Data(Bytes),
    /// Nothing yet: read more.
    NeedMore,
    /// The body is complete; what is left in the buffer is the next message.
    End,
}

/// Takes a body off the front of a buffer, part by part.
#[derive(Debug, Clone, Copy)]
pub struct BodyDecoder {
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Length(u64),
    ChunkSize,
    ChunkData(u64),
    ChunkEnd,
    Trailers,
    UntilClose,
    Raw,
    End,
}

impl BodyDecoder {
    /// A decoder at the start of a body.
    #[must_use]
    pub fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::None | Framing::Length(0) => State::End,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::ChunkSize,
            Framing::UntilClose => State::UntilClose,
            Framing::Raw => State::Raw,
        };
        Self { state }
    }

    /// Whether the whole body has been taken.
    #[must_use]
    pub fn is_end(self) -> bool {
        self.state == State::End
    }

    /// Whether every byte is data without any framing, so that none needs to be decoded.
    #[must_use]
    pub fn is_transparent(self) -> bool {
        matches!(self.state, State::Raw | State::UntilClose)
    }

    /// Whether this is the data after an upgrade rather than a body.
    #[must_use]
    pub fn is_raw(self) -> bool {
        self.state == State::Raw
    }

    /// Whether the end of the connection is a proper end of the body.
    #[must_use]
    pub fn may_end_with_connection(self) -> bool {
        matches!(self.state, State::UntilClose | State::End)
    }

    /// Takes the next part.
    ///
    /// # Errors
    /// [`ChunkError`]; the connection is of no use any more.
    pub fn decode(&mut self, buffer: &mut BytesMut) -> Result<Decoded, ChunkError> {
        loop {
            match self.state {
                State::End => return Ok(Decoded::End),
                _ if buffer.is_empty() => return Ok(Decoded::NeedMore),
                State::UntilClose | State::Raw => return Ok(Decoded::Data(buffer.split().freeze())),
                State::Length(left) => {
                    let (data, left) = take(buffer, left);
                    self.state = if left == 0 { State::End } else { State::Length(left) };
                    return Ok(Decoded::Data(data));
                }
                State::ChunkData(left) => {
                    let (data, left) = take(buffer, left);
                    self.state = if left == 0 { State::ChunkEnd } else { State::ChunkData(left) };
                    return Ok(Decoded::Data(data));
                }
                State::ChunkSize => match chunk_size(buffer)? {
                    Some((size, length)) if length <= MAX_CHUNK_LINE => {
                        buffer.advance(length);
                        self.state = if size == 0 { State::Trailers } else { State::ChunkData(size) };
                    }
                    None if buffer.len() <= MAX_CHUNK_LINE => return Ok(Decoded::NeedMore),
                    _ => return Err(ChunkError),
                },
                State::ChunkEnd => {
                    if buffer.len() < 2 {
                        return Ok(Decoded::NeedMore);
                    }
                    if !buffer.starts_with(b"\r\n") {
                        return Err(ChunkError);
                    }
                    buffer.advance(2);
                    self.state = State::ChunkSize;
                }
                State::Trailers => {
                    let mut slots = [httparse::EMPTY_HEADER; super::MAX_FIELDS];
                    match httparse::parse_headers(buffer, &mut slots) {
                        Ok(httparse::Status::Complete((length, _))) if length <= MAX_HEAD_BYTES => {
                            buffer.advance(length);
                            self.state = State::End;
                        }
                        Ok(httparse::Status::Partial) if buffer.len() <= MAX_HEAD_BYTES => {
                            return Ok(Decoded::NeedMore);
                        }
                        _ => return Err(ChunkError),
                    }
                }
            }
        }
    }
}

/// The size in a chunk's first line (RFC 9112 section 7.1) and the length of that line, `None` if
/// the line is not all there. Extensions, and what follows a blank, are skipped, whatever bytes
/// they are made of; but the line ends with CR LF. A proxy that took a lone CR or LF for its end
/// would see other chunks than the next hop does.
fn chunk_size(buffer: &[u8]) -> Result<Option<(u64, usize)>, ChunkError> {
    let digits = buffer.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let mut size: u64 = 0;
    for digit in buffer[..digits].iter().filter_map(|byte| char::from(*byte).to_digit(16)) {
        if size >> 60 != 0 {
            return Err(ChunkError);
        }
        size = size << 4 | u64::from(digit);
    }
    let rest = &buffer[digits..];
    match rest.first() {
        Some(b';' | b' ' | b'\t' | b'\r') if digits > 0 => {}
        None => return Ok(None),
        Some(_) => return Err(ChunkError),
    }
    match memchr::memchr2(b'\r', b'\n', rest).map(|end| (end, &rest[end..])) {
        None | Some((_, [b'\r'])) => Ok(None),
        Some((end, [b'\r', b'\n', ..])) => Ok(Some((size, digits + end + 2))),
        Some(_) => Err(ChunkError),
    }
}

/// Up to `max` bytes off the front, and how many of `max` are left.
fn take(buffer: &mut BytesMut, max: u64) -> (Bytes, u64) {
    let length = usize::try_from(max).unwrap_or(usize::MAX).min(buffer.len());
    (buffer.split_to(length).freeze(), max - length as u64)
}

/// The line before a chunk of `length` bytes; `\r\n` goes after it, and [`LAST_CHUNK`] ends the
/// body.
#[must_use]
pub fn chunk_head(length: usize) -> Bytes {
    Bytes::from(format!("{length:x}\r\n"))
}

/// The end of a chunk's data.
pub const CHUNK_END: Bytes = Bytes::from_static(b"\r\n");

/// The last chunk, without trailers.
pub const LAST_CHUNK: Bytes = Bytes::from_static(b"0\r\n\r\n");

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};
    use proptest::prelude::*;

    use super::*;

    fn fields(lines: &[(&'static str, &'static str)]) -> Fields {
        lines
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn the_framing_of_a_request_follows_its_fields() {
        type Case = (&'static [(&'static str, &'static str)], Result<Framing, FramingError>);
        let cases: &[Case] = &[
            (&[], Ok(Framing::None)),
            (&[("content-length", "5")], Ok(Framing::Length(5))),
            (&[("content-length", "5"), ("content-length", "5")], Err(FramingError::ContentLength)),
            (&[("content-length", "5"), ("content-length", "6")], Err(FramingError::ContentLength)),
            (&[("content-length", "+5")], Err(FramingError::ContentLength)),
            (&[("content-length", "")], Err(FramingError::ContentLength)),
            (&[("content-length", "99999999999999999999")], Err(FramingError::ContentLength)),
            (&[("transfer-encoding", "Chunked")], Ok(Framing::Chunked)),
            (&[("transfer-encoding", "gzip, chunked")], Err(FramingError::TransferEncoding)),
            (&[("transfer-encoding", "chunked, identity")], Err(FramingError::TransferEncoding)),
            (&[("transfer-encoding", "chunked,")], Err(FramingError::TransferEncoding)),
            (&[("transfer-encoding", ", chunked")], Err(FramingError::TransferEncoding)),
            (&[("transfer-encoding", "xchunked")], Err(FramingError::TransferEncoding)),
            (&[("transfer-encoding", "chunked;q=1")], Err(FramingError::TransferEncoding)),
            (&[("transfer-encoding", "")], Err(FramingError::TransferEncoding)),
            (
                &[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")],
                Err(FramingError::TransferEncoding),
            ),
            (&[("content-length", "5, 5")], Err(FramingError::ContentLength)),
            (&[("content-length", "0x5")], Err(FramingError::ContentLength)),
            (&[("content-length", "05")], Ok(Framing::Length(5))),
            (&[("transfer-encoding", "chunked"), ("content-length", "5")], Err(FramingError::Both)),
        ];
        for (lines, expected) in cases {
            assert_eq!(Framing::of_request(&fields(lines)), *expected, "{lines:?}");
        }
    }

    #[test]
    fn a_response_without_a_length_ends_with_the_connection_unless_it_has_no_body() {
        let of = |method, status| Framing::of_response(&method, status, &Fields::new()).unwrap();
        assert_eq!(of(Method::GET, StatusCode::OK), Framing::UntilClose);
        assert_eq!(of(Method::HEAD, StatusCode::OK), Framing::None);
        assert_eq!(of(Method::GET, StatusCode::NO_CONTENT), Framing::None);
    }

    fn decode_all(pieces: &[&[u8]]) -> Result<(Vec<u8>, bool, usize), ChunkError> {
        let mut decoder = BodyDecoder::new(Framing::Chunked);
        let (mut buffer, mut body) = (BytesMut::new(), Vec::new());
        for piece in pieces {
            buffer.extend_from_slice(piece);
            while let Decoded::Data(data) = decoder.decode(&mut buffer)? {
                body.extend_from_slice(&data);
            }
        }
        Ok((body, decoder.is_end(), buffer.len()))
    }

    #[test]
    fn a_chunk_without_its_end_is_malformed() {
        assert_eq!(decode_all(&[b"3\r\nabcX\r\n"]), Err(ChunkError));
        assert_eq!(decode_all(&[b"zz\r\n"]), Err(ChunkError));
    }

    #[test]
    fn a_chunk_size_is_hexadecimal_digits_on_a_line_that_ends_with_cr_lf() {
        let decode = |line: &str| {
            let wire = format!("{line}hello\r\n0\r\n\r\n");
            let whole = decode_all(&[wire.as_bytes()]);
            let bytes: Vec<_> = wire.as_bytes().chunks(1).collect();
            assert_eq!(decode_all(&bytes), whole, "{line:?}");
            whole.map(|(body, end, left)| {
                assert_eq!((body.as_slice(), end, left), (&b"hello"[..], true, 0), "{line:?}");
            })
        };
        for line in [
            "5\r\n",
            "0005\r\n",
            "00000000000000000000005\r\n",
            "5 \r\n",
            "5\t\r\n",
            "5;\r\n",
            "5;a=b\r\n",
            "5 ; a = \"b;c\"\r\n",
            "5;a\0b\r\n",
            "5;\u{e4}\r\n",
        ] {
            assert_eq!(decode(line), Ok(()), "{line:?}");
        }
        for line in [
            "5\n",
            "5\r",
            "5\r\r\n",
            "5;a\n",
            "5;a\nb\r\n",
            "5;\n\r\n",
            "5;a\rb\r\n",
            "5 \n\r\n",
            "0x5\r\n",
            "+5\r\n",
            "-5\r\n",
            " 5\r\n",
            "5.0\r\n",
            "5,5\r\n",
            "5_\r\n",
            ";a\r\n",
            "\r\n",
            "10000000000000005\r\n",
        ] {
            assert_eq!(decode(line), Err(ChunkError), "{line:?}");
        }
    }

    #[test]
    fn what_is_too_long_is_malformed_however_it_arrives() {
        for (before, max, after) in [("5;", MAX_CHUNK_LINE, "\r\n"), ("0\r\nx: ", MAX_HEAD_BYTES, "\r\n\r\n")]
        {
            let longest = before.rfind('\n').map_or(0, |end| end + 1) + max;
            for (length, expected) in [(longest, true), (longest + 1, false)] {
                let filling = "a".repeat(length - before.len() - after.len());
                let wire = [before, &filling, after].concat();
                assert_eq!(decode_all(&[wire.as_bytes()]).is_ok(), expected, "{before:?}");
                let bytes: Vec<_> = wire.as_bytes().chunks(1).collect();
                assert_eq!(decode_all(&bytes).is_ok(), expected, "{before:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn any_split_of_a_chunked_body_gives_the_same_bytes(first in 0..40_usize, second in 0..40_usize) {
            let wire: &[u8] = b"5;ext=1\r\nhello\r\n6\r\n world\r\n0\r\nx-trailer: 1\r\n\r\nGET";
            let (a, b) = (first.min(second), first.max(second).min(wire.len()));
            let result = decode_all(&[&wire[..a], &wire[a..b], &wire[b..]]).unwrap();
            prop_assert_eq!(result, (b"hello world".to_vec(), true, 3));
        }
    }
}
