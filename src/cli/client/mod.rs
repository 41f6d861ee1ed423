//! `websockets-cli client`: its options, a file a group, and how it ends.

mod session;

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use session::{ExitStatusKind, ScriptArgs, SessionArgs, TerminalArgs};

use super::connection::{ConnectionArgs, HttpArgs};
use super::exit;
use crate::client::{
    self, ClientConfig, Closed, ConnectError, Outcome, Refusal, RunError, VerboseObserver, response_lines,
};
use crate::drain::EndSignal;
use crate::escape::{Escaped, escape_line};

/// How much of a refusal's body is shown: what names the culprit is at its beginning.
const SHOWN_BODY_CHARACTERS: usize = 2000;

/// Connects to a WebSocket server: a REPL on a terminal, a filter in a pipe.
///
/// On a terminal, each line that you type is sent as a text message and what comes back is shown
/// above the prompt; Ctrl-D or Ctrl-C closes the connection.
///
/// In a pipe, each line of standard input is sent as a text message, and each message that comes is
/// a line on standard output, where nothing else is written.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  websockets-cli client ws://websockets-server.default.svc.cluster.local:8080
  printf 'hello\\nworld\\n' | websockets-cli client ws://127.0.0.1:8080

  websockets-cli client --send subscribe --expect '\"done\"' --timeout 30s ws://127.0.0.1:8080
  websockets-cli client --binary --raw-output ws://127.0.0.1:8080 <image >image-that-came-back

Exit status:
  0    closed with 1000 or 1001, or with a code of your own that the server repeats
  1    could not connect, or standard output is closed or full
  2    wrong usage, a URI that is neither ws:// nor wss://, input that is not text
  3    closed abnormally, with any other code, or before an expected message
  4    --timeout has passed, or an expected message has not come
  130  interrupted (SIGINT; on a terminal Ctrl-C closes with 0)
  143  terminated (SIGTERM)
With --exit-status compat, 3, 4 and 130 are 0, and a wrong URI is 1.")]
pub(super) struct Args {
    /// The server: `ws://HOST[:PORT][/PATH]` or `wss://…`.
    uri: String,

    /// Send each message back unchanged until the server closes; reads no input and prints no
    /// message, and takes messages of up to 64 MiB.
    #[arg(long, conflicts_with_all = ["texts", "binary", "frame_size", "replies", "expect", "output", "raw_output"])]
    echo: bool,

    /// Say on standard error, or above the prompt, what happens: heads, TLS and HTTP/2 facts;
    /// twice: every frame, too.
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,

    #[command(flatten)]
    connection: ConnectionArgs,

    #[command(flatten)]
    http: HttpArgs,

    #[command(flatten)]
    session: SessionArgs,

    #[command(flatten)]
    terminal: TerminalArgs,

    #[command(flatten)]
    script: ScriptArgs,
}

impl Args {
    /// Whether messages are written to standard output.
    pub(super) fn writes_data(&self) -> bool {
        !self.echo
    }
}

pub(super) fn run(args: Args) -> ExitCode {
    let uri = args.uri.clone();
    let compat = args.script.exit_status == ExitStatusKind::Compat;
    if args.script.writes_bytes() && io::stdout().is_terminal() {
        return exit::report(
            &RawTerminal,
            Some("redirect standard output to a file or a program"),
            exit::USAGE,
        );
    }
    let status = match try_run(args) {
        Ok(Outcome::Signal(EndSignal::Terminate)) => exit::TERMINATED,
        Ok(Outcome::BadInput(error)) => return exit::report(&error, None, exit::USAGE),
        Ok(_) if compat => exit::OK,
        Ok(Outcome::Closed(closed)) => status_of(&closed),
        Ok(Outcome::TimedOut) => {
            return exit::report(&TimedOut, None, exit::TIMED_OUT);
        }
        Ok(Outcome::OutputClosed) => exit::OK,
        Ok(Outcome::Signal(EndSignal::Interrupt)) => exit::INTERRUPTED,
        Err(RunError::Connect(error)) => {
            let status = report_unconnected(&uri, &error);
            if compat { exit::FAILED } else { status }
        }
        Err(error @ RunError::Output(_)) => return exit::report(&error, None, exit::FAILED),
    };
    ExitCode::from(status)
}

fn status_of(closed: &Closed) -> u8 {
    match closed {
        Closed { wanting: true, own: Some(_), .. } => exit::TIMED_OUT,
        Closed { wanting: false, .. } if closed.is_clean() => exit::OK,
        _ => exit::ABNORMAL,
    }
}

/// Bytes of a server would go to a terminal, which may take them for commands.
#[derive(Debug, thiserror::Error)]
#[error("--raw-output does not write to a terminal")]
struct RawTerminal;

/// `--timeout` has passed.
#[derive(Debug, thiserror::Error)]
#[error("timed out: --timeout has passed")]
struct TimedOut;

fn try_run(args: Args) -> Result<Outcome, RunError> {
    let uri = args.uri.parse().map_err(ConnectError::Uri)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let verbose = VerboseObserver::default();
    let mut connect = args.connection.config(uri);
    connect.http = args.http.http();
    if args.verbose > 0 {
        connect.observer = verbose.observer();
        connect.observe_frames = args.verbose > 1;
    }
    if let Some(bytes) = args.session.max_message_size {
        connect.max_message_bytes = bytes.get();
    } else if args.echo {
        connect.max_message_bytes = client::MAX_ECHO_BYTES;
    }
    let config = ClientConfig {
        connect,
        verbose,
        echo: args.echo,
        keepalive: args.session.keepalive(),
        timeout: args.script.timeout(),
        terminal: (!args.script.is_given()).then(|| args.terminal.config()),
        script: args.script.config(),
    };
    let outcome = runtime.block_on(client::run(&config));
    // Nobody waits for a name server or for a reader of standard output that never answers.
    runtime.shutdown_background();
    outcome
}

/// Prints the line that Python's client prints, and below it why and what to do. Returns the exit
/// status.
#[expect(clippy::print_stderr, reason = "its first line is the transcript's, which has no `error:`")]
fn report_unconnected(uri: &str, error: &ConnectError) -> u8 {
    eprintln!("Failed to connect to {}: {}.", Escaped(uri), Escaped(error));
    if let ConnectError::Refused(refusal) | ConnectError::ProxyRefused { refusal, .. } = error {
        for line in shown(refusal) {
            eprintln!("{}", escape_line(format!("  {line}").trim_end()));
        }
    }
    let meaning = error.meaning();
    eprintln!("why: {}", Escaped(&meaning.why));
    eprintln!("hint: {}", Escaped(&meaning.advice));
    match error {
        ConnectError::Uri(_) | ConnectError::Proxy(_) | ConnectError::Credentials(_) => exit::USAGE,
        _ => exit::FAILED,
    }
}

/// A refusal's head and body, a line each.
fn shown(refusal: &Refusal) -> Vec<String> {
    let mut lines = response_lines(&refusal.head);
    let body = String::from_utf8_lossy(&refusal.body);
    let body: String = body.trim().chars().take(SHOWN_BODY_CHARACTERS).collect();
    if !body.is_empty() {
        lines.push(String::new());
        lines.extend(body.lines().map(str::to_owned));
    }
    lines
}
