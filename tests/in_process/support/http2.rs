//! HTTP/2 peers: one that writes the very frames it means, and a client that is in order (the `h2`
//! crate's).

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use h2::client::SendRequest;
use h2::ext::Protocol;
use http::Request;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{AUTHORITY, patiently};

/// The types of frames (RFC 9113 section 6).
pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const GOAWAY: u8 = 7;

/// Flags: of DATA and HEADERS, of HEADERS, of SETTINGS.
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
pub(crate) const ACK: u8 = 1;

/// With what a client begins.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A whole frame.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A HEADERS frame with these fields, none of them compressed.
pub(crate) fn headers(stream: u32, flags: u8, fields: &[(&str, &str)]) -> Vec<u8> {
    let length = |text: &str| u8::try_from(text.len()).ok().filter(|length| *length < 127).unwrap();
    let block: Vec<u8> = fields
        .iter()
        .flat_map(|(name, value)| {
            [&[0, length(name)], name.as_bytes(), &[length(value)], value.as_bytes()].concat()
        })
        .collect();
    frame(HEADERS, flags | END_HEADERS, stream, &block)
}

pub(crate) fn rst_stream(stream: u32, code: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &code.to_be_bytes())
}

/// GOAWAY: which stream was the last to be served, and why it is so.
pub(crate) fn goaway(last: u32, code: u32) -> Vec<u8> {
    frame(GOAWAY, 0, 0, &[last.to_be_bytes(), code.to_be_bytes()].concat())
}

/// The fields of an extended CONNECT with a key.
pub(crate) const EXTENDED_CONNECT: [(&str, &str); 7] = [
    (":method", "CONNECT"),
    (":protocol", "websocket"),
    (":scheme", "http"),
    (":path", "/"),
    (":authority", AUTHORITY),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ("sec-websocket-version", "13"),
];

/// Opens a connection and sends these frames.
pub(crate) async fn send_frames(address: SocketAddr, frames: &[Vec<u8>]) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[]), &frames.concat()].concat()).await.unwrap();
    stream
}

/// The next frame, its type, flags and stream first; `None` at the end of the connection.
pub(crate) async fn read_frame(stream: &mut TcpStream) -> Option<(u8, u8, u32, Vec<u8>)> {
    let mut head = [0; 9];
    patiently(stream.read_exact(&mut head)).await.ok()?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let mut payload = vec![0; length.try_into().unwrap()];
    patiently(stream.read_exact(&mut payload)).await.ok()?;
    let number = u32::from_be_bytes(head[5..].try_into().unwrap());
    Some((head[3], head[4], number, payload))
}

/// Reads up to and including the first frame of this type.
pub(crate) async fn read_until(stream: &mut TcpStream, kind: u8) -> Vec<u8> {
    loop {
        let (read, flags, _, payload) = read_frame(stream).await.expect("another frame");
        if read == kind && !(kind == SETTINGS && flags == ACK) {
            return payload;
        }
    }
}

/// A server that answers the head of every request with frames of its own.
pub(crate) struct FrameServer {
    pub(crate) address: SocketAddr,
    connections: Arc<AtomicUsize>,
    requests: Arc<AtomicUsize>,
}

impl FrameServer {
    /// `answer` makes the frames, given how many requests there were before and the number of the
    /// stream.
    pub(crate) async fn start(answer: impl Fn(usize, u32) -> Vec<Vec<u8>> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (connections, requests) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let server = Self { address, connections: Arc::clone(&connections), requests: Arc::clone(&requests) };
        let answer = Arc::new(answer);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                connections.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(serve(stream, Arc::clone(&requests), Arc::clone(&answer)));
            }
        });
        server
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }
}

async fn serve(
    mut stream: TcpStream,
    requests: Arc<AtomicUsize>,
    answer: Arc<impl Fn(usize, u32) -> Vec<Vec<u8>>>,
) {
    let mut preface = [0; PREFACE.len()];
    stream.read_exact(&mut preface).await.unwrap();
    stream.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
    while let Some((kind, flags, number, _)) = read_frame(&mut stream).await {
        let written = match kind {
            SETTINGS if flags != ACK => frame(SETTINGS, ACK, 0, &[]),
            HEADERS => answer(requests.fetch_add(1, Ordering::Relaxed), number).concat(),
            _ => continue,
        };
        if stream.write_all(&written).await.is_err() {
            return;
        }
    }
}

/// A client's end of a connection; it lives as long as its requests.
pub(crate) async fn http2_client(address: SocketAddr) -> SendRequest<Bytes> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (requests, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    requests.ready().await.unwrap()
}

/// A WebSocket handshake as RFC 8441 has it, with the key that it does without or not.
pub(crate) fn extended_connect(key: bool) -> Request<()> {
    let uri = format!("http://{AUTHORITY}/");
    let request = Request::connect(uri).extension(Protocol::from_static("websocket"));
    let request = request.header("sec-websocket-version", "13");
    let request = if key { request.header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==") } else { request };
    request.body(()).unwrap()
}
