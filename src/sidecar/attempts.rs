//! Trying the upstream until there is a response head: Envoy's router with its retry policy.

use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use tokio::time::Instant;

use super::downstream::Downstream;
use super::exchange::{End, Exchange, Leg};
use super::headers;
use super::reset::{Gone, Reset};
use super::timers::{Expired, Timers};
use super::upstream::cluster::Cluster;
use super::upstream::{Answer, Ready, ResponseParts, Upstream};
use crate::access_log::{Protocol, Record, ResponseFlag};
use crate::mesh::RetryPolicy;
use crate::websocket::extended_connect::RequestParts;

/// `x-envoy-attempt-count` (the virtual host's `include_request_attempt_count`).
const ATTEMPT_COUNT: HeaderName = HeaderName::from_static("x-envoy-attempt-count");

/// Envoy's default back-off between retries: a random time below 25 ms, doubled with each, at most 250 ms.
const BACKOFF_BASE: Duration = Duration::from_millis(25);
const BACKOFF_MOST: Duration = Duration::from_millis(250);

/// A request whose body so far is longer than this is not tried again (Envoy's `per_connection_buffer_limit_bytes`).
const MOST_REPLAYED: usize = 1 << 20;

/// How much of a body is taken from the client before there is anywhere to send it.
const MOST_TAKEN_EARLY: usize = 64 * 1024;

/// Why there is no response head.
#[derive(Debug)]
pub(super) enum Failure {
    /// The client went away.
    Gone(Gone),
    /// The last attempt was reset.
    Reset {
        /// Why.
        reset: Reset,
        /// It was not the first.
        retried: bool,
        /// An interim response had come; to Envoy the response has started with it.
        after_interim: bool,
    },
    /// The cluster has no host.
    NoHost,
    /// A timer of the stream.
    Expired(Expired),
    /// The route's timeout.
    TimedOut,
    /// The stream holds most of the memory that all may hold.
    Overloaded,
}

/// What the attempts for one request need.
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts of one request, not the states of a machine"
)]
pub(super) struct Attempts<'a> {
    pub(super) downstream: &'a mut Downstream,
    pub(super) record: &'a mut Record,
    pub(super) request: &'a mut RequestParts,
    pub(super) timers: &'a mut Timers,
    pub(super) protocol: Protocol,
    /// The request asks for an upgrade: what follows it is held back until the upstream has agreed.
    pub(super) upgrade: bool,
    /// The request lacks the key of a WebSocket, and gets one where it becomes HTTP/1.1.
    pub(super) mint_key: bool,
    pub(super) cluster: &'a Rc<Cluster>,
    pub(super) retry: &'a RetryPolicy,
    pub(super) numbered: bool,
    /// When the request was complete, once it is.
    pub(super) completed: Option<Instant>,
    /// An interim response has been passed on: of several the first is, and nothing is tried again after it.
    pub(super) interim_sent: bool,
}

/// The body so far, kept to be sent again.
#[derive(Debug, Default)]
struct Replay {
    parts: VecDeque<Bytes>,
    length: usize,
}

impl Replay {
    fn push(&mut self, data: &Bytes) {
        self.length += data.len();
        if self.length <= MOST_REPLAYED {
            self.parts.push_back(data.clone());
        } else {
            self.parts.clear();
        }
    }

    fn is_complete(&self) -> bool {
        self.length <= MOST_REPLAYED
    }
}

impl Attempts<'_> {
    /// Tries until there is a head or no more retry.
    pub(super) async fn run(&mut self) -> Result<(Upstream, ResponseParts), Failure> {
        let mut replay = Replay::default();
        let mut retries = 0;
        loop {
            if self.numbered {
                self.request.fields.set(ATTEMPT_COUNT, HeaderValue::from(retries + 1));
            }
            let (reset, sent) = match self.attempt(&mut replay).await? {
                Ok(answered) => {
                    if retries > 0 {
                        self.cluster.stats.rq_retry_success.increment();
                    }
                    return Ok(answered);
                }
                Err(failed) => failed,
            };
            self.cluster.note_reset(&reset);
            let failure =
                |reset| Failure::Reset { reset, retried: retries > 0, after_interim: self.interim_sent };
            if self.interim_sent || !is_retried(self.retry, &reset, sent) || !replay.is_complete() {
                return Err(failure(reset));
            }
            if retries == self.retry.num_retries {
                self.record.response_flags.set(ResponseFlag::UpstreamRetryLimitExceeded);
                self.cluster.stats.rq_retry_limit_exceeded.increment();
                return Err(failure(reset));
            }
            retries += 1;
            self.cluster.stats.rq_retry.increment();
            self.until(tokio::time::sleep(backoff(retries)), &mut replay).await?;
        }
    }

    /// One attempt. The inner error says how it was reset, and whether the request had begun to go out.
    async fn attempt(
        &mut self,
        replay: &mut Replay,
    ) -> Result<Result<(Upstream, ResponseParts), (Reset, bool)>, Failure> {
        let Some(host) = self.cluster.host else {
            self.cluster.stats.cx_none_healthy.increment();
            return Err(Failure::NoHost);
        };
        self.record.upstream_host = Some(host);
        let cluster = Rc::clone(self.cluster);
        let upstream = loop {
            let ready: Ready = match self.until(cluster.take(host, self.protocol), replay).await? {
                Ok(ready) => ready,
                Err(reset) => return Ok(Err((reset, false))),
            };
            self.record.upstream_local_address = Some(ready.local_address());
            let end = self.downstream.is_request_complete() && replay.parts.is_empty();
            match ready.send(self.request, end, self.mint_key, &cluster.stats) {
                Ok(upstream) => break upstream,
                // A pooled connection that drains: the pool has forgotten it, and dials another one.
                Err(Reset::ConnectionTermination) => {}
                Err(reset) => return Ok(Err((reset, false))),
            }
        };
        self.exchange_head(upstream, replay).await
    }

    async fn exchange_head(
        &mut self,
        mut upstream: Upstream,
        replay: &mut Replay,
    ) -> Result<Result<(Upstream, ResponseParts), (Reset, bool)>, Failure> {
        if !self.upgrade {
            send_parts(&mut upstream, replay);
            if self.downstream.is_request_complete() {
                upstream.finish();
            }
        }
        loop {
            let answered = if self.upgrade {
                self.until(std::future::poll_fn(|cx| upstream.poll_head(cx)), replay).await
            } else {
                self.exchange_until_head(&mut upstream, replay).await
            };
            match answered {
                Ok(Ok(mut head)) if head.answer == Answer::Interim => {
                    if std::mem::replace(&mut self.interim_sent, true) {
                        continue;
                    }
                    headers::prepare_interim(&mut head.fields);
                    if let Err(gone) = self.downstream.send_interim(head.status, head.fields) {
                        upstream.abandon();
                        return Err(Failure::Gone(gone));
                    }
                }
                Ok(Ok(head)) => {
                    if head.answer == Answer::Switching {
                        send_parts(&mut upstream, replay);
                    }
                    return Ok(Ok((upstream, head)));
                }
                Ok(Err(reset)) => return Ok(Err((reset, true))),
                Err(Failure::Overloaded) => {
                    upstream.abandon_now();
                    return Err(Failure::Overloaded);
                }
                Err(failure) => {
                    upstream.abandon();
                    return Err(failure);
                }
            }
        }
    }

    async fn exchange_until_head(
        &mut self,
        upstream: &mut Upstream,
        replay: &mut Replay,
    ) -> Result<Result<ResponseParts, Reset>, Failure> {
        let mut exchange = Exchange::new(self.downstream, upstream, self.record, self.timers);
        let answered = exchange.head(|data| replay.push(data)).await;
        self.completed = self.completed.or(exchange.request_done_at());
        match answered {
            Ok(head) => Ok(Ok(head)),
            Err(End::Reset(reset)) => Ok(Err(reset)),
            Err(End::Gone(gone)) => Err(Failure::Gone(gone)),
            Err(End::Expired(expired)) => Err(Failure::Expired(expired)),
            Err(End::Overloaded) => Err(Failure::Overloaded),
        }
    }

    /// Waits for `event` while the client's body is taken in, within bounds, and its end is seen.
    async fn until<T>(&mut self, event: impl Future<Output = T>, replay: &mut Replay) -> Result<T, Failure> {
        let mut event = std::pin::pin!(event);
        std::future::poll_fn(|cx| {
            if self.downstream.poll_condemned(cx).is_ready() {
                return Poll::Ready(Err(Failure::Overloaded));
            }
            // The downstream first: who is gone already needs no connection.
            if let Poll::Ready(failure) = self.poll_downstream(replay, cx) {
                return Poll::Ready(Err(failure));
            }
            if let Poll::Ready(outcome) = event.as_mut().poll(cx) {
                return Poll::Ready(Ok(outcome));
            }
            // An interim response may be on its way out.
            let _ = self.downstream.poll_flush(cx);
            self.timers.poll(cx).map(|expired| Err(Failure::Expired(expired)))
        })
        .await
    }

    fn poll_downstream(&mut self, replay: &mut Replay, cx: &mut Context<'_>) -> Poll<Failure> {
        while !self.downstream.is_request_complete() && replay.length < MOST_TAKEN_EARLY {
            match std::task::ready!(self.downstream.poll_data(cx)) {
                Ok(Some(data)) => {
                    self.record.bytes_received += data.len() as u64;
                    self.downstream.release(data.len());
                    replay.push(&data);
                }
                Ok(None) => break,
                Err(gone) => return Poll::Ready(Failure::Gone(gone)),
            }
        }
        if !self.downstream.is_request_complete() {
            // The rest waits, on the socket or in its sender's window; the end of a stream is seen all the same.
            return if self.downstream.is_framed() {
                self.downstream.poll_gone(cx).map(Failure::Gone)
            } else {
                Poll::Pending
            };
        }
        self.completed.get_or_insert_with(Instant::now);
        self.downstream.poll_gone(cx).map(Failure::Gone)
    }
}

/// Sends what came of the body before there was anywhere to send it.
fn send_parts(upstream: &mut Upstream, replay: &Replay) {
    for part in &replay.parts {
        // A failure shows when the answer is read.
        let _ = upstream.send(part.clone());
    }
}

/// Whether the policy tries again after this; `sent`: the upstream may have seen the request.
fn is_retried(policy: &RetryPolicy, reset: &Reset, sent: bool) -> bool {
    let on = &policy.retry_on;
    let connect_failure = matches!(reset, Reset::ConnectionFailure(_) | Reset::ConnectionTimeout);
    policy.num_retries > 0
        && (on.reset
            || on.five_xx
            || on.gateway_error
            || (on.connect_failure && connect_failure)
            || (on.reset_before_request && !sent)
            || (on.refused_stream && *reset == Reset::RemoteRefusedStream))
}

fn backoff(retry: u32) -> Duration {
    let ceiling = BACKOFF_BASE.saturating_mul(1 << (retry - 1).min(8)).min(BACKOFF_MOST);
    let milliseconds = u64::try_from(ceiling.as_millis()).unwrap_or(u64::MAX);
    // The random number that every UUID is made of; what is wanted here is no better one.
    Duration::from_millis(uuid::Uuid::new_v4().as_u64_pair().1 % milliseconds)
}
