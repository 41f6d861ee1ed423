//! A WebSocket's handshake as routes see it: which conditions it fulfils, and which of its fields
//! may not be touched. What a route then does with it is for `routes` and `gateway_api`.

use std::borrow::Cow;

use super::finding::Finding;
use super::rules::UPGRADE_REMOVED;
use crate::mesh::config::{FieldMatch, PathMatch, RequestHead, RouteMatch, ValueMatch};
use crate::yaml::Place;

/// How many handshakes fulfil a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Takes {
    None,
    /// Those of some paths, hosts or clients.
    Some,
    Every,
}

/// How many handshakes fulfil all of these conditions.
pub(super) fn takes(conditions: &RouteMatch) -> Takes {
    let is_of_every_path = RouteMatch { path: conditions.path.clone(), ..RouteMatch::every_path() }
        .is_every_path()
        || matches!(&conditions.path, PathMatch::Prefix(prefix) if prefix.is_empty());
    let of_paths =
        if is_of_every_path && conditions.query_parameters.is_empty() { Takes::Every } else { Takes::Some };
    conditions.fields.iter().map(of_field).fold(of_paths, Takes::min)
}

/// The one that takes the most.
pub(super) fn takes_any<'c>(conditions: impl IntoIterator<Item = &'c RouteMatch>) -> Takes {
    conditions.into_iter().map(takes).max().unwrap_or(Takes::None)
}

fn of_field(field: &FieldMatch) -> Takes {
    let conditions = RouteMatch { fields: vec![field.clone()], ..RouteMatch::every_path() };
    let is_told = Handshake.field(&field.name).is_some();
    // With TLS there is another scheme, clients differ in what else is in `Connection`, and few
    // write a word in other letters.
    let may_differ = [":scheme", "connection"].contains(&field.name.as_str())
        || matches!(&field.value, ValueMatch::Exact(exact) if exact.eq_ignore_ascii_case("websocket"));
    match conditions.matches(&Handshake) {
        true if is_told => Takes::Every,
        false if is_told && !may_differ => Takes::None,
        _ => Takes::Some,
    }
}

/// What all of them say (RFC 6455 section 4.1); one that came as an extended CONNECT is made a GET
/// before it is routed.
struct Handshake;

impl RequestHead for Handshake {
    fn path(&self) -> &[u8] {
        b"/"
    }

    fn field(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        let value: &[u8] = match name {
            ":method" => b"GET",
            ":scheme" => b"http",
            "upgrade" => b"websocket",
            "connection" => b"Upgrade",
            "sec-websocket-key" => b"dGhlIHNhbXBsZSBub25jZQ==",
            "sec-websocket-version" => b"13",
            _ => return None,
        };
        Some(Cow::Borrowed(value))
    }
}

/// A request, or the answer to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HandshakeHead {
    Request,
    Response,
}

impl HandshakeHead {
    /// The fields without which a request is no handshake, and an answer accepts none (RFC 6455
    /// section 4).
    fn has_in_handshakes(self, name: &str) -> bool {
        let own = match self {
            Self::Request => &["sec-websocket-key", "sec-websocket-version"][..],
            Self::Response => &["sec-websocket-accept"],
        };
        ["upgrade", "connection"].iter().chain(own).any(|field| name.eq_ignore_ascii_case(field))
    }

    fn in_words(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Response => "response",
        }
    }

    /// The finding about a field that is removed, if handshakes need it.
    pub(super) fn without(self, name: &str, place: Place) -> Option<Finding> {
        let of = self.in_words();
        let message =
            format!("the field {name} of each {of}, without which there is no handshake, is removed");
        self.has_in_handshakes(name).then(|| UPGRADE_REMOVED.at(place, message, ""))
    }

    /// The finding about a field that is written over, if handshakes need it as it is.
    pub(super) fn with(self, name: &str, value: &str, place: Place) -> Option<Finding> {
        let is_as_clients_write = match name.to_ascii_lowercase().as_str() {
            "upgrade" => value.eq_ignore_ascii_case("websocket"),
            "connection" => value.eq_ignore_ascii_case("upgrade"),
            "sec-websocket-version" => value == "13",
            _ => false,
        };
        let of = self.in_words();
        let message =
            format!("the field {name} of each {of} is written over, and a handshake needs it as it is");
        (self.has_in_handshakes(name) && !is_as_clients_write).then(|| UPGRADE_REMOVED.at(place, message, ""))
    }
}
