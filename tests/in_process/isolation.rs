//! One session cannot hurt another: stalled readers, resets by the thousand, limits, and a lost
//! connection.

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::support::*;

/// A final binary frame of a server, with a 64-bit length.
fn large_frame(length: u64) -> Vec<u8> {
    let mut frame = vec![0x82, 127];
    frame.extend(length.to_be_bytes());
    frame
}

/// An application that answers every handshake with 101, and then does as the first byte of a
/// session's data says.
async fn application() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(serve(socket));
        }
    });
    address
}

/// How many bytes `FLOOD` brings: more than a window of a stream and all buffers on the way.
const FLOOD_BYTES: usize = 32 << 20;

/// Sends one huge message.
const FLOOD: u8 = b'f';
/// Sends so many tiny frames.
const TRICKLE: u8 = b't';
const TRICKLED: usize = 1_000_000;
/// Reads nothing any more.
const STALL: u8 = b'w';
/// Everything else is echoed.
const ECHO: u8 = b'e';

async fn serve(mut socket: TcpStream) {
    read_head(&mut socket).await;
    socket.write_all(SWITCHING.as_bytes()).await.unwrap();
    // Whatever fails from here on: the session has ended.
    let _ = match socket.read_u8().await {
        Ok(FLOOD) => flood(&mut socket).await,
        Ok(TRICKLE) => trickle(&mut socket).await,
        Ok(STALL) => std::future::pending().await,
        _ => echo_all(socket).await,
    };
}

async fn flood(socket: &mut TcpStream) -> std::io::Result<()> {
    socket.write_all(&large_frame(FLOOD_BYTES as u64)).await?;
    for _ in 0..FLOOD_BYTES / 65536 {
        socket.write_all(&vec![7; 65536]).await?;
    }
    socket.read_u8().await.map(drop)
}

/// Each frame with a write of its own.
async fn trickle(socket: &mut TcpStream) -> std::io::Result<()> {
    for _ in 0..TRICKLED {
        socket.write_all(b"\x82\x01x").await?;
    }
    socket.read_u8().await.map(drop)
}

async fn echo_all(mut socket: TcpStream) -> std::io::Result<()> {
    let (mut read, mut write) = socket.split();
    tokio::io::copy(&mut read, &mut write).await.map(drop)
}

/// Opens a session with a small receive buffer, so that it stalls early, and says what it wants.
async fn open(address: std::net::SocketAddr, wanted: u8) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut client = socket.connect(address).await.unwrap();
    client.write_all(&handshake()).await.unwrap();
    assert!(read_head(&mut client).await.starts_with("HTTP/1.1 101 "));
    client.write_all(&[wanted]).await.unwrap();
    client
}

/// A session echoes a lot, while others stall.
async fn echoes(address: std::net::SocketAddr) {
    let client = open(address, ECHO).await;
    let (mut read, mut write) = client.into_split();
    let sent: Vec<u8> = (0..=250).cycle().take(1 << 20).collect();
    let expected = sent.clone();
    let writing = tokio::spawn(async move {
        write.write_all(&sent).await.unwrap();
        write
    });
    assert!(read_exactly(&mut read, expected.len()).await == expected);
    drop(writing.await.unwrap());
}

/// Waits until the client's sidecar has taken from the tunnel, for a stalled session, what its
/// window allows.
async fn wait_until_stalled(pair: &Pair) {
    // Nothing says so from outside; that a session behind it is served says that its turn came.
    echoes(pair.outbound).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_that_stall_behind_huge_messages_leave_the_window_of_the_connection_to_others() {
    let pair = Pair::start(Hop::Http2, application().await);
    let mut stalled = Vec::new();
    for _ in 0..4 {
        stalled.push(open(pair.outbound, FLOOD).await);
        wait_until_stalled(&pair).await;
    }
    for _ in 0..8 {
        echoes(pair.outbound).await;
    }
    // Every byte is still there for whoever reads at last.
    for client in &mut stalled {
        let head = read_exactly(client, 10).await;
        assert_eq!(head, large_frame(FLOOD_BYTES as u64));
        let message = read_exactly(client, FLOOD_BYTES).await;
        assert!(message.iter().all(|byte| *byte == 7));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_stalls_behind_many_tiny_frames_holds_up_nobody() {
    for hop in [Hop::Http1, Hop::Http2] {
        let pair = Pair::start(hop, application().await);
        let mut stalled = open(pair.outbound, TRICKLE).await;
        for _ in 0..4 {
            echoes(pair.outbound).await;
        }
        let frames = read_exactly(&mut stalled, 3 * TRICKLED).await;
        assert!(frames.chunks(3).all(|frame| frame == b"\x82\x01x"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_application_that_reads_nothing_holds_up_nobody() {
    for hop in [Hop::Http1, Hop::Http2] {
        let pair = Pair::start(hop, application().await);
        let mut writers = Vec::new();
        for _ in 0..4 {
            let mut client = open(pair.outbound, STALL).await;
            writers.push(tokio::spawn(async move {
                // Until it is cut off.
                while client.write_all(&vec![7; 65536]).await.is_ok() {}
            }));
            echoes(pair.outbound).await;
        }
        for _ in 0..4 {
            echoes(pair.outbound).await;
        }
        assert!(writers.iter().all(|writer| !writer.is_finished()));
        for writer in writers {
            writer.abort();
        }
    }
}

/// So little that one stalled stream is too much, with its socket.
const LITTLE_MEMORY: usize = 512 << 10;

/// What Envoy 1.40 logs for `envoy.overload_actions.reset_high_memory_stream`, and its counterpart
/// for what it sees of it.
fn assert_reset_for_memory(resetting: &serde_json::Value, other: &serde_json::Value, of_other: [&str; 2]) {
    assert_eq!(ending(resetting).as_array().unwrap()[..3], [json!(101), json!("OM"), json!("overload")]);
    assert_eq!(ending(other).as_array().unwrap()[..3], [json!(101), json!(of_other[0]), json!(of_other[1])]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stalled_reader_is_reset_when_memory_is_short_and_its_neighbours_on_the_connection_are_not() {
    let pair = Pair::with_memory(Hop::Http2, application().await, LITTLE_MEMORY);
    let mut neighbour = open(pair.outbound, ECHO).await;
    let mut stalled = open(pair.outbound, FLOOD).await;
    pair.wait_until_lines("client", 1).await;
    pair.wait_until_lines("server", 1).await;
    let (client, server) = (pair.lines("client"), pair.lines("server"));
    assert_reset_for_memory(&client[0], &server[0], ["DR", "http2.remote_reset"]);
    let action = "envoy.overload_actions.reset_high_memory_stream";
    crate::admin::wait_for(pair.outbound_admin, action, &[("count", 1)]).await;
    // What was in the sockets by then still comes; it is not the whole message.
    let (rest, _) = try_read_all(&mut stalled).await;
    assert!(rest.len() < FLOOD_BYTES);
    neighbour.write_all(b"still here").await.unwrap();
    assert_eq!(read_exactly(&mut neighbour, 10).await, b"still here");
    echoes(pair.outbound).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_whose_application_stalls_is_reset_when_memory_is_short() {
    let pair = Pair::with_memory(Hop::Http2, application().await, LITTLE_MEMORY);
    let mut neighbour = open(pair.outbound, ECHO).await;
    let mut client = open(pair.outbound, STALL).await;
    let writer = tokio::spawn(async move { while client.write_all(&vec![7; 65536]).await.is_ok() {} });
    pair.wait_until_lines("client", 1).await;
    pair.wait_until_lines("server", 1).await;
    let (client, server) = (pair.lines("client"), pair.lines("server"));
    let of_client = ["UR", "upstream_reset_after_response_started{remote_reset}"];
    assert_reset_for_memory(&server[0], &client[0], of_client);
    patiently(writer).await.unwrap();
    neighbour.write_all(b"still here").await.unwrap();
    assert_eq!(read_exactly(&mut neighbour, 10).await, b"still here");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_go_on_with_smaller_windows_and_new_ones_get_another_connection_while_readers_stall() {
    // Each holds what it takes to strain a quarter of it, and then no more: too little to be reset
    // for.
    let pair = Pair::with_memory(Hop::Http2, application().await, 64 << 20);
    let mut old = open(pair.outbound, ECHO).await;
    let mut stalled = Vec::new();
    for _ in 0..3 {
        stalled.push(open(pair.outbound, FLOOD).await);
    }
    let action = "overload.envoy.overload_actions.reset_high_memory_stream";
    crate::admin::wait_for(pair.outbound_admin, action, &[("active", 1)]).await;
    echoes(pair.outbound).await;
    for _ in 0..8 {
        old.write_all(&vec![7; 1 << 16]).await.unwrap();
        assert_eq!(read_exactly(&mut old, 1 << 16).await.len(), 1 << 16);
    }
    for client in &mut stalled {
        read_exactly(client, 10).await;
        let message = read_exactly(client, FLOOD_BYTES).await;
        assert!(message.iter().all(|byte| *byte == 7));
    }
    // The windows are as before again.
    old.write_all(b"still here").await.unwrap();
    assert_eq!(read_exactly(&mut old, 10).await, b"still here");
    crate::admin::wait_for(pair.outbound_admin, action, &[("active", 0)]).await;
    drop((old, stalled));
    let lines = pair.wait_for_lines("client", 5).await;
    let connections: std::collections::BTreeSet<&str> =
        lines.iter().map(|line| line["upstream_local_address"].as_str().unwrap()).collect();
    assert_eq!(connections.len(), 2, "{lines:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_resets_thousands_of_streams_does_not_cost_the_others_their_connection() {
    let pair = Pair::start(Hop::Http2, application().await);
    let socket = TcpStream::connect(pair.inbound).await.unwrap();
    let (mut requests, connection) = h2::client::handshake(socket).await.unwrap();
    tokio::spawn(connection);
    let request = || {
        let request = http::Request::builder().method("GET").uri(format!("http://{AUTHORITY}/"));
        request.body(()).unwrap()
    };
    for _ in 0..20 {
        let mut streams = Vec::new();
        for _ in 0..500 {
            requests = patiently(requests.ready()).await.unwrap();
            streams.push(requests.send_request(request(), false).unwrap());
        }
        for (_, send) in &mut streams {
            send.send_reset(h2::Reason::CANCEL);
        }
    }
    let (response, mut send) = requests.send_request(request(), false).unwrap();
    send.send_data("".into(), true).unwrap();
    // The application takes any head for a handshake, so its 101 is none of an upgrade that was
    // asked for.
    let answer = patiently(response).await;
    let reason = answer.map_or_else(|error| error.reason(), |_| None);
    assert!(matches!(reason, None | Some(h2::Reason::PROTOCOL_ERROR)), "{reason:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_beyond_the_stream_limit_get_a_connection_of_their_own() {
    let pair = Pair::configured(Hop::Http2, application().await, |_, inbound| {
        inbound.connection_manager.max_concurrent_streams = 5;
    });
    // One after another: before a new connection's SETTINGS its limit is not known, to Envoy
    // neither, and streams beyond it are refused and tried again just so often.
    let mut sessions = Vec::new();
    for _ in 0..23 {
        let mut client = open(pair.outbound, ECHO).await;
        client.write_all(b"hello").await.unwrap();
        assert_eq!(read_exactly(&mut client, 5).await, b"hello");
        sessions.push(client);
    }
    drop(sessions);
    let lines = pair.wait_for_lines("client", 23).await;
    let connections: std::collections::BTreeSet<&str> =
        lines.iter().map(|line| line["upstream_local_address"].as_str().unwrap()).collect();
    assert!(connections.len() >= 5, "{connections:?}");
    assert!(lines.iter().all(|line| line["response_code"] == json!(101)));
}

/// A tunnel connection of one session, and what carries it.
async fn tunnel(
    inbound: std::net::SocketAddr,
) -> (tokio::task::JoinHandle<()>, h2::SendStream<bytes::Bytes>, h2::RecvStream) {
    let socket = TcpStream::connect(inbound).await.unwrap();
    let (requests, connection) = h2::client::handshake(socket).await.unwrap();
    let carrier = tokio::spawn(async move { drop(connection.await) });
    let mut requests = patiently(requests.ready()).await.unwrap();
    while !requests.is_extended_connect_protocol_enabled() {
        tokio::task::yield_now().await;
    }
    let request = http::Request::builder()
        .method("CONNECT")
        .uri(format!("http://{AUTHORITY}/"))
        .version(http::Version::HTTP_2)
        .header("sec-websocket-version", "13")
        .extension(h2::ext::Protocol::from_static("websocket"));
    let (response, mut send) = requests.send_request(request.body(()).unwrap(), false).unwrap();
    let response = patiently(response).await.unwrap();
    assert_eq!(response.status(), 200);
    send.send_data(bytes::Bytes::from_static(&[ECHO]), false).unwrap();
    (carrier, send, response.into_body())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tunnel_connection_that_is_lost_takes_only_its_own_sessions_along() {
    let pair = Pair::start(Hop::Http2, application().await);
    let (_carrier, mut send, mut receive) = tunnel(pair.inbound).await;
    let (lost, _send, _receive) = tunnel(pair.inbound).await;
    lost.abort();
    let lines = pair.wait_for_lines("server", 1).await;
    assert_eq!(lines[0]["response_code_details"], "downstream_remote_disconnect");
    send.send_data("still here".into(), false).unwrap();
    let mut echoed = Vec::new();
    while echoed.len() < 10 {
        echoed.extend_from_slice(&patiently(receive.data()).await.unwrap().unwrap());
    }
    assert_eq!(echoed, b"still here");
}
