//! A text as it is to be written in YAML, so that it is that text and nothing else for whoever
//! reads it.

use std::borrow::Cow;

use crate::escape::to_json;

/// The text as a plain scalar (YAML 1.2.2, section 7.3.3) if it has only letters, digits and
/// `-_./`, and is neither a number nor one of the words that YAML 1.1 takes for something else;
/// otherwise in double quotes, with the escapes of JSON.
pub(super) fn scalar(text: &str) -> Cow<'_, str> {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte);
    let begins = text.bytes().next().is_some_and(|first| first.is_ascii_alphabetic());
    let means_more = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"]
        .iter()
        .any(|word| word.eq_ignore_ascii_case(text));
    if begins && text.bytes().all(is_letter) && !means_more {
        return Cow::Borrowed(text);
    }
    // A string is always JSON.
    to_json(&text).map_or(Cow::Borrowed(text), Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::scalar;

    #[test]
    fn a_scalar_is_read_as_the_text_that_it_was_made_of() {
        for (text, expected) in [
            ("web.default.svc.cluster.local", "web.default.svc.cluster.local"),
            ("app.kubernetes.io/name", "app.kubernetes.io/name"),
            ("*.example.com", "\"*.example.com\""),
            ("1", "\"1\""),
            ("On", "\"On\""),
            ("", "\"\""),
            ("a: b\n::error::\u{1b}\u{202e}", "\"a: b\\n::error::\\u001b\\u202e\""),
        ] {
            assert_eq!(scalar(text), expected);
            let read: String = crate::yaml::from_str(&scalar(text)).expect("YAML");
            assert_eq!(read, text);
        }
    }
}
