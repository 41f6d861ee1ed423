//! What a scalar without quotes is: YAML's core schema (1.2.2, section 10.3), with the booleans of
//! YAML 1.1, which kubectl knows too.

use serde_json::Number;

use super::tree::Value;

/// What a plain scalar is, unless it is a text.
pub(super) fn resolve(text: &str) -> Option<Value> {
    // Most texts are told by their first letter.
    match text.bytes().next() {
        None => Some(Value::Null),
        Some(b'~' | b'n' | b'N' | b'y' | b'Y' | b't' | b'T' | b'f' | b'F' | b'o' | b'O') => word(text),
        Some(b'0'..=b'9' | b'+' | b'-' | b'.') => number(text).map(Value::Number),
        Some(_) => None,
    }
}

fn word(text: &str) -> Option<Value> {
    if matches!(text, "~" | "null" | "Null" | "NULL") {
        return Some(Value::Null);
    }
    // The longest word is `false`.
    if text.len() > 5 {
        return None;
    }
    let is = |words: [&str; 4]| words.iter().any(|word| word.eq_ignore_ascii_case(text));
    if is(["true", "yes", "y", "on"]) {
        Some(Value::Boolean(true))
    } else if is(["false", "no", "n", "off"]) {
        Some(Value::Boolean(false))
    } else {
        None
    }
}

/// The number that a plain scalar is. Infinities and what is not a number are texts: JSON, which
/// Kubernetes makes of documents, has no such numbers.
pub(super) fn number(text: &str) -> Option<Number> {
    let (negative, digits) = match text.as_bytes() {
        [b'-', ..] => (true, &text[1..]),
        [b'+', ..] => (false, &text[1..]),
        _ => (false, text),
    };
    let radix = match digits.get(..2) {
        Some("0x" | "0X") => Some(16),
        Some("0o" | "0O") => Some(8),
        Some("0b" | "0B") => Some(2),
        _ => None,
    };
    let whole = match radix {
        Some(radix) => u64::from_str_radix(without_underscores(&digits[2..])?.as_ref(), radix).ok(),
        None if digits.len() > 1 && digits.starts_with('0') => None,
        None => without_underscores(digits).and_then(|digits| digits.parse().ok()),
    };
    match whole {
        Some(whole) if negative => Some(0_i64.checked_sub_unsigned(whole)?.into()),
        Some(whole) => Some(whole.into()),
        // Rust reads words too, such as `infinity`.
        None if digits.starts_with(|first: char| first.is_ascii_digit() || first == '.') => {
            text.parse().ok().and_then(Number::from_f64)
        }
        None => None,
    }
}

/// Digits without the underscores that may stand between them; `None` for anything else.
fn without_underscores(digits: &str) -> Option<std::borrow::Cow<'_, str>> {
    let outside = !digits.starts_with(|first: char| first.is_ascii_hexdigit()) || digits.ends_with('_');
    if outside || digits.contains("__") {
        return None;
    }
    Some(if digits.contains('_') { digits.replace('_', "").into() } else { digits.into() })
}
