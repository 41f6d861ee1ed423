//! A session against a scripted peer: exact bytes over an in-memory stream. Masks are zero, so
//! payloads read as they are.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::Version;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadBuf, duplex};

use super::super::buffers::Buffers;
use super::super::buffers::STEP;
use super::super::metered::LONG;
use super::super::read_ahead::ReadAhead;
use super::*;
use crate::server::config::Ping;
use crate::server::stats::Stats;
use crate::websocket::TransportAdapter;

/// More than any script needs, so that only the server's own limits are met.
const PIPE: usize = 1 << 20;

const CLOSE_NORMAL: &[u8] = b"\x88\x82\0\0\0\0\x03\xe8";

fn config() -> Config {
    Config { max_message_size: 1000, ..Config::new(([127, 0, 0, 1], 0).into()) }
}

/// Runs a session over `near` to its end, then ends the stream as the connection does.
async fn run(near: DuplexStream, config: Config, draining: CancellationToken) {
    let stats = Stats::default();
    run_counted(near, config, draining, &stats).await;
}

async fn run_counted(near: DuplexStream, config: Config, draining: CancellationToken, stats: &Stats) {
    let counted = stats.open(Version::HTTP_11);
    let buffers = buffers();
    let ledger = Ledger::new(&buffers, &counted);
    serve(&mut carrier(near, &config, &ledger), &config, &draining, &counted, &ledger).await;
}

fn buffers() -> Buffers {
    Buffers::new(Config::MAX_BUFFERED_BYTES)
}

fn carrier<'l, S>(near: S, config: &Config, ledger: &'l Ledger<'l>) -> Metered<'l, S> {
    let frames = TransportAdapter::new(near, Bytes::new(), Role::Server, None, config.max_message_size);
    Metered::new(ReadAhead::new(frames, Bytes::new()), ledger)
}

/// What comes back for `script`, up to the end of the stream.
async fn answers(script: &[u8]) -> Vec<u8> {
    let (mut peer, near) = duplex(PIPE);
    peer.write_all(script).await.unwrap();
    run(near, config(), CancellationToken::new()).await;
    let mut answers = Vec::new();
    peer.read_to_end(&mut answers).await.unwrap();
    answers
}

async fn expect(peer: &mut DuplexStream, bytes: &[u8]) {
    let mut read = vec![0; bytes.len()];
    peer.read_exact(&mut read).await.unwrap();
    assert_eq!(read, bytes);
}

/// Reads a Close with 1001 and answers it.
async fn expect_going_away(peer: &mut DuplexStream) {
    let mut head = [0; 2];
    peer.read_exact(&mut head).await.unwrap();
    let mut close = vec![0; head[1].into()];
    peer.read_exact(&mut close).await.unwrap();
    assert_eq!((head[0], &close[..2]), (0x88, 1001_u16.to_be_bytes().as_slice()));
    peer.write_all(b"\x88\x82\0\0\0\0\x03\xe9").await.unwrap();
}

/// The code of a Close frame that is all there is.
fn close_code(bytes: &[u8]) -> u16 {
    assert_eq!((bytes[0], usize::from(bytes[1])), (0x88, bytes.len() - 2), "{bytes:?}");
    u16::from_be_bytes([bytes[2], bytes[3]])
}

#[tokio::test]
async fn messages_come_back_as_they_were_and_fragments_as_one() {
    let script = [
        b"\x81\x85\0\0\0\0hello".as_slice(),
        b"\x82\x83\0\0\0\0\0\xff\x80",
        b"\x81\x80\0\0\0\0",
        b"\x01\x83\0\0\0\0one\x89\x81\0\0\0\0p\x80\x83\0\0\0\0two",
        CLOSE_NORMAL,
    ];
    let expected =
        b"\x81\x05hello\x82\x03\0\xff\x80\x81\x00\x8a\x01p\x81\x06onetwo\x88\x02\x03\xe8".as_slice();
    assert_eq!(answers(&script.concat()).await, expected);
}

#[tokio::test]
async fn a_peer_that_breaks_the_protocol_hears_why_after_its_answers() {
    let long = [b"\x82\xfe\x03\xe9\0\0\0\0".as_slice(), &[0; 1001]].concat();
    for (fault, code) in [
        (b"\x81\x02hi".as_slice(), 1002),
        (b"\xc1\x82\0\0\0\0hi", 1002),
        (b"\x80\x82\0\0\0\0hi", 1002),
        (b"\x83\x80\0\0\0\0", 1002),
        (b"\x09\x80\0\0\0\0", 1002),
        (b"\x88\x81\0\0\0\0\x03", 1002),
        (b"\x81\x81\0\0\0\0\xff", 1007),
        (b"\x88\x83\0\0\0\0\x03\xe8\xff", 1007),
        (&long, 1009),
        (b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0", 1009),
    ] {
        let answers = answers(&[b"\x81\x81\0\0\0\0a", fault, CLOSE_NORMAL].concat()).await;
        let close = answers.strip_prefix(b"\x81\x01a").expect("the answer comes first");
        assert_eq!(close_code(close), code, "{fault:?}");
    }
}

#[tokio::test]
async fn a_peer_that_ends_without_a_close_still_gets_its_answers() {
    let (mut peer, near) = duplex(PIPE);
    peer.write_all(b"\x81\x85\0\0\0\0hello").await.unwrap();
    peer.shutdown().await.unwrap();
    run(near, config(), CancellationToken::new()).await;
    expect(&mut peer, b"\x81\x05hello").await;
    assert_eq!(peer.read(&mut [0]).await.unwrap(), 0);
}

#[tokio::test]
async fn a_drain_answers_what_was_received_and_then_closes_with_1001() {
    let (mut peer, near) = duplex(PIPE);
    let draining = CancellationToken::new();
    draining.cancel();
    peer.write_all(&b"\x81\x81\0\0\0\0a".repeat(1000)).await.unwrap();
    let script = async {
        expect(&mut peer, &b"\x81\x01a".repeat(1000)).await;
        expect_going_away(&mut peer).await;
        assert_eq!(peer.read(&mut [0]).await.unwrap(), 0);
    };
    tokio::join!(run(near, config(), draining), script);
}

#[tokio::test(start_paused = true)]
async fn a_drain_waits_for_the_rest_of_a_message_and_no_longer_than_it_waits_for_anyone() {
    let fragments = [b"\x01\x83\0\0\0\0one".as_slice(), b"\x89\x80\0\0\0\0", b"\x80\x83\0\0\0\0two"].concat();
    let answer = b"\x8a\0\x81\x06onetwo".as_slice();
    for cut in 1..fragments.len() {
        let (mut peer, near) = duplex(PIPE);
        let draining = CancellationToken::new();
        let start = Instant::now();
        let script = async {
            peer.write_all(&fragments[..cut]).await.unwrap();
            draining.cancel();
            // The clock moves when all others wait.
            tokio::time::interval_at(start + DRAIN_TIMEOUT / 2, DRAIN_TIMEOUT).tick().await;
            peer.write_all(&fragments[cut..]).await.unwrap();
            expect(&mut peer, answer).await;
            expect_going_away(&mut peer).await;
        };
        tokio::join!(run(near, config(), draining.clone()), script);
        assert_eq!(start.elapsed(), DRAIN_TIMEOUT / 2, "{cut}");
    }
    let (said, elapsed) = said_by_a_draining_server(&fragments[..5]).await;
    assert_eq!((close_code(&said), elapsed), (1001, DRAIN_TIMEOUT));
}

/// What a draining server says to a peer that has sent `part` of a message, and how long that takes
/// it.
async fn said_by_a_draining_server(part: &[u8]) -> (Vec<u8>, Duration) {
    let (mut peer, near) = duplex(PIPE);
    let (draining, start) = (CancellationToken::new(), Instant::now());
    draining.cancel();
    let listening = async {
        peer.write_all(part).await.unwrap();
        let mut said = vec![peer.read_u8().await.unwrap()];
        let elapsed = start.elapsed();
        drop(peer.shutdown().await);
        peer.read_to_end(&mut said).await.unwrap();
        (said, elapsed)
    };
    tokio::join!(run(near, config(), draining.clone()), listening).1
}

#[tokio::test(start_paused = true)]
async fn a_drain_does_not_wait_for_a_peer_that_never_pauses() {
    let (peer, near) = duplex(WRITE_BUFFER);
    let (mut reading, mut writing) = tokio::io::split(peer);
    let draining = CancellationToken::new();
    let messages = b"\x81\x81\0\0\0\0a".repeat(10_000);
    let script = async {
        let sending = async { while writing.write_all(&messages).await.is_ok() {} };
        let receiving = async {
            assert_eq!(reading.read_u8().await.unwrap(), 0x81);
            draining.cancel();
            reading.read_exact(&mut vec![0; 2 * WRITE_BUFFER]).await.unwrap();
            tokio::time::advance(DRAIN_TIMEOUT * 2).await;
            while reading.read_u8().await.unwrap() != 0x88 {}
        };
        tokio::select! {
            () = sending => panic!("the session ended without a Close"),
            () = receiving => {}
        }
        drop((reading, writing));
    };
    tokio::join!(run(near, config(), draining.clone()), script);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_read_is_not_read_from() {
    for message in [b"\x82\x81\0\0\0\0a".as_slice(), b"\x89\x81\0\0\0\0a"] {
        let (mut peer, near) = duplex(1024);
        let messages = message.repeat(1024);
        let stalled = async {
            let mut taken = 0;
            // The clock moves only when nothing else can.
            loop {
                let writing = peer.write(&messages[taken % messages.len()..]);
                match tokio::time::timeout(Duration::from_secs(1), writing).await {
                    Ok(written) => taken += written.unwrap(),
                    Err(_) => return taken,
                }
            }
        };
        tokio::select! {
            () = run(near, config(), CancellationToken::new()) => panic!("the session ended"),
            taken = stalled => assert!(taken < 256 * 1024, "{taken} bytes of {message:?} were taken"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_delay_comes_before_each_answer() {
    let (mut peer, near) = duplex(PIPE);
    let delay = Duration::from_millis(300);
    let script = async {
        let start = Instant::now();
        peer.write_all(b"\x81\x81\0\0\0\0a\x81\x81\0\0\0\0b").await.unwrap();
        expect(&mut peer, b"\x81\x01a").await;
        assert_eq!(start.elapsed().as_millis(), 300);
        expect(&mut peer, b"\x81\x01b").await;
        assert_eq!(start.elapsed().as_millis(), 600);
        drop(peer);
    };
    tokio::join!(run(near, Config { delay: Some(delay), ..config() }, CancellationToken::new()), script);
}

/// What a server with this configuration says by itself to a peer that sends `script`, answers
/// `answers` once it has heard something, and says no more; and the milliseconds that it takes.
async fn said_to_a_silent_peer(config: Config, script: &[u8], answer: &[u8]) -> (Vec<u8>, u128) {
    let (mut peer, near) = duplex(PIPE);
    let start = Instant::now();
    let listening = async {
        peer.write_all(script).await.unwrap();
        let mut said = vec![peer.read_u8().await.unwrap()];
        peer.write_all(answer).await.unwrap();
        peer.read_to_end(&mut said).await.unwrap();
        (said, start.elapsed().as_millis())
    };
    tokio::join!(run(near, config, CancellationToken::new()), listening).1
}

#[tokio::test(start_paused = true)]
async fn a_session_without_messages_is_closed_with_1001() {
    let idle = Config { idle_timeout: Some(Duration::from_secs(3)), ..config() };
    let (said, elapsed) = said_to_a_silent_peer(idle.clone(), b"", CLOSE_NORMAL).await;
    assert_eq!((close_code(&said), elapsed), (1001, 3000));
    let pong = b"\x8a\x80\0\0\0\0".as_slice();
    let pings = Some(Ping { interval: Duration::from_secs(2), timeout: Duration::from_secs(20) });
    let (said, _) = said_to_a_silent_peer(Config { ping: pings, ..idle }, b"", pong).await;
    // Its pongs say that it is there, not that it has anything to say.
    assert_eq!(close_code(said.strip_prefix(b"\x89\0").expect("a ping")), 1001);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_answers_no_ping_is_closed_with_1011() {
    let ping = Ping { interval: Duration::from_secs(10), timeout: Duration::from_secs(5) };
    let config = Config { ping: Some(ping), ..config() };
    let (said, elapsed) = said_to_a_silent_peer(config.clone(), b"", b"").await;
    assert_eq!(close_code(said.strip_prefix(b"\x89\0").expect("a ping")), 1011);
    assert_eq!(elapsed, (ping.interval + ping.timeout + DRAIN_TIMEOUT).as_millis());
    let (said, elapsed) = said_to_a_silent_peer(config, b"", b"\x8a\x80\0\0\0\0").await;
    assert_eq!(close_code(said.strip_prefix(b"\x89\0\x89\0").expect("two pings")), 1011);
    assert_eq!(elapsed, (2 * ping.interval + ping.timeout + DRAIN_TIMEOUT).as_millis());
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_read_is_given_up_too() {
    let (mut peer, near) = duplex(1024);
    let config = Config { idle_timeout: Some(Duration::from_secs(3)), ..config() };
    let messages = b"\x82\x81\0\0\0\0a".repeat(100_000);
    let start = Instant::now();
    let writing = async { peer.write_all(&messages).await.expect_err("the session ends") };
    let ((), error) = tokio::join!(run(near, config, CancellationToken::new()), writing);
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    // It is not told why, since it does not read.
    assert_eq!(start.elapsed(), Duration::from_secs(3) + CLOSE_TIMEOUT);
}

#[tokio::test]
async fn a_session_may_be_told_to_end_after_some_messages() {
    for (code, end) in [(1000, b"\x88".as_slice()), (4001, b"\x88"), (1005, b"\x88\0"), (1006, b"")] {
        let config = Config { close_after: Some(CloseAfter { messages: 2, code }), ..config() };
        let (mut peer, near) = duplex(PIPE);
        peer.write_all(&[&b"\x81\x81\0\0\0\0a".repeat(3), CLOSE_NORMAL].concat()).await.unwrap();
        let stats = Stats::default();
        run_counted(near, config, CancellationToken::new(), &stats).await;
        let mut said = Vec::new();
        peer.read_to_end(&mut said).await.unwrap();
        let close = said.strip_prefix(b"\x81\x01a\x81\x01a").expect("two answers");
        assert!(close.starts_with(end) && close.is_empty() == end.is_empty(), "{code}: {close:?}");
        if close.len() > 2 {
            assert_eq!(close_code(close), code);
        }
        assert_eq!(stats.closes().collect::<Vec<_>>(), [(code, 1)]);
        assert_eq!((stats.received.messages.get(), stats.sent.bytes.get()), (2, 2));
    }
}

#[tokio::test]
async fn a_session_counts_for_the_code_that_was_said_first() {
    for (script, code) in [
        (CLOSE_NORMAL, 1000),
        (b"\x88\x80\0\0\0\0", 1005),
        (b"", 1006),
        (b"\x81\x81\0\0\0\0\xff", 1007),
        (b"\x88\x82\0\0\0\0\x0f\xa1", 4001),
    ] {
        let (mut peer, near) = duplex(PIPE);
        peer.write_all(script).await.unwrap();
        peer.shutdown().await.unwrap();
        let stats = Stats::default();
        run_counted(near, config(), CancellationToken::new(), &stats).await;
        assert_eq!(stats.closes().collect::<Vec<_>>(), [(code, 1)], "{script:?}");
    }
}

/// Counts the writes to a stream.
struct Counted(DuplexStream, Arc<AtomicUsize>);

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl Holding for Counted {
    fn held(&self) -> usize {
        0
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.1.fetch_add(1, Ordering::Relaxed);
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[tokio::test]
async fn all_that_was_received_is_answered_with_one_write() {
    let (mut peer, near) = duplex(PIPE);
    peer.write_all(&b"\x81\x81\0\0\0\0a".repeat(64)).await.unwrap();
    let writes = Arc::new(AtomicUsize::new(0));
    let (config, draining, expected) = (config(), CancellationToken::new(), b"\x81\x01a".repeat(64));
    let (stats, buffers) = (Stats::default(), buffers());
    let counted = stats.open(Version::HTTP_11);
    let ledger = Ledger::new(&buffers, &counted);
    let mut stream = carrier(Counted(near, Arc::clone(&writes)), &config, &ledger);
    tokio::select! {
        () = serve(&mut stream, &config, &draining, &counted, &ledger) => panic!("the session ended"),
        () = expect(&mut peer, &expected) => {}
    }
    assert_eq!(writes.load(Ordering::Relaxed), 1);
}

/// A frame under a mask of zeros.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = BytesMut::new();
    FrameHeader { first, mask: Some([0; 4]), length: payload.len() as u64 }.write(&mut frame);
    frame.extend_from_slice(payload);
    frame.into()
}

/// The answer to it.
fn answer(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = BytesMut::new();
    FrameHeader { first: FIN | opcode, mask: None, length: payload.len() as u64 }.write(&mut frame);
    frame.extend_from_slice(payload);
    frame.into()
}

/// Lets the clock move on, which it does when all others wait.
async fn pass(time: Duration) {
    tokio::time::interval_at(Instant::now() + time, time).tick().await;
}

fn for_long_messages() -> Config {
    Config { max_message_size: PIPE, ..config() }
}

#[tokio::test]
async fn messages_of_every_length_are_answered_in_their_order_with_what_stands_around_them() {
    let long = usize::try_from(LONG).unwrap();
    let (mut script, mut expected) = (Vec::new(), Vec::new());
    for (number, length) in
        [READ_BUFFER, READ_BUFFER + 1, WRITE_BUFFER, WRITE_BUFFER + 1, long, long + 1, 3 * long, PIPE]
            .into_iter()
            .enumerate()
    {
        let payload = vec![b'a' + u8::try_from(number).unwrap(); length];
        let (first, rest) = payload.split_at(length / 3);
        let (second, third) = rest.split_at(length / 3);
        for (opcode, short) in [(TEXT, b"short".as_slice()), (BINARY, b"")] {
            script.extend(frame(FIN | TEXT, short));
            script.extend(frame(FIN | opcode, &payload));
            script.extend(frame(FIN | 9, b"ping"));
            script.extend(frame(opcode, first));
            script.extend(frame(0, second));
            script.extend(frame(FIN | 9, b""));
            script.extend(frame(FIN, third));
            expected.extend(answer(TEXT, short));
            expected.extend(answer(opcode, &payload));
            expected.extend(answer(10, b"ping"));
            expected.extend(answer(10, b""));
            expected.extend(answer(opcode, &payload));
        }
    }
    script.extend(CLOSE_NORMAL);
    expected.extend(b"\x88\x02\x03\xe8");
    for pipe in [1000, PIPE] {
        let (peer, near) = duplex(pipe);
        let (mut reading, mut writing) = tokio::io::split(peer);
        let mut answers = Vec::new();
        let ((), sent, received) = tokio::join!(
            run(near, for_long_messages(), CancellationToken::new()),
            writing.write_all(&script),
            reading.read_to_end(&mut answers),
        );
        sent.unwrap();
        received.unwrap();
        assert!(answers == expected, "{} bytes instead of {}", answers.len(), expected.len());
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_session_whose_buffers_have_grown_goes_on_with_new_ones() {
    let (mut peer, near) = duplex(PIPE);
    let (length, long) = (WRITE_BUFFER, usize::try_from(LONG).unwrap() + 1);
    let script = async {
        for pause in [DRAIN_TIMEOUT / 2, DRAIN_TIMEOUT * 3] {
            for length in [length, long, 1] {
                peer.write_all(&frame(FIN | BINARY, &vec![7; length])).await.unwrap();
                expect(&mut peer, &answer(BINARY, &vec![7; length])).await;
            }
            // Of a message that has begun nothing is lost.
            peer.write_all(b"\x01\x83\0\0").await.unwrap();
            pass(pause).await;
            peer.write_all(b"\0\0one").await.unwrap();
            pass(pause).await;
            peer.write_all(b"\x80\x83\0\0\0\0two").await.unwrap();
            expect(&mut peer, b"\x81\x06onetwo").await;
            pass(pause).await;
        }
        peer.write_all(CLOSE_NORMAL).await.unwrap();
        expect(&mut peer, b"\x88\x02\x03\xe8").await;
    };
    tokio::join!(run(near, for_long_messages(), CancellationToken::new()), script);
}

/// Runs a session of those that share `buffers`.
async fn run_sharing(near: DuplexStream, buffers: &Buffers, stats: &Stats) {
    let (config, counted) = (for_long_messages(), stats.open(Version::HTTP_11));
    let ledger = Ledger::new(buffers, &counted);
    let mut frames = carrier(near, &config, &ledger);
    serve(&mut frames, &config, &CancellationToken::new(), &counted, &ledger).await;
}

const HALF: usize = 300 * 1024;

/// The first half of a message.
fn half() -> Vec<u8> {
    frame(FIN | BINARY, &vec![7; 2 * HALF])[..HALF].into()
}

#[tokio::test(start_paused = true)]
async fn at_the_bound_a_message_waits_for_room_and_is_answered_when_there_is_some() {
    let (buffers, stats) = (Buffers::new(2 * HALF), Stats::default());
    let ((mut first, first_near), (second, second_near)) = (duplex(1000), duplex(1000));
    let (mut reading, mut writing) = tokio::io::split(second);
    let message = frame(FIN | BINARY, &vec![7; 2 * HALF]);
    let script = async {
        first.write_all(&frame(FIN | BINARY, &vec![7; HALF])).await.unwrap();
        let mut sending = pin!(writing.write_all(&message));
        tokio::time::timeout(Duration::from_secs(2), &mut sending).await.expect_err("nobody reads more");
        assert_eq!(stats.waits_for_room.get(), 1);
        assert!(buffers.is_full() && buffers.held() < buffers.limit() + STEP);
        // What is short passes.
        let (mut third, third_near) = duplex(1000);
        let short = async {
            third.write_all(&frame(FIN | BINARY, b"short")).await.unwrap();
            expect(&mut third, &answer(BINARY, b"short")).await;
            drop(third);
        };
        tokio::join!(run_sharing(third_near, &buffers, &stats), short);
        drop(first);
        let echo = answer(BINARY, &vec![7; 2 * HALF]);
        let (sent, ()) = tokio::join!(sending, expect_long(&mut reading, &echo));
        sent.unwrap();
        drop((reading, writing));
    };
    let sessions = [first_near, second_near].map(|near| run_sharing(near, &buffers, &stats));
    tokio::join!(futures_util::future::join_all(sessions), script);
    assert_eq!((buffers.held(), stats.ended_for_room.get()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn at_the_bound_sessions_that_do_not_move_end_one_after_the_other_until_there_is_room() {
    let (buffers, stats) = (Buffers::new(2 * HALF), Stats::default());
    let message = frame(FIN | BINARY, &vec![7; 2 * HALF]);
    let ((mut silent, silent_near), (deaf, deaf_near)) = (duplex(1000), duplex(1000));
    let (mut deaf_reading, mut deaf_writing) = tokio::io::split(deaf);
    let (mut good, good_near) = duplex(1000);
    let script = async {
        // One that does not end its message, and one that does not take its answer.
        silent.write_all(&half()).await.unwrap();
        deaf_writing.write_all(&frame(FIN | BINARY, &vec![7; HALF])).await.unwrap();
        let begun = Instant::now();
        let (mut good_reading, mut good_writing) = tokio::io::split(&mut good);
        let echo = answer(BINARY, &vec![7; 2 * HALF]);
        let (sent, ()) =
            tokio::join!(good_writing.write_all(&message), expect_long(&mut good_reading, &echo));
        sent.unwrap();
        assert!(begun.elapsed() <= Duration::from_secs(7), "{:?}", begun.elapsed());
        let mut said = Vec::new();
        silent.read_to_end(&mut said).await.unwrap();
        assert_eq!(close_code(&said), 1013);
        let mut cut = Vec::new();
        deaf_reading.read_to_end(&mut cut).await.unwrap();
        assert!(cut.len() < HALF, "{} bytes", cut.len());
        good.write_all(CLOSE_NORMAL).await.unwrap();
    };
    let sessions = [silent_near, deaf_near, good_near].map(|near| run_sharing(near, &buffers, &stats));
    let sessions = futures_util::future::join_all(sessions);
    tokio::join!(sessions, script);
    assert_eq!((buffers.held(), stats.ended_for_room.get()), (0, 2));
}

async fn expect_long(reading: &mut (impl AsyncRead + Unpin), bytes: &[u8]) {
    let mut read = vec![0; bytes.len()];
    reading.read_exact(&mut read).await.unwrap();
    assert!(read == bytes);
}

#[tokio::test]
async fn a_message_that_is_longer_than_all_may_hold_is_too_long() {
    let (mut peer, near) = duplex(PIPE);
    peer.write_all(&[frame(FIN | BINARY, &[7; 501]), CLOSE_NORMAL.to_vec()].concat()).await.unwrap();
    run(near, Config { max_buffered_bytes: 500, ..config() }, CancellationToken::new()).await;
    let mut said = Vec::new();
    peer.read_to_end(&mut said).await.unwrap();
    assert_eq!(close_code(&said), 1009);
}

#[tokio::test]
async fn an_idle_session_is_small() {
    let (_peer, near) = duplex(1);
    let (config, draining) = (config(), CancellationToken::new());
    let (stats, buffers) = (Stats::default(), buffers());
    let counted = stats.open(Version::HTTP_11);
    let ledger = Ledger::new(&buffers, &counted);
    let mut frames = carrier(near, &config, &ledger);
    let around = size_of_val(&frames) + size_of_val(&ledger);
    let size = around + size_of_val(&serve(&mut frames, &config, &draining, &counted, &ledger));
    // Beside it, a session holds tungstenite's read buffer.
    assert!(size < 1536, "{size} bytes");
}
