//! wss:// against a server of this process, with certificates made on the spot.

use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;

use super::{SWITCH, answer_on};
use crate::client::connect::{ConnectConfig, ConnectError, ConnectEvent, Endpoint, Observer, connect};
use crate::tls::client::ClientOptions;

/// A CA with the certificate of the server called `web.example`, and a client's.
struct Mint {
    folder: tempfile::TempDir,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    root: CertificateDer<'static>,
}

impl Mint {
    fn new() -> Self {
        let mut ca = CertificateParams::default();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap();
        let issue = |name: &str, purpose| {
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::new([name.to_owned()]).unwrap();
            params.extended_key_usages = vec![purpose];
            (params.signed_by(&key, &ca).unwrap(), key)
        };
        let (server, key) = issue("web.example", ExtendedKeyUsagePurpose::ServerAuth);
        let (client, client_key) = issue("client.example", ExtendedKeyUsagePurpose::ClientAuth);
        let folder = tempfile::tempdir().unwrap();
        let both = format!("{}{}", client.pem(), client_key.serialize_pem());
        std::fs::write(folder.path().join("ca.pem"), ca.pem()).unwrap();
        std::fs::write(folder.path().join("client.pem"), both).unwrap();
        Self {
            folder,
            chain: vec![server.der().clone()],
            key: PrivateKeyDer::Pkcs8(key.serialize_der().into()),
            root: ca.der().clone(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Connects to a server that has this certificate and may want one of the client's; the SNI and
    /// ALPN it got.
    async fn connect(
        &self,
        tls: ClientOptions,
        wants_certificate: bool,
    ) -> (Result<Vec<String>, ConnectError>, Vec<String>) {
        let provider = Arc::new(ring::default_provider());
        let builder =
            ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
        let builder = builder.unwrap();
        let builder = if wants_certificate {
            let mut roots = RootCertStore::empty();
            roots.add(self.root.clone()).unwrap();
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
            builder.with_client_cert_verifier(verifier)
        } else {
            builder.with_no_client_auth()
        };
        let mut server = builder.with_single_cert(self.chain.clone(), self.key.clone_key()).unwrap();
        server.alpn_protocols = vec![b"http/1.1".to_vec()];
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut config = ConnectConfig::new("wss://web.example/".parse().unwrap());
        config.endpoint = Endpoint::Tcp(listener.local_addr().unwrap().into());
        config.tls = tls;
        let facts = Arc::new(std::sync::Mutex::new(Vec::new()));
        let keep = Arc::clone(&facts);
        config.observer = Observer::new(move |event| {
            if let ConnectEvent::Tls(facts) = event {
                let names =
                    facts.certificate.as_ref().map_or(Vec::new(), |certificate| certificate.names.clone());
                let alpn = facts.alpn.clone().unwrap_or_default();
                keep.lock().unwrap().extend([facts.version.clone(), alpn, names.join(",")]);
            }
        });
        let accept = async {
            let (socket, _) = listener.accept().await.unwrap();
            let mut stream = TlsAcceptor::from(Arc::new(server)).accept(socket).await.ok()?;
            let name = stream.get_ref().1.server_name().unwrap_or_default().to_owned();
            answer_on(&mut stream, SWITCH).await;
            Some((stream, name))
        };
        let (outcome, accepted) = tokio::join!(connect(&config), accept);
        let told = facts.lock().unwrap().clone();
        (outcome.map(|_| told), accepted.map_or(Vec::new(), |(_, name)| vec![name]))
    }
}

#[tokio::test]
async fn a_server_with_a_certificate_of_a_trusted_ca_is_connected_to() {
    let mint = Mint::new();
    let tls = ClientOptions { ca: Some(mint.path("ca.pem")), ..ClientOptions::default() };
    let (outcome, names) = mint.connect(tls, false).await;
    assert_eq!(outcome.unwrap(), ["TLSv1.3", "http/1.1", "web.example"]);
    assert_eq!(names, ["web.example"]);
}

#[tokio::test]
async fn whom_nobody_vouches_for_and_another_name_are_refused_unless_told_otherwise() {
    let mint = Mint::new();
    let other = Mint::new();
    let wrong_ca = ClientOptions { ca: Some(other.path("ca.pem")), ..ClientOptions::default() };
    let error = mint.connect(wrong_ca.clone(), false).await.0.unwrap_err().to_string();
    assert!(error.contains("CA that is not trusted"), "{error}");
    let insecure = ClientOptions { insecure: true, ..wrong_ca };
    mint.connect(insecure, false).await.0.unwrap();
    let ca = Some(mint.path("ca.pem"));
    let wrong_name =
        ClientOptions { ca, server_name: Some("other.example".to_owned()), ..ClientOptions::default() };
    let error = mint.connect(wrong_name, false).await.0.unwrap_err().to_string();
    assert!(error.contains("for another name"), "{error}");
}

#[tokio::test]
async fn a_certificate_is_presented_to_a_server_that_wants_one() {
    let mint = Mint::new();
    let mut tls = ClientOptions { ca: Some(mint.path("ca.pem")), ..ClientOptions::default() };
    let ConnectError::Broken { source, .. } = mint.connect(tls.clone(), true).await.0.unwrap_err() else {
        panic!("a server that wants a certificate looks at it after the client's handshake")
    };
    assert!(crate::tls::client::explain(&source).unwrap().1.contains("--cert"));
    tls.certificate = Some(mint.path("client.pem"));
    mint.connect(tls, true).await.0.unwrap();
}

#[tokio::test]
async fn a_file_that_is_not_there_is_named() {
    let tls = ClientOptions { ca: Some("/no/such/ca.pem".into()), ..ClientOptions::default() };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut config = ConnectConfig::new("wss://web.example/".parse().unwrap());
    config.endpoint = Endpoint::Tcp(listener.local_addr().unwrap().into());
    config.tls = tls;
    let error = connect(&config).await.unwrap_err();
    assert!(error.to_string().contains("/no/such/ca.pem"), "{error}");
}
