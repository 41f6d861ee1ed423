//! What reads bytes from outside, each as a function of any bytes: the fuzz targets and
//! `tests/fuzz` run the same ones.
//!
//! None may panic, and where bytes arrive over a socket, how they are cut makes no difference.
//! There the first byte says how they are cut. What other inputs are made from is in `seeds`, a
//! folder for each.

use std::io;
use std::ops::RangeInclusive;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes, BytesMut};
use futures_util::StreamExt;
use http::Method;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::WebSocketStream;
use tungstenite::Message;
use tungstenite::protocol::Role;
use websockets_cli::access_log::{LineFormat, ParsedLine};
use websockets_cli::cli::draw_findings;
use websockets_cli::http1::{
    BodyDecoder, Decoded, Fields, Framing, parse_folded_request, parse_request, parse_response,
};
use websockets_cli::mesh::config_dump::{DumpedProxy, Side, masked};
use websockets_cli::mesh::lint::{Circumstances, Finding, lint, lint_dumps};
use websockets_cli::mesh::{Documents, ISTIO_VERSION, InboundQuery, inbound};
use websockets_cli::websocket::deflate::{Agreement, Sending};
use websockets_cli::websocket::extended_connect::{
    self, RequestParts, is_upgrade, request_from_http2, request_size, request_to_http2, response_to_http2,
};
use websockets_cli::websocket::opening::{client, server};
use websockets_cli::websocket::{TransportAdapter, close_code};
use websockets_cli::yaml::Text;

/// An entry point by its name.
pub(crate) type EntryPoint = (&'static str, fn(&[u8]));

/// All of them.
pub(crate) const ENTRY_POINTS: [EntryPoint; 7] = [
    ("opening_handshake", opening_handshake),
    ("body", body),
    ("frames", frames),
    ("extended_connect", extended_connect),
    ("access_log", access_log),
    ("documents", documents),
    ("config_dump", config_dump),
];

/// The head of an opening handshake and the answer to it, at either end and at the sidecar's
/// HTTP/1.1 edges.
pub(crate) fn opening_handshake(input: &[u8]) {
    let Some((&how, bytes)) = input.split_first() else { return };
    for parse in [parse_request, parse_folded_request] {
        assert_eq!(head_of(whole(bytes), parse), head_of(cut(bytes, how), parse));
    }
    assert_eq!(head_of(whole(bytes), parse_response), head_of(cut(bytes, how), parse_response));
    if let Some(Ok((head, _))) = head_of(whole(bytes), parse_request)
        && server::is_attempt(&head)
        && let Ok(accepted) = server::check(&head)
    {
        let mut out = BytesMut::new();
        accepted.response().write(&mut out);
        let answer = parse_response(&mut out).expect("well formed").expect("complete");
        let (_, agreement) = client::check(&head, answer).expect("what was asked for");
        assert_eq!(agreement, accepted.deflate);
    }
    if let Some(Ok((answer, _))) = head_of(whole(bytes), parse_response) {
        let host = http::HeaderValue::from_static("server.example.com");
        let mut request = client::request(Bytes::from_static(b"/chat"), host, &Fields::new());
        client::offer_compression(&mut request);
        // Whatever it agrees to, it is not the answer to a key that nobody else has seen.
        assert!(client::check(&request, answer).is_err());
    }
}

/// All at once.
fn whole(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::once(bytes)
}

/// The same in pieces, of a length that `how` says or of many lengths.
fn cut(mut bytes: &[u8], how: u8) -> impl Iterator<Item = &[u8]> {
    let mut lengths = Lengths::new(how);
    std::iter::from_fn(move || {
        let (piece, rest) = bytes.split_at_checked(lengths.take()).unwrap_or((bytes, &[]));
        bytes = rest;
        (!piece.is_empty()).then_some(piece)
    })
}

/// How long pieces are.
struct Lengths {
    last: usize,
    is_even: bool,
}

impl Lengths {
    /// All of up to thirty-two bytes, or of many lengths that begin with this one.
    fn new(how: u8) -> Self {
        Self { last: usize::from(how % 32) + 1, is_even: how & 32 == 0 }
    }

    fn take(&mut self) -> usize {
        if !self.is_even {
            // Each number below 64 comes once before one comes again.
            self.last = (self.last * 5 + 3) % 64;
        }
        self.last.max(1)
    }
}

type Parse<T, E> = fn(&mut BytesMut) -> Result<Option<T>, E>;

/// The first head in bytes that arrive in pieces, and what follows it; `Err(())` for a malformed
/// one.
fn head_of<'a, T, E>(
    mut pieces: impl Iterator<Item = &'a [u8]>,
    parse: Parse<T, E>,
) -> Option<Result<(T, Vec<u8>), ()>> {
    let mut buffer = BytesMut::new();
    while let Some(piece) = pieces.next() {
        buffer.extend_from_slice(piece);
        match parse(&mut buffer) {
            Ok(None) => {}
            Ok(Some(head)) => {
                pieces.for_each(|piece| buffer.extend_from_slice(piece));
                return Some(Ok((head, buffer.into())));
            }
            Err(_) => return Some(Err(())),
        }
    }
    None
}

/// A body in chunks, as the sidecar passes it on.
pub(crate) fn body(input: &[u8]) {
    let Some((&how, bytes)) = input.split_first() else { return };
    assert_eq!(chunks(whole(bytes)), chunks(cut(bytes, how)));
}

/// The data, and what follows the body if it has ended; `Err(())` if it is malformed from there on.
fn chunks<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<u8>, Result<Option<Vec<u8>>, ()>) {
    let mut decoder = BodyDecoder::new(Framing::Chunked);
    let (mut buffer, mut body) = (BytesMut::new(), Vec::new());
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            match decoder.decode(&mut buffer) {
                Ok(Decoded::Data(data)) => body.extend_from_slice(&data),
                Ok(Decoded::NeedMore | Decoded::End) => break,
                Err(_) => return (body, Err(())),
            }
        }
    }
    (body, Ok(decoder.is_end().then(|| buffer.into())))
}

/// What follows the opening handshake: plain and compressed messages, to a server and to a client.
pub(crate) fn frames(input: &[u8]) {
    let Some((&[how, what], bytes)) = input.split_first_chunk() else { return };
    let role = if what & 2 == 0 { Role::Server } else { Role::Client };
    let sending = Sending { context_takeover: what & 4 == 0, max_window_bits: (what & 8 != 0).then_some(9) };
    let agreement = (what & 1 == 1).then_some(Agreement { server: sending, client: sending });
    let at_once = messages(bytes, Lengths { last: bytes.len(), is_even: true }, role, agreement);
    assert_eq!(at_once, messages(bytes, Lengths::new(how), role, agreement));
}

/// The messages, and the code of the Close frame that is due after them.
fn messages(
    bytes: &[u8],
    mut lengths: Lengths,
    role: Role,
    agreement: Option<Agreement>,
) -> (Vec<Message>, Option<u16>) {
    let mut bytes = Bytes::copy_from_slice(bytes);
    let early = bytes.split_to(lengths.take().min(bytes.len()));
    let frames = TransportAdapter::new(Pieces { bytes, lengths }, early, role, agreement, 64 << 20);
    let mut cx = Context::from_waker(Waker::noop());
    let mut session = std::pin::pin!(WebSocketStream::from_raw_socket(frames, role, None));
    let Poll::Ready(mut session) = session.as_mut().poll(&mut cx) else { unreachable!("nothing is awaited") };
    let mut messages = Vec::new();
    loop {
        match session.poll_next_unpin(&mut cx) {
            // What follows a Close is not looked at (RFC 6455 section 5.5.1).
            Poll::Ready(Some(Ok(message @ Message::Close(_)))) => {
                messages.push(message);
                return (messages, None);
            }
            Poll::Ready(Some(Ok(message))) => messages.push(message),
            Poll::Ready(Some(Err(error))) => return (messages, close_code::of(&error).map(u16::from)),
            Poll::Ready(None) => return (messages, None),
            Poll::Pending => unreachable!("the bytes are there"),
        }
    }
}

/// A socket whose bytes arrive in pieces, and which takes whatever is written.
struct Pieces {
    bytes: Bytes,
    lengths: Lengths,
}

impl AsyncRead for Pieces {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let length = self.lengths.take().min(out.remaining()).min(self.bytes.len());
        out.put_slice(&self.bytes[..length]);
        self.bytes.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pieces {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// The translation of an upgrade into extended CONNECT, and back.
pub(crate) fn extended_connect(input: &[u8]) {
    let Some(Ok((head, _))) = head_of(whole(input), parse_folded_request) else { return };
    let mut fields = head.fields.clone();
    fields.remove(&http::header::HOST);
    let request = RequestParts {
        method: head.method.clone(),
        scheme: "http",
        authority: head.fields.get(&http::header::HOST).cloned(),
        path: http::HeaderValue::from_bytes(&head.target).ok(),
        fields,
    };
    let Ok(http2) = request_to_http2(&request) else { return };
    assert!(request_size(&http2).0 >= http2.headers().len());
    let asked = is_upgrade(&request.fields);
    if let Some(protocol) = extended_connect::protocol(&http2) {
        assert!(asked);
        let back = request_from_http2(&http2);
        assert_eq!(back.method, Method::GET);
        assert!(is_upgrade(&back.fields));
        assert_eq!(back.fields.get(&http::header::UPGRADE).unwrap(), protocol);
    }
    if let Ok(accepted) = server::check_extended_connect(&http2) {
        assert!(asked);
        let answer = accepted.response();
        let answer = response_to_http2(answer.status, &answer.fields);
        assert_eq!(answer.status(), http::StatusCode::OK);
    }
}

/// A line of an access log: JSON, Istio's text, or of a format that stands in the first of two
/// lines.
pub(crate) fn access_log(input: &[u8]) {
    thread_local! {
        static ISTIOS: LineFormat = LineFormat::default();
    }
    let text = String::from_utf8_lossy(input);
    if let Ok(line) = ParsedLine::parse(&text) {
        assert_eq!(ParsedLine::parse(line.text()).unwrap(), line);
    }
    ISTIOS.with(|format| read_line(format, &text));
    if let Some((format, line)) = text.split_once('\n')
        && let Ok(format) = LineFormat::compile(format)
    {
        read_line(&format, line);
    }
}

/// Reads a line and looks at all that is in it, which is what stands there.
fn read_line(format: &LineFormat, text: &str) {
    let Some(line) = format.read(text) else { return };
    assert!(text.contains(line.text()));
    for key in line.keys() {
        assert_ne!(line.field(key), websockets_cli::access_log::Field::Absent);
    }
}

/// Kubernetes and Istio documents: what they say, what a sidecar makes of them, and what `lint`
/// finds and draws.
pub(crate) fn documents(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let lines = lines_of(&text);
    if let Ok(documents) = Documents::parse("fuzz.yaml", &text) {
        assert!(documents.warnings().iter().all(|warning| lines.contains(&warning.place.line)));
        let _ =
            inbound(&documents, &InboundQuery { workload: None, port: None, istio_version: ISTIO_VERSION });
    }
    let texts = [Text::new("fuzz.yaml", text.into_owned())];
    let circumstances = Circumstances { mesh: None, istio_version: ISTIO_VERSION };
    if let Ok(findings) = lint(&texts, &circumstances) {
        drawn(&texts, &[], &findings, &lines);
    }
}

/// What a proxy has in force, alone and as both sides of a hop: what `lint` finds and draws.
pub(crate) fn config_dump(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let lines = lines_of(&text);
    let text = Text::new("fuzz.json", text.into_owned());
    let read = |side| DumpedProxy::read(&text, side);
    let (Ok(one), Ok(client), Ok(server)) = (read(None), read(Some(Side::Client)), read(Some(Side::Server)))
    else {
        return;
    };
    let shown = [masked(&text)];
    assert_eq!(shown[0].text.len(), text.text.len());
    for proxies in [one, client.into_iter().chain(server).collect()] {
        let findings = lint_dumps(&proxies);
        drawn(&shown, &proxies, &findings, &lines);
    }
}

/// The numbers of a text's lines. A carriage return alone breaks one, too (YAML 1.2.2 section 5.4).
fn lines_of(text: &str) -> RangeInclusive<u64> {
    1..=text.replace("\r\n", "\n").matches(['\r', '\n']).count() as u64 + 1
}

/// Findings are in the text, and can be drawn in it.
fn drawn(texts: &[Arc<Text>], proxies: &[DumpedProxy], findings: &[Finding], lines: &RangeInclusive<u64>) {
    assert!(findings.iter().all(|finding| lines.contains(&finding.place.line)));
    draw_findings(texts, proxies, findings).expect("memory takes all");
}
