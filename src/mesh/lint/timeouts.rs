//! Timers that end sessions, or hinder them: of routes, of streams and of connections.

use std::time::Duration;

use super::finding::Finding;
use super::rules::{
    MAX_CONNECTION_DURATION, MAX_STREAM_DURATION, STREAM_IDLE_TIMEOUT, TCP_IDLE_TIMEOUT,
    VIRTUAL_SERVICE_TIMEOUT,
};
use super::set::Set;
use crate::mesh::document::{DestinationRule, PortProtocol};
use crate::mesh::duration::GoDuration;
use crate::mesh::format_duration;
use crate::mesh::host::resolve;
use crate::mesh::rule::Rule;
use crate::yaml::{Dialect, Document, NodeRef};

pub(super) fn check(set: &Set, findings: &mut Vec<Finding>) {
    for service in set.documents.virtual_services() {
        let written = service.metadata.document();
        for route in written.at("spec.http").into_iter().flat_map(NodeRef::items) {
            findings.extend(set_to(route, "timeout", &VIRTUAL_SERVICE_TIMEOUT, "timeout: 0s"));
        }
    }
    for rule in set.documents.destination_rules() {
        check_rule(set, rule, rule.metadata.document(), findings);
    }
    for (filter, written) in set.envoy_filters() {
        let patches = written.at("spec.configPatches").into_iter().flat_map(NodeRef::items);
        for (position, patch) in patches.enumerate() {
            let gateways = gateways(patch);
            // One that changes nothing cuts nothing.
            if filter.patch(position).is_none() && gateways.is_none() {
                continue;
            }
            let Some(config) = patch.at("patch.value.typedConfig") else { continue };
            let idle = set_to(config, "streamIdleTimeout", &STREAM_IDLE_TIMEOUT, "stream_idle_timeout: 0s");
            let longest = "commonHttpProtocolOptions.maxStreamDuration";
            let longest = set_to(config, longest, &MAX_STREAM_DURATION, "");
            findings.extend(idle.into_iter().chain(longest).map(|mut finding| {
                if let Some(context) = gateways {
                    finding.message = format!("in proxies of the context {context}: {}", finding.message);
                }
                finding
            }));
        }
    }
}

/// The context of a patch that merges into the connection manager of proxies that are no sidecars.
fn gateways(patch: NodeRef<'_>) -> Option<&str> {
    let text = |path: &str| patch.at(path).and_then(NodeRef::text);
    let merges = text("applyTo") == Some("NETWORK_FILTER") && text("patch.operation") == Some("MERGE");
    text("match.context").filter(|context| merges && ["GATEWAY", "WAYPOINT"].contains(context))
}

fn check_rule(set: &Set, rule: &DestinationRule, written: &Document, findings: &mut Vec<Finding>) {
    let host = resolve(&rule.host, &rule.metadata.namespace);
    let mut ports = set.documents.services_for(&host).flat_map(|service| &service.ports);
    let to_tcp = ports.any(|port| port.protocol == PortProtocol::Opaque);
    for (path, _) in rule.connection_pools() {
        let Some(pool) = written.at(&path) else { continue };
        findings.extend(set_to(pool, "tcp.maxConnectionDuration", &MAX_CONNECTION_DURATION, ""));
        if to_tcp {
            findings.extend(set_to(pool, "tcp.idleTimeout", &TCP_IDLE_TIMEOUT, "tcp:\n  idleTimeout: 0s"));
        }
    }
}

/// The finding about a duration that is set; zero is none.
pub(super) fn set_to(node: NodeRef<'_>, path: &str, rule: &'static Rule, yaml: &str) -> Option<Finding> {
    let timer = node.at(path)?;
    let GoDuration(duration) = timer.read(Dialect::Kubernetes).ok()?;
    if duration == Duration::ZERO {
        return None;
    }
    let message = format!("{} is {}", timer.key()?, format_duration(duration));
    Some(rule.at(timer.place(), message, yaml))
}
