//! One sidecar without its counterpart.

use std::net::SocketAddr;

use serde_json::Value;
use websockets_cli::drain::Drain;
use websockets_cli::mesh::{Inbound, Outbound};
use websockets_cli::sidecar::{self, Direction, Sidecar};

use super::{Hop, Log, config, inbound_mesh, outbound_mesh, stop};

/// One sidecar without its counterpart. Everything ends with it.
pub(crate) struct Alone {
    pub(crate) address: SocketAddr,
    pub(crate) log: Log,
    drain: Drain,
}

impl Drop for Alone {
    fn drop(&mut self) {
        stop(&self.drain);
    }
}

impl Alone {
    /// The client's sidecar, with `server` in the place of the other one.
    pub(crate) fn outbound(hop: Hop, server: SocketAddr, configure: impl FnOnce(&mut Outbound)) -> Self {
        let mut mesh = outbound_mesh(hop);
        configure(&mut mesh);
        Self::start(Direction::Outbound { mesh, passthrough: None }, server, |_| {})
    }

    /// The server's sidecar.
    pub(crate) fn inbound(hop: Hop, application: SocketAddr, configure: impl FnOnce(&mut Inbound)) -> Self {
        let mut mesh = inbound_mesh(hop);
        configure(&mut mesh);
        Self::start(
            Direction::Inbound { mesh, bind_source: None, mint_websocket_key: false },
            application,
            |_| {},
        )
    }

    pub(crate) fn start(
        direction: Direction,
        endpoint: SocketAddr,
        configure: impl FnOnce(&mut sidecar::Config),
    ) -> Self {
        let (sidecar, log) = Log::of(|target| {
            let mut config = config(direction, endpoint, target);
            configure(&mut config);
            Sidecar::bind(config).unwrap()
        });
        let (address, drain) = (sidecar.local_addr(), Drain::new());
        tokio::spawn(sidecar.serve(drain.clone()));
        Self { address, log, drain }
    }

    /// Waits until it has so many lines; more are a failure.
    pub(crate) async fn lines(&self, count: usize) -> Vec<Value> {
        self.log.wait_for(count).await
    }

    /// The one line that it has to have.
    pub(crate) async fn line(&self) -> Value {
        self.lines(1).await.remove(0)
    }
}
