//! The negotiation of permessage-deflate (RFC 7692 section 7.1) in `Sec-WebSocket-Extensions` (RFC
//! 6455 section 9.1).
//!
//! Windows of 8 bits are declined: no raw deflate of zlib's kind can make them.

use std::fmt::{self, Display, Formatter};

use http::HeaderValue;
use http::header::SEC_WEBSOCKET_EXTENSIONS;

use crate::http1::Fields;

/// The name of the extension.
const NAME: &str = "permessage-deflate";

const SERVER_NO_CONTEXT_TAKEOVER: &str = "server_no_context_takeover";
const CLIENT_NO_CONTEXT_TAKEOVER: &str = "client_no_context_takeover";
const SERVER_MAX_WINDOW_BITS: &str = "server_max_window_bits";
const CLIENT_MAX_WINDOW_BITS: &str = "client_max_window_bits";

/// What a client offers: it takes any window, and leaves it to the server how large its own is.
pub const OFFER: &str = "permessage-deflate; client_max_window_bits";

/// How one side compresses what it sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sending {
    /// Whether a message may refer to those before it.
    pub context_takeover: bool,
    /// The base-2 logarithm of how far back it refers, 9 to 15, where that was agreed on.
    pub max_window_bits: Option<u8>,
}

impl Sending {
    /// The base-2 logarithm of how far back a message may refer.
    #[must_use]
    pub fn window_bits(self) -> u8 {
        self.max_window_bits.unwrap_or(15)
    }
}

impl Default for Sending {
    fn default() -> Self {
        Self { context_takeover: true, max_window_bits: None }
    }
}

/// What both sides agreed on. Its text is the server's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Agreement {
    /// How the server sends.
    pub server: Sending,
    /// How the client sends.
    pub client: Sending,
}

impl Agreement {
    /// Accepts the first of the client's offers that can be met. `None`: there is none, and the
    /// extension is not used.
    #[must_use]
    pub fn accept(request: &Fields) -> Option<Self> {
        extensions(request).find_map(|extension| Self::read(&extension, ParametersOf::ByClient))
    }

    /// Reads the server's answer to [`OFFER`]. `Ok(None)`: it declined.
    ///
    /// # Errors
    /// The answer, where it does not fit the offer.
    pub fn of_answer(answer: &Fields) -> Result<Option<Self>, String> {
        let mut extensions = extensions(answer);
        let Some(extension) = extensions.next() else { return Ok(None) };
        match (Self::read(&extension, ParametersOf::ByServer), extensions.next()) {
            (Some(agreement), None) => Ok(Some(agreement)),
            (Some(_), Some(second)) => Err(second),
            (None, _) => Err(extension),
        }
    }

    /// The value of the answer's field.
    #[must_use]
    pub fn to_value(self) -> HeaderValue {
        HeaderValue::try_from(self.to_string()).unwrap_or_else(|_| unreachable!("it is visible ASCII"))
    }

    /// Reads one extension with its parameters. `None` if it is another extension, or no valid form
    /// of this one.
    fn read(extension: &str, asked: ParametersOf) -> Option<Self> {
        let mut parts = split(extension, ';');
        if parts.next()? != NAME {
            return None;
        }
        let mut agreement = Self::default();
        let mut seen = Vec::new();
        for part in parts {
            let (name, value) = match part.split_once('=') {
                Some((name, value)) => (name.trim(), Some(unquoted(value.trim()))),
                None => (part, None),
            };
            if seen.contains(&name) {
                return None;
            }
            seen.push(name);
            match (name, value) {
                (SERVER_NO_CONTEXT_TAKEOVER, None) => agreement.server.context_takeover = false,
                (CLIENT_NO_CONTEXT_TAKEOVER, None) => agreement.client.context_takeover = false,
                (SERVER_MAX_WINDOW_BITS, Some(value)) => {
                    agreement.server.max_window_bits = Some(window_bits(value)?);
                }
                (CLIENT_MAX_WINDOW_BITS, Some(value)) => {
                    agreement.client.max_window_bits = Some(window_bits(value)?);
                }
                // The client can be told a size, and the server has none to tell (section 7.1.2.2).
                (CLIENT_MAX_WINDOW_BITS, None) if asked == ParametersOf::ByClient => {}
                _ => return None,
            }
        }
        Some(agreement)
    }
}

impl Display for Agreement {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str(NAME)?;
        for (sending, no_context_takeover, max_window_bits) in [
            (self.server, SERVER_NO_CONTEXT_TAKEOVER, SERVER_MAX_WINDOW_BITS),
            (self.client, CLIENT_NO_CONTEXT_TAKEOVER, CLIENT_MAX_WINDOW_BITS),
        ] {
            if !sending.context_takeover {
                write!(formatter, "; {no_context_takeover}")?;
            }
            if let Some(bits) = sending.max_window_bits {
                write!(formatter, "; {max_window_bits}={bits}")?;
            }
        }
        Ok(())
    }
}

/// Whose parameters these are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ParametersOf {
    ByClient,
    ByServer,
}

/// All extensions that a head lists, each with its parameters.
fn extensions(fields: &Fields) -> impl Iterator<Item = String> {
    let values = fields.get_all(&SEC_WEBSOCKET_EXTENSIONS).filter_map(|value| value.to_str().ok());
    values.flat_map(|value| split(value, ',')).filter(|extension| !extension.is_empty()).map(str::to_owned)
}

/// The parts between separators that are not within quotes, without blanks around them.
fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |character| {
        match character {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ => return character == separator && !quoted,
        }
        false
    })
    .map(|part| part.trim_matches([' ', '\t']))
}

/// A value may be a quoted string if it is a token without the quotes.
fn unquoted(value: &str) -> &str {
    value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value)
}

/// A size without leading zeros.
fn window_bits(value: &str) -> Option<u8> {
    let bits: u8 = value.parse().ok().filter(|bits| (9..=15).contains(bits))?;
    (value == bits.to_string()).then_some(bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(values: &[&str]) -> Fields {
        let value = |value: &&str| (SEC_WEBSOCKET_EXTENSIONS, HeaderValue::try_from(*value).unwrap());
        values.iter().map(value).collect()
    }

    fn answer_to(offers: &[&str]) -> Option<String> {
        Agreement::accept(&fields(offers)).map(|agreement| agreement.to_string())
    }

    #[test]
    fn the_first_offer_that_can_be_met_is_accepted() {
        for (offers, answer) in [
            (&["permessage-deflate"][..], "permessage-deflate"),
            (&[OFFER], "permessage-deflate"),
            (
                &["permessage-deflate; client_max_window_bits=10"],
                "permessage-deflate; client_max_window_bits=10",
            ),
            (
                &["permessage-deflate;server_max_window_bits=9 ; client_max_window_bits"],
                "permessage-deflate; server_max_window_bits=9",
            ),
            (
                &["permessage-deflate; server_max_window_bits=15"],
                "permessage-deflate; server_max_window_bits=15",
            ),
            (
                &["permessage-deflate; server_max_window_bits=\"10\""],
                "permessage-deflate; server_max_window_bits=10",
            ),
            (
                &["permessage-deflate; client_no_context_takeover; server_no_context_takeover"],
                "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
            ),
            (&["permessage-deflate; foo=1, permessage-deflate"], "permessage-deflate"),
            (&["x-other; a=\", permessage-deflate; b\"", "permessage-deflate"], "permessage-deflate"),
            (
                &[
                    "permessage-deflate; server_max_window_bits=8, permessage-deflate; server_max_window_bits=9",
                ],
                "permessage-deflate; server_max_window_bits=9",
            ),
        ] {
            assert_eq!(answer_to(offers).as_deref(), Some(answer), "{offers:?}");
        }
    }

    #[test]
    fn an_offer_that_is_not_understood_is_declined() {
        for offer in [
            "",
            "permessage-deflate; server_max_window_bits",
            "permessage-deflate; server_max_window_bits=8",
            "permessage-deflate; client_max_window_bits=8",
            "permessage-deflate; server_max_window_bits=16",
            "permessage-deflate; server_max_window_bits=010",
            "permessage-deflate; server_max_window_bits=+9",
            "permessage-deflate; server_max_window_bits=9; server_max_window_bits=9",
            "permessage-deflate; server_no_context_takeover=1",
            "permessage-deflate; foo",
            "permessage-deflate; ",
            "x-other; a=\", permessage-deflate, \"",
            "x-webkit-deflate-frame",
            ";;;,,,==\"",
        ] {
            assert_eq!(answer_to(&[offer]), None, "{offer}");
        }
    }

    #[test]
    fn an_answer_has_to_fit_the_offer() {
        let answered = |values: &[&str]| Agreement::of_answer(&fields(values));
        assert_eq!(answered(&[]), Ok(None));
        let small = Agreement {
            server: Sending { context_takeover: false, max_window_bits: None },
            client: Sending { context_takeover: true, max_window_bits: Some(12) },
        };
        let text = "permessage-deflate; server_no_context_takeover; client_max_window_bits=12";
        assert_eq!(answered(&[text]), Ok(Some(small)));
        assert_eq!(small.to_value(), text);
        for wrong in [
            "permessage-deflate; client_max_window_bits",
            "permessage-deflate; client_max_window_bits=8",
            "permessage-deflate; mystery",
            "mux",
        ] {
            assert_eq!(answered(&[wrong]), Err(wrong.to_owned()));
        }
        assert_eq!(answered(&["permessage-deflate, mux"]), Err("mux".to_owned()));
    }
}
