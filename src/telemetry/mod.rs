//! What the programs say about themselves: `tracing` events on standard error, and what they count. Standard output stays
//! for data.

mod counter;

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

pub use counter::Counter;

/// Installs the subscriber; warnings and errors unless `RUST_LOG` says otherwise. A second call does nothing.
pub fn install() {
    let filter = EnvFilter::builder().with_default_directive(LevelFilter::WARN.into()).from_env_lossy();
    let colour =
        io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    // Fails only where a subscriber is installed already, as in a test that runs two commands.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(colour)
        .with_target(false)
        .try_init();
}
