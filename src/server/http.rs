//! Plain HTTP/1.1 on the server's port, by hyper: the health check, and a word for those who come without a WebSocket.
//!
//! Connections are kept alive, and a later request on one may still be an opening handshake: the same checks apply, and
//! the connection goes back to the caller.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::ready;
use std::pin::pin;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::connection::Opened;
use super::read_ahead::ReadAhead;
use crate::http1::{Fields, RequestHead};
use crate::websocket::deflate::Agreement;
use crate::websocket::opening::server::{self as opening, Refusal};

/// Serves requests until the connection ends, or becomes a WebSocket: then it is returned, after its 101.
pub(super) async fn serve(stream: ReadAhead<TcpStream>, draining: &CancellationToken) -> Option<Opened> {
    let upgrade = Cell::new(None);
    let service = service_fn(|request| ready(Ok::<_, Infallible>(respond(request, &upgrade))));
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades()
    );
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = draining.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!("plain HTTP: {error}");
    }
    let (upgraded, deflate) = upgrade.take()?;
    let upgraded = upgraded.await.ok()?;
    let parts = upgraded.downcast::<TokioIo<ReadAhead<TcpStream>>>().ok()?;
    Some((parts.io.into_inner().unread(&parts.read_buf), deflate))
}

/// A connection that is about to be a WebSocket, and how its messages are compressed.
type Upgrade = (OnUpgrade, Option<Agreement>);

/// Answers one request; one that becomes a WebSocket is left in `upgrade`.
fn respond(mut request: Request<Incoming>, upgrade: &Cell<Option<Upgrade>>) -> Response<Full<Bytes>> {
    let head = RequestHead {
        method: request.method().clone(),
        target: request.uri().to_string().into(),
        version: request.version(),
        fields: Fields::from(request.headers()),
    };
    if opening::is_attempt(&head) {
        match opening::check(&head) {
            Ok(accepted) => {
                upgrade.set(Some((hyper::upgrade::on(&mut request), accepted.deflate)));
                let head = accepted.response();
                response(head.status, head.fields.into(), Bytes::new())
            }
            Err(refusal) => refused(refusal),
        }
    } else if request.uri().path() == "/healthz" {
        if request.method() == Method::GET || request.method() == Method::HEAD {
            text(StatusCode::OK, HeaderMap::new(), "OK\n".into())
        } else {
            let allow = [(http::header::ALLOW, HeaderValue::from_static("GET, HEAD"))];
            text(StatusCode::METHOD_NOT_ALLOWED, HeaderMap::from_iter(allow), "GET it\n".into())
        }
    } else {
        refused(Refusal::Upgrade)
    }
}

fn refused(refusal: Refusal) -> Response<Full<Bytes>> {
    text(refusal.status(), refusal.fields().into(), format!("this is a WebSocket echo server: {refusal}\n"))
}

fn text(status: StatusCode, mut fields: HeaderMap, text: String) -> Response<Full<Bytes>> {
    fields.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response(status, fields, text.into())
}

fn response(status: StatusCode, fields: HeaderMap, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    *response.headers_mut() = fields;
    response
}
