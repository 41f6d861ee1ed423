//! Why there is no connection, as a user reads it: the transcript's line, and below it why and what to do.

use crate::cli::exit;
use crate::client::{ConnectError, Refusal, response_lines};
use crate::escape::{Escaped, escape_line};

/// How much of a refusal's body is shown: what names the culprit is at its beginning.
const SHOWN_BODY_CHARACTERS: usize = 2000;

/// Prints the line that Python's client prints, and below it why and what to do. Returns the exit status.
#[expect(clippy::print_stderr, reason = "its first line is the transcript's, which has no `error:`")]
pub(super) fn report(uri: &str, error: &ConnectError) -> u8 {
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
