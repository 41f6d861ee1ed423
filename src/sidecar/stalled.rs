//! Bytes that were taken off a stream while the other side took none: merged, since each HTTP/2 frame costs memory of its
//! own, and in parts, since one growing buffer would be copied again and again.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// Frames are merged into parts of this size: four of HTTP/2's largest frames by default.
const PART_BYTES: usize = 64 * 1024;

/// A queue of bytes. How many there can be is the business of the sender's window.
#[derive(Debug, Default)]
pub(super) struct Stalled {
    parts: VecDeque<BytesMut>,
}

impl Stalled {
    /// Adds a copy at the end.
    pub(super) fn push(&mut self, data: &[u8]) {
        match self.parts.back_mut() {
            Some(last) if last.len() + data.len() <= PART_BYTES => last.extend_from_slice(data),
            _ => self.parts.push_back(BytesMut::from(data)),
        }
    }

    /// Takes the first part.
    pub(super) fn pop(&mut self) -> Option<Bytes> {
        let part = self.parts.pop_front();
        if self.parts.is_empty() {
            self.parts = VecDeque::new();
        }
        part.map(BytesMut::freeze)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_frames_become_few_parts_in_their_order() {
        let mut stalled = Stalled::default();
        let all: Vec<u8> = (0..=255).cycle().take(3 * PART_BYTES).collect();
        for frame in all.chunks(7) {
            stalled.push(frame);
        }
        let parts: Vec<Bytes> = std::iter::from_fn(|| stalled.pop()).collect();
        assert_eq!(parts.len(), 4);
        assert!(parts.iter().all(|part| part.len() <= PART_BYTES));
        assert!(parts.concat() == all);
    }
}
