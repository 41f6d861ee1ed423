//! How a connection ends (RFC 6455 section 7): what either side says, and what becomes of it.

use std::fmt;
use std::time::Duration;

use futures_util::{FutureExt, SinkExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tungstenite::error::CapacityError;
use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Error, Message};

use super::connect::{ConnectEvent, Observer};
use super::keepalive::PingTimeout;
use crate::escape::Escaped;
use crate::websocket::TransportAdapter;
use crate::websocket::close_code::{self, CloseStatus};

/// How long the peer may take to answer our Close frame: Python websockets' `close_timeout`.
pub(super) const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    /// The code and the reason that the peer's Close frame had; 1006 without one.
    pub status: CloseStatus,
    /// The code of our Close frame, if this side sent its first.
    pub own: Option<u16>,
    /// Whether a message that was expected did not come.
    pub wanting: bool,
    /// The message that ended it by being longer than this side takes.
    pub too_long: Option<TooLong>,
}

/// A message that is longer than this side takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLong {
    /// How long the message is, as far as that is known.
    pub bytes: u64,
    /// Whether the message is no longer than that.
    pub whole: bool,
    /// The most that is taken (`--max-message-size`).
    pub limit: usize,
}

impl TooLong {
    /// The message of `stream` that this error is about; how long a compressed one is may not be
    /// known yet.
    pub(super) fn of<S>(error: &Error, stream: &WebSocketStream<TransportAdapter<S>>) -> Option<Self>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let Error::Capacity(CapacityError::MessageTooLong { size, .. }) = error else { return None };
        let limit = stream.get_config().max_message_size.unwrap_or(usize::MAX);
        let too_long = Self { bytes: *size as u64, whole: false, limit };
        Some(too_long.measured(stream))
    }

    /// The same, with what is known of its length by now.
    fn measured<S>(self, stream: &WebSocketStream<TransportAdapter<S>>) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let (longest, whole) = stream.get_ref().longest_message();
        Self { bytes: self.bytes.max(longest), whole, ..self }
    }
}

impl fmt::Display for TooLong {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let more = if self.whole { "" } else { " or more" };
        write!(formatter, "a message of {} bytes{more}, over the limit of {} bytes", self.bytes, self.limit)
    }
}

impl Closed {
    /// Whether this is how a session should end: 1000 or 1001, or an answer to our own Close that
    /// repeats its code or names none.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        match self.status.code {
            close_code::NORMAL | close_code::GOING_AWAY => true,
            close_code::NO_STATUS_RECEIVED => self.own.is_some(),
            code => self.own == Some(code),
        }
    }

    /// The transcript's last lines: what this side did not take, and the end as Python's client
    /// shows it.
    pub(super) fn told(&self) -> String {
        let end = format!("Connection closed: {}.", Escaped(&self.status));
        match self.too_long {
            Some(too_long) => {
                format!("The server sent {too_long}: --max-message-size allows more.\n{end}")
            }
            None => end,
        }
    }
}

/// The Close frame that tells the peer of a failure; none where the connection is gone.
pub(super) fn failing_frame(error: &Error, too_long: Option<TooLong>) -> Option<CloseFrame> {
    if PingTimeout::is_in(error) {
        return Some(CloseFrame { code: CloseCode::Error, reason: PingTimeout.to_string().into() });
    }
    let reason = too_long.map(|it| it.to_string()).unwrap_or_default().into();
    close_code::of(error).map(|code| CloseFrame { code, reason })
}

/// Fails the connection (RFC 6455 section 7.1.7): tells the peer why, and ignores what it still
/// sends. Returns what was too long, if that was why.
pub(super) async fn fail<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut WebSocketStream<TransportAdapter<S>>,
    error: &Error,
    observer: &Observer,
) -> Option<TooLong> {
    let too_long = TooLong::of(error, stream);
    let frame = failing_frame(error, too_long)?;
    observer.notice(&ConnectEvent::Failing { code: frame.code.into(), error });
    let tell = async {
        // Fails where a Close frame was sent before, or the connection is gone: then the peer needs
        // no other.
        let _ = stream.send(Message::Close(Some(frame))).await;
        let mut ignored = [0; 4096];
        while stream.get_mut().read(&mut ignored).await.is_ok_and(|count| count > 0) {}
    };
    // A peer that does not end the connection in time is left.
    let _ = timeout(CLOSE_TIMEOUT, tell).await;
    too_long.map(|too_long| too_long.measured(stream))
}

/// Sends Close 1000 if that can be written without waiting; whether it was.
pub(super) fn try_close<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut WebSocketStream<TransportAdapter<S>>,
) -> bool {
    let frame = close_frame(CloseCode::Normal);
    matches!(stream.close(Some(frame)).now_or_never(), Some(Ok(())))
}

/// What a Close frame of the peer says. A frame with a code that must not be sent counts as a
/// connection that ended without one, as in Python websockets.
pub(super) fn close_status(frame: Option<CloseFrame>) -> CloseStatus {
    let code = code_of(frame.as_ref());
    match frame {
        Some(_) if !close_code::may_be_sent(code) => CloseStatus::abnormal(),
        Some(frame) => CloseStatus { code, reason: frame.reason.as_str().to_owned() },
        None => CloseStatus { code, reason: String::new() },
    }
}

/// A Close frame without a reason.
pub(super) fn close_frame(code: CloseCode) -> CloseFrame {
    CloseFrame { code, reason: "".into() }
}

/// The code of a Close frame as the RFC counts it: 1005 where it has none.
pub(super) fn code_of(frame: Option<&CloseFrame>) -> u16 {
    frame.map_or(close_code::NO_STATUS_RECEIVED, |frame| frame.code.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn closed(code: u16, by_us: bool) -> Closed {
        let own = by_us.then_some(close_code::NORMAL);
        Closed { status: CloseStatus { code, reason: String::new() }, own, wanting: false, too_long: None }
    }

    #[test]
    fn an_answer_without_a_code_is_clean_only_if_we_asked_for_the_end() {
        assert!(closed(1005, true).is_clean());
        assert!(!closed(1005, false).is_clean());
        assert!(!closed(1011, true).is_clean());
        assert!(!closed(4000, false).is_clean());
    }

    #[test]
    fn a_close_code_of_our_own_that_the_peer_repeats_is_clean() {
        let repeated = Closed { own: Some(4000), ..closed(4000, true) };
        assert!(repeated.is_clean());
        assert!(!Closed { own: Some(4001), ..repeated }.is_clean());
    }
}
