//! One WebSocket session: every message goes back, and the closing handshake (RFC 6455 section 7) is done properly.
//!
//! Answers go out in batches: as long as messages are there to read, answers are only queued, and one write carries them
//! all when the next read would wait. A peer that does not read is not read from either, so a session never holds more
//! than a message, a write buffer and what was read ahead.

use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::coop;
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};
use tungstenite::error::Error;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{CloseFrame, Message, Role, WebSocketConfig};

use super::Config;
use crate::websocket::failure;

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

/// How long a draining server goes on answering a peer that never pauses.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// Echoes until the session is over and returns the stream, on which nothing more is to be sent.
pub(super) async fn serve<S>(stream: S, config: &Config, draining: &CancellationToken) -> S
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let limits = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(WRITE_BUFFER)
        .max_message_size(Some(config.max_message_size))
        .max_frame_size(Some(config.max_message_size));
    let mut session = WebSocketStream::from_raw_socket(stream, Role::Server, Some(limits)).await;
    let end = echo(&mut session, config.delay, draining).await;
    // Where this fails the peer is gone.
    let _ = Box::pin(tokio::time::timeout(CLOSE_TIMEOUT, close(&mut session, farewell(&end)))).await;
    session.into_inner()
}

/// Why a session ended that did not break.
#[derive(Debug)]
enum End {
    /// Both Close frames were exchanged.
    Closed,
    /// The server is draining, and everything received was answered.
    Drained,
}

/// Answers messages until the session ends.
async fn echo<S>(
    session: &mut WebSocketStream<S>,
    delay: Option<Duration>,
    draining: &CancellationToken,
) -> Result<End, Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let cancelled = pin!(draining.cancelled());
    let mut draining = Draining { token: draining, cancelled, seen: None };
    let mut turn = 0;
    loop {
        let message = match std::future::poll_fn(|cx| poll_next(session, &mut draining, cx)).await? {
            Next::Message(message) => message,
            Next::End(end) => return Ok(end),
        };
        turn += message.len() + MESSAGE_COST;
        match message {
            Message::Text(_) | Message::Binary(_) => {
                if let Some(delay) = delay {
                    session.flush().await?;
                    Box::pin(tokio::time::sleep(delay)).await;
                }
                session.feed(message).await?;
            }
            // The pong is queued. Waiting until it is written keeps a peer that sends pings and reads nothing at bay.
            Message::Ping(_) => session.flush().await?,
            // The next read sends the answer to a Close; pongs are not asked for; frames are never read alone.
            Message::Close(_) | Message::Pong(_) | Message::Frame(_) => {}
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
    /// When a session that had more to answer first saw it.
    seen: Option<Instant>,
}

impl Draining<'_, '_> {
    /// Whether the peer has not paused for so long that it gets its Close in the middle.
    fn is_overdue(&mut self) -> bool {
        self.token.is_cancelled() && self.seen.get_or_insert_with(Instant::now).elapsed() > LAST_ANSWERS
    }
}

/// What a session does next.
enum Next {
    Message(Message),
    End(End),
}

/// The next message; where there is none, writes what is queued, and only then looks at the drain: what was received
/// before it is answered.
fn poll_next<S>(
    session: &mut WebSocketStream<S>,
    draining: &mut Draining<'_, '_>,
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
    ready!(draining.cancelled.as_mut().poll(cx));
    Poll::Ready(Ok(Next::End(End::Drained)))
}

/// The Close frame that is ours to send, if any.
fn farewell(end: &Result<End, Error>) -> Option<CloseFrame> {
    match end {
        Ok(End::Closed) => None,
        Ok(End::Drained) => {
            Some(CloseFrame { code: CloseCode::Away, reason: "the server is shutting down".into() })
        }
        Err(error) => {
            failure::close_code(error).map(|code| CloseFrame { code, reason: error.to_string().into() })
        }
    }
}

/// Writes what is queued, and, where the Close is ours, that and reads up to the peer's.
async fn close<S>(session: &mut WebSocketStream<S>, frame: Option<CloseFrame>) -> Result<(), Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    if frame.is_none() {
        return session.flush().await;
    }
    session.close(frame).await?;
    while session.next().await.transpose()?.is_some() {}
    Ok(())
}

#[cfg(test)]
mod tests;
