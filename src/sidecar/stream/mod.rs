//! One stream from its request head to its one line: Envoy's HTTP connection manager and router, as far as Istio
//! configures them. Finds the route, tries the cluster, passes the exchange on, and says how it ended.

mod local_reply;

use std::borrow::Cow;
use std::rc::Rc;
use std::time::Duration;

use http::header::CONTENT_LENGTH;
use http::{HeaderName, HeaderValue, StatusCode};
use tokio::time::Instant;

use super::attempts::{Attempts, Failure};
use super::downstream::{Downstream, Incoming};
use super::exchange::{End, Exchange};
use super::headers::{self, Rejection};
use super::http1::Http1;
use super::reset::{Gone, Reset};
use super::routes::Action;
use super::stats::{Active, ConnectionManagerStats};
use super::timers::Timers;
use super::upstream::cluster::Cluster;
use super::upstream::{Answer, ResponseParts, Upstream};
use super::worker::{CountedRecord, Worker};
use crate::access_log::{Protocol, ResponseFlag};
use crate::http1::Fields;
use crate::mesh::RetryPolicy;
use crate::tunnel::Reason;
use crate::websocket::extended_connect::{self, RequestParts};

/// `x-envoy-upstream-service-time`: milliseconds from the end of the request to the response head.
const UPSTREAM_SERVICE_TIME: HeaderName = HeaderName::from_static("x-envoy-upstream-service-time");

/// `x-envoy-expected-rq-timeout-ms`: tells the next hop how long this one will wait.
const EXPECTED_TIMEOUT: HeaderName = HeaderName::from_static("x-envoy-expected-rq-timeout-ms");

/// How long an HTTP/2 peer may take nothing of what is left of a stream that has ended: Envoy's default of
/// `stream_idle_timeout`, which is its stream flush timeout too.
const STREAM_FLUSH_TIMEOUT: Duration = Duration::from_secs(5 * 60);

/// Serves one stream. Returns the HTTP/1.1 connection if another request may come on it.
///
/// Not an `async fn`, which would keep its arguments beside what is made of them for as long as the session is open; and
/// what is needed before and after the bodies are passed on is on the heap, and gone meanwhile.
pub(super) fn serve(
    worker: Rc<Worker>,
    downstream: Downstream,
    incoming: Incoming,
) -> impl Future<Output = Option<Box<Http1>>> {
    let Incoming { mut request, protocol, tls, close, mut record } = incoming;
    // Here, and not when the stream has its first turn: should there be none any more, its line says what was asked for.
    let upgrade = extended_connect::is_upgrade(&request.fields);
    let checked = headers::check_request(&mut request);
    if checked.is_ok() {
        headers::prepare_request(&mut request, upgrade, tls.as_deref());
    }
    headers::note_request(&request, &mut record);
    let stream = Box::new(ActiveStream {
        timers: Timers::new(&worker.connection_manager),
        upgraded: None,
        worker,
        downstream,
        record,
        protocol,
        close,
    });
    let beginning = Box::pin(stream.begin(request, upgrade, checked));
    async move {
        let (mut stream, begun) = beginning.await;
        let ending = match begun {
            Ok(answered) => stream.exchange(answered).await,
            Err(ending) => ending,
        };
        Box::pin(stream.end(ending)).await
    }
}

/// How a stream ended, as far as its downstream is concerned.
enum Ending {
    /// The response is complete.
    Complete,
    /// Nobody is there to answer.
    Gone(Gone),
    /// The stream was reset for the memory that it held.
    Overloaded,
    /// The response was cut off; an HTTP/2 stream is reset with this code.
    Cut(Reason),
}

/// A stream whose response has begun.
struct Answered {
    cluster: Rc<Cluster>,
    upstream: Upstream,
    /// When the response has to be complete.
    deadline: Option<Instant>,
}

struct ActiveStream {
    worker: Rc<Worker>,
    downstream: Downstream,
    record: CountedRecord,
    /// Counts an upgrade that is taken.
    upgraded: Option<Active<ConnectionManagerStats>>,
    protocol: Protocol,
    close: bool,
    timers: Timers,
}

impl ActiveStream {
    /// Goes as far as the response head, if one comes from the upstream. Nobody needs the request any more then.
    async fn begin(
        mut self: Box<Self>,
        mut request: RequestParts,
        upgrade: bool,
        checked: Result<(), Rejection>,
    ) -> (Box<Self>, Result<Answered, Ending>) {
        let begun = self.ask(&mut request, upgrade, checked).await;
        (self, begun)
    }

    async fn ask(
        &mut self,
        request: &mut RequestParts,
        upgrade: bool,
        checked: Result<(), Rejection>,
    ) -> Result<Answered, Ending> {
        let worker = Rc::clone(&self.worker);
        if let Err((status, details)) = checked {
            self.close |= status == StatusCode::BAD_REQUEST;
            return Err(self.local_reply(status, "", details));
        }
        let Some(route) = worker.routes.find(request) else {
            self.stats().no_route.increment();
            self.record.response_flags.set(ResponseFlag::NoRouteFound);
            return Err(self.local_reply(StatusCode::NOT_FOUND, "", "route_not_found"));
        };
        self.record.route_name.clone_from(&route.name);
        if let Action::Forward { cluster, .. } = &route.action {
            self.record.upstream_cluster = Some(cluster.name.clone());
        }
        if upgrade {
            if !headers::is_upgrade_taken(request, &worker) {
                self.stats().rq_ws_on_non_ws_route.increment();
                return Err(self.local_reply(StatusCode::FORBIDDEN, "", "upgrade_failed"));
            }
            let stats = &worker.stats.connection_manager;
            self.upgraded = Some(Active::begin(stats, |stats| &stats.cx_upgrades));
        }
        match &route.action {
            Action::DirectResponse(status, body) => {
                self.stats().rq_direct_response.increment();
                Err(self.local_reply(*status, body, "direct_response"))
            }
            Action::UnknownCluster => {
                self.stats().no_cluster.increment();
                self.record.response_flags.set(ResponseFlag::NoClusterFound);
                Err(self.local_reply(StatusCode::SERVICE_UNAVAILABLE, "", "cluster_not_found"))
            }
            Action::Forward { cluster, timeout, retry } => {
                let numbered = route.include_request_attempt_count;
                self.forward(request, upgrade, cluster, *timeout, retry, numbered).await
            }
        }
    }

    async fn forward(
        &mut self,
        request: &mut RequestParts,
        upgrade: bool,
        cluster: &Rc<Cluster>,
        timeout: Option<Duration>,
        retry: &RetryPolicy,
        numbered: bool,
    ) -> Result<Answered, Ending> {
        if let Some(timeout) = timeout {
            request.fields.set(EXPECTED_TIMEOUT, headers::milliseconds(timeout));
        }
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        let completed = self.downstream.is_request_complete().then(Instant::now);
        let mint_key = self.worker.mint_websocket_key
            && self.protocol == Protocol::Http2
            && extended_connect::is_websocket_without_key(request);
        let mut attempts = Attempts {
            downstream: &mut self.downstream,
            record: &mut self.record,
            request,
            timers: &mut self.timers,
            protocol: self.protocol,
            upgrade,
            mint_key,
            cluster,
            retry,
            numbered,
            completed,
            interim_sent: false,
        };
        let tried = within(deadline, std::pin::pin!(attempts.run())).await.unwrap_or(Err(Failure::TimedOut));
        let completed = attempts.completed;
        match tried {
            Ok((upstream, head)) => self.answer(cluster, upstream, head, completed, deadline),
            Err(failure) => Err(self.fail(cluster, failure)),
        }
    }

    /// Passes the response head on.
    fn answer(
        &mut self,
        cluster: &Rc<Cluster>,
        upstream: Upstream,
        mut head: ResponseParts,
        completed: Option<Instant>,
        deadline: Option<Instant>,
    ) -> Result<Answered, Ending> {
        if let Some(since) = completed {
            let milliseconds = headers::milliseconds(since.elapsed());
            self.record.upstream_service_time = Some(milliseconds.clone());
            head.fields.set(UPSTREAM_SERVICE_TIME, milliseconds);
        }
        cluster.stats.rq_completed.count(head.status);
        let (answer, end) = (head.answer, head.end);
        self.record.response_code_details = Some(Cow::Borrowed(match answer {
            Answer::HandshakeUnsuccessful => "websocket_handshake_unsuccessful",
            _ => "via_upstream",
        }));
        if let Err(gone) = self.send_head(head) {
            upstream.abandon();
            return Err(Ending::Gone(gone));
        }
        if end && answer == Answer::HandshakeUnsuccessful {
            upstream.abandon();
            return Err(Ending::Complete);
        }
        // The route's timeout is over once protocols are switched.
        let deadline = deadline.filter(|_| answer != Answer::Switching);
        Ok(Answered { cluster: Rc::clone(cluster), upstream, deadline })
    }

    /// Passes both bodies on.
    async fn exchange(&mut self, answered: Answered) -> Ending {
        let Answered { cluster, mut upstream, deadline } = answered;
        let mut exchange =
            Exchange::new(&mut self.downstream, &mut upstream, &mut self.record, &mut self.timers);
        let Some(end) = within(deadline, exchange.bodies()).await else {
            upstream.abandon();
            cluster.stats.rq_timeout.increment();
            self.record.response_flags.set(ResponseFlag::UpstreamRequestTimeout);
            self.record.response_code_details = Some(Cow::Borrowed("response_timeout"));
            return Ending::Cut(Reason::INTERNAL_ERROR);
        };
        match end {
            Ok(()) => {
                if self.downstream.is_request_complete() {
                    if let Some(connection) = upstream.into_reusable() {
                        cluster.give_back(connection);
                    }
                } else {
                    upstream.abandon();
                }
                Ending::Complete
            }
            Err(End::Gone(gone)) => {
                upstream.abandon();
                Ending::Gone(gone)
            }
            Err(End::Reset(reset)) => {
                cluster.note_reset(&reset);
                self.cut_off(&reset)
            }
            Err(End::Overloaded) => {
                upstream.abandon_now();
                self.give_way()
            }
            Err(End::Expired(expired)) => {
                upstream.abandon();
                let details = expired.note(&mut self.record, &self.worker.stats.connection_manager);
                self.record.response_code_details = Some(Cow::Borrowed(details));
                Ending::Cut(Reason::INTERNAL_ERROR)
            }
        }
    }

    /// Envoy's `StreamResetReason::OverloadManager`: nothing is answered, and what waits is not sent any more.
    fn give_way(&mut self) -> Ending {
        self.record.response_flags.set(ResponseFlag::OverloadManager);
        self.record.response_code_details = Some(Cow::Borrowed("overload"));
        self.downstream.reset_now(Reason::INTERNAL_ERROR);
        Ending::Overloaded
    }

    fn cut_off(&mut self, reset: &Reset) -> Ending {
        self.record.response_flags.set(reset.flag());
        self.record.response_code_details = Some(reset.details(true));
        Ending::Cut(reset.downstream_code())
    }

    fn send_head(&mut self, head: ResponseParts) -> Result<(), Gone> {
        let ResponseParts { status, mut fields, end, answer } = head;
        let is_upgrade = self.upgraded.is_some() && extended_connect::is_upgrade(&fields);
        self.record.response_code = status.as_u16();
        self.stats().rq_completed.count(status);
        if !self.downstream.is_request_complete() {
            self.stats().rq_response_before_complete.increment();
        }
        self.drain();
        if status.is_informational() || status == StatusCode::NO_CONTENT {
            // There cannot be a body (RFC 9110 section 8.6).
            fields.remove(&CONTENT_LENGTH);
        }
        let server_name = self.worker.connection_manager.server_name;
        headers::prepare_response(status, &mut fields, is_upgrade, server_name);
        if !is_upgrade {
            self.note_close(&mut fields);
        }
        self.downstream.send_head(status, fields, end)?;
        if answer == Answer::Switching {
            self.downstream.switch_protocols();
        }
        Ok(())
    }

    /// While the proxy drains, one of the next responses is the last for which its connection takes a request; an
    /// upgraded connection has taken its last one anyway.
    fn drain(&mut self) {
        if !self.downstream.is_draining() && self.worker.drain_manager.drain_close() {
            self.stats().cx_drain_close.increment();
            self.downstream.go_away();
            self.close = true;
        }
    }

    fn stats(&self) -> &ConnectionManagerStats {
        &self.worker.stats.connection_manager
    }

    /// A response before the end of its request leaves an HTTP/1.1 connection in no state for another one.
    fn note_close(&mut self, fields: &mut Fields) {
        self.close |= !self.downstream.is_request_complete();
        if self.close && self.protocol != Protocol::Http2 {
            fields.set(http::header::CONNECTION, HeaderValue::from_static("close"));
        }
    }

    /// To Envoy's counters every stream whose request was not read to its end is reset, by either side.
    fn count(&self, ending: &Ending) {
        if matches!(ending, Ending::Cut(_)) {
            self.stats().rq_tx_reset.increment();
        }
        if !matches!(ending, Ending::Complete) || !self.downstream.is_request_complete() {
            self.stats().rq_rx_reset.increment();
        }
    }

    /// Writes the line, then lets the downstream go as Envoy does.
    async fn end(self: Box<Self>, ending: Ending) -> Option<Box<Http1>> {
        self.count(&ending);
        let Self { worker, downstream, mut record, close, upgraded, .. } = *self;
        drop(upgraded);
        let delay = worker.connection_manager.delayed_close_timeout;
        if let Ending::Gone(gone) = ending {
            gone.note(&mut record);
        }
        record.finish();
        match (ending, downstream) {
            // Where the request is not complete, `h2` follows the end with RST_STREAM NO_ERROR, as Envoy does.
            (Ending::Gone(_), _) | (Ending::Complete | Ending::Overloaded, Downstream::Http2(_)) => None,
            (Ending::Complete, Downstream::Http1(connection)) if !close && connection.is_body_end() => {
                Some(connection)
            }
            (_, Downstream::Http1(connection)) => {
                connection.close_delayed(delay).await;
                None
            }
            (Ending::Cut(code), Downstream::Http2(stream)) => {
                let patience = worker.connection_manager.stream_idle_timeout.unwrap_or(STREAM_FLUSH_TIMEOUT);
                Downstream::Http2(stream).reset(code, patience).await;
                None
            }
        }
    }
}

/// The outcome, unless the deadline comes first.
async fn within<T>(deadline: Option<Instant>, future: impl Future<Output = T>) -> Option<T> {
    match deadline {
        // On the heap: most streams have no deadline.
        Some(deadline) => Box::pin(tokio::time::timeout_at(deadline, future)).await.ok(),
        None => Some(future.await),
    }
}
