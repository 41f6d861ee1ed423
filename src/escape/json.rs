//! JSON of which a terminal and a CI server obey nothing. What serde writes may hold DEL, C1, the
//! controls of bidirectional text and separators as they are, which JSON allows in strings; here
//! they are `\u…` there, so that a reader of JSON gets the same values.

use serde::Serialize;

use super::{Obeyed, as_json, replace};

/// A value as JSON in one line.
pub fn to_json(value: &impl Serialize) -> serde_json::Result<String> {
    serde_json::to_string(value).map(escaped)
}

/// A value as JSON for people: indented.
pub fn to_json_pretty(value: &impl Serialize) -> serde_json::Result<String> {
    serde_json::to_string_pretty(value).map(escaped)
}

fn escaped(json: String) -> String {
    // Outside of strings JSON has neither a number sign nor anything beyond ASCII, and of control
    // characters the ends of lines alone; inside of them serde has escaped those.
    let mut obeyed = Obeyed::default();
    let choice = |character| super::Choice::takes(&mut obeyed, character) && character != '\n';
    match replace(&json, choice, as_json) {
        std::borrow::Cow::Borrowed(_) => json,
        std::borrow::Cow::Owned(escaped) => escaped,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_of_json_gets_what_was_written() {
        let value = serde_json::json!({ "\u{9b}\u{202e}key": "a\n\x1b\x7f\u{85}\u{2028}##[error]::é" });
        let line = to_json(&value).unwrap();
        assert_eq!(line, r#"{"\u009b\u202ekey":"a\n\u001b\u007f\u0085\u2028##\u005berror]::é"}"#);
        for json in [line, to_json_pretty(&value).unwrap()] {
            assert_eq!(serde_json::from_str::<serde_json::Value>(&json).unwrap(), value, "{json}");
        }
        assert_eq!(to_json_pretty(&value).unwrap().lines().count(), 3);
    }
}
