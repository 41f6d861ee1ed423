//! What a run tells while it goes on. The runner emits, reporters listen; neither knows the other.

use std::time::Duration;

use super::judge::Verdict;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VerifyEvent {
    /// The run begins. All cases of all scenarios go side by side.
    Started {
        /// How many cases there are.
        cases: usize,
    },
    /// One case came to its end. Comes in any order.
    CaseFinished,
    /// A scenario is judged. Comes in the order in which the scenarios were asked for.
    Judged(Verdict),
    /// The run is over.
    Finished(Summary),
}

/// What the whole run came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// How many scenarios hold.
    pub held: usize,
    /// How many do not.
    pub failed: usize,
    /// How long it took.
    pub elapsed: Duration,
}

impl Summary {
    /// Whether everything was as expected.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.failed == 0
    }
}
