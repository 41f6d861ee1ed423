//! One stream of a connection: bytes in, bytes out, its end.

use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream};

use super::arrivals::{Arrivals, Inbox};
use super::outgoing::{Outgoing, Outstanding};
use crate::net::Account;

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
    send: Option<SendStream<Outgoing>>,
    receive: Option<RecvStream>,
    outstanding: Rc<Outstanding>,
    /// Something was sent after the head.
    head_followed: bool,
    /// Taken off `h2` and not yet released.
    held: usize,
    /// The windows were smaller than before so often when this stream last gave its own back.
    shrunk: u32,
    connection: Rc<Arrivals>,
    arriving: Option<Arriving>,
}

/// DATA that does not come by way of `h2`.
#[derive(Debug)]
struct Arriving {
    inbox: Rc<Inbox>,
    /// What `h2` has came before it, if it has any.
    h2_first: bool,
    /// Taken and not yet released.
    held: usize,
}

impl Arriving {
    fn pop(&mut self) -> Option<Bytes> {
        let data = self.inbox.pop()?;
        self.h2_first = false;
        self.held += data.len();
        Some(data)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.connection.by_h2.release(self.held);
        self.account().credit(self.held);
        if let Some(arriving) = &self.arriving {
            arriving.inbox.close(arriving.held);
        }
        self.account().close();
    }
}

impl Stream {
    pub(super) fn new(
        send: Option<SendStream<Outgoing>>,
        receive: Option<RecvStream>,
        connection: &Rc<Arrivals>,
    ) -> Self {
        let window = connection.stream_window();
        Self {
            send,
            receive,
            outstanding: Rc::new(Outstanding::new(window.budget().open())),
            head_followed: false,
            held: 0,
            shrunk: window.shrunk(),
            connection: Rc::clone(connection),
            arriving: None,
        }
    }

    fn account(&self) -> &Account {
        self.outstanding.account()
    }

    /// From here on the DATA of this stream does not come by way of `h2`.
    pub(super) fn take_over(&mut self, id: u32) {
        let inbox = self.connection.take_over(id, self.outstanding.account());
        self.arriving = Some(Arriving { inbox, h2_first: true, held: 0 });
    }

    /// What was taken and not yet released waits for a peer that does not take it, or does not wait any more.
    pub fn note_waiting(&mut self, is_waiting: bool) {
        self.account().note_waiting(is_waiting);
    }

    /// Ready when the stream holds so much memory that it has to be reset for it.
    pub fn poll_condemned(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.account().poll_condemned(cx)
    }

    pub(super) fn set_send(&mut self, send: SendStream<Outgoing>) {
        self.send = Some(send);
    }

    pub(super) fn set_receive(&mut self, receive: RecvStream) {
        self.receive = Some(receive);
    }

    /// Whether the peer has ended its side and everything has been read.
    #[must_use]
    pub fn is_end(&self) -> bool {
        let nothing_arrived = self.arriving.as_ref().is_none_or(|arriving| arriving.inbox.is_empty());
        nothing_arrived && self.receive.as_ref().is_some_and(RecvStream::is_end_stream)
    }

    /// The payload of the next DATA frame, `None` at END_STREAM. Its bytes stay charged to the peer's window until
    /// [`Stream::release`].
    ///
    /// # Errors
    /// [`StreamError`].
    pub fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, StreamError>> {
        let Some(arriving) = &mut self.arriving else { return self.poll_h2(cx) };
        if !arriving.h2_first
            && let Some(data) = arriving.pop()
        {
            return Poll::Ready(Ok(Some(data)));
        }
        let polled = self.poll_h2(cx);
        let Some(arriving) = &mut self.arriving else { return polled };
        if matches!(polled, Poll::Ready(Ok(Some(_)))) {
            return polled;
        }
        // An end comes behind everything that arrived.
        if let Some(data) = arriving.pop() {
            return Poll::Ready(Ok(Some(data)));
        }
        if arriving.inbox.is_exceeded() {
            self.reset(Reason::FLOW_CONTROL_ERROR);
            return Poll::Ready(Err(StreamError::Protocol(Reason::FLOW_CONTROL_ERROR)));
        }
        arriving.inbox.set_reader(cx);
        polled
    }

    /// What comes by way of `h2`.
    fn poll_h2(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, StreamError>> {
        let Some(receive) = &mut self.receive else { return Poll::Pending };
        let shrunk = self.connection.stream_window().shrunk();
        if std::mem::replace(&mut self.shrunk, shrunk) != shrunk {
            // So that `h2` sees that of the smaller window enough has been released to give it back.
            let _ = receive.flow_control().release_capacity(0);
        }
        loop {
            match std::task::ready!(receive.poll_data(cx)) {
                // An empty frame carries nothing but perhaps END_STREAM, which is told apart.
                Some(Ok(data)) if data.is_empty() => {}
                Some(Ok(data)) => {
                    self.held += data.len();
                    self.connection.by_h2.take(data.len());
                    self.outstanding.account().charge(data.len());
                    return Poll::Ready(Ok(Some(data)));
                }
                Some(Err(error)) => return Poll::Ready(Err(error.into())),
                None => return Poll::Ready(Ok(None)),
            }
        }
    }

    /// Gives `length` bytes of window back to the peer.
    pub fn release(&mut self, length: usize) {
        // What came by way of `h2` was taken first.
        let of_h2 = length.min(self.held);
        if of_h2 > 0 {
            self.held -= of_h2;
            self.connection.by_h2.release(of_h2);
            self.account().credit(of_h2);
            if let Some(receive) = &mut self.receive {
                // Fails only for more than was received.
                let _ = receive.flow_control().release_capacity(of_h2);
            }
        }
        if let Some(arriving) = &mut self.arriving
            && length > of_h2
        {
            arriving.held -= length - of_h2;
            arriving.inbox.release(length - of_h2);
        }
    }

    /// Ready when the stream takes more data. Errors show when it is used.
    pub fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.outstanding.poll_room(cx)
    }

    /// Whether all data that was sent has left `h2`.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.outstanding.cost() == 0
    }

    /// What the data that was sent and has not left `h2` costs, in bytes.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.outstanding.cost()
    }

    /// Waits until everything that was sent has left `h2`, the head too, or until the peer has taken nothing for
    /// `patience`.
    pub async fn drained(&mut self, patience: Duration) {
        if !std::mem::replace(&mut self.head_followed, true) {
            // A head cannot be counted; an empty DATA frame behind it can. If the stream is at its end already, nothing
            // has to be waited for.
            let _ = self.send(Bytes::new());
        }
        while let before @ 1.. = self.outstanding.cost() {
            let progress = std::future::poll_fn(|cx| self.outstanding.poll_below(before, cx));
            if tokio::time::timeout(patience, progress).await.is_err() {
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
        send.send_data(self.outstanding.lease(data), false).map_err(StreamError::from)
    }

    /// Queues END_STREAM.
    pub fn finish(&mut self) {
        if let Some(send) = &mut self.send {
            // A stream that cannot send any more has ended already.
            let _ = send.send_data(Outgoing::empty(), true);
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
