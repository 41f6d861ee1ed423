//! An expectation as it is typed on a command line, `server.protocol == HTTP/2`: a field of one
//! side, an operator, and what is expected. It becomes the same [`Expected`] that scenario files
//! hold.
//!
//! ```text
//! client.response_code == 101                     server.response_flags != DPE
//! server.response_flags one of UC, DC             client.user_agent == null
//! server.upstream_local_address in 127.0.0.0/8    client.path =~ ^/chat
//! client.duration < 2000                          client.duration in 10..2000
//! client.bytes_sent == server.bytes_sent
//! ```
//!
//! A bare number is a number; in quotation marks it is a text, as `"101"`.

use std::str::FromStr;

use super::expect::{Expectations, Expected, FieldRef, Network, Pattern, Side};
use super::scenario::SIMILAR;
use crate::nearest::nearest;

/// A field with what is expected of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Expectation {
    /// The field of one side.
    pub field: FieldRef,
    /// What the field is to say.
    pub expected: Expected,
    /// The line of the scenario's file that says so; none where it was typed.
    pub at: Option<u64>,
}

/// Why a text cannot be read as an expectation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("column {column}: {reason}")]
pub struct ExpressionError {
    /// Where in what was typed, from 1.
    pub column: usize,
    /// Why not, and what might be meant.
    pub reason: String,
}

/// The operators; of two that begin alike the longer one first.
const OPERATORS: [&str; 12] =
    ["==", "!=", "=~", "!~", ">=", "<=", ">", "<", "not in ", "one of ", "matches ", "in "];

impl Expectation {
    /// What a scenario expects of the lines of one side, field by field.
    pub fn all_of(expectations: &Expectations, side: Side) -> impl Iterator<Item = Self> {
        expectations.of(side).iter().map(move |(key, expected)| Self {
            field: FieldRef { side, key: key.clone() },
            expected: expected.value.clone(),
            at: expected.line(),
        })
    }
}

impl FromStr for Expectation {
    type Err = ExpressionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // `rest` is always an end of the text, so its length says where it begins.
        let mistake = |rest: &str, reason| ExpressionError {
            column: text[..text.len() - rest.len()].chars().count() + 1,
            reason,
        };
        let field_on = text.trim_start();
        let is_end = |letter: char| letter.is_whitespace() || "=!<>".contains(letter);
        let (field, rest) = field_on.split_at(field_on.find(is_end).unwrap_or(field_on.len()));
        let field = field.parse().map_err(|reason| mistake(field_on, with_nearest_side(field, reason)))?;
        let rest = rest.trim_start();
        let operator = OPERATORS.into_iter().find(|operator| rest.starts_with(operator));
        let operator = operator.ok_or_else(|| mistake(rest, no_operator(rest)))?;
        let value_on = rest[operator.len()..].trim_start();
        let expected = expected(operator, value_on.trim_end()).map_err(|reason| mistake(value_on, reason))?;
        Ok(Self { field, expected, at: None })
    }
}

fn with_nearest_side(field: &str, reason: String) -> String {
    let (side, key) = field.split_once('.').unwrap_or(("", field));
    match nearest(side, ["client", "server"], SIMILAR) {
        Some(side) => format!("{reason}: did you mean {side}.{key}?"),
        None => reason,
    }
}

fn no_operator(rest: &str) -> String {
    let operators = OPERATORS.map(str::trim_end).join(" ");
    let hint = if rest.starts_with(['=', ':']) { ": did you mean ==?" } else { "" };
    format!("after the field comes one of {operators}{hint}")
}

/// What an operator and what stands behind it expect.
fn expected(operator: &str, value: &str) -> Result<Expected, String> {
    if value.is_empty() {
        return Err(format!("nothing follows {}", operator.trim_end()));
    }
    let not = |expected| Expected::Not(Box::new(expected));
    Ok(match operator {
        "==" => scalar(value)?,
        "!=" => not(scalar(value)?),
        "=~" | "matches " => Expected::Matches(pattern(value)?),
        "!~" => not(Expected::Matches(pattern(value)?)),
        ">=" => Expected::AtLeast(number(value)?),
        "<=" => Expected::AtMost(number(value)?),
        ">" => Expected::AtLeast(number(value)?.saturating_add(1)),
        "<" => Expected::AtMost(number(value)?.checked_sub(1).ok_or("no number is smaller than 0")?),
        "one of " => one_of(value)?,
        "not in " => not(within(value)?),
        _ => within(value)?,
    })
}

/// What may stand alone: null, a number, another field, a text with or without quotation marks.
fn scalar(value: &str) -> Result<Expected, String> {
    if let Some(text) = unquoted(value) {
        return text.parse().map(Expected::Text);
    }
    if value == "null" {
        return Ok(Expected::Null);
    }
    if value.bytes().all(|byte| byte.is_ascii_digit()) {
        return number(value).map(Expected::Number);
    }
    match value.parse::<FieldRef>() {
        Ok(other) if !other.key.contains([' ', '.', '/', ':']) => Ok(Expected::SameAs(other)),
        _ => value.parse().map(Expected::Text),
    }
}

fn unquoted(value: &str) -> Option<&str> {
    ['"', '\''].into_iter().find_map(|mark| value.strip_prefix(mark)?.strip_suffix(mark))
}

fn number(value: &str) -> Result<u64, String> {
    value.parse().map_err(|_| format!("{value:?} is no whole number"))
}

/// With slashes around it or without.
fn pattern(value: &str) -> Result<Pattern, String> {
    let slashed =
        value.strip_prefix('/').and_then(|inner| inner.strip_suffix('/')).filter(|inner| !inner.is_empty());
    let text = unquoted(value).or(slashed).unwrap_or(value);
    Pattern::try_from(text.to_owned()).map_err(|error| format!("{text:?} is no regular expression: {error}"))
}

/// A list, a range, or a network.
fn within(value: &str) -> Result<Expected, String> {
    if let Some((min, max)) = value.split_once("..") {
        let (min, max) = (number(min.trim())?, number(max.trim_start_matches('=').trim())?);
        return if min <= max {
            Ok(Expected::Between(min, max))
        } else {
            Err(format!("no number is between {min} and {max}"))
        };
    }
    if value.starts_with(['[', '(', '{']) || value.contains(',') {
        return one_of(value);
    }
    Network::try_from(value.to_owned()).map(Expected::Cidr)
}

fn one_of(value: &str) -> Result<Expected, String> {
    let inner = value.trim_start_matches(['[', '(', '{']).trim_end_matches([']', ')', '}']);
    let values = inner.split(',').map(str::trim).filter(|value| !value.is_empty());
    values.map(scalar).collect::<Result<Vec<_>, _>>().map(Expected::OneOf)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_is_what_the_same_words_are_in_a_scenario() {
        for (text, yaml) in [
            ("client.it == 101", "101"),
            ("client.it == \"101\"", "'101'"),
            ("client.it==GET", "GET"),
            ("client.it == HTTP/2", "HTTP/2"),
            ("client.it == null", "null"),
            ("client.it != null", "{not: null}"),
            ("client.it == URX,UF", "'URX,UF'"),
            ("client.it == server.it", "{same_as: server.it}"),
            ("client.it == server.default.svc:80", "server.default.svc:80"),
            ("client.it one of UC, DC", "{one_of: [UC, DC]}"),
            ("client.it in [101, null]", "{one_of: [101, null]}"),
            ("client.it not in [UC, DC]", "{not: {one_of: [UC, DC]}}"),
            ("client.it =~ ^/chat", "{matches: '^/chat'}"),
            ("client.it matches /a b/", "{matches: 'a b'}"),
            ("client.it !~ x", "{not: {matches: x}}"),
            ("client.it in 127.0.0.0/8", "{cidr: 127.0.0.0/8}"),
            ("client.it >= 3", "{at_least: 3}"),
            ("client.it < 3", "{at_most: 2}"),
            ("client.it in 3..5", "{between: [3, 5]}"),
        ] {
            let expected: Expected = crate::yaml::from_str(yaml).expect("an expectation");
            assert_eq!(text.parse::<Expectation>().map(|it| it.expected), Ok(expected), "{text}");
        }
    }

    #[test]
    fn a_mistake_is_named() {
        for (text, column, reason) in [
            ("protocol == HTTP/2", 1, "client.KEY or server.KEY"),
            (" clinet.protocol == HTTP/2", 2, "did you mean client.protocol?"),
            ("client.protocol HTTP/2", 17, "one of =="),
            ("client.protocol = HTTP/2", 17, "did you mean ==?"),
            ("client.protocol ==", 19, "nothing follows =="),
            ("client.duration > soon ", 19, "no whole number"),
            ("client.duration in 5..3", 20, "between 5 and 3"),
            ("client.path =~ (", 16, "regular expression"),
            ("client.it in 10.0.0.0/99", 14, "no network"),
        ] {
            let error = text.parse::<Expectation>().expect_err(text);
            assert!(error.reason.contains(reason), "{text}: {error}");
            assert_eq!(error.column, column, "{text}: {error}");
        }
    }
}
