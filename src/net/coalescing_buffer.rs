//! A queue that copies the payloads of many frames together while nobody takes them: each frame by
//! itself would cost memory of its own, and would keep the whole arena that it was read into.
//!
//! Little data is kept in a buffer of its size. Much data is kept in arenas: the allocator gives
//! their memory back to the system when they are freed, where a heap would keep what lies between
//! the buffers of other sessions.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use super::arena::{self, ARENA_BYTES};

/// The first part grows to this size: four of HTTP/2's largest frames by default. The parts behind
/// it are arenas.
const FIRST_BYTES: usize = 64 * 1024;

/// A queue of bytes. The sender's window is what bounds its length.
#[derive(Debug, Default)]
pub struct CoalescingBuffer {
    parts: VecDeque<BytesMut>,
}

impl CoalescingBuffer {
    /// Adds a copy of `data` at the end.
    pub fn push(&mut self, data: &[u8]) {
        match self.parts.back_mut() {
            Some(last) if last.len() + data.len() <= max_length(last) => last.extend_from_slice(data),
            None => self.parts.push_back(BytesMut::from(data)),
            Some(_) => {
                let mut part = arena::take();
                part.extend_from_slice(data);
                self.parts.push_back(part);
            }
        }
    }

    /// Moves everything out of `behind` to the end.
    pub fn append(&mut self, behind: &mut Self) {
        self.parts.append(&mut behind.parts);
    }

    /// Whether nothing is there.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// How many bytes are there.
    #[must_use]
    pub fn len(&self) -> usize {
        self.parts.iter().map(BytesMut::len).sum()
    }

    /// Takes the first part.
    pub fn pop(&mut self) -> Option<Bytes> {
        let mut part = self.parts.pop_front()?;
        if self.parts.is_empty() {
            self.parts = VecDeque::new();
        }
        if part.capacity() < ARENA_BYTES {
            return Some(part.freeze());
        }
        let data = part.split().freeze();
        arena::put(part);
        Some(data)
    }
}

/// How much one part takes.
fn max_length(part: &BytesMut) -> usize {
    if part.capacity() < ARENA_BYTES { FIRST_BYTES } else { part.capacity() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_frames_become_few_parts_in_their_order() {
        let mut buffer = CoalescingBuffer::default();
        let all: Vec<u8> = (0..=255).cycle().take(FIRST_BYTES + 3 * ARENA_BYTES).collect();
        for frame in all.chunks(7) {
            buffer.push(frame);
        }
        assert_eq!(buffer.len(), all.len());
        let parts: Vec<Bytes> = std::iter::from_fn(|| buffer.pop()).collect();
        assert_eq!(parts.len(), 5);
        assert!(parts[0].len() <= FIRST_BYTES && parts.iter().all(|part| part.len() <= ARENA_BYTES));
        assert!(parts.concat() == all);
    }

    #[test]
    fn what_is_appended_comes_last() {
        let [mut first, mut last] = [b"first, ", b"last..."].map(|data| {
            let mut buffer = CoalescingBuffer::default();
            buffer.push(data);
            buffer
        });
        first.append(&mut last);
        assert_eq!(std::iter::from_fn(|| first.pop()).collect::<Vec<_>>().concat(), b"first, last...");
        assert!(last.is_empty());
    }
}
