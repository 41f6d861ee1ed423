//! Text that is looked at as it arrives: a byte stream beneath tungstenite that makes fragments of
//! a text frame which arrives in pieces (RFC 6455 section 5.4).
//!
//! tungstenite judges UTF-8 a frame at a time, and a text that is wrong in its first byte is to
//! fail at once and not with its last (RFC 6455 section 8.1). What arrives whole passes as it is,
//! and so does everything but text: only headers are looked at, and none is copied.
//!
//! The one payload that is read is the code of a Close. tungstenite takes 1014 (IANA's registry,
//! bad gateway) for a wrong one and says 1002 in its place; here it becomes its neighbour, and
//! [`TransportAdapter`](super::TransportAdapter) knows what it was.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::close_code::{BAD_GATEWAY, TRY_AGAIN_LATER};
use super::frame_header::{
    CLOSE, CONTINUATION, FIN, FrameHeader, MAX_HEADER_BYTES, Room, TEXT, make_fragment,
};

/// A stream whose text frames are split. Its reader has room for a header whenever a frame begins,
/// as tungstenite has.
#[derive(Debug)]
pub(super) struct Utf8Splitter<S> {
    stream: S,
    /// Bytes that were read with the opening handshake.
    early: Bytes,
    /// A frame that announces more than this passes as it is: tungstenite refuses it by its header.
    max_frame_bytes: u64,
    place: SplitterState,
    /// Whether the message that goes on is text.
    is_text: bool,
    /// Whether a message of several frames has begun and its last frame has not.
    is_fragmented: bool,
    /// The code of the Close that came, and how long its payload is.
    close: Option<(u16, u64)>,
}

/// How long a close code is.
const CODE_BYTES: usize = 2;

/// Where in the frames the stream is.
#[derive(Debug, Clone, Copy)]
enum SplitterState {
    /// Before a header, whose first bytes may have arrived: they are held back.
    Header { held: [u8; MAX_HEADER_BYTES], length: usize },
    /// In a frame that passes as it is.
    Whole { left: u64 },
    /// In a frame of which a first part was passed on as a fragment. The key is as the rest needs
    /// it.
    Parts { left: u64, fin: u8, mask: Option<[u8; 4]> },
}

const BEFORE_HEADER: SplitterState = SplitterState::Header { held: [0; MAX_HEADER_BYTES], length: 0 };

impl<S> Utf8Splitter<S> {
    /// The frames of `stream`, of which `early` was read already.
    pub(super) fn new(stream: S, early: Bytes, max_frame_bytes: usize) -> Self {
        Self {
            stream,
            early,
            max_frame_bytes: max_frame_bytes as u64,
            place: BEFORE_HEADER,
            is_text: false,
            is_fragmented: false,
            close: None,
        }
    }

    pub(super) fn get_ref(&self) -> &S {
        &self.stream
    }

    pub(super) fn get_mut(&mut self) -> &mut S {
        &mut self.stream
    }

    /// Whether a message or a frame has begun to arrive and is not complete.
    pub(super) fn is_amid_message(&self) -> bool {
        let is_between_frames =
            matches!(self.place, SplitterState::Header { length: 0, .. } | SplitterState::Whole { left: 0 });
        self.is_fragmented || !is_between_frames
    }

    /// Whether a message of several frames has begun and its last frame has not.
    pub(super) fn is_fragmented(&self) -> bool {
        self.is_fragmented
    }

    /// The code of the Close that came, if it had one, and how long its payload is.
    pub(super) fn close(&self) -> Option<(u16, u64)> {
        self.close
    }

    /// Takes what arrived after the first `start` bytes of `buffer`, which are room for what is to
    /// come before it. Returns how much of the buffer is to be passed on.
    fn pass(&mut self, buffer: &mut [u8], start: usize) -> usize {
        let mut at = match self.place {
            SplitterState::Header { held, length } => {
                buffer[..length].copy_from_slice(&held[..length]);
                self.place = BEFORE_HEADER;
                0
            }
            SplitterState::Whole { .. } => 0,
            SplitterState::Parts { left, fin, mask } => {
                let arrived = buffer.len() - start;
                let part = arrived.min(usize::try_from(left).unwrap_or(usize::MAX));
                let is_last = part as u64 == left;
                let first = CONTINUATION | if is_last { fin } else { 0 };
                Room { header: start, payload: part }.write_header(buffer, first, mask, part);
                self.place = if is_last {
                    BEFORE_HEADER
                } else {
                    SplitterState::Parts { left: left - part as u64, fin, mask: advanced(mask, part) }
                };
                start + part
            }
        };
        while at < buffer.len() {
            let arrived = buffer.len() - at;
            if let SplitterState::Whole { left } = self.place {
                let part = arrived.min(usize::try_from(left).unwrap_or(usize::MAX));
                at += part;
                self.place = match left - part as u64 {
                    0 => BEFORE_HEADER,
                    left => SplitterState::Whole { left },
                };
                continue;
            }
            let header = FrameHeader::parse(&buffer[at..]);
            let Some((header, size)) =
                header.filter(|(header, size)| !self.waits(header, *size, arrived - size))
            else {
                // A header alone would be an empty fragment.
                let mut held = [0; MAX_HEADER_BYTES];
                held[..arrived].copy_from_slice(&buffer[at..]);
                self.place = SplitterState::Header { held, length: arrived };
                return at;
            };
            let payload = arrived - size;
            let is_cut = self.may_be_cut(&header) && header.length > payload as u64;
            if !header.is_control() {
                self.is_fragmented = header.first & FIN == 0;
                if header.opcode() != CONTINUATION {
                    self.is_text = header.opcode() == TEXT;
                }
            }
            at += size;
            if header.opcode() == CLOSE {
                self.read_close(&header, &mut buffer[at..]);
            }
            if is_cut {
                make_fragment(&mut buffer[at - size..], payload);
                let (left, mask) = (header.length - payload as u64, advanced(header.mask, payload));
                self.place = SplitterState::Parts { left, fin: header.first & FIN, mask };
                return buffer.len();
            }
            self.place = SplitterState::Whole { left: header.length };
        }
        at
    }

    /// Whether a frame of which a header this long and this much has arrived is to be held back.
    fn waits(&self, header: &FrameHeader, size: usize, payload: usize) -> bool {
        if header.opcode() == CLOSE {
            // A Close with a longer header is invalid, which tungstenite says.
            let begins = header.length >= CODE_BYTES as u64 && size + CODE_BYTES <= MAX_HEADER_BYTES;
            return begins && payload < CODE_BYTES;
        }
        payload == 0 && header.length > 0 && self.may_be_cut(header)
    }

    /// Reads the code of a Close, and writes another one where tungstenite does not know it.
    fn read_close(&mut self, header: &FrameHeader, payload: &mut [u8]) {
        if header.length < CODE_BYTES as u64 || payload.len() < CODE_BYTES || self.close.is_some() {
            return;
        }
        let key = header.mask.unwrap_or_default();
        let said = u16::from_be_bytes([payload[0] ^ key[0], payload[1] ^ key[1]]);
        if said == BAD_GATEWAY {
            let [high, low] = TRY_AGAIN_LATER.to_be_bytes();
            payload[..CODE_BYTES].copy_from_slice(&[high ^ key[0], low ^ key[1]]);
        }
        self.close = Some((said, header.length));
    }

    /// Whether the frame belongs to a text, and is one that tungstenite takes.
    fn may_be_cut(&self, header: &FrameHeader) -> bool {
        (header.opcode() == TEXT || header.opcode() == CONTINUATION && self.is_text)
            && header.length <= self.max_frame_bytes
    }
}

/// The masking key for what follows after so many bytes.
fn advanced(mut mask: Option<[u8; 4]>, bytes: usize) -> Option<[u8; 4]> {
    if let Some(mask) = &mut mask {
        mask.rotate_left(bytes % 4);
    }
    mask
}

impl<S: AsyncRead + Unpin> AsyncRead for Utf8Splitter<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            let buffer = out.initialize_unfilled();
            let (start, end) = match this.place {
                SplitterState::Header { length, .. } => (length, buffer.len()),
                SplitterState::Whole { .. } => (0, buffer.len()),
                SplitterState::Parts { mask, .. } => {
                    let Room { header, payload } = Room::within(buffer.len(), mask).ok_or_else(too_small)?;
                    (header, header + payload)
                }
            };
            let Some(target @ [_, ..]) = buffer.get_mut(start..end) else {
                return Poll::Ready(Err(too_small()));
            };
            let arrived = if this.early.is_empty() {
                let mut target = ReadBuf::new(target);
                ready!(Pin::new(&mut this.stream).poll_read(cx, &mut target))?;
                target.filled().len()
            } else {
                let length = this.early.len().min(target.len());
                target[..length].copy_from_slice(&this.early[..length]);
                this.early.advance(length);
                if this.early.is_empty() {
                    this.early = Bytes::new();
                }
                length
            };
            if arrived == 0 {
                return Poll::Ready(Ok(()));
            }
            let passed = this.pass(&mut buffer[..start + arrived], start);
            if passed > 0 {
                out.advance(passed);
                return Poll::Ready(Ok(()));
            }
        }
    }
}

fn too_small() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "the buffer has no room for the header of a frame")
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Utf8Splitter<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
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
