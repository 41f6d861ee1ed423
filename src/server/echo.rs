//! One WebSocket session: every message goes back, and the closing handshake (RFC 6455 section 7) is done properly.
//!
//! Answers go out in batches: as long as messages are there to read, answers are only queued, and one write carries them
//! all when the next read would wait. A peer that does not read is not read from either, so a session never holds more
//! than a message, a write buffer and what was read ahead.

use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::coop;
use tokio::time::{Instant, Sleep};
use tokio_tungstenite::WebSocketStream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};
use tungstenite::error::Error;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{CloseFrame, Message, Role, WebSocketConfig};

use super::config::{CloseAfter, Config};
use super::keepalive::{GivenUp, Keepalive};
use super::read_ahead::ReadAhead;
use super::stats;
use crate::websocket::close_code::{ABNORMAL_CLOSURE, NO_STATUS_RECEIVED};
use crate::websocket::{Frames, failure};

/// What tungstenite holds to read into, also while a session is idle. Small, because a connection reads ahead.
const READ_BUFFER: usize = 2 * 1024;

/// How much is queued before it is written without waiting for the batch to end.
const WRITE_BUFFER: usize = 16 * 1024;

/// How much a session may answer before it is another's turn, in bytes: a fraction of a millisecond.
const TURN: usize = 256 * 1024;

/// What a message costs beside its bytes, in bytes: about as long as copying that many takes.
const MESSAGE_COST: usize = 256;

/// How long our part of a closing handshake may take: the default of the Python `websockets` library.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a draining server goes on with a peer that never pauses, or has begun a message and does not end it.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// The frames of a session, read ahead.
type Carrier<S> = ReadAhead<Frames<S>>;

/// Echoes until the session is over and returns the stream, on which nothing more is to be sent.
pub(super) async fn serve<S>(
    stream: Carrier<S>,
    config: &Config,
    draining: &CancellationToken,
    counted: &stats::Session<'_>,
) -> Carrier<S>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let limits = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(WRITE_BUFFER)
        .max_message_size(Some(config.max_message_size))
        .max_frame_size(config.max_frame_size.or(Some(config.max_message_size)));
    let mut session = WebSocketStream::from_raw_socket(stream, Role::Server, Some(limits)).await;
    let end = match Keepalive::new(config) {
        None => echo(&mut session, config, draining, counted, None).await,
        Some(keepalive) => Box::pin(watched(&mut session, config, draining, counted, &keepalive)).await,
    };
    let (farewell, patience) = Farewell::of(&end);
    if let Some(code) = farewell.code() {
        counted.closes_with(code);
    }
    // Where this fails the peer is gone.
    let _ = Box::pin(tokio::time::timeout(patience, close(&mut session, farewell))).await;
    session.into_inner()
}

/// Why a session ended that did not break.
#[derive(Debug)]
enum End {
    /// Both Close frames were exchanged.
    Closed,
    /// The server is draining, and everything received was answered.
    Drained,
    /// So many messages were answered as the server was told to answer.
    Enough(CloseAfter),
    /// The peer was silent for too long.
    GivenUp(GivenUp),
}

/// Answers messages until the session ends or is given up.
async fn watched<S>(
    session: &mut WebSocketStream<Carrier<S>>,
    config: &Config,
    draining: &CancellationToken,
    counted: &stats::Session<'_>,
    keepalive: &Keepalive,
) -> Result<End, Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let echo = echo(session, config, draining, counted, Some(keepalive));
    keepalive.watch(echo).await.unwrap_or_else(|given_up| Ok(End::GivenUp(given_up)))
}

/// Answers messages until the session ends.
async fn echo<S>(
    session: &mut WebSocketStream<Carrier<S>>,
    config: &Config,
    draining: &CancellationToken,
    counted: &stats::Session<'_>,
    keepalive: Option<&Keepalive>,
) -> Result<End, Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let cancelled = pin!(draining.cancelled());
    let mut draining = Draining { token: draining, cancelled, last_answers: None };
    let (mut answered, mut turn, mut is_sure) = (0, 0, false);
    loop {
        if let Some(limit) = config.close_after.filter(|limit| answered >= limit.messages) {
            return Ok(End::Enough(limit));
        }
        let next = std::future::poll_fn(|cx| poll_next(session, &mut draining, keepalive, cx));
        let message = match next.await? {
            Next::Message(message) => {
                is_sure = false;
                message
            }
            // Over HTTP/2, what has come may still be with the connection's task, which has not had its turn.
            Next::End(End::Drained) if !std::mem::replace(&mut is_sure, true) => {
                tokio::task::yield_now().await;
                tokio::task::yield_now().await;
                continue;
            }
            Next::End(end) => return Ok(end),
        };
        turn += message.len() + MESSAGE_COST;
        match message {
            Message::Text(_) | Message::Binary(_) => {
                let length = message.len();
                counted.received(length);
                if let Some(delay) = config.delay {
                    session.flush().await?;
                    Box::pin(tokio::time::sleep(delay)).await;
                }
                session.feed(message).await?;
                counted.sent(length);
                answered += 1;
                if let Some(keepalive) = keepalive {
                    keepalive.note_message();
                }
            }
            // The pong is queued. Waiting until it is written keeps a peer that sends pings and reads nothing at bay.
            Message::Ping(_) => session.flush().await?,
            Message::Pong(_) => keepalive.into_iter().for_each(Keepalive::note_pong),
            // The next read sends the answer.
            Message::Close(frame) => {
                let frames = session.get_mut().get_mut();
                let frame = frame.map(|frame| frames.as_sent(frame));
                frames.answer_as_sent();
                counted.closes_with(frame.map_or(NO_STATUS_RECEIVED, |frame| frame.code.into()));
            }
            // Frames are never read alone.
            Message::Frame(_) => {}
        }
        if turn > TURN {
            if draining.is_overdue() {
                return Ok(End::Drained);
            }
            turn = 0;
            tokio::task::yield_now().await;
        }
    }
}

/// The drain as one session sees it.
struct Draining<'pin, 'token> {
    token: &'token CancellationToken,
    cancelled: Pin<&'pin mut WaitForCancellationFuture<'token>>,
    /// Begun when a session that had more to answer first saw it. Boxed: few have more.
    last_answers: Option<Pin<Box<Sleep>>>,
}

impl Draining<'_, '_> {
    /// How long the peer may go on before it gets its Close in the middle.
    fn last_answers(&mut self) -> &mut Pin<Box<Sleep>> {
        self.last_answers.get_or_insert_with(|| Box::pin(tokio::time::sleep(LAST_ANSWERS)))
    }

    /// Whether the peer has gone on for as long.
    fn is_overdue(&mut self) -> bool {
        self.token.is_cancelled() && self.last_answers().deadline() <= Instant::now()
    }

    /// Ready when the peer has gone on for as long.
    fn poll_overdue(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.last_answers().as_mut().poll(cx)
    }
}

/// What a session does next.
enum Next {
    Message(Message),
    End(End),
}

/// The next message; where there is none, writes what is queued, and only then looks at the drain: what was received
/// before it is answered, and of what was received in part the rest is awaited.
fn poll_next<S>(
    session: &mut WebSocketStream<Carrier<S>>,
    draining: &mut Draining<'_, '_>,
    keepalive: Option<&Keepalive>,
    cx: &mut Context<'_>,
) -> Poll<Result<Next, Error>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    if let Poll::Ready(message) = session.poll_next_unpin(cx) {
        return Poll::Ready(match message {
            Some(message) => message.map(Next::Message),
            None => Ok(Next::End(End::Closed)),
        });
    }
    if !coop::has_budget_remaining() {
        // tokio interrupts a task that reads for long: there may be more.
        cx.waker().wake_by_ref();
        return Poll::Pending;
    }
    ready!(session.poll_flush_unpin(cx))?;
    if keepalive.is_some_and(Keepalive::take_ping) {
        session.start_send_unpin(Message::Ping(Bytes::new()))?;
        ready!(session.poll_flush_unpin(cx))?;
    }
    ready!(draining.cancelled.as_mut().poll(cx));
    if session.get_ref().get_ref().is_amid_message() {
        ready!(draining.poll_overdue(cx));
    }
    Poll::Ready(Ok(Next::End(End::Drained)))
}

/// How a session is left.
#[derive(Debug)]
enum Farewell {
    /// There is nothing to say.
    Nothing,
    /// A Close frame, with a code or without.
    Close(Option<CloseFrame>),
    /// Without the Close frame that is due.
    Vanish,
}

impl Farewell {
    /// What is ours to say, and how long it may take.
    fn of(end: &Result<End, Error>) -> (Self, Duration) {
        let close = |code, reason: String| Self::Close(Some(CloseFrame { code, reason: reason.into() }));
        let farewell = match end {
            Ok(End::Closed) => Self::Nothing,
            Ok(End::Drained) => close(CloseCode::Away, "the server is shutting down".to_owned()),
            Ok(End::Enough(CloseAfter { code: ABNORMAL_CLOSURE, .. })) => Self::Vanish,
            Ok(End::Enough(CloseAfter { code: NO_STATUS_RECEIVED, .. })) => Self::Close(None),
            Ok(End::Enough(CloseAfter { code, messages })) => {
                close((*code).into(), format!("closed after {messages} messages"))
            }
            Ok(End::GivenUp(GivenUp::Idle(limit))) => {
                close(CloseCode::Away, format!("no message for {limit:?}"))
            }
            Ok(End::GivenUp(GivenUp::NoPong(limit))) => {
                // It has shown already that it does not answer.
                return (close(CloseCode::Error, format!("no pong within {limit:?}")), LAST_ANSWERS);
            }
            Err(error) => match failure::close_code(error) {
                Some(code) => close(code, error.to_string()),
                None => Self::Nothing,
            },
        };
        (farewell, CLOSE_TIMEOUT)
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
async fn close<S>(session: &mut WebSocketStream<S>, farewell: Farewell) -> Result<(), Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let Farewell::Close(frame) = farewell else { return session.flush().await };
    session.close(frame).await?;
    while session.next().await.transpose()?.is_some() {}
    Ok(())
}

#[cfg(test)]
mod tests;
