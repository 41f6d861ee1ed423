//! A workload's certificate, its key and the CA, from PEM files, and the rustls configurations made
//! of them.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio_rustls::rustls::{
    self, ClientConfig, ConfigBuilder, RootCertStore, ServerConfig, ServerConnection, WantsVerifier,
};

use super::certificate::{self, SubjectAltNames};
use super::verifier::{ClientVerifier, ServerVerifier};
use super::{CLIENT_HTTP1, CLIENT_HTTP2, SERVER, Upstream};

/// Where a workload's credentials are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PemFiles {
    /// The workload's certificate, followed by any intermediate ones.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The CA's certificates.
    pub ca: PathBuf,
}

/// A text in PEM, and what messages call it.
#[derive(Clone)]
pub struct Pem {
    /// The file, or the Secret.
    pub name: PathBuf,
    /// The text.
    pub text: Vec<u8>,
}

/// Nobody shows what may be a key.
impl fmt::Debug for Pem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Pem").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Pem {
    /// Reads a file.
    ///
    /// # Errors
    /// [`CredentialsError::Read`].
    pub fn read(path: &Path) -> Result<Self, CredentialsError> {
        let read = std::fs::read(path);
        let text = read.map_err(|source| CredentialsError::Read { path: path.to_owned(), source })?;
        Ok(Self { name: path.to_owned(), text })
    }
}

/// The credentials cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// A file cannot be read.
    #[error("read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{}: {problem}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// No CA to trust.
    #[error("the system has no CA certificates{problem}")]
    NoSystemRoots {
        /// What went wrong while looking for them, after a colon.
        problem: String,
    },
}

/// Mutual TLS with one workload's credentials, for either side of the hop.
#[derive(Debug, Clone)]
pub struct MutualTls {
    client: ClientConfig,
    server: Arc<ServerConfig>,
    server_without_alpn: Arc<ServerConfig>,
    roots: Arc<RootCertStore>,
    provider: Arc<CryptoProvider>,
    /// The URIs of this workload's own certificate.
    identities: Vec<String>,
}

impl MutualTls {
    /// Reads the files.
    ///
    /// # Errors
    /// [`CredentialsError`], with the file.
    pub fn load(files: &PemFiles) -> Result<Self, CredentialsError> {
        let provider = Arc::new(ring::default_provider());
        let certified = certified_key(&Pem::read(&files.certificate)?, &Pem::read(&files.key)?, &provider)?;
        let roots = Arc::new(roots(&Pem::read(&files.ca)?)?);
        let names = SubjectAltNames::of(&certified.cert[0]);
        let names =
            names.ok_or_else(|| invalid(&files.certificate, &"not a certificate that can be read"))?;
        let resolver = Arc::new(SingleCertAndKey::from(certified));

        let verifier = Arc::new(ServerVerifier::new(Arc::clone(&roots), &provider, &[]));
        let client = versions(ClientConfig::builder_with_provider(Arc::clone(&provider)))
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_client_cert_resolver(Arc::clone(&resolver) as _);
        let verifier = ClientVerifier::new(Arc::clone(&roots), &provider);
        let verifier = Arc::new(verifier.map_err(|error| invalid(&files.ca, &error))?);
        let server_without_alpn = versions(ServerConfig::builder_with_provider(Arc::clone(&provider)))
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(resolver);
        let mut server = server_without_alpn.clone();
        server.alpn_protocols = protocols(&SERVER);
        Ok(Self {
            client,
            server: Arc::new(server),
            server_without_alpn: Arc::new(server_without_alpn),
            roots,
            provider,
            identities: names.uris,
        })
    }

    /// The transport socket of a cluster with this server name; the peer's certificate must have
    /// one of the identities, any of the trust domain if there are none.
    #[must_use]
    pub fn upstream(&self, sni: &str, subject_alt_names: &[String]) -> Upstream {
        let verifier =
            Arc::new(ServerVerifier::new(Arc::clone(&self.roots), &self.provider, subject_alt_names));
        let config = |alpn| {
            let mut config = self.client.clone();
            config.alpn_protocols = protocols(alpn);
            // A session is resumed without looking at the certificate again, so each cluster has
            // sessions of its own.
            config.resumption = rustls::client::Resumption::in_memory_sessions(1);
            config.dangerous().set_certificate_verifier(Arc::clone(&verifier) as _);
            config
        };
        Upstream::new(config(&CLIENT_HTTP1), config(&CLIENT_HTTP2), sni)
    }

    pub(super) fn server_config(&self, alpn: bool) -> Arc<ServerConfig> {
        Arc::clone(if alpn { &self.server } else { &self.server_without_alpn })
    }

    /// The element of `x-forwarded-client-cert` for the client of a connection.
    pub(super) fn describe_peer(&self, session: &ServerConnection) -> String {
        let peer = session.peer_certificates().and_then(<[_]>::first);
        peer.and_then(|peer| certificate::forwarded_client_cert(&self.identities, peer, false))
            .unwrap_or_default()
    }
}

/// TLS 1.2 to 1.3, as Istio has it.
pub(super) fn versions<Side: rustls::ConfigSide>(
    builder: ConfigBuilder<Side, rustls::WantsVersions>,
) -> ConfigBuilder<Side, WantsVerifier> {
    builder
        .with_protocol_versions(&[&rustls::version::TLS12, &rustls::version::TLS13])
        .expect("the provider has cipher suites for both versions")
}

pub(super) fn protocols(names: &[&str]) -> Vec<Vec<u8>> {
    names.iter().map(|name| name.as_bytes().to_vec()).collect()
}

/// The CA certificates of a text.
pub(super) fn roots(pem: &Pem) -> Result<RootCertStore, CredentialsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem)? {
        roots.add(certificate).map_err(|error| invalid(&pem.name, &error))?;
    }
    Ok(roots)
}

/// A certificate, any intermediate ones, and its key.
pub(super) fn certified_key(
    certificate: &Pem,
    key: &Pem,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, CredentialsError> {
    let chain = certificates(certificate)?;
    CertifiedKey::from_der(chain, private_key(key)?, provider).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            invalid(&key.name, &format!("not the key of {}", certificate.name.display()))
        }
        rustls::Error::InvalidCertificate(_) => invalid(&certificate.name, &error),
        error => invalid(&key.name, &error),
    })
}

fn certificates(pem: &Pem) -> Result<Vec<CertificateDer<'static>>, CredentialsError> {
    let found: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(&pem.text).collect();
    match found {
        Ok(found) if found.is_empty() => Err(invalid(&pem.name, &"no PEM certificate in it")),
        Ok(found) => Ok(found),
        Err(error) => Err(invalid(&pem.name, &error)),
    }
}

fn private_key(pem: &Pem) -> Result<PrivateKeyDer<'static>, CredentialsError> {
    PrivateKeyDer::from_pem_slice(&pem.text).map_err(|error| match error {
        pem::Error::NoItemsFound => invalid(&pem.name, &"no PEM private key in it"),
        error => invalid(&pem.name, &error),
    })
}

pub(super) fn invalid(path: &Path, problem: &dyn std::fmt::Display) -> CredentialsError {
    CredentialsError::Invalid { path: path.to_owned(), problem: problem.to_string() }
}
