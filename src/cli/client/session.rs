//! Options of the client about the session: what a script wants of it.

use std::time::Duration;

use crate::cli::duration;

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Session")]
pub(super) struct SessionArgs {
    /// In a pipe, how long to wait at the end of the input for the next reply, as long as fewer came than were sent.
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = duration::parse)]
    pub(super) wait: Duration,
}
