//! Mutual TLS between two sidecars, as Istio configures Envoy for it: SPIFFE identities instead of
//! host names, and ALPN names that say what is spoken inside (`pilot/pkg/networking/util/util.go`,
//! `pilot/pkg/security/authn/utils/utils.go`). And the TLS of a client ([`client`]) and of a server
//! ([`server`]) on the Web's terms, and that of a gateway ([`Termination`]).
//!
//! Not here: when a connection is encrypted, which is the business of the sidecar.

mod certificate;
pub mod client;
mod client_hello;
mod credentials;
mod failure;
pub mod server;
mod termination;
mod verifier;

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, CommonState};
use tokio_rustls::{TlsConnector, TlsStream};

pub use certificate::Description;
use certificate::describe;
pub use client::TlsFacts;
pub use client_hello::{ClientHello, Secured, refuse};
pub use credentials::{CredentialsError, MutualTls, Pem, PemFiles};
pub use termination::{ClientAuthentication, Termination, TerminationOptions};

/// What a client's sidecar offers for HTTP/2 (Istio's `istio.alpn` filter): the first names select
/// the filter chain of the server's sidecar, the last is what may be agreed on.
const CLIENT_HTTP2: [&str; 3] = ["istio-h2", "istio", "h2"];
/// The same for HTTP/1.1.
const CLIENT_HTTP1: [&str; 3] = ["istio-http/1.1", "istio", "http/1.1"];
/// What a server's sidecar agrees to (Istio's `ALPNHttp`).
const SERVER: [&str; 2] = ["h2", "http/1.1"];
/// A client has to offer one of these names: the `filter_chain_match` of the chain for HTTP over
/// mutual TLS.
const FILTER_CHAIN_MATCH: [&[u8]; 3] = [b"istio-http/1.0", b"istio-http/1.1", b"istio-h2"];

/// The transport socket of a cluster.
#[derive(Debug)]
pub struct Upstream {
    http1: Arc<ClientConfig>,
    http2: Arc<ClientConfig>,
    server_name: ServerName<'static>,
}

/// A handshake with an upstream failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("TLS handshake failed: {}", reason.as_deref().unwrap_or("the connection ended"))]
pub struct HandshakeError {
    /// Envoy's transport failure reason; it has none for a connection that just ends.
    pub reason: Option<String>,
}

impl Upstream {
    pub(super) fn new(http1: ClientConfig, http2: ClientConfig, sni: &str) -> Self {
        // Only a DNS name can be sent; an address is not sent (RFC 6066 section 3).
        let server_name = ServerName::try_from(sni.to_owned())
            .unwrap_or_else(|_| ServerName::IpAddress(IpAddr::V4(Ipv4Addr::UNSPECIFIED).into()));
        Self { http1: Arc::new(http1), http2: Arc::new(http2), server_name }
    }

    /// Shakes hands on a connection for one of the two versions of HTTP.
    ///
    /// # Errors
    /// [`HandshakeError`].
    pub async fn connect(
        &self,
        socket: TcpStream,
        http2: bool,
    ) -> Result<TlsStream<TcpStream>, HandshakeError> {
        let config = if http2 { &self.http2 } else { &self.http1 };
        let connector = TlsConnector::from(Arc::clone(config));
        match connector.connect(self.server_name.clone(), socket).await {
            Ok(stream) => Ok(stream.into()),
            Err(error) => Err(HandshakeError { reason: failure::transport_failure_reason(&error) }),
        }
    }
}

impl MutualTls {
    /// Shakes hands with a client. One that does not speak TLS, or does not offer a name of
    /// Istio's, finds no filter chain: its connection is reset, as Envoy does.
    ///
    /// # Errors
    /// Why the handshake failed; the peer has got its alert.
    pub async fn accept(&self, socket: TcpStream) -> io::Result<Secured> {
        let hello = match ClientHello::read(&socket).await {
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                return no_filter_chain(&socket, &error.to_string());
            }
            hello => hello?,
        };
        if !hello.offers(&FILTER_CHAIN_MATCH) {
            return no_filter_chain(&socket, "no ALPN name of Istio's");
        }
        // Without a name in common rustls would refuse, Envoy goes on without one.
        let config = self.server_config(hello.offers(&SERVER.map(str::as_bytes)));
        Ok(Secured::new(hello.finish(socket, config).await?, |session| self.describe_peer(session)))
    }
}

fn no_filter_chain(socket: &TcpStream, why: &str) -> io::Result<Secured> {
    client_hello::refuse(socket)?;
    Err(io::Error::new(io::ErrorKind::InvalidData, format!("no filter chain matches: {why}")))
}

/// What either side knows of a session.
struct Agreed {
    version: String,
    cipher_suite: String,
    /// The application's protocol.
    alpn: Option<String>,
    /// The peer's.
    certificate: Option<Description>,
}

impl Agreed {
    fn of(session: &CommonState) -> Self {
        let version = session.protocol_version().map(|version| format!("{version:?}").replace('_', "."));
        let cipher_suite = session.negotiated_cipher_suite().map(|suite| format!("{:?}", suite.suite()));
        Self {
            version: version.unwrap_or_default(),
            cipher_suite: cipher_suite.unwrap_or_default(),
            alpn: session.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned()),
            certificate: session.peer_certificates().and_then(<[_]>::first).and_then(describe),
        }
    }
}

#[cfg(test)]
mod tests;
