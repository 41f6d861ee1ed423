//! HTTP/1.1 connections of a cluster that wait for their next request.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use super::super::http1::Http1;

/// The idle connections of one worker. The last one used is the first used again.
#[derive(Debug, Default)]
pub(super) struct Http1Pool {
    idle: Rc<RefCell<Vec<Rc<Idle>>>>,
}

/// An idle connection, and the task that watches it.
#[derive(Debug)]
struct Idle {
    connection: RefCell<Option<(Box<Http1>, SocketAddr)>>,
    watcher: RefCell<Option<Waker>>,
}

impl Http1Pool {
    /// A connection that was still open a moment ago.
    pub(super) fn take(&self) -> Option<(Box<Http1>, SocketAddr)> {
        let idle = self.idle.borrow_mut().pop()?;
        if let Some(watcher) = idle.watcher.borrow_mut().take() {
            watcher.wake();
        }
        idle.connection.borrow_mut().take()
    }

    /// Keeps a connection until it is taken, its peer closes it, or for `timeout`.
    pub(super) fn keep(&self, connection: (Box<Http1>, SocketAddr), timeout: Option<Duration>) {
        let idle = Rc::new(Idle { connection: RefCell::new(Some(connection)), watcher: RefCell::new(None) });
        self.idle.borrow_mut().push(Rc::clone(&idle));
        let pool = Rc::downgrade(&self.idle);
        tokio::task::spawn_local(async move {
            let ended = std::future::poll_fn(|cx| {
                let mut connection = idle.connection.borrow_mut();
                let Some((connection, _)) = &mut *connection else { return Poll::Ready(()) };
                *idle.watcher.borrow_mut() = Some(cx.waker().clone());
                // Bytes without a request make a connection as useless as its end does.
                match connection.poll_closed(cx) {
                    Poll::Pending if connection.has_read_ahead() => Poll::Ready(()),
                    other => other,
                }
            });
            match timeout {
                // Either way it is not to be used any more.
                Some(timeout) => drop(tokio::time::timeout(timeout, ended).await),
                None => ended.await,
            }
            if let Some(pool) = pool.upgrade() {
                pool.borrow_mut().retain(|candidate| !Rc::ptr_eq(candidate, &idle));
            }
        });
    }
}
