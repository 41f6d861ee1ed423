//! The WebSocket echo server: text and binary messages come back as they are, on any path.
//!
//! ```text
//!  Server ─ a worker a core ─▶ connection: the first head ─ admission: 101 ───────▶ session: echo
//!                                            │                                          ▲
//!                                            ├─ plain HTTP ─▶ http1: routes ─ 101 ──────┤
//!                                            ├─ HTTP/2 ─────▶ http2: routes ─ its 200 ──┘
//!                                            └─ neither ────▶ rejection
//! ```
//!
//! A worker is a listener of its own on the one address (`SO_REUSEPORT`) and a runtime of its own
//! on a thread of its own: what they share is looked at when a session begins or ends, and when one
//! has to wait with a part of a message; there is no lock to wait for.

mod admission;
mod buffers;
mod config;
mod connection;
mod echo;
pub mod health;
mod http1;
mod http2;
mod info;
mod keepalive;
mod metered;
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

pub use config::{CloseAfter, Config, Ping, PodIdentity};
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
    /// Binds a listener for each worker. From here on the system accepts connections; they wait for
    /// [`Server::serve`].
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
    /// A graceful drain answers what was received, closes every session with 1001, then the
    /// listeners; a forced one drops what is left. Dropping the future forces the drain, and does
    /// not wait for it.
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
mod tests;
