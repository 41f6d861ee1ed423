//! What is expected of logs from elsewhere, put together: what was typed, and as much of what scenarios expect as can be said
//! of lines that no run of this program left.

use std::fmt;

use super::{LogsConfig, LogsError};
use crate::access_log::ParsedLine;
use crate::verify::evidence::Joined;
use crate::verify::expect::{Across, Expectations, FieldRef, Finding, Side};
use crate::verify::expression::Expectation;
use crate::verify::judge::{found, has_keys, is_free_of};
use crate::verify::placed::Placed;
use crate::verify::template::Facts;

/// One thing that is expected of every line of one side.
#[derive(Debug)]
pub(super) enum Claim {
    /// Of a field.
    Field(Expectation),
    /// That it has these keys and no others.
    Keys(Side, Vec<String>),
    /// That it does not contain this text.
    FreeOf(Side, String),
}

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

/// All that is expected.
#[derive(Debug, Default)]
pub(super) struct Claims {
    pub(super) of_lines: Vec<Claim>,
    pub(super) across: Vec<(FieldRef, Placed<Across>)>,
    pub(super) not_judged: Vec<NotJudged>,
}

impl Claims {
    pub(super) fn of(config: &LogsConfig) -> Result<Self, LogsError> {
        let mut claims = Self::default();
        for typed in &config.expectations {
            let missing = Side::BOTH.into_iter().find(|&side| {
                config.of(side).is_empty() && (typed.field.side == side || typed.expected.speaks_of(side))
            });
            if let Some(side) = missing {
                return Err(LogsError::NoLog { field: typed.field.to_string(), side });
            }
            claims.of_lines.push(Claim::Field(typed.clone()));
        }
        for expectations in &config.scenarios {
            claims.add(expectations, config);
        }
        Ok(claims)
    }

    fn add(&mut self, expectations: &Expectations, config: &LogsConfig) {
        for side in Side::BOTH {
            if expectations.lines.of(side).is_some() {
                self.not_judged.push(NotJudged::OfARun(format!("the number of the {side}'s lines")));
            }
            if config.of(side).is_empty() {
                self.not_judged.push(NotJudged::NoLogOf(side));
                continue;
            }
            let other = if side == Side::Client { Side::Server } else { Side::Client };
            for expectation in Expectation::all_of(expectations, side) {
                if config.of(other).is_empty() && expectation.expected.speaks_of(other) {
                    self.not_judged.push(NotJudged::NoLog(expectation.field, other));
                } else {
                    self.of_lines.push(Claim::Field(expectation));
                }
            }
            if !expectations.keys.is_empty() {
                self.of_lines.push(Claim::Keys(side, expectations.keys.clone()));
            }
            self.of_lines.extend(expectations.free_of.clone().map(|text| Claim::FreeOf(side, text)));
            let across = expectations.across.iter().filter(|(field, _)| field.side == side);
            self.across.extend(across.map(|(field, across)| (field.clone(), across.clone())));
        }
    }
}

impl Claim {
    /// Whose line it speaks of.
    pub(super) fn side(&self) -> Side {
        match self {
            Self::Field(expectation) => expectation.field.side,
            Self::Keys(side, _) | Self::FreeOf(side, _) => *side,
        }
    }

    /// What a check calls it.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Field(expectation) => &expectation.field.key,
            Self::Keys(..) => "keys",
            Self::FreeOf(..) => "text",
        }
    }

    /// The line of the scenario's file that says so.
    pub(super) fn at(&self) -> Option<u64> {
        match self {
            Self::Field(expectation) => expectation.at,
            Self::Keys(..) | Self::FreeOf(..) => None,
        }
    }

    /// What the line says, for a check that failed: with the key that was meant, where it has none of that name.
    pub(super) fn found(&self, line: &ParsedLine, said: String) -> String {
        match self {
            Self::Field(expectation) => found(line, &expectation.field.key),
            Self::Keys(..) | Self::FreeOf(..) => said,
        }
    }

    /// Whether the session's line is so, and what it says; none where that cannot be told.
    pub(super) fn judge(&self, session: &Joined) -> Option<(Finding, String)> {
        let line = session.line(self.side())?;
        match self {
            Self::Field(Expectation { field, expected, .. }) => {
                // Of logs from elsewhere nobody knows what a run would know.
                let finding = expected.holds(line.field(&field.key), session, &Facts::default())?;
                Some((finding, line.field(&field.key).to_string()))
            }
            Self::Keys(_, keys) => Some(has_keys(keys, line)),
            Self::FreeOf(_, text) => Some(is_free_of(text, line)),
        }
    }
}
