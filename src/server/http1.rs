//! Plain HTTP/1.1 on the server's port, by hyper, on connections that do not begin with an opening
//! handshake.
//!
//! Connections are kept alive, and a later request on one may still be an opening handshake: the
//! same checks apply, and the connection goes back to the caller.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::ready;
use std::pin::pin;
use std::rc::Rc;

use bytes::Bytes;
use http::header::HOST;
use http::{Request, Response, Version};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use super::admission::{self, Admitted};
use super::connection::Opened;
use super::info::Peer;
use super::read_ahead::ReadAhead;
use super::rejection::Rejection;
use super::routes::{self, RoutedRequest};
use super::worker::Worker;
use crate::http1::{Fields, RequestHead};
use crate::websocket::opening::server::{self as opening, Refusal};

/// Serves requests until the connection ends, or becomes a WebSocket: then it is returned, after
/// its 101.
pub(super) async fn serve<S>(stream: ReadAhead<S>, peer: &Peer, worker: &Rc<Worker>) -> Option<Opened<S>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let upgrade = Cell::new(None);
    let service = service_fn(|request| {
        ready(Ok::<_, Infallible>(respond(request, peer, worker, &upgrade).map(Full::new)))
    });
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades()
    );
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        // Not at the beginning of a drain: a probe that keeps its connection is to read 503 from
        // `/readyz`.
        () = worker.closing.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!("plain HTTP: {error}");
    }
    let (upgraded, admitted) = upgrade.take()?;
    let parts = upgraded.await.ok()?.downcast::<TokioIo<ReadAhead<S>>>().ok()?;
    let (stream, early) = parts.io.into_inner().unread(&parts.read_buf).into_parts();
    Some(Opened { stream, early, admitted })
}

/// A connection that is about to be a WebSocket.
type Upgrade = (OnUpgrade, Admitted);

/// Answers one request; one that becomes a WebSocket is left in `upgrade`.
fn respond(
    mut request: Request<Incoming>,
    peer: &Peer,
    worker: &Rc<Worker>,
    upgrade: &Cell<Option<Upgrade>>,
) -> Response<Bytes> {
    let head = RequestHead {
        method: request.method().clone(),
        target: request.uri().to_string().into(),
        version: request.version(),
        fields: Fields::from(request.headers()),
    };
    if !opening::is_attempt(&head) {
        // hyper leaves this to its caller (RFC 9112 section 3.2).
        if head.version == Version::HTTP_11 && head.fields.get_all(&HOST).count() != 1 {
            return Rejection::from(Refusal::Host).response();
        }
        return routes::respond(&RoutedRequest { path: request.uri().path(), head: &head, peer, worker });
    }
    match admission::admit(&head, peer.address, worker) {
        Ok((answer, admitted)) => {
            upgrade.set(Some((hyper::upgrade::on(&mut request), admitted)));
            let mut response = Response::new(Bytes::new());
            *response.status_mut() = answer.status;
            *response.headers_mut() = answer.fields.into();
            response
        }
        Err(rejection) => rejection.response(),
    }
}
