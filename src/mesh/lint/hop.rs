//! Whether the proxies of two dumps fit together: what one sends and the other takes.

use std::collections::BTreeSet;

use super::config_dump::{judged, taking};
use super::finding::Finding;
use super::rules::{HOP_MISMATCH, NOT_JUDGED, STRICT_WITHOUT_TLS, UPGRADE_WITHOUT_ALLOW_CONNECT};
use crate::mesh::config_dump::{
    DumpedCluster, DumpedListener, DumpedManager, DumpedProtocol, DumpedProxy, RouteTarget, Side,
};

pub(super) fn check(proxies: &[DumpedProxy], findings: &mut Vec<Finding>) {
    for client in proxies.iter().filter(|proxy| proxy.side.sends()) {
        let servers: Vec<&DumpedProxy> = proxies
            .iter()
            .filter(|proxy| proxy.side.takes() && !std::ptr::eq(*proxy, client))
            .filter(|server| client.side != Side::Sidecar || server.side != Side::Client)
            .collect();
        for cluster in clusters_of_sessions(client) {
            check_cluster(client, cluster, &servers, findings);
        }
    }
}

/// The clusters of a proxy that WebSockets are sent to, each once.
fn clusters_of_sessions(proxy: &DumpedProxy) -> impl Iterator<Item = &DumpedCluster> {
    let managers = judged(proxy)
        // What comes to a sidecar goes on to its own application.
        .filter(|listener| proxy.side != Side::Sidecar || listener.direction.as_deref() != Some("INBOUND"))
        .flat_map(|listener| &listener.managers);
    let names: BTreeSet<&str> = managers
        .flat_map(taking)
        .filter_map(|route| match &route.target {
            RouteTarget::Clusters(clusters) => Some(clusters),
            _ => None,
        })
        .flatten()
        .map(|(name, _)| name.as_str())
        .collect();
    names.into_iter().filter_map(|name| proxy.cluster(name))
}

fn check_cluster(
    client: &DumpedProxy,
    cluster: &DumpedCluster,
    servers: &[&DumpedProxy],
    findings: &mut Vec<Finding>,
) {
    let is_connect = match cluster.protocol {
        DumpedProtocol::Http2 | DumpedProtocol::Http3 => true,
        DumpedProtocol::Http1 => false,
        // What they come to be is decided by each connection.
        DumpedProtocol::UseDownstream | DumpedProtocol::Auto => {
            let message = format!(
                "what the cluster {} speaks is decided on the way: {}",
                cluster.name, cluster.protocol
            );
            findings.push(NOT_JUDGED.at(cluster.protocol_place.clone(), message, ""));
            return;
        }
    };
    let mut judged_one = false;
    for server in servers {
        let ends = ends(client, cluster, server, servers.len() == 1);
        judged_one |= !ends.is_empty();
        let refusing =
            |(_, manager): &&(&DumpedListener, &DumpedManager)| is_connect && !manager.allow_connect;
        if let Some((listener, _)) = ends.iter().find(refusing) {
            let message = format!(
                "the cluster {} speaks {}, which the listener {} of {} does not take",
                cluster.name, cluster.protocol, listener.name, server.place.file
            );
            findings.push(UPGRADE_WITHOUT_ALLOW_CONNECT.at(
                cluster.protocol_place.clone(),
                message,
                "http2_protocol_options: {allow_connect: true}",
            ));
        }
        let takes_http2_alone = |(_, manager): &&(&DumpedListener, &DumpedManager)| !manager.takes_http1;
        if let Some((listener, _)) = ends.iter().find(takes_http2_alone).filter(|_| !is_connect) {
            let message = format!(
                "the cluster {} speaks {}, and the listener {} of {} takes HTTP/2 alone",
                cluster.name, cluster.protocol, listener.name, server.place.file
            );
            findings.push(HOP_MISMATCH.at(cluster.protocol_place.clone(), message, ""));
        }
        let is_tls = |(_, manager): &(&DumpedListener, &DumpedManager)| manager.has_tls == Some(true);
        if cluster.has_tls == Some(false) && !ends.is_empty() && ends.iter().all(is_tls) {
            let message = format!(
                "the cluster {} sends without TLS, and {} takes TLS alone there",
                cluster.name, server.place.file
            );
            findings.push(STRICT_WITHOUT_TLS.at(cluster.place.clone(), message, ""));
        }
        let is_plain = |(_, manager): &(&DumpedListener, &DumpedManager)| manager.has_tls == Some(false);
        if cluster.has_tls == Some(true) && !ends.is_empty() && ends.iter().all(is_plain) {
            let message =
                format!("the cluster {} sends TLS, and {} takes none there", cluster.name, server.place.file);
            findings.push(HOP_MISMATCH.at(cluster.place.clone(), message, ""));
        }
    }
    if is_connect && !judged_one {
        let message = format!(
            "the cluster {} speaks {}: whether its other end allows that is in the other proxy's dump, which was not given",
            cluster.name, cluster.protocol
        );
        findings.push(NOT_JUDGED.at(cluster.protocol_place.clone(), message, ""));
    }
}

/// The connection managers of a server that a cluster leads to, by its endpoints. Where the dump
/// has no endpoints all of them may be, if the two proxies are known to belong together.
fn ends<'d>(
    client: &DumpedProxy,
    cluster: &DumpedCluster,
    server: &'d DumpedProxy,
    is_only: bool,
) -> Vec<(&'d DumpedListener, &'d DumpedManager)> {
    let listeners: Vec<&DumpedListener> = judged(server)
        .filter(|listener| {
            !matches!(server.side, Side::Sidecar) || listener.direction.as_deref() != Some("OUTBOUND")
        })
        .collect();
    let of = |listener: &'d DumpedListener| listener.managers.iter().map(move |manager| (listener, manager));
    if cluster.endpoints.is_empty() {
        let belongs = client.side == Side::Client && server.side == Side::Server && is_only;
        return if belongs { listeners.into_iter().flat_map(of).collect() } else { Vec::new() };
    }
    let mut found = Vec::new();
    for (address, port) in &cluster.endpoints {
        for listener in &listeners {
            let here = |own: &str| own == address || own == "0.0.0.0" || own == "::";
            let is_pod = server.addresses.is_empty() || server.addresses.contains(address);
            let is_address = listener.address.as_ref().is_none_or(|(own, _)| here(own));
            if !is_address || !is_pod || !listener.takes_port(*port) {
                continue;
            }
            // Of the chains for a port those are taken, if there are any, and else those for all.
            let for_port = || of(listener).filter(|(_, manager)| manager.destination_port == Some(*port));
            if for_port().next().is_some() {
                found.extend(for_port());
            } else {
                found.extend(of(listener).filter(|(_, manager)| manager.destination_port.is_none()));
            }
        }
    }
    found
}
