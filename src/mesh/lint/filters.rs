//! `EnvoyFilter`s that break sessions by what they configure, in sidecars and in gateways: filters
//! that wait for a whole body, or are taken away, upgrades that are switched off or there twice, fields
//! of handshakes that are removed, a codec that does not take what the other side sends. Those that
//! change nothing are in `envoy_filter`.

use regex::Regex;

use super::Circumstances;
use super::envoy_filter::without_pods;
use super::finding::Finding;
use super::handshake::HandshakeHead;
use super::rules::{
    BUFFER_FILTER, DUPLICATE_UPGRADE_TYPE, FILTER_REMOVED, HOP_MISMATCH, MAX_STREAM_DURATION, NOT_JUDGED,
    STREAM_IDLE_TIMEOUT, UPGRADE_DISABLED, VIRTUAL_SERVICE_TIMEOUT,
};
use super::set::Set;
use super::timeouts::set_to;
use super::upgrade::spoken_to;
use crate::mesh::config::UpstreamProtocol;
use crate::mesh::document::{EnvoyFilter, HTTP_CONNECTION_MANAGER};
use crate::yaml::{NodeRef, lower_camel_case};

/// Envoy's HTTP filters that wait for the end of a request's body, and that route.
const BUFFER: &str = "envoy.filters.http.buffer";
const ROUTER: &str = "envoy.filters.http.router";

/// What is judged of an HTTP connection manager, and what has no part in sessions.
const JUDGED: [&str; 9] = [
    "@type",
    "http2ProtocolOptions",
    "streamIdleTimeout",
    "commonHttpProtocolOptions",
    "upgradeConfigs",
    "codecType",
    "accessLog",
    "serverName",
    "useRemoteAddress",
];

pub(super) fn check(set: &Set, circumstances: &Circumstances<'_>, findings: &mut Vec<Finding>) {
    for (filter, written) in set.envoy_filters() {
        if without_pods(set, filter, written).is_some() {
            // What is in no proxy breaks nothing.
            continue;
        }
        for patch in written.at("spec.configPatches").into_iter().flat_map(NodeRef::items) {
            if !is_for_version(patch, circumstances.istio_version) {
                continue;
            }
            let mut found = of_patch(patch);
            found.extend(codec(set, circumstances, filter, patch));
            let context = patch.at("match.context");
            let gateways = context.filter(|it| matches!(it.text(), Some("GATEWAY" | "WAYPOINT")));
            if let Some(context) = gateways {
                let name = context.text().unwrap_or_default();
                for finding in &mut found {
                    finding.message = format!("in proxies of the context {name}: {}", finding.message);
                }
                if found.is_empty() && !is_judged(patch) {
                    let message = format!("this patch for the context {name} is not judged");
                    found.push(NOT_JUDGED.at(context.place(), message, ""));
                }
            }
            findings.extend(found);
        }
    }
}

/// Whether a patch is for proxies of that version; a pattern that is none is a finding of its own.
fn is_for_version(patch: NodeRef<'_>, istio_version: &str) -> bool {
    let pattern = patch.at("match.proxy.proxyVersion").and_then(NodeRef::text);
    pattern.and_then(|it| Regex::new(it).ok()).is_none_or(|it| it.is_match(istio_version))
}

fn text<'d>(node: NodeRef<'d>, path: &str) -> &'d str {
    node.at(path).and_then(NodeRef::text).unwrap_or_default()
}

/// Whether all of a patch is looked at: it merges into the connection manager what is judged of it.
fn is_judged(patch: NodeRef<'_>) -> bool {
    let options = patch.at("patch.value.typedConfig");
    (text(patch, "applyTo"), text(patch, "patch.operation")) == ("NETWORK_FILTER", "MERGE")
        && options.is_some_and(|options| {
            let mut names = options.entries().filter_map(NodeRef::key).map(lower_camel_case);
            names.all(|name| JUDGED.contains(&name.as_str()))
        })
}

fn of_patch(patch: NodeRef<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    let operation = text(patch, "patch.operation");
    found.extend(removed(patch, operation));
    let Some(value) = patch.at("patch.value").filter(|_| operation != "REMOVE") else { return found };
    match text(patch, "applyTo") {
        "HTTP_FILTER" => found.extend(buffer(value)),
        "HTTP_ROUTE" | "VIRTUAL_HOST" | "ROUTE_CONFIGURATION" => {
            check_fields(value, &mut found);
            let route = value.at("route").unwrap_or(value);
            found.extend(disabled(route));
            found.extend(set_to(route, "idleTimeout", &STREAM_IDLE_TIMEOUT, "idle_timeout: 0s"));
            found.extend(set_to(route, "timeout", &VIRTUAL_SERVICE_TIMEOUT, "timeout: 0s"));
            found.extend(set_to(route, "maxStreamDuration.maxStreamDuration", &MAX_STREAM_DURATION, ""));
        }
        "NETWORK_FILTER" if operation == "MERGE" => {
            found.extend(value.at("typedConfig").and_then(twice));
        }
        _ => {}
    }
    found
}

/// The connection manager or the router that is taken away; without a name all filters are meant.
fn removed(patch: NodeRef<'_>, operation: &str) -> Option<Finding> {
    let operation = (operation == "REMOVE").then(|| patch.at("patch.operation"))??;
    let filter = "match.listener.filterChain.filter";
    let (name, known, what) = match text(patch, "applyTo") {
        "NETWORK_FILTER" => {
            (format!("{filter}.name"), HTTP_CONNECTION_MANAGER, "the HTTP connection manager")
        }
        "HTTP_FILTER" => (format!("{filter}.subFilter.name"), ROUTER, "the router"),
        _ => return None,
    };
    let is_meant = ["", known].contains(&text(patch, &name));
    let message = format!("{what} is removed, without which no request is routed");
    is_meant.then(|| FILTER_REMOVED.at(operation.place(), message, ""))
}

/// Fields of handshakes that a route, or what is around it, removes or writes over.
fn check_fields(value: NodeRef<'_>, found: &mut Vec<Finding>) {
    for (of, head) in [("request", HandshakeHead::Request), ("response", HandshakeHead::Response)] {
        let list = |name: &str| value.at(&format!("{of}Headers{name}")).into_iter().flat_map(NodeRef::items);
        found.extend(
            list("ToRemove").filter_map(|it| head.without(it.text().unwrap_or_default(), it.place())),
        );
        found.extend(
            list("ToAdd")
                .filter_map(|it| head.with(text(it, "header.key"), text(it, "header.value"), it.place())),
        );
    }
}

/// A sidecar that takes one version of HTTP alone, and is spoken to in another.
fn codec(
    set: &Set,
    circumstances: &Circumstances<'_>,
    filter: &EnvoyFilter,
    patch: NodeRef<'_>,
) -> Option<Finding> {
    let codec = patch.at("patch.value.typedConfig.codecType")?;
    if !matches!(text(patch, "match.context"), "" | "ANY" | "SIDECAR_INBOUND") {
        return None;
    }
    let (refused, in_words): (&[UpstreamProtocol], _) = match codec.text()? {
        "HTTP1" => (&[UpstreamProtocol::Http2], "HTTP/2"),
        "HTTP2" => (&[UpstreamProtocol::Http1, UpstreamProtocol::UseDownstream], "HTTP/1.1"),
        _ => return None,
    };
    let to = spoken_to(set, circumstances, filter, refused)?;
    let message =
        format!("{to} is spoken to in {in_words}, which its sidecar does not take with this codec_type");
    Some(HOP_MISMATCH.at(codec.place(), message, "codec_type: AUTO"))
}

fn buffer(value: NodeRef<'_>) -> Option<Finding> {
    let name = value.at("name")?;
    let is_buffer = name.text() == Some(BUFFER)
        || value
            .at("typedConfig.@type")
            .and_then(NodeRef::text)
            .is_some_and(|url| url.ends_with(".buffer.v3.Buffer"));
    let message = "this filter waits for the end of a body, which a WebSocket does not have";
    is_buffer.then(|| BUFFER_FILTER.at(name.place(), message, ""))
}

/// The upgrade types of a route or a connection manager.
fn upgrades<'d>(config: NodeRef<'d>) -> impl Iterator<Item = NodeRef<'d>> {
    let is_websocket = |upgrade: &NodeRef<'d>| {
        let kind = upgrade.at("upgradeType").and_then(NodeRef::text);
        kind.is_some_and(|kind| kind.eq_ignore_ascii_case("websocket"))
    };
    config.at("upgradeConfigs").into_iter().flat_map(NodeRef::items).filter(is_websocket)
}

fn disabled(route: NodeRef<'_>) -> Option<Finding> {
    let off = upgrades(route).find(|upgrade| {
        upgrade.at("enabled").is_some_and(|enabled| enabled.to_json(str::to_owned) == false)
    })?;
    let message = "the upgrade type websocket is switched off for these routes: each handshake gets 403";
    Some(UPGRADE_DISABLED.at(off.place(), message, "upgrade_type: websocket\nenabled: true"))
}

fn twice(config: NodeRef<'_>) -> Option<Finding> {
    let again = upgrades(config).next()?;
    let message = "upgrade_configs has websocket once more: Istio's own has it, and a MERGE appends";
    Some(DUPLICATE_UPGRADE_TYPE.at(again.place(), message, ""))
}
