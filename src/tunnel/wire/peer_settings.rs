//! Peeks at the peer's first SETTINGS frame (RFC 9113 section 6.5), which `h2` takes without
//! showing it.

use std::cell::RefCell;
use std::fmt::{self, Display, Formatter};
use std::rc::Rc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::io::InspectReader;

use super::frame_header::{FRAME_HEADER_BYTES, FrameHeader, SETTINGS};
use crate::tunnel::settings::ID_ENABLE_CONNECT_PROTOCOL;

/// A SETTINGS frame is refused beyond this many bytes: `SETTINGS_MAX_FRAME_SIZE`'s first value.
const MAX_PAYLOAD: usize = 16 * 1024;

/// How much is kept of an answer that is not HTTP/2: enough for a status line.
const MAX_QUOTED_BYTES: usize = 80;

/// The registered names (RFC 9113 section 6.5.2, RFC 8441 section 3).
const NAMES: [(u16, &str); 7] = [
    (1, "HEADER_TABLE_SIZE"),
    (2, "ENABLE_PUSH"),
    (3, "MAX_CONCURRENT_STREAMS"),
    (4, "INITIAL_WINDOW_SIZE"),
    (5, "MAX_FRAME_SIZE"),
    (6, "MAX_HEADER_LIST_SIZE"),
    (ID_ENABLE_CONNECT_PROTOCOL, "ENABLE_CONNECT_PROTOCOL"),
];

/// The settings of the peer, in its order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PeerSettings(Vec<(u16, u32)>);

impl PeerSettings {
    /// `SETTINGS_ENABLE_CONNECT_PROTOCOL` (0x8): `None` if it was not mentioned, which means 0.
    #[must_use]
    pub fn enable_connect_protocol(&self) -> Option<u32> {
        self.0
            .iter()
            .rev()
            .find(|(identifier, _)| *identifier == ID_ENABLE_CONNECT_PROTOCOL)
            .map(|(_, value)| *value)
    }

    /// Whether extended CONNECT may be sent.
    #[must_use]
    pub fn allows_connect(&self) -> bool {
        self.enable_connect_protocol() == Some(1)
    }

    /// Name or number, and value.
    pub fn named(&self) -> impl Iterator<Item = (String, u32)> {
        self.0.iter().map(|(identifier, value)| {
            let name = NAMES.iter().find(|(known, _)| known == identifier);
            (name.map_or_else(|| format!("{identifier:#x}"), |(_, name)| (*name).to_owned()), *value)
        })
    }
}

impl Display for PeerSettings {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let all: Vec<_> = self.named().map(|(name, value)| format!("{name}={value}")).collect();
        formatter.write_str(&all.join(" "))
    }
}

/// The beginning of what the peer has sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeekedSettings {
    /// Too few bytes to tell.
    Awaited(Vec<u8>),
    /// SETTINGS, as it must.
    Received(PeerSettings),
    /// Something else, of which this is the beginning.
    NotHttp2(Vec<u8>),
}

impl PeekedSettings {
    fn feed(&mut self, bytes: &[u8]) {
        let Self::Awaited(seen) = self else { return };
        seen.extend_from_slice(bytes);
        let Some(header) = seen.first_chunk() else { return };
        let FrameHeader { length, kind, .. } = FrameHeader::parse(header);
        if kind != SETTINGS || !length.is_multiple_of(6) || length > MAX_PAYLOAD {
            seen.truncate(MAX_QUOTED_BYTES);
            *self = Self::NotHttp2(std::mem::take(seen));
        } else if let Some(payload) = seen.get(FRAME_HEADER_BYTES..FRAME_HEADER_BYTES + length) {
            let pair = |pair: &[u8]| {
                let value = u32::from_be_bytes([pair[2], pair[3], pair[4], pair[5]]);
                (u16::from_be_bytes([pair[0], pair[1]]), value)
            };
            *self = Self::Received(PeerSettings(payload.chunks_exact(6).map(pair).collect()));
        }
    }
}

/// Wraps a byte stream that is to be given to [`crate::tunnel::connect`]. What the peer begins with
/// is then found in the second value.
pub fn peek_settings<T: AsyncRead + AsyncWrite + Unpin>(
    io: T,
) -> (impl AsyncRead + AsyncWrite + Unpin, Rc<RefCell<PeekedSettings>>) {
    let settings = Rc::new(RefCell::new(PeekedSettings::Awaited(Vec::new())));
    let peeked = Rc::clone(&settings);
    (InspectReader::new(io, move |bytes: &[u8]| settings.borrow_mut().feed(bytes)), peeked)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peek(bytes: &[u8], piece: usize) -> PeekedSettings {
        let mut peeked = PeekedSettings::Awaited(Vec::new());
        bytes.chunks(piece).for_each(|piece| peeked.feed(piece));
        peeked
    }

    #[test]
    fn settings_are_read_however_they_are_cut_and_what_follows_is_not() {
        let bytes = [0, 0, 12, 4, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 100, 0, 8, 0, 0, 0, 1, 9, 9, 9];
        for piece in 1..bytes.len() {
            let PeekedSettings::Received(settings) = peek(&bytes, piece) else {
                panic!("in pieces of {piece}")
            };
            assert_eq!(settings.to_string(), "MAX_CONCURRENT_STREAMS=100 ENABLE_CONNECT_PROTOCOL=1");
            assert!(settings.allows_connect());
        }
        assert_eq!(peek(&[0, 0, 0, 4, 0, 0, 0, 0, 0], 9), PeekedSettings::Received(PeerSettings::default()));
    }

    #[test]
    fn a_peer_that_answers_in_another_protocol_is_quoted() {
        let answer = b"HTTP/1.1 400 Bad Request\r\n\r\n";
        assert_eq!(peek(answer, 100), PeekedSettings::NotHttp2(answer.to_vec()));
    }
}
