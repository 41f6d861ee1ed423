//! `mint_websocket_key`: a client of RFC 8441, which sends no key, before an application of RFC
//! 6455, which needs one.

use bytes::Bytes;
use h2::client::SendRequest;
use h2::{RecvStream, SendStream};
use http::{Request, Response};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tungstenite::handshake::derive_accept_key;
use websockets_cli::sidecar::Direction;

use crate::support::*;

/// The key of the example in RFC 6455 section 1.3, which [`extended_connect`] sends.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// The server's sidecar before an application that answers each request with `answer(request)`, and
/// a connection to it.
struct Server {
    client: SendRequest<Bytes>,
    sidecar: Alone,
}

impl Server {
    async fn start(mint_websocket_key: bool, answer: impl Fn(&str) -> String + Send + 'static) -> Self {
        let application = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = application.local_addr().unwrap();
        tokio::spawn(async move {
            loop {
                let (mut socket, _) = application.accept().await.unwrap();
                let request = read_head(&mut socket).await;
                socket.write_all(answer(&request).as_bytes()).await.unwrap();
                // A WebSocket that was opened says its request; then it ends.
                socket.write_all(request.as_bytes()).await.unwrap();
                socket.shutdown().await.unwrap();
            }
        });
        let mesh = inbound_mesh(Hop::Http2);
        let direction = Direction::Inbound { mesh, bind_source: None, mint_websocket_key };
        let sidecar = Alone::start(direction, endpoint, |_| {});
        Self { client: http2_client(sidecar.address).await, sidecar }
    }

    /// Opens a tunnel; the stream is open as long as the sender lives.
    async fn connect(&self, key: bool) -> (Response<RecvStream>, SendStream<Bytes>) {
        let mut client = patiently(self.client.clone().ready()).await.unwrap();
        let (response, sender) = client.send_request(extended_connect(key), false).unwrap();
        (patiently(response).await.unwrap(), sender)
    }

    /// The fields of the access log's one line that say how it ended.
    async fn ending(&self) -> Value {
        let line = self.sidecar.line().await;
        json!([line["method"], line["response_code"], line["response_flags"], line["response_code_details"]])
    }
}

/// The key of a request, if it has one.
fn key_of(request: &str) -> Option<&str> {
    request.lines().find_map(|line| line.strip_prefix("sec-websocket-key: "))
}

fn switching(accept: &str) -> String {
    format!("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{accept}\r\n")
}

/// Accepts the key as RFC 6455 asks for; a request without one is answered without an accept.
fn accepting(request: &str) -> String {
    switching(&key_of(request).map_or_else(String::new, |key| {
        format!("Sec-WebSocket-Accept: {}\r\n", derive_accept_key(key.as_bytes()))
    }))
}

/// What the application says in the tunnel until its end: the request that it got.
async fn said(body: &mut RecvStream) -> String {
    let mut said = Vec::new();
    while let Some(Ok(data)) = patiently(body.data()).await {
        body.flow_control().release_capacity(data.len()).unwrap();
        said.extend_from_slice(&data);
    }
    String::from_utf8(said).unwrap()
}

#[tokio::test]
async fn a_websocket_without_a_key_gets_one_whose_accept_stays_with_the_sidecar() {
    let server = Server::start(true, accepting).await;
    let (response, _sender) = server.connect(false).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers().get("sec-websocket-accept"), None);
    let request = said(&mut response.into_body()).await;
    assert_eq!(key_of(&request).map(str::len), Some(24), "{request}");
    assert!(request.contains("sec-websocket-version: 13\r\n"), "{request}");
    let details = "upstream_reset_after_response_started{connection_termination}";
    assert_eq!(server.ending().await, json!(["GET", 101, "UC", details]));
}

#[tokio::test]
async fn each_minted_key_is_another_one() {
    let server = Server::start(true, accepting).await;
    let mut keys = Vec::new();
    for _ in 0..2 {
        let (response, _sender) = server.connect(false).await;
        keys.push(key_of(&said(&mut response.into_body()).await).map(str::to_owned));
    }
    assert!(keys[0].is_some() && keys[0] != keys[1], "{keys:?}");
}

#[tokio::test]
async fn a_wrong_a_missing_and_a_second_accept_are_an_error_of_the_upstream() {
    let wrong: [fn(&str) -> String; 3] = [
        |_| switching("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"),
        |_| switching(""),
        |request| {
            let accept = derive_accept_key(key_of(request).unwrap_or_default().as_bytes());
            switching(&format!("Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Accept: {accept}\r\n"))
        },
    ];
    for answer in wrong {
        let server = Server::start(true, answer).await;
        let (response, _sender) = server.connect(false).await;
        assert_eq!(response.status(), 502);
        let body = said(&mut response.into_body()).await;
        let expected =
            "upstream connect error or disconnect/reset before headers. reset reason: protocol error";
        assert_eq!(body, expected);
        let details = "upstream_reset_before_response_started{protocol_error}";
        assert_eq!(server.ending().await, json!(["GET", 502, "UPE", details]));
    }
}

#[tokio::test]
async fn a_refusal_of_the_application_passes_as_it_is() {
    let server = Server::start(true, |_| "HTTP/1.1 403 Forbidden\r\nConnection: close\r\n\r\n".into()).await;
    let (response, _sender) = server.connect(false).await;
    assert_eq!(response.status(), 403);
    assert!(said(&mut response.into_body()).await.starts_with("GET / HTTP/1.1\r\n"));
    assert_eq!(server.ending().await, json!(["GET", 403, "-", "via_upstream"]));
}

#[tokio::test]
async fn a_key_of_the_clients_own_is_left_alone_and_so_is_its_accept() {
    let server = Server::start(true, accepting).await;
    let (response, _sender) = server.connect(true).await;
    assert_eq!(response.headers()["sec-websocket-accept"], derive_accept_key(KEY.as_bytes()));
    assert_eq!(key_of(&said(&mut response.into_body()).await), Some(KEY));
}

#[tokio::test]
async fn without_the_option_no_key_is_added_as_in_envoy() {
    let server = Server::start(false, accepting).await;
    let (response, _sender) = server.connect(false).await;
    assert_eq!(response.status(), 200);
    assert_eq!(key_of(&said(&mut response.into_body()).await), None);
}

#[tokio::test]
async fn other_requests_get_no_key() {
    let answer = |request: &str| {
        let found = key_of(request).is_some();
        format!("HTTP/1.1 200 OK\r\nX-Key: {found}\r\nContent-Length: {}\r\n\r\n", request.len())
    };
    let server = Server::start(true, answer).await;
    let request = Request::builder().uri(format!("http://{AUTHORITY}/")).body(()).unwrap();
    let mut client = patiently(server.client.clone().ready()).await.unwrap();
    let (response, _) = client.send_request(request, true).unwrap();
    assert_eq!(patiently(response).await.unwrap().headers()["x-key"], "false");
}
