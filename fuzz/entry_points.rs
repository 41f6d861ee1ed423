//! What reads bytes from outside, each as a function of any bytes: the fuzz targets and `tests/fuzz` run the same ones.
//!
//! None may panic, and where bytes arrive over a socket, how they are cut makes no difference. The first byte says how.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::WebSocketStream;
use tungstenite::Message;
use tungstenite::protocol::Role;
use websockets_cli::access_log::ParsedLine;
use websockets_cli::http1::{RequestHead, parse_folded_request, parse_request, parse_response};
use websockets_cli::mesh::Documents;
use websockets_cli::websocket::deflate::Agreement;
use websockets_cli::websocket::extended_connect::{
    self, RequestParts, is_upgrade, request_from_http2, request_size, request_to_http2, response_to_http2,
};
use websockets_cli::websocket::opening::server as opening;
use websockets_cli::websocket::{Frames, failure};

/// An entry point, and inputs from which others are made.
pub(crate) struct EntryPoint {
    pub(crate) name: &'static str,
    pub(crate) run: fn(&[u8]),
    pub(crate) seeds: &'static [&'static [u8]],
}

/// All of them.
pub(crate) const ENTRY_POINTS: &[EntryPoint] = &[
    EntryPoint { name: "opening_handshake", run: opening_handshake, seeds: &[HANDSHAKE] },
    EntryPoint {
        name: "frames",
        run: frames,
        seeds: &[PLAIN, COMPRESSED, FROM_SERVER, AMID_COMPRESSED, AMID_PLAIN, BAD_GATEWAY],
    },
    EntryPoint { name: "extended_connect", run: extended_connect, seeds: &[HANDSHAKE] },
    EntryPoint { name: "access_log", run: access_log, seeds: &[LINE] },
    EntryPoint {
        name: "documents",
        run: documents,
        seeds: &[
            include_bytes!("../manifests/destination-rule.yaml"),
            include_bytes!("../manifests/envoy-filter.yaml"),
        ],
    },
];

const HANDSHAKE: &[u8] = b"\x03GET /chat HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n\x81\x80\0\0\0\0";

/// Text, binary in fragments with a ping between them, a Close; to a server that has not agreed on compression.
const PLAIN: &[u8] = b"\x08\x81\x85\0\0\0\0hello\x02\x82\x01\x02\x03\x04ab\x89\x81\0\0\0\0p\x80\x81\0\0\0\0c\x88\x82\0\0\0\0\x03\xe8";

/// `Hello` twice, the second time as a reference to the first and in fragments; then an empty message.
const COMPRESSED: &[u8] =
    b"\x05\xc1\x87\0\0\0\0\xf2\x48\xcd\xc9\xc9\x07\0\x42\x82\0\0\0\0\xf2\0\x80\x83\0\0\0\0\x11\0\0\
    \xc1\x81\0\0\0\0\0";

/// The same kinds of frames to a client.
const FROM_SERVER: &[u8] = b"\x07\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\0\x81\x02\xc3\xa4\x82\x7e\0\x01x\x88\0";

/// Compressed messages that begin amid another one, a compressed or a plain one, and do not inflate either.
const AMID_COMPRESSED: &[u8] =
    b"\x01\xc1\x87\0\0\0\0\xf2\x48\xcd\xc9\xc9\x07\0\x42\x82\0\0\0\0\xf2\0\xc1\x82\x80\x83\0\0\0\0\x11\0\0\xc1\x81\0\0\0\0\0";
const AMID_PLAIN: &[u8] = b"\x01\x02\x82\0\0\0\0ab\xc1\x85\0\0\0\0\xf2\x48\xcd\xff\xff";

/// A Close to a client with a code that tungstenite does not know.
const BAD_GATEWAY: &[u8] = b"\x02\x81\x01x\x88\x05\x03\xf6why";

const LINE: &[u8] = br#"{"method":"GET","path":"/","response_code":101,"response_flags":"-","duration":12,"bytes_sent":null}"#;

/// The head of an opening handshake and the answer to it: what the server and the sidecar's HTTP/1.1 edge read.
pub(crate) fn opening_handshake(input: &[u8]) {
    let Some((&how, bytes)) = input.split_first() else { return };
    for parse in [parse_request, parse_folded_request] {
        let written = |piece| {
            head_of(bytes, piece, parse).map(|outcome| {
                outcome.map(|(head, rest)| {
                    let mut out = BytesMut::new();
                    head.write(&mut out);
                    (out, rest)
                })
            })
        };
        assert_eq!(written(bytes.len().max(1)), written(piece(how)));
    }
    let Some(Ok((head, _))) = head_of(bytes, bytes.len().max(1), parse_request) else { return };
    if let (true, Ok(accepted)) = (opening::is_attempt(&head), opening::check(&head)) {
        let mut out = BytesMut::new();
        accepted.response().write(&mut out);
        let answer = parse_response(&mut out).expect("well formed").expect("complete");
        assert_eq!(answer.fields, accepted.response().fields);
    }
}

type Parse<E> = fn(&mut BytesMut) -> Result<Option<RequestHead>, E>;

/// The first head in bytes that arrive in pieces, and what follows it in the same bytes; `Err(())` for a malformed one.
fn head_of<E>(bytes: &[u8], piece: usize, parse: Parse<E>) -> Option<Result<(RequestHead, Vec<u8>), ()>> {
    let mut buffer = BytesMut::new();
    let mut arrived = 0;
    for piece in bytes.chunks(piece) {
        buffer.extend_from_slice(piece);
        arrived += piece.len();
        match parse(&mut buffer) {
            Ok(None) => {}
            Ok(Some(head)) => return Some(Ok((head, [&buffer[..], &bytes[arrived..]].concat()))),
            Err(_) => return Some(Err(())),
        }
    }
    None
}

/// What follows the opening handshake: plain and compressed messages, to a server and to a client.
pub(crate) fn frames(input: &[u8]) {
    let Some((&how, bytes)) = input.split_first() else { return };
    let role = if how & 2 == 0 { Role::Server } else { Role::Client };
    let agreement = (how & 1 == 1).then(Agreement::default);
    let whole = messages(bytes, bytes.len().max(1), role, agreement);
    let pieces = messages(bytes, piece(how >> 2), role, agreement);
    assert_eq!(whole, pieces);
}

/// The messages, and the code of the Close frame that is due after them.
fn messages(
    bytes: &[u8],
    piece: usize,
    role: Role,
    agreement: Option<Agreement>,
) -> (Vec<Message>, Option<u16>) {
    let (early, rest) = bytes.split_at(piece.min(bytes.len()));
    let socket = Pieces { bytes: rest.to_vec().into(), piece };
    let frames = Frames::new(socket, Bytes::copy_from_slice(early), role, agreement, 64 << 20);
    let mut cx = Context::from_waker(Waker::noop());
    let mut session = std::pin::pin!(WebSocketStream::from_raw_socket(frames, role, None));
    let Poll::Ready(mut session) = session.as_mut().poll(&mut cx) else { unreachable!("nothing is awaited") };
    let mut messages = Vec::new();
    loop {
        match session.poll_next_unpin(&mut cx) {
            Poll::Ready(Some(Ok(message))) => messages.push(message),
            Poll::Ready(Some(Err(error))) => return (messages, failure::close_code(&error).map(u16::from)),
            Poll::Ready(None) => return (messages, None),
            Poll::Pending => unreachable!("the bytes are there"),
        }
    }
}

/// A socket whose bytes arrive in pieces, and which takes whatever is written.
struct Pieces {
    bytes: Bytes,
    piece: usize,
}

impl AsyncRead for Pieces {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let length = self.piece.min(self.bytes.len()).min(out.remaining());
        out.put_slice(&self.bytes.split_to(length));
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

/// Pieces of one byte to sixty-four.
fn piece(how: u8) -> usize {
    usize::from(how % 64) + 1
}

/// The translation of an upgrade into extended CONNECT, and back.
pub(crate) fn extended_connect(input: &[u8]) {
    let Some((_, bytes)) = input.split_first() else { return };
    let Some(Ok((head, _))) = head_of(bytes, bytes.len().max(1), parse_folded_request) else { return };
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
        assert_eq!(back.method, http::Method::GET);
        assert!(is_upgrade(&back.fields));
        assert_eq!(back.fields.get(&http::header::UPGRADE).unwrap(), protocol);
    }
    if let Ok(accepted) = opening::check_extended_connect(&http2) {
        assert!(asked);
        let answer = accepted.response();
        let answer = response_to_http2(answer.status, &answer.fields);
        assert_eq!(answer.status(), http::StatusCode::OK);
    }
}

/// A line of an access log.
pub(crate) fn access_log(input: &[u8]) {
    if let Ok(line) = ParsedLine::parse(&String::from_utf8_lossy(input)) {
        assert_eq!(ParsedLine::parse(line.text()).unwrap(), line);
    }
}

/// Kubernetes and Istio documents.
pub(crate) fn documents(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    if let Ok(documents) = Documents::parse("fuzz.yaml", &text) {
        // A carriage return alone breaks a line, too (YAML 1.2.2 section 5.4).
        let broken = text.replace("\r\n", "\n").matches(['\r', '\n']).count();
        let lines = broken as u64 + 1;
        assert!(documents.warnings().iter().all(|warning| (1..=lines).contains(&warning.place.line)));
    }
}
