//! The exit statuses, which are part of the interface, and the one place that prints an error.

use std::error::Error;
use std::io;
use std::process::ExitCode;

use crate::escape::escape;
use crate::telemetry::with_causes;
use crate::verify::Outcome;

/// Done, and every check passed.
pub(super) const OK: u8 = 0;
/// A check failed, connecting failed, or standard output cannot be written to.
pub(super) const FAILED: u8 = 1;
/// Wrong usage or input: an option, a document, a URI that is not ws:// or wss://, an address in
/// use.
pub(super) const USAGE: u8 = 2;
/// The WebSocket connection closed abnormally.
pub(super) const ABNORMAL: u8 = 3;
/// It took longer than was asked for.
pub(super) const TIMED_OUT: u8 = 4;
/// What was played holds, but the documents say more than can be played.
pub(super) const NOT_JUDGED: u8 = 5;
/// Somebody asked for it: `/seppuku` (`EX_UNAVAILABLE` of sysexits.h).
pub(super) const UNAVAILABLE: u8 = 69;
/// Ended by SIGINT (Ctrl-C): 128 + 2.
pub(super) const INTERRUPTED: u8 = 130;
/// Ended by SIGTERM: 128 + 15.
pub(super) const TERMINATED: u8 = 143;

/// The table for `--help`.
pub(super) const HELP: &str = "\
Exit status:
  0    done, and every check passed
  1    a check failed, connecting failed, or standard output is closed or full
  2    wrong usage or input: an option, a document, a URI, an address in use
  3    the WebSocket connection closed abnormally
  4    timed out (client --timeout, --expect)
  5    not judged: verify, with documents that say more of its sessions than it plays
  69   a server with --enable-test-routes was asked for /seppuku
  130  interrupted (SIGINT)
  143  terminated (SIGTERM); the server and the sidecars end with 0";

/// The error of writing standard output, with its name.
pub(super) fn unwritten(error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("standard output: {error}"))
}

/// The exit status of a verdict.
pub(super) fn verdict(outcome: Outcome) -> ExitCode {
    ExitCode::from(match outcome {
        Outcome::Ok => OK,
        Outcome::NotJudged => NOT_JUDGED,
        Outcome::Failed => FAILED,
    })
}

/// Prints `error: what: why` with the whole chain of sources on standard error, and `hint: …` if
/// there is advice. Each is one line.
pub(super) fn report(error: &dyn Error, hint: Option<&str>, status: u8) -> ExitCode {
    report_quoting(error, "", hint, status)
}

/// As [`report`], with what another program said below the error, each of its lines marked as such.
#[expect(clippy::print_stderr, reason = "the one place where an error meets the user")]
pub(super) fn report_quoting(error: &dyn Error, said: &str, hint: Option<&str>, status: u8) -> ExitCode {
    eprintln!("error: {}", escape(&with_causes(error)));
    for line in said.lines() {
        eprintln!("  | {}", escape(line));
    }
    if let Some(hint) = hint {
        eprintln!("hint: {}", escape(hint));
    }
    ExitCode::from(status)
}
