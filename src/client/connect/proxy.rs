//! HTTP proxies: which one to ask, and asking it for a connection with CONNECT (RFC 9110 section
//! 9.3.6).
//!
//! The environment is read as Python websockets and curl read it. SOCKS proxies are not spoken
//! with, and said so.

use std::collections::HashMap;
use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::{Bytes, BytesMut};
use http::header::{HOST, PROXY_AUTHORIZATION, USER_AGENT};
use http::{HeaderValue, Method, Version};
use hyper_util::client::proxy::matcher::Matcher;

use super::endpoint::{HostPort, Peer};
use super::error::ConnectError;
use super::event::{ConnectEvent, Observer};
use super::http1;
use super::uri::{WebSocketUri, split_user};
use crate::http1::{Fields, RequestHead};
use crate::net::Transport;
use crate::websocket::opening::client::PRODUCT;

/// A proxy that is spoken to in HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxy {
    text: String,
    /// Whether it is spoken to over TLS.
    pub secure: bool,
    /// Where it is.
    pub place: HostPort,
    /// User name and password.
    pub user: Option<(String, String)>,
}

/// A text names no proxy that can be asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text} isn't a valid proxy: {problem}")]
pub struct ProxyError {
    /// What was given.
    pub text: String,
    /// What is wrong with it.
    pub problem: String,
}

impl Display for Proxy {
    /// Without the password.
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}://{}", if self.secure { "https" } else { "http" }, self.place)
    }
}

impl FromStr for Proxy {
    type Err = ProxyError;

    /// As curl has it, a proxy without a scheme is an HTTP proxy.
    fn from_str(text: &str) -> Result<Self, ProxyError> {
        let wrong = |problem: &str| ProxyError { text: text.to_owned(), problem: problem.to_owned() };
        let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
        let secure = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            other => return Err(wrong(&format!("scheme {other} isn't supported, only http and https"))),
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.contains(['/', '?', '#']) {
            return Err(wrong("a proxy has no path"));
        }
        let (user, host) = split_user(authority).map_err(|problem| wrong(&problem.to_string()))?;
        let default_port = if secure { ":443" } else { ":80" };
        let place = host.parse().or_else(|_| format!("{host}{default_port}").parse());
        let place = place.map_err(|error| wrong(&format!("{error}")))?;
        Ok(Self { text: text.to_owned(), secure, place, user })
    }
}

/// Which proxy is asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ProxyChoice {
    /// No proxy.
    #[default]
    Direct,
    /// The one that the environment names, if it names one.
    Environment,
    /// The proxy that `--proxy` names.
    Explicit(Proxy),
}

impl ProxyChoice {
    /// The proxy for a URI.
    ///
    /// # Errors
    /// The environment names one that cannot be asked.
    pub(super) fn proxy(&self, uri: &WebSocketUri) -> Result<Option<Proxy>, ProxyError> {
        match self {
            Self::Direct => Ok(None),
            Self::Explicit(proxy) => Ok(Some(proxy.clone())),
            Self::Environment => Environment::new(
                std::env::vars_os()
                    .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))),
            )
            .proxy(uri),
        }
    }
}

/// The variables `*_proxy`, without the suffix.
struct Environment(HashMap<String, String>);

impl Environment {
    /// The name in lower case goes before the one in upper case. In a CGI program `HTTP_PROXY`
    /// comes from the client's `Proxy` field (CVE-2016-1000110).
    fn new(variables: impl Iterator<Item = (String, String)>) -> Self {
        let (mut upper, mut lower, mut is_cgi) = (HashMap::new(), HashMap::new(), false);
        for (name, value) in variables {
            is_cgi |= name == "REQUEST_METHOD";
            if let Some(scheme) = name.strip_suffix("_proxy") {
                lower.insert(scheme.to_ascii_lowercase(), value);
            } else if let Some(scheme) = name.strip_suffix("_PROXY") {
                upper.insert(scheme.to_ascii_lowercase(), value);
            }
        }
        if is_cgi {
            upper.remove("http");
        }
        upper.extend(lower);
        upper.retain(|_, value| !value.is_empty());
        Self(upper)
    }

    /// Python websockets' order, without SOCKS, and curl's `ALL_PROXY` after it.
    fn proxy(&self, uri: &WebSocketUri) -> Result<Option<Proxy>, ProxyError> {
        if self.is_exempt(uri) {
            return Ok(None);
        }
        let order: &[&str] =
            if uri.secure { &["wss", "https", "all"] } else { &["ws", "https", "http", "all"] };
        order.iter().find_map(|scheme| self.0.get(*scheme)).map(|proxy| proxy.parse()).transpose()
    }

    /// Whether `NO_PROXY` lists the host: `*`, names that are it or end it, addresses and networks.
    /// As Python has it, an entry may have a port, of which hyper's matcher knows nothing, and `*`
    /// means addresses too.
    fn is_exempt(&self, uri: &WebSocketUri) -> bool {
        let Some(list) = self.0.get("no") else { return false };
        let port = format!(":{}", uri.port);
        let entries = list.split(',').map(|entry| {
            let entry = entry.trim();
            let host = entry.strip_suffix(&port).filter(|host| host.ends_with(']') || !host.contains(':'));
            host.unwrap_or(entry).trim_matches(['[', ']'])
        });
        let entries: Vec<&str> = entries.collect();
        let place = HostPort { host: uri.host.clone(), port: uri.port };
        let proxied = format!("http://{place}").parse().ok().and_then(|uri| {
            // The matcher decides only whether a proxy is asked; this one is never asked itself.
            Matcher::builder().all("http://proxy").no(entries.join(",")).build().intercept(&uri)
        });
        entries.contains(&"*") || proxied.is_none()
    }
}

/// `Basic` and the credentials (RFC 7617).
pub(super) fn basic((name, password): &(String, String)) -> HeaderValue {
    let value = format!("Basic {}", BASE64_STANDARD.encode(format!("{name}:{password}")));
    HeaderValue::try_from(value).unwrap_or_else(|_| unreachable!("base64 is visible ASCII"))
}

/// Asks the proxy at the other end of `stream` for a connection to `place`.
///
/// # Errors
/// It refuses, or does not answer in HTTP.
pub(super) async fn connect(
    proxy: &Proxy,
    place: &HostPort,
    mut stream: Transport,
    peer: &Peer,
    observer: &Observer,
) -> Result<Transport, ConnectError> {
    observer.notice(&ConnectEvent::Proxy(proxy));
    let place = place.to_string();
    let mut fields = Fields::new();
    let authority = HeaderValue::try_from(&place).unwrap_or_else(|_| HeaderValue::from_static(""));
    fields.append(HOST, authority);
    fields.append(USER_AGENT, HeaderValue::from_static(PRODUCT));
    if let Some(user) = &proxy.user {
        fields.append(PROXY_AUTHORIZATION, basic(user));
    }
    let request = RequestHead {
        method: Method::CONNECT,
        target: Bytes::from(place),
        version: Version::HTTP_11,
        fields,
    };
    let mut bytes = BytesMut::new();
    let head = http1::exchange(&request, &mut stream, &mut bytes, peer, observer).await?;
    if !head.status.is_success() {
        let refusal = http1::refusal(&request, head, &mut stream, bytes).await;
        return Err(ConnectError::ProxyRefused { proxy: proxy.to_string(), refusal: Box::new(refusal) });
    }
    if !bytes.is_empty() {
        // No request has gone to the server yet, so these bytes are the proxy's.
        return Err(ConnectError::ProxySpoke { proxy: proxy.to_string() });
    }
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(variables: &[(&str, &str)], uri: &str) -> Option<String> {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let proxy = Environment::new(variables).proxy(&uri.parse().unwrap()).unwrap();
        proxy.map(|proxy| proxy.place.to_string())
    }

    #[test]
    fn a_proxy_is_a_url_or_a_host_and_a_port() {
        let proxy: Proxy = "http://us%40er:pw@proxy:3128/".parse().unwrap();
        assert_eq!(proxy.to_string(), "http://proxy:3128");
        assert_eq!(proxy.user, Some(("us@er".to_owned(), "pw".to_owned())));
        assert_eq!("https://proxy".parse::<Proxy>().unwrap().to_string(), "https://proxy:443");
        assert_eq!("[::1]:8080".parse::<Proxy>().unwrap().to_string(), "http://[::1]:8080");
        for wrong in ["socks5h://proxy:1080", "http://", "http://proxy/path", "http://user@proxy"] {
            assert!(wrong.parse::<Proxy>().unwrap_err().to_string().starts_with(wrong), "{wrong}");
        }
    }

    #[test]
    fn the_scheme_decides_which_variable_counts() {
        let all = [("HTTP_PROXY", "http:1"), ("HTTPS_PROXY", "https:2"), ("ALL_PROXY", "all:3")];
        assert_eq!(chosen(&all, "wss://h"), Some("https:2".to_owned()));
        assert_eq!(chosen(&all, "ws://h"), Some("https:2".to_owned()));
        assert_eq!(chosen(&all[..1], "ws://h"), Some("http:1".to_owned()));
        assert_eq!(chosen(&all[..1], "wss://h"), None);
        assert_eq!(chosen(&all[2..], "wss://h"), Some("all:3".to_owned()));
        assert_eq!(chosen(&[("ws_proxy", "own:4"), all[0]], "ws://h"), Some("own:4".to_owned()));
    }

    #[test]
    fn lower_case_goes_first_even_if_it_is_empty_and_a_cgi_program_trusts_no_http_proxy() {
        let both = [("http_proxy", "lower:1"), ("HTTP_PROXY", "upper:2")];
        assert_eq!(chosen(&both, "ws://h"), Some("lower:1".to_owned()));
        assert_eq!(chosen(&[("http_proxy", ""), both[1]], "ws://h"), None);
        assert_eq!(chosen(&[both[1], ("REQUEST_METHOD", "GET")], "ws://h"), None);
    }

    #[test]
    fn no_proxy_exempts_hosts_their_subdomains_addresses_and_networks() {
        let exempt =
            |list: &str, uri: &str| chosen(&[("ALL_PROXY", "p:1"), ("NO_PROXY", list)], uri).is_none();
        for (list, uri) in [
            ("*", "ws://h"),
            ("a, example.com", "ws://example.com"),
            ("example.com", "ws://deep.EXAMPLE.com:8080"),
            (".example.com", "ws://example.com"),
            ("example.com:8080", "ws://example.com:8080"),
            ("10.0.0.0/8", "ws://10.1.2.3"),
            ("127.0.0.1", "ws://127.0.0.1:9000"),
            ("::1", "ws://[::1]:9000"),
            ("[::1]", "ws://[::1]:9000"),
            ("[::1]:9000", "ws://[::1]:9000"),
            ("fd00::/8", "wss://[fd00::1]"),
            ("*", "ws://127.0.0.1"),
            ("a,, 127.0.0.1:80 ,b", "ws://127.0.0.1"),
        ] {
            assert!(exempt(list, uri), "{list} {uri}");
        }
        for (list, uri) in [
            ("", "ws://h"),
            ("example.com", "ws://notexample.com"),
            ("example.com:81", "ws://example.com:8080"),
            ("10.0.0.0/8", "ws://11.1.2.3"),
            ("[::1]:9001", "ws://[::1]:9000"),
            ("::1", "ws://[::]:1"),
            ("host.of.example.com", "ws://example.com"),
        ] {
            assert!(!exempt(list, uri), "{list} {uri}");
        }
    }
}
