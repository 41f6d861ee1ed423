//! The target of an HTTP/1.1 request (RFC 9112 section 3.2), taken apart into authority and path as
//! Envoy's codec does it (`BalsaParser`'s `isUrlValid`, `ServerConnectionImpl::handlePath`,
//! `Utility::Url`).

use bytes::Bytes;
use http::{HeaderValue, Method};

use super::super::http1::CODEC_ERROR;
use super::refusal::Refusal;

/// An authority and a path.
pub(super) type AuthorityAndPath = (Option<HeaderValue>, Option<HeaderValue>);

/// The authority and the path of a request with this target and this `Host`, which counts where the
/// target is a path.
///
/// # Errors
/// [`Refusal`]: the target is malformed, or two hops could read it in two ways.
pub(super) fn split_target(
    method: &Method,
    target: Bytes,
    host: Option<HeaderValue>,
) -> Result<AuthorityAndPath, Refusal> {
    let malformed = || Refusal::bad_request(CODEC_ERROR);
    let value = |bytes: Bytes| HeaderValue::from_maybe_shared(bytes).map_err(|_| malformed());
    if !target.iter().all(u8::is_ascii_graphic) {
        return Err(malformed());
    }
    let is_connect = *method == Method::CONNECT;
    let is_path = target.starts_with(b"/") || (target.as_ref() == b"*" && *method == Method::OPTIONS);
    if is_path && !is_connect {
        return match &host {
            Some(host) if !host.as_bytes().iter().all(|byte| is_authority(*byte)) => {
                Err(Refusal::bad_request("http.invalid_authority"))
            }
            _ => Ok((host, Some(value(target)?))),
        };
    }
    let invalid = || Refusal::bad_request("http1.invalid_url");
    if matches!(target.first(), Some(b'/' | b'*')) {
        return Err(invalid());
    }
    let scheme = if is_connect { 0 } else { scheme_length(&target).ok_or_else(malformed)? };
    let rest = if is_connect { target.clone() } else { target.slice(scheme + 3..) };
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
    let authority = rest.slice(..end);
    if !authority.iter().all(|byte| is_authority(*byte)) || memchr::memmem::find(&authority, b"@@").is_some()
    {
        return Err(malformed());
    }
    let (host, has_port) = host_and_port(&authority).ok_or_else(invalid)?;
    if is_connect {
        let is_alone = host == 0 && has_port && end == rest.len();
        return if is_alone { Ok((Some(value(authority)?), None)) } else { Err(invalid()) };
    }
    if ![&b"http"[..], b"https"].iter().any(|known| target[..scheme].eq_ignore_ascii_case(known)) {
        return Err(Refusal::bad_request("http1.invalid_scheme"));
    }
    let path = if end == rest.len() { Bytes::from_static(b"/") } else { rest.slice(end..) };
    Ok((Some(value(authority.slice(host..))?), Some(value(path)?)))
}

/// How long the scheme of an absolute form is.
fn scheme_length(target: &[u8]) -> Option<usize> {
    let length = memchr::memmem::find(target, b"://")?;
    let (first, others) = target[..length].split_first()?;
    let is_scheme = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
    (first.is_ascii_alphabetic() && others.iter().all(is_scheme)).then_some(length)
}

/// Where the host of `[userinfo@]host[:port]` begins, which is all that counts, and whether there
/// is a port.
fn host_and_port(authority: &[u8]) -> Option<(usize, bool)> {
    let start = memchr::memrchr(b'@', authority).map_or(0, |at| at + 1);
    let is_user = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.!~*'();%:&=+$,".contains(byte);
    if !authority[..start.saturating_sub(1)].iter().all(is_user) {
        return None;
    }
    let rest = &authority[start..];
    let (host, after) = if let Some(address) = rest.strip_prefix(b"[") {
        let end = memchr::memchr(b']', address)?;
        let is_address = |byte: &u8| byte.is_ascii_hexdigit() || b":.".contains(byte);
        if !address[..end].iter().all(is_address) {
            return None;
        }
        (&address[..end], &address[end + 1..])
    } else {
        let end = memchr::memchr(b':', rest).unwrap_or(rest.len());
        if !rest[..end].iter().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(byte)) {
            return None;
        }
        rest.split_at(end)
    };
    if host.is_empty() {
        return None;
    }
    let Some((b':', port)) = after.split_first() else { return after.is_empty().then_some((start, false)) };
    let is_port = !port.is_empty() && port.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(port).ok().filter(|_| is_port)?.parse::<u16>().ok()?;
    Some((start, true))
}

/// Unreserved characters, sub-delimiters and what separates the parts of an authority (RFC 3986
/// section 3.2).
fn is_authority(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:[]@".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(method: &str, target: &'static str) -> Result<(String, String), &'static str> {
        let host = Some(HeaderValue::from_static("host:1"));
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let text =
            |value: Option<HeaderValue>| value.map_or(String::new(), |it| it.to_str().unwrap().to_owned());
        split_target(&method, Bytes::from_static(target.as_bytes()), host)
            .map(|(authority, path)| (text(authority), text(path)))
            .map_err(|refusal| refusal.details)
    }

    #[test]
    fn a_path_belongs_to_the_host_and_an_absolute_form_to_itself() {
        for (method, target, authority, path) in [
            ("GET", "/a?b#c", "host:1", "/a?b#c"),
            ("GET", "//other/a", "host:1", "//other/a"),
            ("OPTIONS", "*", "host:1", "*"),
            ("GET", "http://other:2/a", "other:2", "/a"),
            ("GET", "HTTPS://other", "other", "/"),
            ("GET", "http://other?a", "other", "?a"),
            ("GET", "http://user:password@other/a", "other", "/a"),
            ("GET", "http://[::1]:8080/a#b", "[::1]:8080", "/a#b"),
            ("CONNECT", "other:2", "other:2", ""),
        ] {
            assert_eq!(split(method, target), Ok((authority.to_owned(), path.to_owned())), "{target}");
        }
    }

    #[test]
    fn a_malformed_target_and_one_of_two_readings_are_refused() {
        for (method, target, details) in [
            ("GET", "a", "http1.codec_error"),
            ("GET", "?a", "http1.codec_error"),
            ("GET", "host:1", "http1.codec_error"),
            ("GET", "http:/other/a", "http1.codec_error"),
            ("GET", "1http://other/a", "http1.codec_error"),
            ("GET", "http://other#a", "http1.codec_error"),
            ("GET", "http://other\\@evil/a", "http1.codec_error"),
            ("GET", "http://a@@other/a", "http1.codec_error"),
            ("GET", "*", "http1.invalid_url"),
            ("GET", "http:///a", "http1.invalid_url"),
            ("GET", "http://", "http1.invalid_url"),
            ("GET", "http://:80/a", "http1.invalid_url"),
            ("GET", "http://other:/a", "http1.invalid_url"),
            ("GET", "http://other:8x/a", "http1.invalid_url"),
            ("GET", "http://other:65536/a", "http1.invalid_url"),
            ("GET", "http://other:99999999999/a", "http1.invalid_url"),
            ("GET", "http://a@b@other/a", "http1.invalid_url"),
            ("GET", "http://a_b/a", "http1.invalid_url"),
            ("GET", "http://a%20b/a", "http1.invalid_url"),
            ("GET", "http://other;a/a", "http1.invalid_url"),
            ("GET", "http://[::1/a", "http1.invalid_url"),
            ("GET", "http://[::1]a/a", "http1.invalid_url"),
            ("GET", "http://[]/a", "http1.invalid_url"),
            ("GET", "ws://other/a", "http1.invalid_scheme"),
            ("GET", "ftp://other/a", "http1.invalid_scheme"),
            ("CONNECT", "other", "http1.invalid_url"),
            ("CONNECT", "/a", "http1.invalid_url"),
            ("CONNECT", "a@other:2", "http1.invalid_url"),
            ("CONNECT", "http://other:2/a", "http1.invalid_url"),
        ] {
            assert_eq!(split(method, target), Err(details), "{target}");
        }
    }
}
