//! Bytes that were taken off an HTTP/2 stream while nobody took them further: merged, since each frame costs memory of its
//! own, and in parts, since one growing buffer would be copied again and again.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// Frames are merged into parts of this size: four of HTTP/2's largest frames by default.
const PART_BYTES: usize = 64 * 1024;

/// A queue of bytes. How many there can be is the business of the sender's window.
#[derive(Debug, Default)]
pub struct Stalled {
    parts: VecDeque<BytesMut>,
}

impl Stalled {
    /// Adds a copy at the end.
    pub fn push(&mut self, data: &[u8]) {
        match self.parts.back_mut() {
            Some(last) if last.len() + data.len() <= PART_BYTES => last.extend_from_slice(data),
            _ => self.parts.push_back(BytesMut::from(data)),
        }
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Takes the first part.
    pub fn pop(&mut self) -> Option<Bytes> {
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
