//! TLS of a client for whom names and certificates are the Web's (RFC 6125, system roots), unlike
//! the sidecars' mutual TLS.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::sign::SingleCertAndKey;
use tokio_rustls::rustls::{
    AlertDescription, CertificateError, ClientConfig, Error, InvalidMessage, RootCertStore,
};

use super::Agreed;
use super::certificate::Description;
use super::credentials::{CredentialsError, Pem, certified_key, protocols, roots, versions};
use super::verifier::ServerVerifier;

/// Which servers a client trusts, and its own certificate.
#[derive(Debug, Clone, Default)]
pub struct ClientOptions {
    /// PEM certificates of the CAs that are trusted instead of the system's.
    pub ca: Option<PathBuf>,
    /// A certificate of its own, in PEM, with any intermediate ones.
    pub certificate: Option<PathBuf>,
    /// The certificate's key; without it, it is in the certificate's file.
    pub key: Option<PathBuf>,
    /// Trust any server.
    pub insecure: bool,
    /// The name to ask for and to verify, instead of the one that is dialled.
    pub server_name: Option<String>,
}

/// TLS for any number of connections.
#[derive(Debug, Clone)]
pub struct Client {
    config: ClientConfig,
    server_name: Option<String>,
    insecure: bool,
}

/// What a handshake agreed on.
#[derive(Debug, Clone)]
pub struct TlsFacts {
    /// `TLSv1.3`.
    pub version: String,
    /// Its registered name.
    pub cipher_suite: String,
    /// The protocol that the server chose, if it chose one.
    pub alpn: Option<String>,
    /// The name that was asked for and verified.
    pub server_name: String,
    /// Whether the certificate was verified.
    pub verified: bool,
    /// The server's certificate.
    pub certificate: Option<Description>,
}

/// Why a connection could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Neither a DNS name nor an address.
    #[error("{0} is no name that a certificate can have")]
    Name(String),
    /// The handshake failed.
    #[error("TLS handshake failed: {}", why(.0))]
    Handshake(io::Error),
}

impl Client {
    /// Reads the files, and the system's roots unless they are not needed.
    ///
    /// # Errors
    /// [`CredentialsError`], with the file.
    pub fn load(options: &ClientOptions) -> Result<Self, CredentialsError> {
        let provider = Arc::new(ring::default_provider());
        let builder = versions(ClientConfig::builder_with_provider(Arc::clone(&provider)));
        let builder = if options.insecure {
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(ServerVerifier::of_anyone(&provider)))
        } else {
            builder.with_root_certificates(match &options.ca {
                Some(path) => roots(&Pem::read(path)?)?,
                None => system_roots()?,
            })
        };
        let config = match &options.certificate {
            None => builder.with_no_client_auth(),
            Some(certificate) => {
                let key = options.key.as_ref().unwrap_or(certificate);
                let certified = certified_key(&Pem::read(certificate)?, &Pem::read(key)?, &provider)?;
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified)))
            }
        };
        Ok(Self { config, server_name: options.server_name.clone(), insecure: options.insecure })
    }

    /// Shakes hands with the server called `host`, or as the options say, offering these protocols.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn connect<T: AsyncRead + AsyncWrite + Unpin>(
        &self,
        io: T,
        host: &str,
        alpn: &[&str],
    ) -> Result<(TlsStream<T>, TlsFacts), ConnectError> {
        let host = self.server_name.as_deref().unwrap_or(host);
        let name = ServerName::try_from(host.to_owned()).map_err(|_| ConnectError::Name(host.to_owned()))?;
        let mut config = self.config.clone();
        config.alpn_protocols = protocols(alpn);
        let connector = TlsConnector::from(Arc::new(config));
        let stream = connector.connect(name, io).await.map_err(ConnectError::Handshake)?;
        let Agreed { version, cipher_suite, alpn, certificate } = Agreed::of(stream.get_ref().1);
        let facts = TlsFacts {
            version,
            cipher_suite,
            alpn,
            server_name: host.to_owned(),
            verified: !self.insecure,
            certificate,
        };
        Ok((stream, facts))
    }
}

fn system_roots() -> Result<RootCertStore, CredentialsError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // A root that webpki cannot read verifies nothing; the others do.
    let (usable, _) = roots.add_parsable_certificates(found.certs);
    if usable == 0 {
        let problem = found.errors.first().map_or_else(String::new, |error| format!(": {error}"));
        return Err(CredentialsError::NoSystemRoots { problem });
    }
    Ok(roots)
}

/// Why a handshake failed, or a connection after it.
fn tls_error(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

fn why(error: &io::Error) -> String {
    match tls_error(error) {
        Some(Error::InvalidCertificate(error)) => match error {
            // A CA of the same name with another key is another CA.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                "the server's certificate comes from a CA that is not trusted".to_owned()
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                format!("the server's certificate is for another name ({error})")
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                format!("the server's certificate has expired ({error})")
            }
            error => format!("the server's certificate is not valid: {error}"),
        },
        Some(Error::InvalidMessage(InvalidMessage::InvalidContentType)) => "the answer is not TLS".to_owned(),
        Some(error) => error.to_string(),
        None if error.kind() == io::ErrorKind::UnexpectedEof => "the server closed the connection".to_owned(),
        None => error.to_string(),
    }
}

/// The meaning of an error of a TLS connection, and what may help. It may be an error of the
/// handshake or of a read after it: with TLS 1.3 a server looks at the client's certificate later.
#[must_use]
pub fn explain(error: &io::Error) -> Option<(&'static str, &'static str)> {
    match tls_error(error)? {
        Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
            Some((
                "nobody whom this client trusts vouches for the server",
                "name the CA's certificate with --cacert FILE, or trust whoever answers with --insecure",
            ))
        }
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => Some((
            "by its certificate, who answers is not who was asked for",
            "name the server that the certificate is for with --servername NAME",
        )),
        Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            Some((
                "the certificate's time is over, or a clock is wrong",
                "renew it; --insecure connects all the same",
            ))
        }
        Error::InvalidCertificate(_) => Some((
            "the certificate does not prove who the server is",
            "look at it with openssl s_client; --insecure connects all the same",
        )),
        Error::InvalidMessage(_) => Some((
            "what listens there speaks something else than TLS",
            "the port does not speak TLS: is it ws:// instead of wss://?",
        )),
        Error::AlertReceived(AlertDescription::NoApplicationProtocol) => Some((
            "the server agrees to none of the protocols offered (ALPN)",
            "with --http2 that is h2, without it http/1.1: try the other one",
        )),
        Error::AlertReceived(
            AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnknownCA
            | AlertDescription::HandshakeFailure,
        ) => Some((
            "the server does not know, or does not trust, who asks",
            "the server wants a certificate that it trusts: --cert FILE --key FILE",
        )),
        _ => None,
    }
}
