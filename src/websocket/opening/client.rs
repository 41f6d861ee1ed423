//! The client's side of the opening handshake (RFC 6455 sections 4.1 and 4.2.2): the request it
//! sends, and the checks on the answer. Nothing is read or written here; of extensions
//! permessage-deflate may be offered.

use bytes::Bytes;
use http::header::{
    CONNECTION, HOST, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE, USER_AGENT,
};
use http::{HeaderName, HeaderValue, Method, StatusCode, Version};
use tungstenite::handshake::client::generate_key;
use tungstenite::handshake::derive_accept_key;

use crate::http1::{Fields, RequestHead, ResponseHead};
use crate::websocket::deflate::{Agreement, OFFER};

/// What this client calls itself.
pub const PRODUCT: &str = concat!("websockets-cli/", env!("CARGO_PKG_VERSION"));

/// The fields that make a request an opening handshake: they are this module's, and a user cannot
/// give them.
const HANDSHAKE_FIELDS: [HeaderName; 5] =
    [UPGRADE, CONNECTION, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, SEC_WEBSOCKET_EXTENSIONS];

/// Whether a field belongs to the handshake itself, so that it cannot be one of the extra fields of
/// [`request`].
#[must_use]
pub fn is_handshake_field(name: &HeaderName) -> bool {
    HANDSHAKE_FIELDS.contains(name)
}

/// A fresh `Sec-WebSocket-Key`.
#[must_use]
pub fn fresh_key() -> HeaderValue {
    HeaderValue::try_from(generate_key()).unwrap_or_else(|_| unreachable!("base64 is visible ASCII"))
}

/// Whether the fields of an answer accept this key: just one `Sec-WebSocket-Accept`, since a second
/// one would make it unclear which of them counts, and the right one.
#[must_use]
pub fn is_accepted(key: &HeaderValue, answer: &Fields) -> bool {
    let accept = derive_accept_key(key.as_bytes());
    answer.get_all(&SEC_WEBSOCKET_ACCEPT).map(HeaderValue::as_bytes).eq([accept.as_bytes()])
}

/// Builds the request for `target` at `host`, with a fresh key.
///
/// Of the `extra` fields, `host` and `user-agent` take the place of the built-in ones; the others
/// follow them.
#[must_use]
pub fn request(target: Bytes, host: HeaderValue, extra: &Fields) -> RequestHead {
    let mut fields = Fields::new();
    fields.append(HOST, host);
    fields.append(UPGRADE, HeaderValue::from_static("websocket"));
    fields.append(CONNECTION, HeaderValue::from_static("Upgrade"));
    fields.append(SEC_WEBSOCKET_KEY, fresh_key());
    fields.append(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    fields.append(USER_AGENT, HeaderValue::from_static(PRODUCT));
    for (name, value) in extra.iter() {
        if *name == HOST || *name == USER_AGENT {
            fields.set(name.clone(), value.clone());
        } else {
            fields.append(name.clone(), value.clone());
        }
    }
    RequestHead { method: Method::GET, target, version: Version::HTTP_11, fields }
}

/// Why an answer does not open a WebSocket. Each variant is one check of RFC 6455 section 4.1.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// The status is not 101.
    #[error("server rejected WebSocket connection: HTTP {}", head.status.as_u16())]
    Rejected {
        /// The whole head: the status, and often the name of who refused.
        head: Box<ResponseHead>,
    },
    /// 101 in another version than HTTP/1.1.
    #[error("server switched protocols in {0:?}, not in HTTP/1.1")]
    Version(Version),
    /// A field is missing.
    #[error("missing {0} header")]
    Missing(&'static str),
    /// A field has another value than the handshake asks for.
    #[error("invalid {name} header: {value}")]
    Invalid {
        /// The name of the field.
        name: &'static str,
        /// What the server sent.
        value: String,
    },
    /// An extension that the request did not offer, or in a form that does not fit the offer.
    #[error("server uses an extension that was not offered: {0}")]
    Extension(String),
    /// A subprotocol that the request did not offer.
    #[error("server chose a subprotocol that was not offered: {0}")]
    Subprotocol(String),
}

/// Adds the offer of permessage-deflate to a request.
pub fn offer_compression(request: &mut RequestHead) {
    request.fields.append(SEC_WEBSOCKET_EXTENSIONS, HeaderValue::from_static(OFFER));
}

/// Checks that an answer, which may be one over HTTP/2, agrees to nothing but what the request
/// offers; and returns what it agrees to of the extension.
///
/// # Errors
/// [`AnswerError`] with the extension or the subprotocol.
pub fn check_agreement(request: &Fields, answer: &Fields) -> Result<Option<Agreement>, AnswerError> {
    let agreement = Agreement::of_answer(answer).map_err(AnswerError::Extension)?;
    if agreement.is_some() && !request.contains(&SEC_WEBSOCKET_EXTENSIONS) {
        return Err(AnswerError::Extension(text(answer, &SEC_WEBSOCKET_EXTENSIONS)));
    }
    if answer.contains(&SEC_WEBSOCKET_PROTOCOL) {
        let chosen = text(answer, &SEC_WEBSOCKET_PROTOCOL);
        if !request.elements(&SEC_WEBSOCKET_PROTOCOL).any(|offered| offered == chosen) {
            return Err(AnswerError::Subprotocol(chosen));
        }
    }
    Ok(agreement)
}

/// Checks the answer to `request`, and returns it with what it agrees to of the extension that was
/// offered.
///
/// # Errors
/// [`AnswerError`] with the first check that failed.
pub fn check(
    request: &RequestHead,
    answer: ResponseHead,
) -> Result<(ResponseHead, Option<Agreement>), AnswerError> {
    if answer.status != StatusCode::SWITCHING_PROTOCOLS {
        return Err(AnswerError::Rejected { head: Box::new(answer) });
    }
    if answer.version != Version::HTTP_11 {
        return Err(AnswerError::Version(answer.version));
    }
    let fields = &answer.fields;
    expect(fields, "Upgrade", &UPGRADE, fields.has_element(&UPGRADE, "websocket"))?;
    expect(fields, "Connection", &CONNECTION, fields.has_element(&CONNECTION, "upgrade"))?;
    let accepted = request.fields.get(&SEC_WEBSOCKET_KEY).is_some_and(|key| is_accepted(key, fields));
    expect(fields, "Sec-WebSocket-Accept", &SEC_WEBSOCKET_ACCEPT, accepted)?;
    let agreement = check_agreement(&request.fields, fields)?;
    Ok((answer, agreement))
}

/// Says what is wrong with a field unless `holds`.
fn expect(fields: &Fields, shown: &'static str, name: &HeaderName, holds: bool) -> Result<(), AnswerError> {
    match holds {
        true => Ok(()),
        false if fields.contains(name) => {
            Err(AnswerError::Invalid { name: shown, value: text(fields, name) })
        }
        false => Err(AnswerError::Missing(shown)),
    }
}

/// All values of a field as one text.
fn text(fields: &Fields, name: &HeaderName) -> String {
    let values: Vec<_> =
        fields.get_all(name).map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
    values.join(", ")
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;
    use crate::http1::parse_response;

    /// The key and the accept value of RFC 6455 section 1.3.
    const SAMPLE_KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
    const SAMPLE_ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

    fn sample_request(extra: &[(HeaderName, &'static str)]) -> RequestHead {
        let extra = extra.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value)));
        let host = HeaderValue::from_static("server.example.com");
        let mut head = request(Bytes::from_static(b"/chat"), host, &extra.collect());
        head.fields.set(SEC_WEBSOCKET_KEY, HeaderValue::from_static(SAMPLE_KEY));
        head
    }

    fn answer(head: &str) -> Result<ResponseHead, AnswerError> {
        let head = head.replace("ACCEPT", SAMPLE_ACCEPT);
        let parsed = parse_response(&mut BytesMut::from(head.as_str())).unwrap().unwrap();
        check(&sample_request(&[(SEC_WEBSOCKET_PROTOCOL, "chat, superchat")]), parsed).map(|(head, _)| head)
    }

    fn complaint(head: &str) -> String {
        answer(head).unwrap_err().to_string()
    }

    #[test]
    fn the_request_has_the_fields_of_the_handshake_in_a_fixed_order() {
        let mut out = BytesMut::new();
        sample_request(&[(HeaderName::from_static("x-one"), "1")]).write(&mut out);
        let expected = format!(
            "GET /chat HTTP/1.1\r\nhost: server.example.com\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
             sec-websocket-key: {SAMPLE_KEY}\r\nsec-websocket-version: 13\r\nuser-agent: {PRODUCT}\r\n\
             x-one: 1\r\n\r\n"
        );
        assert_eq!(std::str::from_utf8(&out).unwrap(), expected);
    }

    #[test]
    fn each_request_has_a_key_of_its_own() {
        let host = HeaderValue::from_static("h");
        let key = |head: RequestHead| head.fields.get(&SEC_WEBSOCKET_KEY).cloned();
        let [one, two] =
            [(); 2].map(|()| key(request(Bytes::from_static(b"/"), host.clone(), &Fields::new())));
        assert_ne!(one, two);
    }

    #[test]
    fn a_host_and_a_user_agent_of_the_user_take_the_place_of_the_own() {
        let head = sample_request(&[(HOST, "other"), (USER_AGENT, "me")]);
        assert_eq!(head.fields.get_all(&HOST).collect::<Vec<_>>(), ["other"]);
        assert_eq!(head.fields.get_all(&USER_AGENT).collect::<Vec<_>>(), ["me"]);
    }

    #[test]
    fn the_answer_of_the_rfc_opens_a_websocket() {
        let head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\n\
                    Sec-WebSocket-Accept: ACCEPT\r\nSec-WebSocket-Protocol: chat\r\n\r\n";
        assert_eq!(answer(head).unwrap().status, StatusCode::SWITCHING_PROTOCOLS);
    }

    #[test]
    fn each_check_that_fails_has_its_own_words() {
        assert_eq!(
            complaint("HTTP/1.1 404 Not Found\r\n\r\n"),
            "server rejected WebSocket connection: HTTP 404"
        );
        let cases = [
            ("Connection: Upgrade\r\nSec-WebSocket-Accept: ACCEPT", "missing Upgrade header"),
            ("Upgrade: h2c\r\nConnection: Upgrade", "invalid Upgrade header: h2c"),
            ("Upgrade: websocket\r\nConnection: close", "invalid Connection header: close"),
            ("Upgrade: websocket\r\nConnection: Upgrade", "missing Sec-WebSocket-Accept header"),
            (
                "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x",
                "invalid Sec-WebSocket-Accept header: x",
            ),
            (
                "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ACCEPT\r\n\
                 Sec-WebSocket-Extensions: permessage-deflate",
                "server uses an extension that was not offered: permessage-deflate",
            ),
            (
                "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ACCEPT\r\n\
                 Sec-WebSocket-Protocol: mqtt",
                "server chose a subprotocol that was not offered: mqtt",
            ),
        ];
        for (fields, expected) in cases {
            assert_eq!(complaint(&format!("HTTP/1.1 101 Switching Protocols\r\n{fields}\r\n\r\n")), expected);
        }
        assert_eq!(
            complaint("HTTP/1.0 101 Switching Protocols\r\n\r\n"),
            "server switched protocols in HTTP/1.0, not in HTTP/1.1"
        );
    }
}
