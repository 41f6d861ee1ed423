//! `websockets-cli server`.

use std::io::Write;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::time::Duration;

use super::{duration, exit};
use crate::drain::{Drain, EndSignals};
use crate::net;
use crate::server::{Config, Server};

/// Runs a WebSocket echo server: text and binary messages come back as they are.
///
/// Every path takes WebSocket sessions; GET /healthz on the same port answers 200. SIGTERM or SIGINT closes all
/// sessions with 1001 and ends it with status 0, a second signal ends it at once.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where to listen; port 0 lets the system choose one.
    #[arg(long, value_name = "ADDR", default_value = "0.0.0.0:8080")]
    listen: SocketAddr,

    /// How long to wait before each answer, such as 300ms; the delay of a session holds up no other.
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    delay: Option<Duration>,

    /// How many threads accept and serve [default: the number of cores].
    #[arg(long, value_name = "N")]
    workers: Option<NonZeroUsize>,

    /// How long a client may take for the head of its first request.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration::parse)]
    handshake_timeout: Duration,

    /// How long sessions may take to end after SIGTERM.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration::parse)]
    drain_timeout: Duration,
}

impl Args {
    fn into_config(self) -> Config {
        let cores = || std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        Config {
            workers: self.workers.unwrap_or_else(cores),
            delay: self.delay,
            handshake_timeout: self.handshake_timeout,
            ..Config::new(self.listen)
        }
    }
}

pub(super) fn run(args: Args) -> ExitCode {
    net::raise_open_file_limit();
    let drain_timeout = args.drain_timeout;
    let server = match Server::bind(args.into_config()) {
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
        Err(error) => exit::report(&error, None, exit::FAILED),
    }
}

/// Serves until a signal ends it.
async fn serve(server: Server, drain_timeout: Duration) -> std::io::Result<()> {
    let mut signals = EndSignals::install()?;
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
    }
}
