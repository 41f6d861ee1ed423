//! The admin port in the form of Envoy's: plain HTTP/1.1 on a thread of its own, which no session
//! ever waits for.
//!
//! Of Envoy's endpoints those are here that have something to say of this proxy; the answer to any
//! other path lists them.

mod render;

use std::cell::Cell;
use std::convert::Infallible;
use std::fmt::Write;
use std::future::ready;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, SERVER, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use regex::Regex;
use tokio::net::TcpStream;

use self::render::Format;
use super::drain_manager::DrainManager;
use super::stats::{self, Reading, Scope, Snapshot, WorkerStats};
use crate::access_log::Reopen;
use crate::drain::Drain;
use crate::escape::to_json_pretty;
use crate::net;

/// Envoy's type for what is not JSON.
const TEXT: &str = "text/plain; charset=UTF-8";

/// The admin port: what it can show, and what it can change.
#[derive(Debug)]
pub(super) struct Admin {
    pub(super) workers: Vec<Arc<WorkerStats>>,
    /// The connection manager's, as in `http.STAT_PREFIX.`
    pub(super) stat_prefix: String,
    pub(super) config_dump: serde_json::Value,
    pub(super) drain_manager: Arc<DrainManager>,
    /// The listener is an inbound one.
    pub(super) inbound: bool,
    pub(super) access_log: Reopen,
    /// Graceful: the listener closes. Forced: the proxy ends.
    pub(super) drain: Drain,
    pub(super) started: Instant,
}

/// Serves the port on this thread until the proxy ends.
pub(super) fn run(admin: Admin, listener: std::net::TcpListener) -> std::io::Result<()> {
    net::serve_local(listener, async |listener| {
        let admin = Rc::new(admin);
        let accepting = net::accept_each(listener, |socket, _| {
            tokio::task::spawn_local(Rc::clone(&admin).serve(socket));
        });
        admin.drain.forced.run_until_cancelled(accepting).await;
    })
}

/// One path.
struct Endpoint {
    path: &'static str,
    about: &'static str,
    parameters: &'static [(&'static str, &'static str)],
    /// It changes something, which takes a POST.
    mutates: bool,
    answer: fn(&Admin, &Query) -> Reply,
}

const STATS_PARAMETERS: &[(&str, &str)] = &[
    ("usedonly", "only those that were ever written to"),
    ("filter", "a regular expression that the names have to match"),
    ("format", "json, prometheus or text"),
];

const ENDPOINTS: &[Endpoint] = &[
    Endpoint {
        path: "/config_dump",
        about: "the effective configuration, as JSON",
        parameters: &[],
        mutates: false,
        answer: |admin, _| Reply::json(&admin.config_dump),
    },
    Endpoint {
        path: "/drain_listeners",
        about: "drain the listener",
        parameters: &[
            ("graceful", "ask the peers to go, for the drain time, before the listener closes"),
            ("skip_exit", "ask the peers to go, and never close the listener"),
            ("inboundonly", "drain only if this is the server's sidecar"),
        ],
        mutates: true,
        answer: Admin::drain_listeners,
    },
    Endpoint {
        path: "/help",
        about: "this list",
        parameters: &[],
        mutates: false,
        answer: |_, _| Reply::text(StatusCode::OK, help()),
    },
    Endpoint {
        path: "/quitquitquit",
        about: "end the proxy",
        parameters: &[],
        mutates: true,
        answer: |_, _| Reply { ends: true, ..Reply::ok() },
    },
    Endpoint {
        path: "/ready",
        about: "LIVE",
        parameters: &[],
        mutates: false,
        answer: |_, _| Reply::text(StatusCode::OK, "LIVE\n"),
    },
    Endpoint {
        path: "/reopen_logs",
        about: "open the access log's file again",
        parameters: &[],
        mutates: true,
        answer: |admin, _| {
            admin.access_log.reopen();
            Reply::ok()
        },
    },
    Endpoint {
        path: "/stats",
        about: "the counters and gauges",
        parameters: STATS_PARAMETERS,
        mutates: false,
        answer: |admin, query| admin.stats(query, query.value("format").unwrap_or("text")),
    },
    Endpoint {
        path: "/stats/prometheus",
        about: "the counters and gauges in Prometheus's format",
        parameters: &[STATS_PARAMETERS[0], STATS_PARAMETERS[1]],
        mutates: false,
        answer: |admin, query| admin.stats(query, "prometheus"),
    },
];

impl Admin {
    async fn serve(self: Rc<Self>, socket: TcpStream) {
        let ends = Cell::new(false);
        let service = service_fn(|request| {
            let answer = self.answer(&request);
            ends.set(answer.ends);
            ready(Ok::<_, Infallible>(answer.into_response()))
        });
        let mut builder = http1::Builder::new();
        let connection = builder.timer(TokioTimer::new()).serve_connection(TokioIo::new(socket), service);
        if let Err(error) = connection.await {
            tracing::debug!("the admin port: {error}");
        }
        // Only now, so that the request has been answered.
        if ends.get() {
            self.drain.graceful.cancel();
            self.drain.forced.cancel();
        }
    }

    fn answer<B>(&self, request: &Request<B>) -> Reply {
        let path = request.uri().path();
        let Some(endpoint) = ENDPOINTS.iter().find(|endpoint| endpoint.path == path) else {
            return Reply::text(StatusCode::NOT_FOUND, format!("invalid path. {}", help()));
        };
        let method = request.method();
        if endpoint.mutates && method != Method::POST {
            let text = format!("Method {method} not allowed, POST required.");
            return Reply::text(StatusCode::METHOD_NOT_ALLOWED, text);
        }
        (endpoint.answer)(self, &Query::parse(request.uri().query().unwrap_or_default()))
    }

    fn drain_listeners(&self, query: &Query) -> Reply {
        if query.has("inboundonly") && !self.inbound {
            return Reply::ok();
        }
        if query.has("skip_exit") {
            self.drain_manager.start();
        } else if !query.has("graceful") {
            self.drain.graceful.cancel();
        } else if self.drain_manager.start() {
            let (drain_time, listener) = (self.drain_manager.drain_time(), self.drain.graceful.clone());
            tokio::task::spawn_local(async move {
                tokio::time::sleep(drain_time).await;
                listener.cancel();
            });
        }
        Reply::ok()
    }

    fn stats(&self, query: &Query, format: &str) -> Reply {
        let Some(format) = Format::named(format) else {
            return Reply::text(StatusCode::BAD_REQUEST, "usage: /stats?format=(json|prometheus|text)\n\n");
        };
        let filter = match query.value("filter").map(Regex::new).transpose() {
            Ok(filter) => filter,
            Err(error) => return Reply::text(StatusCode::BAD_REQUEST, format!("Invalid regex: {error}\n")),
        };
        let mut snapshot = self.snapshot();
        snapshot.retain(|(scope, name), reading| {
            (reading.used || !query.has("usedonly"))
                && filter.as_ref().is_none_or(|filter| filter.is_match(&render::full_name(scope, name)))
        });
        match format {
            Format::Text => Reply::text(StatusCode::OK, render::text(&snapshot)),
            Format::Prometheus => Reply::text(StatusCode::OK, render::prometheus(&snapshot)),
            Format::Json => Reply::json(&render::json(&snapshot)),
        }
    }

    fn snapshot(&self) -> Snapshot {
        let mut snapshot = stats::snapshot(&self.workers, &self.stat_prefix);
        let server = [
            ("concurrency", self.workers.len() as u64),
            ("live", 1),
            // Envoy's `ServerInfo.State`: LIVE.
            ("state", 0),
            ("uptime", self.started.elapsed().as_secs()),
        ];
        let server = server.map(|(name, value)| ((Scope::Server, name.to_owned()), Reading::gauge(value)));
        snapshot.extend(server);
        snapshot
    }
}

fn help() -> String {
    let mut help = "admin commands are:\n".to_owned();
    for Endpoint { path, about, parameters, mutates, .. } in ENDPOINTS {
        let method = if *mutates { " (POST)" } else { "" };
        // Writing to a string does not fail.
        let _ = writeln!(help, "  {path}{method}: {about}");
        for (name, about) in *parameters {
            let _ = writeln!(help, "      {name}: {about}");
        }
    }
    help
}

/// The parameters of a request.
#[derive(Debug)]
struct Query(Vec<(String, String)>);

impl Query {
    fn parse(query: &str) -> Self {
        let parameters =
            query.split('&').map(|parameter| parameter.split_once('=').unwrap_or((parameter, "")));
        Self(parameters.map(|(name, value)| (decoded(name), decoded(value))).collect())
    }

    fn has(&self, name: &str) -> bool {
        self.value(name).is_some()
    }

    fn value(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(candidate, _)| candidate == name).map(|(_, value)| value.as_str())
    }
}

/// Percent-decoding (RFC 3986 section 2.1); a malformed escape stays as it is.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let escaped = match after {
            [high, low, ..] if *first == b'%' => {
                std::str::from_utf8(&[*high, *low]).ok().and_then(|hex| u8::from_str_radix(hex, 16).ok())
            }
            _ => None,
        };
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The answer to one request.
#[derive(Debug)]
struct Reply {
    status: StatusCode,
    content_type: &'static str,
    body: String,
    /// The proxy ends once it has gone out.
    ends: bool,
}

impl Reply {
    fn text(status: StatusCode, body: impl Into<String>) -> Self {
        Self { status, content_type: TEXT, body: body.into(), ends: false }
    }

    fn ok() -> Self {
        Self::text(StatusCode::OK, "OK\n")
    }

    fn json(value: &serde_json::Value) -> Self {
        let mut body = to_json_pretty(value).unwrap_or_else(|_| unreachable!("its keys are strings"));
        body.push('\n');
        Self { status: StatusCode::OK, content_type: "application/json", body, ends: false }
    }

    fn into_response(self) -> Response<Full<Bytes>> {
        let mut fields = HeaderMap::new();
        fields.insert(CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, max-age=0"));
        fields.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        fields.insert(SERVER, HeaderValue::from_static("envoy"));
        if self.ends {
            fields.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        let mut response = Response::new(Full::from(self.body));
        *response.status_mut() = self.status;
        *response.headers_mut() = fields;
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_percent_decoded_and_may_have_no_value() {
        let query = Query::parse("usedonly&filter=%5Ecluster%5c.a%7cb&broken=%zz%4");
        assert!(query.has("usedonly"));
        assert_eq!(query.value("filter"), Some("^cluster\\.a|b"));
        assert_eq!(query.value("broken"), Some("%zz%4"));
        assert!(!query.has("graceful"));
    }
}
