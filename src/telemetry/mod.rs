//! What the programs say about themselves: `tracing` events on standard error, and what they count.
//! Standard output stays for data.

mod counter;
mod error;

use std::io::{self, IsTerminal};

use tracing_subscriber::field::MakeExt;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt;
use tracing_subscriber::prelude::*;

pub use counter::Counter;
pub use error::with_causes;

use crate::escape::Escaped;

/// Installs the subscriber; warnings and errors unless `RUST_LOG` says otherwise: `LEVEL` or
/// `MODULE=LEVEL`, several with commas. A second call does nothing.
pub fn install() {
    let directives = std::env::var("RUST_LOG").unwrap_or_default();
    // Not `EnvFilter`, which can filter by the fields of spans too, and brings an engine for
    // regular expressions into the memory of every sidecar.
    let wanted = if directives.is_empty() { Ok(only_warnings()) } else { directives.parse() };
    let (filter, refused) = match wanted {
        Ok(filter) => (filter, None),
        Err(error) => (only_warnings(), Some(error)),
    };
    // What is told may be of a stranger's: the log line, document or peer that it is about.
    let fields = fmt::format::debug_fn(|writer, field, value| match field.name() {
        "message" => write!(writer, "{}", Escaped(format_args!("{value:?}"))),
        name => write!(writer, "{name}={}", Escaped(format_args!("{value:?}"))),
    });
    let events = fmt::layer()
        .fmt_fields(fields.delimited(" "))
        .with_writer(io::stderr)
        .with_ansi(may_colour(&io::stderr()))
        .with_target(false);
    // Fails only where a subscriber is installed already, as in a test that runs two commands.
    let _ = tracing_subscriber::registry().with(events).with(filter).try_init();
    if let Some(error) = refused {
        tracing::warn!(
            "RUST_LOG={directives}: {error}; expected LEVEL or MODULE=LEVEL, several with commas; only warnings are shown"
        );
    }
}

/// Whether what is written there may have colours: to a terminal, unless `NO_COLOR` is set
/// (<https://no-color.org>).
pub fn may_colour(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

fn only_warnings() -> Targets {
    Targets::new().with_default(LevelFilter::WARN)
}
