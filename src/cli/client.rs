//! `websockets-cli client`.

use std::process::ExitCode;

/// Connects to a WebSocket server: a REPL on a terminal, a filter in a pipe.
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

pub(super) fn run(_args: Args) -> ExitCode {
    ExitCode::from(super::exit::USAGE)
}
