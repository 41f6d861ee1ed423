//! What the server counts. Every worker counts for itself, with plain stores that nobody else
//! writes to and no lock; `metrics` adds the workers up when it is asked.

use std::cell::Cell;
use std::time::{Duration, Instant};

use http::Version;

use super::rejection::RejectionReason;
use crate::telemetry::Counter;
use crate::websocket::close_code::ABNORMAL_CLOSURE;

/// The upper ends of the histogram's buckets, in seconds: from the length of a request to a working
/// day.
pub(super) const BUCKETS: [f64; 12] =
    [0.01, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 28_800.0];

/// The close codes that there can be (RFC 6455 section 7.4).
const FIRST_CODE: u16 = 1000;
const CODES: usize = 4000;

/// What one worker counts. Aligned so that no two workers write to one cache line (128 bytes: x86
/// fetches lines in pairs).
#[derive(Debug)]
#[repr(align(128))]
pub(super) struct Stats {
    pub(super) received: Traffic,
    pub(super) sent: Traffic,
    /// Sessions over HTTP/1.1, and over HTTP/2.
    pub(super) sessions: [Counter; 2],
    pub(super) ended: Counter,
    pub(super) lasted_microseconds: Counter,
    /// Sessions by how long they lasted; the last is for those that lasted longer than all buckets.
    pub(super) lasted: [Counter; BUCKETS.len() + 1],
    /// How often a session was not read from because all of them held too much, and how many were
    /// ended for it.
    pub(super) waits_for_room: Counter,
    pub(super) ended_for_room: Counter,
    closes: Box<[Counter]>,
    refusals: [Counter; RejectionReason::ALL.len()],
}

/// Messages in one direction, and the bytes of their payloads.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    pub(super) messages: Counter,
    pub(super) bytes: Counter,
}

impl Traffic {
    fn count(&self, length: usize) {
        self.messages.increment();
        self.bytes.add(length as u64);
    }
}

impl Default for Stats {
    fn default() -> Self {
        Self {
            received: Traffic::default(),
            sent: Traffic::default(),
            sessions: Default::default(),
            ended: Counter::default(),
            lasted_microseconds: Counter::default(),
            lasted: Default::default(),
            waits_for_room: Counter::default(),
            ended_for_room: Counter::default(),
            closes: std::iter::repeat_with(Counter::default).take(CODES).collect(),
            refusals: Default::default(),
        }
    }
}

impl Stats {
    /// Counts a session from here to the drop of what is returned.
    pub(super) fn open(&self, version: Version) -> OpenSession<'_> {
        self.sessions[usize::from(version == Version::HTTP_2)].increment();
        OpenSession { stats: self, since: Instant::now(), code: Cell::new(ABNORMAL_CLOSURE) }
    }

    /// Counts an opening handshake that was refused.
    pub(super) fn refuse(&self, reason: RejectionReason) {
        self.refusals[reason as usize].increment();
    }

    /// How many there were for this reason.
    pub(super) fn refused(&self, reason: RejectionReason) -> u64 {
        self.refusals[reason as usize].get()
    }

    /// The close codes that there were, each with how many sessions it ended.
    pub(super) fn closes(&self) -> impl Iterator<Item = (u16, u64)> {
        (FIRST_CODE..)
            .zip(&self.closes)
            .map(|(code, counter)| (code, counter.get()))
            .filter(|(_, count)| *count > 0)
    }
}

/// A session that is open.
#[derive(Debug)]
pub(super) struct OpenSession<'s> {
    stats: &'s Stats,
    since: Instant,
    code: Cell<u16>,
}

impl OpenSession<'_> {
    /// A message came.
    pub(super) fn received(&self, length: usize) {
        self.stats.received.count(length);
    }

    /// A message went.
    pub(super) fn sent(&self, length: usize) {
        self.stats.sent.count(length);
    }

    /// It is not read from until there is room for what it sends.
    pub(super) fn waits_for_room(&self) {
        self.stats.waits_for_room.increment();
    }

    /// It is ended so that there is room for others.
    pub(super) fn was_ended_for_room(&self) {
        self.stats.ended_for_room.increment();
    }

    /// The session ends with this code, the first that either side said; without one it ends
    /// abnormally.
    pub(super) fn closes_with(&self, code: u16) {
        if self.code.get() == ABNORMAL_CLOSURE {
            self.code.set(code);
        }
    }
}

impl Drop for OpenSession<'_> {
    fn drop(&mut self) {
        let lasted: Duration = self.since.elapsed();
        let bucket = BUCKETS.iter().position(|end| lasted.as_secs_f64() <= *end).unwrap_or(BUCKETS.len());
        self.stats.lasted[bucket].increment();
        self.stats.lasted_microseconds.add(u64::try_from(lasted.as_micros()).unwrap_or(0));
        // A peer may send a code that is not in the table.
        if let Some(counter) = self.stats.closes.get(usize::from(self.code.get().wrapping_sub(FIRST_CODE))) {
            counter.increment();
        }
        self.stats.ended.increment();
    }
}
