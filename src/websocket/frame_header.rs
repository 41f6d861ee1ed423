//! The header of a frame (RFC 6455 section 5.2), for the byte streams beneath tungstenite: where a
//! frame begins and ends. What a frame may be is tungstenite's to judge.

use bytes::{BufMut, BytesMut};

/// This is the last frame of its message.
pub const FIN: u8 = 0x80;
/// The message is compressed (RFC 7692 section 6): on its first frame.
pub const RSV1: u8 = 0x40;
/// Reserved bits that no extension of ours uses.
pub const RSV2_AND_3: u8 = 0x30;

/// The opcode of all frames of a message but the first.
pub const CONTINUATION: u8 = 0;
/// The opcode of the first frame of a text message.
pub const TEXT: u8 = 1;
/// The opcode of the first frame of a binary message.
pub const BINARY: u8 = 2;
/// The opcode of a Close.
pub const CLOSE: u8 = 8;

/// The longest header: two bytes, a length of 64 bits, a masking key.
pub const MAX_HEADER_BYTES: usize = 14;

/// The longest payload whose length is in the second byte.
const SHORT: usize = 125;
/// The second byte of a header with a length of 16 bits.
const LENGTH_16: u8 = 126;
/// The second byte of a header with a length of 64 bits.
const LENGTH_64: u8 = 127;
/// The bit of the second byte that announces a masking key.
const MASKED: u8 = 0x80;

/// What a header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    /// FIN, the reserved bits and the opcode.
    pub first: u8,
    /// The masking key.
    pub mask: Option<[u8; 4]>,
    /// How long the payload is, in bytes.
    pub length: u64,
}

impl FrameHeader {
    /// Reads the header at the beginning of `bytes`, and says how long it is. `None` until it is
    /// complete.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<(Self, usize)> {
        let (&[first, second], rest) = bytes.split_first_chunk()?;
        let (length, rest) = match second & !MASKED {
            LENGTH_16 => {
                let (length, rest) = rest.split_first_chunk()?;
                (u16::from_be_bytes(*length).into(), rest)
            }
            LENGTH_64 => {
                let (length, rest) = rest.split_first_chunk()?;
                (u64::from_be_bytes(*length), rest)
            }
            short => (short.into(), rest),
        };
        let (mask, rest) = if second & MASKED == 0 {
            (None, rest)
        } else {
            let (mask, rest) = rest.split_first_chunk()?;
            (Some(*mask), rest)
        };
        Some((Self { first, mask, length }, bytes.len() - rest.len()))
    }

    /// How many bytes of a header are certainly still to come behind `bytes`, which are no whole
    /// one.
    #[must_use]
    pub fn missing(bytes: &[u8]) -> usize {
        let size = match bytes.get(1) {
            None => 2,
            Some(second) => {
                let length = match second & !MASKED {
                    LENGTH_16 => 2,
                    LENGTH_64 => 8,
                    _ => 0,
                };
                2 + length + if second & MASKED == 0 { 0 } else { 4 }
            }
        };
        size - bytes.len()
    }

    /// Whether this is a Close, a Ping or a Pong.
    #[must_use]
    pub fn is_control(&self) -> bool {
        self.opcode() >= 8
    }

    /// The opcode of section 5.2: what kind of frame it is.
    #[must_use]
    pub fn opcode(&self) -> u8 {
        self.first & 0x0f
    }

    /// Writes the header at the end of `out`.
    pub fn write(&self, out: &mut BytesMut) {
        let masked = if self.mask.is_some() { MASKED } else { 0 };
        out.put_u8(self.first);
        if let Ok(short @ 0..LENGTH_16) = u8::try_from(self.length) {
            out.put_u8(masked | short);
        } else if let Ok(length) = u16::try_from(self.length) {
            out.put_u8(masked | LENGTH_16);
            out.put_u16(length);
        } else {
            out.put_u8(masked | LENGTH_64);
            out.put_u64(self.length);
        }
        out.put_slice(self.mask.as_ref().map_or(&[], |mask| mask));
    }
}

/// Turns the header at the beginning of `bytes` into that of a fragment which others follow. It
/// stays as long as it is: RFC 6455 wants the shortest form, but this is for tungstenite alone,
/// which takes all forms.
pub(super) fn make_fragment(bytes: &mut [u8], length: usize) {
    bytes[0] &= !FIN;
    put_length(bytes, length);
}

/// Room for a frame in a buffer whose payload is written before its length is known.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    /// How long the header is going to be.
    pub(super) header: usize,
    /// How long the payload may become.
    pub(super) payload: usize,
}

impl Room {
    /// The longest frame that fits into so many bytes; none if not even a header and a byte do.
    pub(super) fn within(bytes: usize, mask: Option<[u8; 4]>) -> Option<Self> {
        let key = mask.map_or(0, |mask| mask.len());
        let (header, max) = if bytes <= 2 + key + SHORT { (2, SHORT) } else { (4, usize::from(u16::MAX)) };
        let header = header + key;
        let payload = bytes.checked_sub(header).filter(|&payload| payload > 0)?;
        Some(Self { header, payload: payload.min(max) })
    }

    /// Writes the header at the beginning of `bytes`, before a payload of that length.
    pub(super) fn write_header(self, bytes: &mut [u8], first: u8, mask: Option<[u8; 4]>, length: usize) {
        let key = mask.as_ref().map_or(&[][..], |mask| mask);
        let masked = if mask.is_some() { MASKED } else { 0 };
        bytes[0] = first;
        bytes[1] = masked | if self.header == 2 + key.len() { 0 } else { LENGTH_16 };
        put_length(bytes, length);
        bytes[self.header - key.len()..self.header].copy_from_slice(key);
    }
}

/// Writes a length in the form that the header has.
fn put_length(header: &mut [u8], length: usize) {
    let bytes = (length as u64).to_be_bytes();
    match header[1] & !MASKED {
        LENGTH_16 => header[2..4].copy_from_slice(&bytes[6..]),
        LENGTH_64 => header[2..10].copy_from_slice(&bytes),
        _ => header[1] = header[1] & MASKED | bytes[7],
    }
}

/// Masks or unmasks `payload`, and leaves the key as the rest of the payload needs it (RFC 6455
/// section 5.3).
pub(super) fn apply_mask(payload: &mut [u8], mask: &mut [u8; 4]) {
    let (words, rest) = payload.as_chunks_mut::<4>();
    for word in words {
        *word = (u32::from_ne_bytes(*word) ^ u32::from_ne_bytes(*mask)).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(*mask) {
        *byte ^= key;
    }
    mask.rotate_left(rest.len());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again_once_it_is_complete() {
        for length in [0, 125, 126, 65_535, 65_536, u64::MAX] {
            for mask in [None, Some([1, 2, 3, 4])] {
                let header = FrameHeader { first: FIN | TEXT, mask, length };
                let mut bytes = BytesMut::new();
                header.write(&mut bytes);
                let size = bytes.len();
                bytes.put_slice(b"payload");
                assert_eq!(FrameHeader::parse(&bytes), Some((header, size)));
                assert!((0..size).all(|size| FrameHeader::parse(&bytes[..size]).is_none()));
                assert!((2..size).all(|part| FrameHeader::missing(&bytes[..part]) == size - part));
                assert!((0..2).all(|part| FrameHeader::missing(&bytes[..part]) == 2 - part));
            }
        }
    }

    #[test]
    fn a_frame_becomes_a_shorter_fragment_in_its_place() {
        for length in [100, 1000, 100_000] {
            let mut bytes = BytesMut::new();
            FrameHeader { first: FIN | TEXT, mask: Some([1, 2, 3, 4]), length }.write(&mut bytes);
            make_fragment(&mut bytes, 99);
            let expected = FrameHeader { first: TEXT, mask: Some([1, 2, 3, 4]), length: 99 };
            assert_eq!(FrameHeader::parse(&bytes), Some((expected, bytes.len())));
        }
    }

    #[test]
    fn a_frame_fills_the_room_there_is() {
        for mask in [None, Some([1, 2, 3, 4])] {
            for bytes in 7..300 {
                let room = Room::within(bytes, mask).unwrap();
                let mut buffer = vec![0; bytes];
                room.write_header(&mut buffer, TEXT, mask, room.payload);
                let header = FrameHeader { first: TEXT, mask, length: room.payload as u64 };
                assert_eq!(FrameHeader::parse(&buffer), Some((header, room.header)));
                assert!(room.header + room.payload <= bytes && bytes - room.payload <= 10, "{bytes}");
            }
            assert!(Room::within(2, mask).is_none());
        }
    }

    #[test]
    fn a_payload_may_be_masked_in_parts() {
        let payload: Vec<u8> = (0..50).collect();
        let key = [0x37, 0xfa, 0x21, 0x3d];
        let whole: Vec<u8> = payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key).collect();
        for cut in 0..payload.len() {
            let (mut parts, mut mask) = (payload.clone(), key);
            let (one, two) = parts.split_at_mut(cut);
            apply_mask(one, &mut mask);
            apply_mask(two, &mut mask);
            assert_eq!(parts, whole);
        }
    }
}
