//! Signals that a program survives although the system's default for them is its end: SIGHUP, which
//! it ignores with a warning, as Envoy does ("caught and eating SIGHUP"), SIGUSR1 and SIGXFSZ. The
//! signals that end a program are in [`drain`](crate::drain).

use std::io;

use nix::sys::signal::{SigSet, Signal};
use tokio::signal::unix::{self, SignalKind};

/// SIGHUP and SIGUSR1 wait, from the start of the program until it has handlers for them: without a
/// handler each of them would end the process, and the lines of its sessions with it.
///
/// They wait for the calling thread and for the threads that it starts. A process that starts
/// another image of the program (`execve`) hands over both what is held back and what has come
/// meanwhile.
#[derive(Debug)]
#[must_use]
pub struct HeldBack(());

/// Holds SIGHUP and SIGUSR1 back. Where the system refuses, they keep their defaults.
pub fn hold_back() -> HeldBack {
    let _ = set().thread_block();
    HeldBack(())
}

impl HeldBack {
    /// The signals have the system's default again, for a program that does not outlive its
    /// terminal.
    pub fn release(self) {
        let _ = set().thread_unblock();
    }
}

/// SIGINT and SIGTERM wait for a thread that asks for them ([`hold_back_end`]).
#[derive(Debug)]
#[must_use]
pub struct EndHeldBack(SigSet);

/// Holds SIGINT and SIGTERM back from the calling thread and those that it starts, for a program
/// that has something to say at its end and no runtime. Where the system refuses, they keep their
/// defaults.
pub fn hold_back_end() -> EndHeldBack {
    let set: SigSet = [Signal::SIGINT, Signal::SIGTERM].into_iter().collect();
    let _ = set.thread_block();
    EndHeldBack(set)
}

impl EndHeldBack {
    /// Waits for one of them. The next comes to this thread, and ends the program.
    pub fn wait(self) {
        let _ = self.0.wait();
        let _ = self.0.thread_unblock();
    }
}

fn set() -> SigSet {
    [Signal::SIGHUP, Signal::SIGUSR1].into_iter().collect()
}

/// The handlers of SIGHUP and SIGUSR1, and of SIGXFSZ, which comes when a file has the size that
/// the process may write: a log that can grow no more is no reason to end.
#[derive(Debug)]
pub struct Survived {
    hangup: unix::Signal,
    user_defined1: unix::Signal,
    /// Nobody looks: who writes is told by the error.
    _file_size_exceeded: unix::Signal,
}

impl Survived {
    /// Installs the handlers, and lets come what [`hold_back`] has held back.
    ///
    /// # Errors
    /// A handler could not be installed.
    pub fn install() -> io::Result<Self> {
        let hangup = unix::signal(SignalKind::hangup())?;
        let user_defined1 = unix::signal(SignalKind::user_defined1())?;
        let file_size_exceeded = unix::signal(SignalKind::from_raw(Signal::SIGXFSZ as i32))?;
        HeldBack(()).release();
        Ok(Self { hangup, user_defined1, _file_size_exceeded: file_size_exceeded })
    }

    /// Waits for SIGUSR1, and warns of each SIGHUP meanwhile. Cancel safe.
    pub async fn user_defined1(&mut self) {
        loop {
            tokio::select! {
                _ = self.hangup.recv() => tracing::warn!("caught and ignored SIGHUP"),
                _ = self.user_defined1.recv() => return,
            }
        }
    }
}
