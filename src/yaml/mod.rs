//! YAML (1.2.2, and JSON, which is YAML) as trees in which each value knows its place, and types
//! read from them.
//!
//! ```text
//!  Text ──events or json──▶ Document (a tree) ──de──▶ T: Deserialize
//!             (syntax)          │                     (types; errors and unread fields with places)
//!                               └──▶ NodeRef: what is written at a path
//! ```
//!
//! What the fields mean is for those who declare the types. Scalars are resolved as kubectl does
//! it, with the words of YAML 1.1 for booleans; a key has to be a scalar, and stands once in its
//! mapping; `<<` merges. Reading takes time and memory in proportion to the text, whatever is in
//! it: [`MAX_DEPTH`], [`MAX_REPEATED_NODES`] and [`MAX_REPEATED_BYTES`] bound what a short text can
//! ask for.

mod comment;
mod de;
mod error;
mod events;
mod json;
mod number;
mod place;
mod placed;
mod plain;
mod tree;

#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use self::comment::{Comment, comments};
pub use self::de::{Dialect, Unread};
pub use self::error::{Error, Problem};
pub use self::number::Within;
pub use self::place::{Place, Text};
pub use self::placed::{Placed, Skip};
pub use self::tree::{Document, NodeRef, lower_camel_case};

/// How deep lists and mappings may be nested: deeper than any Kubernetes resource, and no danger to
/// the stack.
pub const MAX_DEPTH: usize = 128;

/// How many values aliases and merges may repeat in a text, so that a few lines that repeat one
/// another do not become millions of values.
pub const MAX_REPEATED_NODES: u64 = 1_000_000;

/// How many bytes of text aliases and merges may repeat.
pub const MAX_REPEATED_BYTES: u64 = 64 * 1024 * 1024;

/// The documents of a text, without the empty ones.
///
/// # Errors
/// The text is not YAML, or asks for more than the bounds of this module.
pub fn documents(text: &Arc<Text>) -> Result<Vec<Document>, Error> {
    let documents = all_documents(text)?.into_iter();
    Ok(documents.filter(|document| !document.root().is_null()).collect())
}

fn all_documents(text: &Arc<Text>) -> Result<Vec<Document>, Error> {
    let roots = match json::read(&text.text) {
        Some(root) => vec![root],
        None => events::read(text)?,
    };
    Ok(roots.into_iter().map(|root| Document::new(text, root)).collect())
}

/// The value of a text's one document.
///
/// # Errors
/// As [`documents`]; there is none or another one; or it is not a `T`.
pub fn from_text<T: serde::de::DeserializeOwned>(text: &Arc<Text>) -> Result<T, Error> {
    let (empty, mut others): (Vec<_>, Vec<_>) =
        all_documents(text)?.into_iter().partition(|document| document.root().is_null());
    if let Some(second) = others.get(1) {
        return Err(second.unexpected("one document"));
    }
    match others.pop().or(empty.into_iter().next()) {
        Some(document) => document.root().read(Dialect::Plain),
        None => Err(Error::at_beginning(text, "there is no document")),
    }
}

/// As [`from_text`], of a text without a name.
///
/// # Errors
/// As [`from_text`].
pub fn from_str<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, Error> {
    from_text(&Text::new("the text", text.to_owned()))
}
