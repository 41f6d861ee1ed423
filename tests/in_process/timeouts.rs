//! Timeouts: of the route, of an idle stream, of a delayed close and of pooled connections.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::admin;
use crate::support::*;

/// Long enough for a request to reach the application on a slow machine, which some tests ask for.
const SHORT: Duration = Duration::from_millis(500);
/// Longer than any test waits.
const NEVER: Duration = Duration::from_secs(3600);

const PARTIAL: &str = "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nshort";

const BOTH: [Hop; 2] = [Hop::Http1, Hop::Http2];

/// A handshake, whose request does not end, and a plain request on either hop.
fn hops_and_requests() -> [(Hop, Vec<u8>); 4] {
    [(Hop::Http1, handshake()), (Hop::Http1, get("/")), (Hop::Http2, handshake()), (Hop::Http2, get("/"))]
}

/// How the server's side sees that the client's sidecar gives up.
fn given_up(hop: Hop) -> (&'static str, &'static str) {
    if hop == Hop::Http1 { ("DC", "downstream_remote_disconnect") } else { ("DR", "http2.remote_reset") }
}

#[tokio::test]
async fn an_answer_that_is_late_is_504_and_ut() {
    let cases = hops_and_requests().map(|(hop, request)| async move {
        let application = Application::answering("").await;
        let pair = Pair::configured(hop, application.address, |outbound, _| {
            *route(&mut outbound.virtual_hosts[0]).0 = Some(SHORT);
        });
        let mut client = send(pair.outbound, request).await;
        assert!(read_head(&mut client).await.starts_with("HTTP/1.1 504 Gateway Timeout\r\n"));
        assert_eq!(read_exactly(&mut client, 24).await, b"upstream request timeout");
        let (client, server) = pair.one_line_each().await;
        assert_eq!(ending(&client), json!([504, "UT", "response_timeout", 0, 24]));
        assert!(client["duration"].as_u64() >= Some(SHORT.as_millis().try_into().unwrap()));
        let (flag, details) = given_up(hop);
        assert_eq!(ending(&server), json!([0, flag, details, 0, 0]));
        let head = application.head();
        assert!(!head.contains("x-envoy-expected-rq-timeout-ms"), "told to the next proxy alone: {head}");
    });
    join_all(cases).await;
}

#[tokio::test]
async fn an_answer_that_is_late_in_its_body_is_cut_off() {
    let cases = BOTH.map(|hop| async move {
        let pair = Pair::configured(hop, Application::answering(PARTIAL).await.address, |outbound, _| {
            *route(&mut outbound.virtual_hosts[0]).0 = Some(SHORT);
        });
        let answer = ask(pair.outbound, get("/")).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nshort"), "{answer}");
        let (client, server) = pair.one_line_each().await;
        assert_eq!(ending(&client), json!([200, "UT", "response_timeout", 0, 5]));
        let (flag, details) = given_up(hop);
        assert_eq!(ending(&server), json!([200, flag, details, 0, 5]));
    });
    join_all(cases).await;
}

#[tokio::test]
async fn once_protocols_are_switched_the_route_has_no_timeout() {
    let cases = BOTH.map(|hop| async move {
        let application = Application::scripted(|mut stream| async move {
            stream.write_all(SWITCHING.as_bytes()).await.unwrap();
            let frame = read_exactly(&mut stream, HELLO.len()).await;
            stream.write_all(&frame).await.unwrap();
        })
        .await;
        let pair = Pair::configured(hop, application.address, |outbound, _| {
            *route(&mut outbound.virtual_hosts[0]).0 = Some(SHORT);
        });
        let mut session = send(pair.outbound, handshake()).await;
        assert!(read_head(&mut session).await.starts_with("HTTP/1.1 101 "));
        // A request that begins after it times out before it is looked at again.
        let elsewhere = Alone::outbound(Hop::Http1, Application::answering("").await.address, |mesh| {
            *route(&mut mesh.virtual_hosts[0]).0 = Some(SHORT);
        });
        let mut other = send(elsewhere.address, get("/")).await;
        assert!(read_head(&mut other).await.starts_with("HTTP/1.1 504 "));
        session.write_all(HELLO).await.unwrap();
        assert_eq!(read_all(&mut session).await, HELLO);
        assert_eq!(pair.one_line_each().await.0["response_code"], 101);
    });
    join_all(cases).await;
}

/// What a sidecar that gives up answers: 408 to a request that may go on, as an upgrade may, 504 to
/// a complete one.
fn code_of(request: &[u8]) -> u16 {
    if request == handshake() { 408 } else { 504 }
}

/// The client's sidecar answers a request by itself before the application does, with this flag,
/// these details and this body.
async fn assert_given_up(pair: &Pair, hop: Hop, request: &[u8], (flag, details, body): (&str, &str, &str)) {
    let code = code_of(request);
    let mut client = send(pair.outbound, request).await;
    assert!(read_head(&mut client).await.starts_with(&format!("HTTP/1.1 {code} ")));
    assert_eq!(read_exactly(&mut client, body.len()).await, body.as_bytes());
    let (client, server) = pair.one_line_each().await;
    assert_eq!(ending(&client), json!([code, flag, details, 0, body.len()]));
    let (flag, details) = given_up(hop);
    assert_eq!(ending(&server), json!([0, flag, details, 0, 0]));
}

#[tokio::test]
async fn an_idle_stream_without_an_answer_is_408_or_504_by_whether_its_request_is_complete() {
    let cases = hops_and_requests().map(|(hop, request)| async move {
        let code = code_of(&request);
        let application = Application::answering("").await;
        let pair = Pair::configured(hop, application.address, |outbound, _| {
            outbound.connection_manager.stream_idle_timeout = Some(SHORT);
        });
        assert_given_up(&pair, hop, &request, ("SI", "stream_idle_timeout", "stream timeout")).await;

        let pair = Pair::configured(hop, application.address, |_, inbound| {
            inbound.connection_manager.stream_idle_timeout = Some(SHORT);
        });
        let mut client = send(pair.outbound, &request).await;
        assert!(read_head(&mut client).await.starts_with(&format!("HTTP/1.1 {code} ")));
        let (client, server) = pair.one_line_each().await;
        assert_eq!(ending(&client), json!([code, "-", "via_upstream", 0, 14]));
        assert_eq!(ending(&server), json!([code, "SI", "stream_idle_timeout", 0, 14]));
    });
    join_all(cases).await;
}

#[tokio::test]
async fn an_idle_session_ends_where_the_timer_is() {
    let cases = BOTH.map(|hop| async move {
        let reset = |reason| format!("upstream_reset_after_response_started{{{reason}}}");
        let pair = Pair::configured(hop, echo(), |outbound, _| {
            outbound.connection_manager.stream_idle_timeout = Some(SHORT);
        });
        let mut session = open_session(pair.outbound).await;
        assert_eq!(read_all(&mut session).await, b"", "no close frame");
        let (client, server) = pair.one_line_each().await;
        assert_eq!(ending(&client), json!([101, "SI", "stream_idle_timeout", 11, 7]));
        let (flag, details) = given_up(hop);
        assert_eq!(ending(&server), json!([101, flag, details, 11, 7]));

        let pair = Pair::configured(hop, echo(), |_, inbound| {
            inbound.connection_manager.stream_idle_timeout = Some(SHORT);
        });
        let mut session = open_session(pair.outbound).await;
        assert_eq!(read_all(&mut session).await, b"");
        let (client, server) = pair.one_line_each().await;
        assert_eq!(ending(&server), json!([101, "SI", "stream_idle_timeout", 11, 7]));
        let (flag, details) = match hop {
            Hop::Http1 => ("UC", reset("connection_termination")),
            _ => ("UR", reset("remote_reset")),
        };
        assert_eq!(ending(&client), json!([101, flag, details, 11, 7]));
    });
    join_all(cases).await;
}

#[tokio::test]
async fn a_stream_that_lasts_too_long_without_an_answer_is_408_or_504() {
    let cases = hops_and_requests().map(|(hop, request)| async move {
        let application = Application::answering("").await;
        let pair = Pair::configured(hop, application.address, |outbound, _| {
            outbound.connection_manager.max_stream_duration = Some(SHORT);
        });
        let expected = ("-", "max_duration_timeout", "downstream duration timeout");
        assert_given_up(&pair, hop, &request, expected).await;
    });
    join_all(cases).await;
}

#[tokio::test]
async fn a_session_that_lasts_too_long_ends_however_busy_it_is() {
    let cases = BOTH.map(|hop| async move {
        let lasting = |client, server| {
            Pair::configured(hop, echo(), move |outbound, inbound| {
                outbound.connection_manager.max_stream_duration = client;
                inbound.connection_manager.max_stream_duration = server;
            })
        };
        let pair = lasting(Some(SHORT * 3), None);
        talk_until_the_end(pair.outbound).await;
        let (client, server) = pair.one_line_each().await;
        let end = |line: &serde_json::Value| {
            json!([line["response_code"], line["response_flags"], line["response_code_details"]])
        };
        assert_eq!(end(&client), json!([101, "-", "max_duration_timeout"]));
        let (flag, details) = given_up(hop);
        assert_eq!(end(&server), json!([101, flag, details]));

        let pair = lasting(None, Some(SHORT * 3));
        talk_until_the_end(pair.outbound).await;
        let (client, server) = pair.one_line_each().await;
        assert_eq!(end(&server), json!([101, "-", "max_duration_timeout"]));
        let (flag, reason) =
            if hop == Hop::Http1 { ("UC", "connection_termination") } else { ("UR", "remote_reset") };
        let details = format!("upstream_reset_after_response_started{{{reason}}}");
        assert_eq!(end(&client), json!([101, flag, details]));
    });
    join_all(cases).await;
}

/// Has messages echoed for as long as there is a session.
async fn talk_until_the_end(address: SocketAddr) {
    let mut session = send(address, handshake()).await;
    assert!(read_head(&mut session).await.starts_with("HTTP/1.1 101 "));
    let talk = async {
        let mut echoed = [0; 7];
        while session.write_all(HELLO).await.is_ok() && session.read_exact(&mut echoed).await.is_ok() {}
    };
    patiently(talk).await;
}

#[tokio::test]
async fn after_the_servers_end_each_http1_sidecar_waits_for_its_downstream_to_close_first() {
    let delay = Duration::from_millis(150);
    let cases = [(Hop::Http1, 2), (Hop::Http2, 1)].map(|(hop, delays)| async move {
        let pair = Pair::configured(hop, echo(), |outbound, inbound| {
            outbound.connection_manager.delayed_close_timeout = delay;
            inbound.connection_manager.delayed_close_timeout = delay;
        });
        let mut session = open_session(pair.outbound).await;
        let begun = Instant::now();
        session.write_all(CLOSE).await.unwrap();
        read_exactly(&mut session, 4).await;
        read_all(&mut session).await;
        assert!(begun.elapsed() >= delay * delays, "{:?}", begun.elapsed());
        let (client, server) = pair.one_line_each().await;
        let duration = |line: &serde_json::Value| line["duration"].as_u64().unwrap();
        // Over HTTP/1.1 the first delay is in the line of the client's sidecar.
        if hop == Hop::Http1 {
            assert!(duration(&client) >= duration(&server) + 140, "{client} {server}");
        }
    });
    join_all(cases).await;
}

#[tokio::test]
async fn a_downstream_that_closes_first_ends_the_delayed_close() {
    let pair = Pair::configured(Hop::Http2, echo(), |outbound, _| {
        outbound.connection_manager.delayed_close_timeout = NEVER;
    });
    let mut session = open_session(pair.outbound).await;
    session.write_all(CLOSE).await.unwrap();
    read_exactly(&mut session, 4).await;
    pair.one_line_each().await;
    let prefix = "http.outbound_0.0.0.0_8080;";
    admin::wait_for(pair.outbound_admin, prefix, &[("downstream_cx_active", 1)]).await;
    drop(session);
    admin::wait_for(pair.outbound_admin, prefix, &[("downstream_cx_active", 0)]).await;
}

const OUTBOUND: &str = "cluster.outbound|8080||websockets-server.default.svc.cluster.local";

#[tokio::test]
async fn a_pooled_connection_without_a_stream_is_closed_after_its_idle_timeout() {
    let pair = Pair::configured(Hop::Http2, echo(), |outbound, _| {
        cluster(&mut outbound.virtual_hosts[0]).idle_timeout = Some(SHORT);
    });
    for number in 1..=2 {
        let mut client = send(pair.outbound, get("/healthz")).await;
        assert!(read_head(&mut client).await.starts_with("HTTP/1.1 200 "));
        let counted = [("upstream_cx_active", 0), ("upstream_cx_http2_total", number)];
        admin::wait_for(pair.outbound_admin, OUTBOUND, &counted).await;
    }
    // A session is no idleness, however long nothing is said.
    let mut session = open_session(pair.outbound).await;
    let elsewhere = Alone::outbound(Hop::Http1, Application::answering("").await.address, |mesh| {
        *route(&mut mesh.virtual_hosts[0]).0 = Some(SHORT * 2);
    });
    read_head(&mut send(elsewhere.address, get("/")).await).await;
    session.write_all(CLOSE).await.unwrap();
    assert_eq!(read_exactly(&mut session, 4).await, b"\x88\x02\x03\xe8");
}

#[tokio::test]
async fn a_connection_whose_time_is_over_takes_no_new_stream_and_keeps_its_sessions() {
    let pair = Pair::configured(Hop::Http2, echo(), |outbound, _| {
        cluster(&mut outbound.virtual_hosts[0]).max_connection_duration = Some(SHORT);
    });
    let mut session = open_session(pair.outbound).await;
    let next_connection = async {
        let mut client = send(pair.outbound, b"").await;
        let mut connections = 1;
        while connections == 1 {
            client.write_all(&get("/healthz")).await.unwrap();
            read_head(&mut client).await;
            read_exactly(&mut client, 3).await;
            connections =
                admin::stats(pair.outbound_admin).await[&format!("{OUTBOUND}.upstream_cx_http2_total")];
        }
    };
    patiently(next_connection).await;
    session.write_all(CLOSE).await.unwrap();
    assert_eq!(read_exactly(&mut session, 4).await, b"\x88\x02\x03\xe8");
}
