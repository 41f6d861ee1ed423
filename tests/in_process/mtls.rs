//! Mutual TLS on the hop: what the lines and the application see of it.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair, SanType,
};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use websockets_cli::mesh::{Outbound, RouteAction};
use websockets_cli::tls::{MutualTls, PemFiles};

use crate::support::*;

const CLIENT: &str = "spiffe://cluster.local/ns/default/sa/default";
const SERVER: &str = "spiffe://cluster.local/ns/default/sa/websockets-server";
const SNI: &str = "outbound_.8080_._.websockets-server.default.svc.cluster.local";

/// Credentials for each identity, all of one new CA.
fn credentials<const N: usize>(identities: [&str; N]) -> [Option<MutualTls>; N] {
    credentials_of(identities.map(|identity| vec![SanType::URI(identity.try_into().unwrap())]))
}

/// The same with names of every kind.
fn credentials_of<const N: usize>(names: [Vec<SanType>; N]) -> [Option<MutualTls>; N] {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "cluster.local");
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let files = PemFiles {
        certificate: folder.path().join("workload.crt"),
        key: folder.path().join("workload.key"),
        ca: folder.path().join("ca.crt"),
    };
    std::fs::write(&files.ca, issuer.pem()).unwrap();
    names.map(|names| {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = names;
        let key = KeyPair::generate().unwrap();
        std::fs::write(&files.certificate, params.signed_by(&key, &issuer).unwrap().pem()).unwrap();
        std::fs::write(&files.key, key.serialize_pem()).unwrap();
        Some(MutualTls::load(&files).unwrap())
    })
}

/// Gives the cluster the server name, and the identities that Istio derives from the documents.
fn sni(outbound: &mut Outbound) {
    let RouteAction::Forward { cluster, .. } = &mut outbound.virtual_hosts[0].routes[0].action else {
        panic!("the route forwards")
    };
    cluster.sni = Some(SNI.to_owned());
    cluster.subject_alt_names = vec![SERVER.to_owned()];
}

#[tokio::test]
async fn a_session_is_logged_with_the_server_name_that_was_asked_for() {
    for hop in [Hop::Http1, Hop::Http2] {
        let credentials = credentials([CLIENT, SERVER]);
        let pair = Pair::with_mutual_tls(hop, echo(), credentials, |outbound, _| sni(outbound));
        let mut client = open_session(pair.outbound).await;
        client.write_all(CLOSE).await.unwrap();
        assert_eq!(read_all(&mut client).await, b"\x88\x02\x03\xe8");
        let (client, server) = pair.one_line_each().await;
        assert_eq!(server["requested_server_name"], SNI);
        assert_eq!(client["requested_server_name"], Value::Null);
        assert_eq!(client["upstream_transport_failure_reason"], Value::Null);
        assert_eq!((&server["bytes_received"], &server["bytes_sent"]), (&json!(19), &json!(11)));
        assert_eq!(server["response_flags"], "UC");
        assert_eq!(client["upstream_local_address"], server["downstream_remote_address"]);
    }
}

#[tokio::test]
async fn bulk_data_arrives_whole() {
    const MESSAGES: usize = 64;
    const PAYLOAD: usize = 1 << 16;
    for hop in [Hop::Http1, Hop::Http2] {
        let credentials = credentials([CLIENT, SERVER]);
        let pair = Pair::with_mutual_tls(hop, echo(), credentials, |outbound, _| sni(outbound));
        let (mut read, mut write) = open_session(pair.outbound).await.into_split();
        let writing = tokio::spawn(async move {
            for number in 0..MESSAGES {
                let payload = vec![u8::try_from(number).unwrap(); PAYLOAD];
                let head = b"\x82\xff\0\0\0\0\0\x01\0\0\0\0\0\0";
                write.write_all(&[head, payload.as_slice()].concat()).await.unwrap();
            }
            write
        });
        let mut echoed = vec![0; MESSAGES * (10 + PAYLOAD)];
        patiently(read.read_exact(&mut echoed)).await.unwrap();
        for (number, message) in echoed.chunks(10 + PAYLOAD).enumerate() {
            assert_eq!(message[..10], *b"\x82\x7f\0\0\0\0\0\x01\0\0");
            assert!(message[10..].iter().all(|byte| usize::from(*byte) == number), "message {number}");
        }
        drop(writing.await.unwrap());
    }
}

#[tokio::test]
async fn the_application_is_told_who_the_client_is_and_no_client_can_say_so_itself() {
    for (hop, mutual_tls) in [(Hop::Http1, true), (Hop::Http2, true), (Hop::Http2, false)] {
        let credentials = if mutual_tls { credentials([CLIENT, SERVER]) } else { [None, None] };
        let application = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = application.local_addr().unwrap();
        let pair = Pair::with_mutual_tls(hop, address, credentials, |outbound, _| sni(outbound));
        let mut client = TcpStream::connect(pair.outbound).await.unwrap();
        let get = format!("GET / HTTP/1.1\r\nHost: {AUTHORITY}\r\nx-forwarded-client-cert: By=me\r\n\r\n");
        client.write_all(get.as_bytes()).await.unwrap();
        let (mut accepted, _) = patiently(application.accept()).await.unwrap();
        let head = read_head(&mut accepted).await;
        let fields: Vec<(&str, &str)> = head.lines().filter_map(|line| line.split_once(": ")).collect();
        assert!(fields.contains(&("x-forwarded-proto", "http")), "{head}");
        let (name, value) = fields.last().unwrap();
        if mutual_tls {
            assert_eq!(*name, "x-forwarded-client-cert");
            assert!(value.starts_with(&format!("By={SERVER};Hash=")), "{value}");
            assert!(value.ends_with(&format!(";Subject=\"\";URI={CLIENT}")), "{value}");
        } else {
            assert!(fields.iter().all(|(name, _)| *name != "x-forwarded-client-cert"), "{head}");
        }
    }
}

/// What the client of a pair that cannot shake hands gets, and the one line of its sidecar.
async fn refused(hop: Hop, credentials: [Option<MutualTls>; 2]) -> (String, Value) {
    let pair = Pair::with_mutual_tls(hop, nobody(), credentials, |outbound, _| sni(outbound));
    let mut client = TcpStream::connect(pair.outbound).await.unwrap();
    client.write_all(&handshake()).await.unwrap();
    let answer = String::from_utf8(read_all(&mut client).await).unwrap();
    let line = pair.wait_for_lines("client", 1).await.remove(0);
    pair.wait_for_lines("server", 0).await;
    (answer, line)
}

#[tokio::test]
async fn a_server_of_another_ca_is_tried_three_times_and_leaves_no_line() {
    for hop in [Hop::Http1, Hop::Http2] {
        let ([client], [server]) = (credentials([CLIENT]), credentials([SERVER]));
        let (answer, line) = refused(hop, [client, server]).await;
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        assert!(
            answer.ends_with("retried and the latest reset reason: remote connection failure"),
            "{answer}"
        );
        let reason = "TLS_error:|268435581:SSL_routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED:\
                      verify_cert_failed:_X509_verify_cert:_certificate_verification_error_at_depth_0:\
                      _unable_to_get_local_issuer_certificate:TLS_error_end";
        assert_eq!(line["response_flags"], "URX,UF");
        assert_eq!(line["upstream_transport_failure_reason"], reason);
        assert_eq!(
            line["response_code_details"],
            format!("upstream_reset_before_response_started{{remote_connection_failure|{reason}}}")
        );
        assert_eq!(line["upstream_local_address"], Value::Null);
    }
}

#[tokio::test]
async fn a_server_that_refuses_the_client_ends_the_connection() {
    for hop in [Hop::Http1, Hop::Http2] {
        let elsewhere = "spiffe://other.domain/ns/default/sa/default";
        let (answer, line) = refused(hop, credentials([elsewhere, SERVER])).await;
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        // TLS 1.3: the client has finished by then, and the request is under way.
        assert_eq!(line["response_flags"], "UC");
        assert_eq!(
            line["response_code_details"],
            "upstream_reset_before_response_started{connection_termination}"
        );
        assert!(line["upstream_local_address"].is_string());
    }
}

#[tokio::test]
async fn a_server_that_demands_tls_resets_a_client_without() {
    let [server] = credentials([SERVER]);
    let (answer, line) = refused(Hop::Http1, [None, server]).await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert_eq!(line["response_flags"], "UC");
}

#[tokio::test]
async fn one_right_uri_of_a_certificate_is_enough_and_all_of_them_are_told() {
    let uri = |uri: &str| SanType::URI(uri.try_into().unwrap());
    let elsewhere = "spiffe://other.domain/ns/default/sa/default";
    for (client, shown) in [
        (vec![uri(elsewhere), uri(CLIENT)], format!("URI={elsewhere};URI={CLIENT}")),
        (vec![uri(CLIENT), uri(elsewhere)], format!("URI={CLIENT};URI={elsewhere}")),
        (
            vec![SanType::DnsName("other.example".try_into().unwrap()), uri(CLIENT)],
            format!("URI={CLIENT};DNS=other.example"),
        ),
    ] {
        let server = vec![uri(elsewhere), uri(SERVER)];
        let application = Application::answering("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
        let credentials = credentials_of([client, server]);
        let pair = Pair::with_mutual_tls(Hop::Http2, application.address, credentials, |outbound, _| {
            sni(outbound);
        });
        let mut client = send(pair.outbound, get("/")).await;
        assert!(read_head(&mut client).await.starts_with("HTTP/1.1 200 "));
        let head = application.head();
        let by = format!("\r\nx-forwarded-client-cert: By={elsewhere};By={SERVER};Hash=");
        assert!(head.contains(&by), "{head}");
        assert!(head.contains(&format!(";Subject=\"\";{shown}\r\n")), "{head}");
    }
}

#[tokio::test]
async fn a_right_name_that_is_no_uri_or_only_begins_elsewhere_does_not_count() {
    let uri = |uri: &str| SanType::URI(uri.try_into().unwrap());
    for names in [
        vec![],
        vec![SanType::DnsName(CLIENT.try_into().unwrap())],
        vec![uri("spiffe://other.domain/spiffe://cluster.local/ns/default/sa/default")],
        vec![uri("spiffe://cluster.local.evil/ns/default/sa/default")],
        vec![uri("SPIFFE://cluster.local/ns/default/sa/default")],
    ] {
        let server = vec![uri(SERVER)];
        let (answer, line) = refused(Hop::Http1, credentials_of([names, server])).await;
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        assert_eq!(line["response_flags"], "UC");
    }
}
