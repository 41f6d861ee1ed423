//! `websockets-cli client`: its options, a file a group, and how it ends.

mod failure;
mod session;

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use session::SessionArgs;

use super::connection::{ConnectionArgs, HttpArgs};
use super::exit;
use crate::client::{self, ClientConfig, ConnectError, Event, Observer, Outcome, RunError, narrate};
use crate::drain::EndSignal;

/// Connects to a WebSocket server: a REPL on a terminal, a filter in a pipe.
///
/// On a terminal, each line that you type is sent as a text message and what comes back is shown above the prompt;
/// Ctrl-D or Ctrl-C closes the connection.
///
/// In a pipe, each line of standard input is sent as a text message, and each message that comes is a line on standard
/// output, where nothing else is written.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  websockets-cli client ws://websockets-server.default.svc.cluster.local:8080
  printf 'hello\\nworld\\n' | websockets-cli client ws://127.0.0.1:8080

Exit status:
  0    closed with 1000 or 1001, or by you
  1    could not connect
  2    wrong usage, a URI that is neither ws:// nor wss://, input that is not text
  3    closed abnormally, or with any other code
  130  interrupted (SIGINT; on a terminal Ctrl-C closes with 0)
  143  terminated (SIGTERM)")]
pub(super) struct Args {
    /// The server: `ws://HOST[:PORT][/PATH]` or `wss://…`.
    uri: String,

    /// Send each message back unchanged until the server closes; reads no input and prints no message, and takes messages
    /// of up to 64 MiB.
    #[arg(long)]
    echo: bool,

    /// Say on standard error what happens: heads, TLS and HTTP/2 facts; twice: every frame, too.
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,

    #[command(flatten)]
    connection: ConnectionArgs,

    #[command(flatten)]
    http: HttpArgs,

    #[command(flatten)]
    session: SessionArgs,
}

pub(super) fn run(args: Args) -> ExitCode {
    let uri = args.uri.clone();
    match try_run(args) {
        Ok(Outcome::Closed(closed)) if closed.is_clean() => ExitCode::from(exit::OK),
        Ok(Outcome::Closed(_)) => ExitCode::from(exit::ABNORMAL),
        Ok(Outcome::OutputClosed) => ExitCode::from(exit::OK),
        Ok(Outcome::BadInput(error)) => exit::report(&error, None, exit::USAGE),
        Ok(Outcome::Signal(EndSignal::Interrupt)) => ExitCode::from(exit::INTERRUPTED),
        Ok(Outcome::Signal(EndSignal::Terminate)) => ExitCode::from(exit::TERMINATED),
        Err(RunError::Connect(error)) => failure::report(&uri, &error),
        Err(error @ RunError::Output(_)) => exit::report(&error, None, exit::FAILED),
    }
}

fn try_run(args: Args) -> Result<Outcome, RunError> {
    let uri = args.uri.parse().map_err(ConnectError::Uri)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut connect = args.connection.config(uri);
    connect.http = args.http.http();
    if args.verbose > 0 {
        connect.observer = Observer::new(say);
        connect.observe_frames = args.verbose > 1;
    }
    if args.echo {
        connect.max_message_bytes = client::MAX_ECHO_BYTES;
    }
    let config = ClientConfig { connect, echo: args.echo, wait: args.session.wait };
    let outcome = runtime.block_on(client::run(&config));
    // Nobody waits for a name server or for a reader of standard output that never answers.
    runtime.shutdown_background();
    outcome
}

/// Tells an event. That nobody reads it is no reason to end.
fn say(event: &Event<'_>) {
    let mut stderr = io::stderr().lock();
    // A prompt may be where the line goes, and the terminal may be the editor's, which needs the carriage return.
    let (before, after) = if stderr.is_terminal() { ("\r\x1b[K", "\r\n") } else { ("", "\n") };
    for line in narrate(event) {
        let _ = write!(stderr, "{before}{line}{after}");
    }
}
