//! What can be judged of logs from elsewhere: what was typed, and as much of what scenarios expect
//! as can be said of lines that no run of this program left.

use std::fmt;

use super::LogsConfig;
use crate::verify::expect::{Across, Expectations, FieldRef, Side};
use crate::verify::judge::Assertion;
use crate::yaml::Placed;

/// What of a scenario is left out: it speaks of what only a run knows, as how many lines there are.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct NotJudged(pub(super) String);

impl fmt::Display for NotJudged {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(what) = self;
        write!(
            formatter,
            "{what} was not judged: what the scenario expects of it is known only in a run of its own"
        )
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
    pub(super) fn of(config: &LogsConfig) -> Self {
        let mut all = Self {
            assertions: config.expectations.iter().cloned().map(Assertion::Field).collect(),
            ..Self::default()
        };
        for expectations in &config.scenarios {
            all.add(expectations);
        }
        all
    }

    fn add(&mut self, expectations: &Expectations) {
        for side in Side::BOTH {
            if expectations.lines.of(side).is_some() {
                self.not_judged.push(NotJudged(format!("the number of the {side}'s lines")));
            }
            self.assertions.extend(Assertion::all_of(expectations, side));
            let across = expectations.across.iter().filter(|(field, _)| field.side == side);
            self.across.extend(across.map(|(field, across)| (field.clone(), across.clone())));
        }
    }
}
