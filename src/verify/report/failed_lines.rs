//! What failed, put together as a reader wants it: the checks of one line together, and lines that
//! failed in the same way only once.

use crate::verify::judge::{CaseVerdict, Check, Subject};

/// What failed with one line, or without any; and how many lines failed in the same way.
pub(super) struct FailedLine<'a> {
    /// The checks, at least one.
    pub(super) checks: Vec<&'a Check>,
    /// The line.
    pub(super) line: Option<&'a str>,
    /// What the line means.
    pub(super) explanation: Option<&'a str>,
    /// How many lines.
    pub(super) times: usize,
}

/// The failed checks of a case.
pub(super) fn failed_lines(case: &CaseVerdict) -> Vec<FailedLine<'_>> {
    let mut by_line: Vec<FailedLine<'_>> = Vec::new();
    for check in case.failed() {
        let line = check.line.as_deref();
        let explanation = check.explanation.as_deref();
        match by_line.iter_mut().find(|failed| line.is_some() && failed.line == line) {
            Some(failed) => failed.checks.push(check),
            None => by_line.push(FailedLine { checks: vec![check], line, explanation, times: 1 }),
        }
    }
    let mut failed_lines: Vec<FailedLine<'_>> = Vec::new();
    for failed in by_line {
        match failed_lines.iter_mut().find(|other| essence(&other.checks) == essence(&failed.checks)) {
            Some(other) => other.times += 1,
            None => failed_lines.push(failed),
        }
    }
    failed_lines
}

/// What two of them have in common that differ in their lines only.
fn essence<'a>(checks: &[&'a Check]) -> Vec<(Subject, &'a str, &'a str, &'a str)> {
    let of = |check: &&'a Check| {
        (check.subject, check.field.as_str(), check.expected.as_str(), check.actual.as_str())
    };
    checks.iter().map(of).collect()
}

impl FailedLine<'_> {
    /// All of it, a line each: what failed, the access-log line, what that means, and how many more
    /// there are.
    pub(super) fn lines(&self) -> Vec<String> {
        let checks = self.checks.iter().map(|check| said(check));
        let shown = [self.line, self.explanation].into_iter().flatten().map(str::to_owned);
        checks.chain(shown).chain(self.more()).collect()
    }

    /// How many more lines failed in the same way, in words; none if no other did.
    pub(super) fn more(&self) -> Option<String> {
        (self.times > 1).then(|| format!("and {} more like this", self.times - 1))
    }
}

/// A failed check in a line: side, field, expected, actual.
pub(super) fn said(check: &Check) -> String {
    format!("{}: {}: expected {}, was {}", check.subject, check.field, check.expected, check.actual)
}
