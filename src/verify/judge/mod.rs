//! From what was expected and what was found to a verdict: a plain function over data, one [`Check`] for everything that
//! was looked at. Starts nothing, reads no file, prints nothing.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::evidence::{Evidence, Joined};
use super::expect::{Across, FieldRef, Finding, Side};
use super::placed::Placed;
use super::scenario::{Case, nearest};
use super::template::Facts;
use crate::access_log::explain::{explain, explain_session};
use crate::access_log::{Field, ParsedLine};

/// What a scenario came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Its name.
    pub scenario: String,
    /// Its file; none of a built-in one.
    pub file: Option<PathBuf>,
    /// How long it took.
    pub elapsed: Duration,
    /// Itself and its variants, as far as they were run.
    pub cases: Vec<CaseVerdict>,
}

/// What one case of a scenario came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaseVerdict {
    /// What it is called beside the scenario's other variants.
    pub label: Option<String>,
    /// Everything that was looked at.
    pub checks: Vec<Check>,
    /// The fields that decided it, with what they said.
    pub decided_by: Vec<Decisive>,
}

/// One expectation and what was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What it is about.
    pub subject: Subject,
    /// The key of the line, or the step of the session.
    pub field: String,
    /// In words.
    pub expected: String,
    /// In words.
    pub actual: String,
    /// Whether they agree.
    pub holds: bool,
    /// The line it was read from.
    pub line: Option<String>,
    /// What that line means, with the other side's if it is there; of a failed check alone.
    pub explanation: Option<String>,
    /// The line of the scenario's file that expects it.
    pub at: Option<u64>,
}

/// What a check is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// What the client saw.
    Session,
    /// What a sidecar wrote.
    Log(Side),
}

impl fmt::Display for Subject {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Session => formatter.write_str("session"),
            Self::Log(side) => side.fmt(formatter),
        }
    }
}

/// A field with the values that it had, each once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decisive {
    /// Which.
    pub field: FieldRef,
    /// What it said, in words.
    pub values: BTreeSet<String>,
    /// In how many lines.
    pub lines: usize,
}

/// A step that went otherwise than the scenario says. The session ended there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Departure {
    /// The step's name, as in the scenario.
    pub step: &'static str,
    /// What the step says.
    pub expected: String,
    /// What happened.
    pub actual: String,
    /// The step's line in the scenario's file.
    pub line: Option<u64>,
}

impl Departure {
    /// A departure from a step of which it is not known where it stands.
    #[must_use]
    pub fn new(step: &'static str, expected: String, actual: String) -> Self {
        Self { step, expected, actual, line: None }
    }
}

impl Verdict {
    /// Whether everything was as expected.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.cases.iter().all(CaseVerdict::holds)
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

/// Judges one case: how each of its sessions ended, and what the sidecars wrote of them.
#[must_use]
pub fn judge(
    case: &Case,
    facts: &Facts,
    endings: &[Result<(), Departure>],
    evidence: &Evidence,
) -> CaseVerdict {
    let mut checks: Vec<Check> = endings.iter().map(of_session).collect();
    for side in Side::BOTH {
        checks.push(line_count(side, case.line_count(side), evidence));
    }
    checks.extend(evidence.unreadable.iter().map(|line| Check {
        subject: Subject::Log(line.side),
        field: "line".to_owned(),
        expected: "one JSON object".to_owned(),
        actual: line.reason.clone(),
        holds: false,
        line: Some(line.text.clone()),
        explanation: None,
        at: None,
    }));
    for session in &evidence.sessions {
        for side in Side::BOTH {
            match session.line(side) {
                Some(line) => of_line(case, facts, session, side, line, &mut checks),
                // Where one side is to write more lines than the other, some stand alone.
                None if case.line_count(Side::Client) == case.line_count(Side::Server) => {
                    checks.extend(missing_line(session, side));
                }
                None => {}
            }
        }
    }
    for (field, across) in &case.expect.across {
        checks.push(over_all_sessions(field, across, evidence));
    }
    let decided_by = case.decided_by.iter().map(|field| decisive(field, evidence)).collect();
    CaseVerdict { label: case.label.clone(), checks, decided_by }
}

fn of_session(ending: &Result<(), Departure>) -> Check {
    let (field, expected, actual) = match ending {
        Ok(()) => ("steps", "each as the scenario says".to_owned(), "each as the scenario says".to_owned()),
        Err(departure) => (departure.step, departure.expected.clone(), departure.actual.clone()),
    };
    Check {
        subject: Subject::Session,
        field: field.to_owned(),
        expected,
        actual,
        holds: ending.is_ok(),
        line: None,
        explanation: None,
        at: ending.as_ref().err().and_then(|departure| departure.line),
    }
}

fn line_count(side: Side, sessions: usize, evidence: &Evidence) -> Check {
    let count = evidence.count(side);
    let lines = |count| if count == 1 { "1 line".to_owned() } else { format!("{count} lines") };
    Check {
        subject: Subject::Log(side),
        field: "lines".to_owned(),
        expected: lines(sessions),
        actual: lines(count),
        holds: count == sessions,
        line: None,
        explanation: None,
        at: None,
    }
}

/// A line on one side only; the other side's absence is the finding.
fn missing_line(session: &Joined, side: Side) -> Option<Check> {
    let there = Side::BOTH.into_iter().find_map(|side| session.line(side))?;
    Some(Check {
        subject: Subject::Log(side),
        field: "request_id".to_owned(),
        expected: "a line of the same session".to_owned(),
        actual: "none".to_owned(),
        holds: false,
        line: Some(there.text().to_owned()),
        explanation: Some(explain(there).to_string()),
        at: None,
    })
}

fn of_line(
    case: &Case,
    facts: &Facts,
    session: &Joined,
    side: Side,
    line: &ParsedLine,
    checks: &mut Vec<Check>,
) {
    let mut check = |field: &str, expected: String, actual: String, holds, at| {
        checks.push(Check {
            subject: Subject::Log(side),
            field: field.to_owned(),
            expected,
            actual,
            holds,
            line: Some(line.text().to_owned()),
            explanation: (!holds).then(|| explained(session, line)),
            at,
        });
    };
    for (key, expected) in case.expect.of(side) {
        if let Some(finding) = expected.holds(line.field(key), session, facts) {
            check(key, finding.expected, found(line, key), finding.holds, expected.line);
        }
    }
    if !case.expect.keys.is_empty() {
        let (Finding { expected, holds }, actual) = has_keys(&case.expect.keys, line);
        check("keys", expected, actual, holds, None);
    }
    if let Some(text) = &case.expect.free_of {
        let (Finding { expected, holds }, actual) = is_free_of(text, line);
        check("text", expected, actual, holds, None);
    }
}

/// What a line means, together with the other side's where that is there.
pub(super) fn explained(session: &Joined, line: &ParsedLine) -> String {
    match (&session.client, &session.server) {
        (Some(client), Some(server)) => explain_session(client, server).to_string(),
        _ => explain(line).to_string(),
    }
}

/// Whether a line has these keys and no others, and which it has.
pub(super) fn has_keys(keys: &[String], line: &ParsedLine) -> (Finding, String) {
    let expected: BTreeSet<&str> = keys.iter().map(String::as_str).collect();
    let actual: BTreeSet<&str> = line.keys().collect();
    let joined = |keys: &BTreeSet<&str>| keys.iter().copied().collect::<Vec<_>>().join(" ");
    (Finding { expected: joined(&expected), holds: expected == actual }, joined(&actual))
}

/// Whether a line does not contain a text.
pub(super) fn is_free_of(text: &str, line: &ParsedLine) -> (Finding, String) {
    let found = line.text().contains(text);
    let actual = if found { "it does" } else { "it does not" };
    (Finding { expected: format!("does not contain {text:?}"), holds: !found }, actual.to_owned())
}

/// What the line says for the key, in words; where it has no such key, which of its keys might have been meant.
pub(super) fn found(line: &ParsedLine, key: &str) -> String {
    let said = line.field(key).to_string();
    match nearest(key, line.keys()) {
        Some(meant) if line.field(key) == Field::Absent => format!("{said} (the line has {meant})"),
        _ => said,
    }
}

fn over_all_sessions(field: &FieldRef, across: &Placed<Across>, evidence: &Evidence) -> Check {
    let Decisive { values, lines, .. } = decisive(field, evidence);
    over_all_lines(field, across, values.len(), lines)
}

/// The check of a field that had so many `different` values in so many `lines`.
pub(super) fn over_all_lines(
    field: &FieldRef,
    across: &Placed<Across>,
    different: usize,
    lines: usize,
) -> Check {
    let (expected, holds) = match across.value {
        Across::Shared => ("the same in every line", different == 1),
        Across::Distinct => ("another in every line", different == lines),
    };
    Check {
        subject: Subject::Log(field.side),
        field: field.key.clone(),
        expected: expected.to_owned(),
        actual: format!("{different} different in {lines} lines"),
        holds,
        line: None,
        explanation: None,
        at: across.line,
    }
}

fn decisive(field: &FieldRef, evidence: &Evidence) -> Decisive {
    let lines = evidence.sessions.iter().filter_map(|session| session.line(field.side));
    let said: Vec<String> = lines.map(|line| line.field(&field.key).to_string()).collect();
    Decisive { field: field.clone(), lines: said.len(), values: said.into_iter().collect() }
}

#[cfg(test)]
mod tests;
