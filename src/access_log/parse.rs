//! Reading an access-log line back: one JSON object of Istio's default format
//! (`EnvoyJSONLogFormatIstio`).
//!
//! A field that Envoy had no value for is JSON `null`; older Envoys wrote `"-"`. Both are
//! [`Field::Null`], which is not the same as [`Field::Absent`], a key that the line does not have.
//! Other formats are read by [`super::LineFormat`].
//!
//! A log has millions of lines, so a line is one text and its fields are places in it; only what is
//! escaped is written out.

use std::borrow::Cow;
use std::fmt;
use std::num::NonZeroU16;
use std::ops::Range;
use std::sync::Arc;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::istio_keys::{self, istio_key};

/// Envoy's placeholder for a value that is not there (its formatter's default value).
const UNSET: &str = "-";

/// The one key for which `-` is a value: no flag is set.
const RESPONSE_FLAGS: &str = "response_flags";

/// The key that has a value whatever became of the request.
const START_TIME: &str = "start_time";

/// A line is not one of Istio's JSON format.
#[derive(Debug, thiserror::Error)]
#[error("not a JSON access-log line: {source}")]
pub struct ParseError {
    /// Where the text stops being a JSON object.
    #[from]
    source: serde_json::Error,
}

/// One line: its text, to be shown, and its fields, to be judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParsedLine {
    text: Box<str>,
    fields: Vec<(LinePart, FieldNotation<LinePart>)>,
    /// Which of the fields has a key of Istio's, by the number of the key.
    of_istio: [Option<NonZeroU16>; istio_keys::COUNT],
}

/// What a line says for one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field<'line> {
    /// The line has no such key.
    Absent,
    /// The key is there, without a value.
    Null,
    /// A text.
    Text(&'line str),
    /// A whole number.
    Number(u64),
    /// Something that Istio's format does not have, as JSON.
    Other(&'line str),
}

/// A value as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum FieldNotation<T> {
    Null,
    Text(T),
    Number(u64),
    Other(Box<str>),
}

impl FieldNotation<Cow<'_, str>> {
    /// The same, borrowed from nothing.
    fn into_owned<'text>(self) -> FieldNotation<Cow<'text, str>> {
        self.map(|text| Cow::Owned(text.into_owned()))
    }
}

impl<T> FieldNotation<T> {
    fn map<U>(self, text: impl FnOnce(T) -> U) -> FieldNotation<U> {
        match self {
            Self::Null => FieldNotation::Null,
            Self::Text(part) => FieldNotation::Text(text(part)),
            Self::Number(number) => FieldNotation::Number(number),
            Self::Other(json) => FieldNotation::Other(json),
        }
    }
}

/// The fields of a JSON object in their order, borrowed from its text where they can be.
pub(super) struct Object<'text>(pub(super) Vec<(Cow<'text, str>, FieldNotation<Cow<'text, str>>)>);

impl Object<'_> {
    /// The same, borrowed from nothing.
    pub(super) fn into_owned<'text>(self) -> Object<'text> {
        let owned = |(key, value): (Cow<'_, str>, FieldNotation<Cow<'_, str>>)| {
            (Cow::Owned(key.into_owned()), value.into_owned())
        };
        Object(self.0.into_iter().map(owned).collect())
    }
}

/// A part of a line's text, or what is not in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinePart {
    /// Where it is in the text.
    In(Range<usize>),
    /// What is written there in another way.
    Apart(Arc<str>),
}

impl LinePart {
    /// `part`, which is in `text` or is not.
    #[must_use]
    pub fn new(text: &str, part: &str) -> Self {
        let start = (part.as_ptr() as usize).wrapping_sub(text.as_ptr() as usize);
        let range = start..start.saturating_add(part.len());
        match text.get(range.clone()) {
            Some(_) => Self::In(range),
            None => Self::Apart(part.into()),
        }
    }

    /// The part, of the text that it was made of.
    #[must_use]
    pub fn of<'line>(&'line self, text: &'line str) -> &'line str {
        match self {
            Self::In(range) => &text[range.clone()],
            Self::Apart(part) => part,
        }
    }
}

impl ParsedLine {
    /// Reads one line, with or without its line feed.
    ///
    /// # Errors
    /// It is not a JSON object.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let text = text.trim();
        Ok(Self::of_object(text, serde_json::from_str(text)?))
    }

    /// A line with the fields of an object that is in it.
    pub(super) fn of_object(text: &str, Object(fields): Object<'_>) -> Self {
        let piece = |part: Cow<'_, str>| LinePart::new(text, &part);
        Self::new(text, fields.into_iter().map(|(key, value)| (piece(key), value.map(piece))).collect())
    }

    /// A line of another format, read into the same fields.
    pub(super) fn new(text: &str, fields: Vec<(LinePart, FieldNotation<LinePart>)>) -> Self {
        let mut of_istio = [None; istio_keys::COUNT];
        for (place, (key, _)) in (1..=u16::MAX).zip(&fields) {
            if let Some((_, number)) = istio_key(key.of(text)) {
                of_istio[number] = NonZeroU16::new(place);
            }
        }
        Self { text: text.into(), fields, of_istio }
    }

    /// The line as it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The keys, in the order of the line, which is not to be relied on.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(|(key, _)| key.of(&self.text))
    }

    /// Whether no key has a value but the one for when the line was written.
    #[must_use]
    pub fn is_blank(&self) -> bool {
        let has_value = |value: &FieldNotation<LinePart>| match value {
            FieldNotation::Null => false,
            FieldNotation::Text(piece) => !["", UNSET].contains(&piece.of(&self.text)),
            FieldNotation::Number(_) | FieldNotation::Other(_) => true,
        };
        !self.fields.iter().any(|(key, value)| has_value(value) && key.of(&self.text) != START_TIME)
    }

    /// What the line says for `key`; of a key that is there twice, the second time.
    #[must_use]
    #[inline]
    pub fn field(&self, key: &str) -> Field<'_> {
        let place = match istio_key(key) {
            Some((_, number)) => self.of_istio[number].map(|place| usize::from(place.get()) - 1),
            None => self.fields.iter().rposition(|(it, _)| it.of(&self.text) == key),
        };
        match place {
            Some(place) => self.value(place, key),
            None => Field::Absent,
        }
    }

    fn value(&self, place: usize, key: &str) -> Field<'_> {
        match &self.fields[place].1 {
            FieldNotation::Null => Field::Null,
            FieldNotation::Text(piece) => match piece.of(&self.text) {
                UNSET if key != RESPONSE_FLAGS => Field::Null,
                text => Field::Text(text),
            },
            FieldNotation::Number(number) => Field::Number(*number),
            FieldNotation::Other(json) => Field::Other(json),
        }
    }

    /// The value of `key` if it has one and that is a string.
    #[must_use]
    #[inline]
    pub fn text_of(&self, key: &str) -> Option<&str> {
        match self.field(key) {
            Field::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The value of `key` if it is a whole number, also one that is written as a text: Envoy's JSON
    /// may be all strings.
    #[must_use]
    #[inline]
    pub fn number_of(&self, key: &str) -> Option<u64> {
        match self.field(key) {
            Field::Text(text) => text.parse().ok(),
            Field::Number(number) => Some(number),
            _ => None,
        }
    }
}

/// In words, as a check shows it.
impl fmt::Display for Field<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => formatter.write_str("absent"),
            Self::Null => formatter.write_str("null"),
            Self::Text(text) | Self::Other(text) => formatter.write_str(text),
            Self::Number(number) => number.fmt(formatter),
        }
    }
}

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor)
    }
}

struct ObjectVisitor;

impl<'de> Visitor<'de> for ObjectVisitor {
    type Value = Object<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Object<'de>, A::Error> {
        // Istio's format has 24.
        let mut fields = Vec::with_capacity(24);
        while let Some((key, value)) = entries.next_entry()? {
            let FieldNotation::Text(key) = key else {
                return Err(de::Error::custom("a key that is no text"));
            };
            fields.push((key, value));
        }
        Ok(Object(fields))
    }
}

impl<'de> Deserialize<'de> for FieldNotation<Cow<'de, str>> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WrittenVisitor)
    }
}

struct WrittenVisitor;

impl WrittenVisitor {
    fn other<'de>(json: &impl ToString) -> FieldNotation<Cow<'de, str>> {
        FieldNotation::Other(json.to_string().into())
    }
}

impl<'de> Visitor<'de> for WrittenVisitor {
    type Value = FieldNotation<Cow<'de, str>>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(FieldNotation::Null)
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(FieldNotation::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(FieldNotation::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(FieldNotation::Number(number))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Self::other(&number))
    }

    /// What carries numbers as those of JavaScript may write 101 as 101.0.
    fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
        let written = number.to_string();
        Ok(written.parse().map_or_else(|_| Self::other(&number), FieldNotation::Number))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Self::other(&value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Self::Value, A::Error> {
        Ok(Self::other(&Value::deserialize(SeqAccessDeserializer::new(items))?))
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<Self::Value, A::Error> {
        Ok(Self::other(&Value::deserialize(MapAccessDeserializer::new(entries))?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_a_null_and_an_absent_key_are_three_things() {
        let line =
            ParsedLine::parse(r#"{"method":"GET","path":null,"response_code":101}"#).expect("a JSON object");
        assert_eq!(line.field("method"), Field::Text("GET"));
        assert_eq!(line.field("response_code"), Field::Number(101));
        assert_eq!(line.field("path"), Field::Null);
        assert_eq!(line.field("authority"), Field::Absent);
        assert_eq!(line.text_of("method"), Some("GET"));
        assert_eq!(line.text_of("response_code"), None);
    }

    #[test]
    fn a_dash_is_an_unset_value_except_for_the_response_flags() {
        let line = ParsedLine::parse(r#"{"path":"-","response_flags":"-"}"#).expect("a JSON object");
        assert_eq!(line.field("path"), Field::Null);
        assert_eq!(line.text_of("response_flags"), Some("-"));
    }

    #[test]
    fn the_text_is_kept_without_its_line_feed() {
        let line = ParsedLine::parse("{\"path\":\"/\"}\n").expect("a JSON object");
        assert_eq!(line.text(), r#"{"path":"/"}"#);
    }

    #[test]
    fn what_is_escaped_is_read_and_what_istio_does_not_have_stays_json() {
        let line = ParsedLine::parse(r#"{"a\"b":"c\nd","e":[1,{"f":-2.5}],"g":true,"h":1,"h":2}"#)
            .expect("a JSON object");
        assert_eq!(line.field("a\"b"), Field::Text("c\nd"));
        assert_eq!(line.field("e"), Field::Other(r#"[1,{"f":-2.5}]"#));
        assert_eq!(line.field("g"), Field::Other("true"));
        assert_eq!(line.field("h"), Field::Number(2));
    }

    #[test]
    fn what_is_not_a_json_object_is_refused() {
        for text in ["", "[1]", "warning: something", r#"{"method":"#] {
            assert!(ParsedLine::parse(text).is_err(), "{text:?} was taken for a line");
        }
    }
}
