//! The graceful drain (Envoy's `DrainManagerImpl`, strategy `Gradual`): over the drain time ever
//! more responses tell their peer to begin nothing new on this connection. The admin port closes
//! the listener afterwards.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// The drain of a sidecar, shared by all workers.
#[derive(Debug)]
pub(super) struct DrainManager {
    drain_time: Duration,
    started: OnceLock<Instant>,
}

impl DrainManager {
    pub(super) fn new(drain_time: Duration) -> Self {
        Self { drain_time, started: OnceLock::new() }
    }

    /// Starts the drain. `false` if it had started already.
    pub(super) fn start(&self) -> bool {
        self.started.set(Instant::now()).is_ok()
    }

    pub(super) fn drain_time(&self) -> Duration {
        self.drain_time
    }

    /// Whether the connection of the response that is about to be sent should take nothing new
    /// (`drainClose`).
    pub(super) fn drain_close(&self) -> bool {
        self.started.get().is_some_and(|started| {
            // A UUID is made of random bytes, which are good enough here.
            let random = uuid::Uuid::new_v4().as_u64_pair().1;
            drain_close(started.elapsed(), self.drain_time, random)
        })
    }
}

/// The probability is the part of the drain time that has gone by. Envoy counts in whole seconds,
/// begun ones included.
fn drain_close(elapsed: Duration, drain_time: Duration, random: u64) -> bool {
    let seconds = |time: Duration| time.as_secs() + u64::from(time.subsec_nanos() > 0);
    elapsed >= drain_time || seconds(elapsed) > random % seconds(drain_time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_probability_grows_with_each_second_to_certainty() {
        let drain_time = Duration::from_secs(5);
        for (elapsed, certain) in [(0, 0), (900, 1), (1100, 2), (3000, 3), (4999, 5), (5000, 5), (60_000, 5)]
        {
            let elapsed = Duration::from_millis(elapsed);
            let closing = (0..5).filter(|random| drain_close(elapsed, drain_time, *random)).count();
            assert_eq!(closing, certain, "after {elapsed:?}");
        }
    }

    #[test]
    fn nothing_drains_before_the_start_and_everything_with_no_drain_time() {
        let manager = DrainManager::new(Duration::ZERO);
        assert!(!manager.drain_close());
        assert!(manager.start());
        assert!(!manager.start());
        assert!(manager.drain_close());
    }
}
