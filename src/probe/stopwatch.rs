//! The phases of an attempt, timed by what the connection tells as it happens.

use std::time::{Duration, Instant};

use super::attempt::SeenBeneath;
use super::report::{Certificate, PeerSetting, Timings, TlsReport};
use crate::client::ConnectEvent;
use crate::tls::TlsFacts;

/// What was seen so far, and when the last phase ended.
#[derive(Debug)]
pub(super) struct Stopwatch {
    started: Instant,
    phase: Instant,
    through_proxy: bool,
    timings: Timings,
    seen: SeenBeneath,
}

impl Stopwatch {
    pub(super) fn start() -> Self {
        let now = Instant::now();
        Self {
            started: now,
            phase: now,
            through_proxy: false,
            timings: Timings::default(),
            seen: SeenBeneath::default(),
        }
    }

    pub(super) fn notice(&mut self, event: &ConnectEvent<'_>) {
        match event {
            ConnectEvent::Resolved { .. } => self.timings.dns_ms = Some(self.lap()),
            ConnectEvent::Connected { peer, .. } => {
                self.timings.tcp_ms = Some(self.lap());
                self.seen.address = Some(peer.to_string());
            }
            ConnectEvent::Proxy(_) => {
                // The TLS of a secure proxy is part of asking it.
                self.timings.tls_ms = None;
                self.through_proxy = true;
            }
            ConnectEvent::Tls(facts) => {
                self.timings.tls_ms = Some(self.lap());
                self.seen.alpn.clone_from(&facts.alpn);
                self.seen.tls = Some(tls_report(facts));
            }
            ConnectEvent::Settings(settings) => {
                self.timings.settings_ms = Some(self.lap());
                self.seen.settings =
                    Some(settings.named().map(|(name, value)| PeerSetting { name, value }).collect());
            }
            ConnectEvent::Response(_) if std::mem::take(&mut self.through_proxy) => {
                self.timings.proxy_ms = Some(self.lap());
            }
            ConnectEvent::Response(_) => self.timings.handshake_ms = Some(self.lap()),
            ConnectEvent::Unreachable(_)
            | ConnectEvent::Request(_)
            | ConnectEvent::Redirected { .. }
            | ConnectEvent::Frame(..)
            | ConnectEvent::Failing { .. } => {}
        }
    }

    pub(super) fn stop(mut self) -> (Timings, SeenBeneath) {
        self.timings.total_ms = milliseconds(self.started.elapsed());
        (self.timings, self.seen)
    }

    /// How long the phase took that ends now.
    fn lap(&mut self) -> f64 {
        let now = Instant::now();
        milliseconds(now - std::mem::replace(&mut self.phase, now))
    }
}

/// With as many digits as a clock is worth.
pub(super) fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

fn tls_report(facts: &TlsFacts) -> TlsReport {
    let certificate = facts.certificate.as_ref().map(|certificate| Certificate {
        subject: certificate.subject.clone(),
        issuer: certificate.issuer.clone(),
        names: certificate.names.clone(),
        not_after: certificate.not_after.clone(),
    });
    TlsReport {
        version: facts.version.clone(),
        cipher_suite: facts.cipher_suite.clone(),
        server_name: facts.server_name.clone(),
        verified: facts.verified,
        certificate,
    }
}
