//! Extended CONNECT (RFC 8441) to and from an HTTP/1.1 upgrade, as Envoy's codec does it
//! (`transformUpgradeRequestFromH1toH2` and its three siblings): fields in, fields out, no I/O.
//!
//! Envoy keeps `sec-websocket-key` on the tunnel, which RFC 8441 would drop, so it is kept here.

use h2::ext::Protocol;
use http::header::{CONNECTION, CONTENT_LENGTH, COOKIE, HOST, SEC_WEBSOCKET_KEY, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, Version};

use crate::http1::Fields;

/// What a request asks for, whichever version carries it. A WebSocket is a GET with `upgrade` and
/// `connection` fields.
#[derive(Debug, Clone)]
pub struct RequestParts {
    /// The method of the request, CONNECT or another.
    pub method: Method,
    /// `http` or `https`: `:scheme`.
    pub scheme: &'static str,
    /// `Host` or `:authority`; `None` if there was none.
    pub authority: Option<HeaderValue>,
    /// The path with its query: `:path`; `None` for a CONNECT without one.
    pub path: Option<HeaderValue>,
    /// The fields, without `Host`.
    pub fields: Fields,
}

/// A request that HTTP/2 cannot carry.
#[derive(Debug, thiserror::Error)]
#[error("not a valid HTTP/2 request: {0}")]
pub struct NotHttp2(#[from] http::Error);

/// Whether the fields ask for an upgrade (Envoy's `Utility::isUpgrade`): there is an `Upgrade`
/// field, and `Connection` names it.
#[must_use]
pub fn is_upgrade(fields: &Fields) -> bool {
    fields.contains(&UPGRADE) && fields.has_element(&CONNECTION, "upgrade")
}

/// Whether a request for a WebSocket leaves the key out, as RFC 8441 section 5 has it.
#[must_use]
pub fn is_websocket_without_key(request: &RequestParts) -> bool {
    let token = request.fields.get(&UPGRADE).filter(|_| is_upgrade(&request.fields));
    token.is_some_and(|token| token.as_bytes().eq_ignore_ascii_case(b"websocket"))
        && !request.fields.contains(&SEC_WEBSOCKET_KEY)
}

/// Fields of one connection that HTTP/2 does not have (RFC 9113 section 8.2.2).
fn is_connection_specific(name: &HeaderName) -> bool {
    *name == CONNECTION
        || *name == UPGRADE
        || *name == TRANSFER_ENCODING
        || *name == HOST
        || name == "keep-alive"
        || name == "proxy-connection"
        || name == "http2-settings"
}

fn http2_fields(fields: &Fields, keep: impl Fn(&HeaderName, &HeaderValue) -> bool) -> HeaderMap {
    let mut map = HeaderMap::with_capacity(fields.len());
    for (name, value) in fields.iter().filter(|(name, _)| !is_connection_specific(name)) {
        if keep(name, value) {
            map.append(name, value.clone());
        }
    }
    map
}

/// The request as HTTP/2 has it: an upgrade becomes CONNECT with `:protocol`, anything else stays
/// what it is.
///
/// # Errors
/// The authority or path cannot be written as a URI.
pub fn request_to_http2(request: &RequestParts) -> Result<Request<()>, NotHttp2> {
    let uri = Uri::builder()
        .scheme(request.scheme)
        .authority(request.authority.as_ref().map_or(&b""[..], HeaderValue::as_bytes))
        .path_and_query(request.path.as_ref().map_or(&b"/"[..], HeaderValue::as_bytes))
        .build()?;
    let mut http2 = Request::builder().version(Version::HTTP_2).uri(uri);
    let upgrade = request.fields.get(&UPGRADE).filter(|_| is_upgrade(&request.fields));
    match upgrade.and_then(|token| token.to_str().ok()) {
        Some(token) => http2 = http2.method(Method::CONNECT).extension(Protocol::from(token)),
        None => http2 = http2.method(request.method.clone()),
    }
    let mut http2 = http2.body(())?;
    // Data will follow whatever a handshake says.
    *http2.headers_mut() = http2_fields(&request.fields, |name, value| {
        upgrade.is_none() || *name != CONTENT_LENGTH || value != "0"
    });
    Ok(http2)
}

/// How many fields a request has over HTTP/2, pseudo-header fields included, and the bytes of all
/// names and values.
#[must_use]
pub fn request_size(request: &Request<()>) -> (usize, usize) {
    let uri = request.uri();
    let pseudo = [
        (":method", Some(request.method().as_str())),
        (":scheme", uri.scheme_str()),
        (":authority", uri.authority().map(http::uri::Authority::as_str)),
        (":path", uri.path_and_query().map(http::uri::PathAndQuery::as_str)),
        (":protocol", protocol(request)),
    ];
    let pseudo = pseudo.into_iter().filter_map(|(name, value)| Some(name.len() + value?.len()));
    total(pseudo, request.headers())
}

/// The same of a response.
#[must_use]
pub fn response_size(response: &Response<()>) -> (usize, usize) {
    total(std::iter::once(":status".len() + response.status().as_str().len()), response.headers())
}

fn total(pseudo: impl Iterator<Item = usize>, headers: &HeaderMap) -> (usize, usize) {
    let fields = headers.iter().map(|(name, value)| name.as_str().len() + value.len());
    pseudo.chain(fields).fold((0, 0), |(count, bytes), length| (count + 1, bytes + length))
}

/// `:protocol`, the pseudo-header field of an extended CONNECT.
#[must_use]
pub fn protocol(request: &Request<()>) -> Option<&str> {
    request.extensions().get::<Protocol>().map(Protocol::as_str)
}

/// The request as HTTP/1.1 has it: extended CONNECT becomes GET with `upgrade` and `connection` at
/// the end.
#[must_use]
pub fn request_from_http2(request: &Request<()>) -> RequestParts {
    let uri = request.uri();
    let text = |text: &str| HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static(""));
    let authority = uri.authority().map(|authority| text(authority.as_str()));
    let authority = authority.or_else(|| request.headers().get(HOST).cloned());
    let mut fields: Fields = request
        .headers()
        .iter()
        .filter(|(name, _)| **name != COOKIE && **name != HOST)
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    if let Some(cookie) = joined_cookies(request.headers()) {
        fields.append(COOKIE, cookie);
    }
    let mut method = request.method().clone();
    if let Some(protocol) = request.extensions().get::<Protocol>()
        && method == Method::CONNECT
    {
        method = Method::GET;
        fields.append(UPGRADE, text(protocol.as_str()));
        fields.append(CONNECTION, HeaderValue::from_static("upgrade"));
    }
    RequestParts {
        method,
        scheme: if uri.scheme_str() == Some("https") { "https" } else { "http" },
        authority,
        path: uri.path_and_query().map(|path| text(path.as_str())),
        fields,
    }
}

/// The crumbs of a cookie are one field again (RFC 9113 section 8.2.3).
fn joined_cookies(headers: &HeaderMap) -> Option<HeaderValue> {
    let crumbs: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    (!crumbs.is_empty()).then(|| HeaderValue::from_bytes(&crumbs.join(&b"; "[..])).ok()).flatten()
}

/// The answer as HTTP/2 has it: 101 becomes 200. One with an upgrade's fields says of no body's
/// length that it is 0: bytes follow.
#[must_use]
pub fn response_to_http2(status: StatusCode, fields: &Fields) -> Response<()> {
    let mut http2 = Response::new(());
    *http2.version_mut() = Version::HTTP_2;
    let switching = status == StatusCode::SWITCHING_PROTOCOLS;
    let upgraded = is_upgrade(fields);
    *http2.headers_mut() =
        http2_fields(fields, |name, value| !upgraded || *name != CONTENT_LENGTH || value != "0");
    if !switching {
        *http2.status_mut() = status;
    }
    http2
}

/// The answer as HTTP/1.1 has it: a 200 to an upgrade request (`upgrade` is the token that was
/// asked for) becomes 101.
#[must_use]
pub fn response_from_http2(response: &Response<()>, upgrade: Option<&HeaderValue>) -> (StatusCode, Fields) {
    let mut fields = Fields::from(response.headers());
    match upgrade {
        Some(token) if response.status() == StatusCode::OK => {
            fields.append(UPGRADE, token.clone());
            fields.append(CONNECTION, HeaderValue::from_static("upgrade"));
            (StatusCode::SWITCHING_PROTOCOLS, fields)
        }
        _ => (response.status(), fields),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upgrade_request() -> RequestParts {
        let fields = [
            ("upgrade", "websocket"),
            ("connection", "Upgrade"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("cookie", "s=1"),
            ("x-own", "Value"),
        ];
        RequestParts {
            method: Method::GET,
            scheme: "http",
            authority: Some(HeaderValue::from_static("server.example.com:8080")),
            path: Some(HeaderValue::from_static("/chat?room=1")),
            fields: fields
                .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
                .into_iter()
                .collect(),
        }
    }

    fn lines(fields: &Fields) -> Vec<String> {
        fields.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect()
    }

    #[test]
    fn an_upgrade_becomes_an_extended_connect_that_keeps_the_key() {
        let http2 = request_to_http2(&upgrade_request()).unwrap();
        assert_eq!(http2.method(), Method::CONNECT);
        assert_eq!(http2.extensions().get::<Protocol>().unwrap().as_str(), "websocket");
        assert_eq!(http2.uri(), "http://server.example.com:8080/chat?room=1");
        assert_eq!(
            lines(&Fields::from(http2.headers())),
            ["sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==", "cookie: s=1", "x-own: Value"]
        );
    }

    #[test]
    fn there_and_back_is_the_same_request_with_envoys_order() {
        let back = request_from_http2(&request_to_http2(&upgrade_request()).unwrap());
        assert_eq!(
            (back.method, back.authority.unwrap()),
            (Method::GET, "server.example.com:8080".parse().unwrap())
        );
        assert_eq!(back.path.unwrap(), "/chat?room=1");
        assert_eq!(
            lines(&back.fields),
            [
                "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
                "x-own: Value",
                "cookie: s=1",
                "upgrade: websocket",
                "connection: upgrade"
            ]
        );
    }

    #[test]
    fn switching_protocols_is_a_200_on_the_tunnel_and_101_again_behind_it() {
        let fields: Fields = [
            (UPGRADE, HeaderValue::from_static("websocket")),
            (CONNECTION, HeaderValue::from_static("Upgrade")),
            (http::header::SERVER, HeaderValue::from_static("x")),
        ]
        .into_iter()
        .collect();
        let http2 = response_to_http2(StatusCode::SWITCHING_PROTOCOLS, &fields);
        assert_eq!(http2.status(), StatusCode::OK);
        assert_eq!(lines(&Fields::from(http2.headers())), ["server: x"]);
        let (status, fields) = response_from_http2(&http2, Some(&HeaderValue::from_static("websocket")));
        assert_eq!(status, StatusCode::SWITCHING_PROTOCOLS);
        assert_eq!(lines(&fields), ["server: x", "upgrade: websocket", "connection: upgrade"]);
        let (status, _) = response_from_http2(&response_to_http2(StatusCode::FORBIDDEN, &fields), None);
        assert_eq!(status, StatusCode::FORBIDDEN);
    }
}
