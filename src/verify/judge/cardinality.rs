//! How many values a field has over all lines of its side. Each value is kept once.

use std::collections::HashSet;

use super::{Check, Evidence, Subject};
use crate::verify::expect::{Across, FieldRef};
use crate::verify::played::Joined;
use crate::yaml::Placed;

/// A field, and the values that it had so far.
#[derive(Debug)]
pub(super) struct Cardinality {
    field: FieldRef,
    values: HashSet<Box<str>>,
    lines: usize,
}

impl From<FieldRef> for Cardinality {
    fn from(field: FieldRef) -> Self {
        Self { field, values: HashSet::new(), lines: 0 }
    }
}

impl Cardinality {
    pub(super) fn count(&mut self, session: &Joined) {
        if let Some(line) = &session[self.field.side] {
            self.lines += 1;
            self.values.insert(line.field(&self.field.key).to_string().into());
        }
    }

    /// The check that the values are `across` all lines as they should be.
    pub(super) fn check(&self, across: &Placed<Across>) -> Check {
        let (different, lines) = (self.values.len(), self.lines);
        let (expected, holds) = match across.value {
            Across::Shared => ("the same in every line", different == 1),
            Across::Distinct => ("another in every line", different == lines),
        };
        Check {
            subject: Subject::Log(self.field.side),
            field: self.field.key.clone(),
            expected: expected.to_owned(),
            actual: format!("{different} different in {lines} lines"),
            holds,
            request_id: None,
            line: None,
            explanation: None,
            at: across.line(),
        }
    }
}

impl From<Cardinality> for Evidence {
    fn from(Cardinality { field, values, lines }: Cardinality) -> Self {
        Self { field, values: values.into_iter().map(String::from).collect(), lines }
    }
}
