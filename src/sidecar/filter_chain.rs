//! What the connections of one filter chain share in one worker. A worker is a thread with listeners,
//! a runtime and upstream connections of its own, as in Envoy; workers share no lock. A sidecar's
//! worker has one chain.

use std::ops::{Deref, DerefMut};
use std::rc::Rc;
use std::sync::Arc;

use super::config::{ChainConfig, Proxy, Transport};
use super::connection_info::ConnectionInfo;
use super::downstream_tasks::DownstreamTasks;
use super::drain_manager::DrainManager;
use super::routes::{Clusters, Routes};
use super::stats::{Active, ConnectionManagerStats, WorkerStats};
use crate::access_log::{Entry, Protocol, Record, ResponseFlag, Sink};
use crate::mesh::HttpConnectionManager;
use crate::net::Budget;

/// See the module.
#[derive(Debug)]
pub(super) struct FilterChain {
    pub(super) connection_manager: HttpConnectionManager,
    pub(super) routes: Routes,
    pub(super) stats: Arc<WorkerStats>,
    pub(super) drain_manager: Arc<DrainManager>,
    /// The memory that the streams of the worker hold.
    pub(super) budget: Rc<Budget>,
    /// The streams of HTTP/2 connections run here.
    pub(super) tasks: DownstreamTasks,
    pub(super) mint_websocket_key: bool,
    pub(super) transport: Transport,
    server_names: Vec<String>,
    sink: Sink,
}

/// The filter chains of a listener.
#[derive(Debug, Clone)]
pub(super) struct FilterChains(Rc<[Rc<FilterChain>]>);

impl FilterChains {
    /// Those of each listener of the proxy, in one worker.
    pub(super) fn of_all_listeners(
        proxy: &Proxy,
        stats: &Arc<WorkerStats>,
        budget: &Rc<Budget>,
        tasks: &DownstreamTasks,
        sink: &Sink,
    ) -> Vec<Self> {
        let mut clusters = Clusters::new(proxy, stats, budget);
        let mut chain = |config: &ChainConfig| {
            Rc::new(FilterChain {
                connection_manager: config.connection_manager.clone(),
                routes: Routes::new(&config.virtual_hosts, &mut clusters),
                stats: Arc::clone(stats),
                drain_manager: Arc::clone(&proxy.drain_manager),
                budget: Rc::clone(budget),
                tasks: tasks.clone(),
                mint_websocket_key: proxy.mint_websocket_key,
                transport: config.transport.clone(),
                server_names: config.server_names.clone(),
                sink: sink.clone(),
            })
        };
        proxy.listeners.iter().map(|chains| Self(chains.iter().map(&mut chain).collect())).collect()
    }

    /// The only chain of a listener that does not look for a server name.
    pub(super) fn only(&self) -> Option<&Rc<FilterChain>> {
        match &*self.0 {
            [only] if !matches!(only.transport, Transport::Terminated(_)) => Some(only),
            _ => None,
        }
    }

    /// The chain for a server name: one that has it, else the longest suffix of it, else one for all.
    pub(super) fn find(&self, server_name: Option<&str>) -> Option<&Rc<FilterChain>> {
        let best = |chain: &Rc<FilterChain>| {
            let names = chain.server_names.iter();
            let fits = names.filter_map(|name| specificity(name, server_name?)).max();
            if chain.server_names.is_empty() { Some(0) } else { fits }
        };
        // Of equals the first.
        let fitting = self.0.iter().filter_map(|chain| Some((best(chain)?, chain)));
        fitting.reduce(|one, next| if next.0 > one.0 { next } else { one }).map(|(_, chain)| chain)
    }

    /// Leaves the line of a connection that no chain is for: the listener's own.
    pub(super) fn note_not_found(&self, info: &ConnectionInfo, server_name: Option<String>) {
        let Some(first) = self.0.first() else { return };
        let mut entry = Entry::new(info.local, info.remote);
        entry.requested_server_name = server_name.map(Arc::from);
        entry.response_flags.set(ResponseFlag::NoRouteFound);
        entry.response_code_details = Some("filter_chain_not_found".into());
        Record::start(entry, &first.sink).finish();
    }
}

/// How well a chain's server name fits the one that is asked for, if it does.
fn specificity(name: &str, asked: &str) -> Option<usize> {
    match name.strip_prefix('*') {
        Some(suffix) => (asked.len() > suffix.len() && asked.ends_with(suffix)).then_some(suffix.len()),
        None => (name == asked).then_some(usize::MAX),
    }
}

impl FilterChain {
    /// Starts the record of a stream that begins now, and counts it.
    pub(super) fn record(&self, info: &ConnectionInfo, protocol: Protocol) -> CountedRecord {
        let stats = &self.stats.connection_manager;
        let total = if protocol == Protocol::Http2 { &stats.rq_http2_total } else { &stats.rq_http1_total };
        total.increment();
        let mut entry = Entry::new(info.local, info.remote);
        entry.requested_server_name = info.tls.as_ref().and_then(|tls| tls.requested_server_name.clone());
        entry.protocol = Some(protocol);
        let record = Record::start(entry, &self.sink);
        CountedRecord { record, _counted: Active::begin(stats, |stats| &stats.rq) }
    }
}

/// The record of a stream. The request counts as active for as long as the record exists: every
/// request that was counted has a line.
#[derive(Debug)]
pub(super) struct CountedRecord {
    record: Record,
    _counted: Active<ConnectionManagerStats>,
}

impl CountedRecord {
    /// Emits the line of a stream that ended by itself.
    pub(super) fn finish(self) {
        self.record.finish();
    }
}

impl Deref for CountedRecord {
    type Target = Record;

    fn deref(&self) -> &Record {
        &self.record
    }
}

impl DerefMut for CountedRecord {
    fn deref_mut(&mut self) -> &mut Record {
        &mut self.record
    }
}
