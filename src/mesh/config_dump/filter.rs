//! HTTP filters of a dump, and what each does to a WebSocket.

use super::sections::Sections;
use super::{is_true, items_at, text_at, typed_config, unwrapped};
use crate::yaml::{NodeRef, Place};

/// What a filter does to a WebSocket's handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FilterEffect {
    /// It lets the handshake pass, or answers it on purpose (a limit, a missing token).
    Passes,
    /// It waits for the end of the request's body, which a handshake does not have.
    Buffers,
    /// It allows no request.
    DeniesAll,
    /// Nobody here knows.
    Unknown,
}

/// A filter of a connection manager.
#[derive(Debug, Clone)]
pub struct DumpedFilter {
    /// Its name in the connection manager, which routes call it by.
    pub name: String,
    /// Where it is.
    pub place: Place,
    /// What it does.
    pub effect: FilterEffect,
    /// Whether it is off unless a route switches it on.
    pub is_disabled: bool,
}

/// Of Envoy's own filters, those that pass by the package of their configuration, whatever it
/// says. `ext_authz` does not wait for the body of a WebSocket.
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

/// What an HTTP filter is.
pub(super) fn read(filter: NodeRef<'_>, sections: &Sections<'_>) -> DumpedFilter {
    let name = text_at(filter, "name").unwrap_or_default();
    let discovered = || {
        let mut extensions = sections.extensions.iter().copied();
        let found = extensions.find(|extension| text_at(*extension, "name") == Some(name));
        let default = || filter.at("configDiscovery.defaultConfig").and_then(unwrapped);
        found.and_then(typed_config).or_else(default)
    };
    let config = typed_config(filter).or_else(discovered);
    DumpedFilter {
        name: name.to_owned(),
        place: filter.at("name").unwrap_or(filter).place(),
        effect: config.map_or(FilterEffect::Unknown, |(message, config)| effect(message, config)),
        is_disabled: is_true(filter, "disabled"),
    }
}

fn effect(message: &str, config: NodeRef<'_>) -> FilterEffect {
    let is_istios =
        message.contains("istio") || message.starts_with("stats.") || message.contains("peer_metadata");
    let package =
        message.strip_prefix("envoy.extensions.filters.http.").and_then(|rest| rest.split('.').next());
    match package {
        _ if is_istios => FilterEffect::Passes,
        Some(known) if HARMLESS.contains(&known) => FilterEffect::Passes,
        Some("buffer") => FilterEffect::Buffers,
        Some("rbac") => rbac(config),
        Some("ext_proc") => ext_proc(text_at(config, "processingMode.requestBodyMode")),
        _ => FilterEffect::Unknown,
    }
}

/// Without rules nothing is enforced. Who is refused by what policies say is the mesh's business,
/// unless everybody is.
fn rbac(config: NodeRef<'_>) -> FilterEffect {
    if config.at("matcher").is_some() {
        return FilterEffect::Unknown;
    }
    let Some(rules) = config.at("rules") else { return FilterEffect::Passes };
    let mut policies = rules.at("policies").into_iter().flat_map(NodeRef::entries);
    // ALLOW is the action that is not written.
    let denies_all = match text_at(rules, "action").unwrap_or("ALLOW") {
        "ALLOW" => policies.next().is_none(),
        "DENY" => policies.any(|policy| {
            let is_any = |list| items_at(policy, list).any(|rule| is_true(rule, "any"));
            let is_bound = policy.at("condition").or_else(|| policy.at("checkedCondition")).is_some();
            is_any("permissions") && is_any("principals") && !is_bound
        }),
        _ => false,
    };
    if denies_all { FilterEffect::DeniesAll } else { FilterEffect::Passes }
}

fn ext_proc(request_body_mode: Option<&str>) -> FilterEffect {
    match request_body_mode {
        None | Some("NONE" | "STREAMED" | "FULL_DUPLEX_STREAMED") => FilterEffect::Passes,
        Some(_) => FilterEffect::Unknown,
    }
}

/// What a route, a virtual host or a route configuration makes of a filter; `None` if it says
/// nothing of it. A filter that is off passes.
pub(super) fn overridden(level: NodeRef<'_>, filter: &DumpedFilter) -> Option<FilterEffect> {
    let mut entries = level.at("typedPerFilterConfig")?.entries();
    let config = entries.find(|entry| entry.key() == Some(filter.name.as_str()))?;
    Some(override_of(config, filter))
}

fn override_of(config: NodeRef<'_>, filter: &DumpedFilter) -> FilterEffect {
    let (message, config) = unwrapped(config).unwrap_or(("", config));
    match message.rsplit('.').next() {
        // `FilterConfig`, and a filter's own message, call it the same.
        _ if is_true(config, "disabled") => FilterEffect::Passes,
        Some("FilterConfig") => {
            config.at("config").map_or_else(|| filter.effect.clone(), |config| override_of(config, filter))
        }
        // Without a policy of its own the route has none.
        Some("RBACPerRoute") => config.at("rbac").map_or(FilterEffect::Passes, rbac),
        Some("ExtProcPerRoute") => match text_at(config, "overrides.processingMode.requestBodyMode") {
            None => filter.effect.clone(),
            mode => ext_proc(mode),
        },
        _ => filter.effect.clone(),
    }
}
