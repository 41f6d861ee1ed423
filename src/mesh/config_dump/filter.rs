//! HTTP filters of a dump, and what each does to a WebSocket.

use super::fields::{Of, is_of_handshakes, of_mutations};
use super::sections::Sections;
use super::{is_true, items_at, text_at, typed_config, unwrapped};
use crate::yaml::{NodeRef, Place};

/// What a filter does to a WebSocket's handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FilterEffect {
    /// It lets the handshake pass.
    Passes,
    /// It waits for the end of the request's body, which a handshake does not have.
    Buffers,
    /// It allows no request.
    DeniesAll,
    /// It takes away, or writes over, header fields that make a handshake one.
    RemovesUpgrade,
    /// What it does is decided by something that is not read, in words.
    Depends(&'static str),
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

/// Of Envoy's own filters, those that pass whatever their configuration says, by its package. To
/// them a handshake is a GET whose body has not ended, over HTTP/2 too (Envoy's codec makes one of
/// an extended CONNECT), without a content type:
///
/// - `csrf` looks at methods that change something alone;
/// - those of gRPC, `connect_grpc_bridge` among them, at content types of gRPC and Connect;
/// - `compressor` at responses that are no upgrades, `decompressor` at a content encoding.
const HARMLESS: [&str; 21] = [
    "alternate_protocols_cache",
    "bandwidth_limit",
    "compressor",
    "connect_grpc_bridge",
    "cors",
    "csrf",
    "decompressor",
    "dynamic_forward_proxy",
    "gcp_authn",
    "grpc_http1_bridge",
    "grpc_http1_reverse_bridge",
    "grpc_stats",
    "grpc_web",
    "ip_tagging",
    "on_demand",
    "original_src",
    "router",
    "set_filter_state",
    "set_metadata",
    "tap",
    "upstream_codec",
];

/// Istio's own filters that pass, by what the name of their message begins with.
const HARMLESS_OF_ISTIO: [&str; 3] =
    ["istio.envoy.config.filter.http.alpn.", "io.istio.http.peer_metadata.", "stats."];

/// Those that refuse some handshakes on purpose, and what decides which.
const REFUSING: [(&str, &str); 12] = [
    ("admission_control", OF_FAILURES),
    ("api_key_auth", OF_IDENTITY),
    ("basic_auth", OF_IDENTITY),
    ("credential_injector", OF_IDENTITY),
    ("ext_authz", OF_IDENTITY),
    ("jwt_authn", OF_IDENTITY),
    ("kill_request", "ends Envoy where a request asks for it"),
    ("local_ratelimit", OF_LIMITS),
    ("oauth2", OF_IDENTITY),
    ("rate_limit", OF_LIMITS),
    ("rate_limit_quota", OF_LIMITS),
    ("ratelimit", OF_LIMITS),
];

const OF_FAILURES: &str = "refuses some requests while many fail";
const OF_IDENTITY: &str = "refuses requests by who sends them: which was not judged";
const OF_LIMITS: &str = "refuses requests beyond a limit, handshakes too";

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
    // Older Envoys take a filter by its name alone.
    let by_name = || {
        let package = package(name).filter(|_| filter.at("configDiscovery").is_none());
        package.and_then(always).unwrap_or(FilterEffect::Unknown)
    };
    DumpedFilter {
        name: name.to_owned(),
        place: filter.at("name").unwrap_or(filter).place(),
        effect: config.map_or_else(by_name, |(message, config)| effect(message, config)),
        is_disabled: is_true(filter, "disabled"),
    }
}

/// Which of Envoy's own HTTP filters a message configures, of today's API or of the one before, or
/// one that has a name alone.
fn package(name: &str) -> Option<&str> {
    let prefixes =
        ["envoy.extensions.filters.http.", "envoy.config.filter.http.", "envoy.filters.http.", "envoy."];
    let rest = prefixes.iter().find_map(|prefix| name.strip_prefix(prefix))?;
    rest.split('.').next()
}

/// What a filter does whatever its configuration says, by its package.
fn always(package: &str) -> Option<FilterEffect> {
    if HARMLESS.contains(&package) {
        return Some(FilterEffect::Passes);
    }
    let refusing = REFUSING.iter().find(|(refusing, _)| *refusing == package);
    refusing.map(|(_, what)| FilterEffect::Depends(what))
}

fn effect(message: &str, config: NodeRef<'_>) -> FilterEffect {
    if HARMLESS_OF_ISTIO.iter().any(|prefix| message.starts_with(prefix)) {
        return FilterEffect::Passes;
    }
    let Some(package) = package(message) else { return FilterEffect::Unknown };
    match package {
        "buffer" => FilterEffect::Buffers,
        "aws_request_signing" => aws_request_signing(config),
        "rbac" => rbac(config),
        "router" => router(config),
        "ext_proc" => ext_proc(config.at("processingMode")),
        "fault" => fault(config),
        "header_mutation" => header_mutation(config),
        "header_to_metadata" => header_to_metadata(config),
        "health_check" => health_check(config),
        "lua" => lua(config.at("defaultSourceCode").or_else(|| config.at("inlineCode"))),
        "custom_response" => only_with(config, "customResponseMatcher", "answers in the place of others"),
        // What `requirement_map` says is for routes to name.
        "jwt_authn" if config.at("filterStateRules").is_none() => only_with(config, "rules", OF_IDENTITY),
        "local_ratelimit" => only_with(config, "tokenBucket", OF_LIMITS),
        "oauth2" => only_with(config, "config", OF_IDENTITY),
        "stateful_session" => only_with(config, "strict", "refuses a session whose host is gone"),
        _ => always(package).unwrap_or(FilterEffect::Unknown),
    }
}

/// A filter that does nothing without a field.
fn only_with(config: NodeRef<'_>, field: &str, what: &'static str) -> FilterEffect {
    if config.at(field).is_some() { FilterEffect::Depends(what) } else { FilterEffect::Passes }
}

/// It answers what its header matches say is a health check, mostly a path.
fn health_check(config: NodeRef<'_>) -> FilterEffect {
    let is_of_path = items_at(config, "headers").any(|header| text_at(header, "name") == Some(":path"));
    if is_of_path || is_true(config, "passThroughMode") {
        FilterEffect::Passes
    } else {
        FilterEffect::Depends("answers what is a health check to it")
    }
}

/// It may take a header field away that it has read.
fn header_to_metadata(config: NodeRef<'_>) -> FilterEffect {
    let removes =
        |rule: NodeRef<'_>| is_true(rule, "remove") && text_at(rule, "header").is_some_and(is_of_handshakes);
    if items_at(config, "requestRules").any(removes) {
        FilterEffect::RemovesUpgrade
    } else {
        FilterEffect::Passes
    }
}

/// It may have filters of its own, on the way to every cluster.
fn router(config: NodeRef<'_>) -> FilterEffect {
    let mut effects = items_at(config, "upstreamHttpFilters").map(|filter| match typed_config(filter) {
        Some((message, config)) => effect(message, config),
        None => FilterEffect::Unknown,
    });
    effects.find(|effect| *effect != FilterEffect::Passes).unwrap_or(FilterEffect::Passes)
}

/// It signs the body too, unless it is told not to, and waits for its end.
fn aws_request_signing(config: NodeRef<'_>) -> FilterEffect {
    if is_true(config, "useUnsignedPayload") { FilterEffect::Passes } else { FilterEffect::Buffers }
}

/// Istio and others have the filter everywhere, with nothing to do.
fn fault(config: NodeRef<'_>) -> FilterEffect {
    let is_there = ["abort", "delay", "responseRateLimit"].iter().any(|field| config.at(field).is_some());
    if is_there {
        FilterEffect::Depends("injects faults on purpose, which handshakes meet too")
    } else {
        FilterEffect::Passes
    }
}

fn header_mutation(config: NodeRef<'_>) -> FilterEffect {
    let requests = || items_at(config, "mutations.requestMutations");
    let answers = || items_at(config, "mutations.responseMutations");
    let changed: Vec<_> =
        of_mutations(Of::Request, requests()).chain(of_mutations(Of::Answer, answers())).collect();
    if changed.iter().any(|changed| changed.breaks_all) {
        FilterEffect::RemovesUpgrade
    } else if !changed.is_empty() {
        FilterEffect::Depends("changes what handshakes may agree on: subprotocols or extensions")
    } else if requests().chain(answers()).any(|mutation| mutation.at("removeOnMatch").is_some()) {
        FilterEffect::Depends("removes header fields by a pattern")
    } else {
        FilterEffect::Passes
    }
}

/// What is all comments does nothing: Contour has such a filter, for routes to say more.
fn lua(code: Option<NodeRef<'_>>) -> FilterEffect {
    let text = code.and_then(|code| text_at(code, "inlineString").or_else(|| code.text()));
    let is_comment = |line: &str| line.trim().is_empty() || line.trim_start().starts_with("--");
    let is_long = |text: &str| text.contains("--[");
    match text {
        Some(text) if !is_long(text) && text.lines().all(is_comment) => FilterEffect::Passes,
        _ => FilterEffect::Unknown,
    }
}

/// Without rules nothing is enforced. Who is refused by what policies say is not judged, unless
/// everybody is.
fn rbac(config: NodeRef<'_>) -> FilterEffect {
    if config.at("matcher").is_some() {
        return FilterEffect::Unknown;
    }
    let Some(rules) = config.at("rules") else { return FilterEffect::Passes };
    let policies: Vec<_> = rules.at("policies").into_iter().flat_map(NodeRef::entries).collect();
    let has_everybody = policies.iter().any(|policy| {
        let is_any = |list| items_at(*policy, list).any(|rule| is_true(rule, "any"));
        let is_bound = policy.at("condition").or_else(|| policy.at("checkedCondition")).is_some();
        is_any("permissions") && is_any("principals") && !is_bound
    });
    // ALLOW is the action that is not written.
    match (text_at(rules, "action").unwrap_or("ALLOW"), policies.is_empty()) {
        ("ALLOW", true) => FilterEffect::DeniesAll,
        ("DENY", _) if has_everybody => FilterEffect::DeniesAll,
        ("ALLOW", false) if has_everybody => FilterEffect::Passes,
        ("LOG", _) | (_, true) => FilterEffect::Passes,
        (_, false) => FilterEffect::Depends(OF_IDENTITY),
    }
}

/// A service that is asked may refuse, and may get a body whole, which a handshake never has.
fn ext_proc(mode: Option<NodeRef<'_>>) -> FilterEffect {
    let says = |field: &str| mode.and_then(|mode| text_at(mode, field));
    let is_skipped = says("requestHeaderMode") == Some("SKIP") && says("responseHeaderMode") == Some("SKIP");
    match says("requestBodyMode") {
        None | Some("NONE") if is_skipped => FilterEffect::Passes,
        None | Some("NONE" | "STREAMED" | "FULL_DUPLEX_STREAMED" | "GRPC") => {
            FilterEffect::Depends("asks a service, whose answer was not judged")
        }
        Some(_) => FilterEffect::Depends("asks a service, with a body that it may wait for"),
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
        Some("HTTPFault") => fault(config),
        Some("HeaderMutationPerRoute") => header_mutation(config),
        Some("LuaPerRoute") => lua(config.at("sourceCode")),
        // Without a policy of its own the route has none.
        Some("RBACPerRoute") => config.at("rbac").map_or(FilterEffect::Passes, rbac),
        Some("ExtProcPerRoute") => match config.at("overrides.processingMode") {
            None => filter.effect.clone(),
            mode => ext_proc(mode),
        },
        // The message of the filter itself, with a limit of the route's.
        Some("LocalRateLimit") => only_with(config, "tokenBucket", OF_LIMITS),
        Some("PerRouteConfig") if config.at("requirementName").is_some() => {
            FilterEffect::Depends(OF_IDENTITY)
        }
        _ => filter.effect.clone(),
    }
}
