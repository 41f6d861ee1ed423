//! Whether the proxies of two dumps fit together: what one sends and the other takes.

use std::collections::{BTreeSet, HashMap};

use super::config_dump::{judged, taking};
use super::finding::Finding;
use super::rules::{HOP_MISMATCH, NOT_JUDGED, STRICT_WITHOUT_TLS, UPGRADE_WITHOUT_ALLOW_CONNECT};
use crate::mesh::config_dump::{
    DumpedCluster, DumpedListener, DumpedManager, DumpedProtocol, DumpedProxy, RouteTarget, Side,
};

pub(super) fn check(proxies: &[DumpedProxy], findings: &mut Vec<Finding>) {
    let others = Others::of(proxies);
    for client in proxies.iter().filter(|proxy| proxy.side.sends()) {
        for cluster in clusters_of_sessions(client) {
            check_cluster(client, cluster, &others, findings);
        }
    }
}

/// The proxies that sessions are sent to, by the addresses of their pods: a cluster has hundreds,
/// each with a cluster for every Service.
struct Others<'d> {
    all: Vec<&'d DumpedProxy>,
    by_address: HashMap<&'d str, Vec<&'d DumpedProxy>>,
    /// Those whose dump does not say where they are.
    anywhere: Vec<&'d DumpedProxy>,
}

impl<'d> Others<'d> {
    fn of(proxies: &'d [DumpedProxy]) -> Self {
        let all: Vec<_> = proxies.iter().filter(|proxy| proxy.side.takes()).collect();
        let mut by_address: HashMap<&str, Vec<&DumpedProxy>> = HashMap::new();
        for proxy in &all {
            for address in &proxy.addresses {
                by_address.entry(address).or_default().push(proxy);
            }
        }
        let anywhere = all.iter().copied().filter(|proxy| proxy.addresses.is_empty()).collect();
        Self { all, by_address, anywhere }
    }

    /// Those that a client's cluster may lead to, each once. Without endpoints that is the only
    /// server there is, if the two are known to belong together.
    fn behind(&self, client: &DumpedProxy, cluster: &DumpedCluster) -> Vec<&'d DumpedProxy> {
        let is_other = |server: &&&DumpedProxy| {
            !std::ptr::eq(**server, client) && (client.side != Side::Sidecar || server.side != Side::Client)
        };
        if cluster.endpoints.is_empty() {
            let others: Vec<_> = self.all.iter().filter(is_other).copied().collect();
            let is_pair = client.side == Side::Client && others.len() == 1 && others[0].side == Side::Server;
            return if is_pair { others } else { Vec::new() };
        }
        let addresses: BTreeSet<&str> =
            cluster.endpoints.iter().map(|(address, _)| address.as_str()).collect();
        let at = addresses.into_iter().filter_map(|address| self.by_address.get(address)).flatten();
        let mut found: Vec<&DumpedProxy> = Vec::new();
        for server in at.chain(&self.anywhere).filter(is_other) {
            if !found.iter().any(|known| std::ptr::eq(*known, *server)) {
                found.push(server);
            }
        }
        found
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
    others: &Others<'_>,
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
    for server in others.behind(client, cluster) {
        let ends = ends(cluster, server);
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

/// The connection managers of a server that a cluster leads to, by its endpoints; without any, all
/// of them may be.
fn ends<'d>(
    cluster: &DumpedCluster,
    server: &'d DumpedProxy,
) -> Vec<(&'d DumpedListener, &'d DumpedManager)> {
    let listeners: Vec<&DumpedListener> = judged(server)
        .filter(|listener| {
            !matches!(server.side, Side::Sidecar) || listener.direction.as_deref() != Some("OUTBOUND")
        })
        .collect();
    let of = |listener: &'d DumpedListener| listener.managers.iter().map(move |manager| (listener, manager));
    if cluster.endpoints.is_empty() {
        return listeners.into_iter().flat_map(of).collect();
    }
    let mut found = Vec::new();
    for (address, port) in &cluster.endpoints {
        for listener in &listeners {
            let own = listener.address.as_ref().map(|(own, _)| own.as_str());
            let is_address = match own.filter(|own| !["0.0.0.0", "::"].contains(own)) {
                Some(own) => own == address,
                // Of a proxy that does not say where it is, who names its side says that it is meant.
                None if server.addresses.is_empty() => server.side == Side::Server,
                None => server.addresses.contains(address),
            };
            if !is_address || !listener.takes_port(*port) {
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
