//! Bytes both ways between the two sides of one stream: with backpressure, without looking into them.
//!
//! The one loop that all traffic goes through: the body of a plain request and its answer, and the frames of a
//! WebSocket alike. Nothing is copied and nothing allocated for a message; many small ones become one write.

use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::time::Instant;

use super::downstream::Downstream;
use super::reset::{Gone, Reset};
use super::timers::{Expired, Timers};
use super::upstream::{ResponseParts, Upstream};
use crate::access_log::Record;
use crate::net::Stalled;

/// After so many parts in one direction the other sessions of the worker get their turn.
const BURST: usize = 64;

/// And after so many bytes, which the large parts of a bulk transfer come to first: what Envoy reads from a socket in one
/// turn at most (`per_connection_buffer_limit_bytes`).
const BURST_BYTES: usize = 1 << 20;

/// One side of a stream.
pub(super) trait Leg {
    /// How it can end early.
    type End;

    /// The next bytes, `None` at the proper end.
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Self::End>>;

    /// Whether bytes come in frames that cost memory of their own while they wait, so that they are better taken and
    /// merged; their sender's window bounds them.
    fn is_framed(&self) -> bool;

    /// Says whether the other side lets data wait, at the beginning and whenever it takes some.
    fn note_waiting(&mut self, is_waiting: bool);

    /// Says that the other side has taken so many bytes of the data.
    fn release(&mut self, length: usize);

    /// Ready when more can be sent.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::End>>;

    /// Queues bytes, also when not ready.
    fn send(&mut self, data: Bytes) -> Result<(), Self::End>;

    /// Queues the proper end.
    fn finish(&mut self);

    /// Writes what is queued.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::End>>;
}

/// One direction.
#[derive(Debug, Default)]
pub(super) struct Flow {
    /// Taken off a framed side while the other was not ready.
    stalled: Stalled,
    /// The proper end has been passed on.
    done: bool,
    /// When that was.
    done_at: Option<Instant>,
    /// Bytes since the last look at the idle timer.
    moved: bool,
}

/// Why one direction stops.
enum Stop<F, T> {
    Done,
    From(F),
    To(T),
}

impl Flow {
    /// Moves what there is. `count` is told of every part as it is taken from its sender.
    fn pump<F: Leg, T: Leg>(
        &mut self,
        from: &mut F,
        to: &mut T,
        mut count: impl FnMut(&Bytes),
        cx: &mut Context<'_>,
    ) -> Poll<Stop<F::End, T::End>> {
        let mut moved = 0;
        for _ in 0..BURST {
            let ready = match to.poll_ready(cx) {
                Poll::Ready(Err(end)) => return Poll::Ready(Stop::To(end)),
                Poll::Ready(Ok(())) => true,
                Poll::Pending if from.is_framed() => false,
                Poll::Pending => return Poll::Pending,
            };
            if moved >= BURST_BYTES {
                break;
            }
            if ready && let Some(data) = self.stalled.pop() {
                // Not sooner: the sender's window is what bounds the memory of a stalled session.
                from.release(data.len());
                from.note_waiting(!self.stalled.is_empty());
                moved += data.len();
                if let Err(end) = to.send(data) {
                    return Poll::Ready(Stop::To(end));
                }
                continue;
            }
            match from.poll_data(cx) {
                Poll::Ready(Ok(Some(data))) => {
                    count(&data);
                    self.moved = true;
                    moved += data.len();
                    if !ready {
                        if self.stalled.is_empty() {
                            from.note_waiting(true);
                        }
                        self.stalled.push(&data);
                        continue;
                    }
                    from.release(data.len());
                    if let Err(end) = to.send(data) {
                        return Poll::Ready(Stop::To(end));
                    }
                }
                Poll::Ready(Ok(None)) => {
                    self.done = true;
                    self.done_at = Some(Instant::now());
                    if let Err(end) = self.pass_stalled(from, to) {
                        return Poll::Ready(Stop::To(end));
                    }
                    to.finish();
                    return match to.poll_flush(cx) {
                        Poll::Ready(Err(end)) => Poll::Ready(Stop::To(end)),
                        _ => Poll::Ready(Stop::Done),
                    };
                }
                Poll::Ready(Err(end)) => {
                    // What came before the end is still delivered.
                    let _ = self.pass_stalled(from, to);
                    return Poll::Ready(Stop::From(end));
                }
                Poll::Pending => {
                    return match to.poll_flush(cx) {
                        Poll::Ready(Err(end)) => Poll::Ready(Stop::To(end)),
                        _ => Poll::Pending,
                    };
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Passes on what waited when nothing comes after it.
    fn pass_stalled<F: Leg, T: Leg>(&mut self, from: &mut F, to: &mut T) -> Result<(), T::End> {
        while let Some(data) = self.stalled.pop() {
            from.release(data.len());
            to.send(data)?;
        }
        Ok(())
    }
}

/// What ended an exchange, or its first half, before the response was complete.
#[derive(Debug)]
pub(super) enum End {
    /// The downstream went away.
    Gone(Gone),
    /// The upstream ended the stream early.
    Reset(Reset),
    /// A timer fired.
    Expired(Expired),
    /// The stream holds most of the memory that all may hold.
    Overloaded,
}

/// The two sides of one stream, joined.
#[derive(Debug)]
pub(super) struct Exchange<'a> {
    pub(super) downstream: &'a mut Downstream,
    pub(super) upstream: &'a mut Upstream,
    pub(super) record: &'a mut Record,
    pub(super) timers: &'a mut Timers,
    request: Flow,
    response: Flow,
    /// The upstream takes nothing more; what it still says decides how the stream ends.
    request_cut: bool,
}

impl<'a> Exchange<'a> {
    pub(super) fn new(
        downstream: &'a mut Downstream,
        upstream: &'a mut Upstream,
        record: &'a mut Record,
        timers: &'a mut Timers,
    ) -> Self {
        // A request without a body went out with its head.
        let request = Flow { done: downstream.is_request_complete(), ..Flow::default() };
        let response = Flow::default();
        Self { downstream, upstream, record, timers, request, response, request_cut: false }
    }

    /// When the end of the request was passed on, if it was within this exchange.
    pub(super) fn request_done_at(&self) -> Option<Instant> {
        self.request.done_at
    }

    /// Passes on the request until the next response head is there. `sent` is told of every part of the request's body.
    pub(super) async fn head(&mut self, mut sent: impl FnMut(&Bytes)) -> Result<ResponseParts, End> {
        std::future::poll_fn(|cx| {
            if self.is_overloaded(cx) {
                return Poll::Ready(Err(End::Overloaded));
            }
            // The upstream first: an answer that is there already counts, whatever the downstream did since.
            match self.upstream.poll_head(cx) {
                Poll::Ready(Ok(head)) => return Poll::Ready(Ok(head)),
                Poll::Ready(Err(reset)) => return Poll::Ready(Err(End::Reset(reset))),
                Poll::Pending => {}
            }
            // An interim response may be on its way out. A failure shows when the request is read.
            let _ = self.downstream.poll_flush(cx);
            if let Poll::Ready(gone) = self.poll_request(&mut sent, cx) {
                return Poll::Ready(Err(End::Gone(gone)));
            }
            self.poll_timers(cx).map(Err)
        })
        .await
    }

    /// Passes on both bodies until the response is complete and on its way.
    pub(super) async fn bodies(&mut self) -> Result<(), End> {
        std::future::poll_fn(|cx| {
            if self.is_overloaded(cx) {
                return Poll::Ready(Err(End::Overloaded));
            }
            let record = &mut *self.record;
            let count = |data: &Bytes| record.bytes_sent += data.len() as u64;
            match self.response.pump(self.upstream, self.downstream, count, cx) {
                Poll::Ready(Stop::Done) => return Poll::Ready(Ok(())),
                Poll::Ready(Stop::From(reset)) => return Poll::Ready(Err(End::Reset(reset))),
                Poll::Ready(Stop::To(gone)) => return Poll::Ready(Err(End::Gone(gone))),
                Poll::Pending => {}
            }
            if let Poll::Ready(gone) = self.poll_request(|_| {}, cx) {
                return Poll::Ready(Err(End::Gone(gone)));
            }
            self.poll_timers(cx).map(Err)
        })
        .await
    }

    fn poll_request(&mut self, mut sent: impl FnMut(&Bytes), cx: &mut Context<'_>) -> Poll<Gone> {
        if self.request.done || self.request_cut {
            // The end of the request may still be on its way out. A failure shows when the answer is read.
            let _ = self.upstream.poll_flush(cx);
            return self.downstream.poll_gone(cx);
        }
        let record = &mut *self.record;
        let count = |data: &Bytes| {
            record.bytes_received += data.len() as u64;
            sent(data);
        };
        match self.request.pump(self.downstream, self.upstream, count, cx) {
            Poll::Ready(Stop::From(gone)) => Poll::Ready(gone),
            Poll::Ready(Stop::Done) => self.downstream.poll_gone(cx),
            Poll::Ready(Stop::To(_)) => {
                self.request_cut = true;
                // Its last words are on their way, or were read already and just not looked at.
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_overloaded(&mut self, cx: &mut Context<'_>) -> bool {
        self.downstream.poll_condemned(cx).is_ready() || self.upstream.poll_condemned(cx).is_ready()
    }

    fn poll_timers(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        if std::mem::take(&mut self.request.moved) | std::mem::take(&mut self.response.moved) {
            self.timers.restart_idle();
        }
        self.timers.poll(cx).map(End::Expired)
    }
}
