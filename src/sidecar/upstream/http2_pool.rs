//! HTTP/2 connections of a cluster: one carries all streams until the peer's limit, then another is
//! dialled, as Envoy does (`h2` itself would queue). Another is dialled, too, while the streams of
//! one hold very much for peers that do not read.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::super::reset::UpstreamReset;
use super::super::stats::{Active, ClusterStats};
use crate::tunnel::{AwaitedResponse, Client, Stream};

/// The connections of one worker to the cluster's host.
#[derive(Debug, Default)]
pub(super) struct Http2Pool {
    state: Rc<RefCell<State>>,
}

#[derive(Debug, Default)]
struct State {
    connections: Vec<Rc<Connection>>,
    /// The requests that wait for the connection that is being dialled; `None` if none is.
    dialling: Option<Vec<oneshot::Sender<Outcome>>>,
}

/// The outcome of dialling for a request that waits; `None`: a connection, but no room left on it.
type Outcome = Result<Option<StreamLease>, UpstreamReset>;

/// One connection that takes streams.
#[derive(Debug)]
struct Connection {
    client: RefCell<Client>,
    local_address: SocketAddr,
    active: Cell<usize>,
    /// Told of every change of `active`.
    changed: Notify,
    max_streams: usize,
}

impl Connection {
    fn has_room(&self) -> bool {
        let client = self.client.borrow();
        self.active.get() < self.max_streams.min(client.max_streams()) && !client.is_strained()
    }

    fn set_active(&self, active: usize) {
        self.active.set(active);
        self.changed.notify_one();
    }

    /// Waits until the connection is to be closed: it was without a stream for `idle_timeout`, or
    /// its time is over and its last stream too (`max_connection_duration`: from then on it takes
    /// no new ones).
    async fn retired(self: Rc<Self>, lifetime: Lifetime, pool: &RefCell<State>) {
        let begun = Instant::now();
        let over = lifetime.max_connection_duration.map(|duration| begun + duration);
        loop {
            let idle =
                lifetime.idle_timeout.filter(|_| self.active.get() == 0).map(|idle| Instant::now() + idle);
            tokio::select! {
                () = self.changed.notified() => {}
                () = until(idle) => return,
                () = until(over) => break,
            }
        }
        pool.borrow_mut().forget(&self);
        while self.active.get() > 0 {
            self.changed.notified().await;
        }
    }
}

/// How long the connections of a cluster live; `None` is forever.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lifetime {
    pub(super) idle_timeout: Option<Duration>,
    pub(super) max_connection_duration: Option<Duration>,
}

/// `None` never comes.
async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// The right to one stream on a connection; given back when dropped.
#[derive(Debug)]
pub(in crate::sidecar) struct StreamLease {
    connection: Rc<Connection>,
    pool: Rc<RefCell<State>>,
}

impl StreamLease {
    fn new(connection: &Rc<Connection>, pool: &Rc<RefCell<State>>) -> Self {
        connection.set_active(connection.active.get() + 1);
        Self { connection: Rc::clone(connection), pool: Rc::clone(pool) }
    }

    pub(super) fn local_address(&self) -> SocketAddr {
        self.connection.local_address
    }

    /// Opens the stream.
    pub(super) fn open(
        &mut self,
        request: Request<()>,
        end: bool,
    ) -> Result<(Stream, AwaitedResponse), UpstreamReset> {
        self.connection.client.borrow_mut().open(request, end).map_err(|error| {
            // It has begun to drain (GOAWAY) or ended in between: no stream will be opened here
            // again.
            self.pool.borrow_mut().forget(&self.connection);
            UpstreamReset::from(error)
        })
    }
}

impl Drop for StreamLease {
    fn drop(&mut self) {
        self.connection.set_active(self.connection.active.get() - 1);
    }
}

impl State {
    fn forget(&mut self, connection: &Rc<Connection>) {
        self.connections.retain(|candidate| !Rc::ptr_eq(candidate, connection));
    }
}

/// A connection that has just been opened, and what has to run for anything on it to move.
pub(super) struct Dialled<D> {
    pub(super) client: Client,
    pub(super) local_address: SocketAddr,
    pub(super) driver: D,
}

impl Http2Pool {
    /// A stream on a connection with room, else on one that is being dialled, else on a new one.
    /// Dialling goes on when the request that caused it is cancelled, since others may wait for it
    /// too.
    pub(super) async fn take<D, F>(
        &self,
        max_streams: usize,
        lifetime: Lifetime,
        dial: impl Fn() -> F,
        cluster: &Arc<ClusterStats>,
    ) -> Result<StreamLease, UpstreamReset>
    where
        F: Future<Output = Result<Dialled<D>, UpstreamReset>> + 'static,
        D: Future<Output = ()> + 'static,
    {
        loop {
            let lease = {
                let mut state = self.state.borrow_mut();
                // One that drains (GOAWAY) keeps its open streams, which hold it.
                state.connections.retain(|connection| connection.client.borrow().is_open());
                if let Some(connection) = state.connections.iter().find(|connection| connection.has_room()) {
                    return Ok(StreamLease::new(connection, &self.state));
                }
                let (sender, lease) = oneshot::channel();
                if let Some(waiting) = &mut state.dialling {
                    waiting.push(sender);
                } else {
                    state.dialling = Some(vec![sender]);
                    let pool = Rc::clone(&self.state);
                    tokio::task::spawn_local(dial_for_all(pool, max_streams, lifetime, dial()));
                }
                lease
            };
            let _pending = Active::begin(cluster, |stats| &stats.rq_pending);
            // The task that dials answers everyone; it is cut off only with the worker.
            if let Some(lease) = lease.await.unwrap_or(Err(UpstreamReset::ConnectionTermination))? {
                return Ok(lease);
            }
        }
    }
}

async fn dial_for_all<D, F>(pool: Rc<RefCell<State>>, max_streams: usize, lifetime: Lifetime, dial: F)
where
    F: Future<Output = Result<Dialled<D>, UpstreamReset>>,
    D: Future<Output = ()> + 'static,
{
    let outcome = dial.await;
    let waiting = pool.borrow_mut().dialling.take().unwrap_or_default();
    let dialled = match outcome {
        Ok(dialled) => dialled,
        Err(reset) => {
            for sender in waiting {
                // A request that does not wait any more does not need to know.
                let _ = sender.send(Err(reset.clone()));
            }
            return;
        }
    };
    let connection = Rc::new(Connection {
        client: RefCell::new(dialled.client),
        local_address: dialled.local_address,
        active: Cell::new(0),
        changed: Notify::new(),
        max_streams,
    });
    pool.borrow_mut().connections.push(Rc::clone(&connection));
    for sender in waiting {
        // A request that finds no room has to dial again. A lease that is not taken is given back
        // by being dropped.
        let _ = sender.send(Ok(connection.has_room().then(|| StreamLease::new(&connection, &pool))));
    }
    tokio::select! {
        // Nothing is flushed any more then: the peer sees the end of the connection alone, as with
        // Envoy.
        biased;
        () = Rc::clone(&connection).retired(lifetime, &pool) => {}
        () = dialled.driver => {}
    }
    pool.borrow_mut().forget(&connection);
}
