//! WebSocket URIs (RFC 6455 section 3): what is dialled, and what stands in the request.

use std::fmt::{self, Display, Formatter, Write};
use std::str::FromStr;

use bytes::Bytes;
use http::HeaderValue;

/// Why a text is not a WebSocket URI; reads as a whole sentence that names the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text} isn't a valid URI: {problem}")]
pub struct UriError {
    /// What was given.
    pub text: String,
    /// What is wrong with it.
    pub problem: UriProblem,
}

/// What is wrong with a URI.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UriProblem {
    /// Not ws:// or wss://.
    #[error("scheme isn't ws or wss")]
    Scheme,
    /// No host, or one that is not ASCII.
    #[error("hostname isn't provided")]
    Host,
    /// RFC 6455 section 3 forbids fragments.
    #[error("fragment identifier is meaningless")]
    Fragment,
    /// Basic authentication needs both.
    #[error("username provided without password")]
    Password,
    /// The port, or any other part, breaks the grammar.
    #[error("{0}")]
    Grammar(String),
}

/// A WebSocket URI, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebSocketUri {
    text: String,
    /// Whether the scheme is wss.
    pub secure: bool,
    /// The host without brackets: a name or an address.
    pub host: String,
    /// The port, or the scheme's default.
    pub port: u16,
    /// User name and password, for Basic authentication.
    pub user: Option<(String, String)>,
    /// The `Host` field: the authority, without the scheme's default port.
    pub authority: HeaderValue,
    /// The request target: path and query.
    pub target: Bytes,
}

impl WebSocketUri {
    /// What a `Location` field means here (RFC 3986 section 5.2, of which dots in paths are left to
    /// the server). As the handshake is HTTP, http:// means ws:// and https:// means wss://.
    ///
    /// # Errors
    /// It leads to no WebSocket URI.
    pub fn join(&self, location: &str) -> Result<Self, UriError> {
        let scheme = if self.secure { "wss" } else { "ws" };
        let (authority, target) = self.text.split_once("://").map_or(("", ""), |(_, rest)| {
            rest.find(['/', '?', '#']).map_or((rest, ""), |position| rest.split_at(position))
        });
        let path = target.split(['?', '#']).next().unwrap_or_default();
        let folder = path.rfind('/').map_or("/", |position| &path[..=position]);
        match location.split_once("://") {
            Some((other, rest)) if !other.contains(['/', '?', '#']) => {
                match other.to_ascii_lowercase().as_str() {
                    "http" => format!("ws://{rest}"),
                    "https" => format!("wss://{rest}"),
                    _ => location.to_owned(),
                }
            }
            _ if location.starts_with("//") => format!("{scheme}:{location}"),
            _ if location.starts_with('/') => format!("{scheme}://{authority}{location}"),
            _ if location.starts_with('?') => format!("{scheme}://{authority}{path}{location}"),
            _ => format!("{scheme}://{authority}{folder}{location}"),
        }
        .parse()
    }

    /// Whether both are of one origin (RFC 6454): scheme, host and port.
    #[must_use]
    pub fn is_same_origin(&self, other: &Self) -> bool {
        (self.secure, self.port) == (other.secure, other.port) && self.host.eq_ignore_ascii_case(&other.host)
    }
}

impl Display for WebSocketUri {
    /// As it was typed.
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl FromStr for WebSocketUri {
    type Err = UriError;

    fn from_str(text: &str) -> Result<Self, UriError> {
        parse(text).map_err(|problem| UriError { text: text.to_owned(), problem })
    }
}

fn parse(text: &str) -> Result<WebSocketUri, UriProblem> {
    let (scheme, rest) = text.split_once("://").ok_or(UriProblem::Scheme)?;
    let secure = match scheme.to_ascii_lowercase().as_str() {
        "ws" => false,
        "wss" => true,
        _ => return Err(UriProblem::Scheme),
    };
    if rest.starts_with(['/', '?', '#']) || rest.is_empty() {
        return Err(UriProblem::Host);
    }
    if text.split_once('#').is_some_and(|(_, fragment)| !fragment.is_empty()) {
        return Err(UriProblem::Fragment);
    }
    let uri: http::Uri = text.parse().map_err(|error: http::uri::InvalidUri| grammar(&error))?;
    let authority = uri.authority().ok_or(UriProblem::Host)?;
    let (user, host_and_port) = split_user(authority.as_str())?;
    let host = authority.host();
    if host.is_empty() {
        return Err(UriProblem::Host);
    }
    let port = match host_and_port[host.len()..].strip_prefix(':') {
        None | Some("") => None,
        Some(digits) => Some(digits.parse().map_err(|_| UriProblem::Grammar(format!("no port {digits}")))?),
    };
    let default_port = if secure { 443 } else { 80 };
    let port: u16 = port.unwrap_or(default_port);
    let shown = if port == default_port { host.to_owned() } else { format!("{host}:{port}") };
    Ok(WebSocketUri {
        text: text.to_owned(),
        secure,
        host: host.trim_matches(['[', ']']).to_owned(),
        port,
        user,
        authority: HeaderValue::try_from(shown).map_err(|error| grammar(&error))?,
        target: ascii(uri.path_and_query().map_or("/", |target| target.as_str())),
    })
}

fn grammar(error: &dyn std::error::Error) -> UriProblem {
    UriProblem::Grammar(error.to_string())
}

/// User name and password.
pub(super) type UserInformation = (String, String);

/// Takes the user information (RFC 3986 section 3.2.1) off an authority.
pub(super) fn split_user(authority: &str) -> Result<(Option<UserInformation>, &str), UriProblem> {
    let Some((user, rest)) = authority.rsplit_once('@') else { return Ok((None, authority)) };
    let (name, password) = user.split_once(':').ok_or(UriProblem::Password)?;
    Ok((Some((percent_decoded(name)?, percent_decoded(password)?)), rest))
}

fn percent_decoded(text: &str) -> Result<String, UriProblem> {
    let wrong = || UriProblem::Grammar(format!("{text} is not percent-encoded UTF-8"));
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, encoded)) = rest.split_once('%') {
        bytes.extend_from_slice(before.as_bytes());
        let digits = encoded.get(..2).ok_or_else(wrong)?;
        bytes.push(u8::from_str_radix(digits, 16).map_err(|_| wrong())?);
        rest = &encoded[2..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8(bytes).map_err(|_| wrong())
}

/// The target with what is not ASCII as percent-encoded UTF-8 (RFC 3986 section 2.5). A query
/// without a path gets one.
fn ascii(target: &str) -> Bytes {
    let mut encoded = String::with_capacity(target.len() + 1);
    if !target.starts_with('/') {
        encoded.push('/');
    }
    for byte in target.bytes() {
        if byte.is_ascii() {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> (String, u16, String, String) {
        let uri: WebSocketUri = text.parse().unwrap();
        let authority = uri.authority.to_str().unwrap().to_owned();
        (uri.host, uri.port, authority, String::from_utf8(uri.target.to_vec()).unwrap())
    }

    fn problem(text: &str) -> String {
        text.parse::<WebSocketUri>().unwrap_err().to_string()
    }

    #[test]
    fn a_uri_says_where_to_dial_and_what_to_ask_for() {
        let owned = |host: &str, port, authority: &str, target: &str| {
            (host.to_owned(), port, authority.to_owned(), target.to_owned())
        };
        let service = "websockets-server.default.svc.cluster.local";
        assert_eq!(
            parts("ws://websockets-server.default.svc.cluster.local:8080"),
            owned(service, 8080, "websockets-server.default.svc.cluster.local:8080", "/")
        );
        assert_eq!(parts("WS://h/a?b=c"), owned("h", 80, "h", "/a?b=c"));
        assert_eq!(parts("ws://h:80?b"), owned("h", 80, "h", "/?b"));
        assert_eq!(parts("wss://h:80"), owned("h", 80, "h:80", "/"));
        assert_eq!(parts("wss://h/#"), owned("h", 443, "h", "/"));
        assert_eq!(parts("ws://[::1]:9/"), owned("::1", 9, "[::1]:9", "/"));
        assert_eq!(parts("ws://h/é"), owned("h", 80, "h", "/%C3%A9"));
    }

    #[test]
    fn user_information_is_taken_apart_and_no_part_of_the_host() {
        let uri: WebSocketUri = "ws://al%3Aice:s%40cret@h:81/".parse().unwrap();
        assert_eq!(uri.user, Some(("al:ice".to_owned(), "s@cret".to_owned())));
        assert_eq!((uri.host.as_str(), uri.port, uri.authority.to_str().unwrap()), ("h", 81, "h:81"));
    }

    #[test]
    fn a_location_leads_on_from_where_it_was_found() {
        let from: WebSocketUri = "wss://h:8443/a/b?c".parse().unwrap();
        for (location, expected) in [
            ("ws://other/", "ws://other/"),
            ("https://other/x", "wss://other/x"),
            ("//other/x", "wss://other/x"),
            ("/x?y", "wss://h:8443/x?y"),
            ("?y", "wss://h:8443/a/b?y"),
            ("x", "wss://h:8443/a/x"),
        ] {
            assert_eq!(from.join(location).unwrap().to_string(), expected, "{location}");
        }
        assert!(from.join("ftp://h/").is_err());
        assert!(from.is_same_origin(&"wss://H:8443".parse().unwrap()));
        assert!(!from.is_same_origin(&"wss://h".parse().unwrap()));
    }

    #[test]
    fn what_is_not_a_websocket_uri_is_refused_with_the_reason() {
        assert_eq!(problem("foo"), "foo isn't a valid URI: scheme isn't ws or wss");
        assert_eq!(problem("http://h/"), "http://h/ isn't a valid URI: scheme isn't ws or wss");
        assert_eq!(
            problem("ws://h/#frag"),
            "ws://h/#frag isn't a valid URI: fragment identifier is meaningless"
        );
        assert_eq!(problem("ws:///path"), "ws:///path isn't a valid URI: hostname isn't provided");
        assert_eq!(problem("ws://"), "ws:// isn't a valid URI: hostname isn't provided");
        assert_eq!(
            problem("ws://user@h/"),
            "ws://user@h/ isn't a valid URI: username provided without password"
        );
        assert!(problem("ws://a:%zz@h/").contains("isn't a valid URI"));
        assert!(problem("ws://h:99999/").contains("isn't a valid URI"));
        assert!(problem("ws://h/a b").contains("isn't a valid URI"));
    }
}
