//! Extended CONNECT against `h2`'s server.

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use h2::RecvStream;
use h2::server::SendResponse;
use http::{HeaderMap, Response, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tungstenite::Message;

use crate::client::connect::{
    ConnectConfig, ConnectError, ConnectEvent, Connection, Http, Observer, connect,
};

type AskedRequest = (http::Request<RecvStream>, SendResponse<Bytes>);

/// Connects over HTTP/2 to a server that allows extended CONNECT, or does not, and handles the
/// request with `handle`.
async fn connect_to<F: Future<Output = ()>>(
    allowed: bool,
    change: impl FnOnce(&mut ConnectConfig),
    handle: impl FnOnce(AskedRequest) -> F,
) -> Result<Connection, ConnectError> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut config =
        ConnectConfig::new(format!("ws://{}/chat", listener.local_addr().unwrap()).parse().unwrap());
    config.http = Http::Http2 { send_key: false };
    change(&mut config);
    let server = async {
        let (socket, _) = listener.accept().await.unwrap();
        let mut builder = h2::server::Builder::new();
        if allowed {
            builder.enable_connect_protocol();
        }
        let mut connection = builder.handshake(socket).await.unwrap();
        if let Some(asked) = connection.accept().await {
            let handled = handle(asked.unwrap());
            tokio::join!(handled, async { while connection.accept().await.is_some() {} });
        }
    };
    tokio::select! {
        outcome = connect(&config) => outcome,
        () = server => panic!("the server ended first"),
    }
}

#[tokio::test]
async fn a_websocket_is_a_stream_of_http2() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut config =
        ConnectConfig::new(format!("ws://{}/chat", listener.local_addr().unwrap()).parse().unwrap());
    config.http = Http::Http2 { send_key: false };
    let server = async {
        let (socket, _) = listener.accept().await.unwrap();
        let mut connection =
            h2::server::Builder::new().enable_connect_protocol().handshake(socket).await.unwrap();
        let (request, mut respond) = connection.accept().await.unwrap().unwrap();
        assert_eq!(request.extensions().get::<h2::ext::Protocol>().unwrap().as_str(), "websocket");
        assert_eq!(request.uri().path(), "/chat");
        assert_eq!(request.headers().get("sec-websocket-version").unwrap(), "13");
        assert!(!request.headers().contains_key("sec-websocket-key"));
        let mut send = respond.send_response(Response::new(()), false).unwrap();
        send.send_data(Bytes::from_static(b"\x81\x05hello\x88\x02\x03\xe8"), true).unwrap();
        let mut body = request.into_body();
        let received = async {
            let mut received = 0;
            while let Some(data) = body.data().await {
                received += data.unwrap().len();
            }
            received
        };
        let (received, ()) = tokio::join!(received, async { while connection.accept().await.is_some() {} });
        received
    };
    let client = async {
        let mut connection = connect(&config).await.unwrap();
        assert_eq!(connection.request[..2], [":method: CONNECT", ":protocol: websocket"]);
        connection.stream.send(Message::text("a")).await.unwrap();
        assert_eq!(connection.stream.next().await.unwrap().unwrap(), Message::text("hello"));
        assert!(matches!(connection.stream.next().await.unwrap().unwrap(), Message::Close(Some(_))));
        assert!(connection.stream.next().await.is_none());
    };
    let (received, ()) = tokio::join!(server, client);
    assert_eq!(received, 7 + 8, "a message of one byte and a Close, both masked");
}

#[tokio::test]
async fn nothing_is_asked_of_a_server_whose_settings_do_not_allow_it() {
    let outcome = connect_to(false, |_| (), |_| async { panic!("nothing may be asked") }).await;
    assert_eq!(
        outcome.unwrap_err().to_string(),
        "server does not allow WebSocket over HTTP/2: its SETTINGS do not mention ENABLE_CONNECT_PROTOCOL (0x8)"
    );
}

#[tokio::test]
async fn a_key_is_sent_where_it_is_asked_for_and_its_answer_is_checked() {
    let answer = |accept: &'static str| {
        async move |(request, mut respond): AskedRequest| {
            assert!(request.headers().contains_key("sec-websocket-key"));
            let response = Response::builder().header("sec-websocket-accept", accept).body(()).unwrap();
            respond.send_response(response, false).unwrap();
            std::future::pending::<()>().await;
        }
    };
    let outcome =
        connect_to(true, |config| config.http = Http::Http2 { send_key: true }, answer("wrong")).await;
    assert_eq!(outcome.unwrap_err().to_string(), "invalid Sec-WebSocket-Accept header: wrong");
}

#[tokio::test]
async fn a_refusal_carries_its_status_and_its_body_and_the_settings_are_told() {
    let told = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let keep = std::sync::Arc::clone(&told);
    let observer = Observer::new(move |event| {
        if let ConnectEvent::Settings(settings) = event {
            keep.lock().unwrap().push(settings.to_string());
        }
    });
    let outcome = connect_to(
        true,
        |config| config.observer = observer,
        async |(_, mut respond)| {
            let response = Response::builder().status(StatusCode::NOT_FOUND).body(()).unwrap();
            let mut send = respond.send_response(response, false).unwrap();
            send.send_data(Bytes::from_static(b"no such page"), false).unwrap();
            send.send_trailers(HeaderMap::new()).unwrap();
        },
    )
    .await;
    let Err(ConnectError::Refused(refusal)) = outcome else { panic!("{outcome:?}") };
    assert_eq!((refusal.head.status.as_u16(), &refusal.body[..]), (404, &b"no such page"[..]));
    assert!(told.lock().unwrap()[0].contains("ENABLE_CONNECT_PROTOCOL=1"));
}

#[tokio::test]
async fn a_server_of_http1_is_told_from_one_of_http2() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut config = ConnectConfig::new(format!("ws://{}/", listener.local_addr().unwrap()).parse().unwrap());
    config.http = Http::Http2 { send_key: false };
    let server = async {
        let (mut socket, _) = listener.accept().await.unwrap();
        socket.read_u8().await.unwrap();
        socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        socket
    };
    let (outcome, _socket) = tokio::join!(connect(&config), server);
    let error = outcome.unwrap_err().to_string();
    assert!(error.starts_with("server does not speak HTTP/2: its first bytes are \"HTTP/1.1 400"), "{error}");
}
