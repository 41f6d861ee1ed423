//! The client for scripts: what is sent comes from standard input or the arguments, standard output has the messages that
//! come and nothing else. The talk about the connection goes to standard error.

mod input;
mod output;
mod record;

use std::io::{self, Write};

use tokio::time::Instant;

pub use input::InputError;

use super::config::ScriptConfig;
use super::connect::Connection;
use super::session::Session;
use super::{Outcome, deadline_passes, render};
use crate::drain::EndSignals;

/// Runs the session of a connection between the process's standard streams.
pub(super) async fn run(
    connection: Connection,
    uri: &str,
    config: &ScriptConfig,
    deadline: Option<Instant>,
    signals: &mut EndSignals,
) -> io::Result<Outcome> {
    say(&format!("Connected to {uri}."));
    let (mut messages, mut failure) = input::start(&config.input)?;
    let mut output = output::Messages::new(config.format);
    let mut session = Session::new(connection.stream, config.until(deadline.is_some()));
    let ended = tokio::select! {
        ended = session.run(&mut messages, &mut output) => ended,
        signal = signals.next() => {
            session.say_goodbye();
            return Ok(Outcome::Signal(signal));
        }
        () = deadline_passes(deadline) => {
            session.say_goodbye();
            return Ok(Outcome::TimedOut);
        }
    };
    match ended {
        Ok(closed) => {
            say(&format!("Connection closed: {}.", render::escape(&closed.status.to_string())));
            Ok(failure.try_recv().map_or(Outcome::Closed(closed), Outcome::BadInput))
        }
        // Who reads the output has seen enough, as with `| head`.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
            session.say_goodbye();
            Ok(Outcome::OutputClosed)
        }
        Err(error) => {
            session.say_goodbye();
            Err(error)
        }
    }
}

/// A line of talk. That nobody reads it is no reason to end.
pub(super) fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}
