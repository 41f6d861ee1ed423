//! What can be seen of a connection while it is opened and used: facts, as they happen, to be shown
//! or timed by an observer. Nothing is printed here.

use std::fmt::{self, Debug, Formatter};
use std::net::SocketAddr;
use std::sync::Arc;

use super::endpoint::Peer;
use super::frames::FrameDirection;
use super::proxy::Proxy;
use crate::http1::ResponseHead;
use crate::tls::TlsFacts;
use crate::tunnel::PeerSettings;
use crate::websocket::frame_header::FrameHeader;

/// Something that happened.
#[derive(Debug)]
pub enum ConnectEvent<'a> {
    /// A name was resolved.
    Resolved {
        /// The name that was looked up.
        host: &'a str,
        /// Its addresses, in the order in which they are dialled.
        addresses: &'a [SocketAddr],
    },
    /// An address could not be dialled; the next one is tried.
    Unreachable(&'a crate::net::ConnectError),
    /// The connection to the server, or to the proxy, is there.
    Connected {
        /// The other end.
        peer: &'a Peer,
        /// The address of this end; none of a Unix socket.
        local: Option<SocketAddr>,
    },
    /// A proxy is asked for the connection.
    Proxy(&'a Proxy),
    /// A TLS handshake was completed.
    Tls(&'a TlsFacts),
    /// The peer speaks HTTP/2 and has sent its SETTINGS.
    Settings(&'a PeerSettings),
    /// A request was sent: its head, a line each.
    Request(&'a [String]),
    /// An answer's head came.
    Response(&'a ResponseHead),
    /// A redirect is followed.
    Redirected {
        /// The URI that is asked next.
        uri: &'a str,
    },
    /// The head of a WebSocket frame passed.
    Frame(FrameDirection, FrameHeader),
    /// The server broke the protocol, or a limit of this side, and is told so with this close code.
    Failing {
        /// The code of our Close.
        code: u16,
        /// What went wrong.
        error: &'a tungstenite::Error,
    },
}

type Notice = dyn Fn(&ConnectEvent<'_>) + Send + Sync;

/// Who is told of events; by default they are dropped.
#[derive(Clone, Default)]
pub struct Observer(Option<Arc<Notice>>);

impl Observer {
    /// Tells `notice`.
    pub fn new(notice: impl Fn(&ConnectEvent<'_>) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(notice)))
    }

    /// Tells whoever listens.
    pub(in crate::client) fn notice(&self, event: &ConnectEvent<'_>) {
        if let Some(notice) = &self.0 {
            notice(event);
        }
    }
}

impl Debug for Observer {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str(if self.0.is_some() { "Observer" } else { "nobody" })
    }
}
