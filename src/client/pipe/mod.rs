//! The client for scripts: what is sent comes from standard input or the arguments, standard output
//! has the messages that come and nothing else. The talk about the connection goes to standard
//! error.

mod input;
mod output;
mod record;

use std::io::{self, Write};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout};

pub use input::InputError;

use super::config::ClientConfig;
use super::connect::Connection;
use super::session::{Output, Session};
use super::{Outcome, deadline_passes};
use crate::drain::EndSignals;
use crate::escape::Escaped;

/// How long the records of a session that is given up may take to be written.
const LAST_RECORDS: Duration = Duration::from_millis(500);

/// Runs the session of a connection between the process's standard streams.
pub(super) async fn run(
    connection: Connection,
    config: &ClientConfig,
    deadline: Option<Instant>,
    signals: &mut EndSignals,
) -> io::Result<Outcome> {
    say_connected(config);
    let script = &config.script;
    let (mut messages, mut failure) = input::start(&script.input)?;
    let mut output = output::MessageOutput::new(script.format);
    let observer = config.connect.observer.clone();
    let until = script.until(deadline.is_some());
    let mut session = Session::new(connection.stream, config.keepalive, observer, until);
    let ended = tokio::select! {
        ended = session.run(&mut messages, &mut output) => ended,
        signal = signals.next() => {
            give_up(&mut session, &mut output).await;
            return Ok(Outcome::Signal(signal));
        }
        () = deadline_passes(deadline) => {
            give_up(&mut session, &mut output).await;
            return Ok(Outcome::TimedOut);
        }
    };
    match ended {
        Ok(closed) => {
            say(&closed.told());
            Ok(failure.try_recv().map_or(Outcome::Closed(closed), Outcome::BadInput))
        }
        // The reader of the output has seen enough, as with `| head`.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
            session.give_up(&mut output);
            Ok(Outcome::OutputClosed)
        }
        Err(error) => {
            session.give_up(&mut output);
            Err(error)
        }
    }
}

/// Leaves a session before its end, of which the output is told.
async fn give_up<S>(session: &mut Session<S>, output: &mut output::MessageOutput)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    session.give_up(output);
    // A reader that has stopped does not change the outcome.
    let _ = timeout(LAST_RECORDS, output.flush()).await;
}

/// The transcript's first line.
pub(super) fn say_connected(config: &ClientConfig) {
    say(&format!("Connected to {}.", Escaped(&config.connect.uri)));
}

/// A line for people. A closed standard error does not end the session.
pub(super) fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}
