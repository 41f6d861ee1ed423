//! What a rule is, by which documents and proxies are judged. The rules themselves are in `rules`.

use std::fmt;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
