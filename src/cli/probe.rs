//! `websockets-cli probe`.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::ValueEnum;

use super::connection::ConnectionArgs;
use super::exit;
use crate::client::{ConnectConfig, UriError};
use crate::escape::to_json_pretty;
use crate::probe::{self, Report};
use crate::tls;

/// Says what a WebSocket endpoint can do.
///
/// Opens a WebSocket there by an HTTP/1.1 upgrade and by HTTP/2 extended CONNECT, without a key and
/// with one, each on a connection of its own, pings and closes it; and reports TLS, ALPN, HTTP/2
/// SETTINGS, extensions, refusals and how long each phase took, with the verdict at the end.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  websockets-cli probe wss://echo.example.com/socket
  websockets-cli probe --output json ws://127.0.0.1:8080 | jq -r .verdict

Exit status:
  0    a WebSocket could be opened, in whichever way
  1    none could be opened
  2    wrong usage, a URI that is not ws:// or wss://")]
pub(super) struct Args {
    /// The endpoint: `ws://HOST[:PORT][/PATH]` or `wss://…`.
    uri: String,

    /// The form of the report on standard output.
    #[arg(long, value_name = "FORM", default_value = "human")]
    output: ProbeFormat,

    #[command(flatten)]
    connection: ConnectionArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ProbeFormat {
    /// Lines for people.
    Human,
    /// One JSON document: schemas/probe.schema.json.
    Json,
}

pub(super) fn run(args: Args) -> ExitCode {
    let uri = match args.uri.parse() {
        Ok(uri) => uri,
        Err(error) => {
            let error: UriError = error;
            return exit::report(&error, None, exit::USAGE);
        }
    };
    let config = args.connection.config(uri);
    if config.uri.secure
        && let Err(error) = tls::client::Client::load(&config.tls)
    {
        return exit::report(&error, None, exit::USAGE);
    }
    match try_run(&config, args.output) {
        Ok(report) => ExitCode::from(if report.opened { exit::OK } else { exit::FAILED }),
        // The reader of the report has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::from(exit::OK),
        Err(error) => exit::report(&error, None, exit::FAILED),
    }
}

fn try_run(config: &ConnectConfig, output: ProbeFormat) -> io::Result<Report> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = runtime.block_on(probe::probe(config));
    // Nobody waits for a name server that never answers.
    runtime.shutdown_background();
    let text = match output {
        ProbeFormat::Human => probe::render(&report),
        ProbeFormat::Json => format!("{}\n", to_json_pretty(&report)?),
    };
    io::stdout().write_all(text.as_bytes()).map_err(|error| exit::unwritten(&error))?;
    Ok(report)
}
