//! Listeners of a dump: their filter chains, and in these the HTTP connection managers and TCP
//! proxies.

use std::time::Duration;

use super::cluster::is_tls;
use super::fields::{self, ChangedField, HeaderLimits, Of};
use super::filter::{self, DumpedFilter};
use super::route::{self, DumpedRoute, Inherited, UpgradeTaken};
use super::sections::Sections;
use super::{Noted, Notes, Timer, is_true, items_at, number_at, text_at, typed_config};
use crate::yaml::{NodeRef, Place};

/// Envoy's default of `stream_idle_timeout`.
const STREAM_IDLE_TIMEOUT: Duration = Duration::from_secs(300);

/// The port that Istio's sidecars take everything on that comes to their pod.
const ISTIO_INBOUND: u64 = 15006;

/// Istio's own listeners, for statistics and health: no sessions go there.
const ISTIO_OWN: [u64; 3] = [15020, 15021, 15090];

/// Such listeners of Consul and of Contour.
const OTHERS_OWN: [&str; 7] = [
    "envoy_metrics_listener",
    "envoy_prometheus_metrics_listener",
    "envoy_ready_listener",
    "envoy-admin",
    "health",
    "stats",
    "stats-health",
];

/// What those of Envoy Gateway and of Kuma begin with.
const OTHERS_OWN_PREFIXES: [&str; 3] = ["envoy-gateway-proxy-", "kuma:", "_kuma:"];

/// A listener.
#[derive(Debug)]
pub struct DumpedListener {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub place: Place,
    /// `static`, `active`, `warming` or `draining`.
    pub state: &'static str,
    /// `INBOUND` or `OUTBOUND`, where it is said.
    pub direction: Option<String>,
    /// Where it listens.
    pub address: Option<(String, u64)>,
    /// Its HTTP connection managers.
    pub managers: Vec<DumpedManager>,
    /// Its TCP proxies, to which a WebSocket is bytes.
    pub tcp_proxies: Vec<DumpedTcpProxy>,
}

impl DumpedListener {
    /// Whether sessions of users go here at all.
    #[must_use]
    pub fn is_for_sessions(&self) -> bool {
        self.state != "draining" && !self.is_of_mesh()
    }

    /// Whether it is one that a mesh has for statistics, health and the like: it has the port or the
    /// name, and takes no WebSockets.
    fn is_of_mesh(&self) -> bool {
        let has_port = self.address.as_ref().is_some_and(|(_, port)| ISTIO_OWN.contains(port));
        let has_name = OTHERS_OWN.contains(&&*self.name)
            || OTHERS_OWN_PREFIXES.iter().any(|prefix| self.name.starts_with(prefix));
        (has_port || has_name) && self.managers.iter().all(|manager| manager.taken != UpgradeTaken::Yes)
    }

    /// Whether connections to this port come here: it listens there, or what comes to the pod is
    /// redirected to it, as Istio does to one port and App Mesh by the port of the filter chain.
    #[must_use]
    pub fn takes_port(&self, port: u64) -> bool {
        self.address.as_ref().is_none_or(|(_, own)| *own == port || *own == ISTIO_INBOUND)
            || self.managers.iter().any(|manager| manager.destination_port == Some(port))
    }
}

/// An HTTP connection manager.
#[derive(Debug)]
pub struct DumpedManager {
    /// Where it is.
    pub place: Place,
    /// The name of its filter chain.
    pub chain: String,
    /// The port that its filter chain is for, if it is for one.
    pub destination_port: Option<u64>,
    /// Whether its filter chain takes TLS, if the dump says so.
    pub has_tls: Option<bool>,
    /// The upgrade types that it takes.
    pub upgrade_types: Vec<String>,
    /// Whether it takes WebSockets where no route says otherwise.
    pub taken: UpgradeTaken,
    /// Whether it takes HTTP/1.1.
    pub takes_http1: bool,
    /// Where it is said that HTTP/1.1's `Upgrade: websocket` is not looked at.
    pub ignores_upgrade: Option<Place>,
    /// Whether it takes extended CONNECT: HTTP/2 with `http2_protocol_options.allow_connect`, or HTTP/3
    /// with `http3_protocol_options.allow_extended_connect`.
    pub allow_connect: bool,
    /// Where that is said, or would be.
    pub allow_connect_place: Place,
    /// How long the head of a request may be.
    pub limits: HeaderLimits,
    /// What is done to fields of handshakes before anything else (`early_header_mutation_extensions`).
    pub changed: Vec<ChangedField>,
    /// What ends an idle stream.
    pub idle_timeout: Option<Timer>,
    /// What ends each connection, once its streams have ended.
    pub max_connection_duration: Option<Timer>,
    /// Its filters.
    pub filters: Vec<DumpedFilter>,
    /// Its routes; `None` if they are not in the dump.
    pub routes: Option<Vec<DumpedRoute>>,
}

/// A TCP proxy.
#[derive(Debug)]
pub struct DumpedTcpProxy {
    /// Its filter chain's name.
    pub chain: String,
    /// What ends an idle connection; Envoy's default is an hour.
    pub idle_timeout: Option<Timer>,
    /// What ends each connection.
    pub max_duration: Option<Timer>,
}

pub(super) fn read(sections: &Sections<'_>, notes: &mut Notes) -> Vec<DumpedListener> {
    let read = |&(listener, state): &(NodeRef<'_>, &'static str)| {
        if state == "draining" {
            // What it lacks concerns nobody any more.
            return of(listener, state, sections, &mut Notes::default());
        }
        of(listener, state, sections, notes)
    };
    sections.listeners.iter().map(read).collect()
}

fn of(
    listener: NodeRef<'_>,
    state: &'static str,
    sections: &Sections<'_>,
    notes: &mut Notes,
) -> DumpedListener {
    let socket = listener.at("address.socketAddress");
    let address = socket
        .and_then(|socket| Some((text_at(socket, "address")?.to_owned(), number_at(socket, "portValue")?)));
    let described = || {
        address.as_ref().map_or_else(|| "without a name".to_owned(), |(host, port)| format!("{host}:{port}"))
    };
    let name =
        text_at(listener, "name").filter(|name| !name.is_empty()).map_or_else(described, str::to_owned);
    let mut found = DumpedListener {
        place: listener.at("name").or(socket).unwrap_or(listener).place(),
        name,
        state,
        direction: text_at(listener, "trafficDirection").map(str::to_owned),
        address,
        managers: Vec::new(),
        tcp_proxies: Vec::new(),
    };
    let chains = items_at(listener, "filterChains").chain(listener.at("defaultFilterChain"));
    for chain in chains {
        for filter in items_at(chain, "filters") {
            match typed_config(filter) {
                Some((message, config)) if message.ends_with(".HttpConnectionManager") => {
                    found.managers.push(manager(chain, config, sections, notes));
                }
                Some((message, config)) if message.ends_with(".TcpProxy") => {
                    found.tcp_proxies.push(DumpedTcpProxy {
                        chain: chain_name(chain),
                        idle_timeout: Timer::set(config, "idleTimeout").on(),
                        max_duration: Timer::set(config, "maxDownstreamConnectionDuration").on(),
                    });
                }
                Some((message, _)) if passes(message) => {}
                Some((message, _)) if refuses(message) => {
                    let what = format!(
                        "the network filter {message} of the listener {} refuses some connections: which was not judged",
                        found.name
                    );
                    notes.unread.push(Noted::new(filter.place(), what));
                }
                Some((message, _)) => {
                    let what = format!(
                        "the network filter {message} of the listener {} is not known here: what it does to sessions was not judged",
                        found.name
                    );
                    notes.unread.push(Noted::new(filter.place(), what));
                }
                None => {
                    let what = format!(
                        "the network filter {} of the listener {} has no configuration in the dump",
                        text_at(filter, "name").unwrap_or("without a name"),
                        found.name
                    );
                    notes.unread.push(Noted::new(filter.place(), what));
                }
            }
        }
    }
    found
}

/// Network filters that let a connection pass, by the package of their configuration.
const HARMLESS: [&str; 3] = ["sni_cluster", "sni_dynamic_forward_proxy", "set_filter_state"];

/// Those that refuse some connections on purpose.
const REFUSING: [&str; 5] = ["connection_limit", "ext_authz", "local_ratelimit", "ratelimit", "rbac"];

fn passes(message: &str) -> bool {
    let is_istios = ["metadata_exchange", "MetadataExchange", "peer_metadata", "tcp.stats"];
    is_istios.iter().any(|part| message.contains(part))
        || message.starts_with("stats.")
        || package(message).is_some_and(|known| HARMLESS.contains(&known))
}

fn refuses(message: &str) -> bool {
    package(message).is_some_and(|known| REFUSING.contains(&known))
}

/// Which of Envoy's own network filters a message configures.
fn package(message: &str) -> Option<&str> {
    message.strip_prefix("envoy.extensions.filters.network.")?.split('.').next()
}

fn chain_name(chain: NodeRef<'_>) -> String {
    text_at(chain, "name").unwrap_or_default().to_owned()
}

fn manager(
    chain: NodeRef<'_>,
    config: NodeRef<'_>,
    sections: &Sections<'_>,
    notes: &mut Notes,
) -> DumpedManager {
    let place = config.at("statPrefix").unwrap_or(config).place();
    let taken = route::websocket(config).unwrap_or(UpgradeTaken::NotEnabled);
    let idle_timeout = Timer::set(config, "streamIdleTimeout")
        .or_else(|| Some(Timer::default(STREAM_IDLE_TIMEOUT, place.clone())));
    // Upgrades may have filters of their own instead of the manager's.
    let own_filters = items_at(config, "upgradeConfigs")
        .find(|upgrade| {
            text_at(*upgrade, "upgradeType").is_some_and(|kind| kind.eq_ignore_ascii_case("websocket"))
        })
        .and_then(|upgrade| upgrade.at("filters"));
    let http_filters = own_filters.or_else(|| config.at("httpFilters"));
    let filters: Vec<DumpedFilter> = http_filters
        .into_iter()
        .flat_map(NodeRef::items)
        .map(|filter| filter::read(filter, sections))
        .collect();
    let inherited = Inherited {
        takes: taken.clone(),
        idle_timeout: idle_timeout.clone(),
        max_stream_duration: Timer::set(config, "commonHttpProtocolOptions.maxStreamDuration").on(),
        filters: &filters,
    };
    let found = route_configs(config, sections);
    if let Err(missing) = &found {
        let missing = Noted::new(place.clone(), missing.clone());
        // A whole dump shows that the proxy does not have them.
        if sections.has_routes && config.at("rds").is_some() {
            notes.warming.push(missing);
        } else {
            notes.unread.push(missing);
        }
    }
    let routes = found.ok().map(|found| {
        found.into_iter().flat_map(|config| route::read(config, &inherited, &mut notes.unread)).collect()
    });
    let upgrades = items_at(config, "upgradeConfigs").filter_map(|upgrade| text_at(upgrade, "upgradeType"));
    let codec = text_at(config, "codecType").unwrap_or("AUTO");
    let (connect, allowing) = match codec {
        "HTTP3" => (config.at("http3ProtocolOptions"), "allowExtendedConnect"),
        _ => (config.at("http2ProtocolOptions"), "allowConnect"),
    };
    let tls = chain.at("transportSocket");
    let alpn: Vec<&str> = tls
        .and_then(|tls| tls.at("typedConfig.commonTlsContext.alpnProtocols"))
        .into_iter()
        .flat_map(NodeRef::items)
        .filter_map(NodeRef::text)
        .collect();
    DumpedManager {
        chain: chain_name(chain),
        destination_port: number_at(chain, "filterChainMatch.destinationPort"),
        has_tls: Some(tls.is_some_and(is_tls)),
        upgrade_types: upgrades.map(str::to_owned).collect(),
        taken,
        takes_http1: codec == "HTTP1" || (codec == "AUTO" && !(alpn.len() == 1 && alpn[0] == "h2")),
        ignores_upgrade: ignored_upgrade(config, notes),
        allow_connect: codec != "HTTP1" && connect.is_some_and(|options| is_true(options, allowing)),
        allow_connect_place: connect.map_or_else(|| place.clone(), NodeRef::place),
        limits: HeaderLimits::of(config, "commonHttpProtocolOptions.maxHeadersCount", "maxRequestHeadersKb"),
        changed: changed_early(config, notes),
        idle_timeout,
        max_connection_duration: Timer::set(config, "commonHttpProtocolOptions.maxConnectionDuration").on(),
        place,
        filters,
        routes,
    }
}

/// What is done to the fields of requests before the connection manager looks at them.
fn changed_early(config: NodeRef<'_>, notes: &mut Notes) -> Vec<ChangedField> {
    let mut changed = Vec::new();
    for extension in items_at(config, "earlyHeaderMutationExtensions") {
        match typed_config(extension) {
            Some((message, config)) if message.ends_with(".header_mutation.v3.HeaderMutation") => {
                changed.extend(fields::of_mutations(Of::Request, items_at(config, "mutations")));
            }
            _ => {
                let what = "what an early header mutation does to handshakes was not judged";
                notes.unread.push(Noted::new(extension.place(), what));
            }
        }
    }
    changed
}

/// Where `ignore_http_11_upgrade` has websocket.
fn ignored_upgrade(config: NodeRef<'_>, notes: &mut Notes) -> Option<Place> {
    for matcher in items_at(config, "httpProtocolOptions.ignoreHttp11Upgrade") {
        let text = |kind| text_at(matcher, kind).map(str::to_ascii_lowercase);
        let is_ours = text("exact")
            .map(|exact| exact == "websocket")
            .or_else(|| text("prefix").map(|prefix| "websocket".starts_with(&prefix)))
            .or_else(|| text("suffix").map(|suffix| "websocket".ends_with(&suffix)))
            .or_else(|| text("contains").map(|part| "websocket".contains(&part)));
        match is_ours {
            Some(true) => return Some(matcher.place()),
            Some(false) => {}
            None => {
                let what = "a pattern of ignore_http_11_upgrade is not read: it may take WebSockets out";
                notes.unread.push(Noted::new(matcher.place(), what));
            }
        }
    }
    None
}

/// The route configurations of a connection manager, or what is missing.
fn route_configs<'d>(config: NodeRef<'d>, sections: &Sections<'d>) -> Result<Vec<NodeRef<'d>>, String> {
    if let Some(inline) = config.at("routeConfig") {
        return Ok(vec![inline]);
    }
    let named = |name: &str| {
        let mut routes = sections.routes.iter().copied();
        routes
            .find(|route| text_at(*route, "name") == Some(name))
            .ok_or_else(|| format!("the dump does not have the route configuration {name}"))
    };
    if let Some(name) = text_at(config, "rds.routeConfigName") {
        return Ok(vec![named(name)?]);
    }
    let Some(scoped) = config.at("scopedRoutes") else {
        return Err("the connection manager says no routes".to_owned());
    };
    let scopes_name = text_at(scoped, "name");
    let sets = sections.scopes.iter().filter(|set| text_at(**set, "name") == scopes_name);
    let dumped = sets.flat_map(|set| items_at(*set, "scopedRouteConfigs"));
    let inline = items_at(scoped, "scopedRouteConfigurationsList.scopedRouteConfigurations");
    let routes: Result<Vec<_>, _> = dumped
        .chain(inline)
        .filter_map(|scope| text_at(scope, "routeConfigurationName"))
        .map(named)
        .collect();
    match routes {
        Ok(routes) if routes.is_empty() => Err("the dump does not have its scoped routes".to_owned()),
        routes => routes,
    }
}
