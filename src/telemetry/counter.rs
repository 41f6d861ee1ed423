//! Counting without locks: each worker has counters of its own, and whoever wants the sum adds the
//! workers up.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that only grows. Written by its worker alone, read by anyone.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Counts one more.
    pub fn increment(&self) {
        self.add(1);
    }

    /// Counts so many more.
    pub fn add(&self, count: u64) {
        // One writer: a load and a store lose nothing, and cost no locked instruction.
        self.0.store(self.get() + count, Ordering::Relaxed);
    }

    /// How many there were.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
