//! The dump of this program's own sidecar, which is in a form of its own: the effective
//! configuration, one listener with its virtual hosts.

use super::route::{DumpedRoute, RouteTarget, UpgradeTaken};
use super::{
    DumpedCluster, DumpedListener, DumpedManager, DumpedProtocol, DumpedProxy, DumpedReach, HeaderLimits,
    Side, Timer, is_true, items_at, text_at,
};
use crate::yaml::NodeRef;

pub(super) fn read(dump: NodeRef<'_>, config: NodeRef<'_>, side: Option<Side>) -> Option<DumpedProxy> {
    let direction = text_at(config, "direction")?;
    let (own_side, traffic) = match direction {
        "outbound" => (Side::Client, "OUTBOUND"),
        "inbound" => (Side::Server, "INBOUND"),
        _ => return None,
    };
    let configuration = config.at(&format!("{direction}.configuration"))?;
    let manager = configuration.at("connectionManager")?;
    let upgrade_types: Vec<String> =
        items_at(manager, "upgradeTypes").filter_map(NodeRef::text).map(str::to_owned).collect();
    let is_on = upgrade_types.iter().any(|kind| kind.eq_ignore_ascii_case("websocket"));
    let taken = if is_on { UpgradeTaken::Yes } else { UpgradeTaken::NotEnabled };
    let idle_timeout = Timer::set(manager, "streamIdleTimeout").on();
    let hosts = items_at(configuration, "virtualHosts").chain(configuration.at("virtualHost"));
    let mut clusters: Vec<DumpedCluster> = Vec::new();
    let mut routes = Vec::new();
    for host in hosts {
        for route in items_at(host, "routes") {
            let forward = route.at("action.forward");
            let cluster = forward.and_then(|forward| forward.at("cluster")).and_then(cluster);
            let target = match &cluster {
                Some(cluster) => RouteTarget::Clusters(vec![(cluster.name.clone(), cluster.place.clone())]),
                None => RouteTarget::Answer("a direct response"),
            };
            routes.push(DumpedRoute {
                place: route.place_of_value(),
                virtual_host: text_at(host, "name").unwrap_or_default().to_owned(),
                name: text_at(route, "name").unwrap_or_default().to_owned(),
                is_for_handshakes: true,
                share: None,
                taken: taken.clone(),
                target,
                timeout: forward.and_then(|forward| Timer::set(forward, "timeout").on()),
                idle_timeout: idle_timeout.clone(),
                max_stream_duration: Timer::set(manager, "maxStreamDuration").on(),
                filters: Vec::new(),
                changed: Vec::new(),
                requires_tls: None,
            });
            clusters
                .extend(cluster.filter(|cluster| clusters.iter().all(|known| known.name != cluster.name)));
        }
    }
    let listen = text_at(config, "listen").and_then(|listen| listen.rsplit_once(':'));
    let address = listen.and_then(|(host, port)| Some((host.to_owned(), port.parse().ok()?)));
    // What a cluster of the client's side leads to is the address that the program was given.
    let endpoint = text_at(config, "endpoint").and_then(|endpoint| endpoint.rsplit_once(':'));
    if let Some((host, Ok(port))) = endpoint.map(|(host, port)| (host, port.parse::<u64>())) {
        for cluster in &mut clusters {
            cluster.endpoints.push((host.to_owned(), port));
        }
    }
    let listener = DumpedListener {
        name: direction.to_owned(),
        place: manager.place(),
        state: "active",
        direction: Some(traffic.to_owned()),
        address,
        managers: vec![DumpedManager {
            place: manager.place(),
            chain: String::new(),
            destination_port: None,
            // Its files for TLS are no part of the dump.
            has_tls: None,
            upgrade_types,
            taken,
            takes_http1: true,
            ignores_upgrade: None,
            allow_connect: is_true(manager, "allowConnect"),
            allow_connect_place: manager.at("allowConnect").unwrap_or(manager).place(),
            limits: HeaderLimits::default(),
            changed: Vec::new(),
            idle_timeout,
            max_connection_duration: None,
            filters: Vec::new(),
            routes: Some(routes),
        }],
        tcp_proxies: Vec::new(),
    };
    Some(DumpedProxy {
        place: dump.place(),
        side: side.unwrap_or(own_side),
        node: Some(format!("websockets-cli sidecar {direction}")),
        addresses: Vec::new(),
        listeners: vec![listener],
        clusters,
        has_clusters: true,
        rejected: Vec::new(),
        warming: Vec::new(),
        unread: Vec::new(),
    })
}

fn cluster(cluster: NodeRef<'_>) -> Option<DumpedCluster> {
    let protocol = cluster.at("protocol")?;
    let place = cluster.at("name")?.place();
    Some(DumpedCluster {
        name: text_at(cluster, "name")?.to_owned(),
        protocol: match protocol.text()? {
            "Http1" => DumpedProtocol::Http1,
            "Http2" => DumpedProtocol::Http2,
            "UseDownstream" => DumpedProtocol::UseDownstream,
            _ => return None,
        },
        protocol_place: protocol.place(),
        // Its files for TLS are no part of the dump.
        has_tls: None,
        max_stream_duration: None,
        max_connection_duration: Timer::set(cluster, "maxConnectionDuration").on(),
        limits: HeaderLimits::default(),
        filters: Vec::new(),
        max_sessions: (u64::from(u32::MAX), place.clone()),
        takes_none: None,
        endpoints: Vec::new(),
        // Its one endpoint is that of the command line.
        reach: DumpedReach::Hosts,
        place,
    })
}
