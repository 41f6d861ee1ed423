//! `EnvoyFilter`s that break sessions by what they configure: filters that wait for a whole body,
//! upgrades that are switched off, an upgrade type that is there twice.

use super::finding::Finding;
use super::rules::{BUFFER_FILTER, DUPLICATE_UPGRADE_TYPE, STREAM_IDLE_TIMEOUT, UPGRADE_DISABLED};
use super::set::Set;
use super::timeouts::set_to;
use crate::yaml::NodeRef;

/// Envoy's HTTP filter that waits for the end of a request's body.
const BUFFER: &str = "envoy.filters.http.buffer";

pub(super) fn check(set: &Set, findings: &mut Vec<Finding>) {
    for (_, written) in set.envoy_filters() {
        for patch in written.at("spec.configPatches").into_iter().flat_map(NodeRef::items) {
            let Some(applied_to) = patch.at("applyTo").and_then(NodeRef::text) else { continue };
            let Some(value) = patch.at("patch.value") else { continue };
            let operation = patch.at("patch.operation").and_then(NodeRef::text).unwrap_or_default();
            match applied_to {
                "HTTP_FILTER" if operation != "REMOVE" => findings.extend(buffer(value)),
                "HTTP_ROUTE" | "VIRTUAL_HOST" => {
                    let route = value.at("route").unwrap_or(value);
                    findings.extend(disabled(route));
                    let yaml = "idle_timeout: 0s";
                    findings.extend(set_to(route, "idleTimeout", &STREAM_IDLE_TIMEOUT, yaml));
                }
                "NETWORK_FILTER" if operation == "MERGE" => {
                    findings.extend(value.at("typedConfig").and_then(twice));
                }
                _ => {}
            }
        }
    }
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
