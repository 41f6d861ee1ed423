//! The opening handshake against servers that follow a script.

mod http2;
mod tls;

use bytes::BytesMut;
use futures_util::{SinkExt, StreamExt};
use http::header::{AUTHORIZATION, COOKIE, HOST, PROXY_AUTHORIZATION, SEC_WEBSOCKET_KEY};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tungstenite::Message;
use tungstenite::handshake::derive_accept_key;

use super::*;
use crate::http1::parse_request;

/// A server that answers one request with `answer`, where `ACCEPT` stands for the right accept
/// value, and with `early` in the same packet. Returns the request too.
async fn connect_to(answer: &str, early: &[u8]) -> (Result<Connection, ConnectError>, RequestHead) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut config = ConnectConfig::new("ws://mesh.example:8080/chat".parse().unwrap());
    config.endpoint = Endpoint::Tcp(listener.local_addr().unwrap().into());
    let server = async {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut bytes = BytesMut::new();
        let head = loop {
            socket.read_buf(&mut bytes).await.unwrap();
            if let Some(head) = parse_request(&mut bytes).unwrap() {
                break head;
            }
        };
        let key = head.fields.get(&SEC_WEBSOCKET_KEY).unwrap().as_bytes();
        let answer = answer.replace("ACCEPT", &derive_accept_key(key));
        socket.write_all(&[answer.as_bytes(), early].concat()).await.unwrap();
        (socket, head)
    };
    let (outcome, (_socket, head)) = tokio::join!(connect(&config), server);
    (outcome, head)
}

#[tokio::test]
async fn frames_in_the_packet_of_the_answer_are_not_lost() {
    let (outcome, request) = connect_to(
        "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Accept: ACCEPT\r\n\r\n",
        b"\x81\x05hello\x81\x05",
    )
    .await;
    let connection = outcome.unwrap();
    assert_eq!(request.fields.get(&HOST).unwrap(), "mesh.example:8080");
    assert_eq!(request.target_str(), "/chat");
    let messages: Vec<_> = connection.stream.take(1).map(Result::unwrap).collect().await;
    assert_eq!(messages, [Message::text("hello")]);
}

#[tokio::test]
async fn a_refusal_carries_its_status_and_as_much_body_as_it_declares() {
    let (outcome, _) =
        connect_to("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 19\r\n\r\n", b"no healthy upstream!")
            .await;
    let error = outcome.unwrap_err();
    assert_eq!(error.to_string(), "server rejected WebSocket connection: HTTP 503");
    let ConnectError::Refused(refusal) = error else { panic!("{error}") };
    assert_eq!((refusal.head.status.as_u16(), &refusal.body[..]), (503, &b"no healthy upstream"[..]));
}

#[tokio::test]
async fn an_answer_that_is_not_http_is_told_from_a_refusal() {
    let (outcome, _) = connect_to("SSH-2.0-OpenSSH_9.6\r\n", b"").await;
    assert!(matches!(outcome, Err(ConnectError::Head(_))), "{outcome:?}");
}

#[tokio::test]
async fn a_server_that_does_not_answer_runs_into_the_deadline() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut config = ConnectConfig::new("ws://h/".parse().unwrap());
    config.endpoint = Endpoint::Tcp(listener.local_addr().unwrap().into());
    config.timeout = Duration::from_millis(20);
    let error = connect(&config).await.unwrap_err();
    assert!(matches!(error, ConnectError::TimedOut(_)), "{error}");
}

#[tokio::test]
async fn a_port_that_nobody_listens_on_is_named_in_the_error() {
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let error = connect(&ConnectConfig::new(format!("ws://{address}").parse().unwrap())).await.unwrap_err();
    assert!(error.to_string().contains(&address.to_string()), "{error}");
    assert!(matches!(error, ConnectError::Dial(_)));
}

#[tokio::test]
async fn a_chunked_refusal_is_shown_without_its_chunks() {
    let (outcome, _) = connect_to(
        "HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"3\r\nno \r\n5\r\nroute\r\n0\r\n\r\n",
    )
    .await;
    let Err(ConnectError::Refused(refusal)) = outcome else { panic!("{outcome:?}") };
    assert_eq!(&refusal.body[..], b"no route");
}

/// Reads a request and answers it; `ACCEPT` stands for the right accept value.
async fn answer_on(socket: &mut (impl AsyncRead + AsyncWrite + Unpin), answer: &str) -> RequestHead {
    let mut bytes = BytesMut::new();
    let head = loop {
        assert_ne!(socket.read_buf(&mut bytes).await.unwrap(), 0, "the client left before it asked");
        if let Some(head) = parse_request(&mut bytes).unwrap() {
            break head;
        }
    };
    let accept = head.fields.get(&SEC_WEBSOCKET_KEY).map(|key| derive_accept_key(key.as_bytes()));
    socket.write_all(answer.replace("ACCEPT", &accept.unwrap_or_default()).as_bytes()).await.unwrap();
    head
}

/// Accepts one connection after the other and answers each request with the next answer; returns
/// the requests.
async fn answer_each(listener: TcpListener, answers: Vec<&str>) -> Vec<RequestHead> {
    let mut requests = Vec::new();
    for answer in answers {
        let (mut socket, _) = listener.accept().await.unwrap();
        requests.push(answer_on(&mut socket, answer).await);
    }
    requests
}

const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                      Sec-WebSocket-Accept: ACCEPT\r\n\r\n";

#[tokio::test]
async fn a_redirect_to_the_same_origin_is_followed_with_credentials() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("ws://me:secret@{}/old", listener.local_addr().unwrap());
    let answers = ["HTTP/1.1 302 Found\r\nLocation: /new\r\nContent-Length: 0\r\n\r\n", SWITCH];
    let config = ConnectConfig::new(uri.parse().unwrap());
    let (outcome, requests) = tokio::join!(connect(&config), answer_each(listener, answers.to_vec()));
    outcome.unwrap();
    let targets: Vec<_> = requests.iter().map(RequestHead::target_str).collect();
    assert_eq!(targets, ["/old", "/new"]);
    for request in &requests {
        assert_eq!(request.fields.get(&AUTHORIZATION).unwrap(), "Basic bWU6c2VjcmV0");
    }
}

#[tokio::test]
async fn a_redirect_to_another_origin_is_followed_without_credentials_and_not_where_the_way_was_given() {
    let listeners =
        [TcpListener::bind("127.0.0.1:0").await.unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap()];
    let [first, second] = listeners.each_ref().map(|listener| listener.local_addr().unwrap());
    let redirect = format!("HTTP/1.1 307 X\r\nLocation: ws://{second}/\r\nContent-Length: 0\r\n\r\n");
    let mut config = ConnectConfig::new(format!("ws://{first}/").parse().unwrap());
    config.user = Some(("me".to_owned(), "secret".to_owned()));
    config.fields.append(COOKIE, HeaderValue::from_static("a=b"));
    let given = ConnectConfig { endpoint: Endpoint::Tcp(first.into()), ..config.clone() };
    let [one, two] = listeners;
    let servers =
        async { tokio::join!(answer_each(one, vec![redirect.as_str()]), answer_each(two, vec![SWITCH])) };
    let (outcome, (_, requests)) = tokio::join!(connect(&config), servers);
    outcome.unwrap();
    assert!(!requests[0].fields.contains(&AUTHORIZATION) && !requests[0].fields.contains(&COOKIE));
    let error = given.redirected(&format!("ws://{second}/")).unwrap_err();
    assert!(error.to_string().contains("another origin"), "{error}");
}

#[tokio::test]
async fn redirects_end_somewhere_and_never_leave_tls() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("ws://{}/", listener.local_addr().unwrap());
    let again = "HTTP/1.1 308 X\r\nLocation: /\r\nContent-Length: 0\r\n\r\n";
    let config = ConnectConfig { max_redirects: 2, ..ConnectConfig::new(uri.parse().unwrap()) };
    let (outcome, _) = tokio::join!(connect(&config), answer_each(listener, vec![again; 3]));
    assert_eq!(outcome.unwrap_err().to_string(), "more than 2 redirects");
    let secure = ConnectConfig::new("wss://h/".parse().unwrap());
    assert!(secure.redirected("ws://h/").unwrap_err().to_string().contains("not secure"));
}

#[tokio::test]
async fn a_proxy_is_asked_for_the_connection_and_may_refuse_it() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = format!("http://me:secret@{}", listener.local_addr().unwrap());
    let mut config = ConnectConfig::new("ws://web.example/chat".parse().unwrap());
    config.proxy = ProxyChoice::Explicit(proxy.parse().unwrap());
    let refusal = "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 2\r\n\r\nno";
    let (outcome, requests) = tokio::join!(connect(&config), answer_each(listener, vec![refusal]));
    let error = outcome.unwrap_err();
    assert!(error.to_string().ends_with("rejected connection: HTTP 407"), "{error}");
    assert!(!error.to_string().contains("secret"));
    assert_eq!((requests[0].method.as_str(), requests[0].target_str()), ("CONNECT", "web.example:80"));
    assert_eq!(requests[0].fields.get(&PROXY_AUTHORIZATION).unwrap(), "Basic bWU6c2VjcmV0");
}

#[tokio::test]
async fn through_a_proxy_the_handshake_is_the_servers() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut config = ConnectConfig::new("ws://web.example:8080/chat".parse().unwrap());
    config.proxy =
        ProxyChoice::Explicit(format!("http://{}", listener.local_addr().unwrap()).parse().unwrap());
    let proxy = async {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut heads = Vec::new();
        for answer in ["HTTP/1.1 200 Connection established\r\n\r\n", SWITCH] {
            heads.push(answer_on(&mut socket, answer).await.target_str().to_owned());
        }
        (socket, heads)
    };
    let (outcome, (_socket, heads)) = tokio::join!(connect(&config), proxy);
    outcome.unwrap();
    assert_eq!(heads, ["web.example:8080", "/chat"]);
}

#[tokio::test]
async fn a_unix_socket_is_dialled_and_the_host_stays_the_uris() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let mut config = ConnectConfig::new("ws://web.example/chat".parse().unwrap());
    config.endpoint = Endpoint::Unix(path.clone());
    let server = async {
        let (mut socket, _) = listener.accept().await.unwrap();
        let head = answer_on(&mut socket, SWITCH).await;
        (socket, head)
    };
    let (outcome, (_socket, head)) = tokio::join!(connect(&config), server);
    outcome.unwrap();
    assert_eq!(head.fields.get(&HOST).unwrap(), "web.example");
    config.endpoint = Endpoint::Unix(folder.path().join("nobody"));
    let error = connect(&config).await.unwrap_err();
    assert!(error.to_string().contains("nobody"), "{error}");
}

/// Frames from and to the server, in the order in which they were told.
fn frames_told() -> (Observer, std::sync::Arc<std::sync::Mutex<Vec<String>>>) {
    let told = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let keep = std::sync::Arc::clone(&told);
    let observer = Observer::new(move |event| {
        if let ConnectEvent::Frame(direction, head) = event {
            let mut told = keep.lock().unwrap();
            told.push(format!("{direction:?} {} {}", head.opcode(), head.length));
        }
    });
    (observer, told)
}

#[tokio::test]
async fn every_frame_is_told_also_one_in_the_packet_of_the_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (observer, told) = frames_told();
    let mut config = ConnectConfig::new(format!("ws://{}/", listener.local_addr().unwrap()).parse().unwrap());
    (config.observer, config.observe_frames) = (observer, true);
    config.compression = false;
    // The bytes of a fragment's head: text, not final, three bytes long.
    let answer = format!("{SWITCH}\u{1}\u{3}abc");
    let (outcome, _) = tokio::join!(connect(&config), answer_each(listener, vec![answer.as_str()]));
    let mut stream = outcome.unwrap().stream;
    stream.send(Message::text("hello")).await.unwrap();
    assert_eq!(*told.lock().unwrap(), ["Received 1 3", "Sent 1 5"]);
}
