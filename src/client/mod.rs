//! The WebSocket client: [`connect()`] for programs, [`run()`] for people (a line editor on a
//! terminal) and for scripts (a filter in a pipe).

mod closing;
mod config;
mod connect;
mod echo;
mod keepalive;
mod meaning;
mod pipe;
mod render;
mod repl;
mod session;
mod verbose;

use std::io;

use tokio::time::Instant;

pub use closing::{Closed, TooLong};
pub use config::{ClientConfig, DEFAULT_WAIT, Input, OutputFormat, ScriptConfig, TerminalConfig};
pub use connect::{
    ConnectConfig, ConnectError, ConnectEvent, Connection, Endpoint, FrameDirection, HostPort, HostPortError,
    Http, MAX_MESSAGE_BYTES, MAX_REDIRECTS, OPEN_TIMEOUT, Observer, Peer, Proxy, ProxyChoice, ProxyError,
    Refusal, UriError, UriProblem, WebSocketUri, connect, response_lines,
};
pub use echo::MAX_ECHO_BYTES;
pub use keepalive::{KeepaliveConfig, PING_INTERVAL, PING_TIMEOUT};
pub use meaning::Meaning;
pub use pipe::InputError;
pub use verbose::VerboseObserver;

use crate::drain::{EndSignal, EndSignals};

/// How a run ended.
#[derive(Debug)]
pub enum Outcome {
    /// The connection was closed, by either side.
    Closed(Closed),
    /// The reader of standard output has gone.
    OutputClosed,
    /// The input could not be sent to its end; what came before it was.
    BadInput(InputError),
    /// A signal ended it.
    Signal(EndSignal),
    /// It took longer than it may.
    TimedOut,
}

/// Why a run failed.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// There is no connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The standard streams, or the signals, cannot be used.
    #[error("standard output: {0}")]
    Output(#[from] io::Error),
}

/// Connects, and runs the session: with a line editor where that is wanted and both standard input
/// and standard output are a terminal, as a filter elsewhere; or sends back what comes, and has to
/// do with neither.
///
/// # Errors
/// [`RunError`].
pub async fn run(config: &ClientConfig) -> Result<Outcome, RunError> {
    let deadline = config.timeout.map(|timeout| Instant::now() + timeout);
    let connection = tokio::select! {
        opened = connect(&config.connect) => opened?,
        () = deadline_passes(deadline) => return Ok(Outcome::TimedOut),
    };
    let mut signals = EndSignals::install()?;
    if config.echo {
        return Ok(echo::run(connection, config, deadline, &mut signals).await?);
    }
    if let Some(editor) = config.terminal.as_ref().and_then(repl::Editor::open) {
        return repl::run(editor, connection, config, deadline, &mut signals).await;
    }
    Ok(pipe::run(connection, config, deadline, &mut signals).await?)
}

/// Waits until then; for ever if there is no deadline.
async fn deadline_passes(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
