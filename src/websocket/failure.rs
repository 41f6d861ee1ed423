//! Failing the connection (RFC 6455 section 7.1.7): the close code that tells a peer what was wrong with what it sent.
//! tungstenite answers a Close by itself, but says nothing to a peer that broke the protocol.

use tungstenite::error::{Error, ProtocolError};
use tungstenite::protocol::frame::coding::CloseCode;

use super::deflate::Corrupt;

/// The code for this end of a session. `None` where the connection is gone, or where a Close was exchanged.
#[must_use]
pub fn close_code(error: &Error) -> Option<CloseCode> {
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
