//! The WebSocket echo server: text and binary messages come back as they are, on any path.
//!
//! ```text
//!  Server ── a worker a core ──▶ connection: the first head ──▶ 101 ───────────────▶ echo
//!                                              │                                      ▲
//!                                              ├─ plain HTTP ─▶ http ─ 101, later on ─┘
//!                                              └─ neither ────▶ rejection
//! ```
//!
//! A worker is a listener of its own on the one address (`SO_REUSEPORT`) and a runtime of its own on a thread of its own:
//! workers share nothing, so no session waits for a lock.

mod config;
mod connection;
mod echo;
mod http;
mod read_ahead;
mod rejection;
mod worker;

use std::io;
use std::net::SocketAddr;

pub use config::Config;

use crate::drain::Drain;
use crate::net::{self, BindError};

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
    /// A graceful drain closes the listeners, answers what was received and closes every session with 1001; a forced one
    /// drops what is left. Dropping the future is a forced drain that nobody waits for.
    ///
    /// # Errors
    /// A worker could not be started.
    pub async fn serve(self, drain: Drain) -> io::Result<()> {
        let _task = drain.tasks.token();
        let forced = drain.forced.child_token();
        let _dropped = forced.clone().drop_guard();
        let mut workers = Vec::with_capacity(self.listeners.len());
        for listener in self.listeners {
            workers.push(worker::start(
                listener,
                self.config.clone(),
                drain.graceful.clone(),
                forced.clone(),
            )?);
        }
        for worker in workers {
            worker.await.map_err(|_| io::Error::other("a worker of the server panicked"))??;
        }
        Ok(())
    }
}
