//! What sessions are driven through: a pair of sidecars with an application behind it, the programs
//! of this binary or real Envoys, of which the rest of [`super`] knows only where they listen,
//! where they log, and how to let them go; or a mesh in a cluster, where all that is there already.

pub(super) mod bundled;
pub(super) mod envoy;
mod held_echo;
#[cfg(feature = "kubernetes")]
pub(super) mod kubernetes;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::envoy::Envoy;
use super::VerifyError;
use super::pair::PairConfig;
use super::played::LogFiles;
use super::scenario::Application;
use crate::drain::Drain;

/// Where Istio's inbound connections to the application come from
/// (`pilot/pkg/networking/core/listener_address.go`).
const INBOUND_SOURCE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 6));

/// A kind of pair.
#[derive(Debug, Clone, Copy)]
pub(super) enum Target<'a> {
    /// The sidecars of this program.
    Bundled,
    /// Real Envoys.
    Envoy(&'a Envoy),
}

impl Target<'_> {
    /// Starts an application and a pair of sidecars before it, which write to `logs`.
    pub(super) async fn start(
        self,
        application: Application,
        pair: &PairConfig,
        logs: &LogFiles,
    ) -> Result<RunningPair, VerifyError> {
        match self {
            Self::Bundled => Ok(bundled::start(application, pair, logs)?),
            Self::Envoy(envoy) => Ok(envoy.start(application, pair, logs).await?),
        }
    }
}

/// A pair and its application, running. They end when this is dropped.
#[derive(Debug)]
pub(super) struct RunningPair {
    /// Where the client's sidecar listens.
    pub(super) client_sidecar: SocketAddr,
    /// Where the server's sidecar listens.
    pub(super) server_sidecar: SocketAddr,
    /// Where the application listens.
    pub(super) application: SocketAddr,
    envoys: Option<envoy::Pair>,
    released: CancellationToken,
    drain: Drain,
    programs: JoinSet<std::io::Result<()>>,
}

impl RunningPair {
    /// Lets a held echo answer.
    pub(super) fn release(&self) {
        self.released.cancel();
    }

    /// Ends everything and waits until it has ended: from then on no line is written.
    pub(super) async fn stop(mut self) {
        // The application has not left when the sidecars do: that would be one more ending.
        if let Some(envoys) = self.envoys.take() {
            envoys.stop().await;
        }
        self.end();
        // The outcome of a program that was told to end at once is ignored.
        while self.programs.join_next().await.is_some() {}
    }

    fn end(&self) {
        self.drain.graceful.cancel();
        self.drain.forced.cancel();
    }
}

impl Drop for RunningPair {
    fn drop(&mut self) {
        self.end();
    }
}
