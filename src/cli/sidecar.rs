//! `websockets-cli sidecar`.

use std::process::ExitCode;

/// Runs one Envoy-like sidecar proxy of a pair.
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

pub(super) fn run(_args: Args) -> ExitCode {
    ExitCode::from(super::exit::USAGE)
}
