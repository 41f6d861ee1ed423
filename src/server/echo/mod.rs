//! One WebSocket session: every message goes back, and the closing handshake (RFC 6455 section 7)
//! is done properly.
//!
//! Answers go out in batches: as long as messages are there to read, answers are only queued, and
//! one write carries them all when the next read would wait. A peer that does not read is not read
//! from either, so a session never holds more than a message, a write buffer and what was read
//! ahead.

use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::task::coop;
use tokio::time::{Instant, Sleep};
use tokio_tungstenite::WebSocketStream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};
use tungstenite::error::Error;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{CloseFrame, Message, Role, WebSocketConfig};

use super::buffers::{Ledger, Stalled};
use super::config::{CloseAfter, Config};
use super::keepalive::{GivenUp, SessionKeepalive};
use super::metered::Metered;
use super::stats;
use crate::net::Holding;
use crate::websocket::close_code;
use crate::websocket::close_code::{ABNORMAL_CLOSURE, NO_STATUS_RECEIVED};
use crate::websocket::frame_header::{BINARY, FIN, FrameHeader, MAX_HEADER_BYTES, TEXT};

/// What tungstenite holds to read into, also while a session is idle. Small, because a connection
/// reads ahead.
pub(super) const READ_BUFFER: usize = 2 * 1024;

/// How much is queued before it is written without waiting for the batch to end. A message that is
/// longer is not queued.
const WRITE_BUFFER: usize = 16 * 1024;

/// How much a session may answer before it is another's turn, in bytes: a fraction of a
/// millisecond.
const TURN: usize = 256 * 1024;

/// What a message costs beside its bytes, in bytes: handling it takes as long as copying so many.
const MESSAGE_COST: usize = 256;

/// How long our part of a closing handshake may take: the default of the Python `websockets`
/// library.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a draining server goes on with a peer that never pauses, or has begun a message and
/// does not end it.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);

/// A session over the byte stream that it is given, which outlives it.
type EchoSession<'m, 'l, S> = WebSocketStream<&'m mut Metered<'l, S>>;

/// Echoes until the session is over. Nothing more is to be sent then.
pub(super) async fn serve<S>(
    frames: &mut Metered<'_, S>,
    config: &Config,
    draining: &CancellationToken,
    counted: &stats::OpenSession<'_>,
    ledger: &Ledger<'_>,
) where
    S: AsyncRead + AsyncWrite + Holding + Unpin,
{
    let max_message = config.max_message_bytes();
    let limits = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(WRITE_BUFFER)
        .max_message_size(Some(max_message))
        .max_frame_size(config.max_frame_size.or(Some(max_message)));
    let keepalive = SessionKeepalive::new(config);
    let cancelled = pin!(draining.cancelled());
    let mut echo = Echo {
        config,
        counted,
        ledger,
        keepalive: keepalive.as_ref(),
        draining: Draining { token: draining, cancelled, drain_timer: None },
        answered: 0,
    };
    loop {
        let mut session = WebSocketStream::from_raw_socket(&mut *frames, Role::Server, Some(limits)).await;
        let ended = {
            let echoing = pin!(echo.answer(&mut session));
            let watched = ledger.watch(echoing);
            match &keepalive {
                None => watched.await,
                Some(keepalive) => Box::pin(keepalive.watch(watched))
                    .await
                    .unwrap_or_else(|given_up| Ok(Ok(Some(EchoEnd::GivenUp(given_up))))),
            }
        };
        let end = match ended.unwrap_or_else(|stalled| Ok(Some(EchoEnd::Stalled(stalled)))) {
            Ok(Some(end)) => Ok(end),
            Ok(None) => {
                drop(session);
                frames.note_new_reader();
                continue;
            }
            Err(error) => Err(error),
        };
        let (action, limit) = CloseAction::of(&end);
        if let Some(code) = action.code() {
            counted.closes_with(code);
        }
        // Where this fails the peer is gone.
        let _ = Box::pin(tokio::time::timeout(limit, close(&mut session, action))).await;
        return;
    }
}

/// Why a session ended that did not break.
#[derive(Debug)]
enum EchoEnd {
    /// Both Close frames were exchanged.
    Closed,
    /// The server is draining, and everything received was answered.
    Drained,
    /// As many messages were answered as `--close-after` says.
    Enough(CloseAfter),
    /// The peer was silent for too long.
    GivenUp(GivenUp),
    /// The session held memory that other sessions waited for.
    Stalled(Stalled),
}

/// What a session keeps when its buffers are replaced.
struct Echo<'a, 'pin, 'token> {
    config: &'a Config,
    counted: &'a stats::OpenSession<'a>,
    ledger: &'a Ledger<'a>,
    keepalive: Option<&'a SessionKeepalive>,
    draining: Draining<'pin, 'token>,
    /// How many messages were answered.
    answered: u64,
}

impl Echo<'_, '_, '_> {
    /// Answers messages until the session ends; `None` if it goes on with new buffers: these have
    /// outgrown what an idle session is to hold, and nothing is in them.
    async fn answer<S>(&mut self, session: &mut EchoSession<'_, '_, S>) -> Result<Option<EchoEnd>, Error>
    where
        S: AsyncRead + AsyncWrite + Holding + Unpin,
    {
        let (mut turn, mut is_sure, mut is_closing) = (0, false, false);
        loop {
            if let Some(limit) = self.config.close_after.filter(|limit| self.answered >= limit.messages) {
                return Ok(Some(EchoEnd::Enough(limit)));
            }
            let next = std::future::poll_fn(|cx| self.poll_next(session, is_closing, cx));
            let message = match next.await? {
                Next::Message(message) => {
                    is_sure = false;
                    message
                }
                // Over HTTP/2, what has come may still be with the connection's task, which has not
                // had its turn.
                Next::Stop(Some(EchoEnd::Drained)) if !std::mem::replace(&mut is_sure, true) => {
                    tokio::task::yield_now().await;
                    tokio::task::yield_now().await;
                    continue;
                }
                Next::Stop(end) => return Ok(end),
            };
            turn += message.len() + MESSAGE_COST;
            let mut is_behind_long = false;
            match message {
                Message::Text(_) | Message::Binary(_) => {
                    let length = message.len();
                    self.counted.received(length);
                    if let Some(delay) = self.config.delay {
                        session.flush().await?;
                        Box::pin(tokio::time::sleep(delay)).await;
                    }
                    if length > WRITE_BUFFER {
                        Box::pin(self.write_through(session, message)).await?;
                        is_behind_long = session.get_ref().is_behind_long();
                    } else {
                        let leaving = self.ledger.leaving.get() + length + MAX_HEADER_BYTES;
                        self.ledger.leaving.set(leaving.min(2 * WRITE_BUFFER));
                        session.feed(message).await?;
                    }
                    self.counted.sent(length);
                    self.answered += 1;
                    if let Some(keepalive) = self.keepalive {
                        keepalive.note_message();
                    }
                }
                // The pong is queued. Writing it now bounds the queue of a peer that sends pings
                // and does not read.
                Message::Ping(_) => session.flush().await?,
                Message::Pong(_) => self.keepalive.into_iter().for_each(SessionKeepalive::note_pong),
                // The next read sends the answer.
                Message::Close(frame) => {
                    is_closing = true;
                    let frames = session.get_mut().frames_mut();
                    let frame = frame.map(|frame| frames.as_sent(frame));
                    frames.answer_as_sent();
                    self.counted.closes_with(frame.map_or(NO_STATUS_RECEIVED, |frame| frame.code.into()));
                }
                // Frames are never read alone.
                Message::Frame(_) => {}
            }
            if turn > TURN {
                if self.draining.is_overdue() {
                    return Ok(Some(EchoEnd::Drained));
                }
                turn = 0;
                tokio::task::yield_now().await;
            }
            if is_behind_long {
                return Ok(None);
            }
        }
    }

    /// Writes a message without a copy in tungstenite's buffer, which would be held beside the
    /// message while the peer does not read, and kept behind it. One with a long frame has left
    /// before anything else is read.
    async fn write_through<S>(
        &mut self,
        session: &mut EchoSession<'_, '_, S>,
        message: Message,
    ) -> Result<(), Error>
    where
        S: AsyncRead + AsyncWrite + Holding + Unpin,
    {
        session.flush().await?;
        let length = message.len();
        self.ledger.leaving.set(length);
        let opcode = if message.is_text() { TEXT } else { BINARY };
        let mut header = BytesMut::with_capacity(MAX_HEADER_BYTES);
        FrameHeader { first: FIN | opcode, mask: None, length: length as u64 }.write(&mut header);
        let mut frame = header.chain(message.into_data());
        session.get_mut().write_all_buf(&mut frame).await?;
        drop(frame);
        if session.get_ref().is_behind_long() {
            session.flush().await?;
        }
        self.ledger.leaving.set(0);
        Ok(())
    }

    /// The next message; where there is none, writes what is queued, and only then looks at the
    /// drain: what was received before it is answered, and of what was received in part the rest is
    /// awaited.
    fn poll_next<S>(
        &mut self,
        session: &mut EchoSession<'_, '_, S>,
        is_closing: bool,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Next, Error>>
    where
        S: AsyncRead + AsyncWrite + Holding + Unpin,
    {
        if let Poll::Ready(message) = session.poll_next_unpin(cx) {
            return Poll::Ready(match message {
                Some(message) => message.map(Next::Message),
                None => Ok(Next::Stop(Some(EchoEnd::Closed))),
            });
        }
        if !coop::has_budget_remaining() {
            // tokio interrupts a task that reads for long: there may be more.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        ready!(session.poll_flush_unpin(cx))?;
        if self.ledger.leaving.replace(0) > READ_BUFFER {
            self.ledger.has_outgrown.set(true);
        }
        if self.keepalive.is_some_and(SessionKeepalive::take_ping) {
            session.start_send_unpin(Message::Ping(Bytes::new()))?;
            ready!(session.poll_flush_unpin(cx))?;
        }
        if self.ledger.is_to_shrink() && !is_closing && session.get_ref().is_between_messages() {
            return Poll::Ready(Ok(Next::Stop(None)));
        }
        ready!(self.draining.cancelled.as_mut().poll(cx));
        if session.get_ref().frames().is_amid_message() {
            ready!(self.draining.poll_overdue(cx));
        }
        Poll::Ready(Ok(Next::Stop(Some(EchoEnd::Drained))))
    }
}

/// The drain as one session sees it.
struct Draining<'pin, 'token> {
    token: &'token CancellationToken,
    cancelled: Pin<&'pin mut WaitForCancellationFuture<'token>>,
    /// Begun when a session that had more to answer first saw it. Boxed: few have more.
    drain_timer: Option<Pin<Box<Sleep>>>,
}

impl Draining<'_, '_> {
    /// How long the peer may go on before it gets its Close in the middle.
    fn drain_timer(&mut self) -> &mut Pin<Box<Sleep>> {
        self.drain_timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(DRAIN_TIMEOUT)))
    }

    /// Whether the peer has gone on for as long.
    fn is_overdue(&mut self) -> bool {
        self.token.is_cancelled() && self.drain_timer().deadline() <= Instant::now()
    }

    /// Ready when the peer has gone on for as long.
    fn poll_overdue(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.drain_timer().as_mut().poll(cx)
    }
}

/// What a session does next.
enum Next {
    Message(Message),
    /// To end, or to go on with new buffers.
    Stop(Option<EchoEnd>),
}

/// How a session is left.
#[derive(Debug)]
enum CloseAction {
    /// Nothing is sent: both Close frames were exchanged, or the connection broke.
    Nothing,
    /// A Close frame, with a code or without.
    Close(Option<CloseFrame>),
    /// The connection ends without the Close frame that is due.
    Vanish,
}

impl CloseAction {
    /// The action that fits the end of a session, and how long it may take.
    fn of(end: &Result<EchoEnd, Error>) -> (Self, Duration) {
        let close = |code, reason: String| Self::Close(Some(CloseFrame { code, reason: reason.into() }));
        let action = match end {
            Ok(EchoEnd::Closed) => Self::Nothing,
            Ok(EchoEnd::Drained) => close(CloseCode::Away, "the server is shutting down".to_owned()),
            Ok(EchoEnd::Enough(CloseAfter { code: ABNORMAL_CLOSURE, .. })) => Self::Vanish,
            Ok(EchoEnd::Enough(CloseAfter { code: NO_STATUS_RECEIVED, .. })) => Self::Close(None),
            Ok(EchoEnd::Enough(CloseAfter { code, messages })) => {
                close((*code).into(), format!("closed after {messages} messages"))
            }
            Ok(EchoEnd::GivenUp(GivenUp::Idle(limit))) => {
                close(CloseCode::Away, format!("no message for {limit:?}"))
            }
            Ok(EchoEnd::GivenUp(GivenUp::NoPong(limit))) => {
                // The peer did not answer its ping, so it gets less time.
                return (close(CloseCode::Error, format!("no pong within {limit:?}")), DRAIN_TIMEOUT);
            }
            Ok(EchoEnd::Stalled(Stalled { is_amid_answer: true })) => return (Self::Vanish, Duration::ZERO),
            Ok(EchoEnd::Stalled(Stalled { is_amid_answer: false })) => {
                let reason = "the server holds as much for its sessions as it may".to_owned();
                return (close(CloseCode::Again, reason), DRAIN_TIMEOUT);
            }
            Err(error) => match close_code::of(error) {
                Some(code) => close(code, error.to_string()),
                None => Self::Nothing,
            },
        };
        (action, CLOSE_TIMEOUT)
    }

    /// The code that it ends the session with.
    fn code(&self) -> Option<u16> {
        match self {
            Self::Close(Some(frame)) => Some(frame.code.into()),
            Self::Close(None) => Some(NO_STATUS_RECEIVED),
            Self::Nothing | Self::Vanish => None,
        }
    }
}

/// Writes what is queued, and, where a Close is ours, that and reads up to the peer's.
async fn close<S>(session: &mut WebSocketStream<S>, action: CloseAction) -> Result<(), Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let CloseAction::Close(frame) = action else { return session.flush().await };
    session.close(frame).await?;
    while session.next().await.transpose()?.is_some() {}
    Ok(())
}

#[cfg(test)]
mod tests;
