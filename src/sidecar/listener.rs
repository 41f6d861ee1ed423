//! The listeners of one worker: they accept connections, let them get through TLS, choose their
//! filter chain, and find out which version of HTTP they speak.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use bytes::BytesMut;
use futures_util::FutureExt;
use futures_util::future::{LocalBoxFuture, join_all};
use tokio::net::TcpStream;

use super::config::{Proxy, Transport};
use super::connection_info::{ConnectionInfo, DownstreamTls};
use super::downstream;
use super::downstream_tasks::DownstreamTasks;
use super::filter_chain::{FilterChain, FilterChains};
use super::http1::Http1;
use super::overload;
use super::socket::Socket;
use super::stats::{Active, WorkerStats};
use crate::access_log::Sink;
use crate::drain::Drain;
use crate::net::{self, arena};
use crate::tls::{self, ClientHello, Secured};
use crate::tunnel;

/// Runs one worker on this thread until its drain is forced; then every open stream ends, each leaving
/// its line. A graceful drain closes the listeners.
pub(super) fn run(
    proxy: &Proxy,
    stats: &Arc<WorkerStats>,
    listeners: Vec<std::net::TcpListener>,
    sink: &Sink,
    drain: &Drain,
) -> io::Result<()> {
    net::serve_all_local(listeners, async |listeners| {
        let budget = overload::budget(proxy.buffered_bytes, Arc::clone(&stats.overload));
        tokio::task::spawn_local(overload::refresh(Rc::clone(&budget)));
        let tasks = DownstreamTasks::default();
        let chains = FilterChains::of_all_listeners(proxy, stats, &budget, &tasks, sink);
        let accepting = listeners.into_iter().zip(chains).map(|(listener, chains)| {
            let tasks = tasks.clone();
            net::accept_each(listener, move |socket, remote| {
                tasks.spawn(serve(chains.clone(), socket, remote));
            })
        });
        drain.graceful.run_until_cancelled(join_all(accepting)).await;
        drain.forced.cancelled().await;
        tasks.end().await;
    })
}

/// Serves a connection to its end. What only its beginning needs is on the heap: an open session
/// keeps the rest for as long as it lives.
fn serve(chains: FilterChains, socket: TcpStream, remote: SocketAddr) -> impl Future<Output = ()> {
    let opening = Box::pin(open(chains, socket, remote));
    async move {
        if let Some(serving) = opening.await {
            serving.await;
        }
    }
}

/// Finds out what is spoken on a connection: Envoy's codec type AUTO, the first bytes decide.
async fn open(
    chains: FilterChains,
    socket: TcpStream,
    remote: SocketAddr,
) -> Option<LocalBoxFuture<'static, ()>> {
    let (chain, mut socket, info) = secure(&chains, socket, remote).await?;
    drop(chains);
    let counted = &chain.stats.connection_manager;
    let connection = Active::begin(counted, |stats| &stats.cx);
    let mut read = BytesMut::new();
    let is_http2 = loop {
        if let Some(is_http2) = tunnel::is_http2(&read) {
            break is_http2;
        }
        match std::future::poll_fn(|cx| arena::poll_read(&mut socket, cx, &[])).await {
            Ok(bytes) if !bytes.is_empty() => read.extend_from_slice(&bytes),
            _ if read.is_empty() => return None,
            _ => break false,
        }
    };
    if is_http2 {
        let counted = (connection, Active::begin(counted, |stats| &stats.cx_http2));
        let serving = downstream::http2::serve(chain, socket, read, info);
        Some(serving.map(|()| drop(counted)).boxed_local())
    } else {
        let counted = (connection, Active::begin(counted, |stats| &stats.cx_http1));
        let serving = downstream::http1::serve(chain, Box::new(Http1::new(socket, read)), info);
        Some(serving.map(|()| drop(counted)).boxed_local())
    }
}

/// The filter chain of a connection, and its TLS handshake where the chain takes TLS. A connection
/// that fails in its handshake leaves no line; one that no chain is for leaves the listener's.
async fn secure(
    chains: &FilterChains,
    socket: TcpStream,
    remote: SocketAddr,
) -> Option<(Rc<FilterChain>, Socket, ConnectionInfo)> {
    let local = socket.local_addr().ok()?;
    let plain = ConnectionInfo { local, remote, tls: None };
    // On the heap: a handshake needs much more than what comes after it.
    let (chain, secured) = if let Some(only) = chains.only() {
        let secured = match &only.transport {
            Transport::Mutual(mutual_tls) => Box::pin(mutual_tls.accept(socket)).await,
            Transport::Plain | Transport::Terminated(_) => {
                return Some((Rc::clone(only), socket.into(), plain));
            }
        };
        (Rc::clone(only), secured)
    } else {
        let hello = match Box::pin(ClientHello::read(&socket)).await {
            Ok(hello) => Some(hello),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => None,
            Err(_) => return None,
        };
        let server_name = hello.as_ref().and_then(ClientHello::server_name);
        let Some(chain) = chains.find(server_name.as_deref()) else {
            chains.note_not_found(&plain, server_name);
            // A connection that is gone needs no end.
            let _ = tls::refuse(&socket);
            return None;
        };
        let (Some(hello), Transport::Terminated(termination)) = (hello, &chain.transport) else {
            return None;
        };
        (Rc::clone(chain), Box::pin(termination.accept(hello, socket)).await)
    };
    match secured {
        Ok(Secured { stream, requested_server_name, client_certificate }) => {
            let requested_server_name = requested_server_name.map(Arc::from);
            let tls = DownstreamTls { requested_server_name, client_certificate };
            Some((chain, stream.into(), ConnectionInfo { tls: Some(Rc::new(tls)), ..plain }))
        }
        Err(error) => {
            tracing::debug!("{remote}: {error}");
            None
        }
    }
}
