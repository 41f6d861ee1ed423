//! A WebSocket session, whatever carries it, from its opening handshake to its last byte.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::Either;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tracing::Instrument;
use tungstenite::protocol::Role;

use super::buffers::Ledger;
use super::connection::Opened;
use super::echo;
use super::metered::Metered;
use super::read_ahead::ReadAhead;
use super::worker::Worker;
use crate::net::Holding;
use crate::websocket::{TransportAdapter, max_frame_bytes};

/// How long a connection that we ended is read from, so that the peer finds our last bytes and not
/// a reset. As long as Envoy's `delayed_close_timeout`.
const LINGER: Duration = Duration::from_secs(1);

/// Serves a session to its end.
pub(super) fn serve<S: AsyncRead + AsyncWrite + Holding + Unpin>(
    mut opened: Opened<S>,
    worker: &Worker,
) -> impl Future<Output = ()> {
    let span = opened.admitted.span.take();
    let served = serve_opened(opened, worker);
    match span {
        None => Either::Left(served),
        Some(span) => Either::Right(Box::pin(served.instrument(*span))),
    }
}

async fn serve_opened<S: AsyncRead + AsyncWrite + Holding + Unpin>(opened: Opened<S>, worker: &Worker) {
    tracing::debug!("open");
    let Opened { stream, early, admitted } = opened;
    let config = &worker.shared.config;
    let counted = worker.stats.open(admitted.version);
    let max_frame_bytes = config
        .max_frame_size
        .unwrap_or_else(|| max_frame_bytes(config.max_message_bytes(), admitted.deflate));
    let frames = TransportAdapter::new(stream, early, Role::Server, admitted.deflate, max_frame_bytes);
    let ledger = Ledger::new(&worker.shared.buffers, &counted);
    let mut frames = Metered::new(ReadAhead::new(frames, Bytes::new()), &ledger);
    echo::serve(&mut frames, config, &worker.draining, &counted, &ledger).await;
    tracing::debug!("closed");
    let echoed = frames.into_inner();
    drop(ledger);
    drop(counted);
    Box::pin(finish(echoed)).await;
}

/// Ends a connection as the first of the two ends, which is the server's part (RFC 6455 section
/// 7.1.1).
pub(super) async fn finish<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) {
    let ending = async {
        // What is still to be written waits for a peer that may never take it.
        stream.shutdown().await?;
        // Closing with bytes unread would send a reset, which overtakes what the peer has not read
        // yet.
        tokio::io::copy(&mut stream, &mut tokio::io::sink()).await
    };
    let _ = tokio::time::timeout(LINGER, ending).await;
}
