//! A finding, and the rule that it comes from.

use std::fmt;

use crate::yaml::Place;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing; nothing has to change.
    Note,
    /// Something that is written has no effect, or will cut or hinder sessions.
    Warning,
    /// Sessions will fail, or Istio refuses the document.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// What is looked for.
#[derive(Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its name, which is part of the interface.
    pub code: &'static str,
    /// How bad each of its findings is.
    pub severity: Severity,
    /// What happens because of it.
    pub why: &'static str,
    /// What to do about it, in words.
    pub fix: &'static str,
}

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
