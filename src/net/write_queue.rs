//! Bytes that wait to be written, in the pieces in which they came: no copy, and many pieces with
//! one system call. Its owner decides how much may wait, and for how long.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::AsyncWrite;

/// Fewer bytes than this are copied when they have to wait: a stalled session then keeps what it
/// needs, and not the whole arena that they are a part of.
const COPY_BELOW: usize = 16 * 1024;

/// The most slices of one vectored write; Linux takes up to 1024.
const MAX_SLICES: usize = 64;

/// Bytes on their way into a socket.
#[derive(Debug, Default)]
pub struct WriteQueue {
    chunks: VecDeque<Bytes>,
    length: usize,
    /// An encrypted socket may still hold back what was written.
    held: bool,
}

impl WriteQueue {
    /// Adds bytes at the end.
    pub fn push(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.length += bytes.len();
            if self.chunks.capacity() == 0 {
                // Most connections never have more than one part waiting, and would keep room for
                // four.
                self.chunks.reserve_exact(1);
            }
            self.chunks.push_back(bytes);
        }
    }

    /// How many bytes wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether none wait.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Whether everything has left for the system.
    #[must_use]
    pub fn is_flushed(&self) -> bool {
        self.length == 0 && !self.held
    }

    /// Writes all of it, many chunks with one system call. When it has to wait, it keeps as little
    /// memory as it can.
    ///
    /// # Errors
    /// What the socket says, and `WriteZero` if it takes nothing.
    pub fn poll_flush<T: AsyncWrite + Unpin>(
        &mut self,
        socket: &mut T,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while self.length > 0 {
            let mut slices = [IoSlice::new(&[]); MAX_SLICES];
            let count = self.chunks.len().min(MAX_SLICES);
            for (slice, chunk) in slices.iter_mut().zip(&self.chunks) {
                *slice = IoSlice::new(chunk);
            }
            match Pin::new(&mut *socket).poll_write_vectored(cx, &slices[..count]) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(written)) => {
                    self.held = true;
                    self.advance(written);
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    self.detach();
                    return Poll::Pending;
                }
            }
        }
        if self.chunks.capacity() > MAX_SLICES {
            self.chunks = VecDeque::new();
        }
        if self.held {
            std::task::ready!(Pin::new(socket).poll_flush(cx))?;
            self.held = false;
        }
        Poll::Ready(Ok(()))
    }

    fn advance(&mut self, mut written: usize) {
        self.length -= written;
        while written > 0 {
            let Some(first) = self.chunks.front_mut() else { return };
            let part = written.min(first.len());
            first.advance(part);
            written -= part;
            if first.is_empty() {
                self.chunks.pop_front();
            }
        }
    }

    fn detach(&mut self) {
        if self.length < COPY_BELOW {
            let mut copy = BytesMut::with_capacity(self.length);
            for chunk in self.chunks.drain(..) {
                copy.extend_from_slice(&chunk);
            }
            self.chunks.push_back(copy.freeze());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_keeps_no_more_memory_than_it_needs() {
        let memory = Bytes::from(vec![7; 4 * COPY_BELOW]);
        let mut context = Context::from_waker(std::task::Waker::noop());
        for (length, is_copied) in [(10, true), (2 * COPY_BELOW, false)] {
            let (mut near, _far) = tokio::io::duplex(1);
            let mut queue = WriteQueue::default();
            queue.push(memory.slice(..length));
            assert!(queue.poll_flush(&mut near, &mut context).is_pending());
            assert_eq!(queue.len(), length - 1);
            let of_memory = memory.as_ptr_range().contains(&queue.chunks[0].as_ptr());
            assert_eq!(of_memory, !is_copied, "{length} bytes");
        }
    }
}
