//! An application that is slow on demand: an echo whose sessions with the path `/held` are answered
//! only once it is released. What `--delay` does by the clock, this does by an event, so that
//! nothing depends on how fast a machine is.

use std::io;
use std::net::SocketAddr;

use bytes::BytesMut;
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_util::sync::CancellationToken;
use tungstenite::protocol::Role;

use crate::drain::Drain;
use crate::http1::parse_request;
use crate::net;
use crate::websocket::opening::server as opening;

/// The path whose sessions are held.
const HELD: &str = "/held";

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
        let listener = TcpListener::from_std(self.listener)?;
        let accepting = net::accept_each(listener, |stream, _| {
            let session = session(stream, self.released.clone());
            tokio::spawn(drain.forced.clone().run_until_cancelled_owned(session));
        });
        drain.graceful.run_until_cancelled(accepting).await;
        Ok(())
    }
}

/// One session. Whatever goes wrong with it ends it; the client sees that.
async fn session(mut stream: TcpStream, released: CancellationToken) {
    let mut buffer = BytesMut::new();
    let request = loop {
        if !matches!(stream.read_buf(&mut buffer).await, Ok(1..)) {
            return;
        }
        match parse_request(&mut buffer) {
            Ok(Some(request)) => break request,
            Ok(None) => {}
            Err(_) => return,
        }
    };
    let Ok(mut accepted) = opening::check(&request) else { return };
    accepted.deflate = None;
    let held = request.target_str() == HELD;
    let mut response = BytesMut::new();
    accepted.response().write(&mut response);
    if stream.write_all(&response).await.is_err() {
        return;
    }
    let mut session = WebSocketStream::from_partially_read(stream, buffer.to_vec(), Role::Server, None).await;
    while let Some(Ok(message)) = session.next().await {
        if message.is_text() || message.is_binary() {
            if held {
                released.cancelled().await;
            }
            if session.send(message).await.is_err() {
                return;
            }
        }
    }
}
