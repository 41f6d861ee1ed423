//! TLS on the server's port, and both versions of HTTP inside of it.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use super::server;
use crate::support::{run, text};

/// A CA's certificate, and a certificate of it with its key, as files.
pub(super) struct Pki {
    folder: tempfile::TempDir,
}

impl Pki {
    pub(super) fn new() -> Self {
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &authority).unwrap();
        let pki = Self { folder: tempfile::tempdir().unwrap() };
        for (name, pem) in [
            ("ca.pem", authority.as_ref().pem()),
            ("cert.pem", certificate.pem()),
            ("key.pem", key.serialize_pem()),
        ] {
            std::fs::write(pki.path(name), pem).unwrap();
        }
        pki
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

pub(super) fn word(path: &Path) -> &str {
    path.to_str().expect("a path in ASCII")
}

#[test]
fn a_session_runs_over_tls_in_either_version_of_http() {
    let pki = Pki::new();
    let (ca, cert, key) = (pki.path("ca.pem"), pki.path("cert.pem"), pki.path("key.pem"));
    let (_server, address) = server(&["--cert", word(&cert), "--key", word(&key)]);
    let uri = format!("wss://{address}");
    for version in [&[][..], &["--http2"]] {
        let output = run(&[&["client", "--cacert", word(&ca)], version, &[&uri]].concat(), "hello\n");
        assert_eq!(text(&output.stdout), "hello\n", "{}", text(&output.stderr));
        assert_eq!(output.status.code(), Some(0));
    }
}

#[test]
fn a_client_shows_a_certificate_where_it_is_asked_for_one() {
    let pki = Pki::new();
    let (ca, cert, key) = (pki.path("ca.pem"), pki.path("cert.pem"), pki.path("key.pem"));
    let (_server, address) = server(&["--cert", word(&cert), "--key", word(&key), "--client-ca", word(&ca)]);
    let uri = format!("wss://{address}");
    let certificate = ["--cert", word(&cert), "--key", word(&key)];
    for (options, status) in [(&certificate[..], 0), (&[], 1)] {
        let output = run(&[&["client", "--cacert", word(&ca)], options, &[&uri]].concat(), "hello\n");
        assert_eq!(output.status.code(), Some(status), "{}", text(&output.stderr));
    }
}

#[test]
fn files_of_no_use_are_named() {
    let pki = Pki::new();
    let (cert, key) = (pki.path("cert.pem"), pki.path("key.pem"));
    let absent = pki.path("absent.pem");
    for (cert, key, culprit) in [(&absent, &key, &absent), (&cert, &absent, &absent), (&cert, &cert, &cert)] {
        let options = ["server", "--listen", "127.0.0.1:0", "--cert", word(cert), "--key", word(key)];
        let output = run(&options, "");
        assert_eq!(output.status.code(), Some(2));
        assert!(text(&output.stderr).contains(word(culprit)), "{}", text(&output.stderr));
    }
    let output = run(&["server", "--client-ca", word(&absent)], "");
    assert_eq!(output.status.code(), Some(2));
}
