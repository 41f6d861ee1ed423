//! Messages that two hops could read in two ways: each sidecar refuses them, or passes on what can
//! be read in one way only.

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use crate::support::*;

const BODY_OF_ONE_CHUNK: &str = "5\r\nhello\r\n0\r\n\r\n";

/// An application that answers everything with 200, and the sidecar before it, in each role.
async fn each_role() -> [(Application, Alone); 2] {
    // It answers one request a connection.
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
    let (first, second) = (Application::answering(answer).await, Application::answering(answer).await);
    let outbound = Alone::outbound(Hop::Http1, first.address, |_| {});
    let inbound = Alone::inbound(Hop::Http1, second.address, |_| {});
    [(first, outbound), (second, inbound)]
}

/// A request with this line, these fields beside `Host`, and what follows the head.
fn request(line: &str, fields: &str, rest: &str) -> String {
    format!("{line}\r\nHost: {AUTHORITY}\r\n{fields}\r\n{rest}")
}

/// With another request behind it.
fn followed(request: &str) -> String {
    format!("{request}GET /next HTTP/1.1\r\nHost: {AUTHORITY}\r\n\r\n")
}

#[tokio::test]
async fn a_request_of_two_readings_is_refused_with_all_that_follows_and_never_reaches_the_application() {
    let post = |fields: &str, rest: &str| request("POST /p HTTP/1.1", fields, rest);
    let get = |line: &str| request(line, "", "");
    let upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\n";
    let many = |count: usize| {
        let names: Vec<String> = (0..count).map(|number| format!("x-{number}")).collect();
        request("GET / HTTP/1.1", &format!("Connection: {}\r\n", names.join(", ")), "")
    };
    let codec = "http1.codec_error";
    let coding = "http1.invalid_transfer_encoding";
    let both = "http1.content_length_and_chunked_not_allowed";
    let nominated = "http1.connection_header_rejected";
    let cases = [
        (post("Content-Length: +5\r\n", "hello"), 400, codec),
        (post("Content-Length: 5, 5\r\n", "hello"), 400, codec),
        (post("Content-Length: 0x5\r\n", "hello"), 400, codec),
        (post("Content-Length: 5\r\nContent-Length: 5\r\n", "hello"), 400, codec),
        (post("Content-Length:\r\n", ""), 400, codec),
        (post("Transfer-Encoding: chunked,\r\n", BODY_OF_ONE_CHUNK), 501, coding),
        (post("Transfer-Encoding: ,chunked\r\n", BODY_OF_ONE_CHUNK), 501, coding),
        (post("Transfer-Encoding: chunked, identity\r\n", BODY_OF_ONE_CHUNK), 501, coding),
        (post("Transfer-Encoding: identity, chunked\r\n", BODY_OF_ONE_CHUNK), 501, coding),
        (post("Transfer-Encoding: xchunked\r\n", BODY_OF_ONE_CHUNK), 501, coding),
        (
            post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", BODY_OF_ONE_CHUNK),
            501,
            coding,
        ),
        (post("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", BODY_OF_ONE_CHUNK), 400, both),
        (post("Transfer-Encoding : chunked\r\n", BODY_OF_ONE_CHUNK), 400, codec),
        (post("X: 1\0\r\n", ""), 400, "http1.invalid_characters"),
        (post(": 1\r\n", ""), 400, codec),
        // An upgrade is no way around it.
        (request("GET / HTTP/1.1", &format!("{upgrade}Transfer-Encoding: gzip\r\n"), "hello"), 501, coding),
        (
            request("GET / HTTP/1.1", &format!("{upgrade}Transfer-Encoding: chunked, chunked\r\n"), ""),
            501,
            coding,
        ),
        (
            request(
                "GET / HTTP/1.1",
                &format!("{upgrade}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"),
                "",
            ),
            400,
            both,
        ),
        (get("GET /a b HTTP/1.1"), 400, codec),
        (get("GET /a b HTTP/2.0"), 400, codec),
        (get("GET / http/1.1"), 400, codec),
        (get("GET / HTTPS/1.1"), 400, codec),
        (get("M-SEARCH / HTTP/1.1"), 400, codec),
        (get("GET http://a_b/ HTTP/1.1"), 400, "http1.invalid_url"),
        (get("GET http://a@b@c/ HTTP/1.1"), 400, "http1.invalid_url"),
        (get("GET * HTTP/1.1"), 400, "http1.invalid_url"),
        (get("CONNECT a HTTP/1.1"), 400, "http1.invalid_url"),
        (
            request("GET / HTTP/1.1", "Connection: x-forwarded-for\r\nX-Forwarded-For: 1.1.1.1\r\n", ""),
            400,
            nominated,
        ),
        (request("GET / HTTP/1.1", "Connection: close, X-Forwarded-Host\r\n", ""), 400, nominated),
        (request("GET / HTTP/1.1", "Connection: a\r\nConnection: x-forwarded-proto\r\n", ""), 400, nominated),
        (request("GET / HTTP/1.1", "Connection: :path\r\n", ""), 400, nominated),
        (many(10), 400, nominated),
    ];
    for (application, sidecar) in each_role().await {
        for (number, (request, code, details)) in cases.iter().enumerate() {
            let mut client = send(sidecar.address, followed(request)).await;
            let head = read_head(&mut client).await;
            assert!(head.starts_with(&format!("HTTP/1.1 {code} ")), "{request}: {head}");
            let line = sidecar.lines(number + 1).await.pop().unwrap();
            let of_line = json!([line["response_flags"], line["response_code_details"], line["method"]]);
            assert_eq!(of_line, json!(["DPE", details, Value::Null]), "{request}");
        }
        assert_eq!(application.heads(), Vec::<String>::new());
        // One name less, and an application that is asked.
        let mut client = send(sidecar.address, many(9)).await;
        assert!(read_head(&mut client).await.starts_with("HTTP/1.1 200 "));
    }
}

#[tokio::test]
async fn a_chunk_that_does_not_end_with_cr_lf_ends_the_request() {
    for (application, sidecar) in each_role().await {
        for (number, body) in [
            "5;a\nb\r\nhello\r\n0\r\n\r\n",
            "5;\nxx\r\nhello\r\n0\r\n\r\n",
            "5;a=b\nhello\r\n0\r\n\r\n",
            "5;a\rb\r\nhello\r\n0\r\n\r\n",
            "5\nhello\r\n0\r\n\r\n",
            "0x5\r\nhello\r\n0\r\n\r\n",
            "+5\r\nhello\r\n0\r\n\r\n",
            "5\r\nhello0\r\n\r\n",
            "5\r\nhello\r\n0\n\r\n",
            "5\r\nhello\r\n0\r\nX-T : 1\r\n\r\n",
        ]
        .into_iter()
        .enumerate()
        {
            let request = request("POST /p HTTP/1.1", "Transfer-Encoding: chunked\r\n", body);
            let mut client = send(sidecar.address, followed(&request)).await;
            let head = read_head(&mut client).await;
            assert!(head.starts_with("HTTP/1.1 400 "), "{body:?}: {head}");
            let line = sidecar.lines(number + 1).await.pop().unwrap();
            assert_eq!(line["response_code_details"], "http1.codec_error", "{body:?}");
            assert_eq!(line["path"], "/p");
        }
        assert!(application.heads().iter().all(|head| head.starts_with("POST /p ")));
    }
}

#[tokio::test]
async fn connection_removes_what_a_client_may_remove_and_nothing_that_this_hop_makes() {
    let fields =
        "X-Own: 1\r\nUser-Agent: ua\r\nX-Request-Id: mine\r\nTE: gzip, trailers\r\nKeep-Alive: 5\r\n";
    for (connection, kept) in [
        ("x-own", "user-agent te x-forwarded-proto x-request-id"),
        ("X-OWN ,\tuser-agent,,", "te x-forwarded-proto x-request-id"),
        ("x-own, @, \u{ff}, user-agent", "te x-forwarded-proto x-request-id"),
        ("te, close, keep-alive, upgrade, connection", "x-own user-agent te x-forwarded-proto x-request-id"),
        ("x-request-id", "x-own user-agent te x-forwarded-proto x-request-id"),
        ("\"x-own\"", "x-own user-agent te x-forwarded-proto x-request-id"),
        ("content-length, x-own", "user-agent te x-forwarded-proto x-request-id transfer-encoding"),
    ] {
        for (application, sidecar) in each_role().await {
            let fields = format!("Connection: {connection}\r\n{fields}Content-Length: 5\r\n");
            let mut client = send(sidecar.address, request("POST / HTTP/1.1", &fields, "hello")).await;
            let head = read_head(&mut client).await;
            assert!(head.starts_with("HTTP/1.1 200 "), "{connection}: {head}");
            let head = application.head();
            let names: Vec<&str> = head.lines().filter_map(|line| Some(line.split_once(": ")?.0)).collect();
            let mut kept: Vec<&str> = kept.split(' ').collect();
            if connection != "x-request-id" {
                // The client's own stays where it was.
                kept.retain(|name| *name != "x-request-id");
            }
            for name in &kept {
                assert!(names.contains(name), "{connection}: {name} in {head}");
            }
            for name in ["x-own", "user-agent"] {
                assert_eq!(names.contains(&name), kept.contains(&name), "{connection}: {name} in {head}");
            }
            assert!(head.contains("\r\nte: trailers\r\n"), "{head}");
            let id = head.contains("\r\nx-request-id: mine\r\n");
            assert_eq!(id, connection != "x-request-id", "{head}");
        }
    }
}

#[tokio::test]
async fn a_client_cannot_have_its_host_removed() {
    for (application, sidecar) in each_role().await {
        let mut client = send(sidecar.address, request("GET / HTTP/1.1", "Connection: host\r\n", "")).await;
        assert!(read_head(&mut client).await.starts_with("HTTP/1.1 400 "));
        assert_eq!(sidecar.line().await["response_code_details"], "missing_host_header");
        assert_eq!(application.heads().len(), 0);
    }
}

#[tokio::test]
async fn fields_that_may_be_there_once_are_one_list() {
    let twice = |name: &str| format!("{name}: a\r\nX: 1\r\n{name}: b\r\n");
    for (application, sidecar) in each_role().await {
        for name in
            ["user-agent", "x-forwarded-for", "x-request-id", "x-envoy-original-path", "x-forwarded-proto"]
        {
            let mut client = send(sidecar.address, request("GET / HTTP/1.1", &twice(name), "")).await;
            read_head(&mut client).await;
            let head = application.heads().pop().unwrap();
            assert!(head.contains(&format!("\r\n{name}: a,b\r\nx: 1\r\n")), "{head}");
            assert_eq!(head.matches(&format!("\r\n{name}: ")).count(), 1, "{head}");
        }
        // A list is no upgrade that is taken, in whatever way it is written.
        let count = application.heads().len();
        for second in ["websocket", "h2c", "foo"] {
            let fields = format!("Upgrade: websocket\r\nConnection: Upgrade\r\nUpgrade: {second}\r\n");
            let mut client = send(sidecar.address, request("GET / HTTP/1.1", &fields, "")).await;
            let head = read_head(&mut client).await;
            assert!(head.starts_with("HTTP/1.1 403 "), "{second}: {head}");
        }
        assert_eq!(application.heads().len(), count);
    }
}

#[tokio::test]
async fn userinfo_is_no_part_of_the_authority_and_an_empty_id_is_none() {
    for (application, sidecar) in each_role().await {
        let line = format!("GET http://user:password@{AUTHORITY}/a HTTP/1.1");
        let mut client = send(sidecar.address, request(&line, "X-Request-Id:\r\n", "")).await;
        assert!(read_head(&mut client).await.starts_with("HTTP/1.1 200 "));
        let head = application.head();
        assert!(head.starts_with(&format!("GET /a HTTP/1.1\r\nhost: {AUTHORITY}\r\n")), "{head}");
        drop(client);
        let line = sidecar.line().await;
        assert_eq!(line["authority"], AUTHORITY);
        assert_eq!(line["request_id"].as_str().map(str::len), Some(36));
    }
}

#[tokio::test]
async fn an_answer_of_two_readings_is_a_protocol_error_whether_an_upgrade_was_asked_for_or_not() {
    let reset = "upstream_reset_before_response_started{protocol_error}";
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked,\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: identity\r\n\r\n",
        "\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "\nHTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    ] {
        for request in [get("/"), handshake()] {
            let application = Application::answering(answer).await;
            let sidecar = Alone::inbound(Hop::Http1, application.address, |_| {});
            let mut client = send(sidecar.address, request).await;
            let head = read_head(&mut client).await;
            assert!(head.starts_with("HTTP/1.1 502 "), "{answer:?}: {head}");
            client.shutdown().await.unwrap();
            let line = sidecar.line().await;
            assert_eq!(line["response_code_details"], reset, "{answer:?}");
            assert_eq!(line["response_flags"], "UPE", "{answer:?}");
        }
    }
}

#[tokio::test]
async fn an_http2_request_of_two_readings_ends_its_connection() {
    type Changes = &'static [(&'static str, &'static str)];
    let (invalid, violation) = ("http2.invalid.header.field", "http2.violation.of.messaging.rule");
    let cases: [(&str, Changes, &str); 13] = [
        ("content-length: ", &[("content-length", "")], invalid),
        ("several lengths", &[("content-length", "0"), ("content-length", "0")], invalid),
        ("userinfo", &[(":authority", "user@a")], invalid),
        ("an empty protocol", &[(":method", "CONNECT"), (":protocol", "")], invalid),
        ("a protocol with a line break", &[(":method", "CONNECT"), (":protocol", "websocket\r\n")], invalid),
        ("a scheme with a digit", &[(":scheme", "1x")], invalid),
        ("nobody's", &[(":authority", "-")], violation),
        ("a path without slash", &[(":path", "?a")], violation),
        ("a star", &[(":path", "*")], violation),
        ("a path with a blank", &[(":path", "/a b")], violation),
        ("te", &[("te", "gzip")], violation),
        ("connection", &[("connection", "close")], violation),
        ("transfer-encoding", &[("transfer-encoding", "chunked")], violation),
    ];
    for (name, changes, details) in cases {
        let application = Application::answering("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
        let sidecar = Alone::inbound(Hop::Http2, application.address, |_| {});
        let plain = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", AUTHORITY)];
        let changed = |pseudo: &str| changes.iter().any(|(name, _)| *name == pseudo);
        let kept = plain.iter().filter(|(pseudo, _)| !changed(pseudo));
        // A dash stands for a field that is left out.
        let fields: Vec<_> = kept.chain(changes.iter().filter(|(_, value)| *value != "-")).copied().collect();
        let mut pseudo_first = fields.clone();
        pseudo_first.sort_by_key(|(name, _)| !name.starts_with(':'));
        let mut client = send_frames(sidecar.address, &[headers(1, END_STREAM, &pseudo_first)]).await;
        let line = sidecar.line().await;
        assert_eq!(ending(&line), json!([0, "DPE", details, 0, 0]), "{name}");
        while let Some((kind, ..)) = read_frame(&mut client).await {
            assert_ne!(kind, HEADERS, "{name}");
        }
        assert_eq!(application.heads().len(), 0, "{name}");
    }
}

#[tokio::test]
async fn a_query_says_what_it_consists_of() {
    for (application, sidecar) in each_role().await {
        let mut client = send(sidecar.address, request("QUERY / HTTP/1.1", "", "")).await;
        assert!(read_head(&mut client).await.starts_with("HTTP/1.1 400 "));
        assert_eq!(sidecar.line().await["response_code_details"], "query_missing_content_type");
        let mut client =
            send(sidecar.address, request("QUERY / HTTP/1.1", "Content-Type: a/b\r\n", "")).await;
        assert!(read_head(&mut client).await.starts_with("HTTP/1.1 200 "));
        assert_eq!(application.heads().len(), 1);
    }
}
