//! What a session does while its peer says nothing: it asks with a Ping (RFC 6455 section 5.5.2),
//! and in the end gives up.
//!
//! The clock runs beside the session, so that it also ends one that is stuck in writing to a peer
//! that does not read. Sessions that have neither pings nor an idle timeout have none of this.

use std::cell::Cell;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use tokio::time::Instant;

use super::config::{Config, Ping};

/// The clock of one session.
#[derive(Debug)]
pub(super) struct SessionKeepalive {
    idle_timeout: Option<Duration>,
    ping: Option<Ping>,
    /// When a message came or went last.
    active: Cell<Instant>,
    /// When the last ping was due, and whether a pong has come since.
    pinged: Cell<Instant>,
    is_pong_due: Cell<bool>,
    /// A ping is due that the session has not yet sent.
    is_ping_due: Cell<bool>,
}

/// Why a session is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum GivenUp {
    /// No message for this long.
    Idle(Duration),
    /// No pong for this long.
    NoPong(Duration),
}

/// What comes next, and when.
#[derive(Debug, Clone, Copy)]
enum KeepaliveStep {
    Ping,
    GiveUp(GivenUp),
}

impl SessionKeepalive {
    /// The keepalive of a session; none without pings and without an idle timeout.
    pub(super) fn new(config: &Config) -> Option<Self> {
        let now = Instant::now();
        (config.idle_timeout.is_some() || config.ping.is_some()).then(|| Self {
            idle_timeout: config.idle_timeout,
            ping: config.ping,
            active: Cell::new(now),
            pinged: Cell::new(now),
            is_pong_due: Cell::new(false),
            is_ping_due: Cell::new(false),
        })
    }

    /// A message came or went.
    pub(super) fn note_message(&self) {
        self.active.set(Instant::now());
    }

    /// A pong came.
    pub(super) fn note_pong(&self) {
        self.is_pong_due.set(false);
    }

    /// Whether a ping is to be sent now.
    pub(super) fn take_ping(&self) -> bool {
        self.is_ping_due.take()
    }

    /// Runs the session beside the clock: whichever ends first.
    pub(super) async fn watch<F: Future>(&self, session: F) -> Result<F::Output, GivenUp> {
        let mut session = pin!(session);
        let mut clock = pin!(tokio::time::sleep_until(self.next().0));
        std::future::poll_fn(|cx| {
            loop {
                if let Poll::Ready(ended) = session.as_mut().poll(cx) {
                    return Poll::Ready(Ok(ended));
                }
                if clock.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                // The session may have been active since the clock was set.
                let (when, what) = self.next();
                if when <= Instant::now() {
                    match what {
                        KeepaliveStep::GiveUp(given_up) => return Poll::Ready(Err(given_up)),
                        KeepaliveStep::Ping => {
                            self.pinged.set(when);
                            self.is_pong_due.set(true);
                            self.is_ping_due.set(true);
                        }
                    }
                }
                clock.as_mut().reset(self.next().0);
            }
        })
        .await
    }

    fn next(&self) -> (Instant, KeepaliveStep) {
        let idle = self
            .idle_timeout
            .map(|limit| (self.active.get() + limit, KeepaliveStep::GiveUp(GivenUp::Idle(limit))));
        let ping = self.ping.map(|Ping { interval, timeout }| {
            if self.is_pong_due.get() {
                (self.pinged.get() + timeout, KeepaliveStep::GiveUp(GivenUp::NoPong(timeout)))
            } else {
                (self.pinged.get() + interval, KeepaliveStep::Ping)
            }
        });
        let both = [idle, ping].into_iter().flatten();
        both.min_by_key(|(when, _)| *when).unwrap_or_else(|| unreachable!("one of them is there"))
    }
}
