//! Follows the frames that `h2` writes, for two things that `h2` does not tell. Which requests it
//! has refused by itself: it answers a malformed one with RST_STREAM and never shows it (RFC 9113
//! section 8.1.1). And whether a frame of our own may come next: it may not come within a field
//! block (section 4.3).

use h2::Reason;

use super::frame_header::{
    CONTINUATION, END_HEADERS, FRAME_HEADER_BYTES, FrameHeader, HEADERS, PUSH_PROMISE, RST_STREAM, TYPE_AT,
};

/// The payload of RST_STREAM: an error code (RFC 9113 section 6.4).
const ERROR_CODE_BYTES: usize = 4;

/// Follows the frames in a stream of bytes, however the stream is cut.
#[derive(Debug, Default)]
pub(super) struct FrameTracker {
    /// The current frame's header as far as it has been written; for RST_STREAM the payload, too.
    begun: Vec<u8>,
    /// How many bytes of payload are still to come.
    payload: usize,
    /// A field block has begun and not ended.
    in_field_block: bool,
    /// The highest stream that was reset for a protocol error.
    last_protocol_error: u32,
}

impl FrameTracker {
    /// The highest stream that was reset for a protocol error, 0 if none was.
    pub(super) fn last_protocol_error(&self) -> u32 {
        self.last_protocol_error
    }

    /// Whether another frame may come next.
    pub(super) fn is_between_frames(&self) -> bool {
        self.payload == 0 && self.begun.is_empty() && !self.in_field_block
    }

    /// Follows the bytes that are written next.
    pub(super) fn feed(&mut self, mut bytes: &[u8]) {
        loop {
            let passed = self.payload.min(bytes.len());
            self.payload -= passed;
            bytes = &bytes[passed..];
            if bytes.is_empty() {
                return;
            }
            let is_reset = self.begun.get(TYPE_AT) == Some(&RST_STREAM);
            let wanted = FRAME_HEADER_BYTES + if is_reset { ERROR_CODE_BYTES } else { 0 };
            let taken = (wanted - self.begun.len()).min(bytes.len());
            self.begun.extend_from_slice(&bytes[..taken]);
            bytes = &bytes[taken..];
            self.note_frame();
        }
    }

    fn note_frame(&mut self) {
        let Some((header, payload)) = self.begun.split_first_chunk() else { return };
        let header = FrameHeader::parse(header);
        match header.kind {
            RST_STREAM => {
                let Ok(code) = payload.try_into() else { return };
                if Reason::from(u32::from_be_bytes(code)) == Reason::PROTOCOL_ERROR {
                    self.last_protocol_error = self.last_protocol_error.max(header.stream);
                }
            }
            HEADERS | PUSH_PROMISE | CONTINUATION => {
                self.in_field_block = header.flags & END_HEADERS == 0;
                self.payload = header.length;
            }
            _ => self.payload = header.length,
        }
        self.begun.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reset_is_seen_however_the_frames_are_cut() {
        let data: &[u8] = &[0, 0, 3, 0, 0, 0, 0, 0, 1, 3, 3, 3];
        let cancel: &[u8] = &[0, 0, 4, 3, 0, 0, 0, 0, 9, 0, 0, 0, 8];
        let protocol_error: &[u8] = &[0, 0, 4, 3, 0, 0, 0, 0, 5, 0, 0, 0, 1];
        let empty: &[u8] = &[0, 0, 0, 4, 1, 0, 0, 0, 0];
        let all = [data, cancel, empty, protocol_error, data].concat();
        for part in 1..all.len() {
            let mut tracker = FrameTracker::default();
            for bytes in all.chunks(part) {
                tracker.feed(bytes);
            }
            assert_eq!(tracker.last_protocol_error(), 5, "in parts of {part}");
        }
    }

    #[test]
    fn another_frame_may_come_between_frames_but_not_within_a_field_block() {
        let headers: &[u8] = &[0, 0, 1, HEADERS, 0, 0, 0, 0, 1, 7];
        let continuation: &[u8] = &[0, 0, 1, CONTINUATION, END_HEADERS, 0, 0, 0, 1, 7];
        let mut tracker = FrameTracker::default();
        assert!(tracker.is_between_frames());
        let all = [headers, continuation].concat();
        for byte in &all[..all.len() - 1] {
            tracker.feed(&[*byte]);
            assert!(!tracker.is_between_frames());
        }
        tracker.feed(&all[all.len() - 1..]);
        assert!(tracker.is_between_frames());
    }
}
