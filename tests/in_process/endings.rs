//! Ways in which a session ends or does not begin: what both lines say of each, on either hop.

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use websockets_cli::mesh::{ClusterKind, RouteAction};

use crate::support::*;

const UC: &str = "upstream_reset_after_response_started{connection_termination}";
const UR: &str = "upstream_reset_after_response_started{remote_error_with_CONNECT_request}";
const PROTOCOL_ERROR: &str = "upstream_reset_before_response_started{protocol_error}";

/// The keys of a line that are null, of those that say what was asked for and where it went.
fn unknown(line: &Value) -> Vec<&str> {
    let keys = [
        "method",
        "path",
        "authority",
        "request_id",
        "route_name",
        "upstream_cluster",
        "upstream_host",
        "upstream_local_address",
    ];
    keys.into_iter().filter(|key| line[key].is_null()).collect()
}

#[tokio::test]
async fn a_refusal_of_the_application_passes_through_with_its_body() {
    for hop in [Hop::Http1, Hop::Http2] {
        for status in
            ["400 Bad Request", "403 Forbidden", "426 Upgrade Required", "500 Internal Server Error"]
        {
            let answer = format!("HTTP/1.1 {status}\r\nX-App: 1\r\nContent-Length: 5\r\n\r\nbody\n");
            let application = Application::answering(answer).await;
            let pair = Pair::start(hop, application.address);
            let answer = ask(pair.outbound, handshake()).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{answer}");
            assert!(answer.contains("\r\nx-app: 1\r\n") && answer.ends_with("\r\n\r\nbody\n"), "{answer}");
            let (client, server) = pair.one_line_each().await;
            let code: u16 = status[..3].parse().unwrap();
            assert_eq!(ending(&client), json!([code, "-", "via_upstream", 0, 5]));
            assert_eq!(ending(&server), json!([code, "-", "via_upstream", 0, 5]));
            assert_eq!(unknown(&client), Vec::<&str>::new());
            assert_eq!(client["upstream_service_time"], Value::Null);
        }
    }
}

/// Envoy's codec goes by the fields alone.
#[tokio::test]
async fn what_follows_a_refusal_with_an_upgrades_fields_is_data_up_to_the_end_of_the_connection() {
    let fields = "Upgrade: websocket\r\nConnection: Upgrade";
    let chunked = "9\r\nnot here\n\r\n0\r\n\r\n";
    for (hop, flag, details) in [(Hop::Http1, "UC", UC), (Hop::Http2, "UR", UR)] {
        // `h2` holds a body to its length.
        let more = if hop == Hop::Http1 { "body and more" } else { "body" };
        for (framing, body, shown_over_http1) in [
            ("Content-Length: 4\r\n", more, "content-length: 4"),
            ("Transfer-Encoding: chunked\r\n", chunked, "transfer-encoding: chunked"),
            ("", "body", "content-length: 0"),
        ] {
            let answer = format!("HTTP/1.1 426 Upgrade Required\r\n{fields}\r\n{framing}\r\n{body}");
            let application = Application::closing_after(answer).await;
            let pair = Pair::start(hop, application.address);
            let mut asked = send(pair.outbound, handshake()).await;
            let head = read_head(&mut asked).await.to_ascii_lowercase();
            assert!(head.starts_with("http/1.1 426 "), "{head}");
            // The fields of a connection are not passed on over HTTP/2, nor is a length of nothing.
            assert_eq!(head.contains("\r\nupgrade: websocket\r\n"), hop == Hop::Http1, "{head}");
            if hop == Hop::Http1 {
                assert!(head.contains(&format!("\r\n{shown_over_http1}\r\n")), "{head}");
                assert_eq!(read_exactly(&mut asked, body.len()).await, body.as_bytes());
            } else {
                assert_eq!(
                    head.contains("transfer-encoding: chunked"),
                    !framing.contains("Length"),
                    "{head}"
                );
            }
            let (client, server) = pair.one_line_each().await;
            assert_eq!(ending(&client), json!([426, flag, details, 0, body.len()]));
            assert_eq!(ending(&server), json!([426, "UC", UC, 0, body.len()]));
        }
    }
}

#[tokio::test]
async fn an_answer_below_400_that_is_not_101_loses_its_body() {
    for hop in [Hop::Http1, Hop::Http2] {
        for code in [201, 204, 302] {
            let length = if code == 204 { "" } else { "Content-Length: 5\r\n" };
            let body = if code == 204 { "" } else { "body\n" };
            let answer = format!("HTTP/1.1 {code} Other\r\nLocation: /other\r\n{length}\r\n{body}");
            let application = Application::answering(answer).await;
            let pair = Pair::start(hop, application.address);
            let answer = ask(pair.outbound, handshake()).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {code} ")), "{answer}");
            assert!(answer.contains("\r\nlocation: /other\r\n") && answer.ends_with("\r\n\r\n"), "{answer}");
            let (client, server) = pair.one_line_each().await;
            assert_eq!(ending(&server), json!([code, "-", "websocket_handshake_unsuccessful", 0, 0]));
            // Over HTTP/2 the answer is complete with its head, and no upgrade was refused in this
            // proxy's eyes.
            let details = if hop == Hop::Http1 { "websocket_handshake_unsuccessful" } else { "via_upstream" };
            assert_eq!(ending(&client), json!([code, "-", details, 0, 0]));
        }
    }
}

#[tokio::test]
async fn a_200_is_a_refusal_over_http1_and_looks_like_a_101_over_http2() {
    for (hop, status, code, details) in [
        (Hop::Http1, "200 OK", 200, "websocket_handshake_unsuccessful"),
        (Hop::Http2, "101 Switching Protocols", 101, "via_upstream"),
    ] {
        let application = Application::answering("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nbody\n").await;
        let pair = Pair::start(hop, application.address);
        let answer = ask(pair.outbound, handshake()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{answer}");
        let (client, server) = pair.one_line_each().await;
        assert_eq!(ending(&client), json!([code, "-", details, 0, 0]));
        assert_eq!(ending(&server), json!([200, "-", "websocket_handshake_unsuccessful", 0, 0]));
    }
}

#[tokio::test]
async fn however_the_application_leaves_a_session_it_is_a_connection_termination() {
    for (hop, flag, details) in [(Hop::Http1, "UC", UC), (Hop::Http2, "UR", UR)] {
        for way in ["close", "reset", "half close"] {
            let application = Application::scripted(move |mut stream: TcpStream| async move {
                stream.write_all([SWITCHING.as_bytes(), b"\x81\x02hi"].concat().as_slice()).await.unwrap();
                assert_eq!(read_exactly(&mut stream, HELLO.len()).await, HELLO);
                match way {
                    "close" => drop(stream),
                    "reset" => reset(stream),
                    _ => {
                        stream.shutdown().await.unwrap();
                        assert_eq!(read_all(&mut stream).await, b"");
                    }
                }
            })
            .await;
            let pair = Pair::start(hop, application.address);
            let mut client = send(pair.outbound, handshake()).await;
            assert!(read_head(&mut client).await.starts_with("HTTP/1.1 101 "));
            assert_eq!(read_exactly(&mut client, 4).await, b"\x81\x02hi");
            client.write_all(HELLO).await.unwrap();
            assert_eq!(read_all(&mut client).await, b"", "{way}");
            let (client, server) = pair.one_line_each().await;
            assert_eq!(ending(&client), json!([101, flag, details, 11, 4]), "{way}");
            assert_eq!(ending(&server), json!([101, "UC", UC, 11, 4]), "{way}");
        }
    }
}

#[tokio::test]
async fn an_application_that_closes_without_an_answer_is_uc_at_its_sidecar_alone() {
    for hop in [Hop::Http1, Hop::Http2] {
        let application = Application::closing_after("").await;
        let pair = Pair::start(hop, application.address);
        let answer = ask(pair.outbound, handshake()).await;
        assert!(answer.ends_with("before headers. reset reason: connection termination"), "{answer}");
        let (client, server) = pair.one_line_each().await;
        assert_eq!(ending(&client), json!([503, "-", "via_upstream", 0, 95]));
        let details = "upstream_reset_before_response_started{connection_termination}";
        assert_eq!(ending(&server), json!([503, "UC", details, 0, 95]));
        assert_eq!(application.heads().len(), 1, "what was sent is not sent again");
    }
}

#[tokio::test]
async fn an_answer_that_is_not_http_is_upe_and_502() {
    for hop in [Hop::Http1, Hop::Http2] {
        let odd_fields =
            SWITCHING.replace("\r\n\r\n", "\r\nContent-Length: 7\r\nTransfer-Encoding: chunked\r\n\r\n");
        for answer in ["NOT HTTP\r\n\r\n", "HTTP/1.1 101 Sw", &odd_fields] {
            let application = Application::closing_after(answer).await;
            let pair = Pair::start(hop, application.address);
            let answer = ask(pair.outbound, handshake()).await;
            assert!(answer.starts_with("HTTP/1.1 502 Bad Gateway\r\n"), "{answer}");
            assert!(answer.ends_with("before headers. reset reason: protocol error"), "{answer}");
            let (client, server) = pair.one_line_each().await;
            assert_eq!(ending(&client), json!([502, "-", "via_upstream", 0, 87]));
            assert_eq!(ending(&server), json!([502, "UPE", PROTOCOL_ERROR, 0, 87]));
        }
    }
}

#[tokio::test]
async fn a_101_without_upgrade_ends_over_http1_and_is_a_protocol_error_over_http2() {
    for (hop, client_ending) in [
        (Hop::Http1, json!([101, "-", "via_upstream", 0, 0])),
        (Hop::Http2, json!([502, "UPE", PROTOCOL_ERROR, 0, 87])),
    ] {
        let application = Application::answering("HTTP/1.1 101 Switching Protocols\r\n\r\n").await;
        let pair = Pair::start(hop, application.address);
        ask(pair.outbound, handshake()).await;
        let (client, server) = pair.one_line_each().await;
        assert_eq!(ending(&client), client_ending);
        assert_eq!(ending(&server), json!([101, "-", "via_upstream", 0, 0]));
    }
}

#[tokio::test]
async fn a_body_that_is_cut_off_is_upe_and_over_http2_ur_at_the_client() {
    let protocol_error = "upstream_reset_after_response_started{protocol_error}";
    for (hop, flag, details) in [
        (Hop::Http1, "UPE", protocol_error),
        (Hop::Http2, "UR", "upstream_reset_after_response_started{remote_reset}"),
    ] {
        for request in [handshake(), get("/")] {
            let application =
                Application::closing_after("HTTP/1.1 403 Forbidden\r\nContent-Length: 50\r\n\r\nshort").await;
            let pair = Pair::start(hop, application.address);
            assert!(ask(pair.outbound, request).await.ends_with("\r\n\r\nshort"));
            let (client, server) = pair.one_line_each().await;
            assert_eq!(ending(&client), json!([403, flag, details, 0, 5]));
            assert_eq!(ending(&server), json!([403, "UPE", protocol_error, 0, 5]));
        }
    }
}

#[tokio::test]
async fn a_client_that_gives_up_before_the_answer_leaves_lines_with_code_0() {
    for (hop, flag, details) in
        [(Hop::Http1, "DC", "downstream_remote_disconnect"), (Hop::Http2, "DR", "http2.remote_reset")]
    {
        let (received, request) = tokio::sync::oneshot::channel();
        let received = std::sync::Mutex::new(Some(received));
        let application = Application::scripted(move |mut stream| {
            received.lock().unwrap().take().unwrap().send(()).unwrap();
            async move { drop(read_all(&mut stream).await) }
        })
        .await;
        let pair = Pair::start(hop, application.address);
        let client = send(pair.outbound, handshake()).await;
        patiently(request).await.unwrap();
        drop(client);
        let (client, server) = pair.one_line_each().await;
        assert_eq!(ending(&client), json!([0, "DC", "downstream_remote_disconnect", 0, 0]));
        assert_eq!(ending(&server), json!([0, flag, details, 0, 0]));
    }
}

#[tokio::test]
async fn an_unknown_upgrade_is_refused_here_and_goes_nowhere() {
    let sidecar = Alone::outbound(Hop::Http1, nobody(), |_| {});
    let request = String::from_utf8(handshake()).unwrap().replace("Upgrade: websocket", "Upgrade: foo");
    let answer = ask(sidecar.address, request).await;
    assert!(answer.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{answer}");
    let line = sidecar.line().await;
    assert_eq!(ending(&line), json!([403, "-", "upgrade_failed", 0, 0]));
    assert_eq!(unknown(&line), ["upstream_host", "upstream_local_address"]);
}

#[tokio::test]
async fn a_request_that_no_virtual_host_takes_is_nr() {
    let sidecar = Alone::outbound(Hop::Http1, nobody(), |_| {});
    let request = String::from_utf8(handshake()).unwrap().replace(AUTHORITY, "elsewhere");
    let answer = ask(sidecar.address, request).await;
    assert!(answer.starts_with("HTTP/1.1 404 Not Found\r\n"), "{answer}");
    let line = sidecar.line().await;
    assert_eq!(ending(&line), json!([404, "NR", "route_not_found", 0, 0]));
    assert_eq!(unknown(&line), ["route_name", "upstream_cluster", "upstream_host", "upstream_local_address"]);
}

#[tokio::test]
async fn a_route_that_answers_by_itself_is_a_direct_response() {
    for (status, body) in [(502, ""), (404, "go away")] {
        let sidecar = Alone::outbound(Hop::Http1, nobody(), |mesh| {
            let body = body.to_owned();
            mesh.virtual_hosts[0].routes[0].action = RouteAction::DirectResponse { status, body };
        });
        let answer = ask(sidecar.address, handshake()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        assert!(answer.ends_with(&format!("\r\n\r\n{body}")), "{answer}");
        let line = sidecar.line().await;
        assert_eq!(ending(&line), json!([status, "-", "direct_response", 0, body.len()]));
        assert_eq!(unknown(&line), ["upstream_cluster", "upstream_host", "upstream_local_address"]);
        // An upgrade that is not taken is refused before the route is asked.
        let request = String::from_utf8(handshake()).unwrap().replace("Upgrade: websocket", "Upgrade: other");
        let answer = ask(sidecar.address, request).await;
        assert!(answer.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{answer}");
        let line = sidecar.lines(2).await.remove(1);
        assert_eq!(ending(&line), json!([403, "-", "upgrade_failed", 0, 0]));
    }
}

#[tokio::test]
async fn a_route_to_a_cluster_that_does_not_exist_is_nc() {
    let sidecar = Alone::outbound(Hop::Http1, nobody(), |mesh| {
        mesh.virtual_hosts[0].routes[0].action =
            RouteAction::UnknownCluster { name: "nowhere".to_owned(), status: 503 };
    });
    let answer = ask(sidecar.address, handshake()).await;
    assert!(answer.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{answer}");
    let line = sidecar.line().await;
    assert_eq!(ending(&line), json!([503, "NC", "cluster_not_found", 0, 0]));
    assert_eq!(line["route_name"], "default");
    assert_eq!(unknown(&line), ["upstream_cluster", "upstream_host", "upstream_local_address"]);
}

#[tokio::test]
async fn a_cluster_without_a_host_is_uh() {
    let sidecar = Alone::outbound(Hop::Http1, nobody(), |mesh| {
        cluster(&mut mesh.virtual_hosts[0]).kind = ClusterKind::Passthrough;
    });
    let answer = ask(sidecar.address, handshake()).await;
    assert!(answer.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nno healthy upstream"), "{answer}");
    let line = sidecar.line().await;
    assert_eq!(ending(&line), json!([503, "UH", "no_healthy_upstream", 0, 19]));
    assert_eq!(unknown(&line), ["upstream_host", "upstream_local_address"]);
}

#[tokio::test]
async fn an_upstream_that_ends_after_an_interim_response_has_begun_its_response() {
    let answer = "HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n";
    let pair = Pair::start(Hop::Http1, Application::closing_after(answer).await.address);
    let request = format!("GET / HTTP/1.1\r\nHost: {AUTHORITY}\r\nConnection: close\r\n\r\n");
    let seen = ask(pair.outbound, request).await;
    assert!(seen.contains("\r\n\r\nHTTP/1.1 503 Service Unavailable\r\n"), "{seen}");
    let (_, server) = pair.one_line_each().await;
    let details = "upstream_reset_after_response_started{connection_termination}";
    assert_eq!(ending(&server), json!([503, "UC", details, 0, 95]));
}

#[tokio::test]
async fn a_client_sidecar_that_is_shut_down_resets_its_streams_before_the_connection_ends() {
    for (hop, flags, details) in
        [(Hop::Http1, "DC", "downstream_remote_disconnect"), (Hop::Http2, "DR", "http2.remote_reset")]
    {
        let pair = Pair::start(hop, echo());
        let mut clients = Vec::new();
        for _ in 0..3 {
            clients.push(open_session(pair.outbound).await);
        }
        pair.stop_outbound();
        for client in &mut clients {
            assert_eq!(read_all(client).await, b"");
        }
        for line in pair.wait_for_lines("client", 3).await {
            let cut_off =
                "downstream_local_disconnect(purging_socket_that_have_not_progressed_to_connections)";
            assert_eq!(ending(&line), json!([101, "DC", cut_off, 11, 7]));
        }
        for line in pair.wait_for_lines("server", 3).await {
            assert_eq!(ending(&line), json!([101, flags, details, 11, 7]), "{hop:?}");
        }
    }
}
