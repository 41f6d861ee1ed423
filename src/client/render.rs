//! What a server sent, as text that is safe on a terminal and keeps to one line: the escapes are those of Python
//! websockets 17, so that both clients show the same.

use std::borrow::Cow;
use std::fmt::Write;

use tungstenite::Message;

/// The text with control characters (C0, DEL, C1) as Python's `repr` writes them; a backslash stays as it is.
#[must_use]
pub fn escape(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match character {
            '\t' => escaped.push_str("\\t"),
            '\n' => escaped.push_str("\\n"),
            '\r' => escaped.push_str("\\r"),
            control if control.is_control() => {
                // Writing to a string cannot fail.
                let _ = write!(escaped, "\\x{:02x}", u32::from(control));
            }
            other => escaped.push(other),
        }
    }
    Cow::Owned(escaped)
}

/// Appends a data message as one line: text escaped, binary as `(binary) HEX`.
pub(super) fn line(message: &Message, out: &mut String) {
    match message {
        Message::Text(text) => out.push_str(&escape(text)),
        Message::Binary(bytes) => {
            out.push_str("(binary) ");
            for byte in bytes {
                for digit in [byte >> 4, byte & 15] {
                    out.push(char::from_digit(u32::from(digit), 16).unwrap_or_default());
                }
            }
        }
        Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_) => return,
    }
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped_and_nothing_else_is() {
        let text = "tab\there nl\nline2 esc\x1b[31mred del\x7f nel\u{85} nbsp\u{a0} back\\slash 你好 😀";
        let expected =
            "tab\\there nl\\nline2 esc\\x1b[31mred del\\x7f nel\\x85 nbsp\u{a0} back\\slash 你好 😀";
        assert_eq!(escape(text), expected);
        assert!(matches!(escape("plain 😀"), Cow::Borrowed(_)));
    }

    #[test]
    fn a_message_is_one_line() {
        let mut out = String::new();
        line(&Message::text("a\nb"), &mut out);
        line(&Message::text(""), &mut out);
        line(&Message::binary(vec![0x00, 0x0a, 0xff]), &mut out);
        line(&Message::Ping("not data".into()), &mut out);
        assert_eq!(out, "a\\nb\n\n(binary) 000aff\n");
    }
}
