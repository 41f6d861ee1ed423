//! A message as text, as Python websockets 17 shows it. Which characters are escaped is up to who
//! prints it.

use std::borrow::Cow;

use tungstenite::Message;

/// What goes before the digits of a binary message: Python websockets' mark.
const BINARY: &str = "(binary) ";

/// A data message: text as `escape` writes it, binary as `(binary) HEX`. Control frames are none.
pub(super) fn data(message: &Message, escape: fn(&str) -> Cow<'_, str>) -> Option<Cow<'_, str>> {
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
    use crate::escape::escape;

    #[test]
    fn a_message_is_one_line() {
        assert_eq!(data(&Message::text("a\nb"), escape).unwrap(), "a\\nb");
        assert_eq!(data(&Message::text(""), escape).unwrap(), "");
        assert_eq!(data(&Message::binary(vec![0x00, 0x0a, 0xff]), escape).unwrap(), "(binary) 000aff");
        assert!(data(&Message::Ping("not data".into()), escape).is_none());
    }
}
