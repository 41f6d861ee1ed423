//! Verifies that a peer is who it has to be: it has a certificate of the CA, with a SPIFFE identity
//! of the trust domain. webpki verifies chains and signatures; host names are not looked at.

use std::sync::Arc;

use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::client::verify_server_cert_signed_by_trust_anchor;
use tokio_rustls::rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use tokio_rustls::rustls::server::{ParsedCertificate, VerifierBuilderError, WebPkiClientVerifier};
use tokio_rustls::rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, RootCertStore,
    SignatureScheme,
};

use super::certificate::SubjectAltNames;

/// Istio's default trust domain.
const TRUST_DOMAIN: &str = "spiffe://cluster.local/";

/// A certificate has none of the names that are asked for.
#[derive(Debug, thiserror::Error)]
#[error("SAN matcher, certificate SANs are [{}]", presented.join(", "))]
pub(super) struct NoSuchIdentity {
    /// All names that it has.
    presented: Vec<String>,
}

fn check_identity(certificate: &CertificateDer<'_>, accepted: impl Fn(&str) -> bool) -> Result<(), Error> {
    let names =
        SubjectAltNames::of(certificate).ok_or(Error::InvalidCertificate(CertificateError::BadEncoding))?;
    if names.uris.iter().any(|uri| uri.starts_with(TRUST_DOMAIN) && accepted(uri)) {
        return Ok(());
    }
    let other = OtherError(Arc::new(NoSuchIdentity { presented: names.all }));
    Err(Error::InvalidCertificate(CertificateError::Other(other)))
}

/// A CA with the same name and another key is another CA.
fn unknown_issuer(error: Error) -> Error {
    match error {
        Error::InvalidCertificate(CertificateError::BadSignature) => {
            Error::InvalidCertificate(CertificateError::UnknownIssuer)
        }
        error => error,
    }
}

/// Verifies servers, for a client.
#[derive(Debug)]
pub(super) struct ServerVerifier {
    /// `None`: any server is trusted that has its certificate's key.
    roots: Option<Arc<RootCertStore>>,
    algorithms: WebPkiSupportedAlgorithms,
    /// A server must have one of these identities; empty: any of the trust domain.
    identities: Vec<String>,
}

impl ServerVerifier {
    pub(super) fn new(roots: Arc<RootCertStore>, provider: &CryptoProvider, identities: &[String]) -> Self {
        let algorithms = provider.signature_verification_algorithms;
        Self { roots: Some(roots), algorithms, identities: identities.to_vec() }
    }

    pub(super) fn of_anyone(provider: &CryptoProvider) -> Self {
        let algorithms = provider.signature_verification_algorithms;
        Self { roots: None, algorithms, identities: Vec::new() }
    }
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(roots) = &self.roots else { return Ok(ServerCertVerified::assertion()) };
        let parsed = ParsedCertificate::try_from(end_entity)?;
        let algorithms = self.algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&parsed, roots, intermediates, now, algorithms)
            .map_err(unknown_issuer)?;
        let named = |uri: &str| self.identities.is_empty() || self.identities.iter().any(|name| name == uri);
        check_identity(end_entity, named)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Verifies clients, for a server.
#[derive(Debug)]
pub(super) struct ClientVerifier {
    chain: Arc<dyn ClientCertVerifier>,
}

impl ClientVerifier {
    pub(super) fn new(
        roots: Arc<RootCertStore>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, VerifierBuilderError> {
        let chain = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider)).build()?;
        Ok(Self { chain })
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified =
            self.chain.verify_client_cert(end_entity, intermediates, now).map_err(unknown_issuer)?;
        check_identity(end_entity, |_| true)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}
