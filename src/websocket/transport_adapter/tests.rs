//! tungstenite on both ends of a pipe, and exact frames against it. Masks are zero, so payloads
//! read as they are.

use futures_util::{SinkExt, StreamExt};
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio_tungstenite::WebSocketStream;
use tungstenite::protocol::WebSocketConfig;
use tungstenite::{Error, Message};

use super::*;
use crate::websocket::close_code;
use crate::websocket::deflate::Sending;
use crate::websocket::frame_header::{FrameHeader, apply_mask};

/// The limit of the sessions here.
const LIMIT: usize = 1 << 20;

/// `Hello` compressed (RFC 7692 section 7.2.3.1), in a masked frame.
const HELLO: &[u8] = b"\xc1\x87\0\0\0\0\xf2\x48\xcd\xc9\xc9\x07\x00";

/// `Hello` again, as a reference to the message before it (RFC 7692 section 7.2.3.2).
const HELLO_AGAIN: &[u8] = b"\xc1\x85\0\0\0\0\xf2\x00\x11\x00\x00";

async fn session(
    stream: DuplexStream,
    role: Role,
    agreement: Option<Agreement>,
) -> WebSocketStream<TransportAdapter<DuplexStream>> {
    let limits = WebSocketConfig::default().max_message_size(Some(LIMIT)).max_frame_size(Some(LIMIT));
    let frames =
        TransportAdapter::new(stream, Bytes::new(), role, agreement, max_frame_bytes(LIMIT, agreement));
    WebSocketStream::from_raw_socket(frames, role, Some(limits)).await
}

/// What a server makes of `pieces`, each of which comes alone: its messages, and how it ended.
async fn received(agreement: Option<Agreement>, pieces: &[&[u8]]) -> (Vec<Message>, Option<Error>) {
    let (mut peer, near) = duplex(LIMIT);
    let mut session = session(near, Role::Server, agreement).await;
    let mut messages = Vec::new();
    for piece in pieces {
        peer.write_all(piece).await.unwrap();
        while let Some(message) = futures_util::FutureExt::now_or_never(session.next()).flatten() {
            match message {
                Ok(message) => messages.push(message),
                Err(error) => return (messages, Some(error)),
            }
        }
    }
    (messages, None)
}

/// Compression without restrictions.
const AGREED: Option<Agreement> = Some(Agreement { server: UNRESTRICTED, client: UNRESTRICTED });
const UNRESTRICTED: Sending = Sending { context_takeover: true, max_window_bits: None };

/// The close code that an ending asks for.
fn code(error: Option<Error>) -> Option<u16> {
    close_code::of(&error?).map(u16::from)
}

#[tokio::test]
async fn the_samples_of_the_rfc_inflate() {
    let frames = [
        HELLO,
        HELLO_AGAIN,
        // In two fragments, with a ping between them.
        b"\x41\x83\0\0\0\0\xf2\x48\xcd\x89\x80\0\0\0\0\x80\x84\0\0\0\0\xc9\xc9\x07\x00",
        // Not compressed (section 7.2.3.3), in two blocks (7.2.3.5), the last one marked as such
        // (7.2.3.4).
        b"\xc1\x8b\0\0\0\0\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00",
        b"\xc1\x8d\0\0\0\0\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00",
        b"\xc1\x88\0\0\0\0\xf3\x48\xcd\xc9\xc9\x07\x00\x00",
        b"\x81\x85\0\0\0\0Hello",
    ];
    let (messages, error) = received(AGREED, &[&frames.concat()]).await;
    let texts = messages.iter().filter(|message| message.is_text());
    assert_eq!(texts.map(|text| text.to_text().unwrap()).collect::<Vec<_>>(), ["Hello"; 7], "{error:?}");
}

#[tokio::test]
async fn a_message_without_a_byte_is_an_empty_one() {
    let empty = b"\xc1\x81\0\0\0\0\x00\xc1\x80\0\0\0\0".as_slice();
    let (messages, _) = received(AGREED, &[&[HELLO, empty, HELLO_AGAIN].concat()]).await;
    assert_eq!(messages, ["Hello", "", "", "Hello"].map(Message::text));
}

#[tokio::test]
async fn each_way_to_break_the_protocol_has_its_close_code() {
    let close = b"\x88\x82\0\0\0\0\x03\xe8".as_slice();
    for (agreement, frame, expected) in [
        (None, HELLO, 1002),
        // Reserved bits on a continuation, on a ping, and another one; a compressed frame without a
        // mask.
        (AGREED, b"\x41\x81\0\0\0\0\xf2\xc0\x81\0\0\0\0\x48", 1002),
        (AGREED, b"\xc9\x80\0\0\0\0", 1002),
        (AGREED, b"\xa1\x80\0\0\0\0", 1002),
        (AGREED, b"\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00", 1002),
        // A new message within one of which nothing has been inflated yet.
        (AGREED, b"\x41\x80\0\0\0\0\x81\x80\0\0\0\0", 1002),
        (AGREED, b"\xc2\x84\0\0\0\0\xff\xff\xff\xff", 1007),
        (AGREED, b"\xc1\x88\0\0\0\0\x00\x02\x00\xfd\xff\xff\xfe\x00", 1007),
        (AGREED, b"\xc2\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0", 1009),
    ] {
        let (mut peer, near) = duplex(LIMIT);
        let mut session = session(near, Role::Server, agreement).await;
        peer.write_all(&[frame, close].concat()).await.unwrap();
        let error = session.next().await.unwrap().unwrap_err();
        assert_eq!(code(Some(error)), Some(expected), "{frame:?}");
        session.close(None).await.unwrap();
        let mut answer = [0; 2];
        peer.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer, [0x88, 0]);
    }
}

#[tokio::test]
async fn behind_a_message_that_does_not_inflate_the_close_is_still_read() {
    let close = b"\x88\x82\0\0\0\0\x03\xe8".as_slice();
    let (mut peer, near) = duplex(LIMIT);
    let mut session = session(near, Role::Server, AGREED).await;
    peer.write_all(&[b"\xc2\x84\0\0\0\0\xff\xff\xff\xff", HELLO, close].concat()).await.unwrap();
    assert_eq!(code(session.next().await.unwrap().err()), Some(1007));
    let mut rest = [0; 64];
    let length = session.get_mut().read(&mut rest).await.unwrap();
    assert_eq!(&rest[..length], close);
}

#[tokio::test]
async fn a_bomb_runs_into_the_limit_on_messages() {
    let mut deflater = flate2::Compress::new(flate2::Compression::best(), false);
    let mut bomb = Vec::with_capacity(LIMIT);
    deflater.compress_vec(&vec![0; 64 * LIMIT], &mut bomb, flate2::FlushCompress::Sync).unwrap();
    let mut frame = bytes::BytesMut::new();
    FrameHeader { first: 0xc2, mask: Some([0; 4]), length: bomb.len() as u64 }.write(&mut frame);
    frame.extend_from_slice(&bomb);
    let (messages, error) = received(AGREED, &[&frame]).await;
    assert_eq!((messages, code(error)), (vec![], Some(1009)));
}

#[tokio::test]
async fn a_message_of_the_limit_comes_through_though_compressing_makes_it_longer() {
    // Nothing repeats in it: the high bytes of a linear congruential generator.
    let noise: Vec<u8> = std::iter::successors(Some(1_u32), |state| {
        Some(state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223))
    })
    .map(|state| (state >> 24) as u8)
    .take(LIMIT + 1)
    .collect();
    let (near, far) = duplex(LIMIT);
    let mut client = session(near, Role::Client, AGREED).await;
    let mut server = session(far, Role::Server, AGREED).await;
    for (length, expected) in [(LIMIT, None), (LIMIT + 1, Some(1009))] {
        let message = Message::binary(noise[..length].to_vec());
        let (sent, received) = tokio::join!(client.send(message.clone()), server.next());
        sent.unwrap();
        match received.unwrap() {
            Ok(received) => assert_eq!((received == message, expected), (true, None)),
            Err(error) => assert_eq!(code(Some(error)), expected),
        }
    }
}

#[tokio::test]
async fn a_short_frame_may_inflate_to_more_than_a_frame_may_have() {
    const MAX_FRAME_BYTES: usize = 30;
    let (mut peer, near) = duplex(LIMIT);
    let frames = TransportAdapter::new(near, Bytes::new(), Role::Server, AGREED, MAX_FRAME_BYTES);
    let limits = WebSocketConfig::default().max_frame_size(Some(MAX_FRAME_BYTES));
    let mut session = WebSocketStream::from_raw_socket(frames, Role::Server, Some(limits)).await;
    let mut deflated = Vec::with_capacity(100);
    let mut compress = flate2::Compress::new(flate2::Compression::best(), false);
    compress.compress_vec(&[b'a'; 500], &mut deflated, flate2::FlushCompress::Sync).unwrap();
    deflated.truncate(deflated.len() - 4);
    let mut frame = bytes::BytesMut::new();
    FrameHeader { first: 0xc1, mask: Some([0; 4]), length: deflated.len() as u64 }.write(&mut frame);
    frame.extend_from_slice(&deflated);
    peer.write_all(&frame).await.unwrap();
    assert_eq!(session.next().await.unwrap().unwrap(), Message::text("a".repeat(500)));
}

#[tokio::test]
async fn text_that_is_wrong_fails_before_its_frame_is_whole() {
    let frame = b"\x81\x8a\0\0\0\0ab\xc3\xa4\xff";
    let compressed = b"\xc1\x8a\0\0\0\0\x00\x02\x00\xfd\xff\xff\xfe\x00";
    for (agreement, frame) in [(None, frame.as_slice()), (AGREED, frame), (AGREED, compressed)] {
        let pieces: Vec<_> = frame.chunks(1).collect();
        let (messages, error) = received(agreement, &pieces).await;
        assert_eq!((messages, code(error)), (vec![], Some(1007)));
    }
}

#[tokio::test]
async fn each_side_keeps_what_it_promised() {
    let text = "some text that repeats itself, some text that repeats itself".repeat(40);
    for bits in [9, 12, 15] {
        for context_takeover in [true, false] {
            let small = Sending { context_takeover, max_window_bits: Some(bits) };
            for agreement in [
                Agreement { server: small, client: Sending::default() },
                Agreement { server: Sending::default(), client: small },
            ] {
                let (near, far) = duplex(LIMIT);
                let mut client = session(near, Role::Client, Some(agreement)).await;
                let mut server = session(far, Role::Server, Some(agreement)).await;
                for length in [0, 1, 300, text.len(), 300] {
                    let message = Message::text(&text[..length]);
                    client.send(message.clone()).await.unwrap();
                    let echo = server.next().await.unwrap().unwrap();
                    server.send(echo).await.unwrap();
                    assert_eq!(client.next().await.unwrap().unwrap(), message);
                }
            }
        }
    }
}

#[tokio::test]
async fn messages_go_out_compressed_and_refer_to_one_another() {
    let (near, mut peer) = duplex(LIMIT);
    let mut server = session(near, Role::Server, AGREED).await;
    for text in ["Hello", "Hello", ""] {
        server.feed(Message::text(text)).await.unwrap();
    }
    server.feed(Message::Ping("ping".into())).await.unwrap();
    server.flush().await.unwrap();
    drop(server);
    let mut frames = Vec::new();
    peer.read_to_end(&mut frames).await.unwrap();
    let hello = b"\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00".as_slice();
    let expected = [hello, b"\xc1\x05\xf2\x00\x11\x00\x00", b"\xc1\x01\x00", b"\x89\x04ping"].concat();
    assert_eq!(frames, expected);
}

/// A data message or a ping.
fn any_message() -> impl Strategy<Value = Message> {
    prop_oneof![
        "[a-c😀]{0,300}".prop_map(Message::text),
        proptest::collection::vec(0_u8..4, 0..2000).prop_map(Message::binary),
        proptest::collection::vec(any::<u8>(), 0..20).prop_map(|bytes| Message::Ping(bytes.into())),
    ]
}

#[tokio::test]
async fn the_code_of_a_close_and_of_its_answer_is_the_peer_s_whoever_masks_it_and_however_it_is_cut() {
    // 1014, which tungstenite does not know, and `why`.
    let masked: &[u8] = b"\x81\x81\0\0\0\0x\x88\x85\x01\x02\x03\x04\x02\xf4tlx";
    let plain: &[u8] = b"\x81\x01x\x88\x05\x03\xf6why";
    for (role, frames) in [(Role::Server, masked), (Role::Client, plain)] {
        for piece in 1..=frames.len() {
            for agreement in [None, AGREED] {
                let (mut peer, near) = duplex(LIMIT);
                let mut session = session(near, role, agreement).await;
                let sending = async {
                    for piece in frames.chunks(piece) {
                        peer.write_all(piece).await.unwrap();
                        tokio::task::yield_now().await;
                    }
                };
                let receiving = async { [session.next().await, session.next().await] };
                let ([text, close], ()) = tokio::join!(receiving, sending);
                assert_eq!(text.unwrap().unwrap(), Message::text("x"));
                let Some(Ok(Message::Close(Some(close)))) = close else { panic!("{close:?}") };
                let close = session.get_ref().as_sent(close);
                assert_eq!(
                    (u16::from(close.code), close.reason.as_str()),
                    (1014, "why"),
                    "in pieces of {piece}"
                );
                session.get_mut().answer_as_sent();
                // The peer is not waited for.
                let _ = futures_util::FutureExt::now_or_never(session.next());
                session.get_mut().shutdown().await.unwrap();
                drop(session);
                let mut answer = Vec::new();
                peer.read_to_end(&mut answer).await.unwrap();
                let (header, size) = FrameHeader::parse(&answer).unwrap();
                let mut payload = answer.split_off(size);
                apply_mask(&mut payload, &mut header.mask.unwrap_or_default());
                assert_eq!((header.first, payload.as_slice()), (0x88, b"\x03\xf6why".as_slice()));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn messages_come_through_whatever_they_are_and_however_they_are_cut(
        messages in proptest::collection::vec(any_message(), 0..20),
        compressed in any::<bool>(),
        from_client in any::<bool>(),
        pipe in 1_usize..300,
    ) {
        let roles = if from_client { (Role::Client, Role::Server) } else { (Role::Server, Role::Client) };
        let agreement = compressed.then(Agreement::default);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let received = runtime.block_on(async {
            let (near, far) = duplex(pipe);
            let mut sender = session(near, roles.0, agreement).await;
            let receiver = session(far, roles.1, agreement).await;
            let sending = async {
                for message in &messages {
                    sender.feed(message.clone()).await.unwrap();
                }
                sender.flush().await.unwrap();
            };
            let receiving = receiver.take(messages.len()).map(Result::unwrap).collect::<Vec<_>>();
            tokio::join!(sending, receiving).1
        });
        prop_assert_eq!(received, messages);
    }
}

#[tokio::test]
async fn what_has_begun_to_arrive_is_told_from_what_is_complete() {
    let fragments: &[u8] = b"\x01\x82\0\0\0\0ab\x89\x80\0\0\0\0\x80\x81\0\0\0\0c";
    for (agreement, message) in
        [(None, fragments), (AGREED, fragments), (AGREED, HELLO), (None, b"\x82\x80\0\0\0\0")]
    {
        let (mut peer, near) = duplex(LIMIT);
        let mut session = session(near, Role::Server, agreement).await;
        assert!(!session.get_ref().is_amid_message());
        for (number, byte) in message.iter().enumerate() {
            peer.write_all(&[*byte]).await.unwrap();
            while futures_util::FutureExt::now_or_never(session.next()).is_some() {}
            assert_eq!(
                session.get_ref().is_amid_message(),
                number + 1 < message.len(),
                "{message:?}: {number}"
            );
        }
    }
}
