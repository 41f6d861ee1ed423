//! The byte stream that `h2` reads and writes in place of the socket.
//!
//! - It replaces the first SETTINGS frame that `h2` writes by Envoy's. `h2` resets extended CONNECT
//!   by itself and never shows it, unless it has announced it; so `h2` always believes that it did.
//! - A server's side sends nothing until the first requests have been looked at: an Envoy that
//!   drops a connection for its first request has not even sent SETTINGS by then.
//! - It reads and writes in fewer and larger system calls: `h2` moves about one DATA frame at a
//!   time, and at 16 KiB a frame the calls cost more than a copy of the bytes does. Large payloads
//!   on their way out are not even copied, though `h2` shows only slices of them
//!   ([`send_buffer::reclaim`]).
//! - It lets the DATA of sessions go past `h2` ([`super::demultiplexer`]).

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::demultiplexer::Demultiplexer;
use super::frame_header::{FRAME_HEADER_BYTES, FrameHeader, PREFACE};
use super::frame_tracker::FrameTracker;
use super::receive_buffer::ReceiveBuffers;
use super::send_buffer;
use crate::net::{WriteQueue, arena};

/// So much is read in one turn of the connection's task; then the tasks of sessions get their turn,
/// on this connection and on others. Little enough that a flood of streams that are opened and
/// reset at once (26 bytes each at least) stays below the number that `h2` is told to bear.
const MAX_READ_PER_TURN: usize = 512 * 1024;

/// Copied bytes are sent when they are as many, also within a turn: while they are still in the
/// processor's cache.
const SEND_COPIED_FROM: usize = 64 * 1024;

/// Kept payloads are sent when they are as many: each write wakes the reader, and bulk is worth few
/// of them.
const SEND_KEPT_FROM: usize = 256 * 1024;

/// Room for copied bytes is taken in steps of this at least, the headers of many frames.
const MIN_COPY_ROOM: usize = 4 * 1024;

/// The byte stream of one connection: `h2` has one clone, the connection's task another.
#[derive(Debug)]
pub(in crate::tunnel) struct Wire<T>(Rc<RefCell<Inner<T>>>);

#[derive(Debug)]
struct Inner<T> {
    io: T,
    opening: Opening,
    /// Read and not sorted yet.
    read: Bytes,
    demultiplexer: Demultiplexer,
    buffers: Rc<ReceiveBuffers>,
    /// How much was read in this turn.
    read_in_turn: usize,
    /// Written by `h2` and not sent yet: first what is kept in pieces, then what is copied
    /// together.
    pieces: WriteQueue,
    copied: BytesMut,
    /// Follows the frames that `h2` writes after the opening.
    tracker: FrameTracker,
    /// Nothing is sent yet.
    is_held_back: bool,
}

/// How much of the connection's opening `h2` has written, with the SETTINGS frame that goes out
/// instead of its own.
#[derive(Debug)]
enum Opening {
    /// So many bytes of the connection preface pass as they are.
    Preface(usize, Bytes),
    /// The header of the SETTINGS frame is dropped.
    Header(Vec<u8>, Bytes),
    /// So many bytes of its payload are dropped.
    Payload(usize, Bytes),
    /// Everything passes from here on.
    Done,
}

impl<T> Clone for Wire<T> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<T> Wire<T> {
    /// A client's side, which sends the preface and then `settings`.
    pub(in crate::tunnel) fn client(io: T, settings: Bytes, buffers: Rc<ReceiveBuffers>) -> Self {
        let opening = Opening::Preface(PREFACE.len(), settings);
        let demultiplexer = Demultiplexer::client(Rc::clone(&buffers));
        Self(Rc::new(RefCell::new(Inner::new(io, opening, demultiplexer, buffers))))
    }

    /// A server's side, which sends `settings` first, and nothing before [`Wire::release`]. `read`
    /// has been read already.
    pub(in crate::tunnel) fn server(
        io: T,
        read: BytesMut,
        settings: Bytes,
        buffers: Rc<ReceiveBuffers>,
    ) -> Self {
        let opening = Opening::Header(Vec::new(), settings);
        let demultiplexer = Demultiplexer::server(PREFACE.len(), Rc::clone(&buffers));
        let inner = Inner::new(io, opening, demultiplexer, buffers);
        Self(Rc::new(RefCell::new(Inner { read: read.freeze(), is_held_back: true, ..inner })))
    }

    /// The highest stream that `h2` has reset for a protocol error (a server's side), 0 if none.
    pub(in crate::tunnel) fn last_protocol_error(&self) -> u32 {
        self.0.borrow().tracker.last_protocol_error()
    }

    /// Lets out what was held back, with the next [`Wire::poll_send`].
    pub(in crate::tunnel) fn release(&self) {
        self.0.borrow_mut().is_held_back = false;
    }

    /// The byte stream itself, if this is the last clone; what was not sent yet is lost.
    pub(in crate::tunnel) fn into_inner(self) -> Option<T> {
        Rc::into_inner(self.0).map(|inner| inner.into_inner().io)
    }
}

impl<T: AsyncWrite + Unpin> Wire<T> {
    /// Sends what `h2` has written. To be called at the end of each turn of the connection's task.
    pub(in crate::tunnel) fn poll_send(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.borrow_mut().poll_send(cx)
    }

    /// Lets the next turn read again.
    pub(in crate::tunnel) fn end_turn(&self) {
        self.0.borrow_mut().read_in_turn = 0;
    }
}

impl<T> Inner<T> {
    fn new(io: T, opening: Opening, demultiplexer: Demultiplexer, buffers: Rc<ReceiveBuffers>) -> Self {
        Self {
            io,
            opening,
            read: Bytes::new(),
            demultiplexer,
            buffers,
            read_in_turn: 0,
            pieces: WriteQueue::default(),
            copied: BytesMut::new(),
            tracker: FrameTracker::default(),
            is_held_back: false,
        }
    }

    /// Takes what `h2` writes of the opening; returns how much of `bytes` was taken.
    fn write_opening(&mut self, bytes: &[u8]) -> usize {
        match std::mem::replace(&mut self.opening, Opening::Done) {
            Opening::Preface(left, settings) => {
                let length = left.min(bytes.len());
                self.copied.extend_from_slice(&bytes[..length]);
                self.opening = if length == left {
                    Opening::Header(Vec::new(), settings)
                } else {
                    Opening::Preface(left - length, settings)
                };
                length
            }
            Opening::Header(mut header, settings) => {
                let length = (FRAME_HEADER_BYTES - header.len()).min(bytes.len());
                header.extend_from_slice(&bytes[..length]);
                self.opening = match header[..].try_into() {
                    Ok(header) => self.drop_payload(FrameHeader::parse(header).length, settings),
                    Err(_) => Opening::Header(header, settings),
                };
                length
            }
            Opening::Payload(left, settings) => {
                let length = left.min(bytes.len());
                self.opening = self.drop_payload(left - length, settings);
                length
            }
            Opening::Done => {
                self.copied.extend_from_slice(bytes);
                bytes.len()
            }
        }
    }

    fn drop_payload(&mut self, left: usize, settings: Bytes) -> Opening {
        if left > 0 {
            return Opening::Payload(left, settings);
        }
        self.copied.extend_from_slice(&settings);
        Opening::Done
    }
}

impl<T: AsyncWrite + Unpin> Inner<T> {
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_held_back {
            return Poll::Ready(Ok(()));
        }
        if matches!(self.opening, Opening::Done) && self.tracker.is_between_frames() {
            self.buffers.write_updates(&mut self.copied);
        }
        if !self.pieces.is_flushed() {
            self.pieces.push(self.copied.split().freeze());
            ready!(self.pieces.poll_flush(&mut self.io, cx))?;
        }
        while !self.copied.is_empty() {
            match ready!(Pin::new(&mut self.io).poll_write(cx, &self.copied))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                sent => self.copied.advance(sent),
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        if self.copied.len() >= SEND_COPIED_FROM || self.pieces.len() >= SEND_KEPT_FROM {
            ready!(self.poll_send(cx))?;
        }
        if !matches!(self.opening, Opening::Done) {
            let first = slices.iter().find(|slice| !slice.is_empty());
            return Poll::Ready(Ok(first.map_or(0, |slice| self.write_opening(slice))));
        }
        for slice in slices {
            self.tracker.feed(slice);
            if let Some(payload) = send_buffer::reclaim(slice) {
                self.pieces.push(self.copied.split().freeze());
                self.pieces.push(payload);
            } else {
                if self.copied.capacity() - self.copied.len() < slice.len() {
                    self.copied.reserve(slice.len().max(MIN_COPY_ROOM));
                }
                self.copied.extend_from_slice(slice);
            }
        }
        Poll::Ready(Ok(slices.iter().map(|slice| slice.len()).sum()))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Wire<T> {
    /// Gives `h2` what has been read for it, and reads on while that is nothing.
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let inner = &mut *self.0.borrow_mut();
        while !inner.demultiplexer.sort(&mut inner.read, buffer) {
            if inner.read_in_turn >= MAX_READ_PER_TURN {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let Poll::Ready(read) = arena::poll_read(&mut inner.io, cx, &inner.read) else {
                // The beginning of a frame header may wait for long: it does not keep the arena
                // that it was read into.
                inner.read = Bytes::copy_from_slice(&inner.read);
                return Poll::Pending;
            };
            let read = read?;
            if read.is_empty() {
                inner.demultiplexer.end(&inner.read);
                inner.demultiplexer.sort(&mut inner.read, buffer);
                break;
            }
            inner.read_in_turn += read.len();
            inner.read = read;
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
        ready!(inner.poll_send(cx))?;
        Pin::new(&mut inner.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    use super::*;
    use crate::net::Budget;
    use crate::tunnel::settings::Settings;
    use crate::tunnel::wire::send_buffer::SendBuffer;

    const FRAME: &[u8] = &[0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 9];

    fn buffers() -> Rc<ReceiveBuffers> {
        let settings = Settings {
            allow_connect: true,
            max_concurrent_streams: 100,
            initial_stream_window_size: 1 << 20,
            initial_connection_window_size: 1 << 20,
        };
        Rc::new(ReceiveBuffers::new(&settings, Budget::unlimited()))
    }

    async fn send(wire: &Wire<DuplexStream>) {
        std::future::poll_fn(|cx| wire.poll_send(cx)).await.unwrap();
    }

    #[tokio::test]
    async fn the_first_settings_frame_is_replaced_however_it_is_split() {
        for split in 1..FRAME.len() + 2 {
            let (near, mut far) = tokio::io::duplex(1024);
            let mut wire = Wire::client(near, Bytes::from_static(b"OURS"), buffers());
            let all = [PREFACE, FRAME, b"rest"].concat();
            for piece in all.chunks(split) {
                wire.write_all(piece).await.unwrap();
            }
            send(&wire).await;
            drop(wire);
            let mut seen = Vec::new();
            far.read_to_end(&mut seen).await.unwrap();
            assert_eq!(seen, [PREFACE, b"OURSrest"].concat(), "in pieces of {split}");
        }
    }

    #[tokio::test]
    async fn a_server_says_nothing_until_it_is_released() {
        let (near, mut far) = tokio::io::duplex(1024);
        let mut wire = Wire::server(near, BytesMut::new(), Bytes::from_static(b"OURS"), buffers());
        wire.write_all(&[FRAME, b"more"].concat()).await.unwrap();
        send(&wire).await;
        wire.release();
        wire.write_all(b" and more").await.unwrap();
        send(&wire).await;
        let mut seen = [0; 17];
        far.read_exact(&mut seen).await.unwrap();
        assert_eq!(&seen, b"OURSmore and more");
        let (near, mut far) = tokio::io::duplex(1024);
        let mut refused = Wire::server(near, BytesMut::new(), Bytes::from_static(b"OURS"), buffers());
        refused.write_all(FRAME).await.unwrap();
        send(&refused).await;
        drop(refused.into_inner());
        assert_eq!(far.read(&mut seen).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn payloads_are_kept_without_a_copy_in_their_place_among_what_is_copied() {
        let (near, mut far) = tokio::io::duplex(64 * 1024);
        let mut wire = Wire::client(near, Bytes::new(), buffers());
        wire.write_all(&[PREFACE, FRAME].concat()).await.unwrap();
        let send_buffer = Rc::new(SendBuffer::new(Budget::unlimited().open(), &Rc::default()));
        let payload = |byte, length| send_buffer.payload(Bytes::from(vec![byte; length]));
        let (large, small, last) = (payload(b'l', 16 * 1024), payload(b's', 10), payload(b'e', 9 * 1024));
        let mut sent = PREFACE.to_vec();
        for (head, payload) in [("one", &large), ("two", &small), ("three", &last)] {
            let slices = [IoSlice::new(head.as_bytes()), IoSlice::new(payload.chunk())];
            let written = std::future::poll_fn(|cx| Pin::new(&mut wire).poll_write_vectored(cx, &slices));
            assert_eq!(written.await.unwrap(), head.len() + payload.remaining());
            sent.extend_from_slice(&[head.as_bytes(), payload.chunk()].concat());
        }
        wire.write_all(b"end").await.unwrap();
        sent.extend_from_slice(b"end");
        let waiting = |inner: &Inner<_>| (inner.pieces.len(), inner.copied.len());
        assert_eq!(waiting(&wire.0.borrow()), (sent.len() - 3, 3));
        send(&wire).await;
        drop(wire);
        let mut seen = Vec::new();
        far.read_to_end(&mut seen).await.unwrap();
        assert!(seen == sent, "{} bytes of {}", seen.len(), sent.len());
    }

    #[tokio::test]
    async fn a_turn_reads_so_much_and_the_next_one_goes_on() {
        let (near, mut far) = tokio::io::duplex(4 * MAX_READ_PER_TURN);
        far.write_all(&vec![7; 2 * MAX_READ_PER_TURN]).await.unwrap();
        let mut wire = Wire::client(near, Bytes::new(), buffers());
        for _ in 0..2 {
            let mut all = 0;
            let mut part = [0; 4096];
            while let Some(read) = futures_util::FutureExt::now_or_never(wire.read(&mut part)) {
                all += read.unwrap();
            }
            assert_eq!(all, MAX_READ_PER_TURN);
            wire.end_turn();
        }
    }

    #[tokio::test]
    async fn what_was_read_before_comes_first_and_any_part_can_be_asked_for() {
        let (near, mut far) = tokio::io::duplex(1024);
        far.write_all(b" then this").await.unwrap();
        drop(far);
        let mut wire = Wire::server(near, BytesMut::from("first that,"), Bytes::new(), buffers());
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
