//! The server's side of the opening handshake (RFC 6455 section 4.2): is this request one, and what
//! answers it.
//!
//! Plain functions on a head that was read completely. Reading it, its deadline and its size are
//! the caller's; of extensions permessage-deflate is negotiated.

use http::header::{
    ALLOW, CONNECTION, CONTENT_LENGTH, HOST, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS,
    SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, TRANSFER_ENCODING, UPGRADE,
};
use http::uri::Authority;
use http::{HeaderName, HeaderValue, Method, Request, StatusCode, Uri, Version};
use tungstenite::handshake::derive_accept_key;

use crate::http1::{Fields, RequestHead, ResponseHead};
use crate::websocket::deflate::Agreement;
use crate::websocket::extended_connect;

/// The version that RFC 6455 defines, the only one there is.
const VERSION: &str = "13";

/// A request that may become a WebSocket session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// The proof that the key was read. Over HTTP/2 there need not be one.
    accept: Option<HeaderValue>,
    subprotocol: Option<HeaderValue>,
    /// How messages are compressed, if the client offered a way.
    pub deflate: Option<Agreement>,
}

impl Accepted {
    /// Agrees to the first of the client's subprotocols that is supported, if there is one (RFC
    /// 6455 section 4.2.2).
    pub fn choose_subprotocol(&mut self, request: &Fields, supported: &[HeaderValue]) {
        let mut offered = request.elements(&SEC_WEBSOCKET_PROTOCOL);
        self.subprotocol =
            offered.find_map(|name| supported.iter().find(|candidate| *candidate == name)).cloned();
    }

    /// The 101 that turns the connection into a WebSocket (RFC 6455 section 4.2.2); over HTTP/2 it
    /// becomes a 200.
    #[must_use]
    pub fn response(&self) -> ResponseHead {
        let fields = [
            (CONNECTION, HeaderValue::from_static("Upgrade")),
            (UPGRADE, HeaderValue::from_static("websocket")),
        ];
        let accept = self.accept.clone().map(|accept| (SEC_WEBSOCKET_ACCEPT, accept));
        let subprotocol = self.subprotocol.clone().map(|name| (SEC_WEBSOCKET_PROTOCOL, name));
        let extensions = self.deflate.map(|agreement| (SEC_WEBSOCKET_EXTENSIONS, agreement.to_value()));
        ResponseHead {
            status: StatusCode::SWITCHING_PROTOCOLS,
            version: Version::HTTP_11,
            fields: fields.into_iter().chain(accept).chain(subprotocol).chain(extensions).collect(),
        }
    }
}

/// Why an opening handshake is refused. The text is for the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The method is not GET.
    #[error("the method of an opening handshake is GET")]
    Method,
    /// The request is of HTTP/1.0.
    #[error("an opening handshake needs HTTP/1.1")]
    HttpVersion,
    /// The target is neither a path nor an absolute URI.
    #[error("the request target is neither a path nor an absolute URI")]
    Target,
    /// There is no Host, or several, or it does not name a host.
    #[error("exactly one valid Host field is needed")]
    Host,
    /// The request announces a body, whose bytes could be taken for frames.
    #[error("an opening handshake has no body")]
    Body,
    /// The request is a CONNECT over HTTP/2 for another protocol.
    #[error("the :protocol of a WebSocket is websocket")]
    Protocol,
    /// `Upgrade: websocket` is missing.
    #[error("the Upgrade field does not ask for websocket")]
    Upgrade,
    /// `Connection: Upgrade` is missing.
    #[error("the Connection field does not list Upgrade")]
    Connection,
    /// There is no `Sec-WebSocket-Version`, or several, or it is not 13.
    #[error("Sec-WebSocket-Version has to be 13")]
    WebSocketVersion,
    /// There is no `Sec-WebSocket-Key`, or several, or it is not 16 bytes in base64.
    #[error("exactly one Sec-WebSocket-Key of 16 bytes in base64 is needed")]
    Key,
}

impl Refusal {
    /// The status that answers it.
    #[must_use]
    pub fn status(self) -> StatusCode {
        match self {
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Target | Self::Host | Self::Body | Self::Protocol | Self::Key => StatusCode::BAD_REQUEST,
            Self::HttpVersion | Self::Upgrade | Self::Connection | Self::WebSocketVersion => {
                StatusCode::UPGRADE_REQUIRED
            }
        }
    }

    /// The fields that this status obliges to, which tell the client what would have been right
    /// (RFC 9110 sections 15.5.6 and 15.5.22, RFC 6455 section 4.4). Connection does not list
    /// Upgrade, as RFC 9110 section 7.8 wants it: Envoy would take the answer for a switch,
    /// whatever its status, and log that it lost its upstream (`UC`).
    #[must_use]
    pub fn fields(self) -> Fields {
        let field = |name, value| (name, HeaderValue::from_static(value));
        match self {
            Self::Method => [field(ALLOW, "GET")].into_iter().collect(),
            Self::HttpVersion | Self::Upgrade | Self::Connection | Self::WebSocketVersion => {
                let fields = [field(UPGRADE, "websocket"), field(SEC_WEBSOCKET_VERSION, VERSION)];
                fields.into_iter().collect()
            }
            _ => Fields::new(),
        }
    }
}

/// Whether a request wants to be an opening handshake, be it a right one or not. All others are
/// plain HTTP, also those that offer to upgrade to something else, which a server is free to ignore
/// (RFC 9110 section 7.8).
#[must_use]
pub fn is_attempt(head: &RequestHead) -> bool {
    head.fields.has_element(&UPGRADE, "websocket") || head.fields.contains(&SEC_WEBSOCKET_KEY)
}

/// Checks an opening handshake (RFC 6455 section 4.2.1).
///
/// # Errors
/// The first thing that is wrong with it.
pub fn check(head: &RequestHead) -> Result<Accepted, Refusal> {
    let fields = &head.fields;
    if head.method != Method::GET {
        return Err(Refusal::Method);
    }
    if head.version < Version::HTTP_11 {
        return Err(Refusal::HttpVersion);
    }
    let absolute = || head.target_str().parse::<Uri>().is_ok_and(|uri| uri.scheme().is_some());
    if !head.target.starts_with(b"/") && !absolute() {
        return Err(Refusal::Target);
    }
    if !only(fields, &HOST)
        .is_some_and(|host| host.is_empty() || Authority::try_from(host.as_bytes()).is_ok())
    {
        return Err(Refusal::Host);
    }
    if fields.contains(&TRANSFER_ENCODING) || fields.get_all(&CONTENT_LENGTH).any(|length| length != "0") {
        return Err(Refusal::Body);
    }
    if !fields.has_element(&UPGRADE, "websocket") {
        return Err(Refusal::Upgrade);
    }
    if !fields.has_element(&CONNECTION, "upgrade") {
        return Err(Refusal::Connection);
    }
    if !is_version_13(fields) {
        return Err(Refusal::WebSocketVersion);
    }
    let accept = only(fields, &SEC_WEBSOCKET_KEY).and_then(accept_for).ok_or(Refusal::Key)?;
    Ok(Accepted { accept: Some(accept), subprotocol: None, deflate: Agreement::accept(fields) })
}

/// Checks an extended CONNECT (RFC 8441 section 5). A key is not asked for; where a proxy has kept
/// one it is answered, since its client waits for that.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn check_extended_connect(request: &Request<()>) -> Result<Accepted, Refusal> {
    if !extended_connect::protocol(request).is_some_and(|protocol| protocol.eq_ignore_ascii_case("websocket"))
    {
        return Err(Refusal::Protocol);
    }
    if !request.uri().path().starts_with('/') {
        return Err(Refusal::Target);
    }
    if request.uri().authority().is_none() {
        return Err(Refusal::Host);
    }
    let fields = Fields::from(request.headers());
    if fields.get_all(&CONTENT_LENGTH).any(|length| length != "0") {
        return Err(Refusal::Body);
    }
    if !is_version_13(&fields) {
        return Err(Refusal::WebSocketVersion);
    }
    let accept = only(&fields, &SEC_WEBSOCKET_KEY).and_then(accept_for);
    Ok(Accepted { accept, subprotocol: None, deflate: Agreement::accept(&fields) })
}

fn is_version_13(fields: &Fields) -> bool {
    only(fields, &SEC_WEBSOCKET_VERSION).is_some_and(|version| version == VERSION)
}

/// The answer to a key; `None` where the key is malformed.
fn accept_for(key: &HeaderValue) -> Option<HeaderValue> {
    let key = Some(key.as_bytes()).filter(|key| is_sixteen_bytes_in_base64(key))?;
    HeaderValue::try_from(derive_accept_key(key)).ok()
}

/// The value of a field that is there exactly once.
fn only<'a>(fields: &'a Fields, name: &'a HeaderName) -> Option<&'a HeaderValue> {
    let mut values = fields.get_all(name);
    values.next().filter(|_| values.next().is_none())
}

/// 16 bytes are 22 digits of base64 and two `=`. The four bits that the last digit has to spare are
/// not looked at.
fn is_sixteen_bytes_in_base64(key: &[u8]) -> bool {
    let digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    key.len() == 24 && key.ends_with(b"==") && key[..22].iter().all(digit)
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use h2::ext::Protocol;
    use tungstenite::handshake::client::generate_key;

    use super::*;
    use crate::http1::parse_request;

    /// The request of RFC 6455 section 1.3, without what this server does not look at.
    const SAMPLE: &str = "GET /chat HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\n\
        Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

    fn parse(text: &str) -> RequestHead {
        parse_request(&mut BytesMut::from(text)).expect("well formed").expect("complete")
    }

    #[test]
    fn the_sample_of_the_rfc_gets_the_answer_of_the_rfc() {
        let mut answer = BytesMut::new();
        check(&parse(SAMPLE)).expect("accepted").response().write(&mut answer);
        let expected = "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
                        sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
        assert_eq!(std::str::from_utf8(&answer).unwrap(), expected);
    }

    #[test]
    fn compression_is_agreed_on_where_it_is_offered() {
        let offer = "\r\nSec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=10\r\n\r\n";
        let accepted = check(&parse(&SAMPLE.replace("\r\n\r\n", offer))).expect("accepted");
        let answer = accepted.response().fields;
        let extensions = answer.get(&SEC_WEBSOCKET_EXTENSIONS).unwrap();
        assert_eq!(extensions, "permessage-deflate; server_max_window_bits=10");
        assert_eq!(accepted.deflate.unwrap().server.window_bits(), 10);
    }

    #[test]
    fn what_other_clients_write_is_accepted_too() {
        for (part, instead) in [
            ("Connection: Upgrade", "connection: keep-alive, upgrade"),
            ("Upgrade: websocket", "UPGRADE: h2c, WebSocket"),
            ("/chat", "http://server.example.com/chat"),
            ("/chat", "/chat?a=1&b=%20"),
            ("server.example.com", "[::1]:8080"),
            ("\r\n\r\n", "\r\nContent-Length: 0\r\n\r\n"),
        ] {
            let text = SAMPLE.replace(part, instead);
            assert!(check(&parse(&text)).is_ok(), "{text}");
        }
    }

    #[test]
    fn each_fault_has_its_refusal_and_status() {
        let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        for (part, instead, refusal, status) in [
            ("GET", "POST", Refusal::Method, 405),
            ("HTTP/1.1", "HTTP/1.0", Refusal::HttpVersion, 426),
            ("/chat", "chat", Refusal::Target, 400),
            ("/chat", "*", Refusal::Target, 400),
            ("Host: server.example.com\r\n", "", Refusal::Host, 400),
            ("Host: ", "Host: a\r\nHost: ", Refusal::Host, 400),
            ("server.example.com", "a b<>", Refusal::Host, 400),
            ("\r\n\r\n", "\r\nContent-Length: 5\r\n\r\n", Refusal::Body, 400),
            ("\r\n\r\n", "\r\nTransfer-Encoding: chunked\r\n\r\n", Refusal::Body, 400),
            ("Upgrade: websocket", "Upgrade: h2c", Refusal::Upgrade, 426),
            ("Upgrade: websocket\r\n", "", Refusal::Upgrade, 426),
            ("Connection: Upgrade", "Connection: keep-alive", Refusal::Connection, 426),
            ("Version: 13", "Version: 8", Refusal::WebSocketVersion, 426),
            ("Version: 13", "Version: 13, 8", Refusal::WebSocketVersion, 426),
            ("Sec-WebSocket-Version: 13\r\n", "", Refusal::WebSocketVersion, 426),
            (key, "", Refusal::Key, 400),
            (key, &key.repeat(2), Refusal::Key, 400),
            ("ZQ==", "ZQ", Refusal::Key, 400),
            ("dGhl", "d!hl", Refusal::Key, 400),
            ("dGhl", "dGhldGhl", Refusal::Key, 400),
        ] {
            let text = SAMPLE.replacen(part, instead, 1);
            assert_eq!(check(&parse(&text)), Err(refusal), "{text}");
            assert_eq!(refusal.status().as_u16(), status);
        }
    }

    /// An extended CONNECT as Chromium sends it.
    fn extended_connect() -> Request<()> {
        let request =
            Request::connect("https://server.example.com/chat").extension(Protocol::from_static("websocket"));
        request.header(SEC_WEBSOCKET_VERSION, "13").body(()).expect("valid")
    }

    #[test]
    fn an_extended_connect_needs_no_key_and_gets_an_answer_to_one() {
        let accepted = check_extended_connect(&extended_connect()).expect("accepted");
        assert!(!accepted.response().fields.contains(&SEC_WEBSOCKET_ACCEPT));
        let mut with_key = extended_connect();
        let key = HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ==");
        with_key.headers_mut().insert(SEC_WEBSOCKET_KEY, key);
        let accepted = check_extended_connect(&with_key).expect("accepted");
        assert_eq!(
            accepted.response().fields.get(&SEC_WEBSOCKET_ACCEPT).unwrap(),
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
    }

    #[test]
    fn an_extended_connect_for_something_else_is_refused() {
        let refused = |change: &dyn Fn(&mut Request<()>)| {
            let mut request = extended_connect();
            change(&mut request);
            check_extended_connect(&request).expect_err("refused")
        };
        let protocol = |name| {
            move |request: &mut Request<()>| {
                drop(request.extensions_mut().insert(Protocol::from_static(name)));
            }
        };
        assert_eq!(refused(&protocol("connect-udp")), Refusal::Protocol);
        assert_eq!(refused(&|request| request.extensions_mut().clear()), Refusal::Protocol);
        assert_eq!(refused(&|request| *request.uri_mut() = "/chat".parse().unwrap()), Refusal::Host);
        let version = HeaderValue::from_static("8");
        let set = |request: &mut Request<()>| {
            drop(request.headers_mut().insert(SEC_WEBSOCKET_VERSION, version.clone()));
        };
        assert_eq!(refused(&set), Refusal::WebSocketVersion);
    }

    #[test]
    fn an_upgrade_required_says_to_what() {
        let fields = Refusal::WebSocketVersion.fields();
        assert_eq!(fields.get(&SEC_WEBSOCKET_VERSION).unwrap(), "13");
        assert_eq!(fields.get(&UPGRADE).unwrap(), "websocket");
        assert!(!fields.contains(&CONNECTION));
        assert_eq!(Refusal::Method.fields().get(&ALLOW).unwrap(), "GET");
    }

    #[test]
    fn a_plain_request_is_no_attempt_even_if_it_offers_another_protocol() {
        assert!(is_attempt(&parse(SAMPLE)));
        assert!(is_attempt(&parse(&SAMPLE.replace("Upgrade: websocket\r\n", ""))));
        assert!(!is_attempt(&parse("GET /healthz HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\n\r\n")));
    }

    #[test]
    fn the_keys_that_clients_make_are_accepted() {
        for key in std::iter::repeat_with(generate_key).take(100) {
            assert!(is_sixteen_bytes_in_base64(key.as_bytes()), "{key}");
        }
    }
}
