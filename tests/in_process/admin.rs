//! The admin port of a sidecar: what it counts, and how it drains.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::support::*;

const OUTBOUND: &str = "cluster.outbound|8080||websockets-server.default.svc.cluster.local";

/// The head and the body of an admin port's answer.
async fn ask(admin: SocketAddr, method: &str, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(admin).await.unwrap();
    let request = format!("{method} {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let answer = String::from_utf8(read_all(&mut stream).await).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    (head.to_owned(), body.to_owned())
}

pub(crate) async fn stats(admin: SocketAddr) -> BTreeMap<String, u64> {
    let (_, text) = ask(admin, "GET", "/stats").await;
    let pairs = text.lines().map(|line| line.rsplit_once(": ").expect("a name and a value"));
    pairs.map(|(name, value)| (name.to_owned(), value.parse().unwrap())).collect()
}

/// Waits until the counters of one sidecar are these, by the ends of their names.
pub(crate) async fn wait_for(admin: SocketAddr, prefix: &str, expected: &[(&str, u64)]) {
    let mut last = Vec::new();
    let waiting = async {
        loop {
            let stats = stats(admin).await;
            last = expected.iter().map(|(name, _)| (*name, stats[&format!("{prefix}.{name}")])).collect();
            if last == expected {
                return;
            }
        }
    };
    let in_time = tokio::time::timeout(PATIENCE, waiting).await;
    assert!(in_time.is_ok(), "{last:?} instead of {expected:?}");
}

async fn drain(admin: SocketAddr, query: &str) {
    let (head, body) = ask(admin, "POST", &format!("/drain_listeners?{query}")).await;
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert_eq!(body, "OK\n");
}

async fn wait_until_refused(address: SocketAddr) {
    let refused = async { while TcpStream::connect(address).await.is_ok() {} };
    patiently(refused).await;
}

async fn echo_once_more(client: &mut TcpStream) {
    client.write_all(HELLO).await.unwrap();
    assert_eq!(read_exactly(client, 7).await, b"\x81\x05hello");
}

#[tokio::test]
async fn it_answers_in_envoys_form() {
    let pair = Pair::start(Hop::Http2, echo());
    let (head, body) = ask(pair.inbound_admin, "GET", "/ready").await;
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains("content-type: text/plain; charset=UTF-8\r\n"), "{head}");
    assert!(head.contains("cache-control: no-cache, max-age=0\r\n"), "{head}");
    assert_eq!(body, "LIVE\n");
    let (head, body) = ask(pair.inbound_admin, "GET", "/nope").await;
    assert!(head.starts_with("HTTP/1.1 404 Not Found\r\n"), "{head}");
    assert!(body.starts_with("invalid path. admin commands are:\n  /config_dump: "), "{body}");
    assert!(body.contains("\n  /drain_listeners (POST): "), "{body}");
    for path in ["/drain_listeners", "/quitquitquit", "/reopen_logs"] {
        let (head, body) = ask(pair.inbound_admin, "GET", path).await;
        assert!(head.starts_with("HTTP/1.1 405 Method Not Allowed\r\n"), "{head}");
        assert_eq!(body, "Method GET not allowed, POST required.");
    }
}

#[tokio::test]
async fn the_configuration_is_dumped_as_it_is_in_force() {
    let pair = Pair::start(Hop::Http2, echo());
    let (head, body) = ask(pair.outbound_admin, "GET", "/config_dump").await;
    assert!(head.contains("content-type: application/json\r\n"), "{head}");
    let dump: Value = serde_json::from_str(&body).unwrap();
    let config = &dump["configs"][0];
    assert_eq!(config["endpoint"], pair.inbound.to_string());
    let virtual_host = &config["outbound"]["configuration"]["virtual_hosts"][0];
    assert_eq!(virtual_host["name"], AUTHORITY);
    let (_, body) = ask(pair.inbound_admin, "GET", "/config_dump").await;
    let dump: Value = serde_json::from_str(&body).unwrap();
    let manager = &dump["configs"][0]["inbound"]["configuration"]["connection_manager"];
    assert_eq!(manager["allow_connect"], true);
}

#[tokio::test]
async fn a_session_is_counted_while_it_is_open_and_after_its_end() {
    let pair = Pair::start(Hop::Http2, echo());
    let first = open_session(pair.outbound).await;
    let second = open_session(pair.outbound).await;
    let client = [
        ("upstream_cx_total", 1),
        ("upstream_cx_active", 1),
        ("upstream_cx_http1_total", 0),
        ("upstream_cx_http2_total", 1),
        ("upstream_rq_total", 2),
        ("upstream_rq_active", 2),
        ("upstream_rq_101", 2),
        ("upstream_rq_1xx", 2),
        ("http2.streams_active", 2),
    ];
    wait_for(pair.outbound_admin, OUTBOUND, &client).await;
    let server = [
        ("downstream_cx_total", 1),
        ("downstream_cx_active", 1),
        ("downstream_cx_http1_total", 0),
        ("downstream_cx_http2_total", 1),
        ("downstream_cx_http2_active", 1),
        ("downstream_cx_upgrades_total", 2),
        ("downstream_cx_upgrades_active", 2),
        ("downstream_rq_total", 2),
        ("downstream_rq_active", 2),
        ("downstream_rq_http2_total", 2),
        ("downstream_rq_1xx", 2),
        ("downstream_rq_completed", 2),
        ("downstream_cx_drain_close", 0),
    ];
    wait_for(pair.inbound_admin, "http.inbound_0.0.0.0_80;", &server).await;
    wait_for(pair.inbound_admin, "http2", &[("streams_active", 2)]).await;
    wait_for(pair.inbound_admin, "cluster.inbound|80||", &[("upstream_cx_http1_total", 2)]).await;
    drop((first, second));
    let ended = [("upstream_rq_active", 0), ("http2.streams_active", 0), ("upstream_rq_tx_reset", 2)];
    wait_for(pair.outbound_admin, OUTBOUND, &ended).await;
    let ended = [
        ("downstream_cx_active", 0),
        ("downstream_cx_destroy", 2),
        ("downstream_cx_upgrades_active", 0),
        ("downstream_rq_active", 0),
        ("downstream_rq_total", 2),
        ("downstream_rq_rx_reset", 2),
    ];
    wait_for(pair.outbound_admin, "http.outbound_0.0.0.0_8080;", &ended).await;
    let ended = [("upstream_cx_active", 0), ("upstream_cx_destroy", 2), ("upstream_rq_active", 0)];
    wait_for(pair.inbound_admin, "cluster.inbound|80||", &ended).await;
}

#[tokio::test]
async fn every_request_that_is_counted_has_a_line() {
    let pair = Pair::start(Hop::Http2WithoutAllowConnect, echo());
    let mut refused = TcpStream::connect(pair.outbound).await.unwrap();
    refused.write_all(&handshake()).await.unwrap();
    assert!(read_head(&mut refused).await.starts_with("HTTP/1.1 503 "));
    let mut broken = TcpStream::connect(pair.outbound).await.unwrap();
    broken.write_all(b"not HTTP\r\n\r\n").await.unwrap();
    assert!(read_head(&mut broken).await.starts_with("HTTP/1.1 400 "));
    pair.wait_for_lines("client", 2).await;
    pair.wait_for_lines("server", 1).await;
    let client = [
        ("downstream_rq_total", 2),
        ("downstream_rq_4xx", 1),
        ("downstream_rq_5xx", 1),
        ("downstream_cx_protocol_error", 1),
    ];
    wait_for(pair.outbound_admin, "http.outbound_0.0.0.0_8080;", &client).await;
    let server =
        [("downstream_rq_total", 1), ("downstream_rq_completed", 0), ("downstream_cx_protocol_error", 1)];
    wait_for(pair.inbound_admin, "http.inbound_0.0.0.0_80;", &server).await;
}

#[tokio::test]
async fn failed_connects_and_their_retries_are_counted() {
    let pair = Pair::start(Hop::Http1, nobody());
    let mut client = TcpStream::connect(pair.outbound).await.unwrap();
    client.write_all(&handshake()).await.unwrap();
    assert!(read_head(&mut client).await.starts_with("HTTP/1.1 503 "));
    let expected = [
        ("upstream_cx_total", 3),
        ("upstream_cx_active", 0),
        ("upstream_cx_http1_total", 3),
        ("upstream_cx_connect_fail", 3),
        ("upstream_cx_destroy", 3),
        ("upstream_rq_total", 0),
        ("upstream_rq_pending_total", 3),
        ("upstream_rq_retry", 2),
        ("upstream_rq_retry_success", 0),
        ("upstream_rq_retry_limit_exceeded", 1),
        ("upstream_rq_503", 1),
        ("upstream_rq_5xx", 1),
    ];
    wait_for(pair.inbound_admin, "cluster.inbound|80||", &expected).await;
}

#[tokio::test]
async fn statistics_are_sorted_and_filtered_and_have_a_prometheus_form() {
    let pair = Pair::start(Hop::Http1, echo());
    let _session = open_session(pair.outbound).await;
    let (_, all) = ask(pair.outbound_admin, "GET", "/stats").await;
    assert!(all.lines().is_sorted_by_key(|line| line.rsplit_once(": ").unwrap().0), "{all}");
    assert!(all.contains("\nserver.live: 1\n") && all.contains("\nserver.concurrency: 1\n"), "{all}");
    assert!(!all.contains("http2."), "no HTTP/2 here: {all}");
    let (_, some) =
        ask(pair.outbound_admin, "GET", "/stats?usedonly&filter=%5Ehttp%5C..*upgrades_(total%7Cactive)")
            .await;
    let expected = "http.outbound_0.0.0.0_8080;.downstream_cx_upgrades_active: 1\n\
                    http.outbound_0.0.0.0_8080;.downstream_cx_upgrades_total: 1\n";
    assert_eq!(some, expected);
    let (_, unused) = ask(pair.outbound_admin, "GET", "/stats?usedonly&filter=retry").await;
    assert_eq!(unused, "");
    let (head, _) = ask(pair.outbound_admin, "GET", "/stats?filter=(").await;
    assert!(head.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{head}");
    let (_, prometheus) = ask(pair.outbound_admin, "GET", "/stats/prometheus").await;
    for line in [
        "# TYPE envoy_http_downstream_cx_total counter\n",
        "envoy_http_downstream_cx_total{envoy_http_conn_manager_prefix=\"outbound_0.0.0.0_8080\"} 1\n",
        "# TYPE envoy_cluster_upstream_rq_active gauge\n",
        "envoy_cluster_upstream_cx_total{envoy_cluster_name=\"outbound|8080||websockets-server.default.svc.cluster.local\"} 1\n",
    ] {
        assert!(prometheus.contains(line), "{line} in {prometheus}");
    }
}

#[tokio::test]
async fn a_graceful_drain_moves_new_sessions_to_new_connections_until_the_listener_closes() {
    let pair = Pair::draining_at_once(Hop::Http2, echo());
    let mut first = open_session(pair.outbound).await;
    drain(pair.inbound_admin, "inboundonly&skip_exit").await;
    // Its answer comes on the old connection, with GOAWAY; the next session needs one of its own,
    // as does the third.
    let mut second = open_session(pair.outbound).await;
    let mut third = open_session(pair.outbound).await;
    let connections = [("upstream_cx_total", 2), ("upstream_rq_active", 3)];
    wait_for(pair.outbound_admin, OUTBOUND, &connections).await;
    wait_for(pair.inbound_admin, "http.inbound_0.0.0.0_80;", &[("downstream_cx_drain_close", 2)]).await;
    wait_for(pair.inbound_admin, "http2", &[("goaway_sent", 2)]).await;
    drain(pair.inbound_admin, "inboundonly").await;
    wait_until_refused(pair.inbound).await;
    let mut refused = TcpStream::connect(pair.outbound).await.unwrap();
    refused.write_all(&handshake()).await.unwrap();
    assert!(read_head(&mut refused).await.starts_with("HTTP/1.1 503 "));
    for session in [&mut first, &mut second, &mut third] {
        echo_once_more(session).await;
        session.write_all(CLOSE).await.unwrap();
        assert_eq!(read_all(session).await, b"\x88\x02\x03\xe8");
    }
    let lines = pair.wait_for_lines("client", 4).await;
    let flags: Vec<&Value> = lines.iter().map(|line| &line["response_flags"]).collect();
    assert_eq!(flags, ["URX,UF", "UR", "UR", "UR"]);
    wait_for(pair.inbound_admin, "http.inbound_0.0.0.0_80;", &[("downstream_cx_active", 0)]).await;
}

#[tokio::test]
async fn a_graceful_drain_ends_with_the_listener() {
    let pair = Pair::draining_at_once(Hop::Http2, echo());
    let mut session = open_session(pair.outbound).await;
    drain(pair.inbound_admin, "inboundonly&graceful").await;
    wait_until_refused(pair.inbound).await;
    echo_once_more(&mut session).await;
}

#[tokio::test]
async fn while_it_drains_a_plain_response_asks_to_close_and_an_upgrade_stays_as_it_is() {
    let pair = Pair::draining_at_once(Hop::Http1, echo());
    drain(pair.outbound_admin, "skip_exit").await;
    let mut plain = TcpStream::connect(pair.outbound).await.unwrap();
    plain.write_all(format!("GET /healthz HTTP/1.1\r\nHost: {AUTHORITY}\r\n\r\n").as_bytes()).await.unwrap();
    let answer = String::from_utf8(read_all(&mut plain).await).unwrap();
    assert!(answer.contains("\r\nconnection: close\r\n") && answer.ends_with("OK\n"), "{answer}");
    let mut upgrade = TcpStream::connect(pair.outbound).await.unwrap();
    upgrade.write_all(&handshake()).await.unwrap();
    let head = read_head(&mut upgrade).await;
    assert!(head.contains("\r\nconnection: Upgrade\r\n"), "{head}");
    echo_once_more(&mut upgrade).await;
}

#[tokio::test]
async fn inboundonly_drains_nothing_at_the_clients_sidecar() {
    let pair = Pair::draining_at_once(Hop::Http1, echo());
    for query in ["inboundonly&graceful", "inboundonly"] {
        drain(pair.outbound_admin, query).await;
    }
    let mut plain = TcpStream::connect(pair.outbound).await.unwrap();
    plain.write_all(format!("GET /healthz HTTP/1.1\r\nHost: {AUTHORITY}\r\n\r\n").as_bytes()).await.unwrap();
    assert!(!read_head(&mut plain).await.contains("connection"));
    open_session(pair.outbound).await;
}

#[tokio::test]
async fn a_drain_that_is_not_graceful_closes_the_listener_and_touches_no_session() {
    let pair = Pair::start(Hop::Http1, echo());
    let mut session = open_session(pair.outbound).await;
    drain(pair.outbound_admin, "").await;
    wait_until_refused(pair.outbound).await;
    echo_once_more(&mut session).await;
}

#[tokio::test]
async fn quitquitquit_is_answered_and_leaves_the_lines_of_open_sessions() {
    let pair = Pair::start(Hop::Http1, echo());
    let mut session = open_session(pair.outbound).await;
    let (head, body) = ask(pair.outbound_admin, "POST", "/quitquitquit").await;
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert_eq!(body, "OK\n");
    assert_eq!(read_all(&mut session).await, b"");
    let (client, _) = pair.one_line_each().await;
    assert_eq!(client["response_flags"], "DC");
}
