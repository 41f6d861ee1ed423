//! The byte stream beneath `h2`: replaces the first SETTINGS frame that `h2` writes by ours, and on the server's side
//! holds everything back until the first requests have been looked at.
//!
//! Why: `h2` refuses extended CONNECT by itself, unseen, unless it has announced it; so it always has to believe that
//! it did. And an Envoy that drops a connection for its first request has not even sent SETTINGS by then.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The length of a frame header (RFC 9113 section 4.1).
const FRAME_HEADER: usize = 9;

/// The byte stream of a connection whose first SETTINGS frame is replaced.
#[derive(Debug)]
pub(super) struct Opening<T> {
    io: T,
    /// Read before `h2` was there to read it.
    read: BytesMut,
    stage: Stage,
    /// What goes out before anything that `h2` writes from now on.
    queued: BytesMut,
    /// Nothing goes out yet.
    held: bool,
}

#[derive(Debug)]
enum Stage {
    /// So many bytes of the connection preface pass as they are.
    Preface(usize, Bytes),
    /// The header of `h2`'s SETTINGS frame is swallowed.
    Header(Vec<u8>, Bytes),
    /// So many bytes of its payload are swallowed.
    Payload(usize, Bytes),
    /// Everything passes.
    Open,
}

impl<T> Opening<T> {
    /// A client's side: `preface` bytes pass, then the frame is replaced at once.
    pub(super) fn client(io: T, preface: usize, settings: Bytes) -> Self {
        let (read, queued) = (BytesMut::new(), BytesMut::new());
        Self { io, read, stage: Stage::Preface(preface, settings), queued, held: false }
    }

    /// A server's side, of which `read` has been read already: nothing goes out before [`Opening::release`].
    pub(super) fn server(io: T, read: BytesMut, settings: Bytes) -> Self {
        Self { io, read, stage: Stage::Header(Vec::new(), settings), queued: BytesMut::new(), held: true }
    }

    /// Lets go out what was held back, with the next flush. Returns whether anything was.
    pub(super) fn release(&mut self) -> bool {
        std::mem::replace(&mut self.held, false) && !self.queued.is_empty()
    }

    /// The byte stream itself.
    pub(super) fn into_inner(self) -> T {
        self.io
    }

    /// Takes what `h2` writes before the connection is open; returns how much of it was taken.
    fn take(&mut self, bytes: &[u8]) -> usize {
        match std::mem::replace(&mut self.stage, Stage::Open) {
            Stage::Preface(left, settings) => {
                let length = left.min(bytes.len());
                self.queued.extend_from_slice(&bytes[..length]);
                self.stage = if length == left {
                    Stage::Header(Vec::new(), settings)
                } else {
                    Stage::Preface(left - length, settings)
                };
                length
            }
            Stage::Header(mut header, settings) => {
                let length = (FRAME_HEADER - header.len()).min(bytes.len());
                header.extend_from_slice(&bytes[..length]);
                self.stage = match header[..] {
                    [high, middle, low, ..] if header.len() == FRAME_HEADER => self.payload(
                        usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low),
                        settings,
                    ),
                    _ => Stage::Header(header, settings),
                };
                length
            }
            Stage::Payload(left, settings) => {
                let length = left.min(bytes.len());
                self.stage = self.payload(left - length, settings);
                length
            }
            Stage::Open => {
                self.queued.extend_from_slice(bytes);
                bytes.len()
            }
        }
    }

    fn payload(&mut self, left: usize, settings: Bytes) -> Stage {
        if left > 0 {
            return Stage::Payload(left, settings);
        }
        self.queued.extend_from_slice(&settings);
        Stage::Open
    }

    /// Whether what `h2` writes may go straight to the byte stream.
    fn passes(&self) -> bool {
        !self.held && self.queued.is_empty() && matches!(self.stage, Stage::Open)
    }
}

impl<T: AsyncWrite + Unpin> Opening<T> {
    fn poll_queued(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.held && !self.queued.is_empty() {
            match std::task::ready!(Pin::new(&mut self.io).poll_write(cx, &self.queued))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.queued.advance(written),
            }
        }
        if self.queued.is_empty() && self.queued.capacity() > 0 {
            self.queued = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Opening<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.read.is_empty() {
            let length = self.read.len().min(buffer.remaining());
            buffer.put_slice(&self.read.split_to(length));
            if self.read.is_empty() {
                self.read = BytesMut::new();
            }
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Opening<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.passes() {
            return Pin::new(&mut self.io).poll_write(cx, bytes);
        }
        if self.held || !matches!(self.stage, Stage::Open) {
            return Poll::Ready(Ok(self.take(bytes)));
        }
        std::task::ready!(self.poll_queued(cx))?;
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.passes() {
            return Pin::new(&mut self.io).poll_write_vectored(cx, slices);
        }
        let first = slices.iter().find(|slice| !slice.is_empty());
        self.poll_write(cx, first.map_or(&[], |slice| slice))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        std::task::ready!(self.poll_queued(cx))?;
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        std::task::ready!(self.poll_queued(cx))?;
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const FRAME: &[u8] = &[0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 9];

    #[tokio::test]
    async fn the_first_settings_frame_is_replaced_however_it_is_split() {
        for split in 1..FRAME.len() + 2 {
            let (near, mut far) = tokio::io::duplex(1024);
            let mut opening = Opening::client(near, 3, Bytes::from_static(b"OURS"));
            let all = [b"PRI", FRAME, b"rest"].concat();
            for piece in all.chunks(split) {
                opening.write_all(piece).await.unwrap();
            }
            opening.flush().await.unwrap();
            drop(opening);
            let mut seen = Vec::new();
            far.read_to_end(&mut seen).await.unwrap();
            assert_eq!(String::from_utf8(seen).unwrap(), "PRIOURSrest", "in pieces of {split}");
        }
    }

    #[tokio::test]
    async fn a_server_says_nothing_until_it_is_released() {
        let (near, mut far) = tokio::io::duplex(1024);
        let mut opening = Opening::server(near, BytesMut::new(), Bytes::from_static(b"OURS"));
        opening.write_all(&[FRAME, b"more"].concat()).await.unwrap();
        opening.flush().await.unwrap();
        assert!(opening.release());
        opening.write_all(b" and more").await.unwrap();
        let mut seen = [0; 17];
        far.read_exact(&mut seen).await.unwrap();
        assert_eq!(&seen, b"OURSmore and more");
        let (near, mut far) = tokio::io::duplex(1024);
        let mut refused = Opening::server(near, BytesMut::new(), Bytes::from_static(b"OURS"));
        refused.write_all(FRAME).await.unwrap();
        drop(refused.into_inner());
        assert_eq!(far.read(&mut seen).await.unwrap(), 0);
    }
}
