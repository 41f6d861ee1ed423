//! Relays bytes both ways between the two halves of a stream, with backpressure, without looking
//! into them.
//!
//! The one loop that all traffic goes through: the body of a plain request and its answer, and the
//! frames of a WebSocket alike. Nothing is copied and nothing allocated for a message; many small
//! ones become one write.

use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::time::Instant;

use super::downstream::Downstream;
use super::half::Half;
use super::reset::{DownstreamReset, UpstreamReset};
use super::timers::{Expired, Timers};
use super::upstream::{ResponseParts, Upstream};
use crate::access_log::Record;

/// After so many parts in one direction the other sessions of the worker get their turn.
const MAX_PARTS_PER_TURN: usize = 64;

/// Or after so many bytes, which the large parts of a bulk transfer come to first: with hundreds of
/// sessions that pour, each other one waits for a turn of all of them.
const MAX_BYTES_PER_TURN: usize = 128 * 1024;

/// What ended a stream before its response was complete.
#[derive(Debug)]
pub(super) enum EarlyEnd {
    /// The upstream reset it.
    Upstream(UpstreamReset),
    /// Anything but the upstream.
    Interrupted(Interruption),
}

impl From<Interruption> for EarlyEnd {
    fn from(interruption: Interruption) -> Self {
        Self::Interrupted(interruption)
    }
}

/// What can end a stream at any time, whatever its upstream does.
#[derive(Debug)]
pub(super) enum Interruption {
    /// The downstream reset it.
    Downstream(DownstreamReset),
    /// A timer fired.
    Expired(Expired),
    /// The stream holds most of the memory that all streams may hold together.
    Overloaded,
}

/// The relay between the two halves of one stream.
#[derive(Debug)]
pub(super) struct Relay<'a> {
    downstream: &'a mut Downstream,
    upstream: &'a mut Upstream,
    record: &'a mut Record,
    timers: &'a mut Timers,
    request: Transfer,
    response: Transfer,
    /// The upstream takes nothing more; what it still says decides how the stream ends.
    request_cut: bool,
}

impl<'a> Relay<'a> {
    pub(super) fn new(
        downstream: &'a mut Downstream,
        upstream: &'a mut Upstream,
        record: &'a mut Record,
        timers: &'a mut Timers,
    ) -> Self {
        // A request without a body went out with its head.
        let request = Transfer { done: downstream.is_request_complete(), ..Transfer::default() };
        let response = Transfer::default();
        Self { downstream, upstream, record, timers, request, response, request_cut: false }
    }

    /// When the end of the request was relayed, if this relay did it.
    pub(super) fn request_done_at(&self) -> Option<Instant> {
        self.request.done_at
    }

    /// Relays the request until the next response head is there. `sent` is told of every part of
    /// the request's body.
    pub(super) async fn until_head(
        &mut self,
        mut sent: impl FnMut(&Bytes),
    ) -> Result<ResponseParts, EarlyEnd> {
        std::future::poll_fn(|cx| {
            if self.is_overloaded(cx) {
                return Poll::Ready(Err(Interruption::Overloaded.into()));
            }
            // The upstream first: an answer that is there already counts, whatever the downstream
            // did since.
            match self.upstream.poll_head(cx) {
                Poll::Ready(Ok(head)) => return Poll::Ready(Ok(head)),
                Poll::Ready(Err(reset)) => return Poll::Ready(Err(EarlyEnd::Upstream(reset))),
                Poll::Pending => {}
            }
            // An interim response may be on its way out. A failure shows when the request is read.
            let _ = self.downstream.poll_flush(cx);
            self.poll_request(&mut sent, cx).map(|interruption| Err(interruption.into()))
        })
        .await
    }

    /// Relays both bodies until the response is complete and on its way.
    pub(super) async fn until_complete(&mut self) -> Result<(), EarlyEnd> {
        std::future::poll_fn(|cx| {
            if self.is_overloaded(cx) {
                return Poll::Ready(Err(Interruption::Overloaded.into()));
            }
            let bytes = &mut self.record.bytes_sent;
            match self.response.poll_copy(self.upstream, self.downstream, bytes, |_| {}, cx) {
                Poll::Ready(Copied::All) => return Poll::Ready(Ok(())),
                Poll::Ready(Copied::FromReset(reset)) => return Poll::Ready(Err(EarlyEnd::Upstream(reset))),
                Poll::Ready(Copied::ToReset(reset)) => {
                    return Poll::Ready(Err(Interruption::Downstream(reset).into()));
                }
                Poll::Pending => {}
            }
            self.poll_request(|_| {}, cx).map(|interruption| Err(interruption.into()))
        })
        .await
    }

    /// Relays what there is of the request. Ready when the downstream or a timer ends the stream.
    fn poll_request(&mut self, sent: impl FnMut(&Bytes), cx: &mut Context<'_>) -> Poll<Interruption> {
        if let Poll::Ready(reset) = self.poll_downstream(sent, cx) {
            return Poll::Ready(Interruption::Downstream(reset));
        }
        if std::mem::take(&mut self.request.moved) | std::mem::take(&mut self.response.moved) {
            self.timers.restart_idle();
        }
        self.timers.poll(cx).map(Interruption::Expired)
    }

    fn poll_downstream(&mut self, sent: impl FnMut(&Bytes), cx: &mut Context<'_>) -> Poll<DownstreamReset> {
        if self.request.done || self.request_cut {
            // The end of the request may still be on its way out. A failure shows when the answer
            // is read.
            let _ = self.upstream.poll_flush(cx);
            return self.downstream.poll_reset(cx);
        }
        let bytes = &mut self.record.bytes_received;
        match self.request.poll_copy(self.downstream, self.upstream, bytes, sent, cx) {
            Poll::Ready(Copied::FromReset(reset)) => Poll::Ready(reset),
            Poll::Ready(Copied::All) => self.downstream.poll_reset(cx),
            Poll::Ready(Copied::ToReset(_)) => {
                self.request_cut = true;
                // The rest of the response is on its way, or has been read and waits to be looked
                // at.
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_overloaded(&mut self, cx: &mut Context<'_>) -> bool {
        self.downstream.poll_condemned(cx).is_ready() || self.upstream.poll_condemned(cx).is_ready()
    }
}

/// One direction of a relay.
#[derive(Debug, Default)]
struct Transfer {
    /// The proper end has been relayed.
    done: bool,
    /// When that was.
    done_at: Option<Instant>,
    /// Bytes have come since the idle timer was last looked at.
    moved: bool,
}

/// How copying in one direction ends.
enum Copied<F, T> {
    /// With everything copied and the proper end.
    All,
    /// The half that bytes come from was reset.
    FromReset(F),
    /// The half that bytes go to was reset.
    ToReset(T),
}

impl Transfer {
    /// Copies what there is, and adds to `bytes` how much has come. `sent` is told of every part
    /// that is relayed.
    fn poll_copy<F: Half, T: Half>(
        &mut self,
        from: &mut F,
        to: &mut T,
        bytes: &mut u64,
        sent: impl FnMut(&Bytes),
        cx: &mut Context<'_>,
    ) -> Poll<Copied<F::Reset, T::Reset>> {
        let copied = copy_parts(from, to, sent, cx);
        let received = from.take_received();
        *bytes += received as u64;
        self.moved |= received > 0;
        if matches!(copied, Poll::Ready(Copied::All)) {
            self.done = true;
            self.done_at = Some(Instant::now());
        }
        copied
    }
}

fn copy_parts<F: Half, T: Half>(
    from: &mut F,
    to: &mut T,
    mut sent: impl FnMut(&Bytes),
    cx: &mut Context<'_>,
) -> Poll<Copied<F::Reset, T::Reset>> {
    let (mut parts, mut bytes) = (0, 0);
    loop {
        match to.poll_ready(cx) {
            Poll::Ready(Ok(())) if parts < MAX_PARTS_PER_TURN && bytes < MAX_BYTES_PER_TURN => {}
            Poll::Ready(Ok(())) => {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Poll::Ready(Err(reset)) => return Poll::Ready(Copied::ToReset(reset)),
            Poll::Pending if from.poll_stalled(cx).is_pending() => return Poll::Pending,
            // At the end of a half what it still has is queued for the other one.
            Poll::Pending => {}
        }
        match from.poll_data(cx) {
            Poll::Ready(Ok(Some(data))) => {
                parts += 1;
                bytes += data.len();
                sent(&data);
                if let Err(reset) = to.send(data) {
                    return Poll::Ready(Copied::ToReset(reset));
                }
            }
            Poll::Ready(Ok(None)) => {
                to.finish();
                return match to.poll_flush(cx) {
                    Poll::Ready(Err(reset)) => Poll::Ready(Copied::ToReset(reset)),
                    _ => Poll::Ready(Copied::All),
                };
            }
            Poll::Ready(Err(reset)) => return Poll::Ready(Copied::FromReset(reset)),
            Poll::Pending => {
                return match to.poll_flush(cx) {
                    Poll::Ready(Err(reset)) => Poll::Ready(Copied::ToReset(reset)),
                    _ => Poll::Pending,
                };
            }
        }
    }
}
