//! The first message of a TLS handshake, which chooses who does the rest of it (Envoy's
//! `tls_inspector`).

use std::io::{self, Read};

use tokio::net::TcpStream;
use tokio_rustls::TlsStream;
use tokio_rustls::rustls::server::{Accepted, Acceptor};
use tokio_rustls::rustls::{ServerConfig, ServerConnection};
use tokio_rustls::server::StartHandshake;

use std::sync::Arc;

/// A client's first message.
pub struct ClientHello(Accepted);

impl ClientHello {
    /// Reads it from a connection.
    ///
    /// # Errors
    /// The connection ended, or does not speak TLS ([`io::ErrorKind::InvalidData`]).
    pub async fn read(socket: &TcpStream) -> io::Result<Self> {
        let mut acceptor = Acceptor::default();
        loop {
            socket.readable().await?;
            match acceptor.read_tls(&mut WhatIsThere(socket)) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error),
            }
            match acceptor.accept() {
                Ok(Some(accepted)) => return Ok(Self(accepted)),
                Ok(None) => {}
                Err((error, _)) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
            }
        }
    }

    /// The server name that is asked for (SNI), in lower case.
    #[must_use]
    pub fn server_name(&self) -> Option<String> {
        self.0.client_hello().server_name().map(str::to_ascii_lowercase)
    }

    /// Whether one of these protocols is offered (ALPN).
    pub(super) fn offers(&self, protocols: &[&[u8]]) -> bool {
        self.0.client_hello().alpn().into_iter().flatten().any(|offered| protocols.contains(&offered))
    }

    /// Does the rest of the handshake.
    pub(super) async fn finish(
        self,
        socket: TcpStream,
        config: Arc<ServerConfig>,
    ) -> io::Result<tokio_rustls::server::TlsStream<TcpStream>> {
        StartHandshake::from_parts(self.0, socket).into_stream(config).await
    }
}

/// Has a connection end that no filter chain is for. Envoy only looks at the first bytes and leaves
/// them in the socket; closing it then is a reset.
///
/// # Errors
/// The connection is gone already.
pub fn refuse(socket: &TcpStream) -> io::Result<()> {
    socket.set_zero_linger()
}

/// A downstream connection after its handshake.
#[derive(Debug)]
pub struct Secured {
    /// The connection.
    pub stream: TlsStream<TcpStream>,
    /// The server name that the client sent (SNI), in lower case.
    pub requested_server_name: Option<String>,
    /// An element of `x-forwarded-client-cert` about the client's certificate; empty without one.
    pub client_certificate: String,
}

impl Secured {
    pub(super) fn new(
        stream: tokio_rustls::server::TlsStream<TcpStream>,
        describe: impl FnOnce(&ServerConnection) -> String,
    ) -> Self {
        let session: &ServerConnection = stream.get_ref().1;
        Self {
            requested_server_name: session.server_name().map(str::to_owned),
            client_certificate: describe(session),
            stream: stream.into(),
        }
    }
}

/// Reads what a socket has, without waiting.
struct WhatIsThere<'s>(&'s TcpStream);

impl Read for WhatIsThere<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buffer)
    }
}
