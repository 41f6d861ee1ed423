//! The one buffer that a worker reads into. What was read is handed on as parts of it, without a
//! copy.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use tokio::io::AsyncRead;

/// How much a worker reads into before it takes new memory: what was read is handed on as parts of
/// this, without a copy, and the memory is used again as soon as all parts are gone. Large enough
/// for the allocator to ask the system for it, and to give it back there at once.
pub(super) const ARENA_BYTES: usize = 128 * 1024;

/// A read is not tried with less room than this: HTTP/2's frame size, so that bulk data moves in
/// few system calls.
const MIN_ROOM: usize = 16 * 1024;

/// One read never takes more than this, so that one session's bulk does not hold up the others of
/// its worker.
const MAX_READ_BYTES: usize = 128 * 1024;

/// So many full arenas are kept until their parts are gone: bulk that goes through a few sessions
/// moves in the same memory again and again. Memory that is given back to the system and taken anew
/// costs a fault for each page.
const MAX_USED: usize = 16;

/// The memory that a worker reads into.
#[derive(Debug, Default)]
struct Arena {
    current: BytesMut,
    /// Full, with parts that were still on their way when it became so; the oldest first.
    used: VecDeque<BytesMut>,
}

impl Arena {
    /// Where the next read goes.
    fn room(&mut self) -> &mut BytesMut {
        if self.current.capacity() - self.current.len() < MIN_ROOM {
            self.renew();
        }
        &mut self.current
    }

    fn renew(&mut self) {
        if self.current.try_reclaim(ARENA_BYTES) {
            // Nothing is on its way any more: one will do.
            self.used.pop_front();
            return;
        }
        let next = self.take();
        let full = std::mem::replace(&mut self.current, next);
        self.put(full);
    }

    /// Memory of which nothing is used: old if there is any, else new.
    fn take(&mut self) -> BytesMut {
        let again = self.used.iter_mut().position(|arena| arena.try_reclaim(ARENA_BYTES));
        let next = again.and_then(|index| self.used.remove(index));
        next.unwrap_or_else(|| BytesMut::with_capacity(ARENA_BYTES))
    }

    /// Keeps memory until the parts of it that are on their way are gone.
    fn put(&mut self, full: BytesMut) {
        self.used.push_back(full);
        if self.used.len() > MAX_USED {
            self.used.pop_front();
        }
    }
}

thread_local! {
    static ARENA: RefCell<Arena> = RefCell::default();
}

/// [`ARENA_BYTES`] for one owner alone.
pub(super) fn take() -> BytesMut {
    ARENA.with_borrow_mut(Arena::take)
}

/// Gives back what [`take`] gave, when parts of it are on their way.
pub(super) fn put(full: BytesMut) {
    ARENA.with_borrow_mut(|arena| arena.put(full));
}

/// Reads what is there, behind a copy of `carried`: what the reader was given last and could not
/// make anything of yet. Empty bytes are the end of the stream.
///
/// # Errors
/// What the byte stream says.
pub fn poll_read<T: AsyncRead + Unpin>(
    io: &mut T,
    cx: &mut Context<'_>,
    carried: &[u8],
) -> Poll<io::Result<Bytes>> {
    ARENA.with_borrow_mut(|arena| {
        let room = arena.room();
        room.extend_from_slice(carried);
        let mut limited = bytes::BufMut::limit(&mut *room, MAX_READ_BYTES);
        let polled = tokio_util::io::poll_read_buf(Pin::new(io), cx, &mut limited);
        let read = room.split().freeze();
        polled.map_ok(|length| if length == 0 { Bytes::new() } else { read })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fills the arena once, and returns what was read.
    fn fill(arena: &mut Arena) -> Vec<Bytes> {
        let parts = ARENA_BYTES / MIN_ROOM;
        let read = |_| {
            let room = arena.room();
            room.resize(MIN_ROOM, 7);
            room.split().freeze()
        };
        (0..parts).map(read).collect()
    }

    #[test]
    fn memory_is_used_again_when_its_parts_are_gone() {
        let mut arena = Arena::default();
        let first = fill(&mut arena);
        let second = fill(&mut arena);
        let addresses = |parts: &[Bytes]| parts.iter().map(|part| part.as_ptr()).collect::<Vec<_>>();
        let (was_first, was_second) = (addresses(&first), addresses(&second));
        assert_ne!(was_first, was_second);
        drop(first);
        let third = fill(&mut arena);
        assert_eq!(addresses(&third), was_first, "while parts of the second are on their way");
        drop(second);
        assert_eq!(addresses(&fill(&mut arena)), was_second);
    }

    #[test]
    fn what_stalled_sessions_hold_is_not_kept_without_bound() {
        let mut arena = Arena::default();
        let _held: Vec<_> = (0..3 * MAX_USED).map(|_| fill(&mut arena)).collect();
        assert_eq!(arena.used.len(), MAX_USED);
    }
}
