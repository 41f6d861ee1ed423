//! TLS of a server on the Web's terms: a certificate of its own, and where it is told to, one that
//! each client has to show.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::sign::SingleCertAndKey;
use tokio_rustls::server::TlsStream;

use super::certificate::Description;
use super::credentials::{CredentialsError, Pem, certified_key, invalid, protocols, roots, versions};
use super::{Agreed, SERVER};
use crate::net::Holding;

/// A server's certificate, and which clients it trusts.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// Its certificate, in PEM, with any intermediate ones.
    pub certificate: PathBuf,
    /// The certificate's key.
    pub key: PathBuf,
    /// The CAs of which each client has to show a certificate.
    pub client_ca: Option<PathBuf>,
}

/// TLS for any number of connections, which agree on HTTP/2 or HTTP/1.1.
#[derive(Debug, Clone)]
pub struct Server(Arc<ServerConfig>);

/// What a handshake agreed on, as the server sees it.
#[derive(Debug, Clone, Serialize)]
pub struct ServerFacts {
    /// `TLSv1.3`.
    pub version: String,
    /// Its registered name.
    pub cipher_suite: String,
    /// The protocol that was agreed on, if the client offered any.
    pub alpn: Option<String>,
    /// The name that the client asked for (SNI).
    pub server_name: Option<String>,
    /// The client's certificate, verified.
    pub client_certificate: Option<Description>,
}

/// It holds only incomplete records, some 16 KiB in either direction: too little to be counted.
impl<T> Holding for TlsStream<T> {
    fn held(&self) -> usize {
        0
    }
}

impl Server {
    /// Reads the files.
    ///
    /// # Errors
    /// [`CredentialsError`], with the file.
    pub fn load(options: &ServerOptions) -> Result<Self, CredentialsError> {
        let provider = Arc::new(ring::default_provider());
        let certified =
            certified_key(&Pem::read(&options.certificate)?, &Pem::read(&options.key)?, &provider)?;
        let builder = versions(ServerConfig::builder_with_provider(Arc::clone(&provider)));
        let builder = match &options.client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let verifier = WebPkiClientVerifier::builder_with_provider(
                    Arc::new(roots(&Pem::read(path)?)?),
                    provider,
                )
                .build();
                builder.with_client_cert_verifier(verifier.map_err(|error| invalid(path, &error))?)
            }
        };
        let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
        config.alpn_protocols = protocols(&SERVER);
        Ok(Self(Arc::new(config)))
    }

    /// Shakes hands with a client.
    ///
    /// # Errors
    /// Why the handshake failed; the peer has got its alert.
    pub async fn accept<T: AsyncRead + AsyncWrite + Unpin>(
        &self,
        io: T,
    ) -> io::Result<(TlsStream<T>, ServerFacts)> {
        let stream = TlsAcceptor::from(Arc::clone(&self.0)).accept(io).await?;
        let session = stream.get_ref().1;
        let Agreed { version, cipher_suite, alpn, certificate } = Agreed::of(session);
        let facts = ServerFacts {
            version,
            cipher_suite,
            alpn,
            server_name: session.server_name().map(str::to_owned),
            client_certificate: certificate,
        };
        Ok((stream, facts))
    }
}
