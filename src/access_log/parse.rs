//! Reading an access-log line back: one JSON object of Istio's default format (`EnvoyJSONLogFormatIstio`).
//!
//! A field that Envoy had no value for is JSON `null`; older Envoys wrote `"-"`. Both are [`Field::Null`], which is not
//! the same as [`Field::Absent`], a key that the line does not have. Other formats are read by [`super::LineFormat`].

use serde_json::{Map, Value};

/// Envoy's placeholder for a value that is not there (its formatter's default value).
const UNSET: &str = "-";

/// The one key for which `-` is a value: no flag is set.
const RESPONSE_FLAGS: &str = "response_flags";

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
    text: String,
    fields: Map<String, Value>,
}

/// What a line says for one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field<'line> {
    /// The line has no such key.
    Absent,
    /// The key is there, without a value.
    Null,
    /// The value, a string or a number in Istio's format.
    Value(&'line Value),
}

impl ParsedLine {
    /// Reads one line, with or without its line feed.
    ///
    /// # Errors
    /// It is not a JSON object.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let text = text.trim();
        Ok(Self { text: text.to_owned(), fields: serde_json::from_str(text)? })
    }

    /// A line of another format, read into the same fields.
    pub(super) fn new(text: &str, fields: Map<String, Value>) -> Self {
        Self { text: text.to_owned(), fields }
    }

    /// The line as it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The keys, in alphabetical order: Envoy's own order is not to be relied on.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.fields.keys().map(String::as_str)
    }

    /// What the line says for `key`.
    #[must_use]
    pub fn field(&self, key: &str) -> Field<'_> {
        match self.fields.get(key) {
            None => Field::Absent,
            Some(Value::Null) => Field::Null,
            Some(Value::String(text)) if text == UNSET && key != RESPONSE_FLAGS => Field::Null,
            Some(value) => Field::Value(value),
        }
    }

    /// The value of `key` if it has one and that is a string.
    #[must_use]
    pub fn text_of(&self, key: &str) -> Option<&str> {
        match self.field(key) {
            Field::Value(Value::String(text)) => Some(text),
            _ => None,
        }
    }

    /// The value of `key` if it is a whole number, also one that is written as a text: Envoy's JSON may be all strings.
    #[must_use]
    pub fn number_of(&self, key: &str) -> Option<u64> {
        match self.field(key) {
            Field::Value(Value::String(text)) => text.parse().ok(),
            Field::Value(value) => value.as_u64(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_a_null_and_an_absent_key_are_three_things() {
        let line =
            ParsedLine::parse(r#"{"method":"GET","path":null,"response_code":101}"#).expect("a JSON object");
        assert_eq!(line.field("method"), Field::Value(&Value::from("GET")));
        assert_eq!(line.field("response_code"), Field::Value(&Value::from(101)));
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
    fn what_is_not_a_json_object_is_refused() {
        for text in ["", "[1]", "warning: something", r#"{"method":"#] {
            assert!(ParsedLine::parse(text).is_err(), "{text:?} was taken for a line");
        }
    }
}
