//! Clients that speak HTTP/2 themselves, to either listener: prior knowledge and RFC 8441.

use bytes::Bytes;
use h2::{Reason, RecvStream};
use http::Request;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use crate::support::*;

/// What a line has of the request.
const OF_THE_REQUEST: [&str; 5] = ["method", "path", "authority", "request_id", "route_name"];

const ORDERLY: &str = "upstream_reset_after_response_started{connection_termination}";

async fn read_data(body: &mut RecvStream, length: usize) -> Vec<u8> {
    let mut read = Vec::new();
    while read.len() < length {
        read.extend_from_slice(&patiently(body.data()).await.expect("more data").unwrap());
    }
    read
}

/// The fields of an extended CONNECT, one of them replaced or left out.
fn altered<'a>(name: &str, value: Option<&'a str>) -> Vec<(&'a str, &'a str)> {
    let fields = EXTENDED_CONNECT.into_iter().filter(|field| field.0 != name || value.is_some());
    fields.map(|field| if field.0 == name { (field.0, value.unwrap()) } else { field }).collect()
}

#[tokio::test]
async fn a_plain_request_with_prior_knowledge_is_served_at_either_listener() {
    for hop in [Hop::Http1, Hop::Http2, Hop::Http2WithoutAllowConnect] {
        let pair = Pair::start(hop, echo());
        for (address, server) in [(pair.outbound, "envoy"), (pair.inbound, "istio-envoy")] {
            let mut client = http2_client(address).await;
            let request = Request::get(format!("http://{AUTHORITY}/healthz")).body(()).unwrap();
            let (response, _) = client.send_request(request, true).unwrap();
            let mut response = patiently(response).await.unwrap();
            assert_eq!(response.status(), 200);
            assert_eq!(response.headers()["server"], server);
            assert_eq!(read_data(response.body_mut(), 3).await, b"OK\n");
        }
        let client = pair.wait_for_lines("client", 1).await.remove(0);
        assert_eq!((&client["protocol"], &client["authority"]), (&json!("HTTP/2"), &json!(AUTHORITY)));
        assert_eq!(ending(&client), json!([200, "-", "via_upstream", 0, 3]));
        assert_eq!(pair.wait_for_lines("server", 2).await[1]["protocol"], "HTTP/2");
    }
}

#[tokio::test]
async fn an_rfc_8441_client_with_a_key_has_a_session_at_the_inbound_listener() {
    let sidecar = Alone::inbound(Hop::Http2, echo(), |_| {});
    let mut client = http2_client(sidecar.address).await;
    let (response, mut send) = client.send_request(extended_connect(true), false).unwrap();
    let mut response = patiently(response).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    assert!(!response.headers().contains_key("upgrade") && !response.headers().contains_key("connection"));
    send.send_data(Bytes::from_static(HELLO), false).unwrap();
    assert_eq!(read_data(response.body_mut(), 7).await, b"\x81\x05hello");
    send.send_data(Bytes::from_static(CLOSE), false).unwrap();
    assert_eq!(read_data(response.body_mut(), 4).await, b"\x88\x02\x03\xe8");
    let end = patiently(response.body_mut().data()).await.unwrap().unwrap_err();
    assert_eq!(end.reason(), Some(h2::Reason::CONNECT_ERROR));
    let line = sidecar.line().await;
    assert_eq!(ending(&line), json!([101, "UC", ORDERLY, 19, 11]));
    assert_eq!((&line["protocol"], &line["method"]), (&json!("HTTP/2"), &json!("GET")));
}

#[tokio::test]
async fn the_end_of_the_clients_stream_is_no_end_of_the_session() {
    let sidecar = Alone::inbound(Hop::Http2, echo(), |_| {});
    let mut client = send_frames(sidecar.address, &[headers(1, 0, &EXTENDED_CONNECT)]).await;
    read_until(&mut client, HEADERS).await;
    client.write_all(&frame(DATA, END_STREAM, 1, HELLO)).await.unwrap();
    assert_eq!(read_until(&mut client, DATA).await, b"\x81\x05hello");
    // Another exchange on the connection: the session has been looked at since, and is open.
    let plain = [(":method", "GET"), (":scheme", "http"), (":path", "/healthz"), (":authority", AUTHORITY)];
    client.write_all(&headers(3, END_STREAM, &plain)).await.unwrap();
    assert_eq!(read_until(&mut client, DATA).await, b"OK\n");
    assert_eq!(sidecar.line().await["path"], "/healthz");
    drop(client);
    let line = sidecar.lines(2).await.remove(1);
    assert_eq!(ending(&line), json!([101, "DC", "downstream_remote_disconnect", 11, 7]));
}

#[tokio::test]
async fn without_a_key_the_application_is_asked_without_one() {
    let application = Application::answering("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await;
    let sidecar = Alone::inbound(Hop::Http2, application.address, |_| {});
    let mut client = http2_client(sidecar.address).await;
    let (response, _send) = client.send_request(extended_connect(false), false).unwrap();
    assert_eq!(patiently(response).await.unwrap().status(), 400);
    let head = application.head();
    assert!(head.starts_with("GET / HTTP/1.1\r\n") && head.contains("\r\nupgrade: websocket\r\n"), "{head}");
    assert!(!head.contains("sec-websocket-key"), "{head}");
}

#[tokio::test]
async fn the_outbound_listener_takes_rfc_8441_only_where_it_is_told_to() {
    let pair = Pair::configured(Hop::Http2, echo(), |outbound, _| {
        outbound.connection_manager.allow_connect = true;
    });
    let mut client = http2_client(pair.outbound).await;
    let (response, mut send) = client.send_request(extended_connect(true), false).unwrap();
    let mut response = patiently(response).await.unwrap();
    send.send_data(Bytes::from_static(CLOSE), false).unwrap();
    assert_eq!(read_data(response.body_mut(), 4).await, b"\x88\x02\x03\xe8");
    let (client, server) = pair.one_line_each().await;
    let details = "upstream_reset_after_response_started{remote_error_with_CONNECT_request}";
    assert_eq!(ending(&client), json!([101, "UR", details, 8, 4]));
    assert_eq!((&client["protocol"], &client["method"]), (&json!("HTTP/2"), &json!("GET")));
    assert_eq!(ending(&server), json!([101, "UC", ORDERLY, 8, 4]));

    let sidecar = Alone::outbound(Hop::Http2, nobody(), |_| {});
    let mut client = send_frames(sidecar.address, &[headers(1, 0, &EXTENDED_CONNECT)]).await;
    assert_eq!(read_all(&mut client).await, b"");
    assert_eq!(ending(&sidecar.line().await), json!([0, "DPE", "http2.invalid.header.field", 0, 0]));
}

#[tokio::test]
async fn a_connect_that_breaks_the_protocol_ends_the_connection_without_a_word() {
    for (hop, fields, details) in [
        (Hop::Http2WithoutAllowConnect, EXTENDED_CONNECT.to_vec(), "http2.invalid.header.field"),
        (Hop::Http2, altered(":protocol", Some("")), "http2.invalid.header.field"),
        (Hop::Http2, altered(":authority", None), "http2.violation.of.messaging.rule"),
    ] {
        let sidecar = Alone::inbound(hop, nobody(), |_| {});
        let mut client = send_frames(sidecar.address, &[headers(1, 0, &fields)]).await;
        // Not even SETTINGS.
        assert_eq!(read_all(&mut client).await, b"", "{fields:?}");
        let line = sidecar.line().await;
        assert_eq!(ending(&line), json!([0, "DPE", details, 0, 0]), "{fields:?}");
        for key in OF_THE_REQUEST {
            assert_eq!(line[key], Value::Null, "{key}");
        }
    }
}

#[tokio::test]
async fn a_violation_on_one_stream_ends_the_others_of_its_connection() {
    let application = Application::answering("").await;
    let sidecar = Alone::inbound(Hop::Http2WithoutAllowConnect, application.address, |_| {});
    let slow = [(":method", "GET"), (":scheme", "http"), (":path", "/slow"), (":authority", AUTHORITY)];
    let mut client = send_frames(sidecar.address, &[headers(1, END_STREAM, &slow)]).await;
    application.reached().await;
    client.write_all(&headers(3, 0, &EXTENDED_CONNECT)).await.unwrap();
    while let Some((kind, _, _, _)) = read_frame(&mut client).await {
        assert!(kind != RST_STREAM && kind != GOAWAY, "{kind}");
    }
    let mut lines = sidecar.lines(2).await;
    lines.sort_by_key(|line| line["path"].is_null());
    let others = "codec_error:The_user_callback_function_failed";
    assert_eq!(ending(&lines[0]), json!([0, "DPE", others, 0, 0]));
    assert_eq!(lines[0]["path"], "/slow");
    assert_eq!(ending(&lines[1]), json!([0, "DPE", "http2.invalid.header.field", 0, 0]));
}

#[tokio::test]
async fn a_frame_that_is_none_ends_the_open_sessions_of_its_connection() {
    let application = Application::answering(SWITCHING).await;
    let sidecar = Alone::inbound(Hop::Http2, application.address, |_| {});
    let mut client = send_frames(sidecar.address, &[headers(1, 0, &EXTENDED_CONNECT)]).await;
    read_until(&mut client, HEADERS).await;
    client.write_all(&frame(DATA, 0, 0, b"a")).await.unwrap();
    let goaway = read_until(&mut client, GOAWAY).await;
    assert_eq!(goaway[4..8], 1_u32.to_be_bytes(), "PROTOCOL_ERROR");
    let details = "codec_error:The_user_callback_function_failed";
    assert_eq!(ending(&sidecar.line().await), json!([101, "DPE", details, 0, 0]));
}

#[tokio::test]
async fn other_protocols_are_refused_and_a_plain_connect_has_no_route() {
    let answers = Application::answering(SWITCHING).await;
    let sidecar = Alone::inbound(Hop::Http2, answers.address, |_| {});
    for (number, (fields, expected)) in [
        (altered(":protocol", Some("foo")), json!([403, "-", "upgrade_failed", 0, 0])),
        (altered(":protocol", Some("h2c")), json!([403, "-", "upgrade_failed", 0, 0])),
        (
            vec![(":method", "CONNECT"), (":authority", AUTHORITY)],
            json!([404, "NR", "route_not_found", 0, 0]),
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let mut client = send_frames(sidecar.address, &[headers(1, 0, &fields)]).await;
        read_until(&mut client, HEADERS).await;
        assert_eq!(ending(&sidecar.lines(number + 1).await[number]), expected, "{fields:?}");
    }
    assert_eq!(answers.heads(), Vec::<String>::new());
    // The letter case of the name does not matter.
    let mut client =
        send_frames(sidecar.address, &[headers(1, 0, &altered(":protocol", Some("WebSocket")))]).await;
    assert_eq!(read_until(&mut client, HEADERS).await[0], 0x88, ":status: 200");
}

#[tokio::test]
async fn a_reset_from_the_client_is_named_after_its_code() {
    for code in [0, 1, 2, 5, 7, 8, 10, 11, 13] {
        let (flag, details) = match code {
            1 => ("DPE", "http2.remote_reset"),
            7 => ("DR", "http2.remote_refuse"),
            _ => ("DR", "http2.remote_reset"),
        };
        for (answer, status) in [(SWITCHING, 101), ("", 0)] {
            let application = Application::answering(answer).await;
            let sidecar = Alone::inbound(Hop::Http2, application.address, |_| {});
            let mut client = send_frames(sidecar.address, &[headers(1, 0, &EXTENDED_CONNECT)]).await;
            if status == 101 {
                read_until(&mut client, HEADERS).await;
            }
            application.reached().await;
            client.write_all(&rst_stream(1, code)).await.unwrap();
            assert_eq!(ending(&sidecar.line().await), json!([status, flag, details, 0, 0]), "{code}");
        }
    }
}

#[tokio::test]
async fn a_goaway_from_the_client_ends_nothing_by_itself() {
    for code in [0, 1] {
        let sidecar = Alone::inbound(Hop::Http2, echo(), |_| {});
        let mut client = send_frames(sidecar.address, &[headers(1, 0, &EXTENDED_CONNECT)]).await;
        read_until(&mut client, HEADERS).await;
        client.write_all(&[goaway(0, code), frame(DATA, 0, 1, HELLO)].concat()).await.unwrap();
        assert_eq!(read_until(&mut client, DATA).await, b"\x81\x05hello");
        drop(client);
        assert_eq!(ending(&sidecar.line().await), json!([101, "DC", "downstream_remote_disconnect", 11, 7]));
    }
}

#[tokio::test]
async fn a_request_with_too_much_of_a_head_is_reset_and_its_connection_lives_on() {
    let many = |count: usize| -> Vec<(String, String)> {
        (0..count).map(|number| (format!("x-{number}"), "y".to_owned())).collect()
    };
    let big = (0..8).map(|number| (format!("x-{number}"), "b".repeat(8 * 1024))).collect();
    let request = |fields: &[(String, String)]| {
        let mut request = Request::get(format!("http://{AUTHORITY}/"));
        for (name, value) in fields {
            request = request.header(name, value);
        }
        request.body(()).unwrap()
    };
    // Four pseudo-header fields count too.
    for (fields, details) in [
        (many(96), None),
        (many(97), Some("http2.too_many_headers")),
        (big, Some("http2.header_list_size_too_large")),
    ] {
        let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        let sidecar = Alone::inbound(Hop::Http2, Application::answering(answer).await.address, |_| {});
        let mut client = http2_client(sidecar.address).await;
        let (response, _) = client.send_request(request(&fields), true).unwrap();
        let response = patiently(response).await;
        let Some(details) = details else {
            assert_eq!(response.unwrap().status(), 200);
            continue;
        };
        assert_eq!(response.unwrap_err().reason(), Some(Reason::INTERNAL_ERROR));
        let line = sidecar.line().await;
        assert_eq!(ending(&line), json!([0, "DR", details, 0, 0]));
        assert_eq!(line["method"], Value::Null);
        let (response, _) = client.send_request(request(&[]), true).unwrap();
        assert_eq!(patiently(response).await.unwrap().status(), 200);
    }
}

#[tokio::test]
async fn the_scheme_that_a_plaintext_client_claims_is_not_believed() {
    let application = Application::answering("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    let pair = Pair::start(Hop::Http1, application.address);
    let mut client = http2_client(pair.outbound).await;
    let request = Request::get(format!("https://{AUTHORITY}/")).body(()).unwrap();
    let (response, _) = client.send_request(request, true).unwrap();
    patiently(response).await.unwrap();
    let head = application.head();
    assert!(head.contains("x-forwarded-proto: http\r\n"), "{head}");
}
