//! The TLS that a gateway ends for its clients: Envoy's `DownstreamTlsContext` as Istio makes it of a
//! server's `tls` (`BuildListenerTLSContext` in `pilot/pkg/networking/core/listener.go`).

use std::io;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::sign::SingleCertAndKey;
use tokio_rustls::rustls::{ServerConfig, SupportedProtocolVersion, version};

use super::SERVER;
use super::certificate::{self, SubjectAltNames};
use super::client_hello::{ClientHello, Secured};
use super::credentials::{CredentialsError, Pem, certified_key, invalid, protocols, roots};

/// What a gateway shows its clients, and what it asks of them.
#[derive(Debug, Clone)]
pub struct TerminationOptions {
    /// The certificate, with any intermediate ones.
    pub certificate: Pem,
    /// Its key.
    pub key: Pem,
    /// Whether clients show certificates, and of which CAs.
    pub clients: ClientAuthentication,
    /// Nothing older than TLS 1.3.
    pub only_tls13: bool,
    /// Nothing newer than TLS 1.2.
    pub only_tls12: bool,
}

/// Whether clients show certificates.
#[derive(Debug, Clone)]
pub enum ClientAuthentication {
    /// They are not asked.
    NotAsked,
    /// They may have one, of these CAs.
    Optional(Pem),
    /// They have to have one, of these CAs.
    Required(Pem),
}

/// See the module.
#[derive(Debug, Clone)]
pub struct Termination {
    config: Arc<ServerConfig>,
    without_alpn: Arc<ServerConfig>,
    /// The URIs of its own certificate.
    identities: Arc<[String]>,
}

impl Termination {
    /// Makes it of what was read.
    ///
    /// # Errors
    /// [`CredentialsError`], with the file or the Secret.
    ///
    /// # Panics
    /// If the provider has no cipher suites.
    pub fn new(options: &TerminationOptions) -> Result<Self, CredentialsError> {
        let provider = Arc::new(ring::default_provider());
        let certified = certified_key(&options.certificate, &options.key, &provider)?;
        let names = SubjectAltNames::of(&certified.cert[0]).unwrap_or_default();
        let versions: &[&'static SupportedProtocolVersion] = match (options.only_tls12, options.only_tls13) {
            (true, _) => &[&version::TLS12],
            (false, true) => &[&version::TLS13],
            (false, false) => &[&version::TLS12, &version::TLS13],
        };
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .expect("the provider has cipher suites for both versions");
        let verifier = |ca: &Pem| {
            let roots = Arc::new(roots(ca)?);
            Ok(WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider)))
        };
        let builder = match &options.clients {
            ClientAuthentication::NotAsked => builder.with_no_client_auth(),
            ClientAuthentication::Optional(ca) => {
                let verifier = verifier(ca)?.allow_unauthenticated().build();
                builder.with_client_cert_verifier(verifier.map_err(|error| invalid(&ca.name, &error))?)
            }
            ClientAuthentication::Required(ca) => {
                let verifier = verifier(ca)?.build();
                builder.with_client_cert_verifier(verifier.map_err(|error| invalid(&ca.name, &error))?)
            }
        };
        let without_alpn = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
        let mut config = without_alpn.clone();
        config.alpn_protocols = protocols(&SERVER);
        Ok(Self {
            config: Arc::new(config),
            without_alpn: Arc::new(without_alpn),
            identities: names.uris.into(),
        })
    }

    /// Does the rest of a handshake.
    ///
    /// # Errors
    /// Why it failed; the peer has got its alert.
    pub async fn accept(&self, hello: ClientHello, socket: TcpStream) -> io::Result<Secured> {
        // Without a name in common rustls would refuse, Envoy goes on without one.
        let common = hello.offers(&SERVER.map(str::as_bytes));
        let config = Arc::clone(if common { &self.config } else { &self.without_alpn });
        Ok(Secured::new(hello.finish(socket, config).await?, |session| {
            let peer = session.peer_certificates().and_then(<[_]>::first);
            peer.and_then(|peer| certificate::forwarded_client_cert(&self.identities, peer, true))
                .unwrap_or_default()
        }))
    }
}
