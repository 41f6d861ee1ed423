//! What a run tells while it goes on. The runner emits, reporters listen; neither knows the other.

use std::time::Duration;

use super::judge::{Outcome, Verdict};

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
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// How many scenarios hold.
    pub held: usize,
    /// How many do not.
    pub failed: usize,
    /// How many hold as far as they were looked at, which is not all that decides.
    pub not_judged: usize,
    /// How many findings in the documents are allowed.
    pub allowed_findings: usize,
    /// How long it took.
    pub elapsed: Duration,
}

impl Summary {
    /// Takes note of one more verdict.
    pub fn count(&mut self, verdict: &Verdict) {
        let counted = match verdict.outcome() {
            Outcome::Ok => &mut self.held,
            Outcome::NotJudged => &mut self.not_judged,
            Outcome::Failed => &mut self.failed,
        };
        *counted += 1;
    }

    /// The worst of what the scenarios came to.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        match self {
            Self { failed: 1.., .. } => Outcome::Failed,
            Self { not_judged: 1.., .. } => Outcome::NotJudged,
            _ => Outcome::Ok,
        }
    }

    /// `2 ok, 1 failed, 1 not judged, 3 findings allowed`: all but the first only where there are
    /// any.
    #[must_use]
    pub fn in_words(&self) -> String {
        let counted = |count: usize, outcome: Outcome| (count > 0).then(|| format!(", {count} {outcome}"));
        let [failed, not_judged] = [(self.failed, Outcome::Failed), (self.not_judged, Outcome::NotJudged)]
            .map(|(count, outcome)| counted(count, outcome).unwrap_or_default());
        let allowed = match self.allowed_findings {
            0 => String::new(),
            1 => ", 1 finding allowed".to_owned(),
            many => format!(", {many} findings allowed"),
        };
        format!("{} {}{failed}{not_judged}{allowed}", self.held, Outcome::Ok)
    }
}
