//! One half of a stream, the downstream's or the upstream's, as the relay sees it.

use std::task::{Context, Poll};

use bytes::Bytes;

/// Bytes in both directions, to and from one peer. Which version of HTTP carries them is not to be
/// seen here.
pub(super) trait Half {
    /// How its peer can end it early.
    type Reset;

    /// The next bytes from the peer, `None` at the proper end.
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Self::Reset>>;

    /// To be polled in place of [`Half::poll_data`] while the other half takes nothing. An HTTP/1.1
    /// connection is not read meanwhile, so that its peer stalls, too. A stream of HTTP/2 keeps
    /// what arrives, which its window bounds, and is ready when its peer has ended it: then nothing
    /// comes behind what [`Half::poll_data`] still gives.
    fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Reset>>;

    /// How many bytes have come from the peer since this was asked last.
    fn take_received(&mut self) -> usize;

    /// Ready when the peer can be sent more.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Reset>>;

    /// Queues bytes for the peer, also when not ready.
    fn send(&mut self, data: Bytes) -> Result<(), Self::Reset>;

    /// Queues the proper end.
    fn finish(&mut self);

    /// Writes what is queued.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Reset>>;
}
