//! A cluster at work: its one host, and the connections to it that this worker has.

use std::borrow::Cow;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::super::http1::Http1;
use super::super::reset::UpstreamReset;
use super::super::socket::Socket;
use super::super::stats::{Active, ClusterStats};
use super::Ready;
use super::http1_pool::Http1Pool;
use super::http2_pool::{Dialled, Http2Pool, Lifetime};
use crate::access_log::Protocol;
use crate::mesh::{self, UpstreamProtocol};
use crate::net::{self, Budget, ConnectError};
use crate::tls::{self, HandshakeError, MutualTls};
use crate::tunnel::{self, Settings};

/// Envoy's default windows of an upstream connection, which Istio leaves as they are: 16 MiB a
/// stream, 24 MiB in all.
const STREAM_WINDOW: u32 = 16 << 20;
const CONNECTION_WINDOW: u32 = 24 << 20;

/// Envoy's default of `max_concurrent_streams`, announced to the upstream whatever is configured
/// for this side's streams.
const ANNOUNCED_STREAMS: u32 = 1024;

/// A cluster of one worker.
#[derive(Debug)]
pub(in crate::sidecar) struct Cluster {
    /// `%UPSTREAM_CLUSTER_RAW%`.
    pub(in crate::sidecar) name: Arc<str>,
    /// The one host; `None`: the cluster has none.
    pub(in crate::sidecar) host: Option<SocketAddr>,
    /// Its statistics.
    pub(in crate::sidecar) stats: Arc<ClusterStats>,
    /// The memory that its HTTP/2 streams hold is charged to this.
    budget: Rc<Budget>,
    config: mesh::Cluster,
    bind_source: Option<IpAddr>,
    /// With mutual TLS.
    tls: Option<Rc<tls::Upstream>>,
    http1: Http1Pool,
    http2: Http2Pool,
}

impl Cluster {
    pub(in crate::sidecar) fn new(
        config: mesh::Cluster,
        host: Option<SocketAddr>,
        bind_source: Option<IpAddr>,
        mutual_tls: Option<&MutualTls>,
        stats: Arc<ClusterStats>,
        budget: Rc<Budget>,
    ) -> Self {
        let tls = mutual_tls.zip(config.sni.as_deref());
        let tls = tls.map(|(mutual_tls, sni)| mutual_tls.upstream(sni, &config.subject_alt_names));
        Self {
            tls: tls.map(Rc::new),
            name: config.name.as_str().into(),
            host,
            stats,
            budget,
            config,
            bind_source,
            http1: Http1Pool::default(),
            http2: Http2Pool::default(),
        }
    }

    /// A connection or stream for one request.
    ///
    /// # Errors
    /// [`UpstreamReset`]: the connection could not be opened.
    pub(in crate::sidecar) async fn take(
        &self,
        host: SocketAddr,
        downstream: Protocol,
    ) -> Result<Ready, UpstreamReset> {
        let http2 = match self.config.protocol {
            UpstreamProtocol::Http1 => false,
            UpstreamProtocol::Http2 => true,
            UpstreamProtocol::UseDownstream => downstream == Protocol::Http2,
        };
        let (source, limit) = (self.bind_source, self.config.connect_timeout);
        if !http2 {
            if let Some((connection, local_address)) = self.http1.take() {
                return Ok(Ready::Http1(connection, local_address));
            }
            let _pending = Active::begin(&self.stats, |stats| &stats.rq_pending);
            let counted = Active::begin(&self.stats, |stats| &stats.cx);
            self.stats.cx_http1_total.increment();
            // On the heap: a request that finds a connection does not need it.
            let dialled = Box::pin(dial(host, source, limit, self.tls.as_deref(), false)).await;
            let (socket, local_address) = noted(dialled, &self.stats)?;
            return Ok(Ready::Http1(Box::new(Http1::to_upstream(socket, counted)), local_address));
        }
        let dial = || self.dial_http2(host);
        let max_streams = self.config.max_concurrent_streams as usize;
        let lifetime = Lifetime {
            idle_timeout: self.config.idle_timeout,
            max_connection_duration: self.config.max_connection_duration,
        };
        let lease = self.http2.take(max_streams, lifetime, dial, &self.stats).await?;
        Ok(Ready::Http2(lease))
    }

    /// Opens an HTTP/2 connection; it does not end with the request that it is opened for.
    fn dial_http2(
        &self,
        host: SocketAddr,
    ) -> impl Future<Output = Result<Dialled<impl Future<Output = ()> + use<>>, UpstreamReset>> + use<> {
        let (source, limit) = (self.bind_source, self.config.connect_timeout);
        let (stats, tls, budget) = (Arc::clone(&self.stats), self.tls.clone(), Rc::clone(&self.budget));
        async move {
            let counted = Active::begin(&stats, |stats| &stats.cx);
            stats.cx_http2_total.increment();
            let dialled = dial(host, source, limit, tls.as_deref(), true).await;
            let (socket, local_address) = noted(dialled, &stats)?;
            let settings = Settings {
                allow_connect: false,
                max_concurrent_streams: ANNOUNCED_STREAMS,
                initial_stream_window_size: STREAM_WINDOW,
                initial_connection_window_size: CONNECTION_WINDOW,
            };
            let (client, driver) = tunnel::connect(socket, &settings, budget).await?;
            // Every stream on the connection has been told how it ended.
            let driver = async move {
                let _counted = counted;
                drop(driver.await);
            };
            Ok(Dialled { client, local_address, driver })
        }
    }

    /// Counts how a stream was reset.
    pub(in crate::sidecar) fn note_reset(&self, reset: &UpstreamReset) {
        if *reset == UpstreamReset::RemoteReset {
            self.stats.rq_rx_reset.increment();
        }
    }

    /// Takes back a connection after an exchange that left it in order.
    pub(in crate::sidecar) fn give_back(&self, connection: (Box<Http1>, SocketAddr)) {
        self.http1.keep(connection, self.config.idle_timeout);
    }
}

/// Counts a connection that could not be opened; a timeout is a failure too.
fn noted<T>(dialled: Result<T, UpstreamReset>, stats: &ClusterStats) -> Result<T, UpstreamReset> {
    if let Err(reset) = &dialled {
        stats.cx_connect_fail.increment();
        if *reset == UpstreamReset::ConnectionTimeout {
            stats.cx_connect_timeout.increment();
        }
    }
    dialled
}

/// Opens a connection, with everything that has to be agreed on before HTTP, in the time that is
/// given for it.
async fn dial(
    host: SocketAddr,
    source: Option<IpAddr>,
    limit: Duration,
    tls: Option<&tls::Upstream>,
    http2: bool,
) -> Result<(Socket, SocketAddr), UpstreamReset> {
    let deadline = Instant::now() + limit;
    let stream = net::connect(host, source, limit).await?;
    let local_address = stream.local_addr().map_err(|error| failure(&error))?;
    let socket = match tls {
        None => stream.into(),
        Some(tls) => {
            let connected = tokio::time::timeout_at(deadline, tls.connect(stream, http2)).await;
            connected.map_err(|_| UpstreamReset::ConnectionTimeout)??.into()
        }
    };
    Ok((socket, local_address))
}

impl From<HandshakeError> for UpstreamReset {
    fn from(error: HandshakeError) -> Self {
        Self::ConnectionFailure(error.reason.map(Cow::Owned))
    }
}

impl From<ConnectError> for UpstreamReset {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::TimedOut { .. } => Self::ConnectionTimeout,
            ConnectError::Refused { source, .. } => failure(&source),
        }
    }
}

/// Envoy's words for a failed `connect`: the system's text, without the number that Rust appends.
fn failure(error: &io::Error) -> UpstreamReset {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    UpstreamReset::ConnectionFailure(Some(Cow::Owned(format!("delayed connect error: {text}"))))
}
