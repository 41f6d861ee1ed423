//! Why there is no connection: in three parts, of which the first is the line of Python's client.

use std::io::{Read, Write};
use std::net::TcpListener;

use super::Server;
use super::pipe::{answering, client};

#[test]
fn a_refusal_is_told_with_its_status_and_what_it_says() {
    let server = answering(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 19\r\nserver: envoy\r\n\r\nno healthy\x1bupstream",
    );
    let (status, stdout, stderr) = client(&[&server.uri], "");
    let uri = &server.uri;
    assert_eq!(
        stderr,
        format!(
            "Failed to connect to {uri}: server rejected WebSocket connection: HTTP 503.\n\
             \x20 HTTP/1.1 503 Service Unavailable\n\x20 content-length: 19\n\x20 server: envoy\n\n\
             \x20 no healthy\\x1bupstream\n\
             why: the server, or a proxy before it, cannot take this now\n\
             hint: try again; look at the server's log\n"
        )
    );
    assert_eq!((status, stdout.as_str()), (Some(1), ""));
}

/// Asserts that connecting fails with this exit status, with a first line that has this cause, and
/// with a reason and advice below it that have these words.
fn fails(args: &[&str], status: i32, cause: &str, why: &str, advice: &str) {
    let (code, stdout, stderr) = client(args, "");
    let uri = args.last().expect("a URI");
    let lines: Vec<_> = stderr.lines().collect();
    let [first, reason, hint] = lines[..] else { panic!("not three lines:\n{stderr}") };
    assert!(first.starts_with(&format!("Failed to connect to {uri}: ")) && first.contains(cause), "{first}");
    assert!(first.ends_with('.'), "{first}");
    assert!(reason.starts_with("why: ") && reason.contains(why), "{reason}");
    assert!(hint.starts_with("hint: ") && hint.contains(advice), "{hint}");
    assert_eq!((code, stdout.as_str()), (Some(status), ""));
}

#[test]
fn nobody_listening_is_a_failure() {
    let address = TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("it is bound");
    let cause = format!("connect to {address}: ");
    fails(&[&format!("ws://{address}")], 1, &cause, "nothing listens there", "is this its port?");
    let proxy = format!("http://{address}");
    let cause = format!("proxy {proxy} cannot be reached: connect to {address}: ");
    fails(&["--proxy", &proxy, "ws://h/"], 1, &cause, "through this proxy", "--no-proxy");
    fails(&["--unix", "/no/such/socket", "ws://h/"], 1, "/no/such/socket", "no socket", "its path?");
}

#[test]
fn a_host_without_an_address_is_named() {
    // What the resolver says depends on the machine; that it has no address does not (RFC 6761
    // section 6.4).
    fails(&["ws://no-such-host.invalid:8080"], 1, "no-such-host.invalid", "no name server", "--connect-to");
}

#[test]
fn a_wrong_uri_or_proxy_is_wrong_usage() {
    fails(&["foo"], 2, "foo isn't a valid URI: scheme isn't ws or wss", "ws://", "http://");
    fails(&["ws://h/#frag"], 2, "fragment identifier is meaningless", "never sent", "%23");
    fails(&["ws://h:99999/"], 2, "isn't a valid URI", "port", "65535");
    fails(
        &["--cacert", "/no/such/file", "wss://127.0.0.1:1"],
        2,
        "read /no/such/file",
        "cannot begin without the certificates",
        "name files in PEM",
    );
    assert_eq!(client(&["ws://h/", "--wait", "soon"], "").0, Some(2));
    assert_eq!(client(&["ws://h/", "--proxy", "socks5://h:1"], "").0, Some(2));
}

#[test]
fn a_server_that_does_not_answer_in_time_is_told_from_one_that_hangs_up() {
    let silent = Server::raw(|stream| stream);
    let args = ["--open-timeout", "50ms", &silent.uri];
    fails(&args, 1, "timed out during opening handshake", "not complete in time", "--open-timeout");
    let gone = Server::raw(|mut stream| {
        let mut request = [0; 4096];
        assert_ne!(stream.read(&mut request).expect("the client writes"), 0);
    });
    fails(&[&gone.uri], 1, "closed the connection during opening handshake", "hung up", "wss://");
}

#[test]
fn what_is_no_websocket_server_is_told_by_what_it_speaks() {
    let plain = answering("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n");
    let tls = plain.uri.replace("ws:", "wss:");
    // The request that the server waits for never ends: a ClientHello has no empty line.
    fails(&["--open-timeout", "100ms", "--insecure", &tls], 1, "timed out", "not complete", "-v");
    let mail = answering("220 mail.example ESMTP\r\n\r\n");
    fails(&[&mail.uri], 1, "did not receive a valid HTTP response", "another protocol", "check the port");
    let unproven =
        answering("HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n");
    fails(&[&unproven.uri], 1, "missing Sec-WebSocket-Accept header", "lacks what proves", "-v shows");
}

#[test]
fn tls_to_a_port_that_speaks_none_is_not_an_empty_cause() {
    let plain = Server::raw(|mut stream| {
        let mut hello = [0; 4096];
        assert_ne!(stream.read(&mut hello).expect("the client writes"), 0);
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").expect("the client reads");
        stream
    });
    let uri = plain.uri.replace("ws:", "wss:");
    fails(
        &["--insecure", &uri],
        1,
        "TLS handshake failed: the answer is not TLS",
        "something else than TLS",
        "ws://",
    );
}
