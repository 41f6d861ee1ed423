//! What sessions hold of messages in memory, and the bound of all of it together
//! (`--max-buffered-bytes`).
//!
//! A session holds what it has read of a message that is not whole, what it has read ahead, and
//! answers that its peer does not take. It is counted whenever the session has to wait, so one that
//! answers at once never touches what the workers share.
//!
//! At the bound a session whose message has come in part is not read from until there is room.
//! Sessions that wait for each other would wait for ever, and so would all of them for a peer that
//! never moves: one that holds memory at the bound, and neither reads nor writes for five seconds,
//! is ended, whatever it waits for. So there is room again after that time at the latest. Sessions
//! with short messages ([`FREE`]) are left alone.

use std::cell::Cell;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;
use tokio::time::{Instant, Sleep};

use super::stats;

/// A session that holds no more than this is read from and kept at the bound, too: a session that
/// echoes short messages needs no more.
const FREE: usize = 16 * 1024;

/// A message that grows without a pause is counted in steps of this.
pub(super) const STEP: usize = 64 * 1024;

/// How often a session is looked at that holds memory. An idle session has given its buffers back
/// after this time.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// After so many looks at a session that has not moved it is ended, if the bound is reached.
const STALLED_LOOKS: u32 = 5;

/// What the sessions of all workers hold together.
#[derive(Debug)]
pub(super) struct Buffers {
    limit: usize,
    held: AtomicUsize,
    /// Told when there is room again.
    room: Arc<Notify>,
}

impl Buffers {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, held: AtomicUsize::new(0), room: Arc::default() }
    }

    /// How many bytes are held.
    pub(super) fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// How many bytes may be held.
    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// Whether no session is to take more.
    pub(super) fn is_full(&self) -> bool {
        self.held() >= self.limit
    }

    /// Changes the sum: a session held `before` bytes and holds `now`.
    fn change(&self, before: usize, now: usize) {
        if now >= before {
            self.held.fetch_add(now - before, Ordering::Relaxed);
            return;
        }
        let given_back = before - now;
        let all_before = self.held.fetch_sub(given_back, Ordering::Relaxed);
        if all_before >= self.limit && all_before - given_back < self.limit {
            self.room.notify_waiters();
        }
    }
}

/// A session is to be ended, so that others go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stalled {
    /// Whether a part of an answer has left: no Close can follow it.
    pub(super) is_amid_answer: bool,
}

/// What one session holds.
#[derive(Debug)]
pub(super) struct Ledger<'s> {
    buffers: &'s Buffers,
    stats: &'s stats::OpenSession<'s>,
    /// Bytes that were read of a message that is not whole.
    pub(super) arriving: Cell<usize>,
    /// Bytes that were read ahead, and those that the stream beneath holds.
    pub(super) beneath: Cell<usize>,
    /// Bytes of answers that wait to be written.
    pub(super) leaving: Cell<usize>,
    /// How many bytes of that are counted in the sum over all sessions.
    counted: Cell<usize>,
    /// Whether anything was read or written since the session was looked at.
    has_moved: Cell<bool>,
    /// How often it was looked at since it moved.
    looks: Cell<u32>,
    /// Whether buffers have grown beyond what an idle session is to hold.
    pub(super) has_outgrown: Cell<bool>,
    /// Whether they are to be given back, once nothing is in them.
    is_to_shrink: Cell<bool>,
}

impl<'s> Ledger<'s> {
    pub(super) fn new(buffers: &'s Buffers, stats: &'s stats::OpenSession<'s>) -> Self {
        Self {
            buffers,
            stats,
            arriving: Cell::default(),
            beneath: Cell::default(),
            leaving: Cell::default(),
            counted: Cell::default(),
            has_moved: Cell::default(),
            looks: Cell::default(),
            has_outgrown: Cell::default(),
            is_to_shrink: Cell::default(),
        }
    }

    /// Notes that bytes were read or written.
    pub(super) fn note_move(&self) {
        self.has_moved.set(true);
    }

    /// Counts what the session holds.
    pub(super) fn settle(&self) {
        let now = self.arriving.get() + self.beneath.get() + self.leaving.get();
        let before = self.counted.replace(now);
        if now != before {
            self.buffers.change(before, now);
        }
    }

    /// The buffers are new.
    pub(super) fn note_shrunk(&self) {
        self.has_outgrown.set(false);
        self.is_to_shrink.set(false);
    }

    /// Whether buffers are to be given back now.
    pub(super) fn is_to_shrink(&self) -> bool {
        self.is_to_shrink.get()
    }

    /// Whether more of a message may not be read, because the others hold too much.
    fn has_to_wait(&self) -> bool {
        if self.arriving.get() <= FREE {
            return false;
        }
        if self.arriving.get() >= self.counted.get() + STEP {
            self.settle();
        }
        // A session that is alone is bounded by the limit on messages.
        self.buffers.is_full() && self.buffers.held() > self.counted.get()
    }

    /// Ready when more of a message may be read.
    pub(super) fn poll_room(&self, waiting: &mut Waiting, cx: &mut Context<'_>) -> Poll<()> {
        while self.has_to_wait() {
            if waiting.0.is_none() {
                self.stats.waits_for_room();
                let mut told = Box::pin(Arc::clone(&self.buffers.room).notified_owned());
                told.as_mut().enable();
                waiting.0 = Some(told);
                // There may have been room since.
                continue;
            }
            let Some(told) = &mut waiting.0 else { break };
            std::task::ready!(told.as_mut().poll(cx));
            waiting.0 = None;
        }
        waiting.0 = None;
        Poll::Ready(())
    }

    /// Runs a session and looks at what it holds, as long as it holds anything.
    pub(super) async fn watch<F: Future>(&self, mut session: Pin<&mut F>) -> Result<F::Output, Stalled> {
        let mut clock: Option<Pin<Box<Sleep>>> = None;
        std::future::poll_fn(|cx| {
            loop {
                if let Poll::Ready(ended) = session.as_mut().poll(cx) {
                    return Poll::Ready(Ok(ended));
                }
                self.settle();
                if self.counted.get() <= FREE && !self.has_outgrown.get() {
                    clock = None;
                    return Poll::Pending;
                }
                let clock = clock.get_or_insert_with(|| Box::pin(tokio::time::sleep(LOOK_EVERY)));
                std::task::ready!(clock.as_mut().poll(cx));
                clock.as_mut().reset(Instant::now() + LOOK_EVERY);
                if self.look() {
                    self.stats.was_ended_for_room();
                    return Poll::Ready(Err(Stalled { is_amid_answer: self.leaving.get() > 0 }));
                }
            }
        })
        .await
    }

    /// Has an idle session give its buffers back. Returns whether the session has to end.
    fn look(&self) -> bool {
        if self.has_moved.take() {
            self.looks.set(0);
            return false;
        }
        self.looks.update(|looks| looks + 1);
        self.is_to_shrink.set(self.has_outgrown.get() && self.counted.get() == 0);
        self.counted.get() > FREE && self.looks.get() >= STALLED_LOOKS && self.buffers.is_full()
    }
}

impl Drop for Ledger<'_> {
    fn drop(&mut self) {
        self.buffers.change(self.counted.get(), 0);
    }
}

/// How a session waits for room.
#[derive(Debug, Default)]
pub(super) struct Waiting(Option<Pin<Box<OwnedNotified>>>);
