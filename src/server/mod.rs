//! The WebSocket echo server: text and binary messages come back as they are, on any path.
//!
//! ```text
//!  Server ── a worker a core ──▶ connection: the first head ── admission: 101 ───────────▶ session: echo
//!                                              │                                               ▲
//!                                              ├─ plain HTTP ─▶ http1: routes ─ 101, later on ─┘
//!                                              └─ neither ────▶ rejection
//! ```
//!
//! A worker is a listener of its own on the one address (`SO_REUSEPORT`) and a runtime of its own on a thread of its own:
//! what they share is looked at when a session begins or ends, so no session waits for a lock.

mod admission;
mod config;
mod connection;
mod echo;
mod http1;
mod info;
mod keepalive;
mod metrics;
mod read_ahead;
mod rejection;
mod routes;
mod session;
mod stats;
mod worker;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

pub use config::{CloseAfter, Config, Ping, Pod};
use worker::Shared;

use crate::drain::Drain;
use crate::net::{self, BindError};

/// Why a server ended that was not drained.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A worker could not be started, or has failed.
    #[error("a worker of the server failed: {0}")]
    Worker(#[from] io::Error),
    /// Somebody asked for `/seppuku`.
    #[error("ended by GET /seppuku")]
    Seppuku,
}

/// An echo server that is bound and not yet serving.
#[derive(Debug)]
pub struct Server {
    config: Config,
    address: SocketAddr,
    listeners: Vec<std::net::TcpListener>,
}

impl Server {
    /// Binds a listener for each worker. From here on the system accepts connections; they wait for [`Server::serve`].
    ///
    /// # Errors
    /// The address is in use or not of this machine.
    pub fn bind(config: Config) -> Result<Self, BindError> {
        let listeners = net::listen(config.listen, config.workers.get())?;
        let address =
            listeners[0].local_addr().map_err(|source| BindError { address: config.listen, source })?;
        Ok(Self { config, address, listeners })
    }

    /// The address with the real port.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until it is drained, which it counts as one of the drain's tasks.
    ///
    /// A graceful drain answers what was received, closes every session with 1001, then the listeners; a forced one drops
    /// what is left. Dropping the future is a forced drain that nobody waits for.
    ///
    /// # Errors
    /// [`ServeError`].
    pub async fn serve(self, drain: Drain) -> Result<(), ServeError> {
        let _task = drain.tasks.token();
        let forced = drain.forced.child_token();
        let _dropped = forced.clone().drop_guard();
        let shared = Arc::new(Shared::new(self.config));
        let mut workers = Vec::with_capacity(self.listeners.len());
        for (number, listener) in self.listeners.into_iter().enumerate() {
            let (graceful, forced) = (drain.graceful.clone(), forced.clone());
            workers.push(worker::start(number, listener, Arc::clone(&shared), graceful, forced)?);
        }
        let working = async {
            for worker in workers {
                worker.await.map_err(|_| io::Error::other("it panicked"))??;
            }
            Ok(())
        };
        shared.seppuku.run_until_cancelled(working).await.unwrap_or(Err(ServeError::Seppuku))
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn bind(config: impl FnOnce(Config) -> Config) -> Server {
        Server::bind(config(Config::new(([127, 0, 0, 1], 0).into()))).expect("a free port")
    }

    /// Waits until the connection ends, in whatever way.
    async fn end_of(mut stream: TcpStream) -> Vec<u8> {
        let mut bytes = Vec::new();
        let reading = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes));
        let _ = reading.await.expect("the connection ends");
        bytes
    }

    #[tokio::test]
    async fn a_drain_ends_every_worker_and_is_told_so() {
        let server = bind(|config| Config { workers: NonZeroUsize::new(3).expect("not 0"), ..config });
        let address = server.local_addr();
        let drain = Drain::new();
        let serving = tokio::spawn(server.serve(drain.clone()));
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /healthz HTTP/1.0\r\n\r\n").await.unwrap();
        assert!(end_of(stream).await.ends_with(b"OK\n"));
        assert!(drain.run(PATIENCE).await);
        serving.await.unwrap().unwrap();
        TcpStream::connect(address).await.expect_err("the listeners are closed");
    }

    #[tokio::test]
    async fn a_dropped_server_drops_its_connections() {
        let server = bind(|config| config);
        let address = server.local_addr();
        let serving = tokio::spawn(server.serve(Drain::new()));
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), b'H');
        serving.abort();
        end_of(stream).await;
    }

    #[tokio::test]
    async fn a_client_that_does_not_finish_its_request_is_told_and_dropped() {
        let limit = Duration::from_millis(50);
        let server = bind(|config| Config { handshake_timeout: limit, ..config });
        let address = server.local_addr();
        let serving = tokio::spawn(server.serve(Drain::new()));
        let silent = TcpStream::connect(address).await.unwrap();
        let mut slow = TcpStream::connect(address).await.unwrap();
        slow.write_all(b"GET / HT").await.unwrap();
        assert_eq!(end_of(silent).await, b"");
        let answer = String::from_utf8(end_of(slow).await).unwrap();
        assert!(answer.starts_with("HTTP/1.1 408 ") && answer.ends_with("within 50ms\n"), "{answer}");
        serving.abort();
    }
}
