//! The life of a server, and what it says over HTTP/2.

mod drain;
mod http2;
mod malformed;

use std::num::NonZeroUsize;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::*;

const TIMEOUT: Duration = Duration::from_secs(20);

/// A server that serves.
struct Serving {
    address: SocketAddr,
    drain: Drain,
    task: JoinHandle<Result<(), ServeError>>,
}

fn serve(config: impl FnOnce(Config) -> Config) -> Serving {
    let config = config(Config::new(([127, 0, 0, 1], 0).into()));
    let server = Server::bind(config).expect("a free port");
    let (address, drain) = (server.local_addr(), Drain::new());
    let task = tokio::spawn(server.serve(drain.clone()));
    Serving { address, drain, task }
}

/// Waits until the connection ends, in whatever way.
async fn end_of(mut stream: TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let reading = tokio::time::timeout(TIMEOUT, stream.read_to_end(&mut bytes));
    let _ = reading.await.expect("the connection ends");
    bytes
}

#[tokio::test]
async fn a_drain_ends_every_worker_and_is_told_so() {
    let server = serve(|config| Config { workers: NonZeroUsize::new(3).expect("not 0"), ..config });
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"GET /healthz HTTP/1.0\r\n\r\n").await.unwrap();
    assert!(end_of(stream).await.ends_with(b"OK\n"));
    assert!(server.drain.run(TIMEOUT).await);
    server.task.await.unwrap().unwrap();
    TcpStream::connect(server.address).await.expect_err("the listeners are closed");
}

#[tokio::test]
async fn a_dropped_server_drops_its_connections() {
    let server = serve(|config| config);
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), b'H');
    server.task.abort();
    end_of(stream).await;
}

#[tokio::test]
async fn a_client_that_does_not_finish_its_request_is_told_and_dropped() {
    let limit = Duration::from_millis(50);
    let server = serve(|config| Config { handshake_timeout: limit, ..config });
    let silent = TcpStream::connect(server.address).await.unwrap();
    let mut slow = TcpStream::connect(server.address).await.unwrap();
    slow.write_all(b"GET / HT").await.unwrap();
    assert_eq!(end_of(silent).await, b"");
    let answer = String::from_utf8(end_of(slow).await).unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.ends_with("within 50ms\n"), "{answer}");
    server.task.abort();
}
