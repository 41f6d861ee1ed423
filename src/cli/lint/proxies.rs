//! What is in force in the proxies of `--config-dump`, as JSON: what the overview says in words. Its
//! form is described in `docs/lint.md`.

use schemars::JsonSchema;
use serde::Serialize;

use crate::mesh::config_dump::{
    DumpedListener, DumpedManager, DumpedProxy, DumpedRoute, DumpedTcpProxy, RouteTarget, Timer, UpgradeTaken,
};

/// A proxy.
#[derive(Serialize, JsonSchema)]
pub(super) struct JsonProxy<'p> {
    file: &'p str,
    side: String,
    node: Option<&'p str>,
    listeners: Vec<JsonListener<'p>>,
}

#[derive(Serialize, JsonSchema)]
struct JsonListener<'p> {
    name: &'p str,
    state: &'static str,
    direction: Option<&'p str>,
    http: Vec<JsonManager<'p>>,
    tcp: Vec<JsonTcpProxy<'p>>,
}

#[derive(Serialize, JsonSchema)]
struct JsonManager<'p> {
    filter_chain: &'p str,
    upgrade_types: &'p [String],
    extended_connect: bool,
    http1: bool,
    /// None if they are not in the dump.
    routes: Option<Vec<JsonRoute<'p>>>,
}

#[derive(Serialize, JsonSchema)]
struct JsonRoute<'p> {
    name: &'p str,
    virtual_host: &'p str,
    websockets: &'static str,
    clusters: Vec<JsonCluster<'p>>,
    /// Where it leads, if not to clusters that it names.
    elsewhere: Option<&'static str>,
    timeout: Option<f64>,
    idle_timeout: Option<f64>,
    max_stream_duration: Option<f64>,
}

#[derive(Serialize, JsonSchema)]
struct JsonCluster<'p> {
    name: &'p str,
    /// None if the cluster is not in the dump.
    protocol: Option<String>,
}

#[derive(Serialize, JsonSchema)]
struct JsonTcpProxy<'p> {
    filter_chain: &'p str,
    idle_timeout: Option<f64>,
}

impl<'p> JsonProxy<'p> {
    pub(super) fn of(proxy: &'p DumpedProxy) -> Self {
        Self {
            file: &proxy.place.file,
            side: proxy.side.to_string(),
            node: proxy.node.as_deref(),
            listeners: proxy.listeners.iter().map(|of| listener(proxy, of)).collect(),
        }
    }
}

fn listener<'p>(proxy: &'p DumpedProxy, of: &'p DumpedListener) -> JsonListener<'p> {
    JsonListener {
        name: &of.name,
        state: of.state,
        direction: of.direction.as_deref(),
        http: of.managers.iter().map(|of| manager(proxy, of)).collect(),
        tcp: of.tcp_proxies.iter().map(tcp_proxy).collect(),
    }
}

fn manager<'p>(proxy: &'p DumpedProxy, of: &'p DumpedManager) -> JsonManager<'p> {
    let routes = of.routes.as_ref();
    JsonManager {
        filter_chain: &of.chain,
        upgrade_types: &of.upgrade_types,
        extended_connect: of.allow_connect,
        http1: of.takes_http1,
        routes: routes.map(|routes| routes.iter().map(|of| route(proxy, of)).collect()),
    }
}

fn route<'p>(proxy: &'p DumpedProxy, of: &'p DumpedRoute) -> JsonRoute<'p> {
    let (clusters, elsewhere) = match &of.target {
        RouteTarget::Clusters(clusters) => (&clusters[..], None),
        RouteTarget::Dynamic(what) | RouteTarget::Answer(what) => (&[][..], Some(*what)),
    };
    let cluster = |name: &'p str| JsonCluster {
        name,
        protocol: proxy.cluster(name).map(|cluster| cluster.protocol.to_string()),
    };
    JsonRoute {
        name: &of.name,
        virtual_host: &of.virtual_host,
        websockets: match of.taken {
            _ if !of.is_for_handshakes => "not-matched",
            _ if matches!(of.target, RouteTarget::Answer(_)) => "answered",
            UpgradeTaken::Yes => "taken",
            UpgradeTaken::NotEnabled => "not-enabled",
            UpgradeTaken::SwitchedOff(_) => "switched-off",
        },
        clusters: clusters.iter().map(|(name, _)| cluster(name)).collect(),
        elsewhere,
        timeout: seconds(of.timeout.as_ref()),
        idle_timeout: seconds(of.idle_timeout.as_ref()),
        max_stream_duration: seconds(of.max_stream_duration.as_ref()),
    }
}

fn tcp_proxy(of: &DumpedTcpProxy) -> JsonTcpProxy<'_> {
    JsonTcpProxy { filter_chain: &of.chain, idle_timeout: seconds(of.idle_timeout.as_ref()) }
}

/// None if it is off.
fn seconds(timer: Option<&Timer>) -> Option<f64> {
    timer.map(|timer| timer.duration.as_secs_f64())
}
