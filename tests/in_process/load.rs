//! Many sessions at once and every way in which they end: each request has its one line, and no
//! byte is lost of what ended cleanly.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Semaphore, oneshot};

use crate::admin;
use crate::support::*;

/// How many sessions there are, and how many at a time.
#[derive(Debug, Clone, Copy)]
struct Load {
    sessions: usize,
    at_a_time: usize,
}

const SMALL: Load = Load { sessions: 500, at_a_time: 50 };
const LARGE: Load = Load { sessions: 10_000, at_a_time: 200 };

/// What the application sends before it closes in the same breath.
const LAST_FRAMES: &[u8] = b"\x82\x04last\x88\x02\x03\xe8";

/// Ends a session cleanly from its side, in one write with its last frames.
const END: u8 = b'e';
/// Resets its TCP connection.
const RESET: u8 = b'r';

/// An application whose sessions echo, and end as the client's first byte says once the client has
/// said something else.
async fn application() -> (SocketAddr, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(async move {
        let mut sessions = tokio::task::JoinSet::new();
        while let Ok((socket, _)) = listener.accept().await {
            sessions.spawn(serve(socket));
            while sessions.try_join_next().is_some() {}
        }
    });
    (address, serving)
}

/// Whatever fails here has ended the session.
async fn serve(mut socket: TcpStream) -> std::io::Result<()> {
    accept(&mut socket).await?;
    let how = socket.read_u8().await?;
    let mut said = [0; 5];
    socket.read_exact(&mut said).await?;
    socket.write_all(&said).await?;
    match how {
        END => socket.write_all(LAST_FRAMES).await,
        RESET => {
            reset(socket);
            Ok(())
        }
        _ => {
            let (mut read, mut write) = socket.split();
            tokio::io::copy(&mut read, &mut write).await.map(drop)
        }
    }
}

async fn accept(socket: &mut TcpStream) -> std::io::Result<()> {
    try_read_head(socket).await?;
    socket.write_all(SWITCHING.as_bytes()).await
}

/// One session to its end. Says whether it got as far as to have its end at all.
async fn session(address: SocketAddr, index: usize) -> std::io::Result<()> {
    let mut client = TcpStream::connect(address).await?;
    client.write_all(&handshake()).await?;
    if !try_read_head(&mut client).await?.starts_with("HTTP/1.1 101 ") {
        return Err(std::io::ErrorKind::ConnectionRefused.into());
    }
    let how = [END, RESET, b'c', b'd'][index % 4];
    client.write_all(&[how]).await?;
    client.write_all(b"hello").await?;
    let mut echoed = [0; 5];
    client.read_exact(&mut echoed).await?;
    assert_eq!(&echoed, b"hello");
    match how {
        END => {
            let mut rest = Vec::new();
            client.read_to_end(&mut rest).await?;
            assert!(LAST_FRAMES.starts_with(&rest), "{rest:?}");
            // Who is stopped in the middle may cut a session off.
            if rest == LAST_FRAMES { Ok(()) } else { Err(std::io::ErrorKind::UnexpectedEof.into()) }
        }
        // Whether as an end or as an error.
        RESET => client.read_u8().await.map_or(Ok(()), |byte| panic!("{byte}")),
        b'c' => {
            reset(client);
            Ok(())
        }
        _ => Ok(()),
    }
}

/// All sessions, so many at a time; how many had an answer and a clean exchange.
async fn all_sessions(address: SocketAddr, load: Load) -> usize {
    let permits = std::sync::Arc::new(Semaphore::new(load.at_a_time));
    let mut sessions = tokio::task::JoinSet::new();
    for index in 0..load.sessions {
        let permits = std::sync::Arc::clone(&permits);
        sessions.spawn(async move {
            let _permit = permits.acquire().await.unwrap();
            patiently(session(address, index)).await.is_ok()
        });
    }
    sessions.join_all().await.into_iter().filter(|ended| *ended).count()
}

/// Every request that a side counted has exactly one line there.
async fn assert_one_line_each(pair: &Pair, side: &str, admin: SocketAddr) -> Vec<Value> {
    let counting = async {
        loop {
            let stats = admin::stats(admin).await;
            let stat = |name: &str| {
                let mut of_the_connection_manager =
                    stats.iter().filter(|(full, _)| full.starts_with("http."));
                *of_the_connection_manager.find(|(full, _)| full.ends_with(name)).unwrap().1
            };
            if stat(".downstream_rq_active") == 0 {
                return stat(".downstream_rq_total").try_into().unwrap();
            }
        }
    };
    let counted = patiently(counting).await;
    let lines = pair.wait_for_lines(side, counted).await;
    assert_distinct(side, &lines);
    lines
}

/// No request has two lines; `x-request-id` says which is which.
fn assert_distinct(side: &str, lines: &[Value]) {
    let requests: std::collections::BTreeSet<&str> =
        lines.iter().map(|line| line["request_id"].as_str().unwrap()).collect();
    assert_eq!(requests.len(), lines.len(), "{side}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_session_leaves_one_line_on_each_side_however_it_ends() {
    assert_one_line_however_sessions_end(SMALL).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_application_that_is_killed_in_the_middle_costs_no_line() {
    assert_one_line_when_the_application_is_killed(SMALL).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sidecar_that_is_stopped_in_the_middle_costs_no_line() {
    assert_one_line_when_a_sidecar_is_stopped(SMALL).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a minute: 80,000 sessions"]
async fn ten_thousand_sessions_leave_one_line_each_whatever_happens() {
    assert_one_line_however_sessions_end(LARGE).await;
    assert_one_line_when_the_application_is_killed(LARGE).await;
    assert_one_line_when_a_sidecar_is_stopped(LARGE).await;
}

async fn assert_one_line_however_sessions_end(load: Load) {
    for hop in [Hop::Http1, Hop::Http2] {
        let (application, _serving) = application().await;
        let pair = Pair::start(hop, application);
        assert_eq!(all_sessions(pair.outbound, load).await, load.sessions);
        let client = assert_one_line_each(&pair, "client", pair.outbound_admin).await;
        let server = assert_one_line_each(&pair, "server", pair.inbound_admin).await;
        assert_eq!((client.len(), server.len()), (load.sessions, load.sessions));
        assert!(client.iter().chain(&server).all(|line| line["response_code"] == 101));
    }
}

async fn assert_one_line_when_the_application_is_killed(load: Load) {
    for hop in [Hop::Http1, Hop::Http2] {
        let (application, serving) = application().await;
        let pair = Pair::start(hop, application);
        let killing = async {
            pair.wait_until_lines("client", load.sessions / 4).await;
            serving.abort();
        };
        let ((), ended) = tokio::join!(killing, all_sessions(pair.outbound, load));
        assert!(ended >= load.sessions / 4);
        let client = assert_one_line_each(&pair, "client", pair.outbound_admin).await;
        assert_eq!(client.len(), load.sessions);
        assert_one_line_each(&pair, "server", pair.inbound_admin).await;
    }
}

async fn assert_one_line_when_a_sidecar_is_stopped(load: Load) {
    for (hop, side) in
        [(Hop::Http1, "client"), (Hop::Http2, "client"), (Hop::Http1, "server"), (Hop::Http2, "server")]
    {
        let (application, _serving) = application().await;
        let pair = Pair::start(hop, application);
        let stopping = async {
            pair.wait_until_lines("client", load.sessions / 4).await;
            if side == "client" { pair.stop_outbound() } else { pair.stop_inbound() }
        };
        let ((), ended) = tokio::join!(stopping, all_sessions(pair.outbound, load));
        assert!(ended >= load.sessions / 4);
        // The other side can be asked how many requests it has counted.
        let (other, admin) =
            if side == "client" { ("server", pair.inbound_admin) } else { ("client", pair.outbound_admin) };
        assert_one_line_each(&pair, other, admin).await;
        assert_distinct(side, &pair.lines(side));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_body_goes_out_to_its_end_although_the_response_has_begun() {
    const BODY: usize = 24 << 20;
    // Small enough for the sidecars and the sockets between them to hold.
    const LAST: usize = 256 << 10;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let pair = Pair::start(Hop::Http1, listener.local_addr().unwrap());
    let (all_written, written) = oneshot::channel();
    let answering = async {
        let (mut socket, _) = listener.accept().await.unwrap();
        read_head(&mut socket).await;
        socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n").await.unwrap();
        read_exactly(&mut socket, BODY - LAST).await;
        // So that the end of the body has to wait on its way.
        written.await.unwrap();
        read_exactly(&mut socket, LAST).await;
        socket.write_all(b"done").await.unwrap();
    };
    let asking = async {
        let mut client = TcpStream::connect(pair.outbound).await.unwrap();
        let head = format!("POST / HTTP/1.1\r\nHost: {AUTHORITY}\r\ncontent-length: {BODY}\r\n\r\n");
        client.write_all(head.as_bytes()).await.unwrap();
        assert!(read_head(&mut client).await.starts_with("HTTP/1.1 200 OK\r\n"));
        client.write_all(&vec![7; BODY]).await.unwrap();
        all_written.send(()).unwrap();
        assert_eq!(read_exactly(&mut client, 4).await, b"done");
    };
    tokio::join!(answering, asking);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_body_that_stalls_before_the_response_begins_is_not_lost() {
    // Less than the window of a stream, so that all of it gets as far as the server's sidecar.
    const BODY: usize = 12 << 20;
    for hop in [Hop::Http1, Hop::Http2] {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let pair = Pair::start(hop, listener.local_addr().unwrap());
        let (mostly_written, written) = oneshot::channel();
        let answering = async {
            let (mut socket, _) = listener.accept().await.unwrap();
            read_head(&mut socket).await;
            written.await.unwrap();
            socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n").await.unwrap();
            assert!(read_exactly(&mut socket, BODY).await.iter().all(|byte| *byte == 7));
            socket.write_all(b"done").await.unwrap();
        };
        let asking = async {
            let client = send(
                pair.outbound,
                format!("POST / HTTP/1.1\r\nHost: {AUTHORITY}\r\ncontent-length: {BODY}\r\n\r\n"),
            );
            let (mut read, mut write) = client.await.into_split();
            let writing = tokio::spawn(async move {
                // Over HTTP/1.1 the rest waits in the sockets until the application reads.
                let first = if hop == Hop::Http1 { 256 << 10 } else { BODY };
                write.write_all(&vec![7; first]).await.unwrap();
                mostly_written.send(()).unwrap();
                write.write_all(&vec![7; BODY - first]).await.unwrap();
                write
            });
            let mut answer = Vec::new();
            while !answer.ends_with(b"\r\n\r\ndone") {
                answer.push(patiently(read.read_u8()).await.unwrap());
            }
            drop(writing.await.unwrap());
        };
        tokio::join!(answering, asking);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_gets_everything_that_was_sent_before_the_end() {
    // More than the window of a stream, so that the rest waits in the server's sidecar.
    const BYTES: usize = (16 << 20) + 100_000;
    for hop in [Hop::Http1, Hop::Http2] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        // The server's sidecar is the impatient one; the client's is what a slow reader meets.
        let pair = Pair::configured(hop, listener.local_addr().unwrap(), |outbound, inbound| {
            outbound.connection_manager.delayed_close_timeout = PATIENCE;
            inbound.connection_manager.delayed_close_timeout = match hop {
                Hop::Http1 => PATIENCE,
                _ => Duration::from_millis(20),
            };
        });
        let sending = tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            accept(&mut socket).await.unwrap();
            socket.write_all(&vec![7; BYTES]).await.unwrap();
        });
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let mut client = socket.connect(pair.outbound).await.unwrap();
        client.write_all(&handshake()).await.unwrap();
        assert!(read_head(&mut client).await.starts_with("HTTP/1.1 101 "));
        if hop == Hop::Http2 {
            // The impatient side has had the time to give up: it has given up a connection that
            // came later.
            let mut refused = send(pair.inbound, "no request\r\n\r\n").await;
            assert!(read_head(&mut refused).await.starts_with("HTTP/1.1 400 "));
            admin::wait_for(pair.inbound_admin, "http.inbound_0.0.0.0_80;", &[("downstream_cx_active", 1)])
                .await;
        }
        assert_eq!(read_exactly(&mut client, BYTES).await.len(), BYTES, "{hop:?}");
        sending.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_client_sends_before_it_leaves_reaches_the_application() {
    for hop in [Hop::Http1, Hop::Http2] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let pair = Pair::start(hop, listener.local_addr().unwrap());
        for _ in 0..20 {
            let reading = async {
                let (mut socket, _) = listener.accept().await.unwrap();
                accept(&mut socket).await.unwrap();
                let mut all = Vec::new();
                // Its end may be an error.
                let _ = patiently(socket.read_to_end(&mut all)).await;
                all.len()
            };
            let leaving = async {
                let mut client = TcpStream::connect(pair.outbound).await.unwrap();
                client.write_all(&handshake()).await.unwrap();
                assert!(read_head(&mut client).await.starts_with("HTTP/1.1 101 "));
                client.write_all(&vec![7; 50_000]).await.unwrap();
            };
            let (read, ()) = tokio::join!(reading, leaving);
            assert_eq!(read, 50_000, "{hop:?}");
        }
    }
}
