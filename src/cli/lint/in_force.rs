//! What is in force in the proxies of `--config-dump`, for people, before the findings: a line for
//! each listener, connection manager, and way of its routes.

use std::fmt::Write;

use crate::escape::escape_line;
use crate::mesh::config_dump::{DumpedManager, DumpedProxy, DumpedRoute, RouteTarget, Timer, UpgradeTaken};
use crate::mesh::format_duration;

/// How many lines a connection manager's routes have at most; those beyond are counted.
const MAX_ROUTES: usize = 20;

/// All proxies, an empty line after each.
pub(super) fn overview(proxies: &[DumpedProxy]) -> String {
    proxies.iter().map(|proxy| of(proxy) + "\n").collect()
}

fn of(proxy: &DumpedProxy) -> String {
    let mut lines = Lines::default();
    let node = proxy.node.as_deref().unwrap_or("no node id");
    lines.add(0, &format!("in force in {} ({}, {node}):", proxy.place.file, proxy.side));
    for listener in &proxy.listeners {
        let direction =
            listener.direction.as_ref().map(|direction| format!(", {}", direction.to_lowercase()));
        let title =
            format!("listener {}, {}{}", listener.name, listener.state, direction.unwrap_or_default());
        lines.add(1, &title);
        for manager in &listener.managers {
            lines.add(2, &manager_line(manager));
            let Some(routes) = &manager.routes else {
                lines.add(3, "its routes are not in the dump");
                continue;
            };
            for route in routes.iter().take(MAX_ROUTES) {
                lines.add(3, &route_line(proxy, route));
            }
            if routes.len() > MAX_ROUTES {
                lines.add(3, &format!("and {} more routes", routes.len() - MAX_ROUTES));
            }
        }
        for tcp in &listener.tcp_proxies {
            let idle = timer(tcp.idle_timeout.as_ref(), "1h if it is not set");
            lines.add(2, &format!("TCP{}: a WebSocket is bytes; idle_timeout {idle}", chain(&tcp.chain)));
        }
    }
    lines.text
}

/// Lines, each harmless to a terminal.
#[derive(Default)]
struct Lines {
    text: String,
}

impl Lines {
    fn add(&mut self, depth: usize, line: &str) {
        // Writing into a text does not fail.
        let _ = writeln!(self.text, "{:width$}{}", "", escape_line(line), width = 2 * depth);
    }
}

fn chain(name: &str) -> String {
    if name.is_empty() { String::new() } else { format!(" ({name})") }
}

fn manager_line(manager: &DumpedManager) -> String {
    let types = match &manager.upgrade_types[..] {
        [] => "none".to_owned(),
        types => types.join(", "),
    };
    let state = if manager.allow_connect { "allowed" } else { "not allowed" };
    let http1 = if manager.takes_http1 { "" } else { ", HTTP/2 alone" };
    format!("HTTP{}{http1}: upgrade types: {types}; extended CONNECT: {state}", chain(&manager.chain))
}

fn route_line(proxy: &DumpedProxy, route: &DumpedRoute) -> String {
    let taken = match route.taken {
        _ if !route.is_for_handshakes => "do not match",
        _ if matches!(route.target, RouteTarget::Answer(_)) => "are answered",
        UpgradeTaken::Yes => "taken",
        UpgradeTaken::NotEnabled => "not enabled (403)",
        UpgradeTaken::SwitchedOff(_) => "switched off (403)",
    };
    let target = match &route.target {
        RouteTarget::Clusters(clusters) => {
            let names = clusters.iter().map(|(name, _)| match proxy.cluster(name) {
                Some(cluster) => format!("{name} ({})", cluster.protocol),
                None => format!("{name} (not in the dump)"),
            });
            names.collect::<Vec<_>>().join(", ")
        }
        RouteTarget::Dynamic(what) | RouteTarget::Answer(what) => (*what).to_owned(),
    };
    format!(
        "{} of {}: WebSockets {taken}; to {target}; timeout {}, idle {}, longest {}",
        route.name,
        route.virtual_host,
        timer(route.timeout.as_ref(), "off"),
        timer(route.idle_timeout.as_ref(), "off"),
        timer(route.max_stream_duration.as_ref(), "off"),
    )
}

fn timer(timer: Option<&Timer>, none: &str) -> String {
    match timer {
        Some(Timer { duration, is_default: true, .. }) => format!("{} (default)", format_duration(*duration)),
        Some(Timer { duration, .. }) => format_duration(*duration),
        None => none.to_owned(),
    }
}
