//! How a program ends: a graceful signal, a forced signal, and knowing when every task is done.
//!
//! Two phases, as in Envoy and ztunnel: *graceful* asks (listeners close, sessions are told to go),
//! *forced* tells (whatever is left is dropped). Completion is known by the tracker, never by
//! waiting for a while.

use std::io;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The two signals and the tracker that every long-running part of a program holds a clone of.
#[derive(Debug, Clone, Default)]
pub struct Drain {
    /// Cancelled when the program is asked to end: listeners close, sessions are told to go.
    pub graceful: CancellationToken,
    /// Cancelled when the program must end now.
    pub forced: CancellationToken,
    /// Every task that must be done before the program may end.
    pub tasks: TaskTracker,
}

impl Drain {
    /// A drain that has not begun.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks for the end, waits up to `deadline` for the tracked tasks, then forces it.
    /// Returns whether all were done in time.
    pub async fn run(&self, deadline: Duration) -> bool {
        self.graceful.cancel();
        self.tasks.close();
        let in_time = tokio::select! {
            () = self.tasks.wait() => true,
            () = self.forced.cancelled() => false,
            () = tokio::time::sleep(deadline) => false,
        };
        self.forced.cancel();
        in_time
    }
}

/// The signals of the operating system that end a program.
#[derive(Debug)]
pub struct EndSignals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    hangup: Option<tokio::signal::unix::Signal>,
}

/// Which signal came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndSignal {
    /// SIGTERM: what Kubernetes sends to a pod that is to end. SIGHUP counts as one where it is
    /// asked for.
    Terminate,
    /// SIGINT: Ctrl-C.
    Interrupt,
}

impl EndSignals {
    /// Takes over SIGTERM and SIGINT from the system's default, which would end the process at
    /// once.
    ///
    /// # Errors
    /// The handler could not be installed.
    pub fn install() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let (terminate, interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        Ok(Self { terminate, interrupt, hangup: None })
    }

    /// Takes over SIGHUP too, which comes when the terminal goes, unless it is ignored, as under
    /// `nohup`.
    ///
    /// # Errors
    /// The handler could not be installed.
    pub fn with_hangup(mut self) -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let hangup = SignalKind::hangup();
        if !is_ignored(hangup.as_raw_value()) {
            self.hangup = Some(signal(hangup)?);
        }
        Ok(self)
    }

    /// Waits for the next of them. Cancel safe.
    pub async fn next(&mut self) -> EndSignal {
        tokio::select! {
            _ = self.terminate.recv() => EndSignal::Terminate,
            _ = self.interrupt.recv() => EndSignal::Interrupt,
            Some(()) = async { self.hangup.as_mut()?.recv().await } => EndSignal::Terminate,
        }
    }
}

/// Whether a signal was ignored when the process began, which Linux says in `/proc`. On other
/// systems it counts as ignored.
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_none_or(|mask| mask & (1 << (signal - 1)) != 0)
}
