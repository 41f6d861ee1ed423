//! What is wrong in a proxy that runs, by its `config_dump`; what two of them make of each other is
//! [`super::hop`]'s.

use std::collections::{BTreeSet, HashMap};

use super::finding::Finding;
use super::rules::{
    ALLOWS_NOBODY, BUFFER_FILTER, LITTLE_ROOM, MAX_CONNECTION_DURATION, MAX_STREAM_DURATION, NO_HOSTS,
    NO_ROOM, NO_SESSIONS, NO_WEBSOCKET_TAKEN, NOT_IN_FORCE, NOT_JUDGED, NOTHING_JUDGED, REJECTED_UPDATE,
    SESSION_LIMIT, STREAM_IDLE_TIMEOUT, TCP_IDLE_TIMEOUT, UNKNOWN_CLUSTER, UPGRADE_DISABLED, UPGRADE_REMOVED,
    VIRTUAL_SERVICE_TIMEOUT, WEBSOCKET_NOT_TAKEN,
};
use crate::mesh::config_dump::{
    ChangedField, DumpedFilter, DumpedListener, DumpedManager, DumpedProxy, DumpedReach, DumpedRoute,
    FilterEffect, HeaderLimits, RouteTarget, Side, Timer, UpgradeTaken,
};
use crate::mesh::format_duration;
use crate::mesh::rule::Rule;
use crate::yaml::Place;

/// No more sessions than this is worth saying: Istio sets the most that a number can be.
const MANY_SESSIONS: u64 = 1_000_000;

/// How much room heads need.
#[derive(Clone, Copy)]
struct Room {
    least: u64,
    usual: u64,
    kibibytes: u64,
}

/// Each handshake has five fields (RFC 6455 section 4.1), that of a browser about 14, and proxies add
/// theirs; its cookies may have some KiB.
const HANDSHAKE: Room = Room { least: 5, usual: 25, kibibytes: 4 };

/// Each answer has three (RFC 6455 section 4.2.2), and most have a date, a server and an extension, too.
const ANSWER: Room = Room { least: 3, usual: 10, kibibytes: 1 };

/// Finds what will go wrong in these proxies, and between them.
#[must_use]
pub fn lint_dumps(proxies: &[DumpedProxy]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for proxy in proxies {
        let mut found = Findings::default();
        check(proxy, &mut found);
        findings.append(&mut found.findings);
    }
    super::hop::check(proxies, &mut findings);
    told_once(findings)
}

/// What is found in more proxies than this in the same words is one finding.
const EACH: usize = 2;

/// Of findings in the same words the first stands for all: in a mesh hundreds of sidecars have the
/// same clusters.
fn told_once(findings: Vec<Finding>) -> Vec<Finding> {
    let mut alike: HashMap<(&str, String), usize> = HashMap::new();
    for finding in &findings {
        *alike.entry((finding.rule.code, finding.message.clone())).or_default() += 1;
    }
    alike.retain(|_, count| *count > EACH);
    let mut told = Vec::new();
    for mut finding in findings {
        let key = (finding.rule.code, finding.message.clone());
        match alike.get_mut(&key) {
            None => told.push(finding),
            // Told already.
            Some(0) => {}
            Some(count) => {
                let more = std::mem::take(count) - 1;
                finding.message = format!("{} (and in {more} more proxies)", finding.message);
                told.push(finding);
            }
        }
    }
    told
}

/// Findings of one proxy, each said once: a hundred filter chains may have one configuration.
#[derive(Default)]
struct Findings {
    findings: Vec<Finding>,
    said: BTreeSet<(&'static str, String)>,
}

impl Findings {
    fn add(&mut self, rule: &'static Rule, place: &Place, message: String) {
        if self.said.insert((rule.code, message.clone())) {
            self.findings.push(rule.at(place.clone(), message, ""));
        }
    }

    /// What a filter does to handshakes, unless it lets them pass.
    fn filter(&mut self, filter: &DumpedFilter, effect: &FilterEffect, of: &str) {
        let (rule, what) = match effect {
            FilterEffect::Buffers => (&BUFFER_FILTER, "waits for the end of a body"),
            FilterEffect::DeniesAll => (&ALLOWS_NOBODY, "allows no request"),
            FilterEffect::RemovesUpgrade => {
                (&UPGRADE_REMOVED, "removes header fields of handshakes, or writes over them")
            }
            FilterEffect::Passes => return,
            FilterEffect::Depends(what) => (&NOT_JUDGED, *what),
            FilterEffect::Unknown => {
                (&NOT_JUDGED, "is not known here: whether it lets WebSockets pass was not judged")
            }
        };
        self.add(rule, &filter.place, format!("the filter {} {of} {what}", filter.name));
    }

    /// What is done to fields of handshakes.
    fn changed(&mut self, changed: &[ChangedField], of: &str) {
        for ChangedField { what, place, breaks_all } in changed {
            if *breaks_all {
                self.add(&UPGRADE_REMOVED, place, format!("{what} {of}"));
            } else {
                let whose = "which breaks the handshakes that use it otherwise";
                self.add(&NOT_JUDGED, place, format!("{what} {of}, {whose}"));
            }
        }
    }

    /// Whether a head has room: `least` fields are what each has, `usual` what most have.
    fn limits(&mut self, limits: &HeaderLimits, Room { least, usual, kibibytes }: Room, of: &str) {
        if let Some((fields, place)) = limits.fields.as_ref().filter(|(fields, _)| *fields < usual) {
            let rule = if *fields < least { &NO_ROOM } else { &LITTLE_ROOM };
            self.add(rule, place, format!("max_headers_count is {fields}, {of}"));
        }
        if let Some((length, place)) = limits.kibibytes.as_ref().filter(|(length, _)| *length < kibibytes) {
            self.add(&LITTLE_ROOM, place, format!("a head has at most {length} KiB, {of}"));
        }
    }

    fn timer(&mut self, rule: &'static Rule, timer: Option<&Timer>, name: &str, of: &str) {
        let Some(Timer { duration, place, is_default }) = timer else { return };
        let set = if *is_default { "is not set, which is" } else { "is" };
        self.add(rule, place, format!("{name} {set} {}, {of}", format_duration(*duration)));
    }
}

/// The listeners of a proxy that sessions go through, on the side that it is.
pub(super) fn judged(proxy: &DumpedProxy) -> impl Iterator<Item = &DumpedListener> {
    let side = proxy.side;
    proxy.listeners.iter().filter(move |listener| {
        let other = match side {
            Side::Client => "INBOUND",
            Side::Server => "OUTBOUND",
            _ => return listener.is_for_sessions(),
        };
        listener.is_for_sessions() && listener.direction.as_deref() != Some(other)
    })
}

/// The routes of a connection manager that take WebSockets and lead somewhere.
pub(super) fn taking(manager: &DumpedManager) -> impl Iterator<Item = &DumpedRoute> {
    let routes = manager.routes.iter().flatten();
    routes.filter(|route| {
        let leads = !matches!(route.target, RouteTarget::Answer(_));
        route.taken == UpgradeTaken::Yes && route.is_for_handshakes && leads
    })
}

/// Whether a connection manager takes WebSockets at all; what has its routes elsewhere may.
fn takes_any(manager: &DumpedManager) -> bool {
    let versions = manager.takes_http1 || manager.allow_connect;
    versions
        && match &manager.routes {
            Some(_) => taking(manager).next().is_some(),
            None => manager.taken == UpgradeTaken::Yes,
        }
}

fn check(proxy: &DumpedProxy, found: &mut Findings) {
    for rejected in &proxy.rejected {
        found.add(&REJECTED_UPDATE, &rejected.place, rejected.what.clone());
    }
    for warming in &proxy.warming {
        found.add(&NOT_IN_FORCE, &warming.place, warming.what.clone());
    }
    for unread in &proxy.unread {
        found.add(&NOT_JUDGED, &unread.place, unread.what.clone());
    }
    let managers: Vec<_> = judged(proxy)
        .flat_map(|listener| listener.managers.iter().map(move |manager| (listener, manager)))
        .collect();
    let has_tcp = judged(proxy).any(|listener| !listener.tcp_proxies.is_empty());
    if managers.is_empty() {
        let what = match (has_tcp, proxy.listeners.is_empty()) {
            (true, _) => "the proxy has no HTTP connection manager here: WebSockets are bytes to it",
            (false, true) => "the dump has no listeners",
            (false, false) => "no listener of the dump takes HTTP on this side",
        };
        let rule = if has_tcp { &NOT_JUDGED } else { &NOTHING_JUDGED };
        found.add(rule, &proxy.place, what.to_owned());
    }
    let some = managers.iter().any(|(_, manager)| takes_any(manager));
    for (listener, manager) in &managers {
        if takes_any(manager) {
            continue;
        }
        let unknown = manager.routes.is_none() && (manager.takes_http1 || manager.allow_connect);
        let why = match () {
            () if !(manager.takes_http1 || manager.allow_connect) => {
                "takes HTTP/2 alone, without allow_connect"
            }
            // A route may switch it on that is not in the dump.
            () if unknown => continue,
            () => "has no route that takes the upgrade type websocket",
        };
        let rule = if some { &WEBSOCKET_NOT_TAKEN } else { &NO_WEBSOCKET_TAKEN };
        found.add(
            rule,
            &manager.place,
            format!("the listener {}{} {why}", listener.name, in_chain(&manager.chain)),
        );
    }
    for (listener, manager) in &managers {
        check_manager(proxy, listener, manager, found);
    }
    for listener in judged(proxy) {
        for tcp in &listener.tcp_proxies {
            let of = format!("in the TCP proxy of the listener {}{}", listener.name, in_chain(&tcp.chain));
            found.timer(&TCP_IDLE_TIMEOUT, tcp.idle_timeout.as_ref(), "idle_timeout", &of);
            let name = "max_downstream_connection_duration";
            found.timer(&MAX_STREAM_DURATION, tcp.max_duration.as_ref(), name, &of);
        }
    }
}

/// Of a chain without a name nothing is said.
fn in_chain(chain: &str) -> String {
    if chain.is_empty() { String::new() } else { format!(" (filter chain {chain})") }
}

fn check_manager(
    proxy: &DumpedProxy,
    listener: &DumpedListener,
    manager: &DumpedManager,
    found: &mut Findings,
) {
    let of = format!("in the listener {}", listener.name);
    if takes_any(manager) {
        found.limits(&manager.limits, HANDSHAKE, &of);
        found.changed(&manager.changed, &of);
        let duration = manager.max_connection_duration.as_ref();
        found.timer(&MAX_CONNECTION_DURATION, duration, "max_connection_duration", &of);
        if let Some(place) = manager.ignores_upgrade.as_ref().filter(|_| manager.takes_http1) {
            let message = format!("ignore_http_11_upgrade takes Upgrade from handshakes over HTTP/1.1 {of}");
            found.add(&UPGRADE_REMOVED, place, message);
        }
    }
    for route in manager.routes.iter().flatten() {
        if let UpgradeTaken::SwitchedOff(place) = &route.taken
            && !matches!(route.target, RouteTarget::Answer(_))
            && route.is_for_handshakes
        {
            let message =
                format!("websocket is switched off for the route {} of {}", route.name, route.virtual_host);
            found.add(&UPGRADE_DISABLED, place, message);
        }
    }
    for route in taking(manager) {
        found.timer(&STREAM_IDLE_TIMEOUT, route.idle_timeout.as_ref(), "the idle timeout of streams", &of);
        found.timer(&MAX_STREAM_DURATION, route.max_stream_duration.as_ref(), "max_stream_duration", &of);
        let to = format!("for the route {} of {}", route.name, route.virtual_host);
        let written = route.timeout.as_ref().filter(|timer| !timer.is_default);
        found.timer(&VIRTUAL_SERVICE_TIMEOUT, written, "timeout", &to);
        for (name, effect) in &route.filters {
            let Some(filter) = manager.filters.iter().find(|filter| filter.name == *name) else { continue };
            found.filter(filter, effect, &of);
        }
        found.changed(&route.changed, &to);
        if let Some((millionths, place)) = &route.share {
            let message =
                format!("{millionths} of a million handshakes that match take it (runtime_fraction) {to}");
            found.add(&NOT_JUDGED, place, message);
        }
        if let Some((of, place)) = route.requires_tls.as_ref().filter(|_| manager.has_tls != Some(true)) {
            let message = format!(
                "the virtual host {} requires TLS ({of}): a handshake that comes here without, and without \
                 x-forwarded-proto: https from a proxy in front, is redirected (301)",
                route.virtual_host
            );
            found.add(&NOT_JUDGED, place, message);
        }
        match &route.target {
            RouteTarget::Clusters(clusters) => {
                for (name, place) in clusters {
                    check_cluster(proxy, name, place, found);
                }
            }
            RouteTarget::Dynamic(what) => {
                let message = format!("the route {} of {} leads to {what}", route.name, route.virtual_host);
                found.add(&NOT_JUDGED, &route.place, message);
            }
            RouteTarget::Answer(_) => {}
        }
    }
}

fn check_cluster(proxy: &DumpedProxy, name: &str, place: &Place, found: &mut Findings) {
    let Some(cluster) = proxy.cluster(name) else {
        let (rule, problem) = if proxy.has_clusters {
            (&UNKNOWN_CLUSTER, "which the proxy does not have")
        } else {
            (&NOT_JUDGED, "which the dump does not show")
        };
        found.add(rule, place, format!("a route leads to the cluster {name}, {problem}"));
        return;
    };
    let of = format!("in the cluster {name}");
    found.timer(&MAX_STREAM_DURATION, cluster.max_stream_duration.as_ref(), "max_stream_duration", &of);
    let duration = cluster.max_connection_duration.as_ref();
    found.timer(&MAX_CONNECTION_DURATION, duration, "max_connection_duration", &of);
    found.limits(&cluster.limits, ANSWER, &of);
    for filter in cluster.filters.iter().filter(|filter| !filter.is_disabled) {
        found.filter(filter, &filter.effect, &of);
    }
    match &cluster.reach {
        DumpedReach::Hosts => {}
        DumpedReach::NoHosts(place) => {
            found.add(&NO_HOSTS, place, format!("the cluster {name} has no hosts"));
        }
        DumpedReach::NoHealthyHosts(place) => {
            let message =
                format!("no host of the cluster {name} is healthy, and its healthy_panic_threshold is 0");
            found.add(&NO_HOSTS, place, message);
        }
        DumpedReach::Drops(1_000_000, place) => {
            found.add(&NO_HOSTS, place, format!("drop_overloads drops every request to the cluster {name}"));
        }
        DumpedReach::Drops(millionths, place) => {
            let message = format!(
                "drop_overloads answers {millionths} of a million requests to the cluster {name} with 503 (DO)"
            );
            found.add(&NOT_JUDGED, place, message);
        }
    }
    if let Some((breaker, place)) = &cluster.takes_none {
        found.add(&NO_SESSIONS, place, format!("{breaker} is 0 {of}"));
        return;
    }
    let (limit, limit_place) = &cluster.max_sessions;
    if *limit < MANY_SESSIONS {
        let message = format!("at most {limit} sessions at a time to the cluster {name}, for each Envoy");
        found.add(&SESSION_LIMIT, limit_place, message);
    }
}
