//! The command line: one file a subcommand, each turning arguments into a plain configuration and
//! an outcome into an [`ExitCode`]. The only module that knows clap, and the only one that prints
//! errors.

mod allocator;
mod arguments;
mod client;
mod cluster;
mod configuration;
mod connection;
mod duration;
mod exit;
mod explain;
mod istio_version;
mod levels;
mod lint;
mod mesh_config;
mod probe;
mod server;
mod sidecar;
mod standard_output;
mod verify;

pub use lint::draw as draw_findings;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::signals;

/// Does WebSocket work through this service mesh, over HTTP/1.1 and over HTTP/2, and if not, why?
#[derive(Debug, Parser)]
#[command(name = "websockets-cli", version, after_help = exit::HELP, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Server(Box<server::Args>),
    Client(Box<client::Args>),
    Sidecar(Box<sidecar::Args>),
    Probe(Box<probe::Args>),
    Verify(Box<verify::Args>),
    Explain(explain::Args),
    Lint(lint::Args),
}

impl Command {
    /// Whether what is written to standard output is what this is run for.
    fn writes_data(&self) -> bool {
        match self {
            Self::Server(_) => false,
            Self::Client(args) => args.writes_data(),
            Self::Sidecar(args) => args.writes_data(),
            Self::Verify(args) => args.writes_data(),
            Self::Probe(_) | Self::Explain(_) | Self::Lint(_) => true,
        }
    }
}

/// Parses the process's arguments and runs the subcommand.
#[must_use]
pub fn main() -> ExitCode {
    if let Some(sidecar) = sidecar::prepared() {
        crate::telemetry::install();
        return sidecar::run_prepared(sidecar);
    }
    let held_back = signals::hold_back();
    let cli: Cli = match arguments::parse() {
        Ok(cli) => cli,
        Err(status) => return status,
    };
    if !matches!(cli.command, Command::Server(_) | Command::Sidecar(_)) {
        held_back.release();
    }
    crate::telemetry::install();
    if cli.command.writes_data()
        && let Err(error) = standard_output::check()
    {
        return exit::report(&error, Some("redirect it to a file, or to /dev/null"), exit::FAILED);
    }
    match cli.command {
        Command::Server(args) => server::run(*args),
        Command::Client(args) => client::run(*args),
        Command::Sidecar(args) => sidecar::run(*args),
        Command::Probe(args) => probe::run(*args),
        Command::Verify(args) => verify::run(*args),
        Command::Explain(args) => explain::run(args),
        Command::Lint(args) => lint::run(&args),
    }
}
