//! HTTP/2 on the server's port (RFC 9113), with prior knowledge or agreed on by ALPN. An extended
//! CONNECT (RFC 8441) makes a WebSocket of its stream; all other requests get what they get over
//! HTTP/1.1.

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, HOST};
use http::{HeaderValue, Method, Request, Response, Version};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::admission;
use super::connection::Opened;
use super::info::Peer;
use super::routes::{self, RoutedRequest};
use super::session;
use super::worker::Worker;
use crate::http1::{Fields, RequestHead};
use crate::net::Budget;
use crate::tunnel::frame_header::{self, PREFACE, TYPE_AT};
use crate::tunnel::{self, ByteStream, Respond, Server, Settings, Stream, StreamError};
use crate::websocket::extended_connect::{request_from_http2, response_to_http2};

/// From so many streams on a connection ends of which more than half were reset before their
/// answer: Envoy's `overload.premature_reset_total_stream_count`.
const RESETS_ALLOWED: u32 = 500;

/// The windows bound what a session costs whose client does not read: a quarter of a mebibyte keeps
/// a gigabit busy over two milliseconds. As many streams as Envoy allows.
const SETTINGS: Settings = Settings {
    allow_connect: true,
    max_concurrent_streams: 1024,
    initial_stream_window_size: 256 * 1024,
    initial_connection_window_size: 1024 * 1024,
};

/// How long a connection is kept that has no stream: hyper's limit for one of HTTP/1.1.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// How long a peer without streams may take to end a connection after GOAWAY, and how long its
/// answers may take to leave.
const LINGER: Duration = Duration::from_secs(1);

/// How much of a request's body is waited for before the request is answered: what one window
/// holds.
const MAX_BODY_BYTES: usize = SETTINGS.initial_stream_window_size as usize;

/// What the first bytes of a connection are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FirstBytes {
    /// They are not HTTP/2's.
    Other,
    /// They may become the preface of HTTP/2.
    Incomplete,
    /// The preface of HTTP/2.
    Http2,
    /// A preface without the SETTINGS that have to follow it, which `h2` would accept.
    Broken,
}

impl FirstBytes {
    pub(super) fn of(bytes: &[u8]) -> Self {
        match (tunnel::is_http2(bytes), bytes.get(PREFACE.len() + TYPE_AT)) {
            (Some(false), _) => Self::Other,
            (None, _) | (Some(true), None) => Self::Incomplete,
            (Some(true), Some(&frame_header::SETTINGS)) => Self::Http2,
            (Some(true), Some(_)) => Self::Broken,
        }
    }
}

/// What the streams of a connection have in common.
#[derive(Debug)]
struct Http2Connection {
    peer: Peer,
    worker: Rc<Worker>,
    accepted: Cell<u32>,
    /// Streams that the peer gave up before they were answered.
    reset: Cell<u32>,
    /// Cancelled when too many streams were given up.
    abused: CancellationToken,
}

/// Serves a connection to its end, of which `read` was read already.
pub(super) async fn serve<S>(io: S, read: BytesMut, peer: Peer, worker: Rc<Worker>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let limit = worker.shared.config.handshake_timeout;
    let shaking_hands = Server::handshake(io, read, &SETTINGS, Budget::unlimited());
    let shaking_hands = tokio::time::timeout(limit, shaking_hands);
    let Ok(Ok(server)) = shaking_hands.await else { return };
    let mut server = server.lenient();
    let (accepted, reset, abused) = (Cell::default(), Cell::default(), CancellationToken::new());
    let connection = Rc::new(Http2Connection { peer, worker, accepted, reset, abused });
    let streams = TaskTracker::new();
    // A closed tracker can be waited for; streams may still be added.
    streams.close();
    let (mut is_leaving, mut timeout) = (false, limit);
    loop {
        let idle = async {
            streams.wait().await;
            tokio::time::sleep(timeout).await;
        };
        tokio::select! {
            next = poll_fn(|cx| server.poll_accept(cx)) => match next {
                Some(Ok((request, stream, respond))) => {
                    connection.accepted.update(|accepted| accepted + 1);
                    streams.spawn_local(Rc::clone(&connection).answer(request, stream, respond));
                    timeout = KEEP_ALIVE;
                    continue;
                }
                Some(Err(error)) => return tracing::debug!("HTTP/2 with {}: {error}", connection.peer.address),
                None => return,
            },
            () = connection.abused.cancelled() => return,
            () = connection.worker.closing.cancelled(), if !is_leaving => {}
            () = idle => if is_leaving { return },
        }
        server.go_away();
        (is_leaving, timeout) = (true, LINGER);
    }
}

impl Http2Connection {
    /// Serves one stream to its end.
    async fn answer(self: Rc<Self>, request: Request<()>, mut stream: Stream, mut respond: Respond) {
        let answered = if request.method() == Method::CONNECT {
            match admission::admit_http2(&request, self.peer.address, &self.worker) {
                Ok((answer, admitted)) => {
                    let head = response_to_http2(answer.status, &answer.fields);
                    match respond.head(&mut stream, head, false) {
                        Ok(()) => {
                            let stream = ByteStream::new(stream);
                            let opened = Opened { stream, early: Bytes::new(), admitted };
                            return session::serve(opened, &self.worker).await;
                        }
                        Err(error) => Err(error),
                    }
                }
                Err(rejection) => reply(stream, &mut respond, rejection.response(), true).await,
            }
        } else {
            match self.read_body(&mut stream).await {
                Ok(()) => {
                    let (path, head) = (request.uri().path(), request_head(&request));
                    let asked = RoutedRequest { path, head: &head, peer: &self.peer, worker: &self.worker };
                    let has_body = *request.method() != Method::HEAD;
                    reply(stream, &mut respond, routes::respond(&asked), has_body).await
                }
                Err(error) => Err(error),
            }
        };
        if answered.is_err() {
            self.reset.update(|reset| reset + 1);
            let accepted = self.accepted.get();
            if accepted > RESETS_ALLOWED && self.reset.get() > accepted / 2 {
                tracing::debug!("HTTP/2 with {}: too many streams were reset", self.peer.address);
                self.abused.cancel();
            }
        }
    }

    /// Throws the body of a request away. No route wants one, but an answer before its end would
    /// also end the stream, and what is malformed behind the head (RFC 9113 section 8.1.1) would
    /// never be judged. A body that is long or slow is not waited for.
    async fn read_body(&self, stream: &mut Stream) -> Result<(), StreamError> {
        let limit = self.worker.shared.config.handshake_timeout;
        let reading = async {
            let mut read = 0;
            while read < MAX_BODY_BYTES {
                let Some(data) = poll_fn(|cx| stream.poll_data(cx)).await? else { break };
                read += data.len();
            }
            Ok(())
        };
        tokio::time::timeout(limit, reading).await.unwrap_or(Ok(()))
    }
}

/// The request as the routes know it.
fn request_head(request: &Request<()>) -> RequestHead {
    let parts = request_from_http2(request);
    let host = parts.authority.map(|authority| (HOST, authority));
    let fields = parts.fields.iter().map(|(name, value)| (name.clone(), value.clone()));
    RequestHead {
        method: parts.method,
        target: parts.path.map_or_else(Bytes::new, |path| Bytes::copy_from_slice(path.as_bytes())),
        version: Version::HTTP_2,
        fields: host.into_iter().chain(fields).collect(),
    }
}

async fn reply(
    mut stream: Stream,
    respond: &mut Respond,
    response: Response<Bytes>,
    has_body: bool,
) -> Result<(), StreamError> {
    let mut fields = Fields::from(response.headers());
    let body = response.body();
    fields.append(CONTENT_LENGTH, HeaderValue::from(body.len()));
    let is_end = body.is_empty() || !has_body;
    respond.head(&mut stream, response_to_http2(response.status(), &fields), is_end)?;
    if !is_end {
        stream.send(body.clone())?;
        stream.finish();
        stream.drained(LINGER).await;
    }
    Ok(())
}
