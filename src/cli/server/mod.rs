//! `websockets-cli server`.

mod health;

use std::io::Write;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use http::{HeaderValue, StatusCode};

use super::connection::parse_token;
use super::{allocator, duration, exit};
use crate::drain::{Drain, EndSignals};
use crate::net;
use crate::server::{CloseAfter, Config, Ping, PodIdentity, ServeError, Server};
use crate::signals::Survived;
use crate::tls::server::ServerOptions;
use crate::tls::{self, CredentialsError};

/// Runs a WebSocket echo server: text and binary messages come back as they are.
///
/// Every path takes WebSocket sessions, over HTTP/1.1 and over HTTP/2 (extended CONNECT), with
/// --cert over TLS. On the same port GET answers /healthz (200), /readyz (200, and 503 while it
/// drains), /metrics (for Prometheus) and /info (what the server saw of the request, as JSON; the
/// pod's name and node from the environment's `POD_NAME`, `POD_NAMESPACE` and `NODE_NAME`).
///
/// SIGTERM or SIGINT drains it: it is not ready any more, refuses new sessions with 503, answers
/// what has come, closes all sessions with 1001, and ends with status 0. A second signal ends it at
/// once. SIGHUP and SIGUSR1 are ignored, with a warning.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where to listen; port 0 lets the system choose one.
    #[arg(long, value_name = "ADDR", default_value = "0.0.0.0:8080")]
    listen: SocketAddr,

    /// Asks the server that listens there whether it is healthy (GET /healthz), and ends with 0 if
    /// it is, with 1 if not; a container's health check, with the --listen and --cert of the
    /// server.
    #[arg(long)]
    health: bool,

    /// How many threads accept and serve [default: the number of cores].
    #[arg(long, value_name = "N")]
    workers: Option<NonZeroUsize>,

    /// How long sessions may take to end after SIGTERM.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration::parse)]
    drain_timeout: Duration,

    /// A subprotocol to agree to, if the client offers it; repeatable.
    #[arg(long = "subprotocol", value_name = "NAME", value_parser = parse_subprotocol)]
    subprotocols: Vec<HeaderValue>,

    /// Takes sessions from this origin, such as `https://example.com`, and refuses browsers that
    /// come from others with 403; repeatable. What sends no Origin is no browser and is taken.
    #[arg(long = "origin", value_name = "ORIGIN", value_parser = parse_origin)]
    origins: Vec<HeaderValue>,

    #[command(flatten, next_help_heading = "TLS")]
    tls: ServerTlsArgs,

    #[command(flatten, next_help_heading = "Limits")]
    limits: Limits,

    #[command(flatten, next_help_heading = "For tests of clients and proxies")]
    misbehaviour: Misbehaviour,

    #[command(flatten)]
    pod: PodArgs,
}

#[derive(Debug, clap::Args)]
struct ServerTlsArgs {
    /// The server's certificate, in PEM, followed by any intermediate ones: with it the port speaks
    /// TLS and nothing else.
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,

    /// The certificate's key, in PEM.
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,

    /// The CA, in PEM, of which each client has to show a certificate.
    #[arg(long, value_name = "FILE", requires = "cert")]
    client_ca: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct Limits {
    /// How many WebSocket connections may be open at the same time; one more is refused with 503.
    #[arg(long, value_name = "N")]
    max_connections: Option<usize>,

    /// The longest message that is taken, in bytes; a longer one is closed with 1009.
    #[arg(long, value_name = "BYTES", default_value_t = Config::MAX_MESSAGE_SIZE)]
    max_message_size: usize,

    /// The longest frame that is taken, in bytes, compressed as it comes; a longer one is closed
    /// with 1009 [default: as long as a message makes it].
    #[arg(long, value_name = "BYTES")]
    max_frame_size: Option<NonZeroUsize>,

    /// How many bytes of messages all sessions may hold together: messages that have come in part,
    /// and answers that clients do not take. At the bound new sessions get 503, and a message
    /// longer than 16 KiB is not read on until there is room; a session that holds memory then and
    /// does not move for 5 s is ended (1013). A longer message is closed with 1009.
    #[arg(long, value_name = "BYTES", default_value_t = Config::MAX_BUFFERED_BYTES)]
    max_buffered_bytes: usize,

    /// How long a client may take for the head of its first request.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration::parse)]
    handshake_timeout: Duration,

    /// Closes a session with 1001 in which no message came or went for so long.
    #[arg(long, value_name = "DURATION", value_parser = duration::parse_positive)]
    idle_timeout: Option<Duration>,

    /// Sends each client a ping so often.
    #[arg(long, value_name = "DURATION", value_parser = duration::parse_positive)]
    ping_interval: Option<Duration>,

    /// Closes a session with 1011 whose client takes longer for a pong; with --ping-interval.
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "20s",
        value_parser = duration::parse_positive,
        requires = "ping_interval"
    )]
    ping_timeout: Duration,
}

#[derive(Debug, clap::Args)]
struct Misbehaviour {
    /// How long to wait before each answer, such as 300ms; the delay of a session holds up no
    /// other.
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    delay: Option<Duration>,

    /// Refuses every opening handshake with this status, 200 to 599.
    #[arg(long, value_name = "STATUS", value_parser = parse_status)]
    reject: Option<StatusCode>,

    /// Closes each session after N answers, with this code [default: 1000]; 1005 is a Close without
    /// a code, 1006 none at all.
    #[arg(long, value_name = "N[:CODE]", value_parser = parse_close_after)]
    close_after: Option<CloseAfter>,

    /// Answers GET /inemuri by being unresponsive for 10 s, and GET /seppuku by ending with status
    /// 69.
    #[arg(long)]
    enable_test_routes: bool,
}

/// What the downward API of Kubernetes says of the pod, for /info.
#[derive(Debug, clap::Args)]
struct PodArgs {
    #[arg(long, env = "POD_NAME", hide = true)]
    pod_name: Option<String>,
    #[arg(long, env = "POD_NAMESPACE", hide = true)]
    pod_namespace: Option<String>,
    #[arg(long, env = "NODE_NAME", hide = true)]
    node_name: Option<String>,
}

fn parse_subprotocol(text: &str) -> Result<HeaderValue, String> {
    HeaderValue::try_from(parse_token(text)?).map_err(|error| error.to_string())
}

/// What browsers send (RFC 6454 section 6.1): anything more would match none of them.
fn parse_origin(text: &str) -> Result<HeaderValue, String> {
    let of_host = |(scheme, host): (&str, &str)| {
        !scheme.is_empty() && !host.is_empty() && !host.contains(['/', '?', '#', '@'])
    };
    if text != "null" && !text.split_once("://").is_some_and(of_host) {
        return Err("an origin is SCHEME://HOST[:PORT] and no more, or null".to_owned());
    }
    text.parse().map_err(|error: http::header::InvalidHeaderValue| error.to_string())
}

fn parse_status(text: &str) -> Result<StatusCode, String> {
    let status = text.parse().ok().and_then(|status| StatusCode::from_u16(status).ok());
    status
        .filter(|status| (200..600).contains(&status.as_u16()))
        .ok_or_else(|| "not a status from 200 to 599".to_owned())
}

fn parse_close_after(text: &str) -> Result<CloseAfter, String> {
    let (messages, code) = text.split_once(':').unwrap_or((text, "1000"));
    let messages = messages.parse().map_err(|_| format!("{messages:?} is not a number of messages"))?;
    let code = code.parse().ok().filter(|code| (1000..5000).contains(code));
    let code = code.ok_or_else(|| "the code is a number from 1000 to 4999".to_owned())?;
    Ok(CloseAfter { messages, code })
}

impl ServerTlsArgs {
    fn load(self) -> Result<Option<tls::server::Server>, CredentialsError> {
        let (Some(certificate), Some(key)) = (self.cert, self.key) else { return Ok(None) };
        tls::server::Server::load(&ServerOptions { certificate, key, client_ca: self.client_ca }).map(Some)
    }
}

impl Args {
    fn into_config(self) -> Result<Config, CredentialsError> {
        let cores = || std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        let Self { tls, limits, misbehaviour, pod, .. } = self;
        Ok(Config {
            listen: self.listen,
            workers: self.workers.unwrap_or_else(cores),
            tls: tls.load()?,
            delay: misbehaviour.delay,
            max_connections: limits.max_connections,
            max_message_size: limits.max_message_size,
            max_frame_size: limits.max_frame_size.map(NonZeroUsize::get),
            max_buffered_bytes: limits.max_buffered_bytes,
            handshake_timeout: limits.handshake_timeout,
            idle_timeout: limits.idle_timeout,
            ping: limits.ping_interval.map(|interval| Ping { interval, timeout: limits.ping_timeout }),
            subprotocols: self.subprotocols,
            origins: self.origins,
            reject: misbehaviour.reject,
            close_after: misbehaviour.close_after,
            test_routes: misbehaviour.enable_test_routes,
            pod: PodIdentity { name: pod.pod_name, namespace: pod.pod_namespace, node: pod.node_name },
        })
    }
}

pub(super) fn run(args: Args) -> ExitCode {
    if args.health {
        return health::run(args);
    }
    allocator::begin_with_settings();
    net::raise_open_file_limit();
    let drain_timeout = args.drain_timeout;
    let config = match args.into_config() {
        Ok(config) => config,
        Err(error) => return exit::report(&error, None, exit::USAGE),
    };
    let server = match Server::bind(config) {
        Ok(server) => server,
        Err(error) => {
            let hint = "choose another address with --listen; port 0 takes a free one";
            return exit::report(&error, Some(hint), exit::USAGE);
        }
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return exit::report(&error, None, exit::FAILED),
    };
    match runtime.block_on(serve(server, drain_timeout)) {
        Ok(()) => ExitCode::from(exit::OK),
        Err(error @ ServeError::Seppuku) => exit::report(&error, None, exit::UNAVAILABLE),
        Err(error) => exit::report(&error, None, exit::FAILED),
    }
}

/// Serves until a signal ends it.
async fn serve(server: Server, drain_timeout: Duration) -> Result<(), ServeError> {
    let mut signals = EndSignals::install()?;
    let mut survived = Survived::install()?;
    let surviving = async {
        loop {
            survived.user_defined1().await;
            tracing::warn!("SIGUSR1 is ignored; the server has no log to reopen");
        }
    };
    let drain = Drain::new();
    let address = server.local_addr();
    let serving = server.serve(drain.clone());
    // Nothing is lost with this line but the line.
    let _ = writeln!(std::io::stderr(), "listening on {address}");
    let draining = async {
        signals.next().await;
        tokio::select! {
            _ = drain.run(drain_timeout) => {}
            _ = signals.next() => drain.forced.cancel(),
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        ended = serving => ended,
        () = draining => Ok(()),
        () = surviving => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_what_browsers_send() {
        for origin in ["https://example.com", "http://127.0.0.1:8080", "null"] {
            assert_eq!(parse_origin(origin).unwrap(), origin);
        }
        for other in
            ["https://example.com/", "https://example.com/path", "example.com", "https://", "", "https://a@b"]
        {
            assert!(parse_origin(other).is_err(), "{other}");
        }
    }

    #[test]
    fn a_subprotocol_is_a_token() {
        assert_eq!(parse_subprotocol("graphql-ws").unwrap(), "graphql-ws");
        assert!(parse_subprotocol("a, b").is_err());
    }
}
