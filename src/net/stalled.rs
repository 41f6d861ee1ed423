//! Bytes that were taken off an HTTP/2 stream while nobody took them further: merged, since each frame costs memory of its
//! own, and in parts, since one growing buffer would be copied again and again.
//!
//! Little is kept in a buffer of its size. Much is kept in arenas: that is memory which goes back to the system when it is
//! freed, where a heap keeps what lies between the buffers of sessions that are still there.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use super::arena::{self, ARENA_BYTES};

/// The first part grows to this size: four of HTTP/2's largest frames by default. Those behind it are arenas.
const FIRST_BYTES: usize = 64 * 1024;

/// A queue of bytes. How many there can be is the business of the sender's window.
#[derive(Debug, Default)]
pub struct Stalled {
    parts: VecDeque<BytesMut>,
}

impl Stalled {
    /// Adds a copy at the end.
    pub fn push(&mut self, data: &[u8]) {
        match self.parts.back_mut() {
            Some(last) if last.len() + data.len() <= most(last) => last.extend_from_slice(data),
            None => self.parts.push_back(BytesMut::from(data)),
            Some(_) => {
                let mut part = arena::take();
                part.extend_from_slice(data);
                self.parts.push_back(part);
            }
        }
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
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

/// How much a part takes.
fn most(part: &BytesMut) -> usize {
    if part.capacity() < ARENA_BYTES { FIRST_BYTES } else { part.capacity() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_frames_become_few_parts_in_their_order() {
        let mut stalled = Stalled::default();
        let all: Vec<u8> = (0..=255).cycle().take(FIRST_BYTES + 3 * ARENA_BYTES).collect();
        for frame in all.chunks(7) {
            stalled.push(frame);
        }
        let parts: Vec<Bytes> = std::iter::from_fn(|| stalled.pop()).collect();
        assert_eq!(parts.len(), 5);
        assert!(parts[0].len() <= FIRST_BYTES && parts.iter().all(|part| part.len() <= ARENA_BYTES));
        assert!(parts.concat() == all);
    }
}
