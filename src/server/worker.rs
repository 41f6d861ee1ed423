//! A worker: one listener, one runtime, one thread, and the connections that the system gave this listener.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Config, connection};
use crate::net;

/// How long accepting pauses after an error. Such an error (no file descriptor left) lasts until a connection ends, and
/// without a pause it would be met again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What the connections of a worker have in common.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) config: Config,
    /// A token of the worker's own, so that looking at it takes no lock that other workers take.
    pub(super) draining: CancellationToken,
}

/// Starts a worker on a thread of its own. What it ends with comes over the channel.
pub(super) fn start(
    listener: std::net::TcpListener,
    config: Config,
    graceful: CancellationToken,
    forced: CancellationToken,
) -> io::Result<oneshot::Receiver<io::Result<()>>> {
    let (ended, end) = oneshot::channel();
    std::thread::Builder::new().name("server-worker".to_owned()).spawn(move || {
        let outcome = Builder::new_current_thread()
            .enable_all()
            .build_local(LocalOptions::default())
            .and_then(|runtime| {
                runtime.block_on(async {
                    let listener = TcpListener::from_std(listener)?;
                    let worker = Rc::new(Worker { config, draining: graceful.child_token() });
                    let _ = forced.run_until_cancelled(serve(listener, worker)).await;
                    Ok(())
                })
            });
        // Nobody listens any more if the server's future was dropped.
        let _ = ended.send(outcome);
    })?;
    Ok(end)
}

/// Accepts until the drain, then waits for the connections.
async fn serve(listener: TcpListener, worker: Rc<Worker>) {
    let connections = TaskTracker::new();
    let _ = worker.draining.run_until_cancelled(accept(listener, &worker, &connections)).await;
    connections.close();
    connections.wait().await;
}

/// Accepts for ever. The listener closes with this future.
async fn accept(listener: TcpListener, worker: &Rc<Worker>, connections: &TaskTracker) {
    loop {
        match net::accept(&listener).await {
            Ok((stream, _)) => {
                connections.spawn_local(connection::serve(stream, Rc::clone(worker)));
            }
            Err(error) => {
                tracing::warn!("accept: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
