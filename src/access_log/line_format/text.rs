//! A text format of Envoy's, compiled to a parser of lines.
//!
//! What stands before a line, such as the prefix of `kubectl logs`, is skipped.

use std::sync::Arc;

use regex::Regex;

use super::LineFormatError;
use super::operators::{self, key_of};
use crate::access_log::ParsedLine;
use crate::access_log::parse::{FieldNotation, LinePart};

/// A compiled format.
#[derive(Debug, Clone)]
pub(super) struct TextFormat {
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

impl TextFormat {
    /// Compiles a format string.
    pub(super) fn compile(format: &str) -> Result<Self, LineFormatError> {
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
            let end = operators::operator_end(from).ok_or_else(unclosed)?;
            let operator = &from[..end];
            operators::check(operator)?;
            rest = &from[end + 1..];
            let quoted = literal.ends_with('"') && rest.starts_with('"');
            pattern.extend([&*regex::escape(&before), group(operator, quoted)]);
            let before = std::mem::take(&mut before);
            let key = key_of(operator);
            operators.push(Operator { number: operators::is_number(&key), key: key.into(), before, quoted });
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

    /// Reads a line that is easily read: no value of it has what follows it in the format.
    pub(super) fn read_plain(&self, line: &str) -> Option<ParsedLine> {
        let beginnings = line.match_indices(&self.start).take(BEGINNINGS);
        let values = beginnings.map(|(start, _)| self.plain(&line[start..])).find_map(|found| found)?;
        Some(self.line(line, values))
    }

    /// Reads any line of the format, which takes longer.
    pub(super) fn read_any(&self, line: &str) -> Option<ParsedLine> {
        let values = self.loose(line)?;
        Some(self.line(line, values))
    }

    fn line(&self, line: &str, values: Vec<&str>) -> ParsedLine {
        let field = |(Operator { key, number, .. }, text): (&Operator, &str)| {
            let number = if *number { text.parse().ok() } else { None };
            let value =
                number.map_or_else(|| FieldNotation::Text(LinePart::new(line, text)), FieldNotation::Number);
            (LinePart::Apart(Arc::clone(key)), value)
        };
        ParsedLine::new(line, self.operators.iter().zip(values).map(field).collect())
    }

    /// The values of a line in which none has what follows it in the format, nor a blank that is
    /// not quoted: in one pass.
    pub(super) fn plain<'line>(&self, mut rest: &'line str) -> Option<Vec<&'line str>> {
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
    pub(super) fn loose<'line>(&self, line: &'line str) -> Option<Vec<&'line str>> {
        let captures = self.loose.captures(line)?;
        Some(captures.iter().skip(1).map(|group| group.map(|it| it.as_str()).unwrap_or_default()).collect())
    }
}

/// What an operator's value looks like. Header fields and words of the transport may have blanks,
/// nothing else has; and what stands between quotation marks by itself may be anything up to the
/// second.
fn group(operator: &str, quoted: bool) -> &'static str {
    if operators::is_number(&key_of(operator)) {
        return r"(\d+|-|\?)";
    }
    let free = ["REQ(", "RESP(", "TRAILER(", "DYNAMIC_METADATA(", "FILTER_STATE(", "START_TIME("];
    let loose = free.iter().any(|start| operator.starts_with(start))
        || operator.contains("DETAILS")
        || operator.contains("REASON")
        || quoted;
    if loose { "(.*?)" } else { r"(\S*?)" }
}
