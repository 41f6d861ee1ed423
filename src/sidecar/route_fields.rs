//! What a route changes in a request and in its answer (Envoy's `HeaderParser`,
//! `finalizeRequestHeaders` and `newUri`).

use std::sync::LazyLock;

use http::{HeaderName, HeaderValue};
use regex::bytes::Regex;

use crate::http1::Fields;
use crate::mesh::{self, Redirect, Rewrite, RouteMatch, split_query};
use crate::websocket::extended_connect::RequestParts;

const X_ENVOY_ORIGINAL_HOST: HeaderName = HeaderName::from_static("x-envoy-original-host");
pub(super) const X_ENVOY_ORIGINAL_PATH: HeaderName = HeaderName::from_static("x-envoy-original-path");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// What is changed in a list of fields.
#[derive(Debug)]
pub(super) struct RouteFields {
    remove: Vec<HeaderName>,
    /// Whether it takes the place of what is there.
    write: Vec<(HeaderName, HeaderValue, bool)>,
}

impl RouteFields {
    /// What is no name or no value of a field is left out, as Envoy would refuse it.
    pub(super) fn new(operations: &mesh::FieldOperations) -> Self {
        let remove = operations.remove.iter().filter_map(|name| name.parse().ok());
        let write = operations.write.iter().filter_map(|write| {
            Some((write.name.parse().ok()?, HeaderValue::from_str(&write.value).ok()?, write.overwrite))
        });
        Self { remove: remove.collect(), write: write.collect() }
    }

    pub(super) fn apply(&self, fields: &mut Fields) {
        for name in &self.remove {
            fields.remove(name);
        }
        for (name, value, overwrite) in &self.write {
            if *overwrite {
                fields.set(name.clone(), value.clone());
            } else {
                fields.append(name.clone(), value.clone());
            }
        }
    }
}

/// Puts what a route says in the place of a request's path and authority, and what was there into
/// fields of its own. The request matches `conditions`.
pub(super) fn rewrite(rewrite: &Rewrite, conditions: &RouteMatch, request: &mut RequestParts) {
    if let Some(authority) = rewrite.authority.as_ref().and_then(|it| HeaderValue::from_str(it).ok())
        && let Some(original) = request.authority.replace(authority)
    {
        request.fields.set(X_ENVOY_ORIGINAL_HOST, original);
    }
    let Some(original) = &request.path else { return };
    let (path, query) = split_query(original.as_bytes());
    let path = match (&rewrite.regex, &rewrite.prefix) {
        (Some((pattern, substitution)), _) => {
            let Ok(regex) = Regex::new(pattern.as_str()) else { return };
            regex.replace_all(path, substitution_of(substitution).as_bytes()).into_owned()
        }
        (None, Some(prefix)) => {
            let rest = path.get(conditions.matched_length(path)..).unwrap_or_default();
            [prefix.as_bytes(), rest].concat()
        }
        (None, None) => return,
    };
    if let Ok(path) = HeaderValue::from_bytes(&[&path[..], query].concat()) {
        let original = original.clone();
        request.path = Some(path);
        request.fields.set(X_ENVOY_ORIGINAL_PATH, original);
    }
}

/// RE2's way to write what takes the place of a match, in that of the crate `regex`.
fn substitution_of(re2: &str) -> String {
    static GROUP: LazyLock<regex::Regex> =
        LazyLock::new(|| regex::Regex::new(r"\\([0-9])|\\(\\)").expect("a regular expression"));
    GROUP
        .replace_all(&re2.replace('$', "$$"), |found: &regex::Captures<'_>| {
            found.get(1).map_or("\\".to_owned(), |group| format!("${{{}}}", group.as_str()))
        })
        .into_owned()
}

/// The same address in `https`, with its port (Envoy's `SslRedirectRoute`).
pub(super) fn https_location(request: &RequestParts) -> Option<HeaderValue> {
    let part = |value: &Option<HeaderValue>| value.as_ref().map_or(Vec::new(), |it| it.as_bytes().to_vec());
    let location = [&b"https://"[..], &part(&request.authority), &part(&request.path)].concat();
    HeaderValue::from_bytes(&location).ok()
}

/// The address that a request is sent to instead.
pub(super) fn location(redirect: &Redirect, request: &RequestParts) -> Option<HeaderValue> {
    let forwarded = request.fields.get(&X_FORWARDED_PROTO).and_then(|proto| proto.to_str().ok());
    let original_scheme = forwarded.unwrap_or(request.scheme);
    let scheme = redirect.scheme.as_deref().unwrap_or(original_scheme);
    let port = redirect.port.map(|port| format!(":{port}")).unwrap_or_default();
    let own_host = request.authority.as_ref().map_or(&b""[..], HeaderValue::as_bytes);
    let (name, own_port) = split_port(own_host);
    // The port that the scheme had anyhow does not go with another scheme.
    let is_default = match original_scheme {
        "http" => own_port == b":80",
        "https" => own_port == b":443",
        _ => false,
    };
    let host = match &redirect.authority {
        Some(authority) => authority.as_bytes(),
        None if !port.is_empty() || (is_default && scheme != original_scheme) => name,
        None => own_host,
    };
    let original = request.path.as_ref().map_or(&b""[..], HeaderValue::as_bytes);
    let path = match &redirect.path {
        Some(path) if path.contains('?') => path.as_bytes().to_vec(),
        Some(path) => [path.as_bytes(), split_query(original).1].concat(),
        None => original.to_vec(),
    };
    HeaderValue::from_bytes(&[scheme.as_bytes(), b"://", host, port.as_bytes(), &path].concat()).ok()
}

/// A host and its port, which begins with a colon if there is one; the colons of an IPv6 address are
/// within brackets.
fn split_port(host: &[u8]) -> (&[u8], &[u8]) {
    let colon = memchr::memrchr(b':', host);
    let bracket = memchr::memrchr(b']', host);
    host.split_at(colon.filter(|colon| bracket.is_none_or(|bracket| bracket < *colon)).unwrap_or(host.len()))
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;
    use crate::mesh::PathMatch;

    fn request(authority: &'static str, path: &'static str) -> RequestParts {
        RequestParts {
            method: Method::GET,
            scheme: "http",
            authority: Some(HeaderValue::from_static(authority)),
            path: Some(HeaderValue::from_static(path)),
            fields: Fields::new(),
        }
    }

    fn text(value: Option<&HeaderValue>) -> Option<&str> {
        value?.to_str().ok()
    }

    #[test]
    fn what_the_path_was_compared_with_is_replaced_and_the_query_stays() {
        let pattern = |written: &str| written.to_owned().try_into().expect("a regular expression");
        let prefix = |to: &str| Rewrite { prefix: Some(to.to_owned()), ..Rewrite::default() };
        let regex = |from: &str, to: &str| Rewrite {
            regex: Some((pattern(from), to.to_owned())),
            ..Rewrite::default()
        };
        let of = |path| RouteMatch { path, ..RouteMatch::every_path() };
        let chat = || of(PathMatch::Prefix("/chat".to_owned()));
        for (change, conditions, path, expected) in [
            (prefix("/"), chat(), "/chat/a?b=/chat", "//a?b=/chat"),
            (prefix("/talk"), chat(), "/chatter", "/talkter"),
            (prefix("/talk"), of(PathMatch::Exact("/chat".to_owned())), "/chat?a", "/talk?a"),
            (prefix("/talk"), of(PathMatch::Regex(pattern("/c.*"))), "/chat/a?b", "/talk?b"),
            (regex("/chat/([a-z]+)", "/room/\\1/$1"), chat(), "/chat/a?b", "/room/a/$1?b"),
            (regex("a", "\\\\b"), chat(), "/chat/a", "/ch\\bt/\\b"),
        ] {
            let mut request = request("a", path);
            rewrite(&change, &conditions, &mut request);
            assert_eq!(text(request.path.as_ref()), Some(expected), "{change:?}");
            assert_eq!(text(request.fields.get(&X_ENVOY_ORIGINAL_PATH)), Some(path));
        }
        let mut unchanged = request("a", "/chat");
        rewrite(&Rewrite::default(), &chat(), &mut unchanged);
        assert!(unchanged.fields.is_empty());
    }

    #[test]
    fn the_authority_that_is_replaced_is_told() {
        let mut request = request("a:80", "/");
        let change = Rewrite { authority: Some("b".to_owned()), ..Rewrite::default() };
        rewrite(&change, &RouteMatch::every_path(), &mut request);
        assert_eq!(text(request.authority.as_ref()), Some("b"));
        assert_eq!(text(request.fields.get(&X_ENVOY_ORIGINAL_HOST)), Some("a:80"));
    }

    #[test]
    fn a_redirect_keeps_what_it_does_not_say() {
        let none = || Redirect { status: 301, scheme: None, authority: None, port: None, path: None };
        let some = |text: &str| Some(text.to_owned());
        for (redirect, authority, expected) in [
            (none(), "a:80", "http://a:80/x?y"),
            (Redirect { scheme: some("https"), ..none() }, "a:80", "https://a/x?y"),
            (Redirect { scheme: some("https"), ..none() }, "a:8080", "https://a:8080/x?y"),
            (Redirect { scheme: some("https"), ..none() }, "[::1]", "https://[::1]/x?y"),
            (Redirect { port: Some(8443), ..none() }, "a:8080", "http://a:8443/x?y"),
            (Redirect { authority: some("b"), ..none() }, "a:8080", "http://b/x?y"),
            (Redirect { path: some("/z"), ..none() }, "a", "http://a/z?y"),
            (Redirect { path: some("/z?w"), ..none() }, "a", "http://a/z?w"),
        ] {
            let found = location(&redirect, &request(authority, "/x?y"));
            assert_eq!(text(found.as_ref()), Some(expected), "{redirect:?}");
        }
    }

    #[test]
    fn fields_are_removed_before_others_are_written() {
        let write = |name: &str, value: &str, overwrite| mesh::FieldWrite {
            name: name.to_owned(),
            value: value.to_owned(),
            overwrite,
        };
        let operations = mesh::FieldOperations {
            remove: vec!["a".to_owned(), "b".to_owned()],
            write: vec![write("b", "2", true), write("c", "3", true), write("d", "4", false)],
        };
        let field = |name, value| (HeaderName::from_static(name), HeaderValue::from_static(value));
        let mut fields: Fields =
            [field("a", "1"), field("c", "1"), field("b", "1"), field("d", "1")].into_iter().collect();
        RouteFields::new(&operations).apply(&mut fields);
        let expected: Fields =
            [field("c", "3"), field("d", "1"), field("b", "2"), field("d", "4")].into_iter().collect();
        assert_eq!(fields, expected);
    }
}
