//! A worker: one listener, one runtime, one thread, and the connections that the system gave this
//! listener.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{Notify, Semaphore, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::buffers::Buffers;
use super::rejection::Rejection;
use super::stats::Stats;
use super::{Config, connection};
use crate::net;

/// How long `/inemuri` makes the server unresponsive.
const INEMURI: Duration = Duration::from_secs(10);

/// What all workers have in common. Sessions touch it when they begin and end, and in between when
/// they hold memory and have to wait.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) config: Config,
    /// What each worker has counted.
    pub(super) stats: Vec<Arc<Stats>>,
    /// The sessions that are open.
    pub(super) sessions: TaskTracker,
    /// The places for sessions, where they are limited.
    pub(super) places: Option<Arc<Semaphore>>,
    /// What sessions hold.
    pub(super) buffers: Buffers,
    /// Asks every worker to be unresponsive.
    pub(super) inemuri: Notify,
    /// Cancelled when the process is to end at once.
    pub(super) seppuku: CancellationToken,
}

impl Shared {
    pub(super) fn new(config: Config) -> Self {
        Self {
            stats: std::iter::repeat_with(Arc::default).take(config.workers.get()).collect(),
            sessions: TaskTracker::new(),
            places: config.max_connections.map(|places| Arc::new(Semaphore::new(places))),
            buffers: Buffers::new(config.max_buffered_bytes),
            inemuri: Notify::new(),
            seppuku: CancellationToken::new(),
            config,
        }
    }
}

/// What the connections of a worker have in common.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) shared: Arc<Shared>,
    /// What this worker counts.
    pub(super) stats: Arc<Stats>,
    /// A token of the worker's own, so that looking at it takes no lock that other workers take.
    pub(super) draining: CancellationToken,
    /// Cancelled when a drain has seen the last session: whoever has not finished a request by then
    /// gets no answer.
    pub(super) closing: CancellationToken,
}

impl Worker {
    /// Counts an opening handshake that is refused.
    pub(super) fn reject(&self, rejection: Rejection) {
        tracing::debug!("rejected: {rejection}");
        self.stats.refuse(rejection.reason());
    }
}

/// Starts the worker of that number on a thread of its own. What it ends with comes over the
/// channel.
pub(super) fn start(
    number: usize,
    listener: std::net::TcpListener,
    shared: Arc<Shared>,
    graceful: CancellationToken,
    forced: CancellationToken,
) -> io::Result<oneshot::Receiver<io::Result<()>>> {
    let (ended, end) = oneshot::channel();
    std::thread::Builder::new().name("server-worker".to_owned()).spawn(move || {
        let outcome = net::serve_local(listener, async |listener| {
            let worker = Rc::new(Worker {
                stats: Arc::clone(&shared.stats[number]),
                draining: graceful.child_token(),
                closing: CancellationToken::new(),
                shared,
            });
            if worker.shared.config.test_routes {
                tokio::task::spawn_local(fall_asleep(Arc::clone(&worker.shared)));
            }
            let _ = forced.run_until_cancelled(serve(listener, worker)).await;
        });
        // The receiver is gone if the server's future was dropped.
        let _ = ended.send(outcome);
    })?;
    Ok(end)
}

/// Is unresponsive whenever it is asked to be: nothing moves on the worker's thread, no session and
/// no probe.
async fn fall_asleep(shared: Arc<Shared>) {
    loop {
        shared.inemuri.notified().await;
        std::thread::sleep(INEMURI);
    }
}

/// Accepts until a drain has seen the end of the last session, so that `/readyz` can be asked all
/// that time; then waits for what is left of the connections.
async fn serve(listener: TcpListener, worker: Rc<Worker>) {
    let connections = TaskTracker::new();
    let drained = async {
        worker.draining.cancelled().await;
        worker.shared.sessions.close();
        worker.shared.sessions.wait().await;
    };
    let accepting = net::accept_each(listener, |stream, peer| {
        connections.spawn_local(connection::serve(stream, peer, Rc::clone(&worker)));
    });
    tokio::select! {
        () = accepting => {}
        () = drained => {}
    }
    worker.closing.cancel();
    connections.close();
    connections.wait().await;
}
