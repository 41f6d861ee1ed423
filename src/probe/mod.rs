//! What an endpoint can do: `probe` opens a WebSocket there in every way that there is, one
//! connection each, and reports what it saw. It judges nothing but whether one could be opened; the
//! words of the verdict, and the advice, say what follows.

mod advice;
mod attempt;
mod human;
mod report;
mod stopwatch;

pub use human::render;
pub use report::{
    Attempt, AttemptOutcome, Certificate, CloseReport, Compression, PeerSetting, RefusalReport, Report,
    Timings, TlsReport, Way,
};

use crate::client::{ConnectConfig, ConnectError};

/// The version of [`Report`]'s form: another number is another form.
pub const REPORT_VERSION: u32 = 1;

/// Probes what `config` says how to reach.
pub async fn probe(config: &ConnectConfig) -> Report {
    let mut report = Report::new(&config.uri);
    for way in Way::ALL {
        let (attempt, seen, error) = attempt::attempt(config, way).await;
        report.saw(seen);
        report.attempts.push(attempt);
        // Whoever cannot be reached in one way cannot in another.
        if error.as_ref().is_some_and(is_unreachable) {
            break;
        }
    }
    report.conclude();
    report.advice = advice::advice(&report, config);
    report
}

/// Whether nothing was said to the server.
fn is_unreachable(error: &ConnectError) -> bool {
    matches!(
        error,
        ConnectError::Uri(_)
            | ConnectError::Proxy(_)
            | ConnectError::ProxyUnreachable { .. }
            | ConnectError::ProxyRefused { .. }
            | ConnectError::ProxySpoke { .. }
            | ConnectError::Credentials(_)
            | ConnectError::Resolve { .. }
            | ConnectError::Dial(_)
            | ConnectError::Unix { .. }
    )
}

#[cfg(test)]
mod tests;
