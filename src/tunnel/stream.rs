//! One stream of a connection: bytes in, bytes out, its end.
//!
//! While its reader takes nothing, a stream keeps what arrives, copied together: the peer's window
//! bounds how much that is, and what the reader has not taken stays charged to the window.

use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream};

use super::wire::{Payload, ReceiveBuffer, ReceiveBuffers, SendBuffer, SendBuffers};
use crate::net::{Account, CoalescingBuffer};

/// Why a stream ended before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// The peer sent RST_STREAM.
    #[error("the peer reset the stream: {0}")]
    Reset(Reason),
    /// The peer broke the protocol, and `h2` ended the stream or the connection for it.
    #[error("the peer broke the protocol: {0}")]
    Protocol(Reason),
    /// The peer opened a stream with a malformed request (RFC 9113 section 8.1.1).
    #[error("the peer sent a malformed request")]
    Malformed,
    /// The peer said GOAWAY and did not look at the stream (RFC 9113 section 6.8).
    #[error("the peer is going away")]
    GoAway,
    /// The connection ended.
    #[error("the connection ended")]
    ConnectionLost,
}

impl From<h2::Error> for StreamError {
    fn from(error: h2::Error) -> Self {
        match error.reason() {
            Some(reason) if error.is_reset() && error.is_remote() => Self::Reset(reason),
            Some(_) if error.is_go_away() && error.is_remote() => Self::GoAway,
            Some(reason) if error.is_library() => Self::Protocol(reason),
            _ => Self::ConnectionLost,
        }
    }
}

/// One stream, after its head has gone out or come in.
#[derive(Debug)]
pub struct Stream {
    send: Option<SendStream<Payload>>,
    send_buffer: Rc<SendBuffer>,
    /// Something was sent after the head.
    head_followed: bool,
    receive: Option<RecvStream>,
    /// DATA that came by way of `h2` while the reader took nothing.
    unread: CoalescingBuffer,
    /// The buffer for DATA that comes past `h2`, behind the DATA that came by way of it.
    past_h2: Option<Rc<ReceiveBuffer>>,
    /// `h2` may have DATA that comes before that in `past_h2`.
    h2_first: bool,
    /// The reader takes nothing of what is there.
    is_stalled: bool,
    /// The windows of this connection had shrunk so often when this stream last gave its own back.
    shrunk: u32,
    /// Bytes by way of `h2` since [`Stream::take_received`] was called last.
    received: usize,
    connection: Rc<ReceiveBuffers>,
}

impl Drop for Stream {
    fn drop(&mut self) {
        let unread = self.unread.len();
        self.connection.h2_window().consume(unread);
        self.account().credit(unread);
        if let Some(buffer) = &self.past_h2 {
            buffer.close();
        }
        self.account().close();
    }
}

impl Stream {
    pub(super) fn new(
        send: Option<SendStream<Payload>>,
        receive: Option<RecvStream>,
        connection: &Rc<ReceiveBuffers>,
        send_buffers: &Rc<SendBuffers>,
    ) -> Self {
        let window = connection.stream_window();
        Self {
            send,
            send_buffer: Rc::new(SendBuffer::new(window.budget().open(), send_buffers)),
            head_followed: false,
            receive,
            unread: CoalescingBuffer::default(),
            past_h2: None,
            h2_first: false,
            is_stalled: false,
            shrunk: window.shrunk(),
            received: 0,
            connection: Rc::clone(connection),
        }
    }

    fn account(&self) -> &Account {
        self.send_buffer.account()
    }

    /// From here on the DATA of this stream goes past `h2`.
    pub(super) fn bypass_h2(&mut self, id: u32) {
        self.past_h2 = Some(self.connection.open(id, self.send_buffer.account()));
        self.h2_first = true;
    }

    /// Ready when the stream holds so much memory that it has to be reset for it.
    pub fn poll_condemned(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.account().poll_condemned(cx)
    }

    pub(super) fn set_send(&mut self, send: SendStream<Payload>) {
        self.send = Some(send);
    }

    pub(super) fn set_receive(&mut self, receive: RecvStream) {
        self.receive = Some(receive);
    }

    /// Whether the peer has ended its side and everything has been read.
    #[must_use]
    pub fn is_end(&self) -> bool {
        self.is_empty() && self.receive.as_ref().is_some_and(RecvStream::is_end_stream)
    }

    /// Whether nothing is kept here.
    fn is_empty(&self) -> bool {
        self.unread.is_empty() && self.past_h2.as_ref().is_none_or(|buffer| buffer.is_empty())
    }

    /// How many bytes have come and have not been read.
    #[must_use]
    pub fn unread(&self) -> usize {
        self.unread.len() + self.past_h2.as_ref().map_or(0, |buffer| buffer.len())
    }

    /// How many bytes have come since this was asked last, read or not.
    pub fn take_received(&mut self) -> usize {
        let past_h2 = self.past_h2.as_ref().map_or(0, |buffer| buffer.take_arrived());
        std::mem::take(&mut self.received) + past_h2
    }

    /// The next bytes, `None` at END_STREAM. They are given back to the peer's window by this.
    ///
    /// # Errors
    /// [`StreamError`].
    pub fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, StreamError>> {
        if let Some(data) = self.unread.pop() {
            self.connection.h2_window().consume(data.len());
            self.account().credit(data.len());
            self.release_h2(data.len());
            self.note_progress();
            return Poll::Ready(Ok(Some(data)));
        }
        if !self.h2_first
            && let Some(data) = self.pop_past_h2()
        {
            return Poll::Ready(Ok(Some(data)));
        }
        let polled = self.poll_h2(cx);
        if let Poll::Ready(Ok(Some(data))) = &polled {
            self.release_h2(data.len());
            return polled;
        }
        // An end comes behind everything that arrived past `h2`.
        if let Some(data) = self.pop_past_h2() {
            return Poll::Ready(Ok(Some(data)));
        }
        self.await_past_h2(cx)?;
        polled
    }

    /// To be polled in place of [`Stream::poll_data`] while its data is not wanted. What arrives is
    /// kept, in as little memory as it takes, and stays charged to the peer's window. Ready when
    /// the peer's side has ended: then nothing comes behind what [`Stream::poll_data`] still gives.
    ///
    /// # Errors
    /// [`StreamError`]: the end was an early one.
    pub fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        let ended = loop {
            match self.poll_h2(cx) {
                Poll::Ready(Ok(Some(data))) => {
                    self.unread.push(&data);
                    self.connection.h2_window().hold(data.len());
                    self.account().charge(data.len());
                }
                Poll::Ready(Ok(None)) => break Poll::Ready(Ok(())),
                Poll::Ready(Err(error)) => break Poll::Ready(Err(error)),
                Poll::Pending => break Poll::Pending,
            }
        };
        if let Some(buffer) = &self.past_h2 {
            buffer.coalesce();
        }
        if !self.is_stalled && !self.is_empty() {
            self.is_stalled = true;
            self.account().note_waiting(true);
        }
        self.await_past_h2(cx)?;
        ended
    }

    fn pop_past_h2(&mut self) -> Option<Bytes> {
        let data = self.past_h2.as_ref()?.pop()?;
        self.h2_first = false;
        self.note_progress();
        Some(data)
    }

    /// The reader takes something again.
    fn note_progress(&mut self) {
        if self.is_stalled {
            self.is_stalled = !self.is_empty();
            self.account().note_waiting(self.is_stalled);
        }
    }

    /// The next DATA that came by way of `h2`. The peer gets its window back with
    /// [`Stream::release_h2`].
    fn poll_h2(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, StreamError>> {
        let Some(receive) = &mut self.receive else { return Poll::Pending };
        let shrunk = self.connection.stream_window().shrunk();
        if std::mem::replace(&mut self.shrunk, shrunk) != shrunk {
            // Has `h2` look whether enough was released to give the smaller window back.
            let _ = receive.flow_control().release_capacity(0);
        }
        loop {
            match std::task::ready!(receive.poll_data(cx)) {
                // An empty frame carries nothing but perhaps END_STREAM, which is reported by
                // itself.
                Some(Ok(data)) if data.is_empty() => {}
                Some(Ok(data)) => {
                    self.received += data.len();
                    return Poll::Ready(Ok(Some(data)));
                }
                Some(Err(error)) => return Poll::Ready(Err(error.into())),
                None => return Poll::Ready(Ok(None)),
            }
        }
    }

    /// Gives `length` bytes that came by way of `h2` back to the peer's window.
    fn release_h2(&mut self, length: usize) {
        if let Some(receive) = &mut self.receive {
            // Fails only for more than was received.
            let _ = receive.flow_control().release_capacity(length);
        }
    }

    /// Waits for what comes past `h2`.
    ///
    /// # Errors
    /// The peer has sent more than its window allowed; the stream is reset for it.
    fn await_past_h2(&mut self, cx: &Context<'_>) -> Result<(), StreamError> {
        let Some(buffer) = &self.past_h2 else { return Ok(()) };
        if buffer.is_exceeded() {
            self.reset(Reason::FLOW_CONTROL_ERROR);
            return Err(StreamError::Protocol(Reason::FLOW_CONTROL_ERROR));
        }
        buffer.set_reader(cx);
        Ok(())
    }

    /// Ready when the stream takes more data. Errors show when it is used.
    pub fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.send_buffer.poll_ready(cx)
    }

    /// Whether all data that was sent has left `h2`.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.send_buffer.cost() == 0
    }

    /// How many bytes of memory the data costs that was sent and has not left `h2`.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.send_buffer.cost()
    }

    /// Waits until everything that was sent has left `h2`, the head too, or until the peer has
    /// taken nothing for `timeout`.
    pub async fn drained(&mut self, timeout: Duration) {
        if !std::mem::replace(&mut self.head_followed, true) {
            // A head cannot be counted; an empty DATA frame behind it can. A stream that has ended
            // already needs no waiting.
            let _ = self.send(Bytes::new());
        }
        while let before @ 1.. = self.send_buffer.cost() {
            let progress = std::future::poll_fn(|cx| self.send_buffer.poll_below(before, cx));
            if tokio::time::timeout(timeout, progress).await.is_err() {
                return;
            }
        }
    }

    /// Queues one DATA frame.
    ///
    /// # Errors
    /// [`StreamError::ConnectionLost`] if the stream cannot send any more; why, the next read says.
    pub fn send(&mut self, data: Bytes) -> Result<(), StreamError> {
        let Some(send) = &mut self.send else { return Err(StreamError::ConnectionLost) };
        self.head_followed = true;
        send.send_data(self.send_buffer.payload(data), false).map_err(StreamError::from)
    }

    /// Queues END_STREAM.
    pub fn finish(&mut self) {
        if let Some(send) = &mut self.send {
            // A stream that cannot send any more has ended already.
            let _ = send.send_data(Payload::empty(), true);
        }
    }

    /// Ready when the peer resets the stream, or the connection ends.
    pub fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<StreamError> {
        let Some(send) = &mut self.send else { return Poll::Pending };
        match std::task::ready!(send.poll_reset(cx)) {
            Ok(reason) => Poll::Ready(StreamError::Reset(reason)),
            Err(error) => Poll::Ready(error.into()),
        }
    }

    /// Sends RST_STREAM at once; what is still queued is lost, so see [`Stream::drained`].
    pub fn reset(&mut self, reason: Reason) {
        if let Some(send) = &mut self.send {
            send.send_reset(reason);
        }
    }
}
