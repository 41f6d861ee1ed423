//! A finding, by one of the rules.

use crate::mesh::rule::Rule;
use crate::yaml::Place;

/// What was found, at one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What was looked for.
    pub rule: &'static Rule,
    /// The place that is to be changed.
    pub place: Place,
    /// What stands there and does not work.
    pub message: String,
    /// What to write, as YAML; empty where something has to go and nothing takes its place.
    pub yaml: String,
}

impl Rule {
    /// Something found by this rule.
    pub(super) fn at(
        &'static self,
        place: Place,
        message: impl Into<String>,
        yaml: impl Into<String>,
    ) -> Finding {
        Finding { rule: self, place, message: message.into(), yaml: yaml.into() }
    }
}
