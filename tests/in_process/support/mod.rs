//! A pair of sidecars with an application behind it, and a client that writes the very bytes it
//! means.

mod alone;
mod application;
mod client;
mod http2;
mod log;
mod mesh;

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::net::TcpSocket;
use websockets_cli::access_log::{Format, Target};
use websockets_cli::drain::Drain;
use websockets_cli::mesh::{Inbound, Outbound};
use websockets_cli::server::{self, Server};
use websockets_cli::sidecar::{self, Direction, Sidecar};
use websockets_cli::tls::MutualTls;

pub(crate) use alone::Alone;
pub(crate) use application::*;
pub(crate) use client::*;
pub(crate) use http2::*;
pub(crate) use log::Log;
pub(crate) use mesh::*;

/// How long a test waits for the next step of anything, a byte or a line, before it gives up. A
/// slow machine takes longer for all steps together, and that is no failure.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) const AUTHORITY: &str = "websockets-server.default.svc.cluster.local:8080";

/// What the hop between the sidecars is configured for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hop {
    Http1,
    Http2,
    /// UPGRADE without the EnvoyFilter.
    Http2WithoutAllowConnect,
}

/// A running pair. Everything ends with it.
pub(crate) struct Pair {
    pub(crate) outbound: SocketAddr,
    pub(crate) inbound: SocketAddr,
    pub(crate) outbound_admin: SocketAddr,
    pub(crate) inbound_admin: SocketAddr,
    client_log: Log,
    server_log: Log,
    outbound_drain: Drain,
    inbound_drain: Drain,
}

impl Drop for Pair {
    fn drop(&mut self) {
        self.stop_outbound();
        self.stop_inbound();
    }
}

impl Pair {
    pub(crate) fn start(hop: Hop, application: SocketAddr) -> Self {
        Self::configured(hop, application, |_, _| {})
    }

    pub(crate) fn configured(
        hop: Hop,
        application: SocketAddr,
        configure: impl FnOnce(&mut Outbound, &mut Inbound),
    ) -> Self {
        Self::start_all(hop, application, |_| {}, [None, None], configure)
    }

    /// With the credentials of the client's and of the server's sidecar.
    pub(crate) fn with_mutual_tls(
        hop: Hop,
        application: SocketAddr,
        credentials: [Option<MutualTls>; 2],
        configure: impl FnOnce(&mut Outbound, &mut Inbound),
    ) -> Self {
        Self::start_all(hop, application, |_| {}, credentials, configure)
    }

    /// A pair whose drains take no time: every response that is sent in one asks for the end of its
    /// connection.
    pub(crate) fn draining_at_once(hop: Hop, application: SocketAddr) -> Self {
        let at_once = |config: &mut sidecar::Config| config.drain_time = Duration::ZERO;
        Self::start_all(hop, application, at_once, [None, None], |_, _| {})
    }

    /// A pair whose streams may hold so many bytes.
    pub(crate) fn with_memory(hop: Hop, application: SocketAddr, max_buffered_bytes: usize) -> Self {
        let little = |config: &mut sidecar::Config| config.max_buffered_bytes = max_buffered_bytes;
        Self::start_all(hop, application, little, [None, None], |_, _| {})
    }

    fn start_all(
        hop: Hop,
        application: SocketAddr,
        both: impl Fn(&mut sidecar::Config),
        [client_tls, server_tls]: [Option<MutualTls>; 2],
        configure: impl FnOnce(&mut Outbound, &mut Inbound),
    ) -> Self {
        let (mut outbound, mut inbound) = (outbound_mesh(hop), inbound_mesh(hop));
        configure(&mut outbound, &mut inbound);
        let start = |direction, endpoint, mutual_tls| {
            let (sidecar, log) = Log::of(|target| {
                let mut config = sidecar::Config { mutual_tls, ..config(direction, endpoint, target) };
                both(&mut config);
                Sidecar::bind(config).unwrap()
            });
            let (address, admin) = (sidecar.local_addr(), sidecar.admin_addr().unwrap());
            let drain = Drain::new();
            tokio::spawn(sidecar.serve(drain.clone()));
            (address, admin, drain, log)
        };
        let direction = Direction::Inbound {
            mesh: inbound,
            bind_source: Some("127.0.0.6".parse().unwrap()),
            mint_websocket_key: false,
        };
        let (inbound, inbound_admin, inbound_drain, server_log) = start(direction, application, server_tls);
        let direction = Direction::Outbound { mesh: outbound, passthrough: None };
        let (outbound, outbound_admin, outbound_drain, client_log) = start(direction, inbound, client_tls);
        Self {
            outbound,
            inbound,
            outbound_admin,
            inbound_admin,
            client_log,
            server_log,
            outbound_drain,
            inbound_drain,
        }
    }

    pub(crate) fn stop_inbound(&self) {
        stop(&self.inbound_drain);
    }

    pub(crate) fn stop_outbound(&self) {
        stop(&self.outbound_drain);
    }

    /// The one line that each side has to have: the client's sidecar's and the server's.
    pub(crate) async fn one_line_each(&self) -> (Value, Value) {
        let (mut client, mut server) =
            (self.wait_for_lines("client", 1).await, self.wait_for_lines("server", 1).await);
        (client.remove(0), server.remove(0))
    }

    /// The lines of `client` or `server` so far.
    pub(crate) fn lines(&self, side: &str) -> Vec<Value> {
        self.log(side).lines()
    }

    /// Waits until a side has so many lines or more.
    pub(crate) async fn wait_until_lines(&self, side: &str, count: usize) {
        self.log(side).wait_until(count).await;
    }

    /// Waits until a side has so many lines; more are a failure.
    pub(crate) async fn wait_for_lines(&self, side: &str, count: usize) -> Vec<Value> {
        self.log(side).wait_for(count).await
    }

    fn log(&self, side: &str) -> &Log {
        match side {
            "client" => &self.client_log,
            "server" => &self.server_log,
            _ => panic!("no side is called {side}"),
        }
    }
}

/// What a test does not say otherwise.
fn config(direction: Direction, endpoint: SocketAddr, access_log: Target) -> sidecar::Config {
    sidecar::Config {
        direction,
        listen: "127.0.0.1:0".parse().unwrap(),
        endpoints: endpoint.into(),
        concurrency: 1,
        max_buffered_bytes: sidecar::MAX_BUFFERED_BYTES,
        access_log,
        access_log_format: Format::Json,
        admin: Some("127.0.0.1:0".parse().unwrap()),
        mutual_tls: None,
        drain_time: Duration::from_secs(5),
    }
}

fn stop(drain: &Drain) {
    drain.graceful.cancel();
    drain.forced.cancel();
}

/// What a line says of how its stream ended: code, flags, details, bytes received and sent.
pub(crate) fn ending(line: &Value) -> Value {
    serde_json::json!([
        line["response_code"],
        line["response_flags"],
        line["response_code_details"],
        line["bytes_received"],
        line["bytes_sent"]
    ])
}

/// The echo server.
pub(crate) fn echo() -> SocketAddr {
    let mut config = server::Config::new("127.0.0.1:0".parse().unwrap());
    config.workers = 1.try_into().unwrap();
    let server = Server::bind(config).unwrap();
    let address = server.local_addr();
    tokio::spawn(server.serve(Drain::new()));
    address
}

/// An address where nothing listens, nor can anything begin to as long as the test runs.
pub(crate) fn nobody() -> SocketAddr {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let _bound = socket;
        std::future::pending::<()>().await;
    });
    address
}

/// Gives up after [`PATIENCE`].
pub(crate) async fn patiently<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.expect("in time")
}
