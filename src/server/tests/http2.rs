//! HTTP/2 with prior knowledge, by a client of `tunnel`.

use std::future::poll_fn;

use http::header::{CONTENT_LENGTH, SEC_WEBSOCKET_VERSION};
use http::{Method, Request, Response, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::LocalSet;

use super::{Serving, TIMEOUT, end_of, serve};
use crate::drain::Drain;
use crate::net::Budget;
use crate::server::Config;
use crate::tunnel::{self, ByteStream, Client, Settings};

pub(super) const SETTINGS: Settings = Settings {
    allow_connect: false,
    max_concurrent_streams: 100,
    initial_stream_window_size: 1 << 20,
    initial_connection_window_size: 1 << 20,
};

/// Runs a test against a server, which ends with it.
async fn with_server<F: Future>(
    config: impl FnOnce(Config) -> Config,
    test: impl FnOnce(Client, Drain) -> F,
) {
    let Serving { address, drain, task } = serve(config);
    let stream = TcpStream::connect(address).await.unwrap();
    let tasks = LocalSet::new();
    let test = async {
        let (client, driver) = tunnel::connect(stream, &SETTINGS, Budget::unlimited()).await.unwrap();
        tokio::task::spawn_local(driver);
        test(client, drain.clone()).await;
    };
    tokio::time::timeout(TIMEOUT, tasks.run_until(test)).await.expect("in time");
    drain.forced.cancel();
    task.await.unwrap().unwrap();
}

pub(super) async fn ask(client: &mut Client, request: Request<()>) -> (Response<()>, ByteStream) {
    let is_end = request.method() != Method::CONNECT;
    let (mut stream, mut awaited) = client.open(request, is_end).unwrap();
    let head = poll_fn(|cx| awaited.poll_head(&mut stream, cx)).await.unwrap();
    (head, ByteStream::new(stream))
}

async fn get(client: &mut Client, method: Method, path: &str) -> (Response<()>, String) {
    let request = Request::builder().method(method).uri(format!("http://localhost{path}")).body(()).unwrap();
    let (head, mut stream) = ask(client, request).await;
    let mut body = String::new();
    stream.read_to_string(&mut body).await.unwrap();
    (head, body)
}

pub(super) fn websocket(path: &str) -> Request<()> {
    let request = Request::connect(format!("http://localhost{path}")).header(SEC_WEBSOCKET_VERSION, "13");
    request.extension(h2::ext::Protocol::from_static("websocket")).body(()).unwrap()
}

#[tokio::test]
async fn every_route_answers_as_over_http1() {
    let test = |mut client: Client, _| async move {
        let (head, body) = get(&mut client, Method::GET, "/healthz").await;
        assert_eq!((head.status(), body.as_str()), (StatusCode::OK, "OK\n"));
        let (head, body) = get(&mut client, Method::HEAD, "/healthz").await;
        assert_eq!((&head.headers()[CONTENT_LENGTH], body.as_str()), (&"3".parse().unwrap(), ""));
        let (_, body) = get(&mut client, Method::GET, "/info").await;
        assert!(
            body.contains("\"version\": \"HTTP/2\"") && body.contains("\"host\": \"localhost\""),
            "{body}"
        );
        let (head, body) = get(&mut client, Method::GET, "/").await;
        assert_eq!(head.status(), StatusCode::UPGRADE_REQUIRED, "{body}");
        let (head, _) = get(&mut client, Method::POST, "/readyz").await;
        assert_eq!(head.status(), StatusCode::METHOD_NOT_ALLOWED);
    };
    with_server(|config| config, test).await;
}

#[tokio::test]
async fn sessions_share_a_connection_and_are_counted_and_limited() {
    let test = |mut client: Client, _| async move {
        let (head, mut first) = ask(&mut client, websocket("/any")).await;
        assert_eq!(head.status(), StatusCode::OK);
        let (head, mut second) = ask(&mut client, websocket("/path")).await;
        assert_eq!(head.status(), StatusCode::OK);
        let (head, mut refused) = ask(&mut client, websocket("/")).await;
        assert_eq!(head.status(), StatusCode::SERVICE_UNAVAILABLE);
        let mut why = String::new();
        refused.read_to_string(&mut why).await.unwrap();
        assert_eq!(why, "too many sessions are open\n");
        for session in [&mut first, &mut second] {
            session.write_all(b"\x81\x85\0\0\0\0hello").await.unwrap();
            let mut echo = [0; 7];
            session.read_exact(&mut echo).await.unwrap();
            assert_eq!(&echo, b"\x81\x05hello");
        }
        let (_, page) = get(&mut client, Method::GET, "/metrics").await;
        assert!(page.contains("sessions_total{http_version=\"2\"} 2\n"), "{page}");
        // The end of a session is the end of its stream and of no other.
        first.write_all(b"\x88\x82\0\0\0\0\x03\xe8").await.unwrap();
        let mut rest = Vec::new();
        first.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"\x88\x02\x03\xe8");
        second.write_all(b"\x81\x80\0\0\0\0").await.unwrap();
        second.read_exact(&mut [0; 2]).await.unwrap();
    };
    with_server(|config| Config { max_connections: Some(2), ..config }, test).await;
}

#[tokio::test]
async fn a_drain_closes_sessions_and_the_connection_that_carried_them() {
    let test = |mut client: Client, drain: Drain| async move {
        let (_, mut session) = ask(&mut client, websocket("/")).await;
        session.write_all(b"\x81\x81\0\0\0\0a").await.unwrap();
        session.read_exact(&mut [0; 3]).await.unwrap();
        drain.graceful.cancel();
        let mut head = [0; 4];
        session.read_exact(&mut head).await.unwrap();
        assert_eq!((head[0], &head[2..]), (0x88, 1001_u16.to_be_bytes().as_slice()));
        let (head, _) = get(&mut client, Method::GET, "/readyz").await;
        assert_eq!(head.status(), StatusCode::SERVICE_UNAVAILABLE);
        session.write_all(b"\x88\x82\0\0\0\0\x03\xe9").await.unwrap();
        session.read_to_end(&mut Vec::new()).await.unwrap();
        session.shutdown().await.unwrap();
        drain.tasks.close();
        drain.tasks.wait().await;
    };
    with_server(|config| config, test).await;
}

#[tokio::test]
async fn what_is_no_http2_behind_the_preface_ends_the_connection() {
    let server = serve(|config| config);
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    // A PING instead of SETTINGS.
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x08\x06\0\0\0\0\0").await.unwrap();
    assert_eq!(end_of(stream).await, b"");
    server.task.abort();
}
