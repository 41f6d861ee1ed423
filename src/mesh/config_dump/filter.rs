//! HTTP filters of a dump, and what each does to a WebSocket.

use super::sections::Sections;
use super::{is_true, text_at, typed_config, unwrapped};
use crate::yaml::{NodeRef, Place};

/// What a filter does to a WebSocket's handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FilterEffect {
    /// It waits for the end of the request's body, which a handshake does not have.
    Buffers,
    /// It allows no request.
    DeniesAll,
    /// Nobody here knows.
    Unknown,
}

/// A filter that is not known to let WebSockets pass.
#[derive(Debug, Clone)]
pub struct DumpedFilter {
    /// Its name in the connection manager, which routes call it by.
    pub name: String,
    /// The message of its configuration, if there is one.
    pub message: String,
    /// Where it is.
    pub place: Place,
    /// What it does.
    pub effect: FilterEffect,
    /// Whether it is off unless a route switches it on.
    pub is_disabled: bool,
}

/// Of Envoy's own filters, those that let an upgrade pass, or answer it on purpose (a limit, a
/// missing token), by the package of their configuration. `ext_authz` does not wait for the body of
/// a WebSocket.
const HARMLESS: [&str; 30] = [
    "admission_control",
    "alternate_protocols_cache",
    "basic_auth",
    "compressor",
    "connect_grpc_bridge",
    "cors",
    "credential_injector",
    "csrf",
    "custom_response",
    "decompressor",
    "ext_authz",
    "fault",
    "gcp_authn",
    "grpc_http1_bridge",
    "grpc_stats",
    "grpc_web",
    "header_mutation",
    "header_to_metadata",
    "health_check",
    "jwt_authn",
    "kill_request",
    "local_ratelimit",
    "on_demand",
    "original_src",
    "ratelimit",
    "router",
    "set_filter_state",
    "set_metadata",
    "stateful_session",
    "tap",
];

/// What an HTTP filter is; `None` if it lets WebSockets pass.
pub(super) fn read(filter: NodeRef<'_>, sections: &Sections<'_>) -> Option<DumpedFilter> {
    let name = text_at(filter, "name").unwrap_or_default();
    let discovered = || {
        let mut extensions = sections.extensions.iter().copied();
        let found = extensions.find(|extension| text_at(*extension, "name") == Some(name));
        let default = || filter.at("configDiscovery.defaultConfig").and_then(unwrapped);
        found.and_then(typed_config).or_else(default)
    };
    let config = typed_config(filter).or_else(discovered);
    let effect = match config {
        Some((message, config)) => effect(message, config)?,
        None => FilterEffect::Unknown,
    };
    Some(DumpedFilter {
        name: name.to_owned(),
        message: config.map(|(message, _)| message.to_owned()).unwrap_or_default(),
        place: filter.at("name").unwrap_or(filter).place(),
        effect,
        is_disabled: is_true(filter, "disabled"),
    })
}

fn effect(message: &str, config: NodeRef<'_>) -> Option<FilterEffect> {
    let is_istios =
        message.contains("istio") || message.starts_with("stats.") || message.contains("peer_metadata");
    let package =
        message.strip_prefix("envoy.extensions.filters.http.").and_then(|rest| rest.split('.').next());
    match package {
        _ if is_istios => None,
        Some(known) if HARMLESS.contains(&known) => None,
        Some("buffer") => Some(FilterEffect::Buffers),
        // Without rules nothing is enforced; ALLOW is the action that is not written.
        Some("rbac") => {
            let rules = config.at("rules")?;
            let allows = text_at(rules, "action").is_none_or(|action| action == "ALLOW");
            let policies = rules.at("policies").is_some_and(|policies| policies.entries().len() > 0);
            (allows && !policies).then_some(FilterEffect::DeniesAll)
        }
        Some("ext_proc") => {
            let mode = text_at(config, "processingMode.requestBodyMode");
            match mode {
                None | Some("NONE" | "STREAMED" | "FULL_DUPLEX_STREAMED") => None,
                Some(_) => Some(FilterEffect::Unknown),
            }
        }
        _ => Some(FilterEffect::Unknown),
    }
}

/// What a route, a virtual host or a route configuration says of a filter: whether it is on there.
pub(super) fn switched(config: NodeRef<'_>, filter: &str) -> Option<bool> {
    let mut entries = config.at("typedPerFilterConfig")?.entries();
    let found = entries.find(|entry| entry.key() == Some(filter))?;
    // `FilterConfig`, and the filter's own message, call it the same.
    Some(!is_true(unwrapped(found).map_or(found, |(_, config)| config), "disabled"))
}
