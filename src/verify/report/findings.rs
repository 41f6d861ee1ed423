//! What failed, put together as a reader wants it: the checks of one line together, and lines that failed in the same way
//! only once.

use crate::verify::judge::{CaseVerdict, Check, Subject};

/// What failed with one line, or without any; and how many lines failed in the same way.
pub(super) struct Finding<'a> {
    /// The checks, at least one.
    pub(super) checks: Vec<&'a Check>,
    /// The line.
    pub(super) line: Option<&'a str>,
    /// How many lines.
    pub(super) times: usize,
}

/// The failed checks of a case.
pub(super) fn findings(case: &CaseVerdict) -> Vec<Finding<'_>> {
    let mut by_line: Vec<Finding<'_>> = Vec::new();
    for check in case.failed() {
        let line = check.line.as_deref();
        match by_line.iter_mut().find(|finding| line.is_some() && finding.line == line) {
            Some(finding) => finding.checks.push(check),
            None => by_line.push(Finding { checks: vec![check], line, times: 1 }),
        }
    }
    let mut findings: Vec<Finding<'_>> = Vec::new();
    for finding in by_line {
        match findings.iter_mut().find(|other| essence(&other.checks) == essence(&finding.checks)) {
            Some(other) => other.times += 1,
            None => findings.push(finding),
        }
    }
    findings
}

/// What two findings have in common that differ in their lines only.
fn essence<'a>(checks: &[&'a Check]) -> Vec<(Subject, &'a str, &'a str, &'a str)> {
    let of = |check: &&'a Check| {
        (check.subject, check.field.as_str(), check.expected.as_str(), check.actual.as_str())
    };
    checks.iter().map(of).collect()
}

/// A failed check in a line: side, field, expected, actual.
pub(super) fn said(check: &Check) -> String {
    format!("{}: {}: expected {}, was {}", check.subject, check.field, check.expected, check.actual)
}
