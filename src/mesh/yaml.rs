//! YAML text (and so JSON, which is YAML) as a tree in which each value knows its place.
//!
//! What the values mean is read from the tree by [`super::field`]. Positions have to survive until then: a value may be
//! well-formed YAML and still be wrong, or not be honoured, and the message about it names its line.

use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, MessageFormatter, Spanned, UserMessageFormatter};

use super::place::{MeshError, Place};

/// A YAML value.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Null,
    Boolean(bool),
    Integer(i128),
    Float(f64),
    Text(String),
    Sequence(Vec<Spanned<Value>>),
    Mapping(Vec<(Spanned<String>, Spanned<Value>)>),
}

/// Reads every document of a text; empty ones are left out.
pub(super) fn documents(file: &Arc<str>, text: &str) -> Result<Vec<Spanned<Value>>, MeshError> {
    let options = serde_saphyr::options! {
        with_snippet: false,
        budget: serde_saphyr::budget! {
            max_documents: usize::MAX,
            max_nodes: usize::MAX,
            max_events: usize::MAX,
            max_total_scalar_bytes: usize::MAX,
        },
    };
    serde_saphyr::from_multiple_with_options(text, options).map_err(|error| MeshError::Syntax {
        place: place(file, error.location().unwrap_or(Location::UNKNOWN)),
        problem: UserMessageFormatter.format_message(error.without_snippet()).into_owned(),
    })
}

/// Names a location in a file.
pub(super) fn place(file: &Arc<str>, location: Location) -> Place {
    let span = location.span();
    let bytes = |count: Option<u64>| count.and_then(|count| usize::try_from(count).ok()).unwrap_or_default();
    let start = bytes(span.byte_offset());
    Place {
        file: Arc::clone(file),
        line: location.line(),
        column: location.column(),
        span: start..start + bytes(span.byte_len()),
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Boolean(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Integer(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Integer(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut sequence = Vec::new();
        while let Some(item) = items.next_element()? {
            sequence.push(item);
        }
        Ok(Value::Sequence(sequence))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut mapping = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            mapping.push(entry);
        }
        Ok(Value::Mapping(mapping))
    }
}
