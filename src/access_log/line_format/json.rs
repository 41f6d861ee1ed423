//! Lines that are JSON objects: by Istio's keys and those that other meshes have for the same, or
//! by a
//! `json_format` of one's own.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::LineFormatError;
use super::operators::{self, is_number, key_of, operator_end};
use crate::access_log::istio_keys::istio_key;
use crate::access_log::parse::{FieldNotation, Object};

/// The keys of a JSON format, each with what it has.
pub(super) type JsonFormat = Vec<(String, Below)>;

#[derive(Debug, Clone)]
pub(super) enum Below {
    /// A value, and the field that it becomes: Istio's key where the value is one operator, else
    /// the key of the format.
    Value(String),
    /// An object, whose values are fields too.
    Object(JsonFormat),
}

/// Compiles a `json_format`.
pub(super) fn json_format(object: Map<String, Value>) -> Result<JsonFormat, LineFormatError> {
    let below = |(key, value): (String, Value)| {
        let below = match value {
            Value::Object(object) => Below::Object(json_format(object)?),
            Value::String(text) => {
                check_operators(&text)?;
                Below::Value(lone_operator(&text).map_or_else(|| key.clone(), key_of))
            }
            _ => Below::Value(key.clone()),
        };
        Ok((key, below))
    };
    object.into_iter().map(below).collect()
}

/// Refuses a text with an operator that Envoy does not know.
fn check_operators(text: &str) -> Result<(), LineFormatError> {
    let mut rest = text;
    while let Some((_, from)) = rest.split_once('%') {
        if let Some(after) = from.strip_prefix('%') {
            rest = after;
            continue;
        }
        let unclosed = || LineFormatError::Unclosed { at: format!("%{from}") };
        let end = operator_end(from).ok_or_else(unclosed)?;
        operators::check(&from[..end])?;
        rest = &from[end + 1..];
    }
    Ok(())
}

/// The operator that a text consists of.
fn lone_operator(text: &str) -> Option<&str> {
    let from = text.trim().strip_prefix('%')?;
    let end = operator_end(from)?;
    (end + 1 == from.len()).then(|| &from[..end])
}

/// Adds what an object has of a format's keys.
pub(super) fn add_fields<'a>(
    Object(found): Object<'a>,
    format: &'a JsonFormat,
    fields: &mut Vec<(Cow<'a, str>, FieldNotation<Cow<'a, str>>)>,
) {
    for (key, mut value) in found {
        match format.iter().find(|(known, _)| *known == key) {
            Some((_, Below::Value(field))) => {
                read_number(field, &mut value);
                fields.push((Cow::Borrowed(field), value));
            }
            Some((_, Below::Object(format))) => {
                if let FieldNotation::Other(json) = &value
                    && let Ok(object) = serde_json::from_str::<Object<'_>>(json)
                {
                    add_fields(object.into_owned(), format, fields);
                }
            }
            None => {}
        }
    }
}

/// The JSON object at the end of a line. An excerpt may have dots where fields were left out,
/// `{...."method":"GET",....}`.
pub(super) fn json_object(line: &str) -> Option<Object<'_>> {
    let start = line.find('{')?;
    let object = &line[start..];
    if let Ok(object) = serde_json::from_str(object) {
        return Some(object);
    }
    // What stands before it may have braces of its own, as the labels that Loki's `logcli` prints.
    if let Some(other) = line.find("{\"").filter(|other| *other != start)
        && let Ok(object) = serde_json::from_str(&line[other..])
    {
        return Some(object);
    }
    let inner = object.strip_prefix('{')?.strip_suffix('}')?;
    if !inner.starts_with("...") && !inner.ends_with("...") {
        return None;
    }
    let inner = inner.trim_matches('.').trim_matches(',');
    let whole = format!("{{{inner}}}");
    serde_json::from_str::<Object<'_>>(&whole).ok().map(Object::into_owned)
}

/// Makes a number of what a JSON format without types writes as a text.
pub(super) fn read_number<T: AsRef<str>>(key: &str, value: &mut FieldNotation<T>) {
    // Few texts are numbers, and that is seen at once.
    if let FieldNotation::Text(text) = value
        && let Ok(number) = text.as_ref().parse()
        && is_number(key)
    {
        *value = FieldNotation::Number(number);
    }
}

/// Keys of which at least one makes a JSON object an access-log line: other programs write JSON,
/// too, and `request_id`, `path` or `duration` in it.
const TELLING: [&str; 7] = [
    "response_code",
    "response_code_details",
    "response_flags",
    "bytes_sent",
    "upstream_host",
    "upstream_local_address",
    "downstream_remote_address",
];

/// What others call what Istio's JSON has, in lower case and with underscores: Envoy Gateway by the
/// fields of the request, Gloo by words of its own.
const ALIASES: [(&str, &str); 12] = [
    ("x_envoy_origin_path", "path"),
    ("x_envoy_original_path", "path"),
    ("x_envoy_upstream_service_time", "upstream_service_time"),
    ("x_request_id", "request_id"),
    ("downstream_direct_remote_address", "downstream_remote_address"),
    ("response_flags_long", "response_flags"),
    ("upstream_cluster_raw", "upstream_cluster"),
    ("total_duration", "duration"),
    ("http_method", "method"),
    ("request_method", "method"),
    ("request_path", "path"),
    ("@timestamp", "start_time"),
];

/// Gives the fields of a proxy's JSON Istio's keys; none if the object is no access-log line.
pub(super) fn known_fields(Object(mut fields): Object<'_>) -> Option<Object<'_>> {
    for (key, _) in &mut fields {
        if let Some(known) = renamed(key) {
            *key = Cow::Borrowed(known);
        }
    }
    if !fields.iter().any(|(key, _)| TELLING.contains(&&**key)) {
        return None;
    }
    for (key, value) in &mut fields {
        read_number(key, value);
    }
    Some(Object(fields))
}

/// Istio's key for what another program calls `key`: `userAgent`, `user-agent`, `:authority`.
fn renamed(key: &str) -> Option<&'static str> {
    if istio_key(key).is_some() {
        return None;
    }
    let mut plain = String::with_capacity(key.len() + 4);
    for letter in key.trim_start_matches(':').chars() {
        match letter {
            '-' | '.' | ' ' => plain.push('_'),
            upper if upper.is_ascii_uppercase() => {
                if plain.ends_with(|before: char| before.is_ascii_lowercase()) {
                    plain.push('_');
                }
                plain.push(upper.to_ascii_lowercase());
            }
            other => plain.push(other),
        }
    }
    if let Some((known, _)) = istio_key(&plain) {
        return Some(known);
    }
    ALIASES.iter().find(|(alias, _)| *alias == plain).map(|(_, key)| *key)
}
