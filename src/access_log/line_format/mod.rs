//! How access-log lines are read: Istio's JSON and TEXT defaults, or a format string of one's own,
//! compiled to a parser.
//!
//! Where Istio has a key for an operator (`%REQ(:METHOD)%` is `method`) the field has that key, so
//! that the same expectations fit lines of every format; any other operator is named as it is
//! written, `REQ(X-TENANT)`. What stands before a line, such as the prefix of `kubectl logs`, is
//! skipped, and what is no access-log line, such as Envoy's own log, is none.

use std::borrow::Cow;
use std::sync::Arc;

use regex::Regex;
use serde_json::{Map, Value};

use super::ParsedLine;
use super::parse::{FieldNotation, LinePart, Object};

/// Istio's TEXT default (`EnvoyTextLogFormat`, `pilot/pkg/model/telemetry_logging.go`).
const ISTIO_TEXT: &str = r#"[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% "%UPSTREAM_TRANSPORT_FAILURE_REASON%" %BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" "%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%" %UPSTREAM_CLUSTER_RAW% %UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% %ROUTE_NAME%"#;

/// Operators for which Istio has a key.
const KEYS: [(&str, &str); 32] = [
    ("START_TIME", "start_time"),
    ("ROUTE_NAME", "route_name"),
    ("REQ(:METHOD)", "method"),
    ("REQ(X-ENVOY-ORIGINAL-PATH?:PATH)", "path"),
    ("REQ(X-ENVOY-ORIGINAL-PATH?)", "path"),
    ("REQ(:PATH)", "path"),
    ("PATH", "path"),
    ("PROTOCOL", "protocol"),
    ("RESPONSE_CODE", "response_code"),
    ("RESPONSE_FLAGS", "response_flags"),
    ("RESPONSE_FLAGS_LONG", "response_flags"),
    ("RESPONSE_CODE_DETAILS", "response_code_details"),
    ("CONNECTION_TERMINATION_DETAILS", "connection_termination_details"),
    ("BYTES_RECEIVED", "bytes_received"),
    ("BYTES_SENT", "bytes_sent"),
    ("DURATION", "duration"),
    ("RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)", "upstream_service_time"),
    ("REQ(X-FORWARDED-FOR)", "x_forwarded_for"),
    ("REQ(USER-AGENT)", "user_agent"),
    ("REQ(X-REQUEST-ID)", "request_id"),
    ("STREAM_ID", "request_id"),
    ("REQ(:AUTHORITY)", "authority"),
    ("REQ(HOST)", "authority"),
    ("UPSTREAM_HOST", "upstream_host"),
    ("UPSTREAM_CLUSTER", "upstream_cluster"),
    ("UPSTREAM_CLUSTER_RAW", "upstream_cluster"),
    ("UPSTREAM_LOCAL_ADDRESS", "upstream_local_address"),
    ("DOWNSTREAM_LOCAL_ADDRESS", "downstream_local_address"),
    ("DOWNSTREAM_REMOTE_ADDRESS", "downstream_remote_address"),
    ("DOWNSTREAM_DIRECT_REMOTE_ADDRESS", "downstream_remote_address"),
    ("REQUESTED_SERVER_NAME", "requested_server_name"),
    ("UPSTREAM_TRANSPORT_FAILURE_REASON", "upstream_transport_failure_reason"),
];

/// Keys whose values are numbers in Istio's JSON.
const NUMBERS: [&str; 4] = ["response_code", "bytes_received", "bytes_sent", "duration"];

/// Keys of which at least one makes a JSON object an access-log line: other programs write JSON
/// too.
const TELLING: [&str; 9] = [
    "response_code",
    "response_code_details",
    "response_flags",
    "request_id",
    "authority",
    "bytes_sent",
    "upstream_host",
    "upstream_local_address",
    "downstream_remote_address",
];

/// A format string that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LineFormatError {
    /// An operator without its end.
    #[error("the operator that begins at {at:?} has no closing %")]
    Unclosed {
        /// From the `%` on.
        at: String,
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
    /// JSON by Istio's keys, or Istio's TEXT; each line is seen by itself.
    Istio(TextFormat),
    /// A text format.
    Text(TextFormat),
    /// A JSON format.
    Json(JsonFormat),
}

/// The keys of a JSON format, each with what it has.
type JsonFormat = Vec<(String, Below)>;

#[derive(Debug, Clone)]
enum Below {
    /// A value, and the field that it becomes: Istio's key for the operator, or for what is no
    /// operator alone the format's own.
    Value(String),
    /// An object, whose values are fields too.
    Object(JsonFormat),
}

#[derive(Debug, Clone)]
struct TextFormat {
    /// What the format begins with.
    start: String,
    operators: Vec<Operator>,
    /// What stands behind the last of them.
    end: String,
    /// Any line.
    loose: Regex,
}

/// One operator of a text format.
#[derive(Debug, Clone)]
struct Operator {
    key: Arc<str>,
    /// What stands before it.
    before: String,
    /// Whether it is in quotation marks by itself.
    quoted: bool,
    /// Whether its values are numbers.
    number: bool,
}

/// How many beginnings are looked at: a prefix may look like one.
const BEGINNINGS: usize = 4;

impl Default for LineFormat {
    fn default() -> Self {
        Self(CompiledFormat::Istio(TextFormat::compile(ISTIO_TEXT).expect("Istio's format is one")))
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
            return Ok(Self(CompiledFormat::Json(json_format(object))));
        }
        TextFormat::compile(format.trim_end_matches(['\n', '\r']).trim_end_matches("\\n"))
            .map(|text| Self(CompiledFormat::Text(text)))
    }

    /// Reads one line of a log; none if it is no access-log line.
    #[must_use]
    pub fn read(&self, line: &str) -> Option<ParsedLine> {
        let line = line.trim();
        match &self.0 {
            CompiledFormat::Istio(text) => match json_object(line) {
                Some(Object(mut fields)) => {
                    if !fields.iter().any(|(key, _)| TELLING.contains(&&**key)) {
                        return None;
                    }
                    for (key, value) in &mut fields {
                        read_number(key, value);
                    }
                    Some(ParsedLine::of_object(line, Object(fields)))
                }
                None => text.read(line),
            },
            CompiledFormat::Text(text) => text.read(line),
            CompiledFormat::Json(format) => {
                let mut fields = Vec::new();
                add_fields(json_object(line)?, format, &mut fields);
                (!fields.is_empty()).then(|| ParsedLine::of_object(line, Object(fields)))
            }
        }
    }
}

fn json_format(object: Map<String, Value>) -> JsonFormat {
    let below = |(key, value): (String, Value)| {
        let below = match value {
            Value::Object(object) => Below::Object(json_format(object)),
            Value::String(text) => Below::Value(lone_operator(&text).map_or_else(|| key.clone(), key_of)),
            _ => Below::Value(key.clone()),
        };
        (key, below)
    };
    object.into_iter().map(below).collect()
}

/// The operator that a text consists of.
fn lone_operator(text: &str) -> Option<&str> {
    let from = text.trim().strip_prefix('%')?;
    let end = operator_end(from)?;
    (end + 1 == from.len()).then(|| &from[..end])
}

/// Adds what an object has of a format's keys.
fn add_fields<'a>(
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
fn json_object(line: &str) -> Option<Object<'_>> {
    let start = line.find('{')?;
    let object = &line[start..];
    if let Ok(object) = serde_json::from_str(object) {
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
fn read_number<T: AsRef<str>>(key: &str, value: &mut FieldNotation<T>) {
    // Few texts are numbers, and that is seen at once.
    if let FieldNotation::Text(text) = value
        && let Ok(number) = text.as_ref().parse()
        && is_number(key)
    {
        *value = FieldNotation::Number(number);
    }
}

impl TextFormat {
    fn compile(format: &str) -> Result<Self, LineFormatError> {
        let mut pattern = String::new();
        let mut operators = Vec::new();
        let mut before = String::new();
        let mut rest = format;
        while let Some((literal, from)) = rest.split_once('%') {
            before.push_str(literal);
            if let Some(after) = from.strip_prefix('%') {
                before.push('%');
                rest = after;
                continue;
            }
            let unclosed = || LineFormatError::Unclosed { at: format!("%{from}") };
            let end = operator_end(from).ok_or_else(unclosed)?;
            let operator = &from[..end];
            rest = &from[end + 1..];
            let quoted = literal.ends_with('"') && rest.starts_with('"');
            pattern.extend([&*regex::escape(&before), group(operator, quoted)]);
            let before = std::mem::take(&mut before);
            let key = key_of(operator);
            operators.push(Operator { number: is_number(&key), key: key.into(), before, quoted });
        }
        if operators.is_empty() {
            return Err(LineFormatError::NoOperator);
        }
        before.push_str(rest);
        // No literal can make the pattern invalid, and groups come from a fixed set.
        let loose = Regex::new(&format!("{pattern}{}$", regex::escape(&before)));
        Ok(Self {
            start: operators[0].before.clone(),
            operators,
            end: before,
            loose: loose.map_err(|_| LineFormatError::NoOperator)?,
        })
    }

    fn read(&self, line: &str) -> Option<ParsedLine> {
        let beginnings = line.match_indices(&self.start).take(BEGINNINGS);
        let values = beginnings.map(|(start, _)| self.plain(&line[start..])).find_map(|found| found);
        let values = values.or_else(|| self.loose(line))?;
        let field = |(Operator { key, number, .. }, text): (&Operator, &str)| {
            let number = if *number { text.parse().ok() } else { None };
            let value =
                number.map_or_else(|| FieldNotation::Text(LinePart::new(line, text)), FieldNotation::Number);
            (LinePart::Apart(Arc::clone(key)), value)
        };
        Some(ParsedLine::new(line, self.operators.iter().zip(values).map(field).collect()))
    }

    /// The values of a line in which none has what follows it in the format, nor a blank that is
    /// not quoted: in one pass.
    fn plain<'line>(&self, mut rest: &'line str) -> Option<Vec<&'line str>> {
        let mut values = Vec::with_capacity(self.operators.len());
        for (index, operator) in self.operators.iter().enumerate() {
            rest = rest.strip_prefix(&*operator.before)?;
            let after = self.operators.get(index + 1).map_or(&self.end, |next| &next.before);
            let next = after.chars().next();
            let is_end = |letter| Some(letter) == next || (letter == ' ' && !operator.quoted);
            let (value, others) = rest.split_at(rest.find(is_end).unwrap_or(rest.len()));
            let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
            if operator.number && !digits && value != "-" && value != "?" {
                return None;
            }
            values.push(value);
            rest = others;
        }
        (rest == self.end).then_some(values)
    }

    /// The values of any line.
    fn loose<'line>(&self, line: &'line str) -> Option<Vec<&'line str>> {
        let captures = self.loose.captures(line)?;
        Some(captures.iter().skip(1).map(|group| group.map(|it| it.as_str()).unwrap_or_default()).collect())
    }
}

/// Where the operator that `from` begins with ends: at the first `%` that is in no parentheses,
/// since a format of `START_TIME` has some of its own.
fn operator_end(from: &str) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, byte) in from.bytes().enumerate() {
        match byte {
            b'(' => depth += 1,
            b')' => depth = depth.saturating_sub(1),
            b'%' if depth == 0 => return Some(at),
            _ => {}
        }
    }
    None
}

/// What an operator's value looks like. Header fields and words of the transport may have blanks,
/// nothing else has; and what stands between quotation marks by itself may be anything up to the
/// second.
fn group(operator: &str, quoted: bool) -> &'static str {
    if is_number(&key_of(operator)) {
        return r"(\d+|-|\?)";
    }
    let free = ["REQ(", "RESP(", "TRAILER(", "DYNAMIC_METADATA(", "FILTER_STATE(", "START_TIME("];
    let loose = free.iter().any(|start| operator.starts_with(start))
        || operator.contains("DETAILS")
        || operator.contains("REASON")
        || quoted;
    if loose { "(.*?)" } else { r"(\S*?)" }
}

/// Whether the key's values are numbers in Istio's JSON.
fn is_number(key: &str) -> bool {
    NUMBERS.contains(&key)
        || ["DURATION", "_BYTES_"].iter().any(|part| key.contains(part) && !key.contains('('))
}

/// The key for an operator: Istio's, else the operator as it is written. A limit of its length,
/// `:20`, is no part of it.
fn key_of(operator: &str) -> String {
    let without_length = match operator.rsplit_once(':') {
        Some((operator, length)) if length.bytes().all(|byte| byte.is_ascii_digit()) => operator,
        _ => operator,
    };
    for (start, key) in [("START_TIME(", "start_time"), ("PATH(", "path")] {
        if without_length.starts_with(start) {
            return key.to_owned();
        }
    }
    let known = KEYS.iter().find(|(name, _)| name.eq_ignore_ascii_case(without_length));
    known.map_or_else(|| without_length.to_owned(), |(_, key)| (*key).to_owned())
}

#[cfg(test)]
mod tests;
