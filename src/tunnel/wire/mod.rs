//! The byte stream beneath `h2`. It replaces the first SETTINGS frame that `h2` writes by ours, on the server's side holds
//! everything back until the first requests have been looked at, reads and writes in fewer and larger system calls, and
//! lets the DATA of sessions go past `h2` ([`super::incoming`]).
//!
//! Why: `h2` refuses extended CONNECT by itself, unseen, unless it has announced it, so it always has to believe that it
//! did; and an Envoy that drops a connection for its first request has not even sent SETTINGS by then. And `h2` reads and
//! writes about one DATA frame at a time: at 16 KiB a frame the calls cost more than a copy of the bytes does. Payloads on
//! their way out are not even copied, though `h2` shows slices of them only ([`super::outgoing::lent`]).

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::arrivals::Arrivals;
use super::frame_header::{FRAME_HEADER_BYTES, FrameHeader, PREFACE};
use super::incoming::Incoming;
use super::outgoing::lent;
use super::written::Written;
use crate::net::{WriteQueue, arena};

/// So much is read in one turn of the connection's task: then the sessions get theirs, on this connection and others. Few
/// enough that a flood of streams that are opened and reset at once (26 bytes each at least) stays below the number that
/// `h2` is told to bear.
const MOST_A_TURN: usize = 512 * 1024;

/// Copied bytes are sent when they are as many, also within a turn: while they are still in the processor's cache.
const WRITE_BYTES: usize = 64 * 1024;

/// Bytes that are kept in pieces are sent when they are as many: each write wakes the reader, and bulk is worth few of them.
const WRITE_KEPT_BYTES: usize = 256 * 1024;

/// Room for what is copied is taken in steps of this at least, the headers of many frames.
const WRITTEN_BYTES: usize = 4 * 1024;

/// The byte stream of one connection: `h2` has one clone, the connection's task another.
#[derive(Debug)]
pub(super) struct Wire<T>(Rc<RefCell<Inner<T>>>);

#[derive(Debug)]
struct Inner<T> {
    io: T,
    stage: Stage,
    /// Read and not yet sorted.
    read: Bytes,
    incoming: Incoming,
    arrivals: Rc<Arrivals>,
    /// How much was read in this turn.
    turn: usize,
    /// Written and not yet sent: what is kept in pieces, and behind it what is not.
    pieces: WriteQueue,
    written: BytesMut,
    /// What they are, once everything passes.
    frames: Written,
    /// Nothing is sent yet.
    held: bool,
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
    /// A client's side: the preface passes, then the frame is replaced.
    pub(super) fn client(io: T, settings: Bytes, arrivals: Rc<Arrivals>) -> Self {
        let stage = Stage::Preface(PREFACE.len(), settings);
        let inner = Inner::new(io, stage, Incoming::client(Rc::clone(&arrivals)), arrivals);
        Self(Rc::new(RefCell::new(inner)))
    }

    /// A server's side, of which `read` has been read already: nothing is sent before [`Wire::release`].
    pub(super) fn server(io: T, read: BytesMut, settings: Bytes, arrivals: Rc<Arrivals>) -> Self {
        let stage = Stage::Header(Vec::new(), settings);
        let inner = Inner::new(io, stage, Incoming::server(PREFACE.len(), Rc::clone(&arrivals)), arrivals);
        Self(Rc::new(RefCell::new(Inner { read: read.freeze(), held: true, ..inner })))
    }

    /// The highest stream that `h2` has reset for a protocol error (a server's side), 0 if none.
    pub(super) fn last_protocol_error(&self) -> u32 {
        self.0.borrow().frames.last_protocol_error()
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
    fn new(io: T, stage: Stage, incoming: Incoming, arrivals: Rc<Arrivals>) -> Self {
        Self {
            io,
            stage,
            read: Bytes::new(),
            incoming,
            arrivals,
            turn: 0,
            pieces: WriteQueue::default(),
            written: BytesMut::new(),
            frames: Written::default(),
            held: false,
        }
    }

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
                    Ok(header) => self.swallow(FrameHeader::parse(header).length, settings),
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
        if matches!(self.stage, Stage::Open) && self.frames.is_between_frames() {
            self.arrivals.write_updates(&mut self.written);
        }
        if !self.pieces.is_flushed() {
            self.pieces.push(self.written.split().freeze());
            ready!(self.pieces.poll_flush(&mut self.io, cx))?;
        }
        while !self.written.is_empty() {
            match ready!(Pin::new(&mut self.io).poll_write(cx, &self.written))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                sent => self.written.advance(sent),
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        if self.written.len() >= WRITE_BYTES || self.pieces.len() >= WRITE_KEPT_BYTES {
            ready!(self.poll_settle(cx))?;
        }
        if !matches!(self.stage, Stage::Open) {
            let first = slices.iter().find(|slice| !slice.is_empty());
            return Poll::Ready(Ok(first.map_or(0, |slice| self.open(slice))));
        }
        for slice in slices {
            self.frames.feed(slice);
            if let Some(piece) = lent(slice) {
                self.pieces.push(self.written.split().freeze());
                self.pieces.push(piece);
            } else {
                if self.written.capacity() - self.written.len() < slice.len() {
                    self.written.reserve(slice.len().max(WRITTEN_BYTES));
                }
                self.written.extend_from_slice(slice);
            }
        }
        Poll::Ready(Ok(slices.iter().map(|slice| slice.len()).sum()))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Wire<T> {
    /// Gives `h2` what is there for it, and reads on while that is nothing.
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let inner = &mut *self.0.borrow_mut();
        while !inner.incoming.sort(&mut inner.read, buffer) {
            if inner.turn >= MOST_A_TURN {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let Poll::Ready(read) = arena::poll_read(&mut inner.io, cx, &inner.read) else {
                // The begin of a frame header may wait for long; not with all the memory that it was read into.
                inner.read = Bytes::copy_from_slice(&inner.read);
                return Poll::Pending;
            };
            let read = read?;
            if read.is_empty() {
                inner.incoming.end(&inner.read);
                inner.incoming.sort(&mut inner.read, buffer);
                break;
            }
            inner.turn += read.len();
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
        ready!(inner.poll_settle(cx))?;
        Pin::new(&mut inner.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
