//! What is done to the header fields of a handshake and of its answer: which of them routes and
//! filters remove, write over, or write a second time, and how many of them there may be.
//!
//! A field that is not listed here is nobody's business.

use super::{items_at, number_at, text_at};
use crate::yaml::{NodeRef, Place};

/// Whose fields they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    Request,
    Answer,
}

/// A change of a field that a handshake does not survive, or not each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangedField {
    /// What is done to which field, in words.
    pub what: String,
    /// Where.
    pub place: Place,
    /// Whether it breaks each handshake; else those that use the field, as that of a subprotocol.
    pub breaks_all: bool,
}

/// How long a head may be, where it is said: Envoy's defaults are 100 fields and 60 KiB.
#[derive(Debug, Default)]
pub struct HeaderLimits {
    /// The greatest number of fields, and where that is set.
    pub fields: Option<(u64, Place)>,
    /// The greatest length in KiB, and where that is set.
    pub kibibytes: Option<(u64, Place)>,
}

impl HeaderLimits {
    /// What fields of these names say.
    pub(super) fn of(node: NodeRef<'_>, fields: &str, kibibytes: &str) -> Self {
        let limit = |path: &str| Some((number_at(node, path)?, node.at(path)?.place()));
        Self { fields: limit(fields), kibibytes: limit(kibibytes) }
    }
}

/// The fields without which a request is no handshake (RFC 6455 section 4.1).
const OF_HANDSHAKES: [&str; 4] = ["connection", "sec-websocket-key", "sec-websocket-version", "upgrade"];

/// Those without which a client takes no answer (RFC 6455 section 4.2.2). An answer that keeps to
/// itself that the session is compressed is none, either, of the clients that offer it: most do.
const OF_ANSWERS: [&str; 4] = ["connection", "sec-websocket-accept", "sec-websocket-extensions", "upgrade"];

/// What both sides have to agree on.
const AGREED_ON: [&str; 2] = ["sec-websocket-extensions", "sec-websocket-protocol"];

/// What makes a body of what follows a handshake, so that Envoy does not send it.
const OF_BODIES: [&str; 2] = ["content-length", "transfer-encoding"];

/// Whether a request without this header field is no handshake.
pub(super) fn is_of_handshakes(name: &str) -> bool {
    OF_HANDSHAKES.iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// How a value comes beside those that are there (Envoy's `HeaderAppendAction`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Written {
    Added,
    Over,
    OverWhatIsThere,
    IfAbsent,
}

/// What a route, a virtual host, a route configuration or a weighted cluster does.
pub(super) fn of_level(level: NodeRef<'_>) -> Vec<ChangedField> {
    let mut changed = Vec::new();
    for (of, removed, added) in [
        (Of::Request, "requestHeadersToRemove", "requestHeadersToAdd"),
        (Of::Answer, "responseHeadersToRemove", "responseHeadersToAdd"),
    ] {
        changed.extend(items_at(level, removed).filter_map(|field| of_removed(of, field)));
        changed.extend(items_at(level, added).filter_map(|option| of_written(of, option)));
    }
    changed
}

/// What a list of `HeaderMutation` does.
pub(super) fn of_mutations<'d>(
    of: Of,
    mutations: impl Iterator<Item = NodeRef<'d>>,
) -> impl Iterator<Item = ChangedField> {
    mutations.filter_map(move |mutation| {
        let removed = mutation.at("remove").and_then(|field| of_removed(of, field));
        removed.or_else(|| of_written(of, mutation.at("append")?))
    })
}

fn of_removed(of: Of, field: NodeRef<'_>) -> Option<ChangedField> {
    let name = field.text()?.to_ascii_lowercase();
    let needed = match of {
        Of::Request => OF_HANDSHAKES,
        Of::Answer => OF_ANSWERS,
    };
    let breaks_all = needed.contains(&&*name);
    // Without an offer of extensions there are none.
    let breaks_some = name == "sec-websocket-protocol";
    (breaks_all || breaks_some).then(|| ChangedField {
        what: format!("{name} is removed from {}", of.words()),
        place: field.place(),
        breaks_all,
    })
}

/// What a `HeaderValueOption` does.
fn of_written(of: Of, option: NodeRef<'_>) -> Option<ChangedField> {
    let header = option.at("header")?;
    let name = text_at(header, "key")?.to_ascii_lowercase();
    let value = text_at(header, "value").unwrap_or_default();
    let written = Written::of(option);
    let has_it = |needed: &[&str]| needed.contains(&&*name);
    let needed: &[&str] = match of {
        Of::Request => &OF_HANDSHAKES,
        Of::Answer => &["connection", "sec-websocket-accept", "upgrade"],
    };
    let is_over = matches!(written, Written::Over | Written::OverWhatIsThere);
    let (how, breaks_all) = match written {
        // Each handshake has it.
        Written::IfAbsent if has_it(needed) => return None,
        _ if has_it(needed) && is_over && is_as_written_anyhow(&name, value) => return None,
        _ if has_it(needed) && is_over => ("written over in", true),
        // Envoy writes one field of both, in which the peer finds what it looks for.
        Written::Added if name == "connection" => return None,
        Written::Added if has_it(needed) => ("there twice in", true),
        Written::OverWhatIsThere if has_it(&OF_BODIES) => return None,
        _ if of == Of::Request && has_it(&OF_BODIES) && value != "0" => ("added to", true),
        _ if has_it(&AGREED_ON) => ("written into", false),
        _ => return None,
    };
    Some(ChangedField {
        what: format!("{name} is {how} {}", of.words()),
        place: header.at("key").unwrap_or(header).place(),
        breaks_all,
    })
}

/// What each handshake and its answer say anyhow.
fn is_as_written_anyhow(name: &str, value: &str) -> bool {
    match name {
        "upgrade" => value.eq_ignore_ascii_case("websocket"),
        "connection" => value.split(',').any(|word| word.trim().eq_ignore_ascii_case("upgrade")),
        "sec-websocket-version" => value == "13",
        _ => false,
    }
}

impl Of {
    fn words(self) -> &'static str {
        match self {
            Self::Request => "requests",
            Self::Answer => "answers",
        }
    }
}

impl Written {
    fn of(option: NodeRef<'_>) -> Self {
        // What there was before `append_action`; true is its default, too.
        let is_over = option.at("append").is_some_and(|append| append.to_json(str::to_owned) == false);
        match text_at(option, "appendAction") {
            Some("ADD_IF_ABSENT") => Self::IfAbsent,
            Some("OVERWRITE_IF_EXISTS_OR_ADD") => Self::Over,
            Some("OVERWRITE_IF_EXISTS") => Self::OverWhatIsThere,
            None if is_over => Self::Over,
            _ => Self::Added,
        }
    }
}
