//! The byte stream under every connection, and the one buffer that a worker reads into.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

/// A connection's byte stream.
#[derive(Debug)]
pub(super) enum Socket {
    /// As it is.
    Plain(TcpStream),
    /// Encrypted, on either side.
    Tls(Box<Tls>),
}

/// An encrypted byte stream, which says that it ends when it does.
#[derive(Debug)]
pub(super) struct Tls(TlsStream<TcpStream>);

impl Drop for Tls {
    fn drop(&mut self) {
        // close_notify, as far as the system takes it at once.
        let _ = Pin::new(&mut self.0).poll_shutdown(&mut Context::from_waker(Waker::noop()));
    }
}

impl From<TcpStream> for Socket {
    fn from(stream: TcpStream) -> Self {
        Self::Plain(stream)
    }
}

impl From<TlsStream<TcpStream>> for Socket {
    fn from(stream: TlsStream<TcpStream>) -> Self {
        Self::Tls(Box::new(Tls(stream)))
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(tls) => Pin::new(&mut tls.0).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(tls) => Pin::new(&mut tls.0).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Self::Tls(tls) => Pin::new(&mut tls.0).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(tls) => Pin::new(&mut tls.0).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(tls) => Pin::new(&mut tls.0).poll_shutdown(cx),
        }
    }
}

/// How much a worker reads into before it takes new memory: what was read is handed on as parts of this, without a
/// copy, and the memory is used again as soon as all parts are gone.
const ARENA_BYTES: usize = 256 * 1024;

/// A read is not tried with less room than this: HTTP/2's frame size, so that bulk data moves in few system calls.
const LEAST_ROOM: usize = 16 * 1024;

/// One read never takes more than this, so that one session's bulk does not hold up the others of its worker.
const MOST_A_READ: usize = 128 * 1024;

/// So many used arenas are kept until their parts are gone: bulk that is on its way through a few sessions moves in the same
/// memory again and again. Given back to the system and taken anew, each page would cost a fault.
const MOST_USED: usize = 8;

/// What a worker reads into.
#[derive(Debug, Default)]
struct Arena {
    current: BytesMut,
    /// Full, with parts that were still on their way when it became so; the oldest first.
    used: VecDeque<BytesMut>,
}

impl Arena {
    /// Where the next read goes.
    fn room(&mut self) -> &mut BytesMut {
        if self.current.capacity() - self.current.len() < LEAST_ROOM {
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
        let again = self.used.iter_mut().position(|arena| arena.try_reclaim(ARENA_BYTES));
        let next = again.and_then(|index| self.used.remove(index));
        let next = next.unwrap_or_else(|| BytesMut::with_capacity(ARENA_BYTES));
        self.used.push_back(std::mem::replace(&mut self.current, next));
        if self.used.len() > MOST_USED {
            self.used.pop_front();
        }
    }
}

thread_local! {
    static ARENA: RefCell<Arena> = RefCell::default();
}

/// Reads what is there; empty bytes are the end of the stream.
pub(super) fn poll_read(socket: &mut Socket, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
    ARENA.with_borrow_mut(|arena| {
        let arena = arena.room();
        let mut limited = bytes::BufMut::limit(&mut *arena, MOST_A_READ);
        let read = std::task::ready!(tokio_util::io::poll_read_buf(Pin::new(socket), cx, &mut limited))?;
        Poll::Ready(Ok(arena.split_to(read).freeze()))
    })
}

/// Waits until the peer has closed its side, without reading what it still sends.
pub(super) async fn peer_closed(socket: &Socket) {
    let socket = match socket {
        Socket::Plain(stream) => stream,
        Socket::Tls(tls) => tls.0.get_ref().0,
    };
    while let Ok(ready) = socket.ready(Interest::READABLE).await {
        if ready.is_read_closed() {
            return;
        }
        // Takes back the readiness: the next event may be the end.
        let _ = socket.try_io(Interest::READABLE, || Err::<(), _>(io::ErrorKind::WouldBlock.into()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fills the arena once, and returns what was read.
    fn fill(arena: &mut Arena) -> Vec<Bytes> {
        let parts = ARENA_BYTES / LEAST_ROOM;
        let read = |_| {
            let room = arena.room();
            room.resize(LEAST_ROOM, 7);
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
        let _held: Vec<_> = (0..3 * MOST_USED).map(|_| fill(&mut arena)).collect();
        assert_eq!(arena.used.len(), MOST_USED);
    }
}
