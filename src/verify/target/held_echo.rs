//! An application that is slow on demand: an echo, over HTTP/1.1 and HTTP/2, whose sessions with the
//! path `/held`, or the query `held`, are answered only once it is released. What `--delay` does by the clock, this does
//! by an event, so that nothing depends on how fast a machine is.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;

use bytes::BytesMut;
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_util::sync::CancellationToken;
use tungstenite::protocol::Role;

use crate::drain::Drain;
use crate::http1::{RequestHead, ResponseHead, parse_request};
use crate::net::{self, Budget, Duplex};
use crate::tunnel::{self, ByteStream, Server, Settings};
use crate::websocket::extended_connect::response_to_http2;
use crate::websocket::opening::server as opening;

/// The path whose sessions are held, and the query.
const HELD: [&str; 2] = ["/held", "?held"];

/// Room for all sessions of a scenario and their few bytes.
const SETTINGS: Settings = Settings {
    allow_connect: true,
    max_concurrent_streams: 1024,
    initial_stream_window_size: 65_535,
    initial_connection_window_size: 65_535,
};

/// The application, bound and not yet serving.
#[derive(Debug)]
pub(super) struct HeldEcho {
    listener: std::net::TcpListener,
    address: SocketAddr,
    released: CancellationToken,
}

impl HeldEcho {
    /// Binds it; its held sessions are answered once `released` is cancelled.
    pub(super) fn bind(listen: SocketAddr, released: CancellationToken) -> Result<Self, net::BindError> {
        let named = |source| net::BindError { address: listen, source };
        let listener = net::listen(listen, 1)?.remove(0);
        let address = listener.local_addr().map_err(named)?;
        Ok(Self { listener, address, released })
    }

    /// The address with the real port.
    pub(super) fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until the drain, which it obeys at once.
    pub(super) async fn serve(self, drain: Drain) -> io::Result<()> {
        let Self { listener, released, .. } = self;
        let serving = move || {
            net::serve_local(listener, async |listener| {
                let accepting = net::accept_each(listener, |stream, _| {
                    tokio::task::spawn_local(connection(stream, released.clone()));
                });
                drain.graceful.run_until_cancelled(accepting).await;
            })
        };
        // The streams of an HTTP/2 connection stay on its thread.
        tokio::task::spawn_blocking(serving).await.map_err(io::Error::other)?
    }
}

/// One connection, in the version of HTTP that its client speaks. Whatever goes wrong with it ends
/// it; the client sees that.
async fn connection(mut stream: TcpStream, released: CancellationToken) {
    let mut read = BytesMut::new();
    loop {
        if !matches!(stream.read_buf(&mut read).await, Ok(1..)) {
            return;
        }
        match tunnel::is_http2(&read) {
            Some(true) => return http2(stream, read, released).await,
            None => continue,
            Some(false) => {}
        }
        match parse_request(&mut read) {
            Ok(Some(request)) => return http1(stream, read, &request, &released).await,
            Ok(None) => {}
            Err(_) => return,
        }
    }
}

/// The one session of a connection.
async fn http1(mut stream: TcpStream, read: BytesMut, request: &RequestHead, released: &CancellationToken) {
    let Ok(mut accepted) = opening::check(request) else { return };
    accepted.deflate = None;
    let mut response = BytesMut::new();
    accepted.response().write(&mut response);
    if stream.write_all(&response).await.is_ok() {
        session(stream, read.to_vec(), request.target_str(), released).await;
    }
}

/// A session for each stream of a connection (RFC 8441).
async fn http2(stream: TcpStream, read: BytesMut, released: CancellationToken) {
    let Ok(mut server) = Server::handshake(stream, read, &SETTINGS, Budget::unlimited()).await else {
        return;
    };
    while let Some(Ok((request, mut stream, mut respond))) = poll_fn(|cx| server.poll_accept(cx)).await {
        let released = released.clone();
        tokio::task::spawn_local(async move {
            let Ok(mut accepted) = opening::check_extended_connect(&request) else { return };
            accepted.deflate = None;
            let ResponseHead { status, fields, .. } = accepted.response();
            if respond.head(&mut stream, response_to_http2(status, &fields), false).is_ok() {
                let asked = request.uri().path_and_query().map_or("", |asked| asked.as_str());
                session(ByteStream::new(stream), Vec::new(), asked, &released).await;
            }
        });
    }
}

/// One session, of which `read` was read already.
async fn session(io: impl Duplex, read: Vec<u8>, asked: &str, released: &CancellationToken) {
    let mut session = WebSocketStream::from_partially_read(io, read, Role::Server, None).await;
    while let Some(Ok(message)) = session.next().await {
        if message.is_text() || message.is_binary() {
            if HELD.iter().any(|held| asked.ends_with(held)) {
                released.cancelled().await;
            }
            if session.send(message).await.is_err() {
                return;
            }
        }
    }
    // Both directions come to their end: what is dropped before is reset.
    let io = session.get_mut();
    if io.shutdown().await.is_ok() {
        let _ = tokio::io::copy(io, &mut tokio::io::sink()).await;
    }
}
