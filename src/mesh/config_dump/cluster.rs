//! Clusters of a dump: what is spoken to their hosts, and what bounds and ends sessions there.

use std::fmt;

use super::fields::HeaderLimits;
use super::filter::{self, DumpedFilter};
use super::sections::Sections;
use super::{MILLION, Timer, items_at, number_at, text_at};
use crate::yaml::{NodeRef, Place};

/// Envoy's default of `max_connections` and of `max_requests`.
const DEFAULT_LIMIT: u64 = 1024;

/// What a cluster speaks to its hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DumpedProtocol {
    /// A WebSocket is an upgrade.
    Http1,
    /// A WebSocket is an extended CONNECT (RFC 8441), which the other end has to allow.
    Http2,
    /// As `Http2`, over QUIC.
    Http3,
    /// What the downstream connection speaks.
    UseDownstream,
    /// What TLS negotiates by ALPN.
    Auto,
}

impl fmt::Display for DumpedProtocol {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Http1 => "HTTP/1.1",
            Self::Http2 => "HTTP/2, extended CONNECT",
            Self::Http3 => "HTTP/3, extended CONNECT",
            Self::UseDownstream => "the downstream's version of HTTP",
            Self::Auto => "the version of HTTP that ALPN chooses",
        })
    }
}

/// A cluster.
#[derive(Debug)]
pub struct DumpedCluster {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub place: Place,
    /// What it speaks.
    pub protocol: DumpedProtocol,
    /// Where that is said.
    pub protocol_place: Place,
    /// Whether it has TLS on its connections; not where each endpoint decides.
    pub has_tls: Option<bool>,
    /// What ends each stream.
    pub max_stream_duration: Option<Timer>,
    /// What ends each connection.
    pub max_connection_duration: Option<Timer>,
    /// How long the head of an answer may be.
    pub limits: HeaderLimits,
    /// The HTTP filters on the way to its hosts.
    pub filters: Vec<DumpedFilter>,
    /// How many sessions it can have open at a time, and where that is bounded.
    pub max_sessions: (u64, Place),
    /// The circuit breaker that lets no session through, and where it is.
    pub takes_none: Option<(&'static str, Place)>,
    /// Its hosts, as far as the dump knows them: address and port.
    pub endpoints: Vec<(String, u64)>,
    /// Whether requests reach hosts of it.
    pub reach: DumpedReach,
}

/// Whether the requests to a cluster reach hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DumpedReach {
    /// They do, or the dump does not show its hosts.
    Hosts,
    /// It has no host, as the dump says there.
    NoHosts(Place),
    /// None of its hosts is healthy, as the dump says there, and Envoy is told not to panic.
    NoHealthyHosts(Place),
    /// Its `drop_overloads` answer so many of a million requests themselves.
    Drops(u64, Place),
}

pub(super) fn read(sections: &Sections<'_>) -> Vec<DumpedCluster> {
    let clusters = sections.clusters.iter().filter_map(|cluster| of(*cluster, sections));
    clusters.collect()
}

fn of(cluster: NodeRef<'_>, sections: &Sections<'_>) -> Option<DumpedCluster> {
    let name = text_at(cluster, "name")?;
    // The name of the extension has dots.
    let extensions = cluster.at("typedExtensionProtocolOptions");
    let options = extensions.into_iter().flat_map(NodeRef::entries);
    let options = options
        .into_iter()
        .find(|entry| entry.key().is_some_and(|key| key.ends_with(".HttpProtocolOptions")));
    let (protocol, protocol_at) = protocol(cluster, options);
    let common = |path: &str| {
        let path = format!("commonHttpProtocolOptions.{path}");
        let on_cluster = || Timer::set(cluster, &path).on();
        match options {
            Some(options) => Timer::set(options, &path).or_else(on_cluster),
            None => on_cluster(),
        }
    };
    let named = |node: &NodeRef<'_>| {
        text_at(*node, "clusterName")
            == Some(text_at(cluster, "edsClusterConfig.serviceName").unwrap_or(name))
    };
    let listed = sections.endpoints.iter().copied().filter(named);
    let assignments: Vec<_> = listed.chain(cluster.at("loadAssignment")).collect();
    Some(DumpedCluster {
        name: name.to_owned(),
        place: cluster.place_of_value(),
        protocol,
        protocol_place: protocol_at.place(),
        has_tls: match (cluster.at("transportSocketMatches"), cluster.at("transportSocket")) {
            (Some(_), _) => None,
            (None, Some(socket)) => Some(is_tls(socket)),
            (None, None) => Some(false),
        },
        max_stream_duration: common("maxStreamDuration"),
        max_connection_duration: common("maxConnectionDuration"),
        limits: HeaderLimits::of(
            options.unwrap_or(cluster),
            "commonHttpProtocolOptions.maxHeadersCount",
            "commonHttpProtocolOptions.maxResponseHeadersKb",
        ),
        filters: options
            .into_iter()
            .flat_map(|options| items_at(options, "httpFilters"))
            .map(|filter| filter::read(filter, sections))
            .collect(),
        max_sessions: max_sessions(cluster, protocol),
        takes_none: takes_none(cluster),
        reach: reach(cluster, &assignments),
        endpoints: assignments.into_iter().flat_map(endpoints).collect(),
    })
}

fn protocol<'d>(cluster: NodeRef<'d>, options: Option<NodeRef<'d>>) -> (DumpedProtocol, NodeRef<'d>) {
    for (path, protocol) in [
        ("explicitHttpConfig.http3ProtocolOptions", DumpedProtocol::Http3),
        ("explicitHttpConfig.http2ProtocolOptions", DumpedProtocol::Http2),
        ("explicitHttpConfig", DumpedProtocol::Http1),
        ("useDownstreamProtocolConfig", DumpedProtocol::UseDownstream),
        ("autoConfig", DumpedProtocol::Auto),
    ] {
        if let Some(found) = options.and_then(|options| options.at(path)) {
            return (protocol, found);
        }
    }
    // What Envoy had before there were HttpProtocolOptions.
    if let Some(found) =
        cluster.at("protocolSelection").filter(|found| found.text() == Some("USE_DOWNSTREAM_PROTOCOL"))
    {
        return (DumpedProtocol::UseDownstream, found);
    }
    match cluster.at("http2ProtocolOptions") {
        Some(found) => (DumpedProtocol::Http2, found),
        None => (DumpedProtocol::Http1, cluster.at("name").unwrap_or(cluster)),
    }
}

/// The circuit breakers that count for sessions.
fn threshold(cluster: NodeRef<'_>) -> Option<NodeRef<'_>> {
    let mut thresholds = items_at(cluster, "circuitBreakers.thresholds");
    thresholds.find(|threshold| text_at(*threshold, "priority").is_none_or(|priority| priority == "DEFAULT"))
}

/// A request waits for its connection, and is one. A connection there may be one anyhow.
fn takes_none(cluster: NodeRef<'_>) -> Option<(&'static str, Place)> {
    let threshold = threshold(cluster)?;
    [("maxRequests", "max_requests"), ("maxPendingRequests", "max_pending_requests")].into_iter().find_map(
        |(field, name)| {
            let limit = threshold.at(field).filter(|_| number_at(threshold, field) == Some(0))?;
            Some((name, limit.place()))
        },
    )
}

/// A session is a request over any HTTP, and a connection over HTTP/1.1.
fn max_sessions(cluster: NodeRef<'_>, protocol: DumpedProtocol) -> (u64, Place) {
    let place = cluster.at("name").unwrap_or(cluster).place();
    let Some(threshold) = threshold(cluster) else { return (DEFAULT_LIMIT, place) };
    let limit = |name: &str| match number_at(threshold, name) {
        Some(limit) => (limit, threshold.at(name).unwrap_or(threshold).place()),
        None => (DEFAULT_LIMIT, threshold.place()),
    };
    let requests = limit("maxRequests");
    if matches!(protocol, DumpedProtocol::Http2 | DumpedProtocol::Http3) {
        return requests;
    }
    let connections = limit("maxConnections");
    if connections.0 < requests.0 { connections } else { requests }
}

fn reach(cluster: NodeRef<'_>, assignments: &[NodeRef<'_>]) -> DumpedReach {
    let assigned = |name: &str| {
        assignments.iter().flat_map(|assignment| items_at(*assignment, name)).collect::<Vec<_>>()
    };
    // Hosts may have any kind of address, or come by LEDS.
    let has_some = assigned("endpoints").into_iter().any(|locality| {
        items_at(locality, "lbEndpoints").next().is_some()
            || locality.at("ledsClusterLocalityConfig").is_some()
            || locality.at("loadBalancerEndpoints").is_some()
    });
    // To what is not healthy nothing is sent, unless there is so little else that Envoy panics.
    let panics = cluster.at("commonLbConfig.healthyPanicThreshold").is_none_or(|threshold| {
        threshold.at("value").is_some_and(|value| value.to_json(str::to_owned).as_f64() != Some(0.0))
    });
    let hosts: Vec<_> =
        assigned("endpoints").into_iter().flat_map(|it| items_at(it, "lbEndpoints")).collect();
    let is_ill = |host: &NodeRef<'_>| {
        text_at(*host, "healthStatus")
            .is_some_and(|status| ["UNHEALTHY", "TIMEOUT", "DRAINING"].contains(&status))
    };
    if let Some(first) = hosts.first().filter(|_| !panics && hosts.iter().all(is_ill)) {
        return DumpedReach::NoHealthyHosts(first.at("healthStatus").unwrap_or(*first).place());
    }
    // A dump without an assignment does not show the hosts: those of EDS are there by include_eds alone.
    if let Some(assignment) = assignments.first().filter(|_| !has_some && !finds_hosts_itself(cluster)) {
        return DumpedReach::NoHosts(assignment.place());
    }
    let mut passed = MILLION;
    let mut place = None;
    for drop in assigned("policy.dropOverloads") {
        let Some(percentage) = drop.at("dropPercentage") else { continue };
        let dropped = super::millionths(percentage);
        if dropped > 0 {
            passed = passed * (MILLION - dropped) / MILLION;
            place = place.or_else(|| Some(percentage.place()));
        }
    }
    place.map_or(DumpedReach::Hosts, |place| DumpedReach::Drops(MILLION - passed, place))
}

/// Whether its hosts come with the requests, not from an assignment, so that an empty one says nothing:
/// `ORIGINAL_DST` (`PassthroughCluster` and the `inbound|…` of Istio) and the cluster types that are
/// extensions (dynamic forward proxy, aggregate), but for the extensions of the types that are assigned.
fn finds_hosts_itself(cluster: NodeRef<'_>) -> bool {
    const ASSIGNED: [&str; 5] = [
        "envoy.cluster.static",
        "envoy.cluster.eds",
        "envoy.cluster.strict_dns",
        "envoy.cluster.logical_dns",
        "envoy.cluster.dns",
    ];
    text_at(cluster, "type") == Some("ORIGINAL_DST")
        || text_at(cluster, "clusterType.name").is_some_and(|name| !ASSIGNED.contains(&name))
}

/// Whether a transport socket is TLS.
pub(super) fn is_tls(socket: NodeRef<'_>) -> bool {
    let url = text_at(socket, "typedConfig.@type").unwrap_or_default();
    url.contains("TlsContext") || url.contains(".quic.")
}

fn endpoints(assignment: NodeRef<'_>) -> Vec<(String, u64)> {
    let localities = items_at(assignment, "endpoints");
    let hosts = localities.flat_map(|locality| items_at(locality, "lbEndpoints"));
    let addresses = hosts.filter_map(|host| {
        let address = host.at("endpoint.address.socketAddress")?;
        Some((text_at(address, "address")?.to_owned(), number_at(address, "portValue")?))
    });
    addresses.collect()
}
