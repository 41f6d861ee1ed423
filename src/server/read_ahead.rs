//! A byte stream that reads more than it was asked for, so that a reader with a small buffer costs
//! few system calls.
//!
//! tungstenite clears and fills one buffer a session and holds it while the session is idle, so it
//! has to be small. What the socket has beyond it is read in the same call into memory that all
//! connections of a worker share; only what the reader leaves behind is kept a session, and only
//! until it is taken.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How much is read at once: beyond this, system calls are no longer what reading costs.
const READ_AHEAD: usize = 64 * 1024;

thread_local! {
    /// Where bytes arrive, empty between two reads: a worker is one thread.
    static ARRIVED: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_AHEAD].into_boxed_slice());
}

/// A stream that is read ahead.
#[derive(Debug)]
pub(super) struct ReadAhead<S> {
    stream: S,
    /// What was read and not yet asked for.
    ahead: Bytes,
}

impl<S> ReadAhead<S> {
    /// A stream of which `ahead` was read already.
    pub(super) fn new(stream: S, ahead: Bytes) -> Self {
        Self { stream, ahead }
    }

    /// How much was read and not yet asked for.
    pub(super) fn ahead(&self) -> usize {
        self.ahead.len()
    }

    /// The stream beneath.
    pub(super) fn get_ref(&self) -> &S {
        &self.stream
    }

    /// The stream. What is read from it is lost to the reader.
    pub(super) fn get_mut(&mut self) -> &mut S {
        &mut self.stream
    }

    /// The stream, and what was read from it and not yet asked for.
    pub(super) fn into_parts(self) -> (S, Bytes) {
        (self.stream, self.ahead)
    }

    /// The same stream after a reader that took more than it needed gave `bytes` back.
    pub(super) fn unread(self, bytes: &[u8]) -> Self {
        Self { ahead: [bytes, &self.ahead].concat().into(), ..self }
    }

    fn take_ahead(&mut self, buffer: &mut ReadBuf<'_>) {
        let length = self.ahead.len().min(buffer.remaining());
        buffer.put_slice(&self.ahead[..length]);
        self.ahead.advance(length);
        if self.ahead.is_empty() {
            self.ahead = Bytes::new();
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ReadAhead<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.ahead.is_empty() {
            self.take_ahead(buffer);
            return Poll::Ready(Ok(()));
        }
        ARRIVED.with_borrow_mut(|arrived| {
            let mut arrived = ReadBuf::new(arrived);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut arrived))?;
            let (now, later) = arrived.filled().split_at(arrived.filled().len().min(buffer.remaining()));
            buffer.put_slice(now);
            self.ahead = Bytes::copy_from_slice(later);
            Poll::Ready(Ok(()))
        })
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ReadAhead<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn a_small_reader_gets_every_byte_in_order() {
        let sent: Vec<u8> =
            (0..300_000_u32).map(|number| number.to_le_bytes()[number as usize % 3]).collect();
        let (mut peer, near) = tokio::io::duplex(100_000);
        let mut stream = ReadAhead::new(near, Bytes::from_static(b"early "));
        let sending = async {
            peer.write_all(&sent).await.unwrap();
            drop(peer);
        };
        let reading = async {
            let mut received = Vec::new();
            let mut piece = [0; 1000];
            loop {
                match stream.read(&mut piece).await.unwrap() {
                    0 => return received,
                    length => received.extend_from_slice(&piece[..length]),
                }
            }
        };
        let ((), received) = tokio::join!(sending, reading);
        assert!(received.strip_prefix(b"early ").is_some_and(|rest| rest == sent));
    }

    #[tokio::test]
    async fn what_is_given_back_comes_first() {
        let (_peer, near) = tokio::io::duplex(1);
        let mut stream = ReadAhead::new(near, Bytes::from_static(b"world")).unread(b"hello ");
        let mut text = [0; 11];
        stream.read_exact(&mut text).await.unwrap();
        assert_eq!(&text, b"hello world");
    }
}
