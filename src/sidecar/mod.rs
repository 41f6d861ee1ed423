//! One proxy of the road: what a sidecar Envoy, or a gateway, does with HTTP and WebSocket traffic, as
//! Istio configures it.
//!
//! The straight path of a stream: `listener` accepts a connection, `downstream` decodes a request,
//! `stream` finds its route, `attempts` opens the `upstream`, `relay` copies bytes both ways
//! between these two halves, and the record of the stream becomes its one line.

mod admin;
mod attempts;
mod config;
mod connection_info;
mod downstream;
mod downstream_tasks;
mod drain_manager;
mod edge;
mod filter_chain;
mod half;
mod headers;
mod http1;
mod listener;
mod overload;
mod path;
mod relay;
mod reset;
mod route_fields;
mod routes;
mod socket;
mod stats;
mod stream;
mod timers;
mod upstream;

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub use config::{Config, Direction, Endpoints};
pub use overload::MAX_BUFFERED_BYTES;

use crate::access_log::{Reopen, Sink, SinkError, Writer};
use crate::drain::Drain;
use crate::net::{self, BindError};
use crate::tls::CredentialsError;
use admin::Admin;
use config::Proxy;
use stats::WorkerStats;

/// How long the end waits for whoever reads the access log from a pipe: as long as a drain takes by
/// default, well within what Kubernetes leaves a container (`terminationGracePeriodSeconds`, 30).
const LOG_FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

/// A sidecar could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The listener or the admin port.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The access log.
    #[error(transparent)]
    AccessLog(#[from] SinkError),
    /// The certificates of a gateway.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
}

/// A sidecar or gateway that is bound and has not accepted anything yet.
#[derive(Debug)]
pub struct Sidecar {
    proxy: Arc<Proxy>,
    /// For each worker, one for each listener.
    listeners: Vec<Vec<std::net::TcpListener>>,
    local_addrs: Vec<SocketAddr>,
    stats: Vec<Arc<WorkerStats>>,
    admin: Option<AdminPort>,
    sink: Sink,
    log_writer: Writer,
}

/// The admin port, bound.
#[derive(Debug)]
struct AdminPort {
    listener: std::net::TcpListener,
    local_addr: SocketAddr,
    stat_prefix: String,
    config_dump: serde_json::Value,
    inbound: bool,
}

impl AdminPort {
    fn bind(address: SocketAddr, config: &Config) -> Result<Self, BindError> {
        let listener = net::listen(address, 1)?.remove(0);
        let local_addr = listener.local_addr().map_err(|source| BindError { address, source })?;
        Ok(Self {
            listener,
            local_addr,
            stat_prefix: config.stat_prefix(),
            config_dump: config.dump(),
            inbound: matches!(config.direction, Direction::Inbound { .. }),
        })
    }
}

impl Sidecar {
    /// Opens the access log, the listeners and the admin port.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn bind(config: Config) -> Result<Self, StartError> {
        let workers = config.concurrency.max(1);
        let mut listeners: Vec<Vec<std::net::TcpListener>> = (0..workers).map(|_| Vec::new()).collect();
        let mut local_addrs = Vec::new();
        for address in config.addresses() {
            let bound = net::listen(address, workers)?;
            let named = |source| BindError { address, source };
            local_addrs.push(bound[0].local_addr().map_err(named)?);
            for (worker, listener) in listeners.iter_mut().zip(bound) {
                worker.push(listener);
            }
        }
        let admin = config.admin.map(|address| AdminPort::bind(address, &config)).transpose()?;
        let (sink, log_writer) = Sink::open(config.access_log.clone(), config.access_log_format)?;
        let proxy = Arc::new(Proxy::new(config)?);
        let stats = listeners.iter().map(|_| Arc::new(WorkerStats::new(proxy.virtual_hosts()))).collect();
        Ok(Self { proxy, listeners, local_addrs, stats, admin, sink, log_writer })
    }

    /// Where a sidecar listens, and a gateway first.
    ///
    /// # Panics
    /// If there is no listener.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addrs[0]
    }

    /// Where it listens, in the order of its listeners.
    #[must_use]
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.local_addrs
    }

    /// Where its admin port is, if it has one.
    #[must_use]
    pub fn admin_addr(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(|admin| admin.local_addr)
    }

    /// The way to have the access log's file opened again.
    #[must_use]
    pub fn access_log(&self) -> Reopen {
        self.sink.reopener()
    }

    /// Serves until the drain is forced: then every open session ends and leaves its line, as with
    /// an Envoy that gets SIGTERM. Returns when all lines are written.
    ///
    /// # Panics
    /// If the system can start no thread.
    pub async fn serve(self, drain: Drain) {
        let admin = self.admin.map(|port| {
            let admin = Admin {
                workers: self.stats.clone(),
                stat_prefix: port.stat_prefix,
                config_dump: port.config_dump,
                drain_manager: Arc::clone(&self.proxy.drain_manager),
                inbound: port.inbound,
                access_log: self.sink.reopener(),
                drain: drain.clone(),
                started: Instant::now(),
            };
            start_thread("admin".into(), move || {
                if let Err(error) = admin::run(admin, port.listener) {
                    tracing::error!("the admin port could not start: {error}");
                }
            })
        });
        let workers = self.listeners.into_iter().zip(self.stats).enumerate();
        let threads: Vec<JoinHandle<()>> = workers
            .map(|(index, (listeners, stats))| {
                let (proxy, sink, drain) = (Arc::clone(&self.proxy), self.sink.clone(), drain.clone());
                start_thread(format!("worker-{index}"), move || {
                    if let Err(error) = listener::run(&proxy, &stats, listeners, &sink, &drain) {
                        tracing::error!("worker {index} could not start: {error}");
                    }
                })
            })
            .chain(admin)
            .collect();
        drop(self.sink);
        let ended = tokio::task::spawn_blocking(move || {
            for thread in threads {
                // A thread that panicked has written so to standard error.
                let _ = thread.join();
            }
            if !self.log_writer.wait(LOG_FLUSH_TIMEOUT) {
                tracing::error!("nobody reads the access log: its last lines are lost");
            }
        });
        // It ends with the threads, or is cut off with the whole process.
        let _ = ended.await;
    }
}

fn start_thread(name: String, work: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    std::thread::Builder::new().name(name).spawn(work).expect("the system can start a thread")
}

#[cfg(test)]
mod tests;
