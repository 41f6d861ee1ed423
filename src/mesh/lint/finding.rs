//! A finding, by one of the rules, and what became of its level.

use crate::mesh::rule::{Rule, Severity};
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
    /// Whether somebody said how bad it is.
    pub level: Level,
}

/// How bad a finding is taken to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Level {
    /// As bad as its rule says.
    OfRule,
    /// An error, because somebody said so.
    Denied,
    /// It is known, and meant so; it is counted, and nothing else.
    Allowed(Allowance),
}

/// Who allows a finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Allowance {
    /// Who asks.
    CommandLine,
    /// The document, by a comment or an annotation at this place.
    Document(Place),
    /// The folder's configuration.
    File,
}

impl Finding {
    /// How bad it is; nothing of one that is allowed.
    #[must_use]
    pub fn severity(&self) -> Option<Severity> {
        match self.level {
            Level::OfRule => Some(self.rule.severity),
            Level::Denied => Some(Severity::Error),
            Level::Allowed(_) => None,
        }
    }

    /// Who allows it, if anybody does.
    #[must_use]
    pub fn allowance(&self) -> Option<&Allowance> {
        match &self.level {
            Level::Allowed(allowance) => Some(allowance),
            Level::OfRule | Level::Denied => None,
        }
    }
}

impl Rule {
    /// Something found by this rule.
    pub(super) fn at(
        &'static self,
        place: Place,
        message: impl Into<String>,
        yaml: impl Into<String>,
    ) -> Finding {
        Finding { rule: self, place, message: message.into(), yaml: yaml.into(), level: Level::OfRule }
    }
}
