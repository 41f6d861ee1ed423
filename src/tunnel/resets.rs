//! Which requests `h2` has refused by itself: it answers a malformed one with RST_STREAM and never shows it, so the frames
//! that it writes are the only trace (RFC 9113 section 8.1.1).

use h2::Reason;

use super::frame_header::{FRAME_HEADER_BYTES, RST_STREAM, TYPE_AT, payload_length};

/// The payload of RST_STREAM: an error code (RFC 9113 section 6.4).
const ERROR_CODE_BYTES: usize = 4;

/// Follows the frames in a stream of bytes, however it is cut.
#[derive(Debug, Default)]
pub(super) struct Resets {
    /// The head of the frame that has begun, for RST_STREAM its payload too.
    begun: Vec<u8>,
    /// So many bytes of payload are still to come.
    payload: usize,
    /// The highest stream that was reset for a protocol error.
    last: u32,
}

impl Resets {
    /// The highest stream that was reset for a protocol error, 0 if none was.
    pub(super) fn last_protocol_error(&self) -> u32 {
        self.last
    }

    /// Reads on.
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
            self.frame();
        }
    }

    fn frame(&mut self) {
        if let [_, _, _, RST_STREAM, _, ref stream_and_code @ ..] = self.begun[..] {
            let ([stream, code], []) = stream_and_code.as_chunks() else { return };
            if Reason::from(u32::from_be_bytes(*code)) == Reason::PROTOCOL_ERROR {
                self.last = self.last.max(u32::from_be_bytes(*stream));
            }
        } else {
            let Ok(header) = self.begun[..].try_into() else { return };
            self.payload = payload_length(header);
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
            let mut resets = Resets::default();
            for bytes in all.chunks(part) {
                resets.feed(bytes);
            }
            assert_eq!(resets.last_protocol_error(), 5, "in parts of {part}");
        }
    }
}
