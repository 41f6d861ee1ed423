//! The byte stream that a session's tungstenite is given: it follows the frames that are read, so
//! that what the session holds is known ([`Ledger`]), and that behind a long frame nothing is read
//! before its message is answered.
//!
//! tungstenite's buffers grow with the longest frame and stay as long. It can be replaced by a new
//! one whenever they are empty, and after a long message they are to be at once: so the read that
//! ends its last frame ends there.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::buffers::{Ledger, Waiting};
use super::echo::READ_BUFFER;
use super::read_ahead::ReadAhead;
use crate::net::Holding;
use crate::websocket::TransportAdapter;
use crate::websocket::frame_header::{FIN, FrameHeader, MAX_HEADER_BYTES};

/// Behind frames longer than this tungstenite is replaced at once, not when the session is idle: a
/// new one costs less than a thousandth of what carrying the message did.
pub(super) const LONG: u64 = 128 * 1024;

/// A stream whose frames are followed.
#[derive(Debug)]
pub(super) struct Metered<'l, S> {
    stream: ReadAhead<TransportAdapter<S>>,
    ledger: &'l Ledger<'l>,
    waiting: Waiting,
    place: MeterState,
    /// Whether the frame is one of a message.
    is_data: bool,
    /// Whether the message has more frames.
    is_fragmented: bool,
    /// A long frame has come: every read ends with a frame.
    is_exact: bool,
}

/// Where in the frames the reader is.
#[derive(Debug, Clone, Copy)]
enum MeterState {
    Header { held: [u8; MAX_HEADER_BYTES], length: usize },
    Payload { left: u64 },
}

const BEFORE_HEADER: MeterState = MeterState::Header { held: [0; MAX_HEADER_BYTES], length: 0 };

impl<'l, S> Metered<'l, S> {
    pub(super) fn new(stream: ReadAhead<TransportAdapter<S>>, ledger: &'l Ledger<'l>) -> Self {
        Self {
            stream,
            ledger,
            waiting: Waiting::default(),
            place: BEFORE_HEADER,
            is_data: false,
            is_fragmented: false,
            is_exact: false,
        }
    }

    pub(super) fn frames(&self) -> &TransportAdapter<S> {
        self.stream.get_ref()
    }

    pub(super) fn frames_mut(&mut self) -> &mut TransportAdapter<S> {
        self.stream.get_mut()
    }

    pub(super) fn into_inner(self) -> ReadAhead<TransportAdapter<S>> {
        self.stream
    }

    /// Whether the last message that was read has ended and no other has begun.
    pub(super) fn is_between_messages(&self) -> bool {
        matches!(self.place, MeterState::Header { length: 0, .. }) && !self.is_fragmented
    }

    /// Whether what was read last is the end of a message with a long frame. The reader holds
    /// nothing then but the message.
    pub(super) fn is_behind_long(&self) -> bool {
        self.is_exact && self.is_between_messages()
    }

    /// The reader is a new one.
    pub(super) fn note_new_reader(&mut self) {
        self.is_exact = false;
        self.ledger.note_shrunk();
    }

    /// How much may be read at once.
    fn max_read(&self, room: usize) -> usize {
        if !self.is_exact {
            return room;
        }
        let max_read = match self.place {
            MeterState::Payload { left } => usize::try_from(left).unwrap_or(usize::MAX),
            MeterState::Header { held, length } => FrameHeader::missing(&held[..length]),
        };
        max_read.min(room)
    }

    /// Follows what was read.
    fn follow(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            match &mut self.place {
                MeterState::Payload { left } => {
                    let part = bytes.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    bytes = &bytes[part..];
                    *left -= part as u64;
                    let ends = *left == 0;
                    if self.is_data {
                        self.ledger.arriving.update(|arriving| arriving + part);
                    }
                    if ends {
                        self.end_frame();
                    }
                }
                MeterState::Header { held, length } => {
                    // Most headers come whole.
                    let whole = if *length == 0 { FrameHeader::parse(bytes) } else { None };
                    if let Some((header, size)) = whole {
                        bytes = &bytes[size..];
                        self.begin_frame(&header);
                        continue;
                    }
                    held[*length] = bytes[0];
                    *length += 1;
                    bytes = &bytes[1..];
                    if let Some((header, _)) = FrameHeader::parse(&held[..*length]) {
                        self.begin_frame(&header);
                    }
                }
            }
        }
    }

    fn begin_frame(&mut self, header: &FrameHeader) {
        self.is_data = !header.is_control();
        if self.is_data {
            self.is_fragmented = header.first & FIN == 0;
        }
        self.place = MeterState::Payload { left: header.length };
        if header.length > READ_BUFFER as u64 {
            self.ledger.has_outgrown.set(true);
            self.is_exact |= header.length > LONG;
        }
        if header.length == 0 {
            self.end_frame();
        }
    }

    fn end_frame(&mut self) {
        self.place = BEFORE_HEADER;
        if self.is_data && !self.is_fragmented {
            self.ledger.arriving.set(0);
        }
    }
}

impl<S: Holding> Metered<'_, S> {
    fn note_beneath(&self) {
        self.ledger.beneath.set(self.stream.ahead() + self.frames().get_ref().held());
    }
}

impl<S: AsyncRead + Holding + Unpin> AsyncRead for Metered<'_, S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // What was read ahead is in memory already.
        if this.stream.ahead() == 0 {
            ready!(this.ledger.poll_room(&mut this.waiting, cx));
        }
        let max_read = this.max_read(buffer.remaining());
        let mut part = ReadBuf::new(buffer.initialize_unfilled_to(max_read));
        let polled = Pin::new(&mut this.stream).poll_read(cx, &mut part);
        this.note_beneath();
        ready!(polled)?;
        let read = part.filled();
        if !read.is_empty() {
            this.ledger.note_move();
            this.follow(read);
        }
        let length = read.len();
        buffer.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Holding + Unpin> Metered<'_, S> {
    fn note_write(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.ledger.note_move();
        } else {
            self.note_beneath();
        }
        written
    }
}

impl<S: AsyncWrite + Holding + Unpin> AsyncWrite for Metered<'_, S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.note_write(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.note_write(written)
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
