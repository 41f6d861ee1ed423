//! One connection, from its first byte to its last: the first bytes decide what it becomes.
//!
//! The head is read here and not by hyper, because each fault is to be answered with a status and a
//! sentence, and because frames may follow it in the same packet.

use std::net::SocketAddr;
use std::rc::Rc;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::admission::{self, Admitted};
use super::http2::{self, FirstBytes};
use super::info::Peer;
use super::read_ahead::ReadAhead;
use super::rejection::Rejection;
use super::worker::Worker;
use super::{http1, session};
use crate::http1::{RequestHead, parse_request};
use crate::net::Holding;
use crate::tls;
use crate::websocket::opening::server as opening;

/// What is set aside for a head: those of browsers fit.
const HEAD_CAPACITY: usize = 1024;

/// Serves a connection to its end.
pub(super) async fn serve(socket: TcpStream, address: SocketAddr, worker: Rc<Worker>) {
    match &worker.shared.config.tls {
        None => carry(socket, Peer { address, tls: None }, &worker).await,
        // Boxed: a session in cleartext is not to be as large as one over TLS.
        Some(tls) => Box::pin(decrypt(socket, address, tls, &worker)).await,
    }
}

/// Serves a connection over TLS.
async fn decrypt(socket: TcpStream, address: SocketAddr, tls: &tls::server::Server, worker: &Rc<Worker>) {
    let limit = worker.shared.config.handshake_timeout;
    let shaking_hands = Box::pin(tokio::time::timeout(limit, tls.accept(socket)));
    match worker.closing.run_until_cancelled(shaking_hands).await {
        Some(Ok(Ok((stream, facts)))) => carry(stream, Peer { address, tls: Some(facts) }, worker).await,
        // The peer is a probe, does not trust this server, or does not speak TLS.
        Some(Ok(Err(error))) => tracing::debug!("TLS with {address}: {error}"),
        Some(Err(_)) | None => {}
    }
}

/// Serves what a connection carries.
pub(super) async fn carry<S>(stream: S, peer: Peer, worker: &Rc<Worker>)
where
    S: AsyncRead + AsyncWrite + Holding + Unpin + Send + 'static,
{
    // Boxed, as every stage before the session: what a session does not need is not to be held
    // while it lasts.
    let Some(opened) = Box::pin(open(stream, peer, worker)).await else { return };
    session::serve(opened, worker).await;
}

/// A connection that is a WebSocket now.
#[derive(Debug)]
pub(super) struct Opened<S> {
    pub(super) stream: S,
    /// What was read behind the opening handshake.
    pub(super) early: Bytes,
    pub(super) admitted: Admitted,
}

/// Reads the first bytes and answers them. Returns the connection if it is a WebSocket now.
async fn open<S>(mut stream: S, peer: Peer, worker: &Rc<Worker>) -> Option<Opened<S>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut buffer = BytesMut::with_capacity(HEAD_CAPACITY);
    let limit = worker.shared.config.handshake_timeout;
    let reading = tokio::time::timeout(limit, read_first(&mut stream, &mut buffer));
    // A drain does not wait for first requests.
    let rejection = match worker.closing.run_until_cancelled(reading).await? {
        Ok(Ok(None)) => return None,
        Ok(Ok(Some(First::Http2))) => {
            Box::pin(http2::serve(stream, buffer, peer, Rc::clone(worker))).await;
            return None;
        }
        Ok(Ok(Some(First::Head { request, bytes }))) if !opening::is_attempt(&request) => {
            let stream = ReadAhead::new(stream, bytes.freeze());
            return Box::pin(http1::serve(stream, &peer, worker)).await;
        }
        Ok(Ok(Some(First::Head { request, .. }))) => match admission::admit(&request, peer.address, worker) {
            Ok((answer, admitted)) => {
                let mut response = BytesMut::new();
                answer.write(&mut response);
                stream.write_all(&response).await.ok()?;
                // A copy, or the session would hold the head's memory.
                return Some(Opened { stream, early: Bytes::copy_from_slice(&buffer), admitted });
            }
            Err(rejection) => rejection,
        },
        Ok(Err(rejection)) => {
            worker.reject(rejection);
            rejection
        }
        // A probe that opens a connection and sends nothing gets no answer; HTTP/2 has no status
        // for a request that did not come.
        Err(_) if buffer.is_empty() || FirstBytes::of(&buffer) == FirstBytes::Incomplete => return None,
        Err(_) => {
            let rejection = Rejection::TimedOut(limit);
            worker.reject(rejection);
            rejection
        }
    };
    stream.write_all(&rejection.last_response()).await.ok()?;
    session::finish(stream).await;
    None
}

/// How a connection begins.
enum First {
    /// With a head, here also as the bytes that it was parsed from, with what followed it.
    Head { request: RequestHead, bytes: BytesMut },
    /// With the preface of HTTP/2, which is left in the buffer.
    Http2,
}

/// Reads what a connection begins with; what follows a head stays in `buffer`. `None` if the peer
/// is gone.
async fn read_first<S: AsyncRead + Unpin>(
    stream: &mut S,
    buffer: &mut BytesMut,
) -> Result<Option<First>, Rejection> {
    loop {
        if !matches!(stream.read_buf(buffer).await, Ok(1..)) {
            return Ok(None);
        }
        match FirstBytes::of(buffer) {
            FirstBytes::Http2 => return Ok(Some(First::Http2)),
            FirstBytes::Broken => return Ok(None),
            FirstBytes::Incomplete => continue,
            FirstBytes::Other => {}
        }
        let bytes = buffer.clone();
        match parse_request(buffer) {
            Ok(Some(request)) => return Ok(Some(First::Head { request, bytes })),
            Ok(None) => {}
            Err(error) => return Err(Rejection::of_head(error, buffer)),
        }
    }
}
