//! Opening a WebSocket connection as a client: resolve, dial, shake hands (RFC 6455 section 4.1), in one deadline.
//!
//! No redirect is followed, no proxy asked; `wss://` is not spoken. Frames that came in the same
//! packet as the answer are not lost.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http::header::CONTENT_LENGTH;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tungstenite::protocol::{Role, WebSocketConfig};

use super::uri::{UriError, WebSocketUri};
use crate::http1::{Fields, HeadError, RequestHead, ResponseHead, parse_response};
use crate::net;
use crate::websocket::Frames;
use crate::websocket::opening::client::{AnswerError, check, offer_compression, request};

/// How long opening may take in all: Python websockets' `open_timeout`.
pub const OPEN_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest message that is accepted: Python websockets' `max_size`, 1 MiB.
pub const MAX_MESSAGE_BYTES: usize = 1024 * 1024;

/// How much of a refusal's body is kept. An error page is a few KiB; what names the culprit is at its beginning.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// How long a refusal's body is awaited: it follows its head at once or is not worth waiting for.
const BODY_TIMEOUT: Duration = Duration::from_secs(1);

/// What to connect to, and how.
#[derive(Debug, Clone)]
pub struct ConnectConfig {
    /// The server. Its authority is the `Host` field.
    pub uri: WebSocketUri,
    /// Dial this address instead of the URI's host and port.
    pub address: Option<SocketAddr>,
    /// Dial from this address.
    pub source: Option<IpAddr>,
    /// Fields for the request beside the handshake's own.
    pub fields: Fields,
    /// How long opening may take in all.
    pub timeout: Duration,
    /// Whether permessage-deflate is offered.
    pub compression: bool,
    /// The longest message that is accepted.
    pub max_message_bytes: usize,
}

impl ConnectConfig {
    /// The defaults, which are Python websockets'.
    #[must_use]
    pub fn new(uri: WebSocketUri) -> Self {
        Self {
            uri,
            address: None,
            source: None,
            fields: Fields::new(),
            timeout: OPEN_TIMEOUT,
            compression: true,
            max_message_bytes: MAX_MESSAGE_BYTES,
        }
    }
}

/// An open WebSocket.
#[derive(Debug)]
pub struct Connection {
    /// Messages in both directions.
    pub stream: WebSocketStream<Frames<TcpStream>>,
    /// The request that opened it.
    pub request: RequestHead,
    /// The server's answer.
    pub response: ResponseHead,
}

/// An HTTP answer that refuses the WebSocket.
#[derive(Debug)]
pub struct Refusal {
    /// Status and fields.
    pub head: ResponseHead,
    /// The beginning of the body as it came, up to 64 KiB.
    pub body: Bytes,
}

/// Why no WebSocket could be opened; each reads well after "failed to connect to URI: ".
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The URI is none.
    #[error(transparent)]
    Uri(#[from] UriError),
    /// The URI asks for TLS.
    #[error("TLS is not built into this client yet; use ws://")]
    Tls,
    /// The name has no address.
    #[error("{host}: {source}")]
    Resolve {
        /// The name.
        host: String,
        /// What the resolver said.
        #[source]
        source: io::Error,
    },
    /// None of the addresses could be dialled; this is what the last one said.
    #[error(transparent)]
    Dial(#[from] net::ConnectError),
    /// The connection broke while shaking hands.
    #[error("connection to {address} broke during opening handshake: {source}")]
    Broken {
        /// The server's address.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The server closed the connection instead of answering.
    #[error("{address} closed the connection during opening handshake")]
    Closed {
        /// The server's address.
        address: SocketAddr,
    },
    /// The answer is not HTTP/1.1.
    #[error("did not receive a valid HTTP response: {0}")]
    Head(#[from] HeadError),
    /// The answer is HTTP, and a refusal.
    #[error("server rejected WebSocket connection: HTTP {}", .0.head.status.as_u16())]
    Refused(Box<Refusal>),
    /// The answer is 101, and yet does not open a WebSocket.
    #[error(transparent)]
    Answer(AnswerError),
    /// The server took too long.
    #[error("timed out during opening handshake (after {0:?})")]
    TimedOut(Duration),
}

/// Opens a WebSocket.
///
/// # Errors
/// [`ConnectError`]; a refusal carries the server's whole answer.
pub async fn connect(config: &ConnectConfig) -> Result<Connection, ConnectError> {
    if config.uri.secure {
        return Err(ConnectError::Tls);
    }
    match tokio::time::timeout(config.timeout, open(config)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(ConnectError::TimedOut(config.timeout)),
    }
}

async fn open(config: &ConnectConfig) -> Result<Connection, ConnectError> {
    let (mut socket, address) = dial(config).await?;
    let mut request = request(config.uri.target.clone(), config.uri.authority.clone(), &config.fields);
    if config.compression {
        offer_compression(&mut request);
    }
    let broken = |source| ConnectError::Broken { address, source };
    let mut bytes = BytesMut::with_capacity(1024);
    request.write(&mut bytes);
    socket.write_all(&bytes).await.map_err(broken)?;
    bytes.clear();
    let head = loop {
        match parse_response(&mut bytes)? {
            // A server may say more than once that it is still there (RFC 9110 section 15.2).
            Some(head)
                if head.status.is_informational() && head.status != StatusCode::SWITCHING_PROTOCOLS => {}
            Some(head) => break head,
            None if socket.read_buf(&mut bytes).await.map_err(broken)? == 0 => {
                return Err(ConnectError::Closed { address });
            }
            None => {}
        }
    };
    let (response, agreement) = match check(&request, head) {
        Ok(opened) => opened,
        Err(AnswerError::Rejected { head }) => {
            let body = read_body(&mut socket, &head, bytes).await;
            return Err(ConnectError::Refused(Box::new(Refusal { head: *head, body })));
        }
        Err(error) => return Err(ConnectError::Answer(error)),
    };
    let limits = WebSocketConfig::default()
        .max_message_size(Some(config.max_message_bytes))
        .max_frame_size(Some(config.max_message_bytes));
    let frames = Frames::new(socket, bytes.freeze(), Role::Client, agreement, config.max_message_bytes);
    let stream = WebSocketStream::from_raw_socket(frames, Role::Client, Some(limits)).await;
    Ok(Connection { stream, request, response })
}

/// Dials the addresses of the host one after the other.
async fn dial(config: &ConnectConfig) -> Result<(TcpStream, SocketAddr), ConnectError> {
    let host = &config.uri.host;
    let unresolved = |source| ConnectError::Resolve { host: host.clone(), source };
    let addresses: Vec<SocketAddr> = match config.address {
        Some(address) => vec![address],
        None => {
            tokio::net::lookup_host((host.as_str(), config.uri.port)).await.map_err(unresolved)?.collect()
        }
    };
    let mut outcome = Err(unresolved(io::Error::new(io::ErrorKind::NotFound, "the name has no address")));
    for address in addresses {
        match net::connect(address, config.source, config.timeout).await {
            Ok(socket) => return Ok((socket, address)),
            Err(error) => outcome = Err(error.into()),
        }
    }
    outcome
}

/// Reads the body that follows a refusal's head, of which `bytes` is the beginning: up to its length, the end of the
/// connection, the limit or a moment of silence. A body that breaks off is kept as far as it came.
async fn read_body(socket: &mut TcpStream, head: &ResponseHead, mut bytes: BytesMut) -> Bytes {
    let declared = head.fields.get(&CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    let wanted = declared.unwrap_or(MAX_BODY_BYTES).min(MAX_BODY_BYTES);
    while bytes.len() < wanted {
        match tokio::time::timeout(BODY_TIMEOUT, socket.read_buf(&mut bytes)).await {
            Ok(Ok(count)) if count > 0 => {}
            _ => break,
        }
    }
    bytes.truncate(wanted);
    bytes.freeze()
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;
    use http::header::{HOST, SEC_WEBSOCKET_KEY};
    use tokio::net::TcpListener;
    use tungstenite::Message;
    use tungstenite::handshake::derive_accept_key;

    use super::*;
    use crate::http1::parse_request;

    /// A server that answers one request with `answer`, where `ACCEPT` stands for the right accept value, and with `early` in the
    /// same packet. Returns the request too.
    async fn connect_to(answer: &str, early: &[u8]) -> (Result<Connection, ConnectError>, RequestHead) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut config = ConnectConfig::new("ws://mesh.example:8080/chat".parse().unwrap());
        config.address = Some(listener.local_addr().unwrap());
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
        let (outcome, _) = connect_to(
            "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 19\r\n\r\n",
            b"no healthy upstream!",
        )
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
        config.address = Some(listener.local_addr().unwrap());
        config.timeout = Duration::from_millis(20);
        let error = connect(&config).await.unwrap_err();
        assert!(matches!(error, ConnectError::TimedOut(_)), "{error}");
    }

    #[tokio::test]
    async fn a_port_that_nobody_listens_on_is_named_in_the_error() {
        let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let error =
            connect(&ConnectConfig::new(format!("ws://{address}").parse().unwrap())).await.unwrap_err();
        assert!(error.to_string().contains(&address.to_string()), "{error}");
        assert!(matches!(error, ConnectError::Dial(_)));
    }
}
