//! What goes through the wire, and when, over an in-memory pipe.

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::*;
use crate::net::Budget;
use crate::tunnel::outgoing::Outstanding;
use crate::tunnel::settings::Settings;

const FRAME: &[u8] = &[0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 9];

fn arrivals() -> Rc<Arrivals> {
    let settings = Settings {
        allow_connect: true,
        max_concurrent_streams: 100,
        initial_stream_window_size: 1 << 20,
        initial_connection_window_size: 1 << 20,
    };
    Rc::new(Arrivals::new(&settings, Budget::unlimited()))
}

async fn settle(wire: &Wire<DuplexStream>) {
    std::future::poll_fn(|cx| wire.poll_settle(cx)).await.unwrap();
}

#[tokio::test]
async fn the_first_settings_frame_is_replaced_however_it_is_split() {
    for split in 1..FRAME.len() + 2 {
        let (near, mut far) = tokio::io::duplex(1024);
        let mut wire = Wire::client(near, Bytes::from_static(b"OURS"), arrivals());
        let all = [PREFACE, FRAME, b"rest"].concat();
        for piece in all.chunks(split) {
            wire.write_all(piece).await.unwrap();
        }
        settle(&wire).await;
        drop(wire);
        let mut seen = Vec::new();
        far.read_to_end(&mut seen).await.unwrap();
        assert_eq!(seen, [PREFACE, b"OURSrest"].concat(), "in pieces of {split}");
    }
}

#[tokio::test]
async fn a_server_says_nothing_until_it_is_released() {
    let (near, mut far) = tokio::io::duplex(1024);
    let mut wire = Wire::server(near, BytesMut::new(), Bytes::from_static(b"OURS"), arrivals());
    wire.write_all(&[FRAME, b"more"].concat()).await.unwrap();
    settle(&wire).await;
    wire.release();
    wire.write_all(b" and more").await.unwrap();
    settle(&wire).await;
    let mut seen = [0; 17];
    far.read_exact(&mut seen).await.unwrap();
    assert_eq!(&seen, b"OURSmore and more");
    let (near, mut far) = tokio::io::duplex(1024);
    let mut refused = Wire::server(near, BytesMut::new(), Bytes::from_static(b"OURS"), arrivals());
    refused.write_all(FRAME).await.unwrap();
    settle(&refused).await;
    drop(refused.into_inner());
    assert_eq!(far.read(&mut seen).await.unwrap(), 0);
}

#[tokio::test]
async fn payloads_are_kept_without_a_copy_in_their_place_among_what_is_copied() {
    let (near, mut far) = tokio::io::duplex(64 * 1024);
    let mut wire = Wire::client(near, Bytes::new(), arrivals());
    wire.write_all(&[PREFACE, FRAME].concat()).await.unwrap();
    let outstanding = Rc::new(Outstanding::new(Budget::unlimited().open()));
    let payload = |byte, length| outstanding.lease(Bytes::from(vec![byte; length]));
    let (large, small, last) = (payload(b'l', 16 * 1024), payload(b's', 10), payload(b'e', 9 * 1024));
    let mut sent = PREFACE.to_vec();
    for (head, payload) in [("one", &large), ("two", &small), ("three", &last)] {
        let slices = [IoSlice::new(head.as_bytes()), IoSlice::new(payload.chunk())];
        let written = std::future::poll_fn(|cx| Pin::new(&mut wire).poll_write_vectored(cx, &slices));
        assert_eq!(written.await.unwrap(), head.len() + payload.remaining());
        sent.extend_from_slice(&[head.as_bytes(), payload.chunk()].concat());
    }
    wire.write_all(b"end").await.unwrap();
    sent.extend_from_slice(b"end");
    let waiting = |inner: &Inner<_>| (inner.pieces.len(), inner.written.len());
    assert_eq!(waiting(&wire.0.borrow()), (sent.len() - 3, 3));
    settle(&wire).await;
    drop(wire);
    let mut seen = Vec::new();
    far.read_to_end(&mut seen).await.unwrap();
    assert!(seen == sent, "{} bytes of {}", seen.len(), sent.len());
}

#[tokio::test]
async fn a_turn_reads_so_much_and_the_next_one_goes_on() {
    let (near, mut far) = tokio::io::duplex(4 * MOST_A_TURN);
    far.write_all(&vec![7; 2 * MOST_A_TURN]).await.unwrap();
    let mut wire = Wire::client(near, Bytes::new(), arrivals());
    for _ in 0..2 {
        let mut all = 0;
        let mut part = [0; 4096];
        while let Some(read) = futures_util::FutureExt::now_or_never(wire.read(&mut part)) {
            all += read.unwrap();
        }
        assert_eq!(all, MOST_A_TURN);
        wire.end_turn();
    }
}

#[tokio::test]
async fn what_was_read_before_comes_first_and_any_part_can_be_asked_for() {
    let (near, mut far) = tokio::io::duplex(1024);
    far.write_all(b" then this").await.unwrap();
    drop(far);
    let mut wire = Wire::server(near, BytesMut::from("first that,"), Bytes::new(), arrivals());
    let mut seen = Vec::new();
    let mut part = [0; 4];
    loop {
        match wire.read(&mut part).await.unwrap() {
            0 => break,
            length => seen.extend_from_slice(&part[..length]),
        }
    }
    assert_eq!(seen, b"first that, then this");
}
