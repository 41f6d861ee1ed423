//! One connection, from its first byte to its last: the first head decides what it becomes.
//!
//! The head is read here and not by hyper, because each fault is to be answered with a status and a sentence, and because
//! frames may follow it in the same packet.

use std::rc::Rc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tungstenite::protocol::Role;

use super::read_ahead::ReadAhead;
use super::rejection::Rejection;
use super::worker::Worker;
use super::{echo, http};
use crate::http1::{RequestHead, parse_request};
use crate::websocket::Frames;
use crate::websocket::deflate::Agreement;
use crate::websocket::opening::server as opening;

/// What is set aside for a head: those of browsers fit.
const HEAD_CAPACITY: usize = 1024;

/// How long a connection that we ended is read from, so that the peer finds our last bytes and not a reset. As long as
/// Envoy's `delayed_close_timeout`.
const LINGER: Duration = Duration::from_secs(1);

/// Serves a connection to its end.
pub(super) async fn serve(stream: TcpStream, worker: Rc<Worker>) {
    // Boxed, as every stage before the session: what a session does not need is not to be held while it lasts.
    let Some((opened, deflate)) = Box::pin(open(stream, &worker)).await else { return };
    let (stream, early) = opened.into_parts();
    let frames = Frames::new(stream, early, Role::Server, deflate, worker.config.max_message_size);
    let frames = ReadAhead::new(frames, Bytes::new());
    let echoed = echo::serve(frames, &worker.config, &worker.draining).await;
    Box::pin(finish(echoed)).await;
}

/// A connection that is a WebSocket now, and how its messages are compressed.
pub(super) type Opened = (ReadAhead<TcpStream>, Option<Agreement>);

/// Reads the first head and answers it. Returns the connection if it is a WebSocket now.
async fn open(mut stream: TcpStream, worker: &Worker) -> Option<Opened> {
    let mut buffer = BytesMut::with_capacity(HEAD_CAPACITY);
    let limit = worker.config.handshake_timeout;
    let reading = tokio::time::timeout(limit, read_head(&mut stream, &mut buffer));
    // A drain waits for nobody's first request.
    let rejection = match worker.draining.run_until_cancelled(reading).await? {
        Ok(Ok(None)) => return None,
        Ok(Ok(Some(head))) if !opening::is_attempt(&head.request) => {
            let stream = ReadAhead::new(stream, head.bytes.freeze());
            return Box::pin(http::serve(stream, &worker.draining)).await;
        }
        Ok(Ok(Some(head))) => match opening::check(&head.request) {
            Ok(accepted) => {
                let mut response = BytesMut::new();
                accepted.response().write(&mut response);
                stream.write_all(&response).await.ok()?;
                // A copy, or the session would hold the head's memory.
                return Some((ReadAhead::new(stream, Bytes::copy_from_slice(&buffer)), accepted.deflate));
            }
            Err(refusal) => refusal.into(),
        },
        Ok(Err(rejection)) => rejection,
        // A probe that opens a connection and says nothing hears nothing.
        Err(_) if buffer.is_empty() => return None,
        Err(_) => Rejection::TimedOut(limit),
    };
    tracing::debug!("rejected: {rejection}");
    stream.write_all(&rejection.response()).await.ok()?;
    finish(stream).await;
    None
}

/// A head and the bytes that it was parsed from, with what followed it.
struct Head {
    request: RequestHead,
    bytes: BytesMut,
}

/// Reads up to the end of a head; what followed it stays in `buffer`. `None` if the peer is gone.
async fn read_head(stream: &mut TcpStream, buffer: &mut BytesMut) -> Result<Option<Head>, Rejection> {
    loop {
        if !matches!(stream.read_buf(buffer).await, Ok(1..)) {
            return Ok(None);
        }
        let bytes = buffer.clone();
        match parse_request(buffer) {
            Ok(Some(request)) => return Ok(Some(Head { request, bytes })),
            Ok(None) => {}
            Err(error) => return Err(Rejection::of_head(error, buffer)),
        }
    }
}

/// Ends a connection as the first of the two ends, which is the server's part (RFC 6455 section 7.1.1).
async fn finish<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) {
    if stream.shutdown().await.is_ok() {
        // Closing with bytes unread would send a reset, which overtakes what the peer has not read yet.
        let _ = tokio::time::timeout(LINGER, tokio::io::copy(&mut stream, &mut tokio::io::sink())).await;
    }
}
