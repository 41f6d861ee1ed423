//! Requests at the edge of HTTP/1.1: what is refused before it is a request, and what is odd and
//! goes on all the same.

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use crate::support::*;

/// A request for `/healthz` on a connection that ends with it, with a field of the test's choice.
fn healthz(field: &str) -> String {
    format!("GET /healthz HTTP/1.1\r\nHost: {AUTHORITY}\r\n{field}Connection: close\r\n\r\n")
}

/// A handshake in which something is replaced.
fn altered(from: &str, to: &str) -> String {
    let request = String::from_utf8(handshake()).unwrap();
    assert!(request.contains(from), "{from}");
    request.replacen(from, to, 1)
}

#[tokio::test]
async fn a_request_head_that_is_cut_off_leaves_a_line_from_its_first_byte_on() {
    for bytes in ["G", "\r\n", "GET / HTTP/1.1\r\nHo"] {
        let pair = Pair::start(Hop::Http1, echo());
        drop(send(pair.outbound, bytes).await);
        let lines = pair.wait_for_lines("client", 1).await;
        assert_eq!(ending(&lines[0]), json!([0, "DC", "downstream_remote_disconnect", 0, 0]));
        assert_eq!(lines[0]["method"], Value::Null);
    }
}

#[tokio::test]
async fn a_connection_without_a_byte_leaves_no_line() {
    let pair = Pair::start(Hop::Http1, echo());
    let mut socket = send(pair.outbound, b"").await;
    socket.shutdown().await.unwrap();
    assert_eq!(read_all(&mut socket).await, b"");
    drop(open_session(pair.outbound).await);
    assert_eq!(pair.wait_for_lines("client", 1).await[0]["method"], "GET");
}

#[tokio::test]
async fn what_is_no_http1_request_is_answered_and_logged_without_one() {
    let many = "x: y\r\n".repeat(120);
    let long = "r".repeat(70_000);
    let handshake_1_0 = altered("HTTP/1.1", "HTTP/1.0");
    let get = healthz("");
    let cases = [
        (handshake_1_0, 426, "low_version"),
        ("GET /healthz HTTP/1.0\r\n\r\n".to_owned(), 426, "low_version"),
        ("GET /\r\n\r\n".to_owned(), 426, "low_version"),
        ("GET / HTTP/2.0\r\nHost: x\r\n\r\n".to_owned(), 426, "low_version"),
        ("GET / HTTP/1.2\r\nHost: x\r\n\r\n".to_owned(), 426, "low_version"),
        ("\0\u{1}\u{2}garbage\r\n\r\n".to_owned(), 400, "http1.codec_error"),
        (healthz("Bad Field: x\r\n"), 400, "http1.codec_error"),
        (healthz("Bad\r\n"), 400, "http1.codec_error"),
        (healthz("X: a\0b\r\n"), 400, "http1.invalid_characters"),
        (healthz(&many), 431, "http1.too_many_headers"),
        (healthz(&format!("X: {long}\r\n")), 431, "http1.headers_too_large"),
        (get.replace("/healthz", &format!("/{long}")), 431, "http1.headers_too_large"),
        (
            healthz("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n"),
            400,
            "http1.content_length_and_chunked_not_allowed",
        ),
        (healthz("Content-Length: abc\r\n"), 400, "http1.codec_error"),
        (healthz("Content-Length: 3\r\nContent-Length: 4\r\n"), 400, "http1.codec_error"),
        (healthz("Transfer-Encoding: gzip\r\n"), 501, "http1.invalid_transfer_encoding"),
        (healthz("Transfer-Encoding: gzip, chunked\r\n"), 501, "http1.invalid_transfer_encoding"),
        (get.replacen("GET", "G@T", 1), 400, "http1.codec_error"),
        (get.replacen("GET", "FOO", 1), 400, "http1.codec_error"),
        (get.replacen("GET", "get", 1), 400, "http1.codec_error"),
        (get.replacen("/healthz", "healthz", 1), 400, "http1.codec_error"),
        (get.replacen("/healthz", "?x=1", 1), 400, "http1.codec_error"),
        (get.replacen("/healthz", "/ä", 1), 400, "http1.codec_error"),
        (altered("GET /", &format!("GET ws://{AUTHORITY}/")), 400, "http1.invalid_scheme"),
        (get.replacen(AUTHORITY, "a b", 1), 400, "http.invalid_authority"),
    ];
    let sidecar = Alone::outbound(Hop::Http1, nobody(), |_| {});
    for (number, (request, code, details)) in cases.into_iter().enumerate() {
        let mut client = send(sidecar.address, &request).await;
        let head = read_head(&mut client).await;
        let shown = &request[..request.len().min(100)];
        assert!(head.starts_with(&format!("HTTP/1.1 {code} ")), "{shown}: {head}");
        let fields = "\r\ncontent-type: text/plain\r\n";
        assert!(head.contains(fields) && head.ends_with("\r\nconnection: close\r\n\r\n"), "{shown}: {head}");
        let line = sidecar.lines(number + 1).await.pop().unwrap();
        let body = line["bytes_sent"].as_u64().unwrap();
        assert!(head.contains(&format!("\r\ncontent-length: {body}\r\n")), "{shown}: {head}");
        assert_eq!(ending(&line), json!([code, "DPE", details, 0, body]), "{shown}");
        for key in ["method", "path", "authority", "request_id", "route_name", "upstream_cluster"] {
            assert_eq!(line[key], Value::Null, "{shown}: {key}");
        }
        assert_eq!(line["protocol"], "HTTP/1.1");
    }
}

#[tokio::test]
async fn a_request_that_nothing_is_done_with_has_no_request_id() {
    let sidecar = Alone::outbound(Hop::Http1, nobody(), |_| {});
    let without_host = altered(&format!("Host: {AUTHORITY}\r\n"), "");
    let options = healthz("").replacen("GET /healthz", "OPTIONS *", 1);
    for (number, (request, code, details)) in [
        (without_host, 400, "missing_host_header"),
        ("GET /healthz HTTP/1.1\r\n\r\n".to_owned(), 400, "missing_host_header"),
        (options, 404, "absolute_path_rejected"),
        (altered("GET /", "GET /a%00b"), 400, "path_normalization_failed"),
    ]
    .into_iter()
    .enumerate()
    {
        let answer = ask(sidecar.address, &request).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {code} ")), "{answer}");
        assert!(answer.ends_with("\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"), "{answer}");
        let line = sidecar.lines(number + 1).await.pop().unwrap();
        assert_eq!(ending(&line), json!([code, "-", details, 0, 0]));
        assert_eq!(line["method"], request[..request.find(' ').unwrap()]);
        assert_eq!((&line["request_id"], &line["route_name"]), (&Value::Null, &Value::Null));
    }
}

#[tokio::test]
async fn connect_is_a_request_that_no_route_takes() {
    let sidecar = Alone::outbound(Hop::Http1, nobody(), |_| {});
    for (number, authority) in [AUTHORITY, "example.com:443"].into_iter().enumerate() {
        let request = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n");
        assert!(ask(sidecar.address, request).await.starts_with("HTTP/1.1 404 Not Found\r\n"));
        let line = sidecar.lines(number + 1).await.pop().unwrap();
        assert_eq!(ending(&line), json!([404, "NR", "route_not_found", 0, 0]));
        assert_eq!((&line["method"], &line["path"]), (&json!("CONNECT"), &Value::Null));
        assert_eq!(line["authority"], authority);
        assert!(line["request_id"].is_string());
    }
}

#[tokio::test]
async fn a_chunk_that_is_none_is_400_with_the_request_in_the_line() {
    let sidecar = Alone::outbound(Hop::Http1, echo(), |_| {});
    let request =
        format!("POST /p HTTP/1.1\r\nHost: {AUTHORITY}\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n");
    let answer = ask(sidecar.address, request).await;
    assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nBad Request"), "{answer}");
    let line = sidecar.line().await;
    assert_eq!(ending(&line), json!([400, "DPE", "http1.codec_error", 0, 11]));
    assert_eq!((&line["method"], &line["route_name"]), (&json!("POST"), &json!("default")));
    assert_eq!(line["upstream_local_address"], Value::Null);
}

#[tokio::test]
async fn an_absolute_target_names_the_authority_instead_of_host() {
    for scheme in ["http", "https"] {
        let application = Application::answering("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
        let pair = Pair::start(Hop::Http1, application.address);
        let request = healthz("").replacen("/healthz", &format!("{scheme}://{AUTHORITY}/healthz"), 1);
        let request = request.replacen(&format!("Host: {AUTHORITY}"), "Host: other", 1);
        assert!(ask(pair.outbound, request).await.starts_with("HTTP/1.1 200 OK\r\n"));
        let head = application.head();
        assert!(head.starts_with(&format!("GET /healthz HTTP/1.1\r\nhost: {AUTHORITY}\r\n")), "{head}");
        let (client, server) = pair.one_line_each().await;
        assert_eq!(client["authority"], AUTHORITY);
        assert_eq!(server["authority"], AUTHORITY);
    }
}

#[tokio::test]
async fn several_hosts_are_one_list_and_odd_line_ends_are_taken() {
    for (request, field) in [
        (
            healthz("").replacen("\r\nConnection", "\r\nHost: other\r\nConnection", 1),
            format!("host: {AUTHORITY},other"),
        ),
        (healthz("").replace("\r\n", "\n"), format!("host: {AUTHORITY}")),
        (format!("\r\n\r\n{}", healthz("")), format!("host: {AUTHORITY}")),
        (healthz("X_Under: 1\r\n"), "x_under: 1".to_owned()),
        (healthz("X-A: b\r\n c\r\n"), "x-a: b c".to_owned()),
    ] {
        let application = Application::answering("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
        let pair = Pair::start(Hop::Http1, application.address);
        let answer = ask(pair.outbound, &request).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{request}: {answer}");
        assert!(application.head().contains(&format!("\r\n{field}\r\n")), "{}", application.head());
    }
}

#[tokio::test]
async fn paths_reach_the_application_in_normal_form() {
    let application = Application::answering("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").await;
    let pair = Pair::start(Hop::Http2, application.address);
    for (number, (path, normal)) in [
        ("/a/../b", "/b"),
        ("/a/./b//c", "/a/b//c"),
        ("/%2e%2e/x", "/x"),
        ("/a%2Fb", "/a%2Fb"),
        ("/a\\b", "/a/b"),
        ("/x?y=1#frag", "/x?y=1"),
        ("/..", "/"),
        ("/%zz", "/%zz"),
        ("/a/b/../../../c?x=/../y", "/c?x=/../y"),
        ("/%7Euser", "/~user"),
        ("/a;b=1", "/a;b=1"),
        ("/?", "/?"),
    ]
    .into_iter()
    .enumerate()
    {
        ask(pair.outbound, altered("GET /", &format!("GET {path}"))).await;
        let line = pair.wait_for_lines("client", number + 1).await.pop().unwrap();
        assert_eq!(line["path"], normal);
        let line = pair.wait_for_lines("server", number + 1).await.pop().unwrap();
        assert_eq!(line["path"], normal);
        let head = application.heads().pop().unwrap();
        assert!(head.starts_with(&format!("GET {normal} HTTP/1.1\r\n")), "{path}: {head}");
    }
}

#[tokio::test]
async fn which_upgrades_are_taken_which_are_refused_and_which_are_none() {
    for hop in [Hop::Http1, Hop::Http2] {
        let answer = "HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        let application = Application::answering(answer).await;
        let pair = Pair::start(hop, application.address);
        for (from, to, code, upgrade) in [
            // No upgrade: the request goes on as a plain one, without these fields.
            ("Upgrade: websocket", "Upgrade: h2c", 426, false),
            ("Connection: Upgrade\r\n", "", 426, false),
            ("Upgrade: websocket\r\n", "", 426, false),
            // An upgrade that is taken.
            ("Upgrade: websocket", "Upgrade: WebSocket", 426, true),
            ("Connection: Upgrade", "Connection: keep-alive, Upgrade", 426, true),
            // An upgrade that is not.
            ("Upgrade: websocket", "Upgrade: foo", 403, true),
            ("Upgrade: websocket", "Upgrade: websocket, foo", 403, true),
        ] {
            let seen = application.heads().len();
            let mut client = send(pair.outbound, altered(from, to)).await;
            let head = read_head(&mut client).await;
            assert!(head.starts_with(&format!("HTTP/1.1 {code} ")), "{to}: {head}");
            // Only a plain request is complete, so that its connection can be kept.
            assert_eq!(head.contains("\r\nconnection: close\r\n"), upgrade, "{to}: {head}");
            assert_eq!(head.contains("\r\nx-envoy-upstream-service-time: "), !upgrade, "{to}: {head}");
            let heads = application.heads();
            assert_eq!(heads.len() - seen, usize::from(code != 403), "{to}");
            if let Some(head) = heads.get(seen) {
                assert_eq!(head.contains("\r\nupgrade: "), upgrade, "{to}: {head}");
                assert_eq!(head.contains("\r\nconnection: "), upgrade, "{to}: {head}");
            }
        }
    }
}

#[tokio::test]
async fn without_upgrade_types_every_upgrade_is_refused() {
    let sidecar = Alone::outbound(Hop::Http1, nobody(), |mesh| {
        mesh.connection_manager.upgrade_types.clear();
    });
    assert!(ask(sidecar.address, handshake()).await.starts_with("HTTP/1.1 403 Forbidden\r\n"));
    assert_eq!(sidecar.line().await["response_code_details"], "upgrade_failed");
}

#[tokio::test]
async fn a_handshake_by_post_is_passed_on_as_it_is() {
    let application =
        Application::answering("HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n").await;
    let pair = Pair::start(Hop::Http1, application.address);
    let mut client = send(pair.outbound, altered("GET", "POST")).await;
    assert!(read_head(&mut client).await.starts_with("HTTP/1.1 405 "));
    client.shutdown().await.unwrap();
    let (client, server) = pair.one_line_each().await;
    assert_eq!((&client["method"], &server["method"]), (&json!("POST"), &json!("POST")));
    let head = application.head();
    assert!(head.starts_with("POST / HTTP/1.1\r\n") && head.contains("\r\nupgrade: websocket\r\n"), "{head}");
}

#[tokio::test]
async fn a_malformed_length_is_refused_in_a_handshake_too() {
    for fields in ["Content-Length: abc\r\n", "Content-Length: 3\r\nContent-Length: 3\r\n"] {
        let pair = Pair::start(Hop::Http1, echo());
        let seen =
            ask(pair.outbound, altered("Upgrade: websocket\r\n", &format!("Upgrade: websocket\r\n{fields}")))
                .await;
        assert!(seen.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{seen}");
        let lines = pair.wait_for_lines("client", 1).await;
        assert_eq!(ending(&lines[0]), json!([400, "DPE", "http1.codec_error", 0, 11]));
        assert_eq!(lines[0]["method"], Value::Null);
    }
}
