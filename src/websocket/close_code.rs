//! The close codes of RFC 6455 section 7.4 and of the IANA WebSocket close code registry, with
//! their names as clients show them, and the code that tells a peer what was wrong with what it
//! sent (section 7.1.7): tungstenite answers a Close by itself, but says nothing to a peer that
//! broke the protocol. What a code means for an exit status is not decided here.

use std::fmt::{self, Display, Formatter};

use tungstenite::error::{Error, ProtocolError};
use tungstenite::protocol::frame::coding::CloseCode;

use super::deflate::Corrupt;

/// The purpose of the connection is fulfilled.
pub const NORMAL: u16 = 1000;
/// An endpoint is going away: a server shuts down, a page is left.
pub const GOING_AWAY: u16 = 1001;
/// Never on the wire: the peer's Close frame had no code.
pub const NO_STATUS_RECEIVED: u16 = 1005;
/// Never on the wire: the connection ended without a Close frame.
pub const ABNORMAL_CLOSURE: u16 = 1006;
/// The server is overloaded (IANA).
pub const TRY_AGAIN_LATER: u16 = 1013;
/// A gateway got no valid answer from the server behind it (IANA).
pub const BAD_GATEWAY: u16 = 1014;

/// Whether a Close frame may have this code.
#[must_use]
pub fn may_be_sent(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

/// The name of a close code. Codes that never are on the wire say so.
#[must_use]
pub fn name(code: u16) -> &'static str {
    match code {
        NORMAL => "OK",
        GOING_AWAY => "going away",
        1002 => "protocol error",
        1003 => "unsupported data",
        NO_STATUS_RECEIVED => "no status received [internal]",
        ABNORMAL_CLOSURE => "abnormal closure [internal]",
        1007 => "invalid frame payload data",
        1008 => "policy violation",
        1009 => "message too big",
        1010 => "mandatory extension",
        1011 => "internal error",
        1012 => "service restart",
        TRY_AGAIN_LATER => "try again later",
        BAD_GATEWAY => "bad gateway",
        1015 => "TLS handshake failure [internal]",
        3000..=3999 => "registered",
        4000..=4999 => "private use",
        _ => "unknown",
    }
}

/// The code for this end of a session. `None` where the connection is gone, or where a Close was
/// exchanged.
#[must_use]
pub fn of(error: &Error) -> Option<CloseCode> {
    match error {
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => None,
        Error::Protocol(_) => Some(CloseCode::Protocol),
        Error::Utf8(_) => Some(CloseCode::Invalid),
        Error::Capacity(_) => Some(CloseCode::Size),
        Error::Io(error)
            if error.get_ref().is_some_and(<dyn std::error::Error + Send + Sync>::is::<Corrupt>) =>
        {
            Some(CloseCode::Invalid)
        }
        _ => None,
    }
}

/// How a connection was closed: `1000 (OK)`, and the reason after it if there is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloseStatus {
    /// The close code.
    pub code: u16,
    /// The reason of the Close frame, as it came; often empty.
    pub reason: String,
}

impl CloseStatus {
    /// The connection ended without a Close frame.
    #[must_use]
    pub fn abnormal() -> Self {
        Self { code: ABNORMAL_CLOSURE, reason: String::new() }
    }
}

impl Display for CloseStatus {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} ({})", self.code, name(self.code))?;
        if self.reason.is_empty() { Ok(()) } else { write!(formatter, " {}", self.reason) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(code: u16, reason: &str) -> String {
        CloseStatus { code, reason: reason.to_owned() }.to_string()
    }

    #[test]
    fn a_close_is_shown_with_the_name_of_its_code_and_its_reason() {
        assert_eq!(shown(1000, ""), "1000 (OK)");
        assert_eq!(shown(1011, "boom"), "1011 (internal error) boom");
        assert_eq!(shown(1006, ""), "1006 (abnormal closure [internal])");
        assert_eq!(shown(3000, ""), "3000 (registered)");
        assert_eq!(shown(4999, "app"), "4999 (private use) app");
    }

    #[test]
    fn codes_that_are_never_on_the_wire_may_not_be_sent() {
        for code in [0, 999, 1004, NO_STATUS_RECEIVED, ABNORMAL_CLOSURE, 1015, 1016, 2999, 5000] {
            assert!(!may_be_sent(code), "{code}");
        }
        for code in [NORMAL, 1007, BAD_GATEWAY, 3000, 4999] {
            assert!(may_be_sent(code), "{code}");
        }
    }

    #[test]
    fn codes_that_nobody_defined_are_unknown() {
        for code in [0, 999, 1004, 1016, 2999, 5000, u16::MAX] {
            assert_eq!(name(code), "unknown", "{code}");
        }
    }
}
