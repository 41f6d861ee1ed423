//! Route configurations of a dump: which routes take WebSockets, where these lead, and what ends
//! them there.

use super::fields::{self, ChangedField};
use super::filter::{self, DumpedFilter, FilterEffect};
use super::{Noted, Timer, is_true, items_at, number_at, text_at};
use crate::yaml::{NodeRef, Place};

/// Whether a handshake is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpgradeTaken {
    /// It is.
    Yes,
    /// Nobody switched it on: 403.
    NotEnabled,
    /// It is switched off here: 403.
    SwitchedOff(Place),
}

/// What a route does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouteTarget {
    /// It leads to these clusters.
    Clusters(Vec<(String, Place)>),
    /// It leads to a cluster that a request names, or that a plugin finds.
    Dynamic(&'static str),
    /// Envoy answers itself.
    Answer(&'static str),
}

/// A route.
#[derive(Debug, Clone)]
pub struct DumpedRoute {
    /// Where it is.
    pub place: Place,
    /// The virtual host that it is of.
    pub virtual_host: String,
    /// Its name, or what it matches.
    pub name: String,
    /// Whether handshakes may come to it at all: it asks for no other method, no gRPC and no CONNECT, and
    /// no route before it takes all that it matches.
    pub is_for_handshakes: bool,
    /// How many of a million requests that match it take it, if not all do, and where that is said.
    pub share: Option<(u64, Place)>,
    /// Whether it takes WebSockets.
    pub taken: UpgradeTaken,
    /// Where it leads.
    pub target: RouteTarget,
    /// What bounds the answer; Envoy's default is 15 s.
    pub timeout: Option<Timer>,
    /// What ends an idle stream.
    pub idle_timeout: Option<Timer>,
    /// What ends each stream.
    pub max_stream_duration: Option<Timer>,
    /// The filters that are on for it and not known to let WebSockets pass.
    pub filters: Vec<(String, FilterEffect)>,
    /// What is done to header fields that make a handshake one.
    pub changed: Vec<ChangedField>,
    /// Where its virtual host wants TLS (`require_tls`), and of whom.
    pub requires_tls: Option<(String, Place)>,
}

/// What the connection manager says where a route does not.
pub(super) struct Inherited<'m> {
    pub(super) takes: UpgradeTaken,
    pub(super) idle_timeout: Option<Timer>,
    pub(super) max_stream_duration: Option<Timer>,
    pub(super) filters: &'m [DumpedFilter],
}

/// Whether `upgrade_configs` has websocket: nothing, on, or switched off there.
pub(super) fn websocket(config: NodeRef<'_>) -> Option<UpgradeTaken> {
    let mut upgrades = items_at(config, "upgradeConfigs");
    let found = upgrades.find(|upgrade| {
        text_at(*upgrade, "upgradeType").is_some_and(|kind| kind.eq_ignore_ascii_case("websocket"))
    })?;
    let off = found.at("enabled").is_some_and(|enabled| enabled.to_json(str::to_owned) == false);
    Some(if off { UpgradeTaken::SwitchedOff(found.place()) } else { UpgradeTaken::Yes })
}

pub(super) fn read(
    config: NodeRef<'_>,
    inherited: &Inherited<'_>,
    unread: &mut Vec<Noted>,
) -> Vec<DumpedRoute> {
    if let Some(vhds) = config.at("vhds") {
        let name = text_at(config, "name").unwrap_or_default();
        unread.push(Noted::new(vhds.place(), format!("virtual hosts of {name} come on demand (vhds)")));
    }
    let mut routes = Vec::new();
    for host in items_at(config, "virtualHosts") {
        if let Some(matcher) = host.at("matcher") {
            let what = "routes in a matcher tree are not read: whether they take WebSockets was not judged";
            unread.push(Noted::new(matcher.place(), what));
        }
        // The first route that matches takes a request.
        let mut taken: Vec<&str> = Vec::new();
        for route in items_at(host, "routes") {
            let mut read = of([config, host, route], inherited);
            read.is_for_handshakes &= !taken.iter().any(|prefix| is_beneath(route, prefix));
            routes.push(read);
            taken.extend(whole_prefix(route));
        }
    }
    routes
}

fn of([config, host, route]: [NodeRef<'_>; 3], inherited: &Inherited<'_>) -> DumpedRoute {
    let action = route.at("route");
    let taken = action.and_then(websocket).unwrap_or_else(|| inherited.takes.clone());
    // What has no action has no timers.
    let set = |path: &str| Timer::set(action.unwrap_or(route), path);
    // The most specific says it: a cluster of several, the route, its virtual host, all of them.
    let weighted = action.into_iter().flat_map(|it| items_at(it, "weightedClusters.clusters"));
    let weighted: Vec<_> = weighted.filter(|cluster| number_at(*cluster, "weight") != Some(0)).collect();
    let paths: Vec<Vec<NodeRef<'_>>> = match &weighted[..] {
        [] => vec![vec![route, host, config]],
        clusters => clusters.iter().map(|cluster| vec![*cluster, route, host, config]).collect(),
    };
    let effects = |filter: &DumpedFilter| {
        let unsaid = if filter.is_disabled { FilterEffect::Passes } else { filter.effect.clone() };
        let effect = |levels: &Vec<NodeRef<'_>>| {
            let said = levels.iter().find_map(|level| filter::overridden(*level, filter));
            said.unwrap_or_else(|| unsaid.clone())
        };
        let mut effects: Vec<_> = paths.iter().map(effect).collect();
        effects.retain(|effect| *effect != FilterEffect::Passes);
        effects.dedup();
        let name = filter.name.clone();
        effects.into_iter().map(move |effect| (name.clone(), effect)).collect::<Vec<_>>()
    };
    let filters = inherited.filters.iter().flat_map(effects).collect();
    let levels = weighted.iter().copied().chain([route, host, config]);
    let changed = levels.flat_map(fields::of_level).collect();
    let requires_tls =
        host.at("requireTls").and_then(|field| Some((field.text()?.to_owned(), field.place())));
    let place = route.at("name").or_else(|| route.at("match")).unwrap_or(route).place();
    // Envoy's default, which nobody wrote.
    let timeout = set("timeout")
        .or_else(|| action.map(|_| Timer::default(std::time::Duration::from_secs(15), place.clone())));
    DumpedRoute {
        virtual_host: text_at(host, "name").unwrap_or("without a name").to_owned(),
        name: text_at(route, "name")
            .filter(|name| !name.is_empty())
            .map_or_else(|| matched(route), str::to_owned),
        is_for_handshakes: is_for_handshakes(route),
        share: route.at("match").and_then(share),
        taken,
        target: target(route, action),
        timeout,
        idle_timeout: set("idleTimeout").or_else(|| inherited.idle_timeout.clone()),
        max_stream_duration: set("maxStreamDuration.maxStreamDuration")
            .or_else(|| inherited.max_stream_duration.clone()),
        filters,
        changed,
        requires_tls: requires_tls.filter(|(of, _)| of != "NONE"),
        place,
    }
}

/// The prefix of a route that takes every request with it.
fn whole_prefix(route: NodeRef<'_>) -> Option<&str> {
    let matching = route.at("match")?;
    let has_more = matching.entries().any(|field| field.key() != Some("prefix"));
    text_at(matching, "prefix").filter(|_| !has_more)
}

/// Whether all that a route matches begins with a prefix; of a pattern that is not known.
fn is_beneath(route: NodeRef<'_>, prefix: &str) -> bool {
    let kinds = ["match.prefix", "match.path", "match.pathSeparatedPrefix"];
    let path = kinds.iter().find_map(|kind| text_at(route, kind));
    prefix == "/" || path.is_some_and(|path| path.starts_with(prefix))
}

/// How many of a million requests that match a route take it, where it is not for all of them
/// (`runtime_fraction`, which a runtime may set otherwise).
fn share(matching: NodeRef<'_>) -> Option<(u64, Place)> {
    let fraction = matching.at("runtimeFraction.defaultValue")?;
    let millionths = super::millionths(fraction);
    (millionths < super::MILLION).then(|| (millionths, fraction.place()))
}

/// Whether a handshake may match a route, which Envoy's codecs make a GET with `Upgrade: websocket`.
fn is_for_handshakes(route: NodeRef<'_>) -> bool {
    let Some(matching) = route.at("match") else { return true };
    if share(matching).is_some_and(|(millionths, _)| millionths == 0) {
        return false;
    }
    if matching.at("grpc").is_some() || matching.at("connectMatcher").is_some() {
        return false;
    }
    items_at(matching, "headers").all(|header| {
        let name = text_at(header, "name").unwrap_or_default().to_ascii_lowercase();
        let value = match &*name {
            ":method" => "GET",
            "upgrade" => "websocket",
            // Of the others anything may come.
            _ => return true,
        };
        let exact = text_at(header, "stringMatch.exact").or_else(|| text_at(header, "exactMatch"));
        let is_inverted = is_true(header, "invertMatch");
        let present = header.at("presentMatch").map(|_| is_true(header, "presentMatch"));
        match (exact, present) {
            (Some(exact), _) => exact.eq_ignore_ascii_case(value) != is_inverted,
            (None, Some(present)) => present != is_inverted,
            (None, None) => true,
        }
    })
}

/// What a route matches, in words.
fn matched(route: NodeRef<'_>) -> String {
    let path = ["prefix", "path", "pathSeparatedPrefix", "safeRegex.regex"].into_iter().find_map(|kind| {
        let value = text_at(route, &format!("match.{kind}"))?;
        Some(format!("{} {value}", kind.split('.').next().unwrap_or(kind)))
    });
    path.unwrap_or_else(|| "without a name".to_owned())
}

fn target(route: NodeRef<'_>, action: Option<NodeRef<'_>>) -> RouteTarget {
    let Some(action) = action else {
        return RouteTarget::Answer(match () {
            () if route.at("redirect").is_some() => "a redirect",
            () if route.at("directResponse").is_some() => "a direct response",
            () if is_true(route, "nonForwardingAction") => "no forwarding",
            () => "no action that is read",
        });
    };
    let name = |node: NodeRef<'_>| {
        let cluster = node.at("cluster").or_else(|| node.at("name"))?;
        Some((cluster.text()?.to_owned(), cluster.place()))
    };
    // To what has no weight nothing is sent.
    let weighted = items_at(action, "weightedClusters.clusters");
    let weighted = weighted.filter(|cluster| number_at(*cluster, "weight") != Some(0));
    let weighted: Vec<_> = weighted.filter_map(name).collect();
    match () {
        () if !weighted.is_empty() => RouteTarget::Clusters(weighted),
        () if action.at("cluster").is_some() => RouteTarget::Clusters(name(action).into_iter().collect()),
        () if action.at("clusterHeader").is_some() => RouteTarget::Dynamic("the cluster that a header names"),
        () => RouteTarget::Dynamic("a cluster that a plugin finds"),
    }
}
