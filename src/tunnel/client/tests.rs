//! Streams of a client's connection against a peer that is a list of frames.

use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::task::{LocalSet, spawn_local, yield_now};

use super::*;
use crate::tunnel::Reason;
use crate::tunnel::frame_header::{
    DATA, END_HEADERS, END_STREAM, FRAME_HEADER_BYTES, FrameHeader, HEADERS, PREFACE, RST_STREAM, SETTINGS,
};

/// `:status: 200` (RFC 7541 appendix A).
const OK: &[u8] = b"\x88";

const STREAM_WINDOW: u32 = 64 * 1024;

/// A part of it.
const PART: u32 = 1024;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let header = FrameHeader { length: payload.len(), kind, flags, stream };
    [&header.to_bytes()[..], payload].concat()
}

/// A client whose connection is driven, and the peer's end of it.
async fn connected() -> (Client, DuplexStream) {
    let settings = Settings {
        allow_connect: false,
        max_concurrent_streams: 1024,
        initial_stream_window_size: STREAM_WINDOW,
        initial_connection_window_size: 2 << 20,
    };
    let (near, mut far) = tokio::io::duplex(1 << 20);
    let (client, driver) = connect(near, &settings, Budget::unlimited()).await.unwrap();
    spawn_local(driver);
    far.write_all(&frame(SETTINGS, 0, 0, b"")).await.unwrap();
    (client, far)
}

/// Sends an extended CONNECT; returns when it is on the wire.
async fn extended_connect(client: &mut Client) -> (Stream, AwaitedResponse) {
    let mut request = Request::connect("http://a/").body(()).unwrap();
    request.extensions_mut().insert(Protocol::from_static("websocket"));
    let (mut stream, response) = client.open(request, false).unwrap();
    stream.drained(Duration::from_secs(20)).await;
    (stream, response)
}

/// Opens a session that the peer answers with a head and, in the same write, `frames`.
async fn session(client: &mut Client, peer: &mut DuplexStream, id: u32, frames: &[u8]) -> Stream {
    let (mut stream, mut response) = extended_connect(client).await;
    peer.write_all(&[&frame(HEADERS, END_HEADERS, id, OK), frames].concat()).await.unwrap();
    std::future::poll_fn(|cx| response.poll_head(&mut stream, cx)).await.unwrap();
    stream
}

async fn next(stream: &mut Stream) -> Result<Option<Bytes>, StreamError> {
    std::future::poll_fn(|cx| stream.poll_data(cx)).await
}

/// The next frame that the client wrote.
async fn frame_from(client: &mut DuplexStream) -> (FrameHeader, Vec<u8>) {
    let mut header = [0; FRAME_HEADER_BYTES];
    client.read_exact(&mut header).await.unwrap();
    let header = FrameHeader::parse(&header);
    let mut payload = vec![0; header.length];
    client.read_exact(&mut payload).await.unwrap();
    (header, payload)
}

#[tokio::test]
async fn a_sessions_bytes_keep_their_order_by_way_of_h2_and_past_it() {
    let test = async {
        let (mut client, mut peer) = connected().await;
        let with_the_head = [frame(DATA, 0, 1, b"one"), frame(DATA, 0, 1, b"two")].concat();
        let mut stream = session(&mut client, &mut peer, 1, &with_the_head).await;
        let rest = [frame(DATA, 0, 1, b"three"), frame(DATA, END_STREAM, 1, b"four")].concat();
        peer.write_all(&rest).await.unwrap();
        // Nothing is taken before everything is there.
        while client.buffers.of_stream(1).is_some() {
            yield_now().await;
        }
        for part in ["one", "two", "three", "four"] {
            assert!(!stream.is_end());
            assert_eq!(next(&mut stream).await.unwrap().unwrap(), part);
        }
        assert_eq!(next(&mut stream).await, Ok(None));
        assert!(stream.is_end());
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn a_session_that_gets_more_than_its_window_is_reset_and_its_neighbours_live_on() {
    let test = async {
        let (mut client, mut peer) = connected().await;
        let mut flooded = session(&mut client, &mut peer, 1, b"").await;
        let mut neighbour = session(&mut client, &mut peer, 3, b"").await;
        for _ in 0..=STREAM_WINDOW / PART {
            peer.write_all(&frame(DATA, 0, 1, &[0; PART as usize])).await.unwrap();
        }
        peer.write_all(&frame(DATA, 0, 3, b"hello")).await.unwrap();
        assert_eq!(next(&mut neighbour).await.unwrap().unwrap(), "hello");
        for _ in 0..STREAM_WINDOW / PART {
            assert_eq!(next(&mut flooded).await.unwrap().unwrap().len(), PART as usize);
        }
        let error = next(&mut flooded).await.expect_err("more than the window");
        assert_eq!(error, StreamError::Protocol(Reason::FLOW_CONTROL_ERROR));
        peer.read_exact(&mut [0; PREFACE.len()]).await.unwrap();
        let (reset, code) = loop {
            let (header, payload) = frame_from(&mut peer).await;
            if header.kind == RST_STREAM {
                break (header, payload);
            }
        };
        assert_eq!((reset.stream, &code[..]), (1, &[0, 0, 0, 3][..]));
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn what_comes_with_a_refusal_is_held_against_its_length() {
    let test = async {
        let (mut client, mut peer) = connected().await;
        // `:status: 404` and `content-length: 4` (RFC 7541 appendix A and section 6.2.2).
        let refusal = frame(HEADERS, END_HEADERS, 1, b"\x8d\x0f\x0d\x014");
        let (mut stream, mut response) = extended_connect(&mut client).await;
        let body = frame(DATA, END_STREAM, 1, b"too long");
        peer.write_all(&[refusal, body].concat()).await.unwrap();
        let head = std::future::poll_fn(|cx| response.poll_head(&mut stream, cx)).await.unwrap();
        assert!(head.status() == 404 && head.headers()[CONTENT_LENGTH] == "4");
        assert_eq!(next(&mut stream).await, Err(StreamError::Protocol(Reason::PROTOCOL_ERROR)));
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn frames_that_come_late_for_streams_that_were_given_up_do_not_end_the_connection() {
    let test = async {
        let (mut client, peer) = connected().await;
        let (mut from_client, mut to_client) = tokio::io::split(peer);
        spawn_local(async move { tokio::io::copy(&mut from_client, &mut tokio::io::sink()).await });
        let request = || Request::get("http://a/").body(()).unwrap();
        let (mut neighbour, mut response) = client.open(request(), false).unwrap();
        let given_up: Vec<_> = (0..200).map(|_| client.open(request(), false).unwrap()).collect();
        // They have to be on the wire before they can be reset there.
        for (mut stream, _response) in given_up {
            stream.drained(Duration::from_secs(20)).await;
            stream.reset(Reason::CANCEL);
        }
        yield_now().await;
        for late in 0..3000_u32 {
            to_client.write_all(&frame(DATA, 0, 3 + late % 200 * 2, b"late")).await.unwrap();
        }
        to_client.write_all(&frame(HEADERS, END_HEADERS, 1, OK)).await.unwrap();
        to_client.write_all(&frame(DATA, 0, 1, b"hello")).await.unwrap();
        std::future::poll_fn(|cx| response.poll_head(&mut neighbour, cx)).await.unwrap();
        assert_eq!(next(&mut neighbour).await.unwrap().unwrap(), "hello");
    };
    LocalSet::new().run_until(test).await;
}
