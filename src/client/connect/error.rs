//! Why there is no connection.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;

use super::endpoint::Peer;
use super::proxy::ProxyError;
use super::uri::UriError;
use crate::http1::{HeadError, ResponseHead};
use crate::net;
use crate::tls;
use crate::tunnel::{PeerSettings, StreamError};
use crate::websocket::opening::client::AnswerError;

/// An HTTP answer that refuses the WebSocket.
#[derive(Debug)]
pub struct Refusal {
    /// Status and fields.
    pub head: ResponseHead,
    /// The beginning of the body as it came, up to 64 KiB.
    pub body: Bytes,
}

/// Why no WebSocket could be opened; each reads well after "failed to connect to URI: ".
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The URI is malformed, or of another scheme.
    #[error(transparent)]
    Uri(#[from] UriError),
    /// The proxy is named in a form that is not understood.
    #[error(transparent)]
    Proxy(#[from] ProxyError),
    /// The certificates, or the key, cannot be used.
    #[error(transparent)]
    Credentials(#[from] tls::CredentialsError),
    /// The name has no address.
    #[error("{host}: {source}")]
    Resolve {
        /// The host that was looked up.
        host: String,
        /// What the resolver said.
        #[source]
        source: io::Error,
    },
    /// None of the addresses could be dialled; this is what the last one said.
    #[error(transparent)]
    Dial(#[from] net::ConnectError),
    /// The Unix socket could not be dialled.
    #[error("connect to {}: {source}", path.display())]
    Unix {
        /// The path of the socket.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// There is no connection to the proxy.
    #[error("proxy {proxy} cannot be reached: {source}")]
    ProxyUnreachable {
        /// The proxy as it was configured.
        proxy: String,
        /// What came of dialling it.
        #[source]
        source: Box<ConnectError>,
    },
    /// The proxy does not give a connection.
    #[error("proxy {proxy} rejected connection: HTTP {}", refusal.head.status.as_u16())]
    ProxyRefused {
        /// The proxy as it was configured.
        proxy: String,
        /// What the proxy answered.
        refusal: Box<Refusal>,
    },
    /// The proxy sent data of its own through the connection that it gave.
    #[error("proxy {proxy} sent data before the server was asked")]
    ProxySpoke {
        /// The proxy as it was configured.
        proxy: String,
    },
    /// No TLS connection.
    #[error(transparent)]
    Tls(#[from] tls::client::ConnectError),
    /// The connection broke while shaking hands.
    #[error("connection to {peer} broke during opening handshake: {source}")]
    Broken {
        /// The other end.
        peer: Peer,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The server closed the connection instead of answering.
    #[error("{peer} closed the connection during opening handshake")]
    Closed {
        /// The other end.
        peer: Peer,
    },
    /// The answer is not HTTP/1.1.
    #[error("did not receive a valid HTTP response: {0}")]
    Head(#[from] HeadError),
    /// HTTP/2 was asked for, and the peer speaks something else.
    #[error("server does not speak HTTP/2: {}", answered(.0))]
    NotHttp2(Vec<u8>),
    /// The peer's SETTINGS do not allow extended CONNECT, so it was not sent (RFC 8441 section 3).
    #[error("server does not allow WebSocket over HTTP/2: its SETTINGS {} ENABLE_CONNECT_PROTOCOL (0x8)", mention(.0))]
    ConnectNotAllowed(PeerSettings),
    /// The HTTP/2 stream ended without an answer.
    #[error("no answer over HTTP/2: {0}")]
    Stream(#[from] StreamError),
    /// The URI, or a field, cannot be written in HTTP/2.
    #[error(transparent)]
    NotExpressible(#[from] crate::websocket::extended_connect::NotHttp2),
    /// The answer is HTTP, and a refusal.
    #[error("server rejected WebSocket connection: HTTP {}", .0.head.status.as_u16())]
    Refused(Box<Refusal>),
    /// The answer is 101, or 2xx over HTTP/2, and yet does not open a WebSocket.
    #[error(transparent)]
    Answer(AnswerError),
    /// A redirect that is not followed.
    #[error("cannot follow redirect to {location}: {why}")]
    Redirect {
        /// Where it leads.
        location: String,
        /// What speaks against it.
        why: String,
    },
    /// More redirects than are followed.
    #[error("more than {0} redirects")]
    Redirects(usize),
    /// The server took too long.
    #[error("timed out during opening handshake (after {0:?})")]
    TimedOut(Duration),
}

fn answered(bytes: &[u8]) -> String {
    match bytes {
        [] => "it closed the connection".to_owned(),
        bytes => format!("its first bytes are {:?}", String::from_utf8_lossy(bytes)),
    }
}

fn mention(settings: &PeerSettings) -> &'static str {
    if settings.enable_connect_protocol().is_some() { "turn off" } else { "do not mention" }
}
