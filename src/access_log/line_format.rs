//! How access-log lines are read: Istio's JSON and TEXT defaults, or a format string of one's own, compiled to a parser.
//!
//! Where Istio has a key for an operator (`%REQ(:METHOD)%` is `method`) the field has that key, so that the same
//! expectations fit lines of every format; any other operator is named as it is written, `REQ(X-TENANT)`. What stands before
//! a line, such as the prefix of `kubectl logs`, is skipped, and what is no access-log line, such as Envoy's own log, is none.

use std::borrow::Cow;
use std::sync::Arc;

use regex::{Captures, Regex};
use serde_json::{Map, Value};

use super::ParsedLine;
use super::parse::{Object, Piece, Written};

/// Istio's TEXT default (`EnvoyTextLogFormat`, `pilot/pkg/model/telemetry_logging.go`).
const ISTIO_TEXT: &str = r#"[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% "%UPSTREAM_TRANSPORT_FAILURE_REASON%" %BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" "%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%" %UPSTREAM_CLUSTER_RAW% %UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% %ROUTE_NAME%"#;

/// Operators for which Istio has a key.
const KEYS: [(&str, &str); 31] = [
    ("START_TIME", "start_time"),
    ("ROUTE_NAME", "route_name"),
    ("REQ(:METHOD)", "method"),
    ("REQ(X-ENVOY-ORIGINAL-PATH?:PATH)", "path"),
    ("REQ(X-ENVOY-ORIGINAL-PATH?)", "path"),
    ("REQ(:PATH)", "path"),
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

/// Keys of which at least one makes a JSON object an access-log line: other programs write JSON too.
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
    /// A JSON format in which a value is no text.
    #[error("the JSON format's {key:?} is not a text")]
    NotText {
        /// The key.
        key: String,
    },
}

/// How lines are read.
#[derive(Debug, Clone)]
pub struct LineFormat(Kind);

#[derive(Debug, Clone)]
enum Kind {
    /// JSON by Istio's keys, or Istio's TEXT; each line is seen by itself.
    Istio(Text),
    /// A text format.
    Text(Text),
    /// A JSON format: its keys, and Istio's for them.
    Json(Vec<(String, String)>),
}

#[derive(Debug, Clone)]
struct Text {
    keys: Vec<Arc<str>>,
    /// What the format begins with.
    start: String,
    /// A line in which no value has what follows it in the format. Such an expression is matched in one pass.
    plain: Regex,
    /// Any line.
    loose: Regex,
}

/// How many beginnings are looked at: a prefix may look like one.
const BEGINNINGS: usize = 4;

impl Default for LineFormat {
    fn default() -> Self {
        Self(Kind::Istio(Text::compile(ISTIO_TEXT).expect("Istio's format is one")))
    }
}

impl LineFormat {
    /// Compiles one of Envoy's format strings, or the JSON object of a `json_format`.
    ///
    /// # Errors
    /// It is malformed.
    pub fn compile(format: &str) -> Result<Self, LineFormatError> {
        if let Ok(object) = serde_json::from_str::<Map<String, Value>>(format) {
            let pair = |(key, value): (String, Value)| match value.as_str() {
                Some(operator) => {
                    let istios = key_of(operator.trim().trim_matches('%'));
                    Ok((key, istios))
                }
                None => Err(LineFormatError::NotText { key }),
            };
            return Ok(Self(Kind::Json(object.into_iter().map(pair).collect::<Result<_, _>>()?)));
        }
        Text::compile(format.trim_end_matches(['\n', '\r']).trim_end_matches("\\n"))
            .map(|text| Self(Kind::Text(text)))
    }

    /// Reads one line of a log; none if it is no access-log line.
    #[must_use]
    pub fn read(&self, line: &str) -> Option<ParsedLine> {
        let line = line.trim();
        match &self.0 {
            Kind::Istio(text) => match json_object(line) {
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
            Kind::Text(text) => text.read(line),
            Kind::Json(keys) => {
                let Object(found) = json_object(line)?;
                let renamed = found.into_iter().filter_map(|(key, mut value)| {
                    let (_, istios) = keys.iter().find(|(it, _)| *it == key)?;
                    read_number(istios, &mut value);
                    Some((Cow::Borrowed(istios.as_str()), value))
                });
                let fields: Vec<_> = renamed.collect();
                (!fields.is_empty()).then(|| ParsedLine::of_object(line, Object(fields)))
            }
        }
    }
}

/// The JSON object at the end of a line. An excerpt may have dots where fields were left out, `{...."method":"GET",....}`.
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
    let Object(fields) = serde_json::from_str(&whole).ok()?;
    Some(Object(
        fields.into_iter().map(|(key, value)| (key.into_owned().into(), value.into_owned())).collect(),
    ))
}

/// Makes a number of what a JSON format without types writes as a text.
fn read_number<T: AsRef<str>>(key: &str, value: &mut Written<T>) {
    // Few texts are numbers, and that is seen at once.
    if let Written::Text(text) = value
        && let Ok(number) = text.as_ref().parse()
        && is_number(key)
    {
        *value = Written::Number(number);
    }
}

impl Text {
    fn compile(format: &str) -> Result<Self, LineFormatError> {
        let (mut plain, mut loose) = (String::new(), String::new());
        let mut keys = Vec::new();
        let mut rest = format;
        while let Some((literal, from)) = rest.split_once('%') {
            let literally = regex::escape(literal);
            plain.push_str(&literally);
            loose.push_str(&literally);
            if let Some(after) = from.strip_prefix('%') {
                plain.push('%');
                loose.push('%');
                rest = after;
                continue;
            }
            let unclosed = || LineFormatError::Unclosed { at: format!("%{from}") };
            let end = operator_end(from).ok_or_else(unclosed)?;
            let operator = &from[..end];
            rest = &from[end + 1..];
            let quoted = literal.ends_with('"') && rest.starts_with('"');
            loose.push_str(group(operator, quoted));
            plain.push_str(&plain_group(operator, quoted, rest.chars().next()));
            keys.push(key_of(operator).into());
        }
        if keys.is_empty() {
            return Err(LineFormatError::NoOperator);
        }
        // No literal can make a pattern invalid, and groups come from a fixed set.
        let end = regex::escape(rest);
        let regex = |pattern: String| Regex::new(&pattern).map_err(|_| LineFormatError::NoOperator);
        let (plain, loose) = (regex(format!("^{plain}{end}$"))?, regex(format!("{loose}{end}$"))?);
        Ok(Self { keys, start: format.split('%').next().unwrap_or_default().to_owned(), plain, loose })
    }

    fn captures<'line>(&self, line: &'line str) -> Option<Captures<'line>> {
        let beginnings = line.match_indices(&self.start).take(BEGINNINGS);
        let mut plain = beginnings.map(|(start, _)| self.plain.captures(&line[start..]));
        plain.find_map(|found| found).or_else(|| self.loose.captures(line))
    }

    fn read(&self, line: &str) -> Option<ParsedLine> {
        let captures = self.captures(line)?;
        let groups = captures.iter().skip(1).map(|group| group.map(|it| it.as_str()).unwrap_or_default());
        let field = |(key, text): (&Arc<str>, &str)| {
            let number = if is_number(key) { text.parse().ok() } else { None };
            let value = number.map_or_else(|| Written::Text(Piece::new(line, text)), Written::Number);
            (Piece::Apart(Arc::clone(key)), value)
        };
        Some(ParsedLine::new(line, self.keys.iter().zip(groups).map(field).collect()))
    }
}

/// Where the operator that `from` begins with ends: at the first `%` that is in no parentheses, since a format of
/// `START_TIME` has some of its own.
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

/// What an operator's value looks like. Header fields and words of the transport may have blanks, nothing else has; and
/// what stands between quotation marks by itself may be anything up to the second.
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

/// The same for values that have nothing of what follows them in the format.
fn plain_group(operator: &str, quoted: bool, next: Option<char>) -> String {
    if is_number(&key_of(operator)) {
        return r"(\d+|-|\?)".to_owned();
    }
    let blank = if quoted { "" } else { " " };
    let next =
        next.filter(|next| *next != '%').map(|next| regex::escape(&next.to_string())).unwrap_or_default();
    if blank.is_empty() && next.is_empty() { "(.*)".to_owned() } else { format!("([^{blank}{next}]*)") }
}

/// Whether the key's values are numbers in Istio's JSON.
fn is_number(key: &str) -> bool {
    NUMBERS.contains(&key)
        || ["DURATION", "_BYTES_"].iter().any(|part| key.contains(part) && !key.contains('('))
}

/// The key for an operator: Istio's, else the operator as it is written. A limit of its length, `:20`, is no part of it.
fn key_of(operator: &str) -> String {
    let without_length = match operator.rsplit_once(':') {
        Some((operator, length)) if length.bytes().all(|byte| byte.is_ascii_digit()) => operator,
        _ => operator,
    };
    if without_length.starts_with("START_TIME(") {
        return "start_time".to_owned();
    }
    let known = KEYS.iter().find(|(name, _)| name.eq_ignore_ascii_case(without_length));
    known.map_or_else(|| without_length.to_owned(), |(_, key)| (*key).to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::Field;
    use super::*;

    const TEXT: &str = r#"[2026-11-23T15:14:25.503Z] "GET /a b HTTP/1.1" 101 UC upstream_reset_after_response_started{connection_termination} - "-" 34 22 1019 - "-" "Python/3.11 \"websockets\" 17.4" "edd695f0" "web:8080" "127.0.10.2:8000" outbound|8080||web.default.svc.cluster.local 127.0.0.1:51908 127.0.10.1:8080 127.0.0.1:55024 - default"#;

    #[test]
    fn istios_text_has_the_fields_of_its_json() {
        for prefix in ["", "[pod/web-1/istio-proxy] ", "2026-11-23T15:14:26Z stdout F "] {
            let line = LineFormat::default().read(&format!("{prefix}{TEXT}\n")).expect("a line");
            assert_eq!(line.text_of("start_time"), Some("2026-11-23T15:14:25.503Z"));
            assert_eq!(line.text_of("path"), Some("/a b"));
            assert_eq!(line.number_of("response_code"), Some(101));
            assert_eq!(line.text_of("user_agent"), Some(r#"Python/3.11 \"websockets\" 17.4"#));
            assert_eq!(line.field("upstream_service_time"), Field::Null);
            assert_eq!(line.field("requested_server_name"), Field::Null);
            assert_eq!(line.text_of("route_name"), Some("default"));
            assert_eq!(line.keys().count(), 24);
        }
    }

    #[test]
    fn other_output_is_no_line() {
        let format = LineFormat::default();
        for other in [
            "",
            "2026-11-23T15:14:25.5Z\tinfo\tEnvoy proxy is ready",
            "[2026-11-23 15:14:25.503][1][info][main] starting main dispatch loop",
            r#"{"level":"info","msg":"Envoy proxy is ready"}"#,
            "{not json}",
        ] {
            assert_eq!(format.read(other), None, "{other}");
        }
    }

    #[test]
    fn a_json_line_is_found_behind_a_prefix_and_in_an_excerpt() {
        let format = LineFormat::default();
        let line = format.read(r#"[pod/a/istio-proxy] {"response_code":"101"}"#).expect("a line");
        assert_eq!(line.number_of("response_code"), Some(101));
        let excerpt = r#"{...."upstream_local_address":"127.0.**.**:53983","protocol":"HTTP/1.1",....}"#;
        let line = format.read(excerpt).expect("a line");
        assert_eq!(line.text_of("upstream_local_address"), Some("127.0.**.**:53983"));
        assert_eq!(line.text_of("protocol"), Some("HTTP/1.1"));
    }

    #[test]
    fn any_format_string_becomes_a_parser() {
        let format = "%START_TIME(%Y-%m-%d %H:%M)% 100%% %REQ(X-TENANT):8%|%RESPONSE_FLAGS_LONG% %RESPONSE_DURATION%\n";
        let line = LineFormat::compile(format)
            .expect("a format")
            .read("2026-11-23 15:14 100% me too|DownstreamRemoteReset 7");
        let line = line.expect("a line");
        assert_eq!(line.text_of("start_time"), Some("2026-11-23 15:14"));
        assert_eq!(line.text_of("REQ(X-TENANT)"), Some("me too"));
        assert_eq!(line.text_of("response_flags"), Some("DownstreamRemoteReset"));
        assert_eq!(line.number_of("RESPONSE_DURATION"), Some(7));
    }

    #[test]
    fn a_json_format_gives_its_keys_istios_names() {
        let format = LineFormat::compile(r#"{"code":"%RESPONSE_CODE%","id":"%REQ(X-REQUEST-ID)%"}"#)
            .expect("a format");
        let line = format.read(r#"{"code":101,"id":"a","more":1}"#).expect("a line");
        assert_eq!(line.number_of("response_code"), Some(101));
        assert_eq!(line.text_of("request_id"), Some("a"));
    }

    #[test]
    fn a_malformed_format_is_refused() {
        assert!(matches!(LineFormat::compile("%RESPONSE_CODE"), Err(LineFormatError::Unclosed { .. })));
        assert!(matches!(LineFormat::compile("%REQ(:PATH%"), Err(LineFormatError::Unclosed { .. })));
        assert_eq!(LineFormat::compile("nothing").err(), Some(LineFormatError::NoOperator));
        assert!(matches!(LineFormat::compile(r#"{"a":1}"#), Err(LineFormatError::NotText { .. })));
    }
}
