//! What one expectation came to over all sessions: how often it was met, and the first lines that did not meet it.

use std::collections::HashSet;

use super::claim::Claim;
use crate::verify::evidence::Joined;
use crate::verify::expect::{Across, FieldRef};
use crate::verify::expression::Expectation;
use crate::verify::judge::{Check, Decisive, Subject, explained, over_all_lines};
use crate::verify::placed::Placed;

/// How many lines that are not as expected are shown for each expectation.
const SHOWN: usize = 10;

/// Of what is expected of every line.
#[derive(Debug)]
pub(super) struct Tally {
    claim: Claim,
    met: usize,
    failed: usize,
    /// The first lines that failed.
    checks: Vec<Check>,
    /// What was expected, in words, as the last session had it.
    wanted: String,
    /// What the line said first, and whether it always did.
    said: Option<(String, bool)>,
}

impl From<Claim> for Tally {
    fn from(claim: Claim) -> Self {
        Self { claim, met: 0, failed: 0, checks: Vec::new(), wanted: String::new(), said: None }
    }
}

impl Tally {
    pub(super) fn session(&mut self, session: &Joined) {
        let Some((finding, actual)) = self.claim.judge(session) else { return };
        match &mut self.said {
            None => self.said = Some((actual.clone(), true)),
            Some((first, always)) => *always &= *first == actual,
        }
        if finding.holds {
            self.met += 1;
        } else {
            self.failed += 1;
            if self.checks.len() < SHOWN {
                let Some(line) = session.line(self.claim.side()) else { return };
                let actual = self.claim.found(line, actual);
                self.checks.push(Check {
                    line: Some(line.text().to_owned()),
                    explanation: Some(explained(session, line)),
                    ..self.check(finding.expected.clone(), actual, false)
                });
            }
        }
        self.wanted = finding.expected;
    }

    fn check(&self, expected: String, actual: String, holds: bool) -> Check {
        Check {
            subject: Subject::Log(self.claim.side()),
            field: self.claim.name().to_owned(),
            expected,
            actual,
            holds,
            line: None,
            explanation: None,
            at: self.claim.at(),
        }
    }

    fn was_judged(&self) -> bool {
        self.met + self.failed > 0
    }

    /// The field of which no session could be judged.
    pub(super) fn not_judged(&self) -> Option<String> {
        match &self.claim {
            Claim::Field(Expectation { field, .. }) if !self.was_judged() => Some(field.to_string()),
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
            return vec![self.check(self.wanted.clone(), all, true)];
        }
        let mut checks = self.checks.clone();
        let more = self.failed - checks.len();
        if more > 0 {
            let lines = if more == 1 { "line" } else { "lines" };
            checks.push(self.check(self.wanted.clone(), format!("otherwise in {more} more {lines}"), false));
        }
        checks
    }

    /// The field, if it said the same in every line.
    pub(super) fn decisive(&self) -> Option<Decisive> {
        let Claim::Field(Expectation { field, .. }) = &self.claim else { return None };
        let (value, always) = self.said.as_ref()?;
        let values = [value.clone()].into();
        always.then(|| Decisive { field: field.clone(), values, lines: self.met + self.failed })
    }
}

/// Of a field that is expected to have one value in all lines, or as many as there are lines. Keeps each value once.
#[derive(Debug)]
pub(super) struct Spread {
    field: FieldRef,
    across: Placed<Across>,
    values: HashSet<Box<str>>,
    lines: usize,
}

impl From<(FieldRef, Placed<Across>)> for Spread {
    fn from((field, across): (FieldRef, Placed<Across>)) -> Self {
        Self { field, across, values: HashSet::new(), lines: 0 }
    }
}

impl Spread {
    pub(super) fn session(&mut self, session: &Joined) {
        if let Some(line) = session.line(self.field.side) {
            self.lines += 1;
            self.values.insert(line.field(&self.field.key).to_string().into());
        }
    }

    pub(super) fn check(&self) -> Option<Check> {
        (self.lines > 0).then(|| over_all_lines(&self.field, &self.across, self.values.len(), self.lines))
    }
}
