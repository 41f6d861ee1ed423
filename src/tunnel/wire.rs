//! The byte stream beneath `h2`. It replaces the first SETTINGS frame that `h2` writes by ours, on the server's side holds
//! everything back until the first requests have been looked at, and reads and writes in fewer and larger system calls.
//!
//! Why: `h2` refuses extended CONNECT by itself, unseen, unless it has announced it, so it always has to believe that it
//! did; and an Envoy that drops a connection for its first request has not even sent SETTINGS by then. And `h2` reads and
//! writes about one DATA frame at a time: at 16 KiB a frame the calls cost more than a copy of the bytes does. Payloads on
//! their way out are not even copied, though `h2` shows slices of them only ([`super::outgoing::lent`]).

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::frame_header::{FRAME_HEADER_BYTES, payload_length};
use super::outgoing::lent;
use super::resets::Resets;
use crate::net::WriteQueue;

/// One read takes up to this.
const READ_BYTES: usize = 128 * 1024;

/// So much is read in one turn of the connection's task: then the sessions get theirs, on this connection and others. Few
/// enough that a flood of streams that are opened and reset at once (26 bytes each at least) stays below the number that
/// `h2` is told to bear.
const MOST_A_TURN: usize = 512 * 1024;

/// Copied bytes are sent when they are as many, also within a turn: while they are still in the processor's cache.
const WRITE_BYTES: usize = 64 * 1024;

/// Bytes that are kept in pieces are sent when they are as many: each write wakes the reader, and bulk is worth few of them.
const WRITE_KEPT_BYTES: usize = 256 * 1024;

thread_local! {
    /// What the next connection reads into, if another has left it behind: one that has been read out keeps nothing.
    static SPARE: Cell<BytesMut> = Cell::default();
}

/// The byte stream of one connection: `h2` has one clone, the connection's task another.
#[derive(Debug)]
pub(super) struct Wire<T>(Rc<RefCell<Inner<T>>>);

#[derive(Debug)]
struct Inner<T> {
    io: T,
    stage: Stage,
    /// Read and not yet asked for.
    read: BytesMut,
    /// How much was read in this turn.
    turn: usize,
    /// Written and not yet sent: what is kept in pieces, and behind it what is not.
    pieces: WriteQueue,
    written: BytesMut,
    /// Nothing is sent yet.
    held: bool,
    /// What a server's `h2` refuses by itself.
    resets: Option<Resets>,
}

/// How far `h2`'s first bytes have come.
#[derive(Debug)]
enum Stage {
    /// So many bytes of the connection preface pass as they are.
    Preface(usize, Bytes),
    /// The header of the SETTINGS frame is swallowed.
    Header(Vec<u8>, Bytes),
    /// So many bytes of its payload are swallowed.
    Payload(usize, Bytes),
    /// Everything passes.
    Open,
}

impl<T> Clone for Wire<T> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<T> Wire<T> {
    /// A client's side: `preface` bytes pass, then the frame is replaced.
    pub(super) fn client(io: T, preface: usize, settings: Bytes) -> Self {
        Self::new(io, Stage::Preface(preface, settings), BytesMut::new(), None)
    }

    /// A server's side, of which `read` has been read already: nothing is sent before [`Wire::release`].
    pub(super) fn server(io: T, read: BytesMut, settings: Bytes) -> Self {
        Self::new(io, Stage::Header(Vec::new(), settings), read, Some(Resets::default()))
    }

    fn new(io: T, stage: Stage, read: BytesMut, resets: Option<Resets>) -> Self {
        let (pieces, written, held) = (WriteQueue::default(), BytesMut::new(), resets.is_some());
        Self(Rc::new(RefCell::new(Inner { io, stage, read, turn: 0, pieces, written, held, resets })))
    }

    /// The highest stream that `h2` has reset for a protocol error (a server's side), 0 if none.
    pub(super) fn last_protocol_error(&self) -> u32 {
        self.0.borrow().resets.as_ref().map_or(0, Resets::last_protocol_error)
    }

    /// Lets out what was held back, with the next [`Wire::poll_settle`].
    pub(super) fn release(&self) {
        self.0.borrow_mut().held = false;
    }

    /// The byte stream itself, if this is the last clone; what was not sent yet is not sent any more.
    pub(super) fn into_inner(self) -> Option<T> {
        Rc::into_inner(self.0).map(|inner| inner.into_inner().io)
    }
}

impl<T: AsyncWrite + Unpin> Wire<T> {
    /// Sends what was collected. To be called at the end of each turn of the connection's task.
    pub(super) fn poll_settle(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.borrow_mut().poll_settle(cx)
    }

    /// Lets the next turn read again.
    pub(super) fn end_turn(&self) {
        self.0.borrow_mut().turn = 0;
    }
}

impl<T> Inner<T> {
    /// Takes what `h2` writes before the connection is open; returns how much of it was taken.
    fn open(&mut self, bytes: &[u8]) -> usize {
        match std::mem::replace(&mut self.stage, Stage::Open) {
            Stage::Preface(left, settings) => {
                let length = left.min(bytes.len());
                self.written.extend_from_slice(&bytes[..length]);
                self.stage = if length == left {
                    Stage::Header(Vec::new(), settings)
                } else {
                    Stage::Preface(left - length, settings)
                };
                length
            }
            Stage::Header(mut header, settings) => {
                let length = (FRAME_HEADER_BYTES - header.len()).min(bytes.len());
                header.extend_from_slice(&bytes[..length]);
                self.stage = match header[..].try_into() {
                    Ok(header) => self.swallow(payload_length(header), settings),
                    Err(_) => Stage::Header(header, settings),
                };
                length
            }
            Stage::Payload(left, settings) => {
                let length = left.min(bytes.len());
                self.stage = self.swallow(left - length, settings);
                length
            }
            Stage::Open => {
                self.written.extend_from_slice(bytes);
                bytes.len()
            }
        }
    }

    fn swallow(&mut self, left: usize, settings: Bytes) -> Stage {
        if left > 0 {
            return Stage::Payload(left, settings);
        }
        self.written.extend_from_slice(&settings);
        Stage::Open
    }
}

impl<T: AsyncWrite + Unpin> Inner<T> {
    fn poll_settle(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.held {
            return Poll::Ready(Ok(()));
        }
        if !self.pieces.is_flushed() {
            self.pieces.push(self.written.split().freeze());
            std::task::ready!(self.pieces.poll_flush(&mut self.io, cx))?;
        }
        while !self.written.is_empty() {
            match std::task::ready!(Pin::new(&mut self.io).poll_write(cx, &self.written))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                sent => self.written.advance(sent),
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        if self.written.len() >= WRITE_BYTES || self.pieces.len() >= WRITE_KEPT_BYTES {
            std::task::ready!(self.poll_settle(cx))?;
        }
        if !matches!(self.stage, Stage::Open) {
            let first = slices.iter().find(|slice| !slice.is_empty());
            return Poll::Ready(Ok(first.map_or(0, |slice| self.open(slice))));
        }
        for slice in slices {
            if let Some(resets) = &mut self.resets {
                resets.feed(slice);
            }
            match lent(slice) {
                Some(piece) => {
                    self.pieces.push(self.written.split().freeze());
                    self.pieces.push(piece);
                }
                None => self.written.extend_from_slice(slice),
            }
        }
        Poll::Ready(Ok(slices.iter().map(|slice| slice.len()).sum()))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Wire<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let inner = &mut *self.0.borrow_mut();
        if inner.read.is_empty() {
            if inner.turn >= MOST_A_TURN {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let mut read = SPARE.take();
            read.reserve(READ_BYTES);
            let polled = tokio_util::io::poll_read_buf(Pin::new(&mut inner.io), cx, &mut read);
            let Poll::Ready(Ok(length)) = polled else {
                SPARE.set(read);
                return polled.map_ok(drop);
            };
            inner.turn += length;
            inner.read = read;
        }
        let length = inner.read.len().min(buffer.remaining());
        buffer.put_slice(&inner.read[..length]);
        inner.read.advance(length);
        if inner.read.is_empty() {
            SPARE.set(std::mem::take(&mut inner.read));
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Wire<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().poll_write(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().poll_write(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// `h2` flushes after every large frame; the end of the turn is soon enough.
    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let inner = &mut *self.0.borrow_mut();
        std::task::ready!(inner.poll_settle(cx))?;
        Pin::new(&mut inner.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    use super::super::outgoing::Outstanding;
    use super::*;

    const FRAME: &[u8] = &[0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 9];

    async fn settle(wire: &Wire<DuplexStream>) {
        std::future::poll_fn(|cx| wire.poll_settle(cx)).await.unwrap();
    }

    #[tokio::test]
    async fn the_first_settings_frame_is_replaced_however_it_is_split() {
        for split in 1..FRAME.len() + 2 {
            let (near, mut far) = tokio::io::duplex(1024);
            let mut wire = Wire::client(near, 3, Bytes::from_static(b"OURS"));
            let all = [b"PRI", FRAME, b"rest"].concat();
            for piece in all.chunks(split) {
                wire.write_all(piece).await.unwrap();
            }
            settle(&wire).await;
            drop(wire);
            let mut seen = Vec::new();
            far.read_to_end(&mut seen).await.unwrap();
            assert_eq!(String::from_utf8(seen).unwrap(), "PRIOURSrest", "in pieces of {split}");
        }
    }

    #[tokio::test]
    async fn a_server_says_nothing_until_it_is_released() {
        let (near, mut far) = tokio::io::duplex(1024);
        let mut wire = Wire::server(near, BytesMut::new(), Bytes::from_static(b"OURS"));
        wire.write_all(&[FRAME, b"more"].concat()).await.unwrap();
        settle(&wire).await;
        wire.release();
        wire.write_all(b" and more").await.unwrap();
        settle(&wire).await;
        let mut seen = [0; 17];
        far.read_exact(&mut seen).await.unwrap();
        assert_eq!(&seen, b"OURSmore and more");
        let (near, mut far) = tokio::io::duplex(1024);
        let mut refused = Wire::server(near, BytesMut::new(), Bytes::from_static(b"OURS"));
        refused.write_all(FRAME).await.unwrap();
        settle(&refused).await;
        drop(refused.into_inner());
        assert_eq!(far.read(&mut seen).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn payloads_are_kept_without_a_copy_in_their_place_among_what_is_copied() {
        let (near, mut far) = tokio::io::duplex(64 * 1024);
        let mut wire = Wire::client(near, 3, Bytes::new());
        wire.write_all(&[b"PRI", FRAME].concat()).await.unwrap();
        let outstanding = Rc::new(Outstanding::default());
        let payload = |byte, length| outstanding.lease(Bytes::from(vec![byte; length]));
        let (large, small, last) = (payload(b'l', 16 * 1024), payload(b's', 10), payload(b'e', 9 * 1024));
        let mut sent = b"PRI".to_vec();
        for (head, payload) in [("one", &large), ("two", &small), ("three", &last)] {
            let slices = [IoSlice::new(head.as_bytes()), IoSlice::new(payload.chunk())];
            let written = std::future::poll_fn(|cx| Pin::new(&mut wire).poll_write_vectored(cx, &slices));
            assert_eq!(written.await.unwrap(), head.len() + payload.remaining());
            sent.extend_from_slice(&[head.as_bytes(), payload.chunk()].concat());
        }
        wire.write_all(b"end").await.unwrap();
        sent.extend_from_slice(b"end");
        let waiting = |inner: &Inner<_>| (inner.pieces.len(), inner.written.len());
        assert_eq!(waiting(&wire.0.borrow()), (sent.len() - 3, 3));
        settle(&wire).await;
        drop(wire);
        let mut seen = Vec::new();
        far.read_to_end(&mut seen).await.unwrap();
        assert!(seen == sent, "{} bytes of {}", seen.len(), sent.len());
    }

    #[tokio::test]
    async fn a_turn_reads_so_much_and_the_next_one_goes_on() {
        let (near, mut far) = tokio::io::duplex(4 * MOST_A_TURN);
        far.write_all(&vec![7; 2 * MOST_A_TURN]).await.unwrap();
        let mut wire = Wire::client(near, 0, Bytes::new());
        for _ in 0..2 {
            let mut all = 0;
            let mut part = [0; 4096];
            while let Some(read) = futures_util::FutureExt::now_or_never(wire.read(&mut part)) {
                all += read.unwrap();
            }
            assert_eq!(all, MOST_A_TURN);
            wire.end_turn();
        }
    }

    #[tokio::test]
    async fn what_was_read_before_comes_first_and_any_part_can_be_asked_for() {
        let (near, mut far) = tokio::io::duplex(1024);
        far.write_all(b" then this").await.unwrap();
        drop(far);
        let mut wire = Wire::server(near, BytesMut::from("first that,"), Bytes::new());
        let mut seen = Vec::new();
        let mut part = [0; 4];
        loop {
            match wire.read(&mut part).await.unwrap() {
                0 => break,
                length => seen.extend_from_slice(&part[..length]),
            }
        }
        assert_eq!(seen, b"first that, then this");
    }
}
