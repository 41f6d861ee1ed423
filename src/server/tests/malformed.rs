//! What is malformed behind a request over HTTP/2 (RFC 9113): it is judged, and the request has no
//! answer then. The cases are those of `h2spec` that depend on who is faster, each with all frames
//! at once, also with the preface, and with a pause after the head in which a server that does not
//! wait for the end of a request answers it.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Config, Duration, Serving, TIMEOUT, serve};
use crate::tunnel::Reason;
use crate::tunnel::frame_header::{
    DATA, END_HEADERS, END_STREAM, FRAME_HEADER_BYTES, FrameHeader, HEADERS, PREFACE, RST_STREAM, SETTINGS,
    WINDOW_UPDATE,
};

const PING: u8 = 6;
const GOAWAY: u8 = 7;

/// A flag of PING and SETTINGS.
const ACK: u8 = 1;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let header = FrameHeader { length: payload.len(), kind, flags, stream };
    [&header.to_bytes()[..], payload].concat()
}

/// A field block (RFC 7541), every field a literal without indexing.
fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).expect("a short text"));
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

fn headers(flags: u8, fields: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | flags, 1, &block(fields))
}

/// The head of a POST that has a body, with these fields.
fn post(fields: &[(&str, &str)]) -> Vec<u8> {
    let head = [(":method", "POST"), (":scheme", "http"), (":path", "/healthz"), (":authority", "localhost")];
    headers(0, &[&head[..], fields].concat())
}

fn data(flags: u8) -> Vec<u8> {
    frame(DATA, flags, 1, b"test")
}

/// What a peer hears of its stream 1.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    Answer,
    Reset(Reason),
    GoAway(Reason),
}

fn code(payload: &[u8]) -> Reason {
    let [.., first, second, third, fourth] = *payload else { panic!("no error code in {payload:?}") };
    u32::from_be_bytes([first, second, third, fourth]).into()
}

struct RawPeer(TcpStream);

impl RawPeer {
    /// One that sends `frames` with its preface.
    async fn new(server: &Serving, frames: &[u8]) -> Self {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, b""), frames].concat()).await.unwrap();
        Self(stream)
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
    }

    async fn next_frame(&mut self) -> (FrameHeader, Vec<u8>) {
        let mut header = [0; FRAME_HEADER_BYTES];
        self.0.read_exact(&mut header).await.unwrap();
        let header = FrameHeader::parse(&header);
        let mut payload = vec![0; header.length];
        self.0.read_exact(&mut payload).await.unwrap();
        (header, payload)
    }

    /// Waits until the server has read everything so far, and returns whether it has answered by
    /// then.
    async fn pause(&mut self) -> bool {
        let mut is_answered = false;
        // The answer of a request has its turn before the second PING is read.
        for ping in [[1; 8], [2; 8]] {
            self.send(&frame(PING, 0, 0, &ping)).await;
            loop {
                let (header, payload) = self.next_frame().await;
                is_answered |= header.kind == HEADERS;
                if header.kind == PING && header.flags == ACK && payload == ping {
                    break;
                }
            }
        }
        is_answered
    }

    async fn hear(&mut self) -> Said {
        loop {
            let (header, payload) = self.next_frame().await;
            match header.kind {
                HEADERS => return Said::Answer,
                RST_STREAM => return Said::Reset(code(&payload)),
                GOAWAY => return Said::GoAway(code(&payload[..8])),
                _ => {}
            }
        }
    }
}

/// What a peer hears that sends `head` and then `rest`, all three ways.
async fn heard(server: &Serving, head: &[u8], rest: &[&[u8]]) -> [Said; 3] {
    let rest = rest.concat();
    let frames = [head, &rest].concat();
    let mut with_preface = RawPeer::new(server, &frames).await;
    let mut at_once = RawPeer::new(server, b"").await;
    at_once.send(&frames).await;
    let mut with_a_pause = RawPeer::new(server, head).await;
    assert!(!with_a_pause.pause().await, "it was answered before its end");
    with_a_pause.send(&rest).await;
    let hearing = async { [with_preface.hear().await, at_once.hear().await, with_a_pause.hear().await] };
    tokio::time::timeout(TIMEOUT, hearing).await.expect("in time")
}

async fn expect(head: &[u8], rest: &[&[u8]], expected: Said) {
    let server = serve(|config| config);
    for said in heard(&server, head, rest).await {
        assert_eq!(said, expected);
    }
    server.task.abort();
}

#[tokio::test]
async fn data_behind_a_reset_is_refused() {
    let reset = frame(RST_STREAM, 0, 1, &[0, 0, 0, 8]);
    expect(&post(&[]), &[&reset, &data(END_STREAM)], Said::Reset(Reason::STREAM_CLOSED)).await;
}

#[tokio::test]
async fn a_head_behind_a_reset_ends_the_connection() {
    let reset = frame(RST_STREAM, 0, 1, &[0, 0, 0, 8]);
    let expected = || Said::GoAway(Reason::PROTOCOL_ERROR);
    expect(&post(&[]), &[&reset, &headers(END_STREAM, &[("x-test", "ok")])], expected()).await;
}

#[tokio::test]
async fn a_window_of_a_stream_beyond_its_largest_is_refused() {
    let update = frame(WINDOW_UPDATE, 0, 1, &[0x7f, 0xff, 0xff, 0xff]);
    expect(&post(&[]), &[&update, &update], Said::Reset(Reason::FLOW_CONTROL_ERROR)).await;
}

#[tokio::test]
async fn a_second_head_that_does_not_end_the_request_is_refused() {
    expect(&post(&[]), &[&data(0), &headers(0, &[("x-test", "ok")])], Said::Reset(Reason::PROTOCOL_ERROR))
        .await;
}

#[tokio::test]
async fn a_body_of_another_length_than_was_said_is_refused() {
    for (said, frames) in [("1", &[data(END_STREAM)][..]), ("5", &[data(0), data(END_STREAM)])] {
        let rest: Vec<_> = frames.iter().map(Vec::as_slice).collect();
        expect(&post(&[("content-length", said)]), &rest, Said::Reset(Reason::PROTOCOL_ERROR)).await;
    }
}

#[tokio::test]
async fn a_pseudo_header_field_in_trailers_is_refused() {
    for field in [(":method", "POST"), (":status", "200"), (":path", "/")] {
        let trailers = headers(END_STREAM, &[("x-test", "ok"), field]);
        expect(&post(&[]), &[&data(0), &trailers], Said::Reset(Reason::PROTOCOL_ERROR)).await;
    }
}

/// The server answers an extended CONNECT before its stream ends: what comes with the head is
/// judged before the answer leaves, what comes later after it.
#[tokio::test]
async fn what_is_malformed_behind_the_head_of_a_session_is_refused_before_the_answer() {
    let fields = [
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", "localhost"),
        ("sec-websocket-version", "13"),
    ];
    let update = frame(WINDOW_UPDATE, 0, 1, &[0x7f, 0xff, 0xff, 0xff]);
    let server = serve(|config| config);
    for (rest, reason) in [
        ([update.as_slice(), &update].concat(), Reason::FLOW_CONTROL_ERROR),
        (headers(0, &[("x-test", "ok")]), Reason::PROTOCOL_ERROR),
    ] {
        let mut peer = RawPeer::new(&server, &[headers(0, &fields), rest.clone()].concat()).await;
        assert_eq!(peer.hear().await, Said::Reset(reason));
        let mut peer = RawPeer::new(&server, &headers(0, &fields)).await;
        assert!(peer.pause().await, "a session is answered at once");
        peer.send(&rest).await;
        assert_eq!(peer.hear().await, Said::Reset(reason));
    }
    server.task.abort();
}

#[tokio::test]
async fn a_request_is_answered_when_it_is_whole_and_one_without_an_end_all_the_same() {
    let server = serve(|config| Config { handshake_timeout: Duration::from_millis(50), ..config });
    let trailers = headers(END_STREAM, &[("x-test", "ok")]);
    for rest in
        [data(END_STREAM), [data(0), data(END_STREAM)].concat(), [data(0), trailers].concat(), Vec::new()]
    {
        let mut peer = RawPeer::new(&server, &[post(&[]), rest].concat()).await;
        assert_eq!(peer.hear().await, Said::Answer);
    }
    server.task.abort();
}
