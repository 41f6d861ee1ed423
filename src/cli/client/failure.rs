//! Why there is no connection, as a user reads it: the transcript's line, and below it what may help.

use std::io;

use crate::cli::exit;
use crate::client::{ConnectError, Refusal, escape, response_lines};
use crate::tls;

/// How much of a refusal's body is shown: what names the culprit is at its beginning.
const SHOWN_BODY_CHARACTERS: usize = 2000;

/// Prints the line that Python's client prints, and what may help below it. Returns the exit status.
#[expect(clippy::print_stderr, reason = "its first line is the transcript's, which has no `error:`")]
pub(super) fn report(uri: &str, error: &ConnectError) -> u8 {
    eprintln!("Failed to connect to {}: {}.", escape(uri), escape(&error.to_string()));
    if let ConnectError::Refused(refusal) | ConnectError::ProxyRefused { refusal, .. } = error {
        for line in shown(refusal) {
            eprintln!("{}", format!("  {line}").trim_end());
        }
        if let Some(meaning) = refusal.meaning() {
            eprintln!("why: {}", meaning.why);
            eprintln!("hint: {}", meaning.advice);
        }
    } else if let Some(hint) = hint(error) {
        eprintln!("hint: {hint}");
    }
    match error {
        ConnectError::Uri(_) | ConnectError::Proxy(_) | ConnectError::Credentials(_) => exit::USAGE,
        _ => exit::FAILED,
    }
}

/// A refusal's head and body, a line each, without control characters.
fn shown(refusal: &Refusal) -> Vec<String> {
    let mut lines: Vec<String> =
        response_lines(&refusal.head).iter().map(|line| escape(line).into_owned()).collect();
    let body = String::from_utf8_lossy(&refusal.body);
    let body: String = body.trim().chars().take(SHOWN_BODY_CHARACTERS).collect();
    if !body.is_empty() {
        lines.push(String::new());
        lines.extend(body.lines().map(|line| escape(line).into_owned()));
    }
    lines
}

fn hint(error: &ConnectError) -> Option<&'static str> {
    match error {
        ConnectError::Dial(crate::net::ConnectError::Refused { source, .. })
            if source.kind() == io::ErrorKind::ConnectionRefused =>
        {
            Some("nothing listens there; is the server running, and is this its port?")
        }
        ConnectError::Tls(tls::client::ConnectError::Handshake(source))
        | ConnectError::Broken { source, .. } => tls::client::advice(source),
        ConnectError::Proxy(_) => Some("--no-proxy connects directly, --proxy asks another one"),
        ConnectError::NotHttp2(_) => Some("leave out --http2: the server speaks HTTP/1.1"),
        ConnectError::ConnectNotAllowed(_) => Some(
            "leave out --http2, or allow it at the server; Envoy: http2_protocol_options.allow_connect (in Istio by an \
             EnvoyFilter) and an upgrade_configs entry for websocket",
        ),
        _ => None,
    }
}
