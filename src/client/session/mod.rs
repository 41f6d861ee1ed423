//! One open WebSocket, driven to its end: messages out, messages in, and the closing handshake (RFC
//! 6455 section 7).
//!
//! One task, one state machine, no locks. Where messages come from and where they are shown is the
//! mode's (`repl`, `pipe`). As the RFC wants it, the server is left to end the TCP connection
//! first.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::{FutureExt, Sink, SinkExt};
use regex::Regex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use tokio_tungstenite::WebSocketStream;
use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Error, Message};

use super::closing::{
    CLOSE_TIMEOUT, Closed, TooLong, close_frame, close_status, code_of, fail, failing_frame, try_close,
};
use super::connect::Observer;
use super::keepalive::{Keepalive, KeepaliveConfig};
use crate::websocket::TransportAdapter;
use crate::websocket::close_code::CloseStatus;

/// How long the peer may take to end the TCP connection once it has closed the WebSocket (RFC 6455
/// section 7.1.1 leaves that to the server). Each Envoy on the way passes the end on a second late
/// (`delayed_close_timeout`); a client that is sooner than two of them has them log that it went
/// away (`DC`).
const LINGER: Duration = Duration::from_secs(3);

/// With less time than this spent on a message's compression nothing is waited for any longer.
const WORTH_MORE_TIME: Duration = Duration::from_millis(50);

/// Messages to send, flushed together; a Close among them starts the closing handshake.
pub(super) type Batch = Vec<Message>;

/// Where messages are shown.
pub(super) trait Output {
    /// Takes a message, or a control frame, that is being sent; not tungstenite's answers to pings
    /// and Closes, nor what keeps the connection alive.
    fn sent(&mut self, message: &Message);
    /// Takes a message, or a control frame, that came.
    fn received(&mut self, message: &Message);
    /// Takes it that the session ended, or was given up, without a Close of the server's.
    fn lost(&mut self) {}
    /// Whether so much has been gathered that it should be written before more is taken.
    fn is_full(&self) -> bool;
    /// Whether there is more to write than what it was given here.
    fn has_news(&self) -> bool {
        false
    }
    /// Writes what was gathered; also called when nothing more is to be read just now.
    async fn flush(&mut self) -> io::Result<()>;
}

/// What closes the session from this side, beside a Close in the input.
#[derive(Debug, Clone)]
pub(super) enum Until {
    /// The end of the input.
    InputEnds,
    /// As many messages as were sent, or none for this long, after the end of the input.
    Answered(Duration),
    /// What was asked for has come, whether the input has ended or not.
    Reached(Goal),
}

/// What a session is to receive.
#[derive(Debug, Clone)]
pub(super) struct Goal {
    /// So many messages,
    pub(super) replies: Option<u64>,
    /// and one whose text this matches.
    pub(super) expect: Option<Regex>,
    /// For how long no message may come after the end of the input before it is given up; `None`:
    /// for ever.
    pub(super) quiet: Option<Duration>,
}

impl Goal {
    /// Takes the message with this number into account; whether everything has come.
    fn is_reached_by(&mut self, message: &Message, number: u64) -> bool {
        if let Some(pattern) = &self.expect
            && message.to_text().is_ok_and(|text| pattern.is_match(text))
        {
            self.expect = None;
        }
        self.expect.is_none() && self.replies.is_none_or(|replies| number >= replies)
    }
}

/// A WebSocket and how far its session has come.
#[derive(Debug)]
pub(super) struct Session<S> {
    stream: WebSocketStream<TransportAdapter<S>>,
    keepalive: Keepalive,
    observer: Observer,
    until: Until,
    phase: Phase,
    /// Messages that wait for room in the connection.
    pending: VecDeque<Message>,
    /// Whether something was handed over that may not be on the wire.
    unflushed: bool,
    /// How long handing over took of this side's own time since it waits for something: compressing
    /// a long message.
    busy: Duration,
    /// Which direction is looked at first; it alternates, so that neither starves the other.
    read_first: bool,
    sent: u64,
    received: u64,
    own_close: Option<u16>,
    too_long: Option<TooLong>,
    peer_close: Option<CloseStatus>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// There may be more input.
    Talking,
    /// The input has ended, replies are awaited, until then or for ever.
    Awaiting(Option<Instant>),
    /// A Close frame was sent or received, the end of the connection is awaited until then.
    Closing(Instant),
}

enum SessionEvent {
    /// Something was sent, or is to be shown; look at the other direction.
    Sent,
    InputEnded,
    Received(Message),
    Failed(Error),
    Disconnected,
    Deadline,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    pub(super) fn new(
        stream: WebSocketStream<TransportAdapter<S>>,
        keepalive: KeepaliveConfig,
        observer: Observer,
        until: Until,
    ) -> Self {
        Self {
            stream,
            keepalive: Keepalive::new(keepalive),
            observer,
            until,
            phase: Phase::Talking,
            pending: VecDeque::new(),
            unflushed: false,
            busy: Duration::ZERO,
            read_first: false,
            sent: 0,
            received: 0,
            own_close: None,
            too_long: None,
            peer_close: None,
        }
    }

    /// Drives the session to its end. After this was cancelled, it may be called again.
    ///
    /// # Errors
    /// The output's.
    pub(super) async fn run(
        &mut self,
        input: &mut mpsc::Receiver<Batch>,
        output: &mut impl Output,
    ) -> io::Result<Closed> {
        loop {
            match self.next_event(input, output).await? {
                SessionEvent::InputEnded => self.input_ended(),
                SessionEvent::Received(message) => self.take(message, output),
                SessionEvent::Sent => {}
                SessionEvent::Deadline if !self.is_closing() => self.close(),
                SessionEvent::Failed(error) => {
                    let too_long = TooLong::of(&error, &self.stream);
                    if let Some(frame) = failing_frame(&error, too_long).filter(|_| !self.is_closing()) {
                        output.sent(&Message::Close(Some(frame)));
                    }
                    self.too_long = fail(&mut self.stream, &error, &self.observer).await;
                    return self.ended(output).await;
                }
                SessionEvent::Deadline | SessionEvent::Disconnected => return self.ended(output).await,
            }
            if output.is_full() {
                output.flush().await?;
            }
        }
    }

    /// Starts the closing handshake with 1000, after what is still to be sent.
    pub(super) fn close(&mut self) {
        if !self.is_closing() {
            let frame = Message::Close(Some(close_frame(CloseCode::Normal)));
            self.pending.push_back(frame);
            self.phase = Phase::Closing(Instant::now() + CLOSE_TIMEOUT);
        }
    }

    /// Whether the closing handshake has begun.
    pub(super) fn is_closing(&self) -> bool {
        matches!(self.phase, Phase::Closing(_))
    }

    /// Gives the session up: sends Close 1000 if that can be written without waiting, and waits for
    /// no answer.
    pub(super) fn give_up(&mut self, output: &mut impl Output) {
        if try_close(&mut self.stream) {
            output.sent(&Message::Close(Some(close_frame(CloseCode::Normal))));
        }
        if self.peer_close.is_none() {
            output.lost();
        }
    }

    /// Waits for the next event; flushes the output before it has to wait.
    async fn next_event(
        &mut self,
        input: &mut mpsc::Receiver<Batch>,
        output: &mut impl Output,
    ) -> io::Result<SessionEvent> {
        if let Some(event) = poll_fn(|context| self.poll_event(context, input, output)).now_or_never() {
            return Ok(event);
        }
        let before = Instant::now();
        output.flush().await?;
        // While this side waited for a slow reader of its output, it did not read from the server.
        let blocked = before.elapsed();
        self.keepalive.excuse(blocked);
        self.prolong(blocked);
        loop {
            let deadline = self.deadline();
            let event = poll_fn(|context| match self.poll_event(context, input, output) {
                Poll::Pending if output.has_news() => Poll::Ready(SessionEvent::Sent),
                other => other,
            });
            let Some(deadline) = deadline else { return Ok(event.await) };
            if let Ok(event) = timeout_at(deadline, event).await {
                return Ok(event);
            }
            // The time in which this side was busy does not count as the server's.
            let busy = std::mem::take(&mut self.busy);
            if busy < WORTH_MORE_TIME {
                return Ok(SessionEvent::Deadline);
            }
            self.keepalive.excuse(busy);
            self.prolong(busy);
        }
    }

    /// Until when something is awaited.
    fn deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Talking | Phase::Awaiting(None) => None,
            Phase::Awaiting(Some(deadline)) | Phase::Closing(deadline) => Some(deadline),
        }
    }

    fn prolong(&mut self, by: Duration) {
        if let Phase::Awaiting(Some(deadline)) | Phase::Closing(deadline) = &mut self.phase {
            *deadline += by;
        }
    }

    fn poll_event(
        &mut self,
        context: &mut Context<'_>,
        input: &mut mpsc::Receiver<Batch>,
        output: &mut impl Output,
    ) -> Poll<SessionEvent> {
        self.read_first = !self.read_first;
        if self.read_first {
            if let Poll::Ready(event) = self.poll_read(context) {
                return Poll::Ready(event);
            }
            self.poll_send_timed(context, input, output)
        } else {
            if let Poll::Ready(event) = self.poll_send_timed(context, input, output) {
                return Poll::Ready(event);
            }
            self.poll_read(context)
        }
    }

    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<SessionEvent> {
        Poll::Ready(match ready!(self.keepalive.poll_next(&mut self.stream, context)) {
            Some(Ok(Message::Close(Some(frame)))) => {
                let frames = self.stream.get_mut();
                if self.own_close.is_none() {
                    frames.answer_as_sent();
                }
                SessionEvent::Received(Message::Close(Some(frames.as_sent(frame))))
            }
            Some(Ok(message)) => SessionEvent::Received(message),
            Some(Err(error)) => SessionEvent::Failed(error),
            None => SessionEvent::Disconnected,
        })
    }

    /// Sends, and counts the time that it takes of this side's own.
    fn poll_send_timed(
        &mut self,
        context: &mut Context<'_>,
        input: &mut mpsc::Receiver<Batch>,
        output: &mut impl Output,
    ) -> Poll<SessionEvent> {
        if self.phase == Phase::Talking {
            return self.poll_send(context, input, output);
        }
        let began = Instant::now();
        let event = self.poll_send(context, input, output);
        self.busy += began.elapsed();
        event
    }

    /// Sends what is pending, then takes the next batch of the input; flushes when there is none
    /// yet. Why the connection does not take it any more is for the reading side to find out: there
    /// may be a Close to read.
    fn poll_send(
        &mut self,
        context: &mut Context<'_>,
        input: &mut mpsc::Receiver<Batch>,
        output: &mut impl Output,
    ) -> Poll<SessionEvent> {
        let Ok(sent) = ready!(self.try_send(context, output)) else {
            self.pending.clear();
            self.unflushed = false;
            return Poll::Pending;
        };
        if sent {
            return Poll::Ready(SessionEvent::Sent);
        }
        if self.phase == Phase::Talking {
            match input.poll_recv(context) {
                Poll::Ready(Some(batch)) => {
                    self.sent += batch.len() as u64;
                    self.pending.extend(batch);
                    return Poll::Ready(SessionEvent::Sent);
                }
                Poll::Ready(None) => return Poll::Ready(SessionEvent::InputEnded),
                Poll::Pending => {}
            }
        }
        if self.unflushed && ready!(self.stream.poll_flush_unpin(context)).is_err() {
            self.pending.clear();
        }
        self.unflushed = false;
        Poll::Pending
    }

    /// Hands over the pending messages; whether there were any.
    fn try_send(&mut self, context: &mut Context<'_>, output: &mut impl Output) -> Poll<Result<bool, Error>> {
        let any = !self.pending.is_empty();
        while !self.pending.is_empty() {
            ready!(self.stream.poll_ready_unpin(context))?;
            let Some(message) = self.pending.pop_front() else { break };
            self.unflushed = true;
            output.sent(&message);
            if let Message::Close(frame) = &message {
                self.own_close = Some(code_of(frame.as_ref()));
                self.pending.clear();
                if !self.is_closing() {
                    self.phase = Phase::Closing(Instant::now() + CLOSE_TIMEOUT);
                }
            }
            std::pin::Pin::new(&mut self.stream).start_send(message)?;
        }
        Poll::Ready(Ok(any))
    }

    fn take(&mut self, message: Message, output: &mut impl Output) {
        output.received(&message);
        match message {
            Message::Close(frame) => self.peer_closes(frame),
            Message::Text(_) | Message::Binary(_) => {
                self.received += 1;
                if let Until::Reached(goal) = &mut self.until
                    && goal.is_reached_by(&message, self.received)
                {
                    self.close();
                } else if matches!(self.phase, Phase::Awaiting(_)) {
                    self.input_ended();
                }
            }
            // tungstenite has answered the pings.
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
        }
    }

    fn input_ended(&mut self) {
        let quiet = match &self.until {
            Until::Answered(quiet) if self.received < self.sent => Some(*quiet),
            Until::InputEnds | Until::Answered(_) => return self.close(),
            Until::Reached(goal) => goal.quiet,
        };
        self.phase = Phase::Awaiting(quiet.map(|quiet| Instant::now() + quiet));
    }

    fn peer_closes(&mut self, frame: Option<CloseFrame>) {
        self.peer_close = Some(close_status(frame));
        // tungstenite answers the frame; the peer would not read what was to be sent.
        self.pending.clear();
        self.phase = Phase::Closing(Instant::now() + LINGER);
    }

    async fn ended(&mut self, output: &mut impl Output) -> io::Result<Closed> {
        if self.peer_close.is_none() {
            output.lost();
        }
        output.flush().await?;
        Ok(self.closed())
    }

    fn closed(&self) -> Closed {
        let status = self.peer_close.clone().unwrap_or_else(CloseStatus::abnormal);
        let wanting = matches!(&self.until, Until::Reached(goal) if goal.expect.is_some());
        Closed { status, own: self.own_close, wanting, too_long: self.too_long }
    }
}

#[cfg(test)]
mod tests;
