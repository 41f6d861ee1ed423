//! What a stream has handed to `h2` and `h2` has not yet handed to the wire: the measure for backpressure, and the way
//! to know that a reset will not overtake data (`send_reset` throws queued DATA away).

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes};

/// A stream takes more data while less than this waits: enough to keep a fast connection busy between two turns of
/// its task, little enough that a stalled peer costs a bounded amount.
pub(super) const HIGH_WATERMARK: usize = 256 * 1024;

/// The bytes of one stream that `h2` still holds.
#[derive(Debug, Default)]
pub(super) struct Outstanding {
    bytes: Cell<usize>,
    waiting: RefCell<Option<Waker>>,
}

impl Outstanding {
    /// Wraps data so that it is counted until `h2` lets go of it.
    pub(super) fn lease(self: &Rc<Self>, data: Bytes) -> Outgoing {
        self.bytes.set(self.bytes.get() + data.len());
        let lease = Lease { length: data.len(), outstanding: Rc::clone(self) };
        Outgoing { data, _lease: Some(lease) }
    }

    /// Ready when at most `most` bytes are outstanding. One task at a time can wait.
    pub(super) fn poll_at_most(&self, most: usize, cx: &mut Context<'_>) -> Poll<()> {
        if self.bytes.get() <= most {
            return Poll::Ready(());
        }
        let mut waiting = self.waiting.borrow_mut();
        if !waiting.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waiting = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

/// Counts `length` bytes as outstanding until it is dropped.
#[derive(Debug)]
struct Lease {
    length: usize,
    outstanding: Rc<Outstanding>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        let outstanding = &self.outstanding;
        outstanding.bytes.set(outstanding.bytes.get() - self.length);
        if let Some(waker) = outstanding.waiting.borrow_mut().take() {
            waker.wake();
        }
    }
}

/// The payload of one DATA frame on its way out.
#[derive(Debug)]
pub(super) struct Outgoing {
    data: Bytes,
    _lease: Option<Lease>,
}

impl Outgoing {
    /// No payload: a frame that only carries END_STREAM.
    pub(super) fn empty() -> Self {
        Self { data: Bytes::new(), _lease: None }
    }
}

impl Buf for Outgoing {
    fn remaining(&self) -> usize {
        self.data.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.data.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.data.advance(count);
    }
}
