//! Reading typed values out of a document: each accessor names what it expects, and its error says where the value is.
//!
//! A mapping is read by taking its fields one by one. What is left at the end is what nobody asked for, which
//! [`Fields::warn_of_rest`] turns into warnings.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use serde_saphyr::Spanned;

use super::duration;
use super::place::{MeshError, Place, Places, Warning};
use super::yaml::{self, Value};

/// How field names are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spelling {
    /// Exactly, as Kubernetes takes them.
    Exact,
    /// `lowerCamelCase` or `snake_case`, as protobuf's JSON takes them.
    Protobuf,
}

/// A value, with its path in the document and its place in the file.
#[derive(Debug)]
pub(super) struct Field {
    path: String,
    place: Place,
    spelling: Spelling,
    value: Value,
}

/// The fields of a mapping that have not been taken yet.
#[derive(Debug)]
pub(super) struct Fields {
    path: String,
    place: Place,
    spelling: Spelling,
    rest: Vec<(Spanned<String>, Spanned<Value>)>,
}

impl Field {
    /// A whole document.
    pub(super) fn document(file: &Arc<str>, document: Spanned<Value>) -> Self {
        let place = yaml::place(file, document.referenced);
        Self { path: String::new(), place, spelling: Spelling::Exact, value: document.value }
    }

    /// From here on field names may be in `snake_case` too.
    pub(super) fn into_protobuf(self) -> Self {
        Self { spelling: Spelling::Protobuf, ..self }
    }

    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    /// The path in the document, `spec.host`; of the document itself it is empty.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    pub(super) fn text(self) -> Result<String, MeshError> {
        match self.value {
            Value::Text(text) => Ok(text),
            Value::Boolean(_) | Value::Integer(_) | Value::Float(_) => {
                Err(self.unexpected("a string (put the value in quotes)"))
            }
            _ => Err(self.unexpected("a string")),
        }
    }

    pub(super) fn boolean(self) -> Result<bool, MeshError> {
        match self.value {
            Value::Boolean(value) => Ok(value),
            _ => Err(self.unexpected("true or false, without quotes")),
        }
    }

    /// A whole number within a range, which tells its type.
    pub(super) fn number<T>(self, range: RangeInclusive<T>) -> Result<T, MeshError>
    where
        T: TryFrom<i128> + PartialOrd + fmt::Display,
    {
        let number = match &self.value {
            Value::Integer(number) => Some(*number),
            // Protobuf's JSON takes numbers in quotes.
            Value::Text(text) if self.spelling == Spelling::Protobuf => text.parse().ok(),
            _ => None,
        };
        match number.and_then(|number| T::try_from(number).ok()) {
            Some(number) if range.contains(&number) => Ok(number),
            _ => Err(self.unexpected(&format!("a whole number from {} to {}", range.start(), range.end()))),
        }
    }

    /// A TCP port.
    pub(super) fn port(self) -> Result<u16, MeshError> {
        self.number(1..=u16::MAX)
    }

    pub(super) fn duration(self) -> Result<Duration, MeshError> {
        match &self.value {
            Value::Text(text) => match duration::parse(text) {
                Some(duration) => Ok(duration),
                None => Err(self.unexpected(DURATION)),
            },
            _ => Err(self.unexpected(DURATION)),
        }
    }

    /// One of a set of names.
    pub(super) fn choice<T: Copy>(self, choices: &[(&str, T)]) -> Result<T, MeshError> {
        let chosen = match &self.value {
            Value::Text(text) => choices.iter().find(|(name, _)| name == text),
            _ => None,
        };
        if let Some((_, choice)) = chosen {
            return Ok(*choice);
        }
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        Err(self.unexpected(&format!("one of {}", names.join(", "))))
    }

    /// Which of the two Kubernetes' `IntOrString` is.
    pub(super) fn is_text(&self) -> bool {
        matches!(self.value, Value::Text(_))
    }

    pub(super) fn items(self) -> Result<Vec<Field>, MeshError> {
        let Self { path, place, spelling, value } = self;
        match value {
            Value::Sequence(items) => Ok(items
                .into_iter()
                .enumerate()
                .map(|(index, item)| Field {
                    path: format!("{path}[{index}]"),
                    place: yaml::place(&place.file, item.referenced),
                    spelling,
                    value: item.value,
                })
                .collect()),
            value => Err(Self { path, place, spelling, value }.unexpected("a list")),
        }
    }

    pub(super) fn texts(self) -> Result<Vec<String>, MeshError> {
        self.items()?.into_iter().map(Field::text).collect()
    }

    pub(super) fn fields(self) -> Result<Fields, MeshError> {
        let Self { path, place, spelling, value } = self;
        match value {
            Value::Mapping(rest) => Ok(Fields { path, place, spelling, rest }),
            value => Err(Self { path, place, spelling, value }.unexpected("a mapping (name: value)")),
        }
    }

    /// A mapping of names to texts, such as labels.
    pub(super) fn labels(self) -> Result<BTreeMap<String, String>, MeshError> {
        let Fields { path, place, spelling, rest } = self.fields()?;
        rest.into_iter()
            .map(|(name, value)| {
                let field = Field {
                    path: format!("{path}.{}", name.value),
                    place: yaml::place(&place.file, value.referenced),
                    spelling,
                    value: value.value,
                };
                Ok((name.value, field.text()?))
            })
            .collect()
    }

    /// The value as JSON, with names as protobuf's own, in `snake_case`.
    pub(super) fn to_json(&self) -> serde_json::Value {
        json(&self.value, snake_case)
    }

    /// The value as JSON, with names as they are.
    pub(super) fn to_exact_json(&self) -> serde_json::Value {
        json(&self.value, str::to_owned)
    }

    /// Adds each name and each text of the value to `places`, with its place.
    pub(super) fn note_places(&self, places: &mut Places) {
        note_places(&self.value, &self.place.file, places);
    }

    /// The error for a value that is not what is expected here.
    pub(super) fn unexpected(&self, expected: &str) -> MeshError {
        MeshError::Field {
            place: self.place.clone(),
            field: if self.path.is_empty() { "the document".to_owned() } else { self.path.clone() },
            expected: expected.to_owned(),
            found: match &self.value {
                Value::Null => "nothing".to_owned(),
                Value::Boolean(value) => value.to_string(),
                Value::Integer(value) => value.to_string(),
                Value::Float(value) => value.to_string(),
                Value::Text(text) => format!("{text:?}"),
                Value::Sequence(_) => "a list".to_owned(),
                Value::Mapping(_) => "a mapping".to_owned(),
            },
        }
    }

    /// A warning about this field.
    pub(super) fn warning(&self, text: &str) -> Warning {
        Warning { place: self.place.clone(), text: format!("{}: {text}", self.path) }
    }
}

fn json(value: &Value, rename: fn(&str) -> String) -> serde_json::Value {
    match value {
        Value::Null => serde_json::Value::Null,
        Value::Boolean(value) => (*value).into(),
        // A number that JSON cannot hold is none that Envoy takes, which it says if it is given a text.
        Value::Integer(value) => {
            i64::try_from(*value).map_or_else(|_| value.to_string().into(), serde_json::Value::from)
        }
        Value::Float(value) => (*value).into(),
        Value::Text(value) => value.as_str().into(),
        Value::Sequence(items) => items.iter().map(|item| json(&item.value, rename)).collect(),
        Value::Mapping(fields) => {
            fields.iter().map(|(name, value)| (rename(&name.value), json(&value.value, rename))).collect()
        }
    }
}

fn note_places(value: &Value, file: &Arc<str>, places: &mut Places) {
    match value {
        Value::Mapping(fields) => {
            for (name, value) in fields {
                places.add(snake_case(&name.value), yaml::place(file, name.referenced));
                if let Value::Text(text) = &value.value {
                    places.add(text.clone(), yaml::place(file, value.referenced));
                }
                note_places(&value.value, file, places);
            }
        }
        Value::Sequence(items) => {
            for item in items {
                if let Value::Text(text) = &item.value {
                    places.add(text.clone(), yaml::place(file, item.referenced));
                }
                note_places(&item.value, file, places);
            }
        }
        _ => {}
    }
}

/// What a duration has to look like.
const DURATION: &str = "a duration such as 1s, 0.3s or 1h30m";

impl Fields {
    /// Where the mapping begins.
    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    /// Whether nothing is left.
    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Takes a field by its name, in `lowerCamelCase`. A null is an absent field, as everywhere in Kubernetes.
    pub(super) fn take(&mut self, name: &str) -> Option<Field> {
        let index = self.rest.iter().position(|(key, _)| match self.spelling {
            Spelling::Exact => key.value == name,
            Spelling::Protobuf => lower_camel_case(&key.value) == name,
        })?;
        let (key, value) = self.rest.remove(index);
        if matches!(value.value, Value::Null) {
            return None;
        }
        Some(Field {
            path: if self.path.is_empty() { key.value } else { format!("{}.{}", self.path, key.value) },
            place: yaml::place(&self.place.file, value.referenced),
            spelling: self.spelling,
            value: value.value,
        })
    }

    /// Takes a field that must be there.
    pub(super) fn required(&mut self, name: &str) -> Result<Field, MeshError> {
        self.take(name).ok_or_else(|| MeshError::Field {
            place: self.place.clone(),
            field: if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) },
            expected: "a value".to_owned(),
            found: "nothing".to_owned(),
        })
    }

    /// Takes a field that is a mapping; no fields if it is absent.
    pub(super) fn fields(&mut self, name: &str) -> Result<Option<Fields>, MeshError> {
        self.take(name).map(Field::fields).transpose()
    }

    /// Takes a field that is a list; empty if it is absent.
    pub(super) fn items(&mut self, name: &str) -> Result<Vec<Field>, MeshError> {
        Ok(self.take(name).map(Field::items).transpose()?.unwrap_or_default())
    }

    /// Takes fields that need no warning, since they have no bearing on a proxy.
    pub(super) fn ignore(&mut self, names: &[&str]) {
        for name in names {
            self.take(name);
        }
    }

    /// Warns of each field that nobody took.
    pub(super) fn warn_of_rest(self, warnings: &mut Vec<Warning>) {
        for (key, value) in self.rest {
            if matches!(value.value, Value::Null) {
                continue;
            }
            let prefix = if self.path.is_empty() { String::new() } else { format!("{}.", self.path) };
            warnings.push(Warning {
                place: yaml::place(&self.place.file, key.referenced),
                text: format!("{prefix}{} is not implemented here and has no effect", key.value),
            });
        }
    }
}

/// Protobuf's JSON name of a field: `allow_connect` is `allowConnect`; a name without `_` stays as it is.
pub(super) fn lower_camel_case(name: &str) -> String {
    let mut camel = String::with_capacity(name.len());
    let mut capital = false;
    for character in name.chars() {
        if character == '_' {
            capital = true;
        } else if capital {
            camel.push(character.to_ascii_uppercase());
            capital = false;
        } else {
            camel.push(character);
        }
    }
    camel
}

/// A field's name in protobuf: `allowConnect` is `allow_connect`. What is no name of a field, such as `@type`, stays.
pub(super) fn snake_case(name: &str) -> String {
    if name.contains(['@', '.', '/']) {
        return name.to_owned();
    }
    let mut snake = String::with_capacity(name.len() + 4);
    for character in name.chars() {
        if character.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(character.to_ascii_lowercase());
    }
    snake
}

#[cfg(test)]
mod tests;
