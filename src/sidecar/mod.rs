//! One proxy of the pair: what a sidecar Envoy does with HTTP and WebSocket traffic, as Istio configures it.
//!
//! The straight path of a stream: [`worker`] accepts a connection, [`downstream`] decodes a request, [`stream`] finds its
//! route, `attempts` opens the [`upstream`], `exchange` passes bytes both ways, and the record of the stream becomes its
//! one line.

mod attempts;
mod config;
mod downstream;
mod exchange;
mod headers;
mod http1;
mod reset;
mod routes;
mod socket;
mod stream;
mod upstream;
mod worker;

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;

pub use config::{Config, Direction};

use crate::access_log::{Sink, SinkError};
use crate::drain::Drain;
use crate::net::{self, BindError};
use config::Proxy;

/// A sidecar could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The listener.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The access log.
    #[error(transparent)]
    AccessLog(#[from] SinkError),
}

/// A sidecar that is bound and has not accepted anything yet.
#[derive(Debug)]
pub struct Sidecar {
    proxy: Arc<Proxy>,
    listeners: Vec<std::net::TcpListener>,
    local_addr: SocketAddr,
    sink: Sink,
    log_thread: JoinHandle<()>,
}

impl Sidecar {
    /// Opens the access log and the listener.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn bind(config: Config) -> Result<Self, StartError> {
        let listeners = net::listen(config.listen, config.concurrency.max(1))?;
        let named = |source| BindError { address: config.listen, source };
        let local_addr = listeners[0].local_addr().map_err(named)?;
        let (sink, log_thread) = Sink::open(config.access_log, config.access_log_format)?;
        let proxy = Arc::new(Proxy::new(config.direction, config.endpoint, config.mutual_tls));
        Ok(Self { proxy, listeners, local_addr, sink, log_thread })
    }

    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Serves until the drain is forced: then every open session ends and leaves its line, as with an Envoy that gets
    /// SIGTERM. Returns when all lines are written.
    pub async fn serve(self, drain: Drain) {
        let workers: Vec<JoinHandle<()>> = self
            .listeners
            .into_iter()
            .enumerate()
            .map(|(index, listener)| {
                let (proxy, sink, drain) = (Arc::clone(&self.proxy), self.sink.clone(), drain.clone());
                let work = move || {
                    if let Err(error) = worker::run(&proxy, listener, sink, drain) {
                        tracing::error!("worker {index} could not start: {error}");
                    }
                };
                let thread = std::thread::Builder::new().name(format!("worker-{index}"));
                thread.spawn(work).expect("the system can start a thread")
            })
            .collect();
        drop(self.sink);
        let ended = tokio::task::spawn_blocking(move || {
            for worker in workers {
                // A worker that panicked has said so on standard error.
                let _ = worker.join();
            }
            let _ = self.log_thread.join();
        });
        // It ends with the threads, or is cut off with the whole process.
        let _ = ended.await;
    }
}
