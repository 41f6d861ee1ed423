//! Texts, and where in them something is.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// A text with documents. It is shared by the documents that were read from it.
#[derive(Debug, PartialEq, Eq)]
pub struct Text {
    /// What messages call it: the file as it was named, or `-`.
    pub name: Arc<str>,
    /// What is in it.
    pub text: String,
}

impl Text {
    /// A text that messages call `name`.
    #[must_use]
    pub fn new(name: &str, text: String) -> Arc<Self> {
        Arc::new(Self { name: name.into(), text })
    }
}

/// A position in a file, for people: `FILE:LINE:COLUMN`, both counted from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file as it was named, or `-` for standard input.
    pub file: Arc<str>,
    /// The line that it begins in.
    pub line: u64,
    /// The column, in characters.
    pub column: u64,
    /// The bytes of the file that are meant, for programs; empty where only a beginning is known.
    pub span: Range<usize>,
}

impl Place {
    /// A mark in a file.
    pub(super) fn new(text: &Text, mark: Mark) -> Self {
        Self {
            file: Arc::clone(&text.name),
            line: mark.line.into(),
            column: mark.column.into(),
            span: mark.start as usize..mark.end as usize,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// A place in a text that is known, in as few bytes as possible: every value of a tree has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Mark {
    pub(super) line: u32,
    pub(super) column: u32,
    /// The first byte of what is meant.
    pub(super) start: u32,
    /// Behind the last byte.
    pub(super) end: u32,
}

/// A number of bytes, lines or columns of a text. None is longer than 4 GiB, which
/// [`super::events::read`] sees to; of a longer one all places beyond are the last.
pub(super) fn count(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
