//! `server --health`: what a container's health check asks, and what it is told.

use std::io::{Read, Write};
use std::net::TcpListener;

use super::server;
use super::tls::{Pki, word};
use crate::support::{run, text};

/// Exit status and standard error of the question.
fn health(options: &[&str]) -> (Option<i32>, String) {
    let output = run(&[&["server", "--health"], options].concat(), "");
    (output.status.code(), text(&output.stderr))
}

#[test]
fn a_server_that_answers_is_healthy() {
    let (_server, address) = server(&[]);
    assert_eq!(health(&["--listen", &address.to_string()]), (Some(0), String::new()));
    // A server that refuses sessions, or others' origins, is well.
    let (_server, address) = server(&["--reject", "503", "--origin", "https://example.com"]);
    assert_eq!(health(&["--listen", &address.to_string()]), (Some(0), String::new()));
}

#[test]
fn a_port_where_nobody_listens_is_not_healthy() {
    let address = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its address");
    let (status, said) = health(&["--listen", &address.to_string()]);
    assert_eq!(status, Some(1), "{said}");
    assert!(said.starts_with(&format!("error: no connection to {address}: ")), "{said}");
}

#[test]
fn what_answers_otherwise_or_never_is_not_healthy() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    let served = std::thread::spawn(move || {
        for answer in ["HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n", ""] {
            let (mut stream, _) = listener.accept().expect("a question");
            assert!(stream.read(&mut [0; 1024]).expect("a request") > 0);
            stream.write_all(answer.as_bytes()).expect("the answer is taken");
        }
    });
    let listen = ["--listen", &address.to_string()];
    let refused = "error: GET /healthz was answered with 503 Service Unavailable\n";
    assert_eq!(health(&listen), (Some(1), refused.to_owned()));
    let (status, said) = health(&listen);
    assert_eq!(status, Some(1), "{said}");
    assert!(said.starts_with("error: no answer to GET /healthz: "), "{said}");
    served.join().expect("both were asked");
}

#[test]
fn a_server_that_speaks_tls_is_asked_over_tls() {
    let pki = Pki::new();
    let (ca, cert, key) = (pki.path("ca.pem"), pki.path("cert.pem"), pki.path("key.pem"));
    let tls = ["--cert", word(&cert), "--key", word(&key)];
    let (_server, address) = server(&tls);
    let listen = address.to_string();
    let asked = [&["--listen", listen.as_str()], &tls[..]].concat();
    assert_eq!(health(&asked), (Some(0), String::new()));
    // Of a server that asks its clients for certificates, the server's own is good if the same CA
    // made it.
    let (_server, address) = server(&[&tls[..], &["--client-ca", word(&ca)]].concat());
    let listen = address.to_string();
    let asked = [&["--listen", listen.as_str()], &tls[..]].concat();
    assert_eq!(health(&asked), (Some(0), String::new()));
    assert_eq!(health(&["--listen", &listen]).0, Some(1), "in plain text");
}
