//! What is said of findings by their codes, outside of the documents: on the command line and in a
//! file. What documents say themselves is in `allowances`.

use std::collections::BTreeSet;

use super::finding::{Allowance, Finding, Level};
use crate::mesh::rule::Rule;

/// The codes whose findings are allowed, and those whose findings are errors.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CodeLevels {
    allow: BTreeSet<&'static str>,
    deny: BTreeSet<&'static str>,
}

/// What is said of findings, in the order of what counts more.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Levels {
    /// By who asks.
    pub command_line: CodeLevels,
    /// In the folder's configuration; documents count more than it.
    pub file: CodeLevels,
}

/// A code is both allowed and denied, by one who cannot mean both.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} is both allowed and denied: leave out one of the two")]
pub struct Contradiction(&'static str);

impl CodeLevels {
    /// Of the rules that are allowed and those that are denied.
    ///
    /// # Errors
    /// One is both.
    pub fn new(
        allow: impl IntoIterator<Item = &'static Rule>,
        deny: impl IntoIterator<Item = &'static Rule>,
    ) -> Result<Self, Contradiction> {
        let allow: BTreeSet<_> = allow.into_iter().map(|rule| rule.code).collect();
        let deny: BTreeSet<_> = deny.into_iter().map(|rule| rule.code).collect();
        match allow.intersection(&deny).next() {
            Some(code) => Err(Contradiction(code)),
            None => Ok(Self { allow, deny }),
        }
    }

    fn of(&self, rule: &Rule, allowance: Allowance) -> Option<Level> {
        if self.allow.contains(rule.code) {
            Some(Level::Allowed(allowance))
        } else {
            self.deny.contains(rule.code).then_some(Level::Denied)
        }
    }
}

impl Levels {
    /// Gives findings the level that counts for them: the command line's, else the document's,
    /// which they have, else the file's.
    pub fn apply(&self, findings: &mut [Finding]) {
        for finding in findings {
            let in_document = matches!(finding.level, Level::Allowed(Allowance::Document(_)));
            let of_file = || self.file.of(finding.rule, Allowance::File).filter(|_| !in_document);
            let level = self.command_line.of(finding.rule, Allowance::CommandLine).or_else(of_file);
            if let Some(level) = level {
                finding.level = level;
            }
        }
    }
}
