//! Both ends in one process, with certificates made for the test.

use std::path::PathBuf;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, KeyPair, SanType,
};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::rustls::pki_types::CertificateDer;

use super::certificate::forwarded_client_cert;
use super::*;

const CLIENT: &str = "spiffe://cluster.local/ns/default/sa/default";
const SERVER_IDENTITY: &str = "spiffe://cluster.local/ns/default/sa/websockets-server";
/// As Istio writes it: labels of underscores, and some that end with one.
const SNI: &str = "outbound_.8080_._.websockets-server.default.svc.cluster.local";

/// A CA, and the files of the workloads that it has certified.
struct Ca {
    folder: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Ca {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "cluster.local");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.crt"), issuer.pem()).unwrap();
        Self { folder, issuer }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Certifies what the parameters say; returns the files and the certificate.
    fn certify(&self, params: &CertificateParams) -> (PemFiles, CertificateDer<'static>) {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let files = PemFiles {
            certificate: self.path("workload.crt"),
            key: self.path("workload.key"),
            ca: self.path("ca.crt"),
        };
        std::fs::write(&files.certificate, certificate.pem()).unwrap();
        std::fs::write(&files.key, key.serialize_pem()).unwrap();
        (files, certificate.der().clone())
    }

    fn workload(&self, identity: &str) -> MutualTls {
        MutualTls::load(&self.certify(&params(&[SanType::URI(identity.try_into().unwrap())])).0).unwrap()
    }
}

fn params(names: &[SanType]) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = names.to_vec();
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params
}

type Ends = (Result<TlsStream<TcpStream>, HandshakeError>, io::Result<Secured>);

async fn shake_hands(upstream: &Upstream, http2: bool, server: &MutualTls) -> Ends {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let socket = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (accepted, _) = listener.accept().await.unwrap();
    tokio::join!(upstream.connect(socket, http2), server.accept(accepted))
}

#[tokio::test]
async fn two_workloads_of_one_ca_agree_on_what_is_spoken() {
    let ca = Ca::new();
    let (client, server) = (ca.workload(CLIENT), ca.workload(SERVER_IDENTITY));
    for (http2, protocol) in [(false, b"http/1.1".as_slice()), (true, b"h2")] {
        let upstream = client.upstream(SNI, &[SERVER_IDENTITY.to_owned()]);
        let (connected, accepted) = shake_hands(&upstream, http2, &server).await;
        let (mut connected, mut accepted) = (connected.unwrap(), accepted.unwrap());
        assert_eq!(accepted.requested_server_name.as_deref(), Some(SNI));
        assert_eq!(accepted.stream.get_ref().1.alpn_protocol(), Some(protocol));
        connected.write_all(b"hello").await.unwrap();
        connected.flush().await.unwrap();
        let mut read = [0; 5];
        accepted.stream.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"hello");
    }
}

#[tokio::test]
async fn a_server_without_the_expected_identity_is_refused_and_its_names_are_told() {
    let ca = Ca::new();
    let client = ca.workload(CLIENT);
    let elsewhere = "spiffe://other.domain/ns/default/sa/default";
    for (identity, expected) in [(CLIENT, vec![SERVER_IDENTITY.to_owned()]), (elsewhere, vec![])] {
        let (connected, accepted) =
            shake_hands(&client.upstream(SNI, &expected), true, &ca.workload(identity)).await;
        assert!(accepted.is_err());
        assert_eq!(
            connected.unwrap_err().reason.unwrap(),
            format!(
                "TLS_error:|268435581:SSL routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED:verify cert failed: \
                 SAN matcher, certificate SANs are [{identity}]:TLS_error_end"
            )
        );
    }
}

#[tokio::test]
async fn another_ca_is_unknown_even_with_the_same_name() {
    let (ca, other) = (Ca::new(), Ca::new());
    let client = ca.workload(CLIENT);
    let (connected, _) =
        shake_hands(&client.upstream(SNI, &[]), true, &other.workload(SERVER_IDENTITY)).await;
    let reason = connected.unwrap_err().reason.unwrap();
    assert!(reason.contains(": unable to get local issuer certificate:"), "{reason}");
}

#[tokio::test]
async fn a_client_of_another_ca_or_trust_domain_is_not_accepted() {
    let (ca, other) = (Ca::new(), Ca::new());
    let (foreign, _) = other.certify(&params(&[SanType::URI(CLIENT.try_into().unwrap())]));
    // It trusts the server, but is not trusted.
    let foreign = MutualTls::load(&PemFiles { ca: ca.path("ca.crt"), ..foreign }).unwrap();
    let elsewhere = ca.workload("spiffe://other.domain/ns/default/sa/default");
    let server = ca.workload(SERVER_IDENTITY);
    for client in [foreign, elsewhere] {
        let (_, accepted) = shake_hands(&client.upstream(SNI, &[]), true, &server).await;
        assert_eq!(accepted.unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}

#[tokio::test]
async fn what_is_not_tls_or_not_istios_is_reset() {
    let ca = Ca::new();
    let server = ca.workload(SERVER_IDENTITY);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut plain = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let (accepted, _) = listener.accept().await.unwrap();
    assert!(server.accept(accepted).await.is_err());
    assert_eq!(plain.read_u8().await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);

    let client = ca.workload(CLIENT);
    let mut others = client.upstream(SNI, &[]);
    let mut config = (*others.http1).clone();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    others.http1 = Arc::new(config);
    let (connected, _) = shake_hands(&others, false, &server).await;
    let reason = connected.unwrap_err().reason.unwrap();
    assert!(reason.ends_with(":Connection reset by peer:TLS_error_end"), "{reason}");
}

#[tokio::test]
async fn a_peer_without_tls_has_the_wrong_version() {
    let ca = Ca::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let socket = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (mut peer, _) = listener.accept().await.unwrap();
    peer.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
    let failed = ca.workload(CLIENT).upstream(SNI, &[]).connect(socket, false).await.unwrap_err();
    assert_eq!(
        failed.reason.unwrap(),
        "TLS_error:|268435703:SSL routines:OPENSSL_internal:WRONG_VERSION_NUMBER:TLS_error_end"
    );
}

#[test]
fn a_certificate_is_described_as_envoy_describes_it() {
    let ca = Ca::new();
    let mut params = params(&[
        SanType::DnsName("foo.bar".try_into().unwrap()),
        SanType::URI(CLIENT.try_into().unwrap()),
        SanType::URI("https://z/".try_into().unwrap()),
        SanType::IpAddress(Ipv4Addr::LOCALHOST.into()),
    ]);
    for (kind, value) in [
        (DnType::CountryName, "DE"),
        (DnType::CustomDnType(vec![1, 2, 840, 113_549, 1, 9, 1]), "a@b.c"),
        (DnType::OrganizationName, "#x<y>"),
        (DnType::OrganizationalUnitName, "a, b+c; \"q\" \\"),
        (DnType::CommonName, " h\u{e9}# "),
        (DnType::CustomDnType(vec![2, 5, 4, 99]), "odd"),
    ] {
        params.distinguished_name.push(kind, value);
    }
    let (_, certificate) = ca.certify(&params);
    let text = forwarded_client_cert(&[SERVER_IDENTITY.to_owned()], &certificate, false).unwrap();
    let (by, rest) = text.split_once(";Hash=").unwrap();
    let (hash, rest) = rest.split_once(';').unwrap();
    assert_eq!(by, format!("By={SERVER_IDENTITY}"));
    assert_eq!(hash.len(), 64);
    assert_eq!(
        rest,
        format!(
            "Subject=\"2.5.4.99=#0C036F6464,CN=\\ h\\C3\\A9#\\ ,OU=a\\, b\\+c\\; \\\"q\\\" \\\\,O=\\#x\\<y\\>,\
             emailAddress=a@b.c,C=DE\";URI={CLIENT};URI=https://z/;DNS=foo.bar"
        )
    );
}

#[test]
fn a_certificate_without_a_subject_has_an_empty_one() {
    let ca = Ca::new();
    let (_, certificate) = ca.certify(&params(&[SanType::URI(CLIENT.try_into().unwrap())]));
    let text = forwarded_client_cert(&[], &certificate, false).unwrap();
    assert!(text.starts_with("Hash="), "{text}");
    assert!(text.ends_with(&format!(";Subject=\"\";URI={CLIENT}")), "{text}");
}

#[test]
fn unusable_files_are_named() {
    let ca = Ca::new();
    let (files, _) = ca.certify(&params(&[SanType::URI(CLIENT.try_into().unwrap())]));
    let (other, _) = Ca::new().certify(&params(&[]));
    std::fs::write(ca.path("other.key"), KeyPair::generate().unwrap().serialize_pem()).unwrap();
    std::fs::write(ca.path("garbage"), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
        .unwrap();
    assert!(!other.ca.exists(), "the folder of the other CA is gone");
    let error = |files: PemFiles| MutualTls::load(&files).unwrap_err().to_string();
    let path = |name| ca.path(name).display().to_string();
    for (files, expected) in [
        (PemFiles { ca: other.ca.clone(), ..files.clone() }, format!("read {}: ", other.ca.display())),
        (
            PemFiles { certificate: files.key.clone(), ..files.clone() },
            format!("{}: no PEM certificate in it", path("workload.key")),
        ),
        (
            PemFiles { key: files.certificate.clone(), ..files.clone() },
            format!("{}: no PEM private key in it", path("workload.crt")),
        ),
        (
            PemFiles { key: ca.path("other.key"), ..files.clone() },
            format!("{}: not the key of {}", path("other.key"), path("workload.crt")),
        ),
        (PemFiles { certificate: ca.path("garbage"), ..files.clone() }, format!("{}: ", path("garbage"))),
        (PemFiles { ca: ca.path("garbage"), ..files.clone() }, format!("{}: ", path("garbage"))),
    ] {
        let error = error(files);
        assert!(error.starts_with(&expected), "{error:?} instead of {expected:?}");
    }
}
