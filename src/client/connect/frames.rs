//! The heads of WebSocket frames (RFC 6455 section 5.2) as they pass, told to an [`Observer`]: a
//! byte stream beneath the WebSocket that changes nothing. It is there only where somebody wants to
//! see frames.

use tokio_util::io::{InspectReader, InspectWriter};

use super::event::{ConnectEvent, Observer};
use crate::net::Transport;
use crate::websocket::frame_header::{FrameHeader, MAX_HEADER_BYTES};

/// Which way a frame goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameDirection {
    /// To the server.
    Sent,
    /// From the server.
    Received,
}

/// Finds the heads in one direction's bytes, however these are cut.
#[derive(Debug, Default)]
struct Heads {
    /// The beginning of a head.
    begun: Vec<u8>,
    /// How much payload is still to pass.
    payload: u64,
}

impl Heads {
    fn feed(&mut self, mut bytes: &[u8], mut found: impl FnMut(FrameHeader)) {
        while !bytes.is_empty() {
            let passing = usize::try_from(self.payload).unwrap_or(usize::MAX).min(bytes.len());
            bytes = &bytes[passing..];
            self.payload -= passing as u64;
            if self.payload > 0 || bytes.is_empty() {
                return;
            }
            let before = self.begun.len();
            self.begun.extend_from_slice(&bytes[..bytes.len().min(MAX_HEADER_BYTES - before)]);
            let Some((head, length)) = FrameHeader::parse(&self.begun) else { return };
            self.begun.clear();
            self.payload = head.length;
            bytes = &bytes[length - before..];
            found(head);
        }
    }
}

/// The stream, with the heads of its frames told; of the server's frames `early` was read already.
pub(super) fn observed(stream: Transport, observer: &Observer, early: &[u8]) -> Transport {
    let mut received = heads_told(FrameDirection::Received, observer.clone());
    received(early);
    let stream = InspectReader::new(stream, received);
    Box::new(InspectWriter::new(stream, heads_told(FrameDirection::Sent, observer.clone())))
}

/// Takes the bytes of one direction, piece by piece.
fn heads_told(direction: FrameDirection, observer: Observer) -> impl FnMut(&[u8]) + Unpin {
    let mut heads = Heads::default();
    move |bytes| heads.feed(bytes, |head| observer.notice(&ConnectEvent::Frame(direction, head)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heads(bytes: &[u8], piece: usize) -> Vec<FrameHeader> {
        let (mut heads, mut found) = (Heads::default(), Vec::new());
        for piece in bytes.chunks(piece) {
            heads.feed(piece, |head| found.push(head));
        }
        found
    }

    #[test]
    fn heads_of_every_length_are_found_however_the_bytes_are_cut() {
        let mut bytes = b"\x81\x05hello\x00\x00\xc2\x83abcd\x01\x02\x03".to_vec();
        bytes.extend([0x82, 126, 1, 0]);
        bytes.extend([7; 256]);
        bytes.extend([0x01, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
        bytes.extend(vec![7; 65536]);
        bytes.extend([0x8a, 0x80, 1, 2, 3, 4]);
        let head = |first, mask, length| FrameHeader { first, mask, length };
        let expected = [
            head(0x81, None, 5),
            head(0, None, 0),
            head(0xc2, Some(*b"abcd"), 3),
            head(0x82, None, 256),
            head(1, None, 65536),
            head(0x8a, Some([1, 2, 3, 4]), 0),
        ];
        for piece in [1, 2, 3, 7, 64, 1000, bytes.len()] {
            assert_eq!(heads(&bytes, piece), expected, "in pieces of {piece}");
        }
    }
}
