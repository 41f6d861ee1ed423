//! Whether a session lasted as long as somebody's timeout: a whole number of seconds of the kind
//! that people configure, nearly to the millisecond. Who set it, no line says; what of a log's
//! sessions ended so is a summary's to count.

use super::cause::Cause;
use super::seen::Seen;
use super::{Health, Origin};

/// How much sooner than its time a timer may seem to end a session, in milliseconds: who measures
/// begins later than who set the timer.
const SOONER_MS: u64 = 10;

/// How much later a session may end: what a busy machine and a way over a few hops add.
const LATER_MS: u64 = 100;

/// The same where one session alone tells of it: one of a thousand lasts so long by chance.
const LATER_ALONE_MS: u64 = 30;

/// Timeouts are multiples of this, in seconds.
pub const TIMEOUT_STEP: u64 = 5;

/// Timeouts that people have, in seconds, beside each multiple of 30: of load balancers and CDNs,
/// mostly.
const USUAL: [u64; 7] = [10, 15, 20, 45, 50, 100, 350];

/// The timeout that a session of this length may have met, in seconds.
#[must_use]
pub fn timeout_met(duration_ms: u64) -> Option<u64> {
    met(duration_ms, LATER_MS)
}

/// Whether it is one of the timeouts that many programs have.
#[must_use]
pub fn is_usual(seconds: u64) -> bool {
    seconds.is_multiple_of(30) || USUAL.contains(&seconds)
}

fn met(duration_ms: u64, later_ms: u64) -> Option<u64> {
    let step = TIMEOUT_STEP * 1000;
    let from = duration_ms.saturating_add(SOONER_MS);
    let seconds = from / step * TIMEOUT_STEP;
    (seconds > 0 && from % step <= SOONER_MS + later_ms).then_some(seconds)
}

/// What is normal but for how long it lasted is worth a look.
pub(super) fn by_a_timer(seen: &Seen<'_>, cause: Cause) -> Cause {
    let met = session_length(seen, &cause)
        .and_then(|ms| met(ms, LATER_ALONE_MS))
        .filter(|seconds| is_usual(*seconds));
    let Some(seconds) = met.filter(|_| cause.health == Health::Normal) else { return cause };
    Cause {
        health: Health::Look,
        ended: format!(
            "{}; but it lasted {seconds} s nearly to the millisecond, as if a timeout had ended it",
            cause.ended
        )
        .into(),
        change: Some(timer_advice(cause.origin).into()),
        ..cause
    }
}

/// What to do where sessions last as long as a timeout, by who ended them.
#[must_use]
pub fn timer_advice(origin: Origin) -> &'static str {
    match origin {
        Origin::Downstream => {
            "look for that time on the client's side: a load balancer or proxy before the mesh, or the client itself; an idle \
             timeout is met by WebSocket pings more often than that, a greatest age has to be raised there"
        }
        Origin::Here | Origin::Upstream => {
            "look for that time on the server's side: the application, its library's timeout of pings, or a proxy before it; an \
             idle timeout is met by WebSocket pings more often than that, a greatest age has to be raised there"
        }
    }
}

/// How long a session or a TCP connection lasted, in milliseconds, that another than this proxy
/// ended.
pub(super) fn session_length(seen: &Seen<'_>, cause: &Cause) -> Option<u64> {
    let is_session = seen.code == Some(101) || seen.is_tcp();
    seen.duration.filter(|_| is_session && cause.origin != Origin::Here && cause.health != Health::Failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_met_a_timeout_if_it_ended_as_one_fires() {
        for (ms, expected) in [
            (59_989, None),
            (59_990, Some(60)),
            (60_000, Some(60)),
            (60_100, Some(60)),
            (60_101, None),
            (65_000, Some(65)),
            (350_004, Some(350)),
            (3_600_012, Some(3600)),
            (61_000, None),
            (0, None),
            (3, None),
        ] {
            assert_eq!(timeout_met(ms), expected, "{ms}");
        }
    }
}
