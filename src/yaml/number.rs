//! Whole numbers within a range.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{self, Deserialize, Deserializer, Unexpected, Visitor};

/// A whole number from `MIN` to `MAX`, both included, of which the type says so to whoever writes
/// another one. `T` holds all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Within<T, const MIN: i64, const MAX: i64>(pub T);

impl<'de, T: TryFrom<i64>, const MIN: i64, const MAX: i64> Deserialize<'de> for Within<T, MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_i64(WithinVisitor(PhantomData))
    }
}

struct WithinVisitor<T, const MIN: i64, const MAX: i64>(PhantomData<T>);

impl<T: TryFrom<i64>, const MIN: i64, const MAX: i64> Visitor<'_> for WithinVisitor<T, MIN, MAX> {
    type Value = Within<T, MIN, MAX>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "a whole number from {MIN} to {MAX}")
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Self::Value, E> {
        let wrong = || E::invalid_value(Unexpected::Signed(number), &self);
        let within = (MIN..=MAX).contains(&number).then_some(number);
        within.and_then(|number| T::try_from(number).ok()).map(Within).ok_or_else(wrong)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
        match i64::try_from(number) {
            Ok(number) => self.visit_i64(number),
            Err(_) => Err(E::invalid_value(Unexpected::Unsigned(number), &self)),
        }
    }
}
