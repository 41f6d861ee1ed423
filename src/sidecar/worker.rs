//! One worker: a thread with a runtime, a listener socket and upstream connections of its own, as in Envoy. Workers
//! share no lock.

use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;
use std::sync::Arc;

use bytes::BytesMut;
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use tokio::net::{TcpListener, TcpStream};

use super::config::Proxy;
use super::downstream;
use super::drain_manager::DrainManager;
use super::http1::Http1;
use super::overload;
use super::routes::Routes;
use super::socket::Socket;
use super::stats::{Active, ConnectionManagerStats, WorkerStats};
use crate::access_log::{Entry, Protocol, Record, Sink};
use crate::drain::Drain;
use crate::mesh::HttpConnectionManager;
use crate::net::{self, Budget, arena};
use crate::tls::MutualTls;
use crate::tunnel::frame_header::PREFACE;

/// What the connections of one worker share.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) connection_manager: HttpConnectionManager,
    pub(super) routes: Routes,
    pub(super) stats: Arc<WorkerStats>,
    pub(super) drain_manager: Arc<DrainManager>,
    /// What its streams hold.
    pub(super) budget: Rc<Budget>,
    pub(super) mint_websocket_key: bool,
    mutual_tls: Option<MutualTls>,
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

    /// Accepts until the drain is forced. A graceful drain closes the listener.
    pub(super) async fn run(self: Rc<Self>, listener: TcpListener, drain: Drain) {
        loop {
            tokio::select! {
                (socket, remote) = net::accept(&listener) => {
                    tokio::task::spawn_local(Rc::clone(&self).serve(socket, remote));
                }
                () = drain.graceful.cancelled() => break,
            }
        }
        drop(listener);
        drain.forced.cancelled().await;
    }

    /// Serves a connection to its end. What only its beginning needs is on the heap: an open session keeps the rest for as
    /// long as it lives.
    fn serve(self: Rc<Self>, socket: TcpStream, remote: SocketAddr) -> impl Future<Output = ()> {
        let opening = Box::pin(self.open(socket, remote));
        async move {
            if let Some(serving) = opening.await {
                serving.await;
            }
        }
    }

    /// Finds out what is spoken on a connection.
    async fn open(
        self: Rc<Self>,
        socket: TcpStream,
        remote: SocketAddr,
    ) -> Option<LocalBoxFuture<'static, ()>> {
        let (mut socket, info) = self.secure(socket, remote).await?;
        let counted = &self.stats.connection_manager;
        let connection = Active::begin(counted, |stats| &stats.cx);
        // Envoy's codec type AUTO: the first bytes decide.
        let mut read = BytesMut::new();
        while read.len() < PREFACE.len() && PREFACE.starts_with(&read) {
            match std::future::poll_fn(|cx| arena::poll_read(&mut socket, cx, &[])).await {
                Ok(bytes) if !bytes.is_empty() => read.extend_from_slice(&bytes),
                _ => break,
            }
        }
        if read.starts_with(PREFACE) {
            let counted = (connection, Active::begin(counted, |stats| &stats.cx_http2));
            let serving = downstream::http2::serve(self, socket, read, info);
            Some(serving.map(|()| drop(counted)).boxed_local())
        } else if !read.is_empty() {
            let counted = (connection, Active::begin(counted, |stats| &stats.cx_http1));
            let serving = downstream::http1::serve(self, Box::new(Http1::new(socket, read)), info);
            Some(serving.map(|()| drop(counted)).boxed_local())
        } else {
            None
        }
    }

    /// What a connection does before HTTP. One that does not get through it leaves no line.
    async fn secure(&self, socket: TcpStream, remote: SocketAddr) -> Option<(Socket, ConnectionInfo)> {
        let local = socket.local_addr().ok()?;
        let Some(mutual_tls) = &self.mutual_tls else {
            return Some((socket.into(), ConnectionInfo { local, remote, tls: None }));
        };
        // On the heap: a handshake needs much more than what comes after it.
        match Box::pin(mutual_tls.accept(socket)).await {
            Ok(accepted) => {
                let tls = DownstreamTls {
                    requested_server_name: accepted.requested_server_name.map(Arc::from),
                    client_certificate: accepted.client_certificate,
                };
                Some((accepted.stream.into(), ConnectionInfo { local, remote, tls: Some(Rc::new(tls)) }))
            }
            Err(error) => {
                tracing::debug!("{remote}: {error}");
                None
            }
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

/// The record of a stream, which counts as active for as long: there is a line for every request that was counted.
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

/// What the streams of a downstream connection know of it (Envoy's `ConnectionInfoProvider`).
#[derive(Debug, Clone)]
pub(super) struct ConnectionInfo {
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
    /// With mutual TLS.
    pub(super) tls: Option<Rc<DownstreamTls>>,
}

/// What a downstream said of itself in its handshake.
#[derive(Debug)]
pub(super) struct DownstreamTls {
    /// `%REQUESTED_SERVER_NAME%`.
    requested_server_name: Option<Arc<str>>,
    /// An element of `x-forwarded-client-cert`.
    pub(super) client_certificate: String,
}

/// Runs one worker on this thread until its drain is forced; dropping the runtime then ends every open stream, each
/// leaving its line.
pub(super) fn run(
    proxy: &Proxy,
    stats: Arc<WorkerStats>,
    listener: std::net::TcpListener,
    sink: Sink,
    drain: Drain,
) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())?;
    runtime.block_on(async {
        let worker = Rc::new(Worker::new(proxy, stats, sink));
        tokio::task::spawn_local(overload::refresh(Rc::clone(&worker.budget)));
        worker.run(TcpListener::from_std(listener)?, drain).await;
        Ok(())
    })
}
