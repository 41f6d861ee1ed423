//! The sending half: the data frames that tungstenite writes go out compressed, each as one frame.

use bytes::{Buf, Bytes, BytesMut};
use flate2::{Compress, FlushCompress};

use super::Sending;
use super::deflater::Deflater;
use super::inflating::TAIL;
use crate::websocket::frame_header::{CONTINUATION, FIN, FrameHeader, MAX_HEADER_BYTES, RSV1, apply_mask};

/// How much is unmasked and given to the deflater at once.
const PIECE: usize = 4096;

/// What an empty message deflates to, without the tail (RFC 7692 section 7.2.3.6).
const EMPTY: [u8; 1] = [0];

/// The half of a stream that compresses.
#[derive(Debug)]
pub(super) struct Deflating {
    sending: Sending,
    place: WriterState,
    /// The first bytes of a header that has not come whole.
    held: BytesMut,
    /// Made with the first message: many sessions have none.
    deflater: Option<Deflater>,
}

/// Where in the frames the writer is.
#[derive(Debug)]
enum WriterState {
    /// Before a header.
    Header,
    /// In a control frame.
    Passing { left: u64 },
    /// In a data frame.
    Data(Data),
}

/// A data frame that is being deflated.
#[derive(Debug)]
struct Data {
    header: FrameHeader,
    left: u64,
    /// The masking key, turned to where the rest of the payload begins.
    mask: Option<[u8; 4]>,
    /// What will be the frame, behind room for its header.
    deflated: Vec<u8>,
}

impl Deflating {
    /// For what this side sends.
    pub(super) fn new(sending: Sending) -> Self {
        Self { sending, place: WriterState::Header, held: BytesMut::new(), deflater: None }
    }

    /// Takes what tungstenite writes, all of it; frames that are whole are added to `out`.
    pub(super) fn take(&mut self, mut bytes: &[u8], out: &mut BytesMut) {
        loop {
            match &mut self.place {
                WriterState::Header => {
                    let Some(header) = self.next_header(&mut bytes) else { return };
                    self.place = if header.is_control() {
                        header.write(out);
                        WriterState::Passing { left: header.length }
                    } else {
                        let (left, mask) = (header.length, header.mask);
                        WriterState::Data(Data { header, left, mask, deflated: vec![0; MAX_HEADER_BYTES] })
                    };
                }
                WriterState::Passing { left } => {
                    let part = split_at_most(*left, &mut bytes);
                    out.extend_from_slice(part);
                    *left -= part.len() as u64;
                    if *left > 0 {
                        return;
                    }
                    self.place = WriterState::Header;
                }
                WriterState::Data(data) => {
                    let part = split_at_most(data.left, &mut bytes);
                    if !part.is_empty() {
                        let bits = self.sending.window_bits();
                        let deflater = self.deflater.get_or_insert_with(|| Deflater::new(bits));
                        data.deflate(part, deflater);
                    }
                    if data.left > 0 {
                        return;
                    }
                    data.finish(self.deflater.as_deref_mut(), out);
                    let is_kept = self.sending.context_takeover && Deflater::may_be_kept();
                    if data.header.first & FIN != 0 && !is_kept {
                        self.deflater = None;
                    }
                    self.place = WriterState::Header;
                }
            }
        }
    }

    /// Takes a header off `bytes`; what there is of one that has not come whole is held.
    fn next_header(&mut self, bytes: &mut &[u8]) -> Option<FrameHeader> {
        let before = self.held.len();
        if before == 0
            && let Some((header, size)) = FrameHeader::parse(bytes)
        {
            bytes.advance(size);
            return Some(header);
        }
        self.held.extend_from_slice(&bytes[..bytes.len().min(MAX_HEADER_BYTES - before)]);
        let Some((header, size)) = FrameHeader::parse(&self.held) else {
            *bytes = &[];
            return None;
        };
        bytes.advance(size - before);
        self.held = BytesMut::new();
        Some(header)
    }
}

impl Data {
    fn deflate(&mut self, part: &[u8], deflater: &mut Compress) {
        self.left -= part.len() as u64;
        let mut unmasked = [0; PIECE];
        for piece in part.chunks(PIECE) {
            let piece = match &mut self.mask {
                None => piece,
                Some(mask) => {
                    let unmasked = &mut unmasked[..piece.len()];
                    unmasked.copy_from_slice(piece);
                    apply_mask(unmasked, mask);
                    unmasked
                }
            };
            compress(deflater, piece, FlushCompress::None, &mut self.deflated);
        }
    }

    /// Adds the frame to `out`, under the key that tungstenite made for it.
    fn finish(&mut self, deflater: Option<&mut Compress>, out: &mut BytesMut) {
        let is_last = self.header.first & FIN != 0;
        if is_last && self.header.length == 0 {
            self.deflated.extend_from_slice(&EMPTY);
        } else if let Some(deflater) = deflater {
            compress(deflater, &[], FlushCompress::Sync, &mut self.deflated);
            if is_last {
                self.deflated.truncate(self.deflated.len() - TAIL.len());
            }
        }
        if self.header.opcode() != CONTINUATION {
            self.header.first |= RSV1;
        }
        let mut frame = std::mem::take(&mut self.deflated);
        let (room, payload) = frame.split_at_mut(MAX_HEADER_BYTES);
        self.header.length = payload.len() as u64;
        if let Some(mut mask) = self.header.mask {
            apply_mask(payload, &mut mask);
        }
        let mut header = BytesMut::with_capacity(MAX_HEADER_BYTES);
        self.header.write(&mut header);
        let start = room.len() - header.len();
        room[start..].copy_from_slice(&header);
        if out.is_empty() {
            // Without a copy: a long one would be held twice.
            *out = Bytes::from(frame).into();
            out.advance(start);
        } else {
            out.extend_from_slice(&frame[start..]);
        }
    }
}

/// Compresses all of `piece`, and with `FlushCompress::Sync` all that came before it.
fn compress(deflater: &mut Compress, mut piece: &[u8], flush: FlushCompress, out: &mut Vec<u8>) {
    loop {
        // More than a flush marker takes, so that it is not written twice.
        out.reserve(64 + piece.len() / 2);
        let before = deflater.total_in();
        if deflater.compress_vec(piece, out, flush).is_err() {
            unreachable!("a deflater that is given room takes everything");
        }
        let taken = deflater.total_in() - before;
        piece.advance(usize::try_from(taken).unwrap_or(piece.len()));
        if piece.is_empty() && out.len() < out.capacity() {
            return;
        }
    }
}

/// Takes at most so many bytes off the beginning.
fn split_at_most<'a>(left: u64, bytes: &mut &'a [u8]) -> &'a [u8] {
    let (part, rest) = bytes.split_at(bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX)));
    *bytes = rest;
    part
}

#[cfg(test)]
mod tests {
    use flate2::{Decompress, FlushDecompress};

    use super::super::deflater::MAX_KEPT;
    use super::*;

    #[test]
    fn so_many_keep_their_context_and_the_others_are_understood_without() {
        let mut senders: Vec<_> =
            std::iter::repeat_with(|| (Deflating::new(Sending::default()), Decompress::new(false)))
                .take(MAX_KEPT + 50)
                .collect();
        for _ in 0..3 {
            for (sender, receiver) in &mut senders {
                let mut out = BytesMut::new();
                sender.take(b"\x81\x05hello", &mut out);
                let (header, size) = FrameHeader::parse(&out).expect("whole");
                assert_eq!((header.first, header.length), (FIN | RSV1 | 1, (out.len() - size) as u64));
                let mut text = Vec::with_capacity(100);
                let deflated = [&out[size..], &TAIL].concat();
                receiver.decompress_vec(&deflated, &mut text, FlushDecompress::Sync).expect("it inflates");
                assert_eq!(text, b"hello");
            }
        }
        let kept = senders.iter().filter(|(sender, _)| sender.deflater.is_some()).count();
        // Those of other tests count, too.
        assert!((1..=MAX_KEPT).contains(&kept), "{kept}");
    }
}
