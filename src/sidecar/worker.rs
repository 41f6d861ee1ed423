//! What the connections of one worker share. A worker is a thread with a listener, a runtime and
//! upstream connections of its own, as in Envoy; workers share no lock.

use std::ops::{Deref, DerefMut};
use std::rc::Rc;
use std::sync::Arc;

use super::config::Proxy;
use super::connection_info::ConnectionInfo;
use super::drain_manager::DrainManager;
use super::overload;
use super::routes::Routes;
use super::stats::{Active, ConnectionManagerStats, WorkerStats};
use crate::access_log::{Entry, Protocol, Record, Sink};
use crate::mesh::HttpConnectionManager;
use crate::net::Budget;
use crate::tls::MutualTls;

/// See the module.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) connection_manager: HttpConnectionManager,
    pub(super) routes: Routes,
    pub(super) stats: Arc<WorkerStats>,
    pub(super) drain_manager: Arc<DrainManager>,
    /// The memory that its streams hold.
    pub(super) budget: Rc<Budget>,
    pub(super) mint_websocket_key: bool,
    /// The listener takes TLS alone.
    pub(super) mutual_tls: Option<MutualTls>,
    sink: Sink,
}

impl Worker {
    pub(super) fn new(proxy: &Proxy, stats: Arc<WorkerStats>, sink: Sink) -> Self {
        let budget = overload::budget(proxy.buffered_bytes, Arc::clone(&stats.overload));
        Self {
            connection_manager: proxy.connection_manager.clone(),
            routes: Routes::new(proxy, &stats, &budget),
            budget,
            stats,
            drain_manager: Arc::clone(&proxy.drain_manager),
            mint_websocket_key: proxy.mint_websocket_key,
            mutual_tls: proxy.downstream_tls.clone(),
            sink,
        }
    }

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
