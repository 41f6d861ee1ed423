//! What sessions are driven through: a pair of sidecars with an application behind it. So far the programs of this
//! binary; the rest of [`super`] knows only where they listen, where they log, and how to let them go.

pub(super) mod bundled;
mod held_echo;

use std::net::SocketAddr;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::drain::Drain;

/// A pair and its application, running. They end when this is dropped.
#[derive(Debug)]
pub(super) struct Running {
    /// Where the client's sidecar listens.
    pub(super) client_sidecar: SocketAddr,
    /// Where the server's sidecar listens.
    pub(super) server_sidecar: SocketAddr,
    /// Where the application listens.
    pub(super) application: SocketAddr,
    released: CancellationToken,
    drain: Drain,
    programs: JoinSet<std::io::Result<()>>,
}

impl Running {
    /// Lets a held echo answer.
    pub(super) fn release(&self) {
        self.released.cancel();
    }

    /// Ends everything and waits until it has ended: from then on no line is written.
    pub(super) async fn stop(mut self) {
        self.end();
        // How a program ends that was told to end at once is nobody's concern.
        while self.programs.join_next().await.is_some() {}
    }

    fn end(&self) {
        self.drain.graceful.cancel();
        self.drain.forced.cancel();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}
