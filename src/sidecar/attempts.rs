//! Trying the upstream until there is a response head: Envoy's router with its retry policy.

use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use tokio::time::Instant;

use super::downstream::Downstream;
use super::half::Half;
use super::headers;
use super::relay::{EarlyEnd, Interruption, Relay};
use super::reset::{DownstreamReset, UpstreamReset};
use super::timers::Timers;
use super::upstream::cluster::Cluster;
use super::upstream::{Answer, Ready, ResponseParts, Upstream};
use crate::access_log::{Protocol, Record, ResponseFlag};
use crate::mesh::RetryPolicy;
use crate::websocket::extended_connect::RequestParts;

/// `x-envoy-attempt-count` (the virtual host's `include_request_attempt_count`).
pub(super) const ATTEMPT_COUNT: HeaderName = HeaderName::from_static("x-envoy-attempt-count");

/// Envoy's default back-off between retries: a random time below 25 ms, doubled with each, at most
/// 250 ms.
const BACKOFF_BASE: Duration = Duration::from_millis(25);
const MAX_BACKOFF: Duration = Duration::from_millis(250);

/// A request whose body so far is longer than this is not tried again (Envoy's
/// `per_connection_buffer_limit_bytes`).
const MAX_REPLAYED_BYTES: usize = 1 << 20;

/// How much of a body is read from the downstream before there is an upstream to send it to.
const MAX_EARLY_BYTES: usize = 64 * 1024;

/// Why there is no response head.
#[derive(Debug)]
pub(super) enum Failure {
    /// The last attempt was reset.
    Reset {
        /// Why.
        reset: UpstreamReset,
        /// It was not the first attempt.
        retried: bool,
        /// An interim response had come; to Envoy the response has started with it.
        after_interim: bool,
    },
    /// The cluster has no host.
    NoHost,
    /// The route's timeout is over.
    TimedOut,
    /// The stream was interrupted.
    Interrupted(Interruption),
}

impl From<Interruption> for Failure {
    fn from(interruption: Interruption) -> Self {
        Self::Interrupted(interruption)
    }
}

/// The outcome of one attempt.
enum Attempt {
    /// The upstream answers, with this head.
    Answered(Upstream, ResponseParts),
    /// The upstream did not answer; `sent`: the request had begun to go out.
    Reset { reset: UpstreamReset, sent: bool },
}

/// The attempts for one request.
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
    /// The request lacks the key of a WebSocket, and gets one if it goes out as HTTP/1.1.
    pub(super) mint_key: bool,
    pub(super) cluster: &'a Rc<Cluster>,
    pub(super) retry: &'a RetryPolicy,
    /// The request tells the upstream which attempt this is (`include_request_attempt_count`).
    pub(super) numbered: bool,
    /// When the request was complete, once it is.
    pub(super) completed: Option<Instant>,
    /// An interim response has been passed on: of several only the first is, and nothing is tried
    /// again after it.
    pub(super) interim_sent: bool,
    pub(super) replay: Replay,
}

/// The body so far, kept to be sent again.
#[derive(Debug, Default)]
pub(super) struct Replay {
    parts: VecDeque<Bytes>,
    length: usize,
}

impl Replay {
    fn push(&mut self, data: &Bytes) {
        self.length += data.len();
        if self.length <= MAX_REPLAYED_BYTES {
            self.parts.push_back(data.clone());
        } else {
            self.parts.clear();
        }
    }

    fn is_complete(&self) -> bool {
        self.length <= MAX_REPLAYED_BYTES
    }
}

impl Attempts<'_> {
    /// Tries until there is a head, or until there is no more retry.
    pub(super) async fn run(&mut self) -> Result<(Upstream, ResponseParts), Failure> {
        let mut retries = 0;
        loop {
            // The first attempt has its number from before the route changed the fields.
            if self.numbered && retries > 0 {
                self.request.fields.set(ATTEMPT_COUNT, HeaderValue::from(retries + 1));
            }
            let (reset, sent) = match self.attempt().await? {
                Attempt::Answered(upstream, head) => {
                    if retries > 0 {
                        self.cluster.stats.rq_retry_success.increment();
                    }
                    return Ok((upstream, head));
                }
                Attempt::Reset { reset, sent } => (reset, sent),
            };
            tracing::debug!(attempt = retries + 1, "upstream reset: {}", reset.words());
            self.cluster.note_reset(&reset);
            let may_retry =
                !self.interim_sent && is_retried(self.retry, &reset, sent) && self.replay.is_complete();
            let is_last = retries == self.retry.num_retries;
            if may_retry && is_last {
                self.record.response_flags.set(ResponseFlag::UpstreamRetryLimitExceeded);
                self.cluster.stats.rq_retry_limit_exceeded.increment();
            }
            if !may_retry || is_last {
                let after_interim = self.interim_sent;
                return Err(Failure::Reset { reset, retried: retries > 0, after_interim });
            }
            retries += 1;
            self.cluster.stats.rq_retry.increment();
            self.meanwhile(tokio::time::sleep(backoff(retries))).await?;
        }
    }

    /// One attempt: a connection or stream, the request, the head of its answer.
    async fn attempt(&mut self) -> Result<Attempt, Failure> {
        let Some(host) = self.cluster.host else {
            self.cluster.stats.cx_none_healthy.increment();
            return Err(Failure::NoHost);
        };
        self.record.upstream_host = Some(host);
        let cluster = Rc::clone(self.cluster);
        let upstream = loop {
            let ready: Ready = match self.meanwhile(cluster.take(host, self.protocol)).await? {
                Ok(ready) => ready,
                Err(reset) => return Ok(Attempt::Reset { reset, sent: false }),
            };
            self.record.upstream_local_address = Some(ready.local_address());
            let end = self.downstream.is_request_complete() && self.replay.parts.is_empty();
            match ready.send(self.request, end, self.mint_key, &cluster.stats) {
                Ok(upstream) => break upstream,
                // A pooled connection that drains: the pool has forgotten it, and dials another
                // one.
                Err(UpstreamReset::ConnectionTermination) => {}
                Err(reset) => return Ok(Attempt::Reset { reset, sent: false }),
            }
        };
        let from = self.record.upstream_local_address;
        tracing::debug!(from = from.map(tracing::field::display), "request sent");
        self.await_head(upstream).await
    }

    /// Waits for the head of the answer, past interim ones, while the request goes out.
    async fn await_head(&mut self, mut upstream: Upstream) -> Result<Attempt, Failure> {
        if !self.upgrade {
            self.send_replay(&mut upstream);
            if self.downstream.is_request_complete() {
                upstream.finish();
            }
        }
        let interruption = loop {
            match self.next_head(&mut upstream).await {
                Ok(mut head) if head.answer == Answer::Interim => {
                    if std::mem::replace(&mut self.interim_sent, true) {
                        continue;
                    }
                    headers::prepare_interim(&mut head.fields);
                    if let Err(reset) = self.downstream.send_interim(head.status, head.fields) {
                        break Interruption::Downstream(reset);
                    }
                }
                Ok(head) => {
                    if head.answer == Answer::Switching {
                        self.send_replay(&mut upstream);
                    }
                    return Ok(Attempt::Answered(upstream, head));
                }
                Err(EarlyEnd::Upstream(reset)) => return Ok(Attempt::Reset { reset, sent: true }),
                Err(EarlyEnd::Interrupted(interruption)) => break interruption,
            }
        };
        match interruption {
            Interruption::Overloaded => upstream.abandon_now(),
            _ => upstream.abandon(),
        }
        Err(interruption.into())
    }

    /// The next response head. What follows an upgrade request is held back meanwhile.
    async fn next_head(&mut self, upstream: &mut Upstream) -> Result<ResponseParts, EarlyEnd> {
        if self.upgrade {
            let head = self.meanwhile(std::future::poll_fn(|cx| upstream.poll_head(cx))).await?;
            return head.map_err(EarlyEnd::Upstream);
        }
        let mut relay = Relay::new(self.downstream, upstream, self.record, self.timers);
        let head = relay.until_head(|data| self.replay.push(data)).await;
        self.completed = self.completed.or(relay.request_done_at());
        head
    }

    /// Waits for `event`. Meanwhile the body that the downstream sends is read, within bounds, and
    /// its end is seen.
    async fn meanwhile<T>(&mut self, event: impl Future<Output = T>) -> Result<T, Interruption> {
        let mut event = std::pin::pin!(event);
        std::future::poll_fn(|cx| {
            if self.downstream.poll_condemned(cx).is_ready() {
                return Poll::Ready(Err(Interruption::Overloaded));
            }
            // The downstream first: a downstream that is gone needs no connection any more.
            if let Poll::Ready(reset) = self.poll_downstream(cx) {
                return Poll::Ready(Err(Interruption::Downstream(reset)));
            }
            if let Poll::Ready(outcome) = event.as_mut().poll(cx) {
                return Poll::Ready(Ok(outcome));
            }
            // An interim response may be on its way out.
            let _ = self.downstream.poll_flush(cx);
            self.timers.poll(cx).map(|expired| Err(Interruption::Expired(expired)))
        })
        .await
    }

    fn poll_downstream(&mut self, cx: &mut Context<'_>) -> Poll<DownstreamReset> {
        let polled = self.poll_early_body(cx);
        self.record.bytes_received += self.downstream.take_received() as u64;
        polled
    }

    fn poll_early_body(&mut self, cx: &mut Context<'_>) -> Poll<DownstreamReset> {
        while !self.downstream.is_request_complete() {
            if self.replay.length >= MAX_EARLY_BYTES {
                // The rest waits, in the socket or in the stream; its end is seen all the same.
                return match std::task::ready!(self.downstream.poll_stalled(cx)) {
                    Ok(()) => self.downstream.poll_reset(cx),
                    Err(reset) => Poll::Ready(reset),
                };
            }
            match std::task::ready!(self.downstream.poll_data(cx)) {
                Ok(Some(data)) => self.replay.push(&data),
                Ok(None) => break,
                Err(reset) => return Poll::Ready(reset),
            }
        }
        self.completed.get_or_insert_with(Instant::now);
        self.downstream.poll_reset(cx)
    }

    /// Sends what came of the body before there was anywhere to send it.
    fn send_replay(&self, upstream: &mut Upstream) {
        for part in &self.replay.parts {
            // A failure shows when the answer is read.
            let _ = upstream.send(part.clone());
        }
    }
}

/// Whether the policy tries again after this; `sent`: the upstream may have seen the request.
fn is_retried(policy: &RetryPolicy, reset: &UpstreamReset, sent: bool) -> bool {
    let on = &policy.retry_on;
    let connect_failure =
        matches!(reset, UpstreamReset::ConnectionFailure(_) | UpstreamReset::ConnectionTimeout);
    policy.num_retries > 0
        && (on.reset
            || on.five_xx
            || on.gateway_error
            || (on.connect_failure && connect_failure)
            || (on.reset_before_request && !sent)
            || (on.refused_stream && *reset == UpstreamReset::RemoteRefusedStream))
}

fn backoff(retry: u32) -> Duration {
    let ceiling = BACKOFF_BASE.saturating_mul(1 << (retry - 1).min(8)).min(MAX_BACKOFF);
    let milliseconds = u64::try_from(ceiling.as_millis()).unwrap_or(u64::MAX);
    // A UUID is made of random bytes, which are good enough here.
    Duration::from_millis(uuid::Uuid::new_v4().as_u64_pair().1 % milliseconds)
}
