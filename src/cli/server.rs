//! `websockets-cli server`.

use std::process::ExitCode;

/// Runs a WebSocket echo server: text and binary messages come back as they are.
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

pub(super) fn run(_args: Args) -> ExitCode {
    ExitCode::from(super::exit::USAGE)
}
