//! Envoy's overload manager, with one resource and one action: the memory that streams hold for
//! peers that do not read, and `envoy.overload_actions.reset_high_memory_stream`. `net::Budget`
//! counts which stream holds how much.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::MissedTickBehavior;

use super::stats::{Active, OverloadStats};
use crate::net::{Budget, Watcher};

/// How much the streams of a sidecar may hold by default: sixteen that stall behind Envoy's window
/// of 16 MiB, or more than fifty with the smaller window of a strained budget, with their sockets.
pub const MAX_BUFFERED_BYTES: usize = 256 << 20;

/// The smallest share of a worker: two streams that stall behind such a window.
const MIN_SHARE: usize = 32 << 20;

/// The least time between two warnings of one kind.
const WARNING_INTERVAL: Duration = Duration::from_secs(1);

/// How many of `limit` bytes the streams of one worker may hold, if there are so many workers.
pub(super) fn share(limit: usize, workers: usize) -> usize {
    (limit / workers.max(1)).max(MIN_SHARE.min(limit))
}

/// The budget of a worker, whose events are counted and logged.
pub(super) fn budget(share: usize, stats: Arc<OverloadStats>) -> Rc<Budget> {
    Budget::new(share, OverloadManager { stats, share, ..OverloadManager::default() })
}

/// Reviews the budget as often as Envoy does by default (`refresh_interval`), for ever.
pub(super) async fn refresh(budget: Rc<Budget>) {
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        budget.review();
    }
}

/// Counts what happens to a budget, and logs it.
#[derive(Debug, Default)]
struct OverloadManager {
    stats: Arc<OverloadStats>,
    share: usize,
    strained: RefCell<Option<Active<OverloadStats>>>,
    /// When each warning was logged last.
    strain_logged: Cell<Option<Instant>>,
    resets_logged: Cell<Option<Instant>>,
    /// Streams that were reset since then.
    resets: Cell<u64>,
}

impl Watcher for OverloadManager {
    fn strained(&self, is_strained: bool, held: usize) {
        self.strained.replace(is_strained.then(|| Active::begin(&self.stats, |stats| &stats.strained)));
        if is_strained && is_time(&self.strain_logged) {
            tracing::warn!(
                "streams hold {} MiB for peers that do not read: until they do, streams have smaller windows and new ones \
                 another connection; beyond {} MiB those that hold most are reset",
                held >> 20,
                self.share >> 20
            );
        }
    }

    fn condemned(&self, held: usize) {
        self.stats.reset_high_memory_stream.increment();
        self.resets.update(|resets| resets + 1);
        if is_time(&self.resets_logged) {
            tracing::warn!(
                "streams cost more than {} MiB for peers that do not read: resetting one that holds most, {} KiB \
                 ({} since the last warning)",
                self.share >> 20,
                held >> 10,
                self.resets.take()
            );
        }
    }
}

/// Whether a warning may be logged again; if so, notes that it is.
fn is_time(logged: &Cell<Option<Instant>>) -> bool {
    let now = Instant::now();
    let is_time = logged.get().is_none_or(|last| now.duration_since(last) >= WARNING_INTERVAL);
    if is_time {
        logged.set(Some(now));
    }
    is_time
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_share_the_limit_and_each_can_bear_two_full_windows() {
        assert_eq!([1, 2, 8, 64].map(|workers| share(256 << 20, workers) >> 20), [256, 128, 32, 32]);
        assert_eq!(share(1 << 20, 4), 1 << 20, "a limit below that is a limit");
    }

    #[test]
    fn resets_and_strain_are_counted() {
        let stats = Arc::new(OverloadStats::default());
        let budget = budget(1 << 20, Arc::clone(&stats));
        let account = budget.open();
        account.charge(1 << 20);
        account.charge(1);
        assert_eq!(stats.reset_high_memory_stream.get(), 1);
        account.close();
    }
}
