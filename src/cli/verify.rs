//! `websockets-cli verify`.

use std::process::ExitCode;

/// Drives sessions through a pair of sidecars and judges their access logs.
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

pub(super) fn run(_args: Args) -> ExitCode {
    ExitCode::from(super::exit::USAGE)
}
