//! How often an assertion was met over any number of lines, and the first lines that did not meet
//! it.

use super::assertion::Assertion;
use super::{Check, Evidence};
use crate::access_log::ParsedLine;
use crate::verify::expect::Comparison;
use crate::verify::expression::Expectation;
use crate::verify::played::Joined;

/// How many lines that are not as expected are shown for each assertion.
const MAX_SHOWN: usize = 10;

/// An assertion, and what the lines so far made of it.
#[derive(Debug)]
pub(super) struct AssertionCounter {
    pub(super) assertion: Assertion,
    met: usize,
    failed: usize,
    /// Of the first lines that failed.
    shown: Vec<Check>,
    /// What was expected of the last line, in words.
    expected: String,
    /// What the first line said.
    said: Option<String>,
    /// Whether all others said the same.
    always: bool,
}

impl From<Assertion> for AssertionCounter {
    fn from(assertion: Assertion) -> Self {
        Self {
            assertion,
            met: 0,
            failed: 0,
            shown: Vec::new(),
            expected: String::new(),
            said: None,
            always: true,
        }
    }
}

impl AssertionCounter {
    /// Counts a line of which this was found.
    pub(super) fn count(
        &mut self,
        line: &ParsedLine,
        session: &Joined,
        (finding, actual): (Comparison, String),
    ) {
        match &self.said {
            None => self.said = Some(actual.clone()),
            Some(first) => self.always &= *first == actual,
        }
        self.expected.clone_from(&finding.expected);
        if finding.holds {
            self.met += 1;
            return;
        }
        self.failed += 1;
        if self.shown.len() < MAX_SHOWN {
            self.shown.push(self.assertion.check_of_line(line, session, (finding, actual)));
        }
    }

    /// The field, if it is one, of which no line could be judged.
    pub(super) fn not_judged(&self) -> Option<String> {
        match &self.assertion {
            Assertion::Field(Expectation { field, .. }) if self.met + self.failed == 0 => {
                Some(field.to_string())
            }
            _ => None,
        }
    }

    /// One check where all is well; else the first lines, and how many there are beside them.
    pub(super) fn checks(&self) -> Vec<Check> {
        if self.failed == 0 {
            let all = match self.met {
                0 => return Vec::new(),
                1 => "so in the one session".to_owned(),
                met => format!("so in all {met} sessions"),
            };
            return vec![self.assertion.check(self.expected.clone(), all, true)];
        }
        let mut checks = self.shown.clone();
        let more = self.failed - checks.len();
        if more > 0 {
            let lines = if more == 1 { "line" } else { "lines" };
            let actual = format!("otherwise in {more} more {lines}");
            checks.push(self.assertion.check(self.expected.clone(), actual, false));
        }
        checks
    }

    /// The field, if it said the same in every line.
    pub(super) fn evidence(&self) -> Option<Evidence> {
        let Assertion::Field(Expectation { field, .. }) = &self.assertion else { return None };
        let said = self.said.as_ref().filter(|_| self.always)?;
        let values = [said.clone()].into();
        Some(Evidence { field: field.clone(), values, lines: self.met + self.failed })
    }
}
