//! What judging comes to, as data: a [`Check`] for everything that was looked at.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::access_log::explain::Explanation;
use crate::verify::expect::{FieldRef, Side};
use crate::yaml::Place;

/// What a scenario came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The scenario's name.
    pub scenario: String,
    /// Its file; none of a built-in one.
    pub file: Option<PathBuf>,
    /// How long it took.
    pub elapsed: Duration,
    /// The scenario itself and its variants, as far as they were run.
    pub cases: Vec<CaseVerdict>,
    /// Why it is not judged to be right, though everything may be as expected; none: it is.
    pub reservations: Vec<Reservation>,
}

/// What can be said of a scenario; of several the worst, which is the last of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// Everything was as expected.
    Ok,
    /// Everything that was looked at was as expected, and that is not all that decides.
    NotJudged,
    /// Something was not as expected.
    Failed,
}

/// Something that decides about sessions and was not looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    /// The place in a document that says it; none where that is no document.
    pub place: Option<Place>,
    /// What was not looked at.
    pub message: String,
    /// What it is called, as a finding of `lint` if it is one.
    pub code: &'static str,
    /// What to do about it.
    pub fix: Cow<'static, str>,
}

impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Ok => "ok",
            Self::NotJudged => "not judged",
            Self::Failed => "failed",
        })
    }
}

impl Reservation {
    /// What it is called and where it is, in a few words.
    #[must_use]
    pub fn name(&self) -> String {
        match &self.place {
            Some(place) => format!("{} ({place})", self.code),
            None => self.code.to_owned(),
        }
    }
}

impl fmt::Display for Reservation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(formatter, "{place}: ")?;
        }
        write!(formatter, "{} [{}]", self.message, self.code)
    }
}

/// What one case of a scenario came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaseVerdict {
    /// What the case is called beside the scenario's other variants.
    pub label: Option<String>,
    /// How long it took.
    pub elapsed: Duration,
    /// Everything that was looked at.
    pub checks: Vec<Check>,
    /// The fields that decided it, with what they said.
    pub decided_by: Vec<Evidence>,
}

/// One expectation and what was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What it is about.
    pub subject: Subject,
    /// The key of the line, or the step of the session.
    pub field: String,
    /// What was expected, in words.
    pub expected: String,
    /// What was found, in words.
    pub actual: String,
    /// Whether they agree.
    pub holds: bool,
    /// The request id of the session, if it is about one that has it.
    pub request_id: Option<String>,
    /// The line it was read from.
    pub line: Option<String>,
    /// What that line means, with the other side's if it is there; of a failed check alone.
    pub explanation: Option<Explanation>,
    /// The line of the scenario's file that expects it.
    pub at: Option<u64>,
}

/// What a check is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// What the client saw.
    Session,
    /// What was found in the documents of the sessions.
    Documents,
    /// What a sidecar wrote.
    Log(Side),
}

impl fmt::Display for Subject {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Session => formatter.write_str("session"),
            Self::Documents => formatter.write_str("documents"),
            Self::Log(side) => side.fmt(formatter),
        }
    }
}

/// A field with the values that it had, each once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// The field.
    pub field: FieldRef,
    /// Its values, in words.
    pub values: BTreeSet<String>,
    /// In how many lines.
    pub lines: usize,
}

impl Verdict {
    /// What the scenario came to: what failed counts more than what was not looked at.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        if !self.cases.iter().all(CaseVerdict::holds) {
            Outcome::Failed
        } else if self.reservations.is_empty() {
            Outcome::Ok
        } else {
            Outcome::NotJudged
        }
    }
}

impl CaseVerdict {
    /// Whether everything was as expected.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.failed().next().is_none()
    }

    /// The same, called `name` beside what others made of the same case.
    #[must_use]
    pub fn named(self, name: &str) -> Self {
        let label = match &self.label {
            Some(label) => format!("{label}, {name}"),
            None => name.to_owned(),
        };
        Self { label: Some(label), ..self }
    }

    /// The checks that do not hold.
    pub fn failed(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(|check| !check.holds)
    }
}
