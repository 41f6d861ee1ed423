//! Messages that arrive at the moment of a drain, on a worker without a thread: its connection
//! moves only where a test polls it.

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::task::LocalSet;
use tokio_util::sync::CancellationToken;

use super::TIMEOUT;
use super::http2::{SETTINGS, ask, websocket};
use crate::net::Budget;
use crate::server::info::Peer;
use crate::server::worker::{Shared, Worker};
use crate::server::{Config, connection};
use crate::tunnel;

const UPGRADE: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

/// How much has arrived when the drain begins: all small messages and a part of the large one.
const ARRIVED: usize = 100_000;

/// Many small messages and one in large fragments, beyond the windows of HTTP/2; and the answers.
fn messages() -> (Vec<u8>, Vec<u8>) {
    const FRAGMENTS: usize = 40;
    const LENGTH: u16 = 50_000;
    let (mut sent, mut answers) = (b"\x81\x85\0\0\0\0hello".repeat(200), b"\x81\x05hello".repeat(200));
    let whole = FRAGMENTS * usize::from(LENGTH);
    answers.extend([&[0x82, 127], &whole.to_be_bytes()[..]].concat());
    for number in 0..FRAGMENTS {
        let first = if number == 0 { 0x02 } else { 0 } | if number + 1 == FRAGMENTS { 0x80 } else { 0 };
        let payload = vec![b'a' + u8::try_from(number % 26).unwrap(); LENGTH.into()];
        sent.extend([&[first, 0xfe], &LENGTH.to_be_bytes()[..], &[0; 4], &payload].concat());
        answers.extend(payload);
    }
    (sent, answers)
}

/// A worker of a server, and a connection to it.
fn worker() -> (Rc<Worker>, DuplexStream, impl Future<Output = ()>) {
    let shared = Arc::new(Shared::new(Config::new(([127, 0, 0, 1], 0).into())));
    let worker = Rc::new(Worker {
        stats: Arc::clone(&shared.stats[0]),
        draining: CancellationToken::new(),
        closing: CancellationToken::new(),
        shared,
    });
    let (near, far) = tokio::io::duplex(1 << 20);
    let peer = Peer { address: ([127, 0, 0, 1], 1).into(), tls: None };
    let serving = {
        let worker = Rc::clone(&worker);
        async move { connection::carry(near, peer, &worker).await }
    };
    (worker, far, serving)
}

/// Begins the drain and sends the rest: everything is answered, and then comes the Close.
async fn drain<S: AsyncRead + AsyncWrite>(
    worker: &Worker,
    serving: Pin<&mut impl Future<Output = ()>>,
    session: S,
    rest: &[u8],
    answers: &[u8],
) {
    worker.draining.cancel();
    // The session may see the drain before its connection has read what has arrived.
    tokio::task::yield_now().await;
    let (mut reading, mut writing) = tokio::io::split(session);
    let talking = async {
        let receiving = async {
            let mut answered = vec![0; answers.len()];
            reading.read_exact(&mut answered).await.unwrap();
            assert!(answered == answers);
            let mut close = [0; 4];
            reading.read_exact(&mut close).await.unwrap();
            assert_eq!((close[0], &close[2..]), (0x88, 1001_u16.to_be_bytes().as_slice()));
        };
        let (written, ()) = tokio::join!(writing.write_all(rest), receiving);
        written.unwrap();
        writing.write_all(b"\x88\x82\0\0\0\0\x03\xe9").await.unwrap();
        reading.read_to_end(&mut Vec::new()).await.unwrap();
        worker.closing.cancel();
    };
    tokio::join!(serving, talking);
}

#[tokio::test(start_paused = true)]
async fn what_arrives_with_the_drain_is_answered_before_the_close() {
    let (worker, mut session, serving) = worker();
    let mut serving = std::pin::pin!(serving);
    let (sent, answers) = messages();
    let opening = async {
        session.write_all(UPGRADE).await.unwrap();
        while session.read_u8().await.unwrap() != b'\n' || session.read_u16().await.unwrap() != 0x0d0a {}
        session.write_all(&sent[..ARRIVED]).await.unwrap();
    };
    tokio::select! {
        () = &mut serving => panic!("the connection ended"),
        () = opening => {}
    }
    drain(&worker, serving, session, &sent[ARRIVED..], &answers).await;
}

#[tokio::test(start_paused = true)]
async fn what_arrives_over_http2_with_the_drain_is_answered_before_the_close() {
    let (worker, stream, serving) = worker();
    let mut serving = std::pin::pin!(serving);
    let (sent, answers) = messages();
    let test = async {
        let opening = async {
            let (mut client, driver) = tunnel::connect(stream, &SETTINGS, Budget::unlimited()).await.unwrap();
            tokio::task::spawn_local(driver);
            ask(&mut client, websocket("/")).await.1
        };
        let mut session = tokio::select! {
            () = &mut serving => panic!("the connection ended"),
            session = opening => session,
        };
        session.write_all(&sent[..ARRIVED]).await.unwrap();
        session.get_mut().drained(TIMEOUT).await;
        drain(&worker, serving, session, &sent[ARRIVED..], &answers).await;
    };
    LocalSet::new().run_until(test).await;
}
