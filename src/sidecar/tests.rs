//! What a session costs while it is open, and what can be seen of one in the log of events.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use http::{HeaderValue, Method};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tracing_subscriber::fmt::MakeWriter;

use super::config::{Config, Direction, Proxy};
use super::connection_info::ConnectionInfo;
use super::downstream::{self, Downstream, Incoming};
use super::downstream_tasks::DownstreamTasks;
use super::filter_chain::{FilterChain, FilterChains};
use super::http1::Http1;
use super::overload::{self, MAX_BUFFERED_BYTES};
use super::stats::WorkerStats;
use super::stream;
use crate::access_log::{Format, Protocol, Sink, Target};
use crate::http1::Fields;
use crate::mesh::{HttpConnectionManager, Outbound};
use crate::websocket::extended_connect::RequestParts;

/// A filter chain without any route.
fn chain() -> Rc<FilterChain> {
    let mesh = Outbound { connection_manager: HttpConnectionManager::outbound(), virtual_hosts: Vec::new() };
    let log = tempfile::NamedTempFile::new().unwrap();
    let config = Config {
        direction: Direction::Outbound { mesh, passthrough: None },
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        endpoints: SocketAddr::from(([127, 0, 0, 1], 1)).into(),
        concurrency: 1,
        access_log: Target::File(log.path().to_owned()),
        access_log_format: Format::Json,
        mutual_tls: None,
        admin: None,
        max_buffered_bytes: MAX_BUFFERED_BYTES,
        drain_time: Duration::ZERO,
    };
    let (sink, _writer) = Sink::open(config.access_log.clone(), config.access_log_format).unwrap();
    let proxy = Proxy::new(config).unwrap();
    let stats = Arc::new(WorkerStats::new(proxy.virtual_hosts()));
    let budget = overload::budget(proxy.buffered_bytes, Arc::clone(&stats.overload));
    let chains = FilterChains::of_all_listeners(&proxy, &stats, &budget, &DownstreamTasks::default(), &sink);
    Rc::clone(chains[0].only().unwrap())
}

/// A client, and the connection that a worker has with it.
async fn connection() -> (TcpStream, Box<Http1>, ConnectionInfo) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let local = listener.local_addr().unwrap();
    let (client, accepted) = tokio::join!(TcpStream::connect(local), listener.accept());
    let (socket, remote) = accepted.unwrap();
    let connection = Box::new(Http1::new(socket.into(), BytesMut::new()));
    (client.unwrap(), connection, ConnectionInfo { local, remote, tls: None })
}

#[tokio::test]
async fn an_idle_session_is_small() {
    let (_client, connection, info) = connection().await;
    let chain = chain();
    let request = RequestParts {
        method: Method::GET,
        scheme: "http",
        authority: Some(HeaderValue::from_static("a")),
        path: Some(HeaderValue::from_static("/")),
        fields: Fields::new(),
    };
    let record = chain.record(&info, Protocol::Http11);
    let incoming = Incoming { request, protocol: Protocol::Http11, tls: None, close: false, record };
    let of_stream = size_of_val(&stream::serve(Rc::clone(&chain), Downstream::Http1(connection), incoming));
    // What the relay borrows and remembers, and the stream itself by its pointer. What leads to the
    // response head and what follows the end needs several kilobytes, and is on the heap only for
    // as long as it runs.
    assert!(of_stream <= 320, "{of_stream} bytes");
    let (_client, connection, info) = self::connection().await;
    // An HTTP/1.1 connection has its addresses besides, and room for the request that it reads
    // next.
    let of_connection = size_of_val(&downstream::http1::serve(chain, connection, info));
    assert!(of_connection <= 640, "{of_connection} bytes");
}

/// Collects what is written about events.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Written {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()).unwrap()
    }
}

impl io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Written {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

/// Serves one request with this id to its end, and returns what was written about it at this level.
fn events_of(id: &str, level: tracing::Level) -> String {
    let written = Written::default();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(written.clone())
        .with_ansi(false)
        .with_max_level(level)
        .finish();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tracing::subscriber::with_default(subscriber, || {
        runtime.block_on(async {
            let (mut client, connection, info) = connection().await;
            let request =
                format!("GET / HTTP/1.1\r\nhost: a\r\nx-request-id: {id}\r\nconnection: close\r\n\r\n");
            client.write_all(request.as_bytes()).await.unwrap();
            let talking = async {
                let mut answer = String::new();
                client.read_to_string(&mut answer).await.unwrap();
                assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
            };
            let serving = downstream::http1::serve(chain(), connection, info);
            tokio::join!(talking, serving);
        });
    });
    written.text()
}

#[test]
fn the_events_of_a_session_carry_its_id_its_peer_and_its_protocol() {
    let events = events_of("the-one", tracing::Level::DEBUG);
    let events: Vec<&str> = events.lines().filter(|line| line.contains("websockets_cli::sidecar")).collect();
    assert!(events.len() >= 3, "{events:#?}");
    for event in events {
        assert!(event.contains(" stream{id=\"the-one\" protocol=HTTP/1.1 downstream=127.0.0.1:"), "{event}");
    }
}

#[test]
fn nothing_is_written_of_a_session_where_only_warnings_are_wanted() {
    assert_eq!(events_of("unseen", tracing::Level::WARN), "");
}
