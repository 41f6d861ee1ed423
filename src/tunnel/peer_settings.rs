//! What the peer announced in its first SETTINGS frame (RFC 9113 section 6.5), which `h2` takes without showing it.

use std::cell::RefCell;
use std::fmt::{self, Display, Formatter};
use std::rc::Rc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::io::InspectReader;

use super::frame_header::{FRAME_HEADER_BYTES, FrameHeader, SETTINGS};
use super::settings::ID_ENABLE_CONNECT_PROTOCOL;

/// A SETTINGS frame is refused beyond this many bytes: `SETTINGS_MAX_FRAME_SIZE`'s first value.
const MAX_PAYLOAD: usize = 16 * 1024;

/// What is kept of an answer that is not HTTP/2: a status line.
const MAX_STRANGE_BYTES: usize = 80;

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

/// How the peer opened the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opening {
    /// Not enough bytes came yet.
    Awaited(Vec<u8>),
    /// With SETTINGS, as it must.
    Settings(PeerSettings),
    /// With something else: its beginning.
    NotHttp2(Vec<u8>),
}

impl Opening {
    fn feed(&mut self, bytes: &[u8]) {
        let Self::Awaited(seen) = self else { return };
        seen.extend_from_slice(bytes);
        let Some(header) = seen.first_chunk() else { return };
        let FrameHeader { length, kind, .. } = FrameHeader::parse(header);
        if kind != SETTINGS || !length.is_multiple_of(6) || length > MAX_PAYLOAD {
            seen.truncate(MAX_STRANGE_BYTES);
            *self = Self::NotHttp2(std::mem::take(seen));
        } else if let Some(payload) = seen.get(FRAME_HEADER_BYTES..FRAME_HEADER_BYTES + length) {
            let pair = |pair: &[u8]| {
                let value = u32::from_be_bytes([pair[2], pair[3], pair[4], pair[5]]);
                (u16::from_be_bytes([pair[0], pair[1]]), value)
            };
            *self = Self::Settings(PeerSettings(payload.chunks_exact(6).map(pair).collect()));
        }
    }
}

/// A byte stream that notes how the peer opens, to be given to [`super::connect`]; and where the note will be.
pub fn noted<T: AsyncRead + AsyncWrite + Unpin>(
    io: T,
) -> (impl AsyncRead + AsyncWrite + Unpin, Rc<RefCell<Opening>>) {
    let opening = Rc::new(RefCell::new(Opening::Awaited(Vec::new())));
    let note = Rc::clone(&opening);
    (InspectReader::new(io, move |bytes: &[u8]| note.borrow_mut().feed(bytes)), opening)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opening(bytes: &[u8], piece: usize) -> Opening {
        let mut opening = Opening::Awaited(Vec::new());
        bytes.chunks(piece).for_each(|piece| opening.feed(piece));
        opening
    }

    #[test]
    fn settings_are_read_however_they_are_cut_and_what_follows_is_not() {
        let bytes = [0, 0, 12, 4, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 100, 0, 8, 0, 0, 0, 1, 9, 9, 9];
        for piece in 1..bytes.len() {
            let Opening::Settings(settings) = opening(&bytes, piece) else { panic!("in pieces of {piece}") };
            assert_eq!(settings.to_string(), "MAX_CONCURRENT_STREAMS=100 ENABLE_CONNECT_PROTOCOL=1");
            assert!(settings.allows_connect());
        }
        assert_eq!(opening(&[0, 0, 0, 4, 0, 0, 0, 0, 0], 9), Opening::Settings(PeerSettings::default()));
    }

    #[test]
    fn a_peer_that_answers_in_another_protocol_is_quoted() {
        let answer = b"HTTP/1.1 400 Bad Request\r\n\r\n";
        assert_eq!(opening(answer, 100), Opening::NotHttp2(answer.to_vec()));
    }
}
