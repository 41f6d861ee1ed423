//! Why there is no connection, as a user reads it: the transcript's line, and below it what may help.

use std::io;
use std::process::ExitCode;

use crate::cli::exit;
use crate::client::{ConnectError, escape};

/// How much of a refusal's body is shown: a line or two of a terminal.
const SHOWN_BODY_CHARACTERS: usize = 200;

/// Prints the line that Python's client prints, and what may help below it.
#[expect(clippy::print_stderr, reason = "its first line is the transcript's, which has no `error:`")]
pub(super) fn report(uri: &str, error: &ConnectError) -> ExitCode {
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
