//! The statistics of a sidecar, under Envoy's names.
//!
//! Every worker counts for itself, with plain loads and stores and no lock; the admin port adds the
//! workers up when it is asked. The tables below have all names.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;

use crate::mesh::VirtualHost;
use crate::telemetry::Counter;

/// A statistic, with one or several numbers.
trait Named {
    /// Shows each number with its name.
    fn visit(&self, names: &[&str], see: &mut impl FnMut(&str, Reading));
}

impl Named for Counter {
    fn visit(&self, names: &[&str], see: &mut impl FnMut(&str, Reading)) {
        see(names[0], Reading::counter(self.get()));
    }
}

/// Counts things that begin and end: a gauge of the active ones and, where they have names,
/// counters of those that ever began and of those that ended.
#[derive(Debug, Default)]
pub(super) struct Lifetimes {
    begun: Counter,
    ended: Counter,
}

impl Named for Lifetimes {
    /// `names`: active, total, destroyed.
    fn visit(&self, names: &[&str], see: &mut impl FnMut(&str, Reading)) {
        let (ended, begun) = (self.ended.get(), self.begun.get());
        let active = Reading { kind: Kind::Gauge, value: begun.saturating_sub(ended), used: begun > 0 };
        see(names[0], active);
        for (name, value) in names[1..].iter().zip([begun, ended]) {
            see(name, Reading::counter(value));
        }
    }
}

/// One thing that has begun; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Active<S> {
    scope: Arc<S>,
    of: fn(&S) -> &Lifetimes,
}

impl<S> Active<S> {
    /// Begins one of the things that `of` counts.
    pub(super) fn begin(scope: &Arc<S>, of: fn(&S) -> &Lifetimes) -> Self {
        of(scope).begun.increment();
        Self { scope: Arc::clone(scope), of }
    }
}

impl<S> Deref for Active<S> {
    type Target = S;

    fn deref(&self) -> &S {
        &self.scope
    }
}

impl<S> Drop for Active<S> {
    fn drop(&mut self) {
        (self.of)(&self.scope).ended.increment();
    }
}

/// Responses by the class of their status.
#[derive(Debug, Default)]
pub(super) struct Classes([Counter; 5]);

impl Classes {
    pub(super) fn count(&self, status: http::StatusCode) {
        if let Some(class) = self.0.get(usize::from(status.as_u16() / 100).wrapping_sub(1)) {
            class.increment();
        }
    }
}

impl Named for Classes {
    fn visit(&self, names: &[&str], see: &mut impl FnMut(&str, Reading)) {
        let family = names[0];
        see(&format!("{family}_completed"), Reading::counter(self.0.iter().map(Counter::get).sum()));
        for (class, counter) in (1..).zip(&self.0) {
            see(&format!("{family}_{class}xx"), Reading::counter(counter.get()));
        }
    }
}

/// Responses by their status. Only statuses that were seen have a name, as in Envoy.
#[derive(Debug)]
pub(super) struct Codes {
    classes: Classes,
    /// From 100 to 599.
    codes: [Counter; 500],
}

impl Default for Codes {
    fn default() -> Self {
        Self { classes: Classes::default(), codes: std::array::from_fn(|_| Counter::default()) }
    }
}

impl Codes {
    pub(super) fn count(&self, status: http::StatusCode) {
        self.classes.count(status);
        if let Some(code) = self.codes.get(usize::from(status.as_u16()) - 100) {
            code.increment();
        }
    }
}

impl Named for Codes {
    fn visit(&self, names: &[&str], see: &mut impl FnMut(&str, Reading)) {
        self.classes.visit(names, see);
        for (code, counter) in (100..).zip(&self.codes).filter(|(_, counter)| counter.get() > 0) {
            see(&format!("{}_{code}", names[0]), Reading::counter(counter.get()));
        }
    }
}

/// A part of the names with a common beginning. Aligned so that no two workers write to one cache
/// line (128 bytes: x86 fetches lines in pairs).
macro_rules! scope {
    ($(#[$about:meta])* $scope:ident { $($field:ident: $kind:ident($($name:literal),+);)+ }) => {
        $(#[$about])*
        #[derive(Debug, Default)]
        #[repr(align(128))]
        pub(super) struct $scope { $(pub(super) $field: $kind,)+ }

        impl $scope {
            fn visit(&self, see: &mut impl FnMut(&str, Reading)) {
                $(self.$field.visit(&[$($name),+], see);)+
            }
        }
    };
}

scope! {
    /// `http.STAT_PREFIX.`: the HTTP connection manager.
    ConnectionManagerStats {
        cx: Lifetimes("downstream_cx_active", "downstream_cx_total", "downstream_cx_destroy");
        cx_http1: Lifetimes("downstream_cx_http1_active", "downstream_cx_http1_total");
        cx_http2: Lifetimes("downstream_cx_http2_active", "downstream_cx_http2_total");
        cx_upgrades: Lifetimes("downstream_cx_upgrades_active", "downstream_cx_upgrades_total");
        cx_drain_close: Counter("downstream_cx_drain_close");
        cx_protocol_error: Counter("downstream_cx_protocol_error");
        rq: Lifetimes("downstream_rq_active", "downstream_rq_total");
        rq_http1_total: Counter("downstream_rq_http1_total");
        rq_http2_total: Counter("downstream_rq_http2_total");
        rq_completed: Classes("downstream_rq");
        rq_rx_reset: Counter("downstream_rq_rx_reset");
        rq_tx_reset: Counter("downstream_rq_tx_reset");
        rq_idle_timeout: Counter("downstream_rq_idle_timeout");
        rq_max_duration_reached: Counter("downstream_rq_max_duration_reached");
        rq_response_before_complete: Counter("downstream_rq_response_before_rq_complete");
        rq_ws_on_non_ws_route: Counter("downstream_rq_ws_on_non_ws_route");
        no_route: Counter("no_route");
        no_cluster: Counter("no_cluster");
        rq_direct_response: Counter("rq_direct_response");
    }
}

scope! {
    /// `http2.`: the codec of the listener.
    Http2Stats {
        streams: Lifetimes("streams_active");
        goaway_sent: Counter("goaway_sent");
    }
}

scope! {
    /// The overload manager.
    OverloadStats {
        reset_high_memory_stream: Counter("envoy.overload_actions.reset_high_memory_stream.count");
        strained: Lifetimes("overload.envoy.overload_actions.reset_high_memory_stream.active");
    }
}

scope! {
    /// `cluster.NAME.`
    ClusterStats {
        cx: Lifetimes("upstream_cx_active", "upstream_cx_total", "upstream_cx_destroy");
        cx_http1_total: Counter("upstream_cx_http1_total");
        cx_http2_total: Counter("upstream_cx_http2_total");
        cx_connect_fail: Counter("upstream_cx_connect_fail");
        cx_connect_timeout: Counter("upstream_cx_connect_timeout");
        cx_none_healthy: Counter("upstream_cx_none_healthy");
        rq: Lifetimes("upstream_rq_active", "upstream_rq_total");
        rq_pending: Lifetimes("upstream_rq_pending_active", "upstream_rq_pending_total");
        rq_completed: Codes("upstream_rq");
        rq_retry: Counter("upstream_rq_retry");
        rq_retry_success: Counter("upstream_rq_retry_success");
        rq_retry_limit_exceeded: Counter("upstream_rq_retry_limit_exceeded");
        rq_timeout: Counter("upstream_rq_timeout");
        rq_rx_reset: Counter("upstream_rq_rx_reset");
        rq_tx_reset: Counter("upstream_rq_tx_reset");
        http2_streams: Lifetimes("http2.streams_active");
    }
}

/// The statistics of one worker.
#[derive(Debug, Default)]
pub(super) struct WorkerStats {
    pub(super) connection_manager: Arc<ConnectionManagerStats>,
    pub(super) http2: Arc<Http2Stats>,
    pub(super) overload: Arc<OverloadStats>,
    clusters: BTreeMap<String, Arc<ClusterStats>>,
}

impl WorkerStats {
    /// Nothing counted yet, for the clusters that these virtual hosts lead to.
    pub(super) fn new<'h>(virtual_hosts: impl Iterator<Item = &'h VirtualHost>) -> Self {
        let routes = virtual_hosts.flat_map(|virtual_host| &virtual_host.routes);
        let clusters = routes.flat_map(|route| route.action.clusters());
        let clusters = clusters.map(|cluster| (cluster.name.clone(), Arc::default()));
        Self { clusters: clusters.collect(), ..Self::default() }
    }

    /// The scope of a cluster, which two virtual hosts may share.
    pub(super) fn cluster(&self, name: &str) -> Arc<ClusterStats> {
        self.clusters.get(name).map(Arc::clone).unwrap_or_default()
    }
}

/// Whether a number can go down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Counter,
    Gauge,
}

/// One number as it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reading {
    pub(super) kind: Kind,
    pub(super) value: u64,
    /// It was ever written to (Envoy's `usedonly`).
    pub(super) used: bool,
}

impl Reading {
    fn counter(value: u64) -> Self {
        Self { kind: Kind::Counter, value, used: value > 0 }
    }

    pub(super) fn gauge(value: u64) -> Self {
        Self { kind: Kind::Gauge, value, used: true }
    }
}

/// Whose number it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Scope {
    /// `cluster.NAME.`
    Cluster(String),
    /// `http.STAT_PREFIX.`
    ConnectionManager(String),
    /// `http2.`
    Http2,
    /// The overload manager's, under two prefixes: the names are whole.
    Overload,
    /// `server.`
    Server,
}

/// All numbers by scope and name, the workers' added up.
pub(super) type Snapshot = BTreeMap<(Scope, String), Reading>;

/// Reads what the workers have counted so far.
pub(super) fn snapshot(workers: &[Arc<WorkerStats>], stat_prefix: &str) -> Snapshot {
    let mut snapshot = Snapshot::new();
    for worker in workers {
        let connection_manager = Scope::ConnectionManager(stat_prefix.to_owned());
        worker.connection_manager.visit(&mut add(&mut snapshot, connection_manager));
        worker.http2.visit(&mut add(&mut snapshot, Scope::Http2));
        worker.overload.visit(&mut add(&mut snapshot, Scope::Overload));
        for (name, cluster) in &worker.clusters {
            cluster.visit(&mut add(&mut snapshot, Scope::Cluster(name.clone())));
        }
    }
    // As in Envoy, what a codec counts has a name from its first use.
    snapshot.retain(|(scope, name), reading| {
        reading.used || (*scope != Scope::Http2 && !name.starts_with("http2."))
    });
    snapshot
}

fn add(snapshot: &mut Snapshot, scope: Scope) -> impl FnMut(&str, Reading) {
    move |name, reading| {
        let sum = snapshot.entry((scope.clone(), name.to_owned())).or_insert(Reading {
            value: 0,
            used: false,
            ..reading
        });
        sum.value += reading.value;
        sum.used |= reading.used;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(workers: &[Arc<WorkerStats>], name: &str) -> Reading {
        let scope = Scope::ConnectionManager("inbound_0.0.0.0_80;".into());
        snapshot(workers, "inbound_0.0.0.0_80;")[&(scope, name.to_owned())]
    }

    #[test]
    fn the_numbers_of_all_workers_are_added_up() {
        let workers = [Arc::new(WorkerStats::default()), Arc::new(WorkerStats::default())];
        let first = Active::begin(&workers[0].connection_manager, |scope| &scope.cx);
        let second = Active::begin(&workers[1].connection_manager, |scope| &scope.cx);
        assert_eq!(read(&workers, "downstream_cx_total").value, 2);
        assert_eq!(read(&workers, "downstream_cx_active").value, 2);
        drop(first);
        assert_eq!(read(&workers, "downstream_cx_active").value, 1);
        assert_eq!(read(&workers, "downstream_cx_destroy").value, 1);
        drop(second);
        assert_eq!(read(&workers, "downstream_cx_active"), Reading::gauge(0));
        assert!(!read(&workers, "downstream_cx_upgrades_active").used);
    }

    #[test]
    fn a_response_counts_for_its_class_and_as_completed() {
        let worker = [Arc::new(WorkerStats::default())];
        for status in [101, 404, 503, 999] {
            let status = http::StatusCode::from_u16(status).unwrap();
            worker[0].connection_manager.rq_completed.count(status);
            ClusterStats::default().rq_completed.count(status);
        }
        assert_eq!(read(&worker, "downstream_rq_1xx").value, 1);
        assert_eq!(read(&worker, "downstream_rq_5xx").value, 1);
        assert_eq!(read(&worker, "downstream_rq_completed").value, 3);
    }
}
