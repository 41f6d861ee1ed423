//! The listener of one worker: accepts connections, lets them get through TLS, and finds out which
//! version of HTTP they speak.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use bytes::BytesMut;
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use tokio::net::TcpStream;

use super::config::Proxy;
use super::connection_info::{ConnectionInfo, DownstreamTls};
use super::downstream;
use super::http1::Http1;
use super::overload;
use super::socket::Socket;
use super::stats::{Active, WorkerStats};
use super::worker::Worker;
use crate::access_log::Sink;
use crate::drain::Drain;
use crate::net::{self, arena};
use crate::tunnel;

/// Runs one worker on this thread until its drain is forced; dropping the runtime then ends every
/// open stream, each leaving its line. A graceful drain closes the listener.
pub(super) fn run(
    proxy: &Proxy,
    stats: Arc<WorkerStats>,
    listener: std::net::TcpListener,
    sink: Sink,
    drain: &Drain,
) -> std::io::Result<()> {
    net::serve_local(listener, async |listener| {
        let worker = Rc::new(Worker::new(proxy, stats, sink));
        tokio::task::spawn_local(overload::refresh(Rc::clone(&worker.budget)));
        let accepting = net::accept_each(listener, |socket, remote| {
            tokio::task::spawn_local(serve(Rc::clone(&worker), socket, remote));
        });
        drain.graceful.run_until_cancelled(accepting).await;
        drain.forced.cancelled().await;
    })
}

/// Serves a connection to its end. What only its beginning needs is on the heap: an open session
/// keeps the rest for as long as it lives.
fn serve(worker: Rc<Worker>, socket: TcpStream, remote: SocketAddr) -> impl Future<Output = ()> {
    let opening = Box::pin(open(worker, socket, remote));
    async move {
        if let Some(serving) = opening.await {
            serving.await;
        }
    }
}

/// Finds out what is spoken on a connection: Envoy's codec type AUTO, the first bytes decide.
async fn open(
    worker: Rc<Worker>,
    socket: TcpStream,
    remote: SocketAddr,
) -> Option<LocalBoxFuture<'static, ()>> {
    let (mut socket, info) = secure(&worker, socket, remote).await?;
    let counted = &worker.stats.connection_manager;
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
        let serving = downstream::http2::serve(worker, socket, read, info);
        Some(serving.map(|()| drop(counted)).boxed_local())
    } else {
        let counted = (connection, Active::begin(counted, |stats| &stats.cx_http1));
        let serving = downstream::http1::serve(worker, Box::new(Http1::new(socket, read)), info);
        Some(serving.map(|()| drop(counted)).boxed_local())
    }
}

/// The TLS handshake of a connection, where the listener takes TLS. A connection that fails here
/// leaves no line.
async fn secure(worker: &Worker, socket: TcpStream, remote: SocketAddr) -> Option<(Socket, ConnectionInfo)> {
    let local = socket.local_addr().ok()?;
    let Some(mutual_tls) = &worker.mutual_tls else {
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
