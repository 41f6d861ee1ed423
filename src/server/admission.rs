//! Whether an opening handshake becomes a session here: `opening` checks it against RFC 6455, this
//! module against what this server was told.

use std::net::SocketAddr;

use http::header::ORIGIN;
use http::{HeaderName, HeaderValue, Request, Version};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::rejection::Rejection;
use super::worker::Worker;
use crate::http1::{Fields, RequestHead, ResponseHead};
use crate::websocket::deflate::Agreement;
use crate::websocket::opening::server::{self as opening, Accepted, Refusal};

/// The id that a proxy, or the client, has given the request.
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A session that may begin. It has its place until this is dropped.
#[derive(Debug)]
pub(super) struct Admitted {
    /// How messages are compressed.
    pub(super) deflate: Option<Agreement>,
    /// The version of HTTP that carries it.
    pub(super) version: Version,
    /// The span that the events of the session carry, if anybody looks at them
    /// (`RUST_LOG=websockets_cli::server=debug`).
    pub(super) span: Option<Box<tracing::Span>>,
    _place: Option<OwnedSemaphorePermit>,
    _open: TaskTrackerToken,
}

/// Judges an opening handshake over HTTP/1.1. With the session comes the answer to it.
pub(super) fn admit(
    head: &RequestHead,
    peer: SocketAddr,
    worker: &Worker,
) -> Result<(ResponseHead, Admitted), Rejection> {
    judge(opening::check(head), &head.fields, head.version, peer, worker)
        .inspect_err(|rejection| worker.reject(*rejection))
}

/// Judges an extended CONNECT, the opening handshake over HTTP/2.
pub(super) fn admit_http2(
    request: &Request<()>,
    peer: SocketAddr,
    worker: &Worker,
) -> Result<(ResponseHead, Admitted), Rejection> {
    let checked = opening::check_extended_connect(request);
    judge(checked, &Fields::from(request.headers()), Version::HTTP_2, peer, worker)
        .inspect_err(|rejection| worker.reject(*rejection))
}

fn judge(
    checked: Result<Accepted, Refusal>,
    fields: &Fields,
    version: Version,
    peer: SocketAddr,
    worker: &Worker,
) -> Result<(ResponseHead, Admitted), Rejection> {
    let mut accepted = checked?;
    let config = &worker.shared.config;
    if worker.draining.is_cancelled() {
        return Err(Rejection::Draining);
    }
    if let Some(status) = config.reject {
        return Err(Rejection::OnPurpose(status));
    }
    if !comes_from_one_of(&config.origins, fields) {
        return Err(Rejection::Origin);
    }
    if worker.shared.buffers.is_full() {
        return Err(Rejection::Buffers);
    }
    let place = match &worker.shared.places {
        None => None,
        Some(places) => Some(places.clone().try_acquire_owned().map_err(|_| Rejection::Full)?),
    };
    accepted.choose_subprotocol(fields, &config.subprotocols);
    let open = worker.shared.sessions.token();
    let span = tracing::debug_span!(
        "session",
        id = fields.get(&X_REQUEST_ID).and_then(|id| id.to_str().ok()),
        protocol = ?version,
        %peer,
    );
    let span = (!span.is_disabled()).then(|| Box::new(span));
    let admitted = Admitted { deflate: accepted.deflate, version, span, _place: place, _open: open };
    Ok((accepted.response(), admitted))
}

/// Browsers always send Origin (RFC 6454 section 7), and other clients need not: a request without
/// it is allowed.
fn comes_from_one_of(origins: &[HeaderValue], fields: &Fields) -> bool {
    origins.is_empty()
        || fields.get_all(&ORIGIN).all(|origin| {
            origins.iter().any(|allowed| allowed.as_bytes().eq_ignore_ascii_case(origin.as_bytes()))
        })
}
