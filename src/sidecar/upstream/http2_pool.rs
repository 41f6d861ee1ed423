//! HTTP/2 connections of a cluster: one carries all streams until the peer's limit, then another is dialled, as Envoy
//! does (`h2` itself would queue).

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use http::Request;
use tokio::sync::oneshot;

use super::super::reset::Reset;
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
    /// Those who wait for the connection that is being dialled; `None` if none is.
    dialling: Option<Vec<oneshot::Sender<Result<StreamLease, Reset>>>>,
}

/// One connection that takes streams.
#[derive(Debug)]
struct Connection {
    client: RefCell<Client>,
    local_address: SocketAddr,
    active: Cell<usize>,
    most: usize,
}

impl Connection {
    fn has_room(&self) -> bool {
        self.active.get() < self.most.min(self.client.borrow().max_streams())
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
        connection.active.set(connection.active.get() + 1);
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
    ) -> Result<(Stream, AwaitedResponse), Reset> {
        self.connection.client.borrow_mut().open(request, end).map_err(|error| {
            // It has begun to drain (GOAWAY) or ended in between: no stream will be opened here again.
            self.pool.borrow_mut().forget(&self.connection);
            Reset::from(error)
        })
    }
}

impl Drop for StreamLease {
    fn drop(&mut self) {
        self.connection.active.set(self.connection.active.get() - 1);
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
    /// A stream on a connection with room, else on one that is being dialled, else on a new one. Dialling goes on when
    /// the one who asked for it goes away, since others may wait for it too.
    pub(super) async fn take<D, F>(
        &self,
        most_streams: usize,
        dial: F,
        cluster: &Arc<ClusterStats>,
    ) -> Result<StreamLease, Reset>
    where
        F: Future<Output = Result<Dialled<D>, Reset>> + 'static,
        D: Future<Output = ()> + 'static,
    {
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
                tokio::task::spawn_local(dial_for_all(Rc::clone(&self.state), most_streams, dial));
            }
            lease
        };
        let _pending = Active::begin(cluster, |stats| &stats.rq_pending);
        // The task that dials answers everyone; it is cut off only with the worker.
        lease.await.unwrap_or(Err(Reset::ConnectionTermination))
    }
}

async fn dial_for_all<D, F>(pool: Rc<RefCell<State>>, most_streams: usize, dial: F)
where
    F: Future<Output = Result<Dialled<D>, Reset>>,
    D: Future<Output = ()> + 'static,
{
    let outcome = dial.await;
    let waiting = pool.borrow_mut().dialling.take().unwrap_or_default();
    let dialled = match outcome {
        Ok(dialled) => dialled,
        Err(reset) => {
            for sender in waiting {
                // Who does not wait any more does not need to know.
                let _ = sender.send(Err(reset.clone()));
            }
            return;
        }
    };
    let connection = Rc::new(Connection {
        client: RefCell::new(dialled.client),
        local_address: dialled.local_address,
        active: Cell::new(0),
        most: most_streams,
    });
    pool.borrow_mut().connections.push(Rc::clone(&connection));
    for sender in waiting {
        // A lease that nobody takes is given back by being dropped.
        let _ = sender.send(Ok(StreamLease::new(&connection, &pool)));
    }
    let weak = Rc::downgrade(&connection);
    drop(connection);
    dialled.driver.await;
    if let Some(connection) = weak.upgrade() {
        pool.borrow_mut().forget(&connection);
    }
}
