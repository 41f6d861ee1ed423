//! The judge of sessions: it holds their lines against what is expected as they come, and knows no
//! difference between sessions that were played and those of logs from elsewhere. What only a run
//! knows (how its steps went, how many lines there should be, what names stand for) is told to it
//! beside the lines. It starts nothing, reads no file and prints nothing.

mod assertion;
mod cardinality;
mod counter;
mod verdict;

use std::time::Duration;

pub(super) use assertion::Assertion;
pub use verdict::{CaseVerdict, Check, Evidence, Outcome, Reservation, Subject, Verdict};

use self::cardinality::Cardinality;
use self::counter::AssertionCounter;
use super::driver::StepFailure;
use super::expect::{Across, FieldRef, Side};
use super::played::{Joined, Played, Unreadable};
use super::scenario::Case;
use super::template::Facts;
use crate::access_log::explain::explain;
use crate::mesh::lint::{Finding, Level};
use crate::yaml::Placed;

/// For what there is a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Detail {
    /// For each line: a run has few.
    Line,
    /// For each assertion over all lines, with the first lines that failed: a log has any number.
    Assertion,
}

/// Judges the sessions of one case, one after the other.
#[derive(Debug)]
pub(super) struct Judge<'a> {
    facts: &'a Facts,
    detail: Detail,
    /// Whether a line without one of the other side fails.
    both_sides: bool,
    counters: Vec<AssertionCounter>,
    across: Vec<(Cardinality, Placed<Across>)>,
    decided_by: Vec<Cardinality>,
    sessions: usize,
    checks: Vec<Check>,
}

impl<'a> Judge<'a> {
    /// A judge of the sessions that were played for a case, with a check for each line.
    fn of_run(case: &Case, facts: &'a Facts) -> Self {
        let expect = &case.expect;
        let assertions = Side::BOTH.into_iter().flat_map(|side| Assertion::all_of(expect, side));
        Self {
            detail: Detail::Line,
            // Where one side is to write more lines than the other, some have no other side.
            both_sides: case.line_count(Side::Client) == case.line_count(Side::Server),
            decided_by: case.decided_by.iter().cloned().map(Cardinality::from).collect(),
            ..Self::of_logs(assertions, expect.across.clone(), facts)
        }
    }

    /// A judge of any number of sessions, with a check for each assertion over all of them.
    pub(super) fn of_logs(
        assertions: impl IntoIterator<Item = Assertion>,
        across: impl IntoIterator<Item = (FieldRef, Placed<Across>)>,
        facts: &'a Facts,
    ) -> Self {
        Self {
            facts,
            detail: Detail::Assertion,
            both_sides: false,
            counters: assertions.into_iter().map(AssertionCounter::from).collect(),
            across: across.into_iter().map(|(field, across)| (field.into(), across)).collect(),
            decided_by: Vec::new(),
            sessions: 0,
            checks: Vec::new(),
        }
    }

    /// Takes note of how a session that was played ended for the client.
    fn ending(&mut self, ending: &Result<(), StepFailure>) {
        let as_said = || "each as the scenario says".to_owned();
        let (field, expected, actual, at) = match ending {
            Ok(()) => ("steps", as_said(), as_said(), None),
            Err(failure) => (failure.step, failure.expected.clone(), failure.actual.clone(), failure.line),
        };
        self.note(Check { at, ..check(Subject::Session, field, expected, actual, ending.is_ok()) });
    }

    /// Takes note of how many lines a side wrote.
    fn line_count(&mut self, side: Side, expected: usize, actual: usize) {
        let lines = |count| if count == 1 { "1 line".to_owned() } else { format!("{count} lines") };
        let holds = actual == expected;
        self.note(check(Subject::Log(side), "lines", lines(expected), lines(actual), holds));
    }

    /// Takes note of a line that could not be parsed.
    fn unreadable(&mut self, Unreadable { side, text, reason }: &Unreadable) {
        let expected = "one JSON object".to_owned();
        let failed = check(Subject::Log(*side), "line", expected, reason.clone(), false);
        self.note(Check { line: Some(text.clone()), ..failed });
    }

    fn note(&mut self, check: Check) {
        self.checks.push(check);
    }

    /// Judges the lines of a session.
    pub(super) fn session(&mut self, session: &Joined) {
        self.sessions += 1;
        for side in Side::BOTH {
            let Some(line) = &session[side] else {
                if self.both_sides {
                    self.checks.extend(missing_line(session, side));
                }
                continue;
            };
            for counter in self.counters.iter_mut().filter(|it| it.assertion.side() == side) {
                let Some(found) = counter.assertion.judge(line, session, self.facts) else { continue };
                match self.detail {
                    Detail::Line => {
                        self.checks.push(counter.assertion.check_of_line(line, session, found));
                    }
                    Detail::Assertion => counter.count(line, session, found),
                }
            }
        }
        for (values, _) in &mut self.across {
            values.count(session);
        }
        for values in &mut self.decided_by {
            values.count(session);
        }
    }

    /// How many sessions were judged so far.
    pub(super) fn sessions(&self) -> usize {
        self.sessions
    }

    /// The fields of which something is expected that could be judged in no line.
    pub(super) fn not_judged(&self) -> impl Iterator<Item = String> {
        self.counters.iter().filter_map(AssertionCounter::not_judged)
    }

    /// What all of it comes to, for the case that is called so and took so long.
    pub(super) fn verdict(self, label: Option<String>, elapsed: Duration) -> CaseVerdict {
        let mut checks = self.checks;
        checks.extend(self.counters.iter().flat_map(AssertionCounter::checks));
        checks.extend(self.across.iter().map(|(values, across)| values.check(across)));
        let constant = self.counters.iter().filter_map(AssertionCounter::evidence);
        let decided_by = self.decided_by.into_iter().map(Evidence::from).chain(constant).collect();
        CaseVerdict { label, elapsed, checks, decided_by }
    }
}

/// Judges a case that was played: how each of its sessions ended, and what the sidecars wrote of
/// them.
#[must_use]
pub(super) fn judge(case: &Case, played: &Played) -> CaseVerdict {
    let Played { facts, endings, logs, elapsed } = played;
    let mut judge = Judge::of_run(case, facts);
    for ending in endings {
        judge.ending(ending);
    }
    for side in Side::BOTH {
        judge.line_count(side, case.line_count(side), logs.count(side));
    }
    for line in &logs.unreadable {
        judge.unreadable(line);
    }
    for session in &logs.sessions {
        judge.session(session);
    }
    judge.verdict(case.label.clone(), *elapsed)
}

/// The request id that either side has.
fn request_id(session: &Joined) -> Option<String> {
    let lines = Side::BOTH.into_iter().filter_map(|side| session[side].as_ref());
    lines.into_iter().find_map(|line| line.text_of("request_id")).map(str::to_owned)
}

/// The failed check of a session that left a line at the other side only.
fn missing_line(session: &Joined, side: Side) -> Option<Check> {
    let there = session[side.other()].as_ref()?;
    let expected = "a line of the same session".to_owned();
    Some(Check {
        request_id: request_id(session),
        line: Some(there.text().to_owned()),
        explanation: Some(explain(there)),
        ..check(Subject::Log(side), "request_id", expected, "none".to_owned(), false)
    })
}

/// The failed check of a finding in the documents that is denied.
pub(super) fn denied(Finding { rule, place, message, level, .. }: &Finding) -> Option<Check> {
    let (expected, actual) = ("nothing found, since it is denied".to_owned(), format!("{message} ({place})"));
    (*level == Level::Denied).then(|| check(Subject::Documents, rule.code, expected, actual, false))
}

/// A check that is about no line, of which it is not known what expects it.
fn check(subject: Subject, field: &str, expected: String, actual: String, holds: bool) -> Check {
    Check {
        subject,
        field: field.to_owned(),
        expected,
        actual,
        holds,
        request_id: None,
        line: None,
        explanation: None,
        at: None,
    }
}

#[cfg(test)]
mod tests;
