//! `websockets-cli client`.

use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use jiff::SignedDuration;

use super::exit;
use crate::client::{self, ClientConfig, ConnectConfig, ConnectError, Outcome, RunError, escape};
use crate::drain::EndSignal;
use crate::websocket::opening::client::is_handshake_field;

/// How much of a refusal's body is shown: a line or two of a terminal.
const SHOWN_BODY_CHARACTERS: usize = 200;

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
  2    wrong usage, a URI that is not ws://, input that is not text
  3    closed abnormally, or with any other code
  130  interrupted (SIGINT; on a terminal Ctrl-C closes with 0)
  143  terminated (SIGTERM)")]
pub(super) struct Args {
    /// The server: `ws://HOST[:PORT][/PATH]`.
    uri: String,

    /// Add a header to the request (repeatable); Host and User-Agent take the place of the built-in ones.
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = parse_header)]
    headers: Vec<(HeaderName, HeaderValue)>,

    /// Connect to this address instead of the URI's host and port; the Host header stays the URI's.
    #[arg(long, value_name = "IP:PORT")]
    connect_to: Option<SocketAddr>,

    /// In a pipe, how long to wait at the end of the input for the next reply, as long as fewer came than were sent.
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = parse_duration)]
    wait: Duration,
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
        Err(RunError::Connect(error)) => report_no_connection(&uri, &error),
        Err(error @ RunError::Output(_)) => exit::report(&error, None, exit::FAILED),
    }
}

fn try_run(args: Args) -> Result<Outcome, RunError> {
    let uri = args.uri.parse().map_err(ConnectError::Uri)?;
    let mut connect = ConnectConfig::new(uri);
    connect.address = args.connect_to;
    connect.fields = args.headers.into_iter().collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcome = runtime.block_on(client::run(&ClientConfig { connect, wait: args.wait }));
    // Nobody waits for a name server or for a reader of standard output that never answers.
    runtime.shutdown_background();
    outcome
}

/// Prints the line that Python's client prints, and what may help below it.
#[expect(clippy::print_stderr, reason = "its first line is the transcript's, which has no `error:`")]
fn report_no_connection(uri: &str, error: &ConnectError) -> ExitCode {
    eprintln!("Failed to connect to {}: {}.", escape(uri), escape(&error.to_string()));
    if let Some(hint) = hint(error) {
        eprintln!("hint: {hint}");
    }
    let status = match error {
        ConnectError::Uri(_) | ConnectError::Tls => exit::USAGE,
        _ => exit::FAILED,
    };
    ExitCode::from(status)
}

fn hint(error: &ConnectError) -> Option<String> {
    match error {
        ConnectError::Dial(crate::net::ConnectError::Refused { source, .. })
            if source.kind() == io::ErrorKind::ConnectionRefused =>
        {
            Some("nothing listens there; is the server running, and is this its port?".to_owned())
        }
        ConnectError::Refused(refusal) if !refusal.body.is_empty() => {
            let body = String::from_utf8_lossy(&refusal.body);
            let shown: String = body.trim().chars().take(SHOWN_BODY_CHARACTERS).collect();
            Some(format!("the answer says: {}", escape(&shown)))
        }
        _ => None,
    }
}

fn parse_header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text.split_once(':').ok_or("a header is NAME: VALUE")?;
    let name: HeaderName = name.trim().parse().map_err(|error| format!("{error}"))?;
    if is_handshake_field(&name) {
        return Err(format!("{name} belongs to the opening handshake"));
    }
    let value = value.trim().parse().map_err(|error| format!("{error}"))?;
    Ok((name, value))
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    let duration: SignedDuration = text.parse().map_err(|_| "a duration is 500ms, 2s, 1m 30s")?;
    duration.try_into().map_err(|_| "a duration is not negative".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_a_name_and_a_value() {
        let (name, value) = parse_header("X-Request-Id:  a: b ").unwrap();
        assert_eq!((name.as_str(), value.to_str().unwrap()), ("x-request-id", "a: b"));
        assert!(parse_header("no colon").is_err());
        assert!(parse_header("Sec-WebSocket-Key: x").unwrap_err().contains("opening handshake"));
        assert!(parse_header("X: a\nb").is_err());
    }

    #[test]
    fn a_duration_has_a_unit() {
        assert_eq!(parse_duration("500ms").unwrap(), Duration::from_millis(500));
        assert_eq!(parse_duration("2s").unwrap(), Duration::from_secs(2));
        assert!(parse_duration("2").is_err());
        assert!(parse_duration("-2s").is_err());
    }
}
