//! A pair of sidecars with an application behind it, and a client that writes the very bytes it means.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use websockets_cli::access_log::{Format, Target};
use websockets_cli::drain::Drain;
use websockets_cli::mesh::{
    Cluster, HttpConnectionManager, Inbound, Outbound, RetryPolicy, Route, RouteAction, UpstreamProtocol,
    VirtualHost,
};
use websockets_cli::server::{self, Server};
use websockets_cli::sidecar::{self, Direction, Sidecar};
use websockets_cli::tls::MutualTls;

/// How long anything may take before a test gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) const AUTHORITY: &str = "websockets-server.default.svc.cluster.local:8080";

/// `hello` as a client's text frame, masked with zeros.
pub(crate) const HELLO: &[u8] = b"\x81\x85\0\0\0\0hello";
/// Close 1000 as a client's frame.
pub(crate) const CLOSE: &[u8] = b"\x88\x82\0\0\0\0\x03\xe8";

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
    logs: TempDir,
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
        Self::start_all(hop, application, Duration::from_secs(5), [None, None], configure)
    }

    /// With the credentials of the client's and of the server's sidecar.
    pub(crate) fn with_mutual_tls(
        hop: Hop,
        application: SocketAddr,
        credentials: [Option<MutualTls>; 2],
        configure: impl FnOnce(&mut Outbound, &mut Inbound),
    ) -> Self {
        Self::start_all(hop, application, Duration::from_secs(5), credentials, configure)
    }

    /// A pair whose drains take no time: every response that is sent in one asks for the end of its connection.
    pub(crate) fn draining_at_once(hop: Hop, application: SocketAddr) -> Self {
        Self::start_all(hop, application, Duration::ZERO, [None, None], |_, _| {})
    }

    fn start_all(
        hop: Hop,
        application: SocketAddr,
        drain_time: Duration,
        [client_tls, server_tls]: [Option<MutualTls>; 2],
        configure: impl FnOnce(&mut Outbound, &mut Inbound),
    ) -> Self {
        let mut inbound = Inbound {
            connection_manager: HttpConnectionManager {
                allow_connect: hop == Hop::Http2,
                delayed_close_timeout: Duration::from_millis(100),
                ..HttpConnectionManager::inbound()
            },
            virtual_host: virtual_host("inbound|http|8080", &["*"], "inbound|80||", RetryPolicy::inbound()),
        };
        let mut outbound = Outbound {
            connection_manager: HttpConnectionManager {
                delayed_close_timeout: Duration::from_millis(100),
                ..HttpConnectionManager::outbound()
            },
            virtual_hosts: vec![virtual_host(
                AUTHORITY,
                &["websockets-server.default.svc.cluster.local"],
                "outbound|8080||websockets-server.default.svc.cluster.local",
                RetryPolicy::outbound(),
            )],
        };
        if hop != Hop::Http1
            && let RouteAction::Forward { cluster, .. } = &mut outbound.virtual_hosts[0].routes[0].action
        {
            cluster.protocol = UpstreamProtocol::Http2;
        }
        configure(&mut outbound, &mut inbound);
        let logs = tempfile::tempdir().unwrap();
        let start = |direction, endpoint, mutual_tls, log: &str| {
            let sidecar = Sidecar::bind(sidecar::Config {
                direction,
                listen: "127.0.0.1:0".parse().unwrap(),
                endpoint,
                concurrency: 1,
                access_log: Target::File(logs.path().join(log)),
                access_log_format: Format::Json,
                admin: Some("127.0.0.1:0".parse().unwrap()),
                mutual_tls,
                drain_time,
            })
            .unwrap();
            let (address, admin) = (sidecar.local_addr(), sidecar.admin_addr().unwrap());
            let drain = Drain::new();
            tokio::spawn(sidecar.serve(drain.clone()));
            (address, admin, drain)
        };
        let direction = Direction::Inbound { mesh: inbound, bind_source: Some("127.0.0.6".parse().unwrap()) };
        let (inbound, inbound_admin, inbound_drain) = start(direction, application, server_tls, "server");
        let direction = Direction::Outbound { mesh: outbound, passthrough: None };
        let (outbound, outbound_admin, outbound_drain) = start(direction, inbound, client_tls, "client");
        Self { outbound, inbound, outbound_admin, inbound_admin, logs, outbound_drain, inbound_drain }
    }

    pub(crate) fn stop_inbound(&self) {
        self.inbound_drain.graceful.cancel();
        self.inbound_drain.forced.cancel();
    }

    pub(crate) fn stop_outbound(&self) {
        self.outbound_drain.graceful.cancel();
        self.outbound_drain.forced.cancel();
    }

    /// The lines of `client` or `server` so far.
    pub(crate) fn lines(&self, side: &str) -> Vec<Value> {
        let path: PathBuf = self.logs.path().join(side);
        let text = std::fs::read_to_string(path).unwrap();
        // The last one may still be on its way to the disk.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole.lines().map(|line| serde_json::from_str(line).expect("a whole line")).collect()
    }

    /// The one line that each side has to have: the client's sidecar's and the server's.
    pub(crate) async fn one_line_each(&self) -> (Value, Value) {
        let (mut client, mut server) =
            (self.wait_for_lines("client", 1).await, self.wait_for_lines("server", 1).await);
        (client.remove(0), server.remove(0))
    }

    /// Waits until a side has so many lines or more.
    pub(crate) async fn wait_until_lines(&self, side: &str, count: usize) -> Vec<Value> {
        let newlines = || {
            let text = std::fs::read_to_string(self.logs.path().join(side)).unwrap();
            text.matches('\n').count()
        };
        let waiting = async {
            while newlines() < count {
                tokio::task::yield_now().await;
            }
        };
        let in_time = tokio::time::timeout(PATIENCE, waiting).await.is_ok();
        assert!(in_time, "{side}: {:#?} instead of {count} lines", self.lines(side));
        self.lines(side)
    }

    /// Waits until a side has so many lines; more are a failure.
    pub(crate) async fn wait_for_lines(&self, side: &str, count: usize) -> Vec<Value> {
        let lines = self.wait_until_lines(side, count).await;
        assert_eq!(lines.len(), count, "{side}: {lines:#?}");
        lines
    }
}

fn virtual_host(name: &str, domains: &[&str], cluster: &str, retry: RetryPolicy) -> VirtualHost {
    VirtualHost {
        name: name.to_owned(),
        domains: domains.iter().map(ToString::to_string).collect(),
        routes: vec![Route {
            name: Some("default".to_owned()),
            action: RouteAction::Forward {
                cluster: Box::new(Cluster::endpoint(cluster.to_owned())),
                timeout: None,
                retry,
            },
        }],
        include_request_attempt_count: name.starts_with("websockets"),
    }
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

/// An address where nothing listens.
pub(crate) async fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

/// The bytes of a WebSocket handshake.
pub(crate) fn handshake() -> Vec<u8> {
    format!(
        "GET / HTTP/1.1\r\nHost: {AUTHORITY}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    .into_bytes()
}

/// Reads up to and including the empty line.
pub(crate) async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(patiently(stream.read_u8()).await.expect("the rest of a head"));
    }
    String::from_utf8(head).unwrap()
}

/// Reads to the end.
pub(crate) async fn read_all(stream: &mut TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    patiently(stream.read_to_end(&mut all)).await.unwrap();
    all
}

/// Reads so many bytes.
pub(crate) async fn read_exactly(stream: &mut TcpStream, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    patiently(stream.read_exact(&mut bytes)).await.unwrap();
    bytes
}

/// Opens a session and has `hello` echoed.
pub(crate) async fn open_session(address: SocketAddr) -> TcpStream {
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(&handshake()).await.unwrap();
    let head = read_head(&mut client).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    client.write_all(HELLO).await.unwrap();
    assert_eq!(read_exactly(&mut client, 7).await, b"\x81\x05hello");
    client
}

/// Gives up after [`PATIENCE`].
pub(crate) async fn patiently<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.expect("in time")
}
