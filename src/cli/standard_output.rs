//! Whether standard output takes what is written to it. Rust's runtime opens a closed descriptor 1
//! as `/dev/null` before `main`, and takes the system's `EBADF` for a success: without a look of
//! its own this program would end well over data that went nowhere. Errors of writing are not found
//! here.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::fcntl::{FcntlArg, OFlag, fcntl};

/// Why nothing can be written there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoStandardOutput {
    /// The program was started without one.
    #[error("standard output is closed")]
    Closed,
    /// It is a file that was opened for reading.
    #[error("standard output cannot be written to: it was opened for reading")]
    ReadOnly,
}

/// Whether the program was started without a descriptor 1.
static CLOSED: AtomicBool = AtomicBool::new(false);

/// Runs before `main`, and before the runtime hides it.
#[ctor::ctor]
fn look() {
    CLOSED.store(fcntl(io::stdout(), FcntlArg::F_GETFD).is_err(), Ordering::Relaxed);
}

/// Finds out, before anything is done of which the outcome would be lost.
pub(super) fn check() -> Result<(), NoStandardOutput> {
    if CLOSED.load(Ordering::Relaxed) {
        return Err(NoStandardOutput::Closed);
    }
    let flags = fcntl(io::stdout(), FcntlArg::F_GETFL).map_err(|_| NoStandardOutput::Closed)?;
    if OFlag::from_bits_truncate(flags) & OFlag::O_ACCMODE == OFlag::O_RDONLY {
        return Err(NoStandardOutput::ReadOnly);
    }
    Ok(())
}
