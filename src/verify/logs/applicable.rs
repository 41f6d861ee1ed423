//! What can be judged of logs from elsewhere: what was typed, and as much of what scenarios expect
//! as can be said of lines that no run of this program left.

use std::fmt;

use super::{LogsConfig, LogsError};
use crate::verify::expect::{Across, Expectations, FieldRef, Side};
use crate::verify::judge::Assertion;
use crate::yaml::Placed;

/// An expectation of a scenario that is left out, and why.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum NotJudged {
    /// It speaks of what only a run knows, as how many lines there are.
    OfARun(String),
    /// It compares a field with the other side's, of which there is no log.
    NoLog(FieldRef, Side),
    /// All that is expected of a side of which there is no log.
    NoLogOf(Side),
}

impl fmt::Display for NotJudged {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OfARun(what) => write!(
                formatter,
                "{what} was not judged: what the scenario expects of it is known only in a run of its own"
            ),
            Self::NoLog(field, side) => {
                write!(
                    formatter,
                    "{field} was not judged: it is compared with a log of the {side}, and there is none"
                )
            }
            Self::NoLogOf(side) => {
                write!(
                    formatter,
                    "what the scenario expects of the {side}'s lines was not judged: there is no log of it"
                )
            }
        }
    }
}

/// What is expected and can be judged, and what cannot.
#[derive(Debug, Default)]
pub(super) struct Applicable {
    pub(super) assertions: Vec<Assertion>,
    pub(super) across: Vec<(FieldRef, Placed<Across>)>,
    pub(super) not_judged: Vec<NotJudged>,
}

impl Applicable {
    pub(super) fn of(config: &LogsConfig) -> Result<Self, LogsError> {
        let mut all = Self::default();
        for typed in &config.expectations {
            let missing = Side::BOTH.into_iter().find(|&side| {
                config.files[side].is_empty() && (typed.field.side == side || typed.expected.speaks_of(side))
            });
            if let Some(side) = missing {
                return Err(LogsError::NoLog { field: typed.field.to_string(), side });
            }
            all.assertions.push(Assertion::Field(typed.clone()));
        }
        for expectations in &config.scenarios {
            all.add(expectations, config);
        }
        Ok(all)
    }

    fn add(&mut self, expectations: &Expectations, config: &LogsConfig) {
        for side in Side::BOTH {
            if expectations.lines.of(side).is_some() {
                self.not_judged.push(NotJudged::OfARun(format!("the number of the {side}'s lines")));
            }
            if config.files[side].is_empty() {
                self.not_judged.push(NotJudged::NoLogOf(side));
                continue;
            }
            let other = side.other();
            for assertion in Assertion::all_of(expectations, side) {
                match assertion {
                    Assertion::Field(expectation)
                        if config.files[other].is_empty() && expectation.expected.speaks_of(other) =>
                    {
                        self.not_judged.push(NotJudged::NoLog(expectation.field, other));
                    }
                    judged => self.assertions.push(judged),
                }
            }
            let across = expectations.across.iter().filter(|(field, _)| field.side == side);
            self.across.extend(across.map(|(field, across)| (field.clone(), across.clone())));
        }
    }
}
