//! Heads, field by field and in their order, on each leg: what the application receives, and what
//! the client.

use serde_json::json;

use crate::support::*;

/// The lines of a head, values that differ from run to run as `*`.
fn shown(head: &str) -> Vec<String> {
    let lines =
        head.strip_suffix("\r\n\r\n").unwrap().split("\r\n").map(|line| match line.split_once(": ") {
            Some((name @ ("date" | "x-envoy-upstream-service-time"), _)) => format!("{name}: *"),
            // An id that this pair has made is a UUID of the fourth version.
            Some((name @ "x-request-id", id)) if id.len() == 36 && id.as_bytes()[14] == b'4' => {
                format!("{name}: *")
            }
            _ => line.to_owned(),
        });
    lines.collect()
}

/// What the application received of a request, and what the client of its answer.
async fn exchanged(hop: Hop, request: &str, answer: &str) -> (Vec<String>, Vec<String>) {
    let application = Application::answering(answer).await;
    let pair = Pair::start(hop, application.address);
    let mut client = send(pair.outbound, request).await;
    let answer = read_head(&mut client).await;
    (shown(&application.head()), shown(&answer))
}

/// A request with these fields besides `Host`.
fn request(target: &str, fields: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: {AUTHORITY}\r\n{fields}\r\n")
}

fn host() -> String {
    format!("host: {AUTHORITY}")
}

const UPGRADE: &str = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\n";

#[tokio::test]
async fn a_handshake_over_http1() {
    let (received, answered) =
        exchanged(Hop::Http1, &request("/chat", &format!("{UPGRADE}User-Agent: raw\r\n")), SWITCHING).await;
    assert_eq!(
        received,
        [
            "GET /chat HTTP/1.1",
            &host(),
            "upgrade: websocket",
            "connection: Upgrade",
            "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
            "sec-websocket-version: 13",
            "user-agent: raw",
            "x-forwarded-proto: http",
            "x-request-id: *",
            "x-envoy-attempt-count: 1",
        ]
    );
    assert_eq!(
        answered,
        [
            "HTTP/1.1 101 Switching Protocols",
            "upgrade: websocket",
            "connection: Upgrade",
            "sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
            "date: *",
            "server: envoy",
        ]
    );
}

#[tokio::test]
async fn a_handshake_over_http2() {
    let fields = "Sec-WebSocket-Protocol: chat, superchat\r\nOrigin: http://example.com\r\nCookie: s=1\r\n\
        Authorization: Bearer x\r\nX-Forwarded-For: 192.0.2.7\r\nX-Request-Id: my-own-id\r\nUser-Agent: raw\r\n\
        X-Own: Value\r\n";
    let answer = SWITCHING.replacen(
        "\r\n\r\n",
        "\r\nSec-WebSocket-Protocol: chat\r\nServer: other\r\nSet-Cookie: a=b\r\n\r\n",
        1,
    );
    let (received, answered) =
        exchanged(Hop::Http2, &request("/chat?room=1", &format!("{UPGRADE}{fields}")), &answer).await;
    assert_eq!(
        received,
        [
            "GET /chat?room=1 HTTP/1.1",
            &host(),
            "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
            "sec-websocket-version: 13",
            "sec-websocket-protocol: chat, superchat",
            "origin: http://example.com",
            "authorization: Bearer x",
            "x-forwarded-for: 192.0.2.7",
            "x-request-id: my-own-id",
            "user-agent: raw",
            "x-own: Value",
            "x-forwarded-proto: http",
            "x-envoy-attempt-count: 1",
            "cookie: s=1",
            "upgrade: websocket",
            "connection: upgrade",
        ]
    );
    assert_eq!(
        answered,
        [
            "HTTP/1.1 101 Switching Protocols",
            "sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
            "sec-websocket-protocol: chat",
            "server: envoy",
            "set-cookie: a=b",
            "date: *",
            "upgrade: websocket",
            "connection: upgrade",
        ]
    );
}

#[tokio::test]
async fn what_belongs_to_one_connection_or_to_the_edge_of_the_mesh_is_not_passed_on() {
    let fields = "User-Agent: raw\r\nTE: trailers\r\nKeep-Alive: 5\r\nProxy-Connection: keep-alive\r\n\
        X-Forwarded-Proto: https\r\nX-Envoy-Attempt-Count: 7\r\nX-Envoy-Upstream-Rq-Timeout-Ms: 5000\r\n\
        X-Envoy-Original-Path: /orig\r\nX-Envoy-Internal: true\r\nX-Envoy-External-Address: 1.2.3.4\r\n\
        X-Forwarded-Client-Cert: abc\r\nX-Forwarded-For: 1.1.1.1, 2.2.2.2\r\nCookie: a=1\r\nCookie: b=2\r\n\
        X-Request-Id: mine\r\nX-Forwarded-Host: h\r\nX-Envoy-Retry-On: 5xx\r\nX-Envoy-Max-Retries: 3\r\n\
        X-Empty:\r\nConnection: close, x-own\r\nX-Own: 1\r\n";
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    let passed_on = [
        "GET /healthz HTTP/1.1".to_owned(),
        host(),
        "user-agent: raw".to_owned(),
        "te: trailers".to_owned(),
        "x-forwarded-proto: https".to_owned(),
        "x-envoy-attempt-count: 1".to_owned(),
        "x-envoy-original-path: /orig".to_owned(),
        "x-envoy-external-address: 1.2.3.4".to_owned(),
        "x-forwarded-for: 1.1.1.1, 2.2.2.2".to_owned(),
    ];
    let rest = ["x-request-id: mine".to_owned(), "x-forwarded-host: h".to_owned(), "x-empty: ".to_owned()];
    let (received, _) = exchanged(Hop::Http1, &request("/healthz", fields), answer).await;
    let cookies = ["cookie: a=1".to_owned(), "cookie: b=2".to_owned()];
    assert_eq!(received, [&passed_on[..], &cookies, &rest].concat());
    // HTTP/2 joins cookies again, at the end.
    let (received, _) = exchanged(Hop::Http2, &request("/healthz", fields), answer).await;
    assert_eq!(received, [&passed_on[..], &rest, &["cookie: a=1; b=2".to_owned()]].concat());
}

#[tokio::test]
async fn an_answer_keeps_its_own_fields_and_gets_the_name_of_the_proxy() {
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nServer: a\r\nServer: b\r\nDate: yesterday\r\n\
        Connection: keep-alive, x-a\r\nX-A: 1\r\nKeep-Alive: 5\r\nProxy-Connection: x\r\nX-Request-Id: r\r\n\
        X-Envoy-Foo: 1\r\nTrailer: x\r\nUpgrade: h2\r\n\r\nok";
    for hop in [Hop::Http1, Hop::Http2] {
        let (_, answered) = exchanged(hop, &request("/healthz", "Connection: close\r\n"), answer).await;
        assert_eq!(
            answered,
            [
                "HTTP/1.1 200 OK",
                "content-length: 2",
                "server: envoy",
                "date: *",
                "x-a: 1",
                "x-request-id: r",
                "x-envoy-foo: 1",
                "trailer: x",
                "x-envoy-upstream-service-time: *",
                "connection: close",
            ],
            "the hop-by-hop fields alone are gone"
        );
    }
}

#[tokio::test]
async fn the_dates_of_applications_are_kept_and_the_name_is_each_sidecars_own() {
    let answer =
        "HTTP/1.1 200 OK\r\nDate: yesterday\r\nServer: app\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    for hop in [Hop::Http1, Hop::Http2] {
        let application = Application::answering(answer).await;
        let pair = Pair::start(hop, application.address);
        for (address, server) in [(pair.outbound, "envoy"), (pair.inbound, "istio-envoy")] {
            let mut client = send(address, get("/")).await;
            let head = read_head(&mut client).await;
            assert!(head.contains("\r\ndate: yesterday\r\n"), "{head}");
            assert!(head.contains(&format!("\r\nserver: {server}\r\n")), "{head}");
        }
    }
}

#[tokio::test]
async fn answers_of_the_proxy_itself_have_their_own_order() {
    let sidecar = Alone::outbound(Hop::Http1, nobody(), |mesh| {
        *route(&mut mesh.virtual_hosts[0]).1 = websockets_cli::mesh::RetryPolicy::default();
    });
    let mut client = send(sidecar.address, handshake()).await;
    let with_a_body = [
        "HTTP/1.1 503 Service Unavailable",
        "content-length: 98",
        "content-type: text/plain",
        "date: *",
        "server: envoy",
        "connection: close",
    ];
    assert_eq!(shown(&read_head(&mut client).await), with_a_body);
    // A plain request is complete: the connection is kept.
    let mut client = send(sidecar.address, get("/")).await;
    assert_eq!(shown(&read_head(&mut client).await), with_a_body[..5]);
    let mut client = send(sidecar.address, "GET / HTTP/1.1\r\nHost: elsewhere\r\n\r\n").await;
    assert_eq!(
        shown(&read_head(&mut client).await),
        ["HTTP/1.1 404 Not Found", "date: *", "server: envoy", "content-length: 0"]
    );
}

#[tokio::test]
async fn the_id_and_what_was_forwarded_are_in_both_lines() {
    for hop in [Hop::Http1, Hop::Http2] {
        let pair = Pair::start(hop, echo());
        let fields = "X-Request-Id: mine\r\nX-Forwarded-For: 1.1.1.1, 2.2.2.2\r\nUser-Agent: raw\r\n\
            X-Envoy-Original-Path: /orig\r\nConnection: close\r\n";
        ask(pair.outbound, request("/healthz", fields)).await;
        let (client, server) = pair.one_line_each().await;
        for line in [client, server] {
            assert_eq!(line["request_id"], "mine");
            assert_eq!(line["x_forwarded_for"], "1.1.1.1, 2.2.2.2");
            assert_eq!(line["user_agent"], "raw");
            assert_eq!(line["path"], "/orig");
            assert_eq!(line["downstream_remote_address"], json!("2.2.2.2:0"));
        }
    }
}

#[tokio::test]
async fn no_length_goes_with_a_response_that_cannot_have_a_body() {
    let no_content = "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n";
    let switching = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                     Content-Length: 0\r\n\r\n";
    for hop in [Hop::Http1, Hop::Http2] {
        for (request, answer, status) in
            [(get("/"), no_content, "HTTP/1.1 204 "), (handshake(), switching, "HTTP/1.1 101 ")]
        {
            let pair = Pair::start(hop, Application::answering(answer).await.address);
            let seen = read_head(&mut send(pair.outbound, request).await).await;
            assert!(seen.starts_with(status) && !seen.contains("content-length"), "{seen}");
        }
    }
}

/// What an application receives of a request with this method and these fields.
async fn received(hop: Hop, method: &str, fields: &str) -> String {
    let application = Application::answering("HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n").await;
    let pair = Pair::start(hop, application.address);
    let request = format!("{method} / HTTP/1.1\r\nHost: {AUTHORITY}\r\n{fields}\r\n");
    read_head(&mut send(pair.outbound, request).await).await;
    application.head()
}

#[tokio::test]
async fn a_request_without_a_body_says_so_where_its_method_leaves_it_open() {
    for hop in [Hop::Http1, Hop::Http2] {
        for (method, said) in [("OPTIONS", true), ("POST", true), ("GET", false), ("DELETE", false)] {
            let head = received(hop, method, "").await;
            assert_eq!(head.contains("content-length: 0\r\n"), said, "{head}");
        }
    }
}

#[tokio::test]
async fn a_handshake_with_an_empty_body_loses_its_length_on_the_way_over_http2() {
    let fields = "Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\n";
    for (hop, kept) in [(Hop::Http1, true), (Hop::Http2, false)] {
        let head = received(hop, "GET", fields).await;
        assert_eq!(head.contains("content-length: 0\r\n"), kept, "{head}");
    }
}

#[tokio::test]
async fn the_heads_of_responses_may_have_80_kib_over_http1_and_60_over_http2() {
    let reset = "upstream_reset_before_response_started{remote_reset}";
    for (hop, kib, code, flags, details) in [
        (Hop::Http1, 70, 200, "-", "via_upstream"),
        (Hop::Http2, 59, 200, "-", "via_upstream"),
        (Hop::Http2, 70, 503, "UR", reset),
        (Hop::Http1, 81, 502, "-", "via_upstream"),
    ] {
        let big = "b".repeat(kib * 1024);
        let answer = format!("HTTP/1.1 200 OK\r\nX-Big: {big}\r\nContent-Length: 2\r\n\r\nok");
        let pair = Pair::start(hop, Application::answering(answer).await.address);
        read_head(&mut send(pair.outbound, get("/")).await).await;
        let (client, _) = pair.one_line_each().await;
        assert_eq!(client["response_code"], code, "{kib} KiB");
        assert_eq!(client["response_flags"], flags, "{kib} KiB");
        assert_eq!(client["response_code_details"], details, "{kib} KiB");
    }
}
