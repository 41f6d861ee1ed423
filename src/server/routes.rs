//! The answers to requests other than opening handshakes: a pod's probes, what the server knows,
//! and 426 for everything else.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderValue, Method, Response, StatusCode};

use super::info::{self, Peer};
use super::metrics;
use super::rejection::Rejection;
use super::worker::{Shared, Worker};
use crate::http1::RequestHead;
use crate::websocket::opening::server::Refusal;

const TEXT: &str = "text/plain; charset=utf-8";

/// How long the answer of a test route has to leave before the route does its harm.
const FLUSH_DELAY: Duration = Duration::from_millis(100);

/// A request, from whom, and who is asked.
pub(super) struct RoutedRequest<'a> {
    pub(super) path: &'a str,
    pub(super) head: &'a RequestHead,
    pub(super) peer: &'a Peer,
    pub(super) worker: &'a Rc<Worker>,
}

type Page = fn(&RoutedRequest<'_>) -> Response<Bytes>;

const PAGES: &[(&str, Page)] = &[
    ("/healthz", |_| page(TEXT, "OK\n")),
    ("/readyz", |asked| {
        // A server that drains is well, it only takes no more sessions.
        if asked.worker.draining.is_cancelled() { Rejection::Draining.response() } else { page(TEXT, "OK\n") }
    }),
    ("/metrics", |asked| {
        let Shared { stats, buffers, .. } = &*asked.worker.shared;
        page(metrics::CONTENT_TYPE, metrics::render(stats, buffers))
    }),
    ("/info", |asked| {
        let pod = &asked.worker.shared.config.pod;
        page("application/json", info::render(asked.head, asked.peer, pod))
    }),
];

/// The two of the `websockets` library's how-to for Kubernetes.
const TEST_PAGES: &[(&str, Page)] = &[
    ("/inemuri", |asked| do_harm(asked, "Sleeping for 10s\n", |shared| shared.inemuri.notify_waiters())),
    ("/seppuku", |asked| do_harm(asked, "Terminating\n", |shared| shared.seppuku.cancel())),
];

/// Answers it. For HEAD the body is the caller's to leave out.
pub(super) fn respond(asked: &RoutedRequest<'_>) -> Response<Bytes> {
    let tests = if asked.worker.shared.config.test_routes { TEST_PAGES } else { &[] };
    let Some((_, answer)) = PAGES.iter().chain(tests).find(|(path, _)| *path == asked.path) else {
        let mut response = Rejection::from(Refusal::Upgrade).response();
        *response.body_mut() = format!("this is a WebSocket echo server: {}\n", Refusal::Upgrade).into();
        return response;
    };
    if asked.head.method != Method::GET && asked.head.method != Method::HEAD {
        let mut response = page(TEXT, "GET it\n");
        *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    answer(asked)
}

/// Announces it, and does it once the answer has left.
fn do_harm(asked: &RoutedRequest<'_>, announcement: &'static str, harm: fn(&Shared)) -> Response<Bytes> {
    let shared = Arc::clone(&asked.worker.shared);
    tokio::task::spawn_local(async move {
        tokio::time::sleep(FLUSH_DELAY).await;
        harm(&shared);
    });
    page(TEXT, announcement)
}

fn page(content_type: &'static str, text: impl Into<Bytes>) -> Response<Bytes> {
    let mut response = Response::new(text.into());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
