//! What a stream has handed to `h2` and `h2` has not yet handed to the wire: the measure for backpressure, and the way
//! to know that a reset will not overtake data (`send_reset` throws queued DATA away).

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes};

use crate::net::Account;

/// A stream takes more data while less than this waits: enough to keep a fast connection busy between two turns of
/// its task, little enough that a stalled peer costs a bounded amount.
pub(super) const HIGH_WATERMARK: usize = 256 * 1024;

/// What a DATA frame costs inside `h2` besides its payload, roughly: many small ones are not to cost more than few large
/// ones.
const FRAME_COST: usize = 256;

/// Fewer bytes are copied rather than kept in pieces: a copy of them costs less than counting them does. Bulk comes in frames of
/// 16 KiB.
const KEEP_FROM: usize = 8 * 1024;

thread_local! {
    /// Of what `h2` was last given a slice. It hands slices on to the wire, which can keep their bytes without a copy
    /// if it finds out whose they are.
    static LENT: Cell<Bytes> = const { Cell::new(Bytes::new()) };
}

/// The bytes of `slice`, to be kept: without a copy if they are what an [`Outgoing`] has lent last and worth it.
pub(super) fn lent(slice: &[u8]) -> Option<Bytes> {
    if slice.len() < KEEP_FROM {
        return None;
    }
    let bytes = LENT.take();
    let (whole, part) = (bytes.as_ptr_range(), slice.as_ptr_range());
    (whole.start <= part.start && part.end <= whole.end).then(|| bytes.slice_ref(slice))
}

/// What `h2` still holds of one stream.
#[derive(Debug)]
pub(super) struct Outstanding {
    /// In bytes of memory.
    cost: Cell<usize>,
    waiting: RefCell<Option<Waker>>,
    /// Where it is charged.
    account: Rc<Account>,
}

impl Outstanding {
    pub(super) fn new(account: Rc<Account>) -> Self {
        Self { cost: Cell::default(), waiting: RefCell::default(), account }
    }

    pub(super) fn account(&self) -> &Rc<Account> {
        &self.account
    }

    /// Wraps data so that it is counted until `h2` lets go of it.
    pub(super) fn lease(self: &Rc<Self>, data: Bytes) -> Outgoing {
        let cost = data.len() + FRAME_COST;
        self.cost.set(self.cost.get() + cost);
        self.account.charge(cost);
        let lease = Lease { cost, outstanding: Rc::clone(self) };
        Outgoing { data, _lease: Some(lease) }
    }

    /// What it costs; 0 if there is nothing.
    pub(super) fn cost(&self) -> usize {
        self.cost.get()
    }

    /// Ready when there is room for more. One task at a time can wait.
    pub(super) fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_below(HIGH_WATERMARK, cx)
    }

    /// Ready when it costs less than `limit`. One task at a time can wait.
    pub(super) fn poll_below(&self, limit: usize, cx: &mut Context<'_>) -> Poll<()> {
        if self.cost.get() < limit {
            return Poll::Ready(());
        }
        let mut waiting = self.waiting.borrow_mut();
        if !waiting.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waiting = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

/// Counts as outstanding until it is dropped.
#[derive(Debug)]
struct Lease {
    cost: usize,
    outstanding: Rc<Outstanding>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        let outstanding = &self.outstanding;
        outstanding.cost.set(outstanding.cost.get() - self.cost);
        outstanding.account.credit(self.cost);
        // Not within the borrow: whom it wakes is not known here.
        let waiting = outstanding.waiting.take();
        if let Some(waker) = waiting {
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
        if self.data.len() >= KEEP_FROM {
            LENT.set(self.data.clone());
        }
        self.data.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.data.advance(count);
    }
}
