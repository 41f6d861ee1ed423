//! The receiving half: the frames of compressed messages become plain fragments, piece by piece.
//!
//! A message is never held: what is inflated goes on at once, so that the reader's limit on
//! messages stops a bomb, and the reader judges text as it comes. All other frames pass as they
//! are, also those that are wrong.

use bytes::{Buf, BytesMut};
use flate2::{Decompress, FlushDecompress, Status};

use super::Sending;
use crate::websocket::frame_header::{
    BINARY, CONTINUATION, FIN, FrameHeader, MAX_HEADER_BYTES, RSV1, RSV2_AND_3, Room, TEXT, apply_mask,
};

/// What a sender takes away from the end of each message (RFC 7692 section 7.2.2).
pub(super) const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// How much is unmasked and offered to the inflater at once: little, since of a bomb it takes a few
/// bytes at a time.
const PIECE: usize = 1024;

/// With less room than this a fragment is not begun behind another.
const WORTH_A_FRAGMENT: usize = 512;

/// A message that was sent as compressed cannot be inflated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a compressed message does not inflate")]
pub struct Corrupt;

/// The half of a stream that inflates.
#[derive(Debug)]
pub(super) struct Inflating {
    sending: Sending,
    max_frame_bytes: u64,
    /// The key of the fragments, where the peer has to mask its frames.
    mask: Option<[u8; 4]>,
    place: ReaderState,
    message: OpenMessage,
    /// Made with the first compressed message: many sessions have none.
    inflater: Option<Decompress>,
    /// Whether the inflater was given something since the last end of a message or of its stream.
    is_amid: bool,
    /// Whether a message did not inflate. The compressed ones behind it cannot be inflated either;
    /// other frames still pass.
    is_corrupt: bool,
    /// Whether the error is still to be returned, after what came before the message.
    is_unreported: bool,
    /// How much of the message there is so far, inflated, or as its frames announce it where it
    /// passes.
    message_bytes: u64,
    /// The length of the longest message so far.
    longest_message: u64,
}

/// Which message has begun and not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OpenMessage {
    None,
    /// One that passes as it is.
    Plain,
    /// A compressed one, whose next fragment has this opcode.
    Compressed(u8),
}

/// Where in the frames the stream is.
#[derive(Debug, Clone, Copy)]
enum ReaderState {
    /// Before a header.
    Header,
    /// In a frame that passes as it is.
    Passing { left: u64 },
    /// In a frame of a compressed message. The key is as the rest needs it.
    Compressed { left: u64, is_last: bool, mask: Option<[u8; 4]> },
    /// Behind the last frame of a compressed message, in what its sender took away.
    Tail { given: usize },
    /// In a frame of a message that cannot be inflated.
    Skipping { left: u64 },
}

/// Why the inflater stopped.
enum InflateStop {
    /// There is no more room.
    Full,
    /// Everything that has arrived is inflated.
    Starved,
    /// A frame that others follow is inflated.
    FrameEnded,
    /// The message is inflated.
    MessageEnded,
}

impl Inflating {
    /// For what the peer sends, who has to mask it or not.
    pub(super) fn new(sending: Sending, is_masked: bool, max_frame_bytes: usize) -> Self {
        Self {
            sending,
            max_frame_bytes: max_frame_bytes as u64,
            // It changes nothing.
            mask: is_masked.then_some([0; 4]),
            place: ReaderState::Header,
            message: OpenMessage::None,
            inflater: None,
            is_amid: false,
            is_corrupt: false,
            is_unreported: false,
            message_bytes: 0,
            longest_message: 0,
        }
    }

    /// How long the longest message is that has come, and whether all messages have come whole.
    pub(super) fn longest_message(&self) -> (u64, bool) {
        (self.longest_message, self.message == OpenMessage::None)
    }

    /// So much more of a message has come, or the first of one.
    fn measure(&mut self, opcode: u8, bytes: u64) {
        let before = if opcode == CONTINUATION { self.message_bytes } else { 0 };
        self.message_bytes = before.saturating_add(bytes);
        self.longest_message = self.longest_message.max(self.message_bytes);
    }

    /// Takes from `input`, and writes plain frames to `out` until there is no more of one of them.
    /// Returns how much was written. `out` has room for a header and some bytes.
    pub(super) fn advance(&mut self, input: &mut BytesMut, out: &mut [u8]) -> Result<usize, Corrupt> {
        if std::mem::take(&mut self.is_unreported) {
            return Err(Corrupt);
        }
        let mut at = 0;
        loop {
            let room = &mut out[at..];
            match self.place {
                ReaderState::Header => {
                    let Some((header, size)) = FrameHeader::parse(input) else { return Ok(at) };
                    if self.begins_compressed(&header) {
                        input.advance(size);
                    } else if room.len() < size {
                        return Ok(at);
                    } else {
                        input.copy_to_slice(&mut room[..size]);
                        at += size;
                        self.note_plain(&header);
                        self.place = ReaderState::Passing { left: header.length };
                    }
                }
                ReaderState::Passing { left } => {
                    let part = room.len().min(at_most(left, input));
                    input.copy_to_slice(&mut room[..part]);
                    at += part;
                    self.place = ReaderState::Passing { left: left - part as u64 };
                    if left > part as u64 {
                        return Ok(at);
                    }
                    self.place = ReaderState::Header;
                }
                ReaderState::Skipping { left } => {
                    let part = at_most(left, input);
                    input.advance(part);
                    self.place = ReaderState::Skipping { left: left - part as u64 };
                    if left > part as u64 {
                        return Ok(at);
                    }
                    self.place = ReaderState::Header;
                }
                ReaderState::Compressed { .. } | ReaderState::Tail { .. } => {
                    if room.len() < if at == 0 { MAX_HEADER_BYTES } else { WORTH_A_FRAGMENT } {
                        return Ok(at);
                    }
                    let written = match self.fragment(input, room) {
                        Err(Corrupt) if at > 0 => {
                            self.is_unreported = true;
                            return Ok(at);
                        }
                        written => written?,
                    };
                    if written == 0 && !matches!(self.place, ReaderState::Header) {
                        return Ok(at);
                    }
                    at += written;
                }
            }
        }
    }

    /// Whether a frame of a compressed message begins here.
    fn begins_compressed(&mut self, header: &FrameHeader) -> bool {
        let reserved = header.first & (RSV1 | RSV2_AND_3);
        // One that begins amid another message passes: it is the reader's to refuse, whatever is in
        // it.
        let is_free = self.is_corrupt || self.message == OpenMessage::None;
        let is_start = matches!(header.opcode(), TEXT | BINARY) && reserved == RSV1 && is_free;
        let goes_on = header.opcode() == CONTINUATION
            && reserved == 0
            && matches!(self.message, OpenMessage::Compressed(_));
        // What is too long passes, and what is masked or not against the rule: the reader refuses
        // it by its header.
        let is_taken = header.length <= self.max_frame_bytes && header.mask.is_some() == self.mask.is_some();
        if !(is_start || goes_on) || !is_taken {
            return false;
        }
        if is_start {
            self.message = OpenMessage::Compressed(header.opcode());
        }
        self.place = if self.is_corrupt {
            ReaderState::Skipping { left: header.length }
        } else {
            let is_last = header.first & FIN != 0;
            ReaderState::Compressed { left: header.length, is_last, mask: header.mask }
        };
        true
    }

    /// Follows the messages that are not compressed.
    fn note_plain(&mut self, header: &FrameHeader) {
        if matches!(header.opcode(), TEXT | BINARY | CONTINUATION) {
            self.measure(header.opcode(), header.length);
            self.message = if header.first & FIN == 0 { OpenMessage::Plain } else { OpenMessage::None };
        }
    }

    /// Writes one fragment of what there is to inflate, and returns its length: 0 if there is
    /// nothing.
    fn fragment(&mut self, input: &mut BytesMut, out: &mut [u8]) -> Result<usize, Corrupt> {
        let OpenMessage::Compressed(opcode) = self.message else { return Ok(0) };
        let Some(mut room) = Room::within(out.len(), self.mask) else { return Ok(0) };
        // The reader's limit on frames is for the peer's, not for these fragments.
        room.payload = room.payload.min(usize::try_from(self.max_frame_bytes).unwrap_or(usize::MAX));
        let (made, stop) = self.inflate(input, &mut out[room.header..room.header + room.payload])?;
        let fin = match stop {
            InflateStop::MessageEnded => FIN,
            InflateStop::Starved if made == 0 => return Ok(0),
            // A first fragment goes out even if it is empty: the reader has to know that a message
            // has begun.
            InflateStop::FrameEnded if made == 0 && opcode == CONTINUATION => return Ok(0),
            InflateStop::Full | InflateStop::Starved | InflateStop::FrameEnded => 0,
        };
        room.write_header(out, fin | opcode, self.mask, made);
        self.measure(opcode, made as u64);
        self.message = if fin == 0 { OpenMessage::Compressed(CONTINUATION) } else { OpenMessage::None };
        Ok(room.header + made)
    }

    /// Inflates what there is of the frame, and the tail behind the last one. Returns how much was
    /// made.
    fn inflate(&mut self, input: &mut BytesMut, out: &mut [u8]) -> Result<(usize, InflateStop), Corrupt> {
        let mut made = 0;
        let mut unmasked = [0; PIECE];
        loop {
            let piece = match &self.place {
                ReaderState::Compressed { left, mask, .. } => {
                    let piece = &mut unmasked[..at_most(*left, input).min(PIECE)];
                    piece.copy_from_slice(&input[..piece.len()]);
                    if let Some(mut mask) = *mask {
                        apply_mask(piece, &mut mask);
                    }
                    &*piece
                }
                ReaderState::Tail { given } => &TAIL[*given..],
                ReaderState::Header | ReaderState::Passing { .. } | ReaderState::Skipping { .. } => &[],
            };
            let (taken, now) = self.step(piece, &mut out[made..])?;
            made += now;
            match &mut self.place {
                ReaderState::Compressed { left, mask, .. } => {
                    input.advance(taken);
                    *left -= taken as u64;
                    if let Some(mask) = mask {
                        mask.rotate_left(taken % 4);
                    }
                }
                ReaderState::Tail { given } => *given += taken,
                ReaderState::Header | ReaderState::Passing { .. } | ReaderState::Skipping { .. } => {}
            }
            if made == out.len() {
                return Ok((made, InflateStop::Full));
            }
            match self.place {
                ReaderState::Compressed { left: 0, is_last: false, .. } => {
                    self.place = ReaderState::Header;
                    return Ok((made, InflateStop::FrameEnded));
                }
                // Where the last block was marked as such, the tail is not wanted.
                ReaderState::Compressed { left: 0, .. } if self.is_amid => {
                    self.place = ReaderState::Tail { given: 0 }
                }
                ReaderState::Compressed { left: 0, .. } | ReaderState::Tail { given: 4 } => {
                    self.message_ended();
                    return Ok((made, InflateStop::MessageEnded));
                }
                ReaderState::Compressed { .. } if input.is_empty() => {
                    return Ok((made, InflateStop::Starved));
                }
                _ => {}
            }
        }
    }

    /// One call of the inflater: how much it took, and how much it made.
    fn step(&mut self, piece: &[u8], out: &mut [u8]) -> Result<(usize, usize), Corrupt> {
        if piece.is_empty() && self.inflater.is_none() {
            return Ok((0, 0));
        }
        let bits = self.sending.window_bits();
        let inflater = self.inflater.get_or_insert_with(|| Decompress::new_with_window_bits(false, bits));
        let before = (inflater.total_in(), inflater.total_out());
        let status = inflater.decompress(piece, out, FlushDecompress::Sync);
        let taken = usize::try_from(inflater.total_in() - before.0).unwrap_or(usize::MAX);
        let made = usize::try_from(inflater.total_out() - before.1).unwrap_or(usize::MAX);
        self.is_amid |= taken > 0;
        match status {
            // The next block is the first of another stream (RFC 7692 section 7.2.3.4).
            Ok(Status::StreamEnd) => {
                self.inflater = None;
                self.is_amid = false;
            }
            Ok(_) if taken > 0 || made > 0 || piece.is_empty() || out.is_empty() => {}
            Ok(_) | Err(_) => {
                self.is_corrupt = true;
                self.inflater = None;
                let left = match self.place {
                    ReaderState::Compressed { left, .. } => left,
                    _ => 0,
                };
                self.place = ReaderState::Skipping { left };
                return Err(Corrupt);
            }
        }
        Ok((taken, made))
    }

    fn message_ended(&mut self) {
        self.place = ReaderState::Header;
        self.is_amid = false;
        if !self.sending.context_takeover {
            self.inflater = None;
        }
    }
}

/// How much there is of so many bytes.
fn at_most(left: u64, input: &BytesMut) -> usize {
    input.len().min(usize::try_from(left).unwrap_or(usize::MAX))
}
