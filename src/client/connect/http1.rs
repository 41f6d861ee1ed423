//! Requests and answers in HTTP/1.1, for the opening handshake (RFC 6455 section 4.1) and for a
//! proxy.

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::endpoint::Peer;
use super::error::{ConnectError, Refusal};
use super::event::{ConnectEvent, Observer};
use super::heads;
use crate::http1::{BodyDecoder, Decoded, Framing, RequestHead, ResponseHead, parse_response};
use crate::net::Transport;
use crate::websocket::deflate::Agreement;
use crate::websocket::opening::client::{AnswerError, check};

/// The name of HTTP/1.1 in ALPN (RFC 7301).
pub(super) const ALPN: &str = "http/1.1";

/// How much of a refusal's body is kept. An error page is a few KiB; what names the culprit is at
/// its beginning.
pub(super) const MAX_BODY_BYTES: usize = 64 * 1024;

/// How long a refusal's body is awaited: it follows its head at once or is not worth waiting for.
pub(super) const BODY_TIMEOUT: Duration = Duration::from_secs(1);

/// The answer that opened a WebSocket, and what it agrees to of compression.
pub(super) type OpeningAnswer = (ResponseHead, Option<Agreement>);

/// Opens a WebSocket by an upgrade; returns the answer and what was read after it.
pub(super) async fn open(
    request: &RequestHead,
    stream: &mut Transport,
    peer: &Peer,
    observer: &Observer,
) -> Result<(OpeningAnswer, BytesMut), ConnectError> {
    let mut bytes = BytesMut::with_capacity(1024);
    let head = exchange(request, stream, &mut bytes, peer, observer).await?;
    match check(request, head) {
        Ok(opened) => Ok((opened, bytes)),
        Err(AnswerError::Rejected { head }) => {
            Err(ConnectError::Refused(Box::new(refusal(request, *head, stream, bytes).await)))
        }
        Err(error) => Err(ConnectError::Answer(error)),
    }
}

/// Sends a request without a body and reads the head of the answer; what follows it is left in
/// `bytes`.
pub(super) async fn exchange(
    request: &RequestHead,
    stream: &mut Transport,
    bytes: &mut BytesMut,
    peer: &Peer,
    observer: &Observer,
) -> Result<ResponseHead, ConnectError> {
    let broken = |source: io::Error| match source.kind() {
        // A TLS connection that ends without close_notify counts as ended.
        io::ErrorKind::UnexpectedEof => ConnectError::Closed { peer: peer.clone() },
        _ => ConnectError::Broken { peer: peer.clone(), source },
    };
    observer.notice(&ConnectEvent::Request(&heads::request(request)));
    request.write(bytes);
    stream.write_all(bytes).await.map_err(broken)?;
    stream.flush().await.map_err(broken)?;
    bytes.clear();
    loop {
        match parse_response(bytes)? {
            Some(head) => {
                observer.notice(&ConnectEvent::Response(&head));
                // A server may say more than once that it is still there (RFC 9110 section 15.2).
                if !head.status.is_informational() || head.status == StatusCode::SWITCHING_PROTOCOLS {
                    return Ok(head);
                }
            }
            None if stream.read_buf(bytes).await.map_err(broken)? == 0 => {
                return Err(ConnectError::Closed { peer: peer.clone() });
            }
            None => {}
        }
    }
}

/// Reads the body that follows a refusal's head, of which `bytes` is the beginning: up to its end,
/// the end of the connection, the limit or a moment of silence. A body that breaks off is kept as
/// far as it came.
pub(super) async fn refusal(
    request: &RequestHead,
    head: ResponseHead,
    stream: &mut Transport,
    mut bytes: BytesMut,
) -> Refusal {
    // The body is shown to a person, so a wrong length is ignored.
    let framing =
        Framing::of_response(&request.method, head.status, &head.fields).unwrap_or(Framing::UntilClose);
    let mut decoder = BodyDecoder::new(framing);
    let mut body = BytesMut::new();
    while body.len() < MAX_BODY_BYTES {
        match decoder.decode(&mut bytes) {
            Ok(Decoded::Data(data)) => body.extend_from_slice(&data),
            Ok(Decoded::NeedMore) => {
                match tokio::time::timeout(BODY_TIMEOUT, stream.read_buf(&mut bytes)).await {
                    Ok(Ok(count)) if count > 0 => {}
                    _ => break,
                }
            }
            Ok(Decoded::End) | Err(_) => break,
        }
    }
    body.truncate(MAX_BODY_BYTES);
    Refusal { head, body: Bytes::from(body) }
}
