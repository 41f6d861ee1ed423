//! One HTTP/1.1 connection, as either side of a stream uses it: heads, body bytes in both
//! directions, and its close.
//!
//! Which messages are exchanged is the business of `downstream` and `upstream`.

use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::socket::{self, Socket};
use super::stats::{Active, ClusterStats};
use crate::http1::{self, BodyDecoder, Decoded, Framing, HeadError};
use crate::net::{WriteQueue, arena};

/// Envoy logs this for bytes that are not HTTP/1.1.
pub(super) const CODEC_ERROR: &str = "http1.codec_error";

/// More body is taken while less than this waits to be written.
const HIGH_WATERMARK: usize = 64 * 1024;

/// How much a peer may send ahead of its turn (pipelined requests) before it is not read any more.
const MAX_READ_AHEAD: usize = http1::MAX_HEAD_BYTES + 4 * 1024;

/// Why nothing more comes from a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReadEnd {
    /// The connection ended, within a message or between two.
    Closed,
    /// The peer sent something that is not HTTP/1.1.
    Malformed,
}

/// A connection between two messages or in one.
#[derive(Debug)]
pub(super) struct Http1 {
    socket: Socket,
    /// Read and not yet decoded.
    buffer: BytesMut,
    queue: WriteQueue,
    decoder: BodyDecoder,
    /// Bytes of bodies since [`Http1::take_received`] was called last.
    received: usize,
    /// Outgoing body bytes are sent as chunks.
    chunked: bool,
    /// Counts a connection to an upstream as long as there is one.
    _counted: Option<Active<ClusterStats>>,
}

impl Http1 {
    /// A connection of which `buffer` has been read already.
    pub(super) fn new(socket: Socket, buffer: BytesMut) -> Self {
        Self {
            socket,
            buffer,
            queue: WriteQueue::default(),
            decoder: BodyDecoder::new(Framing::None),
            received: 0,
            chunked: false,
            _counted: None,
        }
    }

    /// A new connection to an upstream, with what counts it.
    pub(super) fn to_upstream(socket: Socket, counted: Active<ClusterStats>) -> Self {
        Self { _counted: Some(counted), ..Self::new(socket, BytesMut::new()) }
    }

    /// The next head; `None` if the connection ends before its first byte.
    pub(super) fn poll_head<T>(
        &mut self,
        parse: impl Fn(&mut BytesMut) -> Result<Option<T>, HeadError>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<T>, HeadOutcome>> {
        loop {
            if !self.buffer.is_empty()
                && let Some(head) = parse(&mut self.buffer).map_err(HeadOutcome::Malformed)?
            {
                self.shrink();
                return Poll::Ready(Ok(Some(head)));
            }
            let bytes = std::task::ready!(arena::poll_read(&mut self.socket, cx, &[]));
            match bytes {
                Ok(bytes) if !bytes.is_empty() => self.buffer.extend_from_slice(&bytes),
                _ if self.buffer.is_empty() => return Poll::Ready(Ok(None)),
                _ => return Poll::Ready(Err(HeadOutcome::Closed)),
            }
        }
    }

    /// Begins a body with this framing, in the buffer and on the socket.
    pub(super) fn expect_body(&mut self, framing: Framing) {
        self.decoder = BodyDecoder::new(framing);
    }

    /// Whether the body that was expected has been read to its end.
    pub(super) fn is_body_end(&self) -> bool {
        self.decoder.is_end()
    }

    /// Whether every byte is data, as after an upgrade.
    pub(super) fn is_raw(&self) -> bool {
        self.decoder.is_raw()
    }

    /// The next part of the body, `None` at its end.
    pub(super) fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, ReadEnd>> {
        loop {
            match self.decoder.decode(&mut self.buffer).map_err(|_| ReadEnd::Malformed)? {
                Decoded::Data(data) => {
                    self.shrink();
                    self.received += data.len();
                    return Poll::Ready(Ok(Some(data)));
                }
                Decoded::End => return Poll::Ready(Ok(None)),
                Decoded::NeedMore => {}
            }
            match std::task::ready!(arena::poll_read(&mut self.socket, cx, &[])) {
                Ok(bytes) if !bytes.is_empty() => {
                    if self.decoder.is_transparent() {
                        self.received += bytes.len();
                        return Poll::Ready(Ok(Some(bytes)));
                    }
                    self.buffer.extend_from_slice(&bytes);
                }
                _ if self.decoder.may_end_with_connection() => return Poll::Ready(Ok(None)),
                _ => return Poll::Ready(Err(ReadEnd::Closed)),
            }
        }
    }

    /// How many bytes of bodies have been read since this was asked last.
    pub(super) fn take_received(&mut self) -> usize {
        std::mem::take(&mut self.received)
    }

    /// Ready when the peer closes the connection out of turn. What it sends ahead is kept, within
    /// bounds.
    pub(super) fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.buffer.len() < MAX_READ_AHEAD {
            match std::task::ready!(arena::poll_read(&mut self.socket, cx, &[])) {
                Ok(bytes) if !bytes.is_empty() => self.buffer.extend_from_slice(&bytes),
                _ => return Poll::Ready(()),
            }
        }
        Poll::Pending
    }

    /// Whether the peer has sent something out of turn.
    pub(super) fn has_read_ahead(&self) -> bool {
        !self.buffer.is_empty()
    }

    /// Queues a head; the body after it is sent in chunks if `chunked`.
    pub(super) fn send_head(&mut self, head: BytesMut, chunked: bool) {
        self.chunked = chunked;
        self.queue.push(head.freeze());
    }

    /// Queues a part of the body.
    pub(super) fn send(&mut self, data: Bytes) {
        if self.chunked {
            self.queue.push(http1::chunk_head(data.len()));
            self.queue.push(data);
            self.queue.push(http1::CHUNK_END);
        } else {
            self.queue.push(data);
        }
    }

    /// Queues the end of the body.
    pub(super) fn finish(&mut self) {
        if std::mem::take(&mut self.chunked) {
            self.queue.push(http1::LAST_CHUNK);
        }
    }

    /// Ready when the connection takes more of the body.
    pub(super) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.queue.len() < HIGH_WATERMARK { Poll::Ready(Ok(())) } else { self.poll_flush(cx) }
    }

    /// Ready when everything queued is in the socket.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.queue.poll_flush(&mut self.socket, cx)
    }

    /// Whether everything queued is in the socket.
    pub(super) fn is_flushed(&self) -> bool {
        self.queue.is_flushed()
    }

    /// Envoy's close action `FlushWriteAndDelay`: writes what is queued, as long as there is
    /// progress within `delay`, then gives the peer `delay` to close first. As in Envoy nothing is
    /// read meanwhile.
    pub(super) async fn close_delayed(mut self, delay: Duration) {
        while !self.is_flushed() {
            let before = self.queue.len();
            let progress = std::future::poll_fn(|cx| match self.poll_flush(cx) {
                Poll::Ready(result) => Poll::Ready(result.is_ok()),
                Poll::Pending if self.queue.len() < before => Poll::Ready(true),
                Poll::Pending => Poll::Pending,
            });
            if !matches!(tokio::time::timeout(delay, progress).await, Ok(true)) {
                return;
            }
        }
        // Whether the peer has closed or not, its time to do so is over.
        let _ = tokio::time::timeout(delay, socket::peer_closed(&self.socket)).await;
    }

    /// Frees the buffer's memory once it is empty, which it is for most of a session's life.
    fn shrink(&mut self) {
        if self.buffer.is_empty() {
            self.buffer = BytesMut::new();
        }
    }
}

/// Reads and drops what comes until the peer closes, at most for `delay`.
pub(super) async fn drain(socket: &mut Socket, delay: Duration) {
    let closed = std::future::poll_fn(|cx| {
        while let Ok(bytes) = std::task::ready!(arena::poll_read(socket, cx, &[])) {
            if bytes.is_empty() {
                break;
            }
        }
        Poll::Ready(())
    });
    // Whether the peer has closed or not, its time to do so is over.
    let _ = tokio::time::timeout(delay, closed).await;
}

/// Why no head was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HeadOutcome {
    /// The connection ended within it.
    Closed,
    /// The peer sent something that is not a head.
    Malformed(HeadError),
}
