//! How access-log lines are read: the formats that meshes write by default, JSON and text, or a
//! format string of one's own, compiled to a parser.
//!
//! Where Istio has a key for an operator (`%REQ(:METHOD)%` is `method`) the field has that key, so
//! that the same expectations fit lines of every format; any other operator is named as it is
//! written, `REQ(X-TENANT)`. What stands before a line, such as the prefix of `kubectl logs`, is
//! skipped, and what is no access-log line, such as Envoy's own log, is none.

mod json;
mod known;
mod operators;
mod text;

use serde_json::{Map, Value};

use super::ParsedLine;
use super::parse::Object;
use json::{JsonFormat, add_fields, json_format, json_object, known_fields};
use text::TextFormat;

/// A malformed format string.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LineFormatError {
    /// An operator without its end.
    #[error("the operator that begins at {at:?} has no closing %")]
    Unclosed {
        /// From the `%` on.
        at: String,
    },
    /// An operator that Envoy does not know, so that no Envoy writes such a line.
    #[error(
        "Envoy has no operator %{operator}%; those that it has are in its documentation of access logs (command operators)"
    )]
    UnknownOperator {
        /// As it was written.
        operator: String,
    },
    /// Nothing would be read.
    #[error("the format names no operator such as %RESPONSE_CODE%")]
    NoOperator,
}

/// How lines are read.
#[derive(Debug, Clone)]
pub struct LineFormat(CompiledFormat);

#[derive(Debug, Clone)]
enum CompiledFormat {
    /// What proxies write by default, JSON or one of several texts; each line is seen by itself.
    Known(Vec<TextFormat>),
    /// A text format.
    Text(TextFormat),
    /// A JSON format.
    Json(JsonFormat),
}

impl Default for LineFormat {
    fn default() -> Self {
        let text = |format| TextFormat::compile(format).expect("a test reads a line of each");
        Self(CompiledFormat::Known(known::FORMATS.map(text).into()))
    }
}

impl LineFormat {
    /// Compiles one of Envoy's format strings, or the JSON object of a `json_format`.
    ///
    /// # Errors
    /// It is malformed.
    pub fn compile(format: &str) -> Result<Self, LineFormatError> {
        if let Ok(object) = serde_json::from_str::<Map<String, Value>>(format) {
            if !format.contains('%') {
                return Err(LineFormatError::NoOperator);
            }
            return json_format(object).map(|format| Self(CompiledFormat::Json(format)));
        }
        TextFormat::compile(format.trim_end_matches(['\n', '\r']).trim_end_matches("\\n"))
            .map(|text| Self(CompiledFormat::Text(text)))
    }

    /// Reads one line of a log; none if it is no access-log line, or says nothing but when.
    #[must_use]
    pub fn read(&self, line: &str) -> Option<ParsedLine> {
        self.read_any(line.trim()).filter(|line| !line.is_blank())
    }

    fn read_any(&self, line: &str) -> Option<ParsedLine> {
        match &self.0 {
            CompiledFormat::Known(texts) => {
                if let Some(object) = json_object(line) {
                    return Some(ParsedLine::of_object(line, known_fields(object)?));
                }
                let plain = texts.iter().find_map(|text| text.read_plain(line));
                plain.or_else(|| texts.iter().find_map(|text| text.read_any(line)))
            }
            CompiledFormat::Text(text) => text.read_plain(line).or_else(|| text.read_any(line)),
            CompiledFormat::Json(format) => {
                let mut fields = Vec::new();
                add_fields(json_object(line)?, format, &mut fields);
                (!fields.is_empty()).then(|| ParsedLine::of_object(line, Object(fields)))
            }
        }
    }
}

#[cfg(test)]
mod tests;
