//! One thing that is expected of every line of one side, and the plain function that holds a line
//! against it.

use std::collections::BTreeSet;

use super::{Check, Subject, request_id};
use crate::access_log::explain::{Explanation, explain, explain_session};
use crate::access_log::{Field, ParsedLine};
use crate::nearest::nearest;
use crate::verify::expect::{Comparison, Expectations, Side};
use crate::verify::expression::Expectation;
use crate::verify::played::Joined;
use crate::verify::scenario::SIMILAR;
use crate::verify::template::Facts;

/// One thing that is expected of every line of one side.
#[derive(Debug)]
pub(in crate::verify) enum Assertion {
    /// What a field says.
    Field(Expectation),
    /// That a line has these keys and no others.
    Keys(Side, Vec<String>),
    /// That a line does not contain this text.
    FreeOf(Side, String),
}

impl Assertion {
    /// All that a scenario expects of each line of `side`.
    pub(in crate::verify) fn all_of(expectations: &Expectations, side: Side) -> Vec<Self> {
        let mut all: Vec<_> = Expectation::all_of(expectations, side).map(Self::Field).collect();
        if !expectations.keys.is_empty() {
            all.push(Self::Keys(side, expectations.keys.clone()));
        }
        all.extend(expectations.free_of.clone().map(|text| Self::FreeOf(side, text)));
        all
    }

    /// Whose lines it is about.
    pub(super) fn side(&self) -> Side {
        match self {
            Self::Field(expectation) => expectation.field.side,
            Self::Keys(side, _) | Self::FreeOf(side, _) => *side,
        }
    }

    /// What a check calls it.
    fn name(&self) -> &str {
        match self {
            Self::Field(expectation) => &expectation.field.key,
            Self::Keys(..) => "keys",
            Self::FreeOf(..) => "text",
        }
    }

    /// Whether a `line` of the `session` is as expected, and what it says; none where the assertion
    /// is about a fact that is not known.
    pub(super) fn judge(
        &self,
        line: &ParsedLine,
        session: &Joined,
        facts: &Facts,
    ) -> Option<(Comparison, String)> {
        match self {
            Self::Field(Expectation { field, expected, .. }) => {
                let said = line.field(&field.key);
                Some((expected.holds(said, session, facts)?, said.to_string()))
            }
            Self::Keys(_, keys) => Some(has_keys(keys, line)),
            Self::FreeOf(_, text) => Some(is_free_of(text, line)),
        }
    }

    /// The check of one line, with the line where it failed or `shown` asks for it.
    pub(super) fn check_of_line(
        &self,
        line: &ParsedLine,
        session: &Joined,
        (Comparison { expected, holds }, actual): (Comparison, String),
    ) -> Check {
        Check {
            request_id: request_id(session),
            line: Some(line.text().to_owned()),
            explanation: (!holds).then(|| explained(session, line)),
            ..self.check(expected, if holds { actual } else { self.found(line, actual) }, holds)
        }
    }

    /// A check of this assertion that is about no line in particular.
    pub(super) fn check(&self, expected: String, actual: String, holds: bool) -> Check {
        Check {
            subject: Subject::Log(self.side()),
            field: self.name().to_owned(),
            expected,
            actual,
            holds,
            request_id: None,
            line: None,
            explanation: None,
            at: match self {
                Self::Field(expectation) => expectation.at,
                Self::Keys(..) | Self::FreeOf(..) => None,
            },
        }
    }

    /// What a line says that failed; where it has no such key, which of its keys might be meant.
    fn found(&self, line: &ParsedLine, said: String) -> String {
        let Self::Field(Expectation { field, .. }) = self else { return said };
        match nearest(&field.key, line.keys(), SIMILAR) {
            Some(meant) if line.field(&field.key) == Field::Absent => {
                format!("{said} (the line has {meant})")
            }
            _ => said,
        }
    }
}

/// What a line means, together with the other side's where that is there.
fn explained(session: &Joined, line: &ParsedLine) -> Explanation {
    match (&session.client, &session.server) {
        (Some(client), Some(server)) => explain_session(client, server),
        _ => explain(line),
    }
}

/// Whether a line has these keys and no others, and which it has.
fn has_keys(keys: &[String], line: &ParsedLine) -> (Comparison, String) {
    let expected: BTreeSet<&str> = keys.iter().map(String::as_str).collect();
    let actual: BTreeSet<&str> = line.keys().collect();
    let joined = |keys: &BTreeSet<&str>| keys.iter().copied().collect::<Vec<_>>().join(" ");
    (Comparison { expected: joined(&expected), holds: expected == actual }, joined(&actual))
}

/// Whether a line does not contain a text.
fn is_free_of(text: &str, line: &ParsedLine) -> (Comparison, String) {
    let found = line.text().contains(text);
    let actual = if found { "it does" } else { "it does not" };
    (Comparison { expected: format!("does not contain {text:?}"), holds: !found }, actual.to_owned())
}
