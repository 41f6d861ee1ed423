//! What one expectation came to over all sessions: how often it was met, and the first lines that did not meet it.

use crate::verify::evidence::Joined;
use crate::verify::expect::shown;
use crate::verify::expression::Expectation;
use crate::verify::judge::{Check, Decisive, Subject};
use crate::verify::template::Facts;

/// How many lines that are not as expected are shown for each expectation.
const SHOWN: usize = 10;

#[derive(Debug, Default)]
pub(super) struct Tally {
    met: usize,
    failed: usize,
    /// The first lines that failed.
    checks: Vec<Check>,
    /// What was expected, in words, as the last session had it.
    wanted: String,
    /// What the field said first, and whether it always did.
    said: Option<(String, bool)>,
}

impl Tally {
    pub(super) fn session(&mut self, expectation: &Expectation, session: &Joined) {
        let Expectation { field, expected } = expectation;
        let found = session.field(field);
        // Of logs from elsewhere nobody knows what a run would know.
        let Some(finding) = expected.holds(found, session, &Facts::default()) else { return };
        let actual = shown(found);
        match &mut self.said {
            None => self.said = Some((actual.clone(), true)),
            Some((first, always)) => *always &= *first == actual,
        }
        if finding.holds {
            self.met += 1;
        } else {
            self.failed += 1;
            if self.checks.len() < SHOWN {
                self.checks.push(Check {
                    subject: Subject::Log(field.side),
                    field: field.key.clone(),
                    expected: finding.expected.clone(),
                    actual,
                    holds: false,
                    line: session.line(field.side).map(|line| line.text().to_owned()),
                    at: None,
                });
            }
        }
        self.wanted = finding.expected;
    }

    pub(super) fn was_judged(&self) -> bool {
        self.met + self.failed > 0
    }

    /// One check where all is well; else the first lines, and how many there are beside them.
    pub(super) fn checks(&self, expectation: &Expectation) -> Vec<Check> {
        let over_all = |actual: String, holds| Check {
            subject: Subject::Log(expectation.field.side),
            field: expectation.field.key.clone(),
            expected: self.wanted.clone(),
            actual,
            holds,
            line: None,
            at: None,
        };
        if self.failed == 0 {
            let met = over_all(format!("so in all {} sessions", self.met), true);
            return if self.was_judged() { vec![met] } else { Vec::new() };
        }
        let mut checks = self.checks.clone();
        if self.failed > checks.len() {
            let more = self.failed - checks.len();
            checks.push(over_all(format!("otherwise in {more} more lines"), false));
        }
        checks
    }

    /// The field, if it said the same in every line.
    pub(super) fn decisive(&self, expectation: &Expectation) -> Option<Decisive> {
        let (value, always) = self.said.as_ref()?;
        always.then(|| Decisive {
            field: expectation.field.clone(),
            values: [value.clone()].into(),
            lines: self.met + self.failed,
        })
    }
}
