//! The timers that end a stream: `stream_idle_timeout` and `max_stream_duration` of the HTTP
//! connection manager.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

use super::stats::ConnectionManagerStats;
use crate::access_log::{Record, ResponseFlag};
use crate::mesh::HttpConnectionManager;

/// The timers of one stream, which run from its beginning to its end, whatever happens in between.
#[derive(Debug)]
pub(super) struct Timers {
    /// Restarts with every byte.
    idle: Option<(Duration, Pin<Box<Sleep>>)>,
    /// Never restarts.
    longest: Option<Pin<Box<Sleep>>>,
}

/// The timer that fired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expired {
    /// Nothing moved for too long.
    Idle,
    /// The stream has lasted too long.
    TooOld,
}

impl Timers {
    pub(super) fn new(manager: &HttpConnectionManager) -> Self {
        let sleep = |timeout| Box::pin(tokio::time::sleep(timeout));
        Self {
            idle: manager.stream_idle_timeout.map(|timeout| (timeout, sleep(timeout))),
            longest: manager.max_stream_duration.map(sleep),
        }
    }

    /// Something has moved.
    pub(super) fn restart_idle(&mut self) {
        if let Some((timeout, sleep)) = &mut self.idle {
            sleep.as_mut().reset(Instant::now() + *timeout);
        }
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Expired> {
        if let Some((_, sleep)) = &mut self.idle
            && sleep.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Expired::Idle);
        }
        match &mut self.longest {
            Some(sleep) => sleep.as_mut().poll(cx).map(|()| Expired::TooOld),
            None => Poll::Pending,
        }
    }
}

impl Expired {
    /// Counts it and sets its flag; returns the details. Envoy has no flag for a stream that has
    /// lasted too long.
    pub(super) fn note(self, record: &mut Record, stats: &ConnectionManagerStats) -> &'static str {
        match self {
            Self::Idle => {
                stats.rq_idle_timeout.increment();
                record.response_flags.set(ResponseFlag::StreamIdleTimeout);
                "stream_idle_timeout"
            }
            Self::TooOld => {
                stats.rq_max_duration_reached.increment();
                "max_duration_timeout"
            }
        }
    }

    /// The body of the local reply to a request without a response.
    pub(super) fn body(self) -> &'static str {
        match self {
            Self::Idle => "stream timeout",
            Self::TooOld => "downstream duration timeout",
        }
    }
}
