//! One stream from its request head to its one line: Envoy's HTTP connection manager and router, as
//! far as Istio configures them. A stream goes through four phases: its request is checked and
//! prepared ([`serve`]), a response is found for it ([`ActiveStream::respond`]), both bodies are
//! relayed ([`ActiveStream::relay`]), and its line is written ([`ActiveStream::end`]).

use std::borrow::Cow;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::Either;
use http::header::{CONTENT_LENGTH, LOCATION};
use http::{HeaderName, HeaderValue, StatusCode};
use tokio::time::Instant;
use tracing::Instrument;

use super::attempts::{ATTEMPT_COUNT, Attempts, Failure, Replay};
use super::downstream::{Downstream, Incoming};
use super::filter_chain::{CountedRecord, FilterChain};
use super::half::Half;
use super::headers::{self, Rejection};
use super::http1::Http1;
use super::relay::{EarlyEnd, Interruption, Relay};
use super::reset::{DownstreamReset, UpstreamReset};
use super::route_fields;
use super::routes::{Action, Choice, Found, Route};
use super::stats::{Active, ConnectionManagerStats};
use super::timers::Timers;
use super::upstream::cluster::Cluster;
use super::upstream::{Answer, ResponseParts, Upstream};
use crate::access_log::{Protocol, Record, ResponseFlag};
use crate::http1::Fields;
use crate::mesh::Fault;
use crate::tunnel::Reason;
use crate::websocket::extended_connect::{self, RequestParts};

/// `x-envoy-upstream-service-time`: milliseconds from the end of the request to the response head.
const UPSTREAM_SERVICE_TIME: HeaderName = HeaderName::from_static("x-envoy-upstream-service-time");

/// `x-envoy-expected-rq-timeout-ms`: tells the next hop how long this one will wait.
const EXPECTED_TIMEOUT: HeaderName = HeaderName::from_static("x-envoy-expected-rq-timeout-ms");

/// How long an HTTP/2 peer may take nothing of what is left of a stream that has ended: Envoy's
/// default of `stream_idle_timeout`, which is its stream flush timeout too.
const STREAM_FLUSH_TIMEOUT: Duration = Duration::from_secs(5 * 60);

/// Serves one stream. Returns the HTTP/1.1 connection if another request may come on it.
///
/// Not an `async fn`, which would keep its arguments beside what is made of them for as long as the
/// session is open. What only the phases before and after the relay need is on the heap, and gone
/// while the relay runs.
pub(super) fn serve(
    chain: Rc<FilterChain>,
    downstream: Downstream,
    incoming: Incoming,
) -> impl Future<Output = Option<Box<Http1>>> {
    // The request: checked, prepared for the next hop, put down in the record. This is done here
    // and not when the stream has its first turn: a stream that never has one still has what was
    // asked for in its line.
    let Incoming { mut request, protocol, tls, close, mut record } = incoming;
    let upgrade = extended_connect::is_upgrade(&request.fields);
    let checked = headers::check_request(&mut request);
    if checked.is_ok() {
        let (manager, peer) = (&chain.connection_manager, record.downstream_remote_address.ip());
        let believed = headers::prepare_request(&mut request, upgrade, tls.as_deref(), manager, peer);
        record.downstream_remote_address = believed.unwrap_or(record.downstream_remote_address);
        // HTTP/1.1 does not say it.
        if protocol != Protocol::Http2 && headers::is_encrypted(&request) {
            request.scheme = "https";
        }
    }
    let downstream_address = record.downstream_remote_address;
    headers::note_request(&request, &mut record);
    if !chain.connection_manager.use_remote_address {
        headers::note_forwarded_address(&request, &mut record);
    }
    let span = span(&record, downstream_address);
    let mut stream = Box::new(ActiveStream {
        timers: Timers::new(&chain.connection_manager),
        upgraded: None,
        chain,
        downstream,
        record,
        protocol,
        close,
    });
    let responding = Box::pin(async move {
        let responded = stream.respond(request, upgrade, checked).await;
        (stream, responded)
    });
    let served = async move {
        let (mut stream, responded) = responding.await;
        let ending = match responded {
            Ok(response) => stream.relay(response).await,
            Err(ending) => ending,
        };
        Box::pin(stream.end(ending)).await
    };
    // A span takes room in the future: only where somebody looks, and then on the heap.
    if span.is_disabled() { Either::Left(served) } else { Either::Right(Box::pin(served.instrument(span))) }
}

/// The span that the events of a stream carry, if anybody looks at them
/// (`RUST_LOG=websockets_cli::sidecar=debug`).
fn span(record: &Record, downstream: SocketAddr) -> tracing::Span {
    tracing::debug_span!(
        "stream",
        id = text(record.request_id.as_ref()),
        protocol = record.protocol.map(|protocol| tracing::field::display(protocol.as_str())),
        %downstream,
        upstream = tracing::field::Empty,
    )
}

/// A value as an event shows it.
fn text(value: Option<&HeaderValue>) -> Option<&str> {
    value?.to_str().ok()
}

/// How a stream ended, as far as its downstream is concerned.
enum Ending {
    /// The response is complete.
    Complete,
    /// The downstream is not there any more to be answered.
    Gone(DownstreamReset),
    /// The stream was reset for the memory that it held.
    Overloaded,
    /// The response was cut off; an HTTP/2 stream is reset with this code.
    Cut(Reason),
}

/// A response from the upstream whose head has been sent on.
struct Response {
    cluster: Rc<Cluster>,
    upstream: Upstream,
    /// When the response has to be complete.
    deadline: Option<Instant>,
}

struct ActiveStream {
    chain: Rc<FilterChain>,
    downstream: Downstream,
    record: CountedRecord,
    /// Counts an upgrade that is taken.
    upgraded: Option<Active<ConnectionManagerStats>>,
    protocol: Protocol,
    /// The HTTP/1.1 connection takes no other request.
    close: bool,
    timers: Timers,
}

impl ActiveStream {
    /// Finds the route, tries its cluster and sends the response's head on. The request is not
    /// needed after this.
    async fn respond(
        &mut self,
        mut request: RequestParts,
        upgrade: bool,
        checked: Result<(), Rejection>,
    ) -> Result<Response, Ending> {
        let chain = Rc::clone(&self.chain);
        tracing::debug!(
            method = %request.method,
            authority = text(request.authority.as_ref()),
            path = text(request.path.as_ref()),
            "request"
        );

        // Requests that this proxy refuses whatever their route.
        if let Err((status, details)) = checked {
            self.close |= status == StatusCode::BAD_REQUEST;
            return Err(self.local_reply(status, "", details));
        }

        let (route, choice) = self.route(&chain, &request, upgrade)?;
        if let Some(fault) = &route.fault {
            self.inject(fault).await?;
        }
        let (cluster, timeout, retry, rewrite) = match &choice.action {
            Action::DirectResponse(status, body) => {
                return Err(self.direct_response(*status, body, None, (route, choice)));
            }
            Action::Redirect(status, redirect) => {
                let location = route_fields::location(redirect, &request);
                return Err(self.direct_response(*status, "", location, (route, choice)));
            }
            Action::UnknownCluster(status) => {
                self.stats().no_cluster.increment();
                self.record.response_flags.set(ResponseFlag::NoClusterFound);
                return Err(self.local_reply(*status, "", "cluster_not_found"));
            }
            Action::Forward { cluster, timeout, retry, rewrite } => (cluster, *timeout, retry, rewrite),
        };
        if route.include_request_attempt_count {
            request.fields.set(ATTEMPT_COUNT, HeaderValue::from(1));
        }
        route.change_request(choice, &mut request.fields);
        route_fields::rewrite(rewrite, &route.conditions, &mut request);
        self.record.authority.clone_from(&request.authority);

        // The upstream, until it answers or the policy gives up.
        if tracing::enabled!(tracing::Level::DEBUG) {
            let host = cluster.host.map(tracing::field::display);
            tracing::Span::current().record("upstream", host);
        }
        if let Some(timeout) = timeout {
            request.fields.set(EXPECTED_TIMEOUT, headers::milliseconds(timeout));
        }
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        let mint_key = chain.mint_websocket_key
            && self.protocol == Protocol::Http2
            && extended_connect::is_websocket_without_key(&request);
        let mut attempts = Attempts {
            completed: self.downstream.is_request_complete().then(Instant::now),
            downstream: &mut self.downstream,
            record: &mut self.record,
            request: &mut request,
            timers: &mut self.timers,
            protocol: self.protocol,
            upgrade,
            mint_key,
            cluster,
            retry,
            numbered: route.include_request_attempt_count,
            interim_sent: false,
            replay: Replay::default(),
        };
        let tried = within(deadline, std::pin::pin!(attempts.run())).await.unwrap_or(Err(Failure::TimedOut));
        let completed = attempts.completed;
        let (upstream, mut head) = tried.map_err(|failure| self.fail(cluster, failure))?;

        // The head of its answer.
        if let Some(since) = completed {
            let milliseconds = headers::milliseconds(since.elapsed());
            self.record.upstream_service_time = Some(milliseconds.clone());
            head.fields.set(UPSTREAM_SERVICE_TIME, milliseconds);
        }
        cluster.stats.rq_completed.count(head.status);
        route.change_response(choice, &mut head.fields);
        let (answer, end) = (head.answer, head.end);
        self.record.response_code_details = Some(Cow::Borrowed(match answer {
            Answer::HandshakeUnsuccessful => "websocket_handshake_unsuccessful",
            _ => "via_upstream",
        }));
        if let Err(reset) = self.send_head(head) {
            upstream.abandon();
            return Err(Ending::Gone(reset));
        }
        if end && answer == Answer::HandshakeUnsuccessful {
            upstream.abandon();
            return Err(Ending::Complete);
        }
        // The route's timeout is over once protocols are switched.
        let deadline = deadline.filter(|_| answer != Answer::Switching);
        Ok(Response { cluster: Rc::clone(cluster), upstream, deadline })
    }

    /// Finds the route, and whether it takes the upgrade that is asked for.
    fn route<'c>(
        &mut self,
        chain: &'c FilterChain,
        request: &RequestParts,
        upgrade: bool,
    ) -> Result<(&'c Route, &'c Choice), Ending> {
        let route = match chain.routes.find(request, headers::is_encrypted(request)) {
            Some(Found::Route(route)) => route,
            Some(Found::RequiresTls) => return Err(self.redirect_to_https(request)),
            None => {
                self.stats().no_route.increment();
                self.record.response_flags.set(ResponseFlag::NoRouteFound);
                return Err(self.local_reply(StatusCode::NOT_FOUND, "", "route_not_found"));
            }
        };
        let choice = route.choose();
        self.record.route_name.clone_from(&route.name);
        if let Action::Forward { cluster, .. } = &choice.action {
            self.record.upstream_cluster = Some(cluster.name.clone());
        }
        if upgrade {
            if !headers::is_upgrade_taken(request, &chain.connection_manager, route) {
                self.stats().rq_ws_on_non_ws_route.increment();
                return Err(self.local_reply(StatusCode::FORBIDDEN, "", "upgrade_failed"));
            }
            let stats = &chain.stats.connection_manager;
            self.upgraded = Some(Active::begin(stats, |stats| &stats.cx_upgrades));
        }
        Ok((route, choice))
    }

    /// Answers a request for which no response head came.
    fn fail(&mut self, cluster: &Cluster, failure: Failure) -> Ending {
        match failure {
            Failure::Interrupted(Interruption::Downstream(DownstreamReset::ProtocolError(details)))
                if self.protocol != Protocol::Http2 =>
            {
                self.stats().cx_protocol_error.increment();
                self.record.response_flags.set(ResponseFlag::DownstreamProtocolError);
                self.local_reply(StatusCode::BAD_REQUEST, "Bad Request", details)
            }
            Failure::Interrupted(Interruption::Downstream(reset)) => Ending::Gone(reset),
            Failure::Interrupted(Interruption::Overloaded) => self.give_way(),
            Failure::Interrupted(Interruption::Expired(expired)) => {
                let details = expired.note(&mut self.record, &self.chain.stats.connection_manager);
                let status = if self.downstream.is_request_complete() {
                    StatusCode::GATEWAY_TIMEOUT
                } else {
                    StatusCode::REQUEST_TIMEOUT
                };
                self.local_reply(status, expired.body(), details)
            }
            Failure::NoHost => {
                self.record.response_flags.set(ResponseFlag::NoHealthyUpstream);
                let status = StatusCode::SERVICE_UNAVAILABLE;
                cluster.stats.rq_completed.count(status);
                self.local_reply(status, "no healthy upstream", "no_healthy_upstream")
            }
            Failure::TimedOut => {
                self.record.response_flags.set(ResponseFlag::UpstreamRequestTimeout);
                cluster.stats.rq_timeout.increment();
                cluster.stats.rq_completed.count(StatusCode::GATEWAY_TIMEOUT);
                self.local_reply(StatusCode::GATEWAY_TIMEOUT, "upstream request timeout", "response_timeout")
            }
            Failure::Reset { reset, retried, after_interim } => {
                cluster.stats.rq_completed.count(reset.status());
                self.record.response_flags.set(reset.flag());
                self.record.upstream_transport_failure_reason =
                    reset.transport_failure().map(|reason| Cow::Owned(reason.replace(' ', "_")));
                self.local_reply(reset.status(), &reset.body(retried), reset.details(after_interim))
            }
        }
    }

    /// Answers by itself (Envoy's `sendLocalReply`).
    fn local_reply(
        &mut self,
        status: StatusCode,
        body: &str,
        details: impl Into<Cow<'static, str>>,
    ) -> Ending {
        self.reply(status, body, headers::local_reply(body), details)
    }

    /// Answers as the route says, without an upstream.
    fn direct_response(
        &mut self,
        status: StatusCode,
        body: &str,
        location: Option<HeaderValue>,
        (route, choice): (&Route, &Choice),
    ) -> Ending {
        self.stats().rq_direct_response.increment();
        let mut fields = headers::local_reply(body);
        if let Some(location) = location {
            fields.append(LOCATION, location);
        }
        route.change_response(choice, &mut fields);
        self.reply(status, body, fields, "direct_response")
    }

    /// Sends a client that came in plain text to the same address in `https` (`require_tls`).
    fn redirect_to_https(&mut self, request: &RequestParts) -> Ending {
        self.stats().rq_direct_response.increment();
        let mut fields = headers::local_reply("");
        if let Some(location) = route_fields::https_location(request) {
            fields.append(LOCATION, location);
        }
        self.reply(StatusCode::MOVED_PERMANENTLY, "", fields, "direct_response")
    }

    /// Envoy's fault filter: some requests wait, and some are answered at once.
    async fn inject(&mut self, fault: &Fault) -> Result<(), Ending> {
        // A UUID is made of random bytes, which are good enough here.
        let (for_delay, for_abort) = uuid::Uuid::new_v4().as_u64_pair();
        if let Some((delay, _)) = fault.delay.filter(|(_, of)| of.includes(for_delay)) {
            self.record.response_flags.set(ResponseFlag::DelayInjected);
            let gone = std::future::poll_fn(|cx| self.downstream.poll_reset(cx));
            tokio::select! {
                biased;
                reset = gone => return Err(Ending::Gone(reset)),
                () = tokio::time::sleep(delay) => {}
            }
        }
        if let Some((status, _)) = fault.abort.filter(|(_, of)| of.includes(for_abort)) {
            self.record.response_flags.set(ResponseFlag::FaultInjected);
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
            return Err(self.local_reply(status, "fault filter abort", "fault_filter_abort"));
        }
        Ok(())
    }

    fn reply(
        &mut self,
        status: StatusCode,
        body: &str,
        fields: Fields,
        details: impl Into<Cow<'static, str>>,
    ) -> Ending {
        self.record.response_code_details = Some(details.into());
        let head = ResponseParts { status, fields, end: body.is_empty(), answer: Answer::Final };
        let sent = self.send_head(head).and_then(|()| {
            if !body.is_empty() {
                self.record.bytes_sent += body.len() as u64;
                self.downstream.send(Bytes::copy_from_slice(body.as_bytes()))?;
                self.downstream.finish();
            }
            Ok(())
        });
        sent.map_or_else(Ending::Gone, |()| Ending::Complete)
    }

    /// Relays both bodies until the response is complete, or one side ends the stream.
    async fn relay(&mut self, response: Response) -> Ending {
        let Response { cluster, mut upstream, deadline } = response;
        let mut relay = Relay::new(&mut self.downstream, &mut upstream, &mut self.record, &mut self.timers);
        let Some(relayed) = within(deadline, relay.until_complete()).await else {
            upstream.abandon();
            cluster.stats.rq_timeout.increment();
            self.record.response_flags.set(ResponseFlag::UpstreamRequestTimeout);
            self.record.response_code_details = Some(Cow::Borrowed("response_timeout"));
            return Ending::Cut(Reason::INTERNAL_ERROR);
        };
        match relayed {
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
            Err(EarlyEnd::Upstream(reset)) => {
                cluster.note_reset(&reset);
                self.cut_off(&reset)
            }
            Err(EarlyEnd::Interrupted(Interruption::Downstream(reset))) => {
                upstream.abandon();
                Ending::Gone(reset)
            }
            Err(EarlyEnd::Interrupted(Interruption::Overloaded)) => {
                upstream.abandon_now();
                self.give_way()
            }
            Err(EarlyEnd::Interrupted(Interruption::Expired(expired))) => {
                upstream.abandon();
                let details = expired.note(&mut self.record, &self.chain.stats.connection_manager);
                self.record.response_code_details = Some(Cow::Borrowed(details));
                Ending::Cut(Reason::INTERNAL_ERROR)
            }
        }
    }

    /// Envoy's `StreamResetReason::OverloadManager`: nothing is answered, and what waits is not
    /// sent any more.
    fn give_way(&mut self) -> Ending {
        self.record.response_flags.set(ResponseFlag::OverloadManager);
        self.record.response_code_details = Some(Cow::Borrowed("overload"));
        self.downstream.reset_now(Reason::INTERNAL_ERROR);
        Ending::Overloaded
    }

    fn cut_off(&mut self, reset: &UpstreamReset) -> Ending {
        self.record.response_flags.set(reset.flag());
        self.record.response_code_details = Some(reset.details(true));
        Ending::Cut(reset.downstream_code())
    }

    fn send_head(&mut self, head: ResponseParts) -> Result<(), DownstreamReset> {
        let ResponseParts { status, mut fields, end, answer } = head;
        tracing::debug!(%status, "response");
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
        let server_name = self.chain.connection_manager.server_name;
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

    /// While the proxy drains, one of the next responses is the last for which its connection takes
    /// a request; an upgraded connection has taken its last one anyway.
    fn drain(&mut self) {
        if !self.downstream.is_draining() && self.chain.drain_manager.drain_close() {
            self.stats().cx_drain_close.increment();
            self.downstream.go_away();
            self.close = true;
        }
    }

    fn stats(&self) -> &ConnectionManagerStats {
        &self.chain.stats.connection_manager
    }

    /// A response before the end of its request leaves an HTTP/1.1 connection in no state for
    /// another one.
    fn note_close(&mut self, fields: &mut Fields) {
        self.close |= !self.downstream.is_request_complete();
        if self.close && self.protocol != Protocol::Http2 {
            fields.set(http::header::CONNECTION, HeaderValue::from_static("close"));
        }
    }

    /// To Envoy's counters every stream whose request was not read to its end is reset, by either
    /// side.
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
        let Self { chain, downstream, mut record, close, upgraded, .. } = *self;
        drop(upgraded);
        let delay = chain.connection_manager.delayed_close_timeout;
        if let Ending::Gone(reset) = ending {
            reset.note(&mut record);
        }
        tracing::debug!(
            flags = %record.response_flags,
            details = record.response_code_details.as_deref(),
            bytes_received = record.bytes_received,
            bytes_sent = record.bytes_sent,
            "end"
        );
        record.finish();
        match (ending, downstream) {
            // Where the request is not complete, `h2` follows the end with RST_STREAM NO_ERROR, as
            // Envoy does.
            (Ending::Gone(_), _) | (Ending::Complete | Ending::Overloaded, Downstream::Http2(_)) => None,
            (Ending::Complete, Downstream::Http1(connection)) if !close && connection.is_body_end() => {
                Some(connection)
            }
            (_, Downstream::Http1(connection)) => {
                connection.close_delayed(delay).await;
                None
            }
            (Ending::Cut(code), Downstream::Http2(stream)) => {
                let timeout = chain.connection_manager.stream_idle_timeout.unwrap_or(STREAM_FLUSH_TIMEOUT);
                Downstream::Http2(stream).reset(code, timeout).await;
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
