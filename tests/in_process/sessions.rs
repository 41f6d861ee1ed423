//! Whole sessions: what both lines say of how they ended.

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::support::*;

const UC: &str = "upstream_reset_after_response_started{connection_termination}";
const UR: &str = "upstream_reset_after_response_started{remote_error_with_CONNECT_request}";

#[tokio::test]
async fn a_clean_close_over_http1_ends_with_uc_on_both_sides() {
    let pair = Pair::start(Hop::Http1, echo());
    let mut client = open_session(pair.outbound).await;
    client.write_all(CLOSE).await.unwrap();
    assert_eq!(read_all(&mut client).await, b"\x88\x02\x03\xe8");
    let (client, server) = pair.one_line_each().await;
    assert_eq!(ending(&client), json!([101, "UC", UC, 19, 11]));
    assert_eq!(client["protocol"], "HTTP/1.1");
    assert_eq!(ending(&server), json!([101, "UC", UC, 19, 11]));
    assert_eq!(server["protocol"], "HTTP/1.1");
    assert_eq!(client["request_id"], server["request_id"]);
    assert_eq!(client["upstream_local_address"], server["downstream_remote_address"]);
    assert!(server["upstream_local_address"].as_str().unwrap().starts_with("127.0.0.6:"));
}

#[tokio::test]
async fn a_clean_close_over_http2_ends_with_ur_and_uc() {
    let pair = Pair::start(Hop::Http2, echo());
    let mut client = open_session(pair.outbound).await;
    client.write_all(CLOSE).await.unwrap();
    assert_eq!(read_all(&mut client).await, b"\x88\x02\x03\xe8");
    let (client, server) = pair.one_line_each().await;
    assert_eq!(ending(&client), json!([101, "UR", UR, 19, 11]));
    assert_eq!(client["protocol"], "HTTP/1.1");
    assert_eq!(ending(&server), json!([101, "UC", UC, 19, 11]));
    assert_eq!(server["protocol"], "HTTP/2");
    assert_eq!(server["method"], "GET");
    assert_eq!(client["upstream_service_time"], Value::Null);
    assert_eq!(client["request_id"], server["request_id"]);
}

#[tokio::test]
async fn without_allow_connect_the_client_gets_503_after_the_delayed_close() {
    let pair = Pair::start(Hop::Http2WithoutAllowConnect, echo());
    let mut client = TcpStream::connect(pair.outbound).await.unwrap();
    client.write_all(&handshake()).await.unwrap();
    let answer = String::from_utf8(read_all(&mut client).await).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 95\r\n"), "{head}");
    assert_eq!(
        body,
        "upstream connect error or disconnect/reset before headers. reset reason: connection termination"
    );
    let (client, server) = pair.one_line_each().await;
    let details = "upstream_reset_before_response_started{connection_termination}";
    assert_eq!(ending(&client), json!([503, "UC", details, 0, 95]));
    assert_eq!(client["protocol"], "HTTP/1.1");
    assert_eq!(ending(&server), json!([0, "DPE", "http2.invalid.header.field", 0, 0]));
    assert_eq!(server["protocol"], "HTTP/2");
    assert_eq!(server["request_id"], Value::Null);
    assert_eq!(client["upstream_local_address"], server["downstream_remote_address"]);
}

#[tokio::test]
async fn a_client_that_leaves_is_dc_and_over_http2_dr_at_the_server() {
    for (hop, flag, details) in
        [(Hop::Http1, "DC", "downstream_remote_disconnect"), (Hop::Http2, "DR", "http2.remote_reset")]
    {
        let pair = Pair::start(hop, echo());
        drop(open_session(pair.outbound).await);
        let (client, server) = pair.one_line_each().await;
        assert_eq!(ending(&client), json!([101, "DC", "downstream_remote_disconnect", 11, 7]));
        assert_eq!(client["protocol"], "HTTP/1.1");
        assert_eq!(server["response_flags"], flag);
        assert_eq!(server["response_code_details"], details);
    }
}

#[tokio::test]
async fn a_client_that_shuts_down_its_sending_side_is_gone() {
    for hop in [Hop::Http1, Hop::Http2] {
        let pair = Pair::start(hop, echo());
        let mut client = open_session(pair.outbound).await;
        client.shutdown().await.unwrap();
        assert_eq!(read_all(&mut client).await, b"");
        let (client, server) = pair.one_line_each().await;
        assert_eq!(ending(&client), json!([101, "DC", "downstream_remote_disconnect", 11, 7]));
        let (flag, details) = match hop {
            Hop::Http1 => ("DC", "downstream_remote_disconnect"),
            _ => ("DR", "http2.remote_reset"),
        };
        assert_eq!(ending(&server), json!([101, flag, details, 11, 7]));
    }
}

#[tokio::test]
async fn sidecars_that_are_stopped_leave_the_lines_of_their_open_sessions() {
    let pair = Pair::start(Hop::Http2, echo());
    let mut client = open_session(pair.outbound).await;
    pair.stop_inbound();
    assert_eq!(read_all(&mut client).await, b"");
    let (client, server) = pair.one_line_each().await;
    assert_eq!(ending(&client), json!([101, "UC", UC, 11, 7]));
    assert_eq!(client["protocol"], "HTTP/1.1");
    let details = "downstream_local_disconnect(purging_socket_that_have_not_progressed_to_connections)";
    assert_eq!(ending(&server), json!([101, "DC", details, 11, 7]));
    assert_eq!(server["protocol"], "HTTP/2");
}

#[tokio::test]
async fn an_application_that_does_not_listen_is_tried_three_times() {
    for hop in [Hop::Http1, Hop::Http2] {
        let pair = Pair::start(hop, nobody());
        let mut client = TcpStream::connect(pair.outbound).await.unwrap();
        client.write_all(&handshake()).await.unwrap();
        let answer = String::from_utf8(read_all(&mut client).await).unwrap();
        assert!(
            answer.ends_with("retried and the latest reset reason: remote connection failure"),
            "{answer}"
        );
        let (client, server) = pair.one_line_each().await;
        assert_eq!(client["response_flags"], "-");
        assert_eq!(client["response_code_details"], "via_upstream");
        assert_eq!(server["response_flags"], "URX,UF");
        assert_eq!(
            server["response_code_details"],
            "upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}"
        );
        assert_eq!(server["upstream_local_address"], Value::Null);
    }
}

#[tokio::test]
async fn early_frames_reach_the_application_and_their_answers_the_client() {
    for hop in [Hop::Http1, Hop::Http2] {
        let pair = Pair::start(hop, echo());
        let mut client = TcpStream::connect(pair.outbound).await.unwrap();
        client.write_all(&[&handshake(), HELLO, CLOSE].concat()).await.unwrap();
        let head = read_head(&mut client).await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        assert_eq!(read_all(&mut client).await, b"\x81\x05hello\x88\x02\x03\xe8");
        let (client, server) = pair.one_line_each().await;
        assert_eq!((&client["bytes_received"], &client["bytes_sent"]), (&json!(19), &json!(11)));
        assert_eq!((&server["bytes_received"], &server["bytes_sent"]), (&json!(19), &json!(11)));
    }
}

#[tokio::test]
async fn plain_requests_and_a_session_share_one_connection() {
    for hop in [Hop::Http1, Hop::Http2] {
        let pair = Pair::start(hop, echo());
        let mut client = TcpStream::connect(pair.outbound).await.unwrap();
        let get = format!("GET /healthz HTTP/1.1\r\nHost: {AUTHORITY}\r\n\r\n");
        for _ in 0..2 {
            client.write_all(get.as_bytes()).await.unwrap();
            let head = read_head(&mut client).await;
            assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
            assert_eq!(read_exactly(&mut client, 3).await, b"OK\n");
        }
        client.write_all(&handshake()).await.unwrap();
        assert!(read_head(&mut client).await.starts_with("HTTP/1.1 101 "));
        client.write_all(CLOSE).await.unwrap();
        assert_eq!(read_all(&mut client).await, b"\x88\x02\x03\xe8");
        let lines = pair.wait_for_lines("client", 3).await;
        assert_eq!(lines[0]["response_code_details"], "via_upstream");
        assert!(lines[0]["upstream_service_time"].is_string());
        assert_eq!(lines[2]["upstream_service_time"], Value::Null);
        pair.wait_for_lines("server", 3).await;
    }
}
