//! What a server sent, as text that is safe on a terminal and keeps to one line: the escapes are those of Python
//! websockets 17, so that both clients show the same.

use std::borrow::Cow;
use std::fmt::Write;

use tungstenite::Message;

/// What goes before the digits of a binary message: Python websockets' mark.
const BINARY: &str = "(binary) ";

/// The text with control characters (C0, DEL, C1) as Python's `repr` writes them; a backslash stays as it is.
#[must_use]
pub fn escape(text: &str) -> Cow<'_, str> {
    // DEL, C0, and C1, which UTF-8 begins with this byte: looked for in bytes, since nearly all text has none of them.
    if !text.bytes().any(|byte| matches!(byte, ..b' ' | 0x7f | 0xc2)) {
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

/// A data message as one line: text escaped, binary as `(binary) HEX`. Control frames are none.
pub(super) fn data(message: &Message) -> Option<Cow<'_, str>> {
    match message {
        Message::Text(text) => Some(escape(text)),
        Message::Binary(bytes) => {
            let mut line = String::with_capacity(BINARY.len() + 2 * bytes.len());
            line.push_str(BINARY);
            for byte in bytes {
                for digit in [byte >> 4, byte & 15] {
                    line.push(char::from_digit(u32::from(digit), 16).unwrap_or_default());
                }
            }
            Some(line.into())
        }
        Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_) => None,
    }
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
        assert_eq!(data(&Message::text("a\nb")).unwrap(), "a\\nb");
        assert_eq!(data(&Message::text("")).unwrap(), "");
        assert_eq!(data(&Message::binary(vec![0x00, 0x0a, 0xff])).unwrap(), "(binary) 000aff");
        assert!(data(&Message::Ping("not data".into())).is_none());
    }
}
