//! Types that read more of a value than what it says.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{self, Deserialize, Deserializer, SeqAccess, Visitor};

use super::place::Place;

/// The names by which the deserializer of trees, and no other one, knows [`Placed`] and [`Skip`].
pub(super) const PLACED: &str = "$yaml::Placed";
pub(super) const SKIP: &str = "$yaml::Skip";

/// A value that knows where it is, so that a report can point there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed<T> {
    /// The value.
    pub value: T,
    /// Where it is; none where it was not read from a text.
    pub place: Option<Place>,
    /// Its path in its document, `spec.ports[0]`.
    pub path: String,
}

impl<T> Placed<T> {
    /// Its line; none where it was not read from a text.
    #[must_use]
    pub fn line(&self) -> Option<u64> {
        self.place.as_ref().map(|place| place.line)
    }
}

impl<T> From<T> for Placed<T> {
    fn from(value: T) -> Self {
        Self { value, place: None, path: String::new() }
    }
}

impl<T> Deref for Placed<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Placed<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_struct(PLACED, &[], PlacedVisitor(PhantomData))
    }
}

struct PlacedVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for PlacedVisitor<T> {
    type Value = Placed<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value of a tree")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut rounds: A) -> Result<Self::Value, A::Error> {
        let file: String = next(&mut rounds)?;
        let (line, column) = (next(&mut rounds)?, next(&mut rounds)?);
        let (start, end) = (next(&mut rounds)?, next(&mut rounds)?);
        let place = Place { file: file.into(), line, column, span: start..end };
        Ok(Placed { path: next(&mut rounds)?, value: next(&mut rounds)?, place: Some(place) })
    }
}

fn next<'de, T: Deserialize<'de>, A: SeqAccess<'de>>(rounds: &mut A) -> Result<T, A::Error> {
    rounds.next_element()?.ok_or_else(|| de::Error::custom("a value that has no place"))
}

impl<T: JsonSchema> JsonSchema for Placed<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// A value that is not looked at, and not noted as unread either.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Skip;

impl<'de> Deserialize<'de> for Skip {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_unit_struct(SKIP, SkipVisitor)
    }
}

struct SkipVisitor;

impl Visitor<'_> for SkipVisitor {
    type Value = Skip;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Skip, E> {
        Ok(Skip)
    }
}
