//! How a connection ends (RFC 6455 section 7): what either side says, and what becomes of it.

use std::time::Duration;

use futures_util::{FutureExt, SinkExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Error, Message};

use super::connect::{Event, Observer};
use super::keepalive::PingTimeout;
use crate::websocket::close_code::{self, CloseStatus};
use crate::websocket::{Frames, failure};

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
}

impl Closed {
    /// Whether this is how a session should end: 1000 or 1001, or an answer to our own Close that repeats its code or
    /// names none.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        match self.status.code {
            close_code::NORMAL | close_code::GOING_AWAY => true,
            close_code::NO_STATUS_RECEIVED => self.own.is_some(),
            code => self.own == Some(code),
        }
    }
}

/// The Close frame that tells the peer of a failure; none where the connection is gone.
pub(super) fn failing_frame(error: &Error) -> Option<CloseFrame> {
    if PingTimeout::is_in(error) {
        return Some(CloseFrame { code: CloseCode::Error, reason: PingTimeout.to_string().into() });
    }
    failure::close_code(error).map(close_frame)
}

/// Fails the connection (RFC 6455 section 7.1.7): tells the peer why, and ignores what it still sends.
pub(super) async fn fail<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut WebSocketStream<Frames<S>>,
    error: &Error,
    observer: &Observer,
) {
    let Some(frame) = failing_frame(error) else { return };
    observer.notice(&Event::Failing { code: frame.code.into(), error });
    let tell = async {
        // Fails where a Close frame was sent before, or the connection is gone: both are an answer, too.
        let _ = stream.send(Message::Close(Some(frame))).await;
        let mut ignored = [0; 4096];
        while stream.get_mut().read(&mut ignored).await.is_ok_and(|count| count > 0) {}
    };
    // A peer that does not end the connection in time is left.
    let _ = timeout(CLOSE_TIMEOUT, tell).await;
}

/// Sends Close 1000 if that can be written without waiting; whether it was.
pub(super) fn say_goodbye<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut WebSocketStream<Frames<S>>,
) -> bool {
    let frame = close_frame(CloseCode::Normal);
    matches!(stream.close(Some(frame)).now_or_never(), Some(Ok(())))
}

/// What a Close frame of the peer says. One with a code that must not be sent is none, as in Python websockets.
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
        Closed { status: CloseStatus { code, reason: String::new() }, own, wanting: false }
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
