//! The report as lines for people, of which a terminal obeys nothing, whatever the server sent.

use std::fmt::Write;

use super::report::{Attempt, AttemptOutcome, Report, Timings};
use crate::escape::escape_line;

/// How much of a refusal's body is shown.
const SHOWN_BODY_CHARACTERS: usize = 500;

/// The whole report.
#[must_use]
pub fn render(report: &Report) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "{}", escape_line(format!("{name:<21}{value}").trim_end()));
    };
    line(&report.uri, "");
    line("  address", report.address.as_deref().unwrap_or("none"));
    if let Some(tls) = &report.tls {
        let verified = if tls.verified { "verified" } else { "not verified" };
        line("  TLS", &format!("{}, {}, {} {verified}", tls.version, tls.cipher_suite, tls.server_name));
        if let Some(certificate) = &tls.certificate {
            let names = certificate.names.join(", ");
            line(
                "  certificate",
                &format!("{names}; from {}; until {}", certificate.issuer, certificate.not_after),
            );
        }
        let alpn = if report.alpn.is_empty() { "none".to_owned() } else { report.alpn.join(", ") };
        line("  ALPN", &alpn);
    }
    match &report.settings {
        None => line("  SETTINGS", "none: no HTTP/2"),
        Some(settings) => {
            let connect = settings.iter().find(|setting| setting.name == "ENABLE_CONNECT_PROTOCOL");
            let value = connect.map_or("not mentioned".to_owned(), |setting| setting.value.to_string());
            line("  SETTINGS (0x8)", &format!("ENABLE_CONNECT_PROTOCOL: {value}"));
            let others: Vec<_> = settings
                .iter()
                .filter(|setting| setting.name != "ENABLE_CONNECT_PROTOCOL")
                .map(|setting| format!("{}={}", setting.name, setting.value))
                .collect();
            line("  other SETTINGS", &others.join(" "));
        }
    }
    for attempt in &report.attempts {
        render_attempt(attempt, &mut line);
    }
    let _ = writeln!(text, "\n{}", escape_line(&report.verdict));
    for sentence in &report.advice {
        let _ = writeln!(text, "{}", escape_line(&format!("hint: {sentence}")));
    }
    text
}

fn render_attempt(attempt: &Attempt, line: &mut impl FnMut(&str, &str)) {
    let outcome = match attempt.outcome {
        AttemptOutcome::Opened => "opened",
        AttemptOutcome::Refused => "refused",
        AttemptOutcome::NotAllowed => "not allowed",
        AttemptOutcome::Failed => "failed",
    };
    line("", "");
    line(&format!("{}: {outcome}", attempt.way.name()), "");
    if let Some(error) = &attempt.error {
        line("  why", error);
    }
    if let Some(refusal) = &attempt.refusal {
        for (index, head) in refusal.head.iter().enumerate() {
            line(if index == 0 { "  answer" } else { "" }, head);
        }
        let body: String = refusal.body.trim().chars().take(SHOWN_BODY_CHARACTERS).collect();
        if !body.is_empty() {
            line("  body", &body);
        }
        line("  meaning", &refusal.why);
        line("  what to do", &refusal.advice);
    }
    if let Some(compression) = &attempt.permessage_deflate {
        let parameters = compression.parameters.as_deref().unwrap_or_default();
        let agreed =
            if compression.agreed { format!("agreed: {parameters}") } else { "not agreed".to_owned() };
        line("  permessage-deflate", &agreed);
        line("  subprotocol", attempt.subprotocol.as_deref().unwrap_or("none"));
        line("  ping", &attempt.ping_ms.map_or("no answer".to_owned(), |ms| format!("{ms} ms")));
    }
    if let Some(close) = &attempt.close {
        let code = match (close.code, close.unasked) {
            (Some(code), true) => format!("the server's came first, with {code}"),
            (None, true) => "none, the session was over before".to_owned(),
            (Some(code), false) => format!("answered with {code}"),
            (None, false) => "not answered".to_owned(),
        };
        let end = if close.ended_by_server {
            "the server ended the connection"
        } else {
            "the connection stayed open"
        };
        line("  close", &format!("{code} {}; {end}, {} ms", close.reason, close.ms).replace(" ;", ";"));
    }
    line("  time", &phases(&attempt.timings));
}

fn phases(timings: &Timings) -> String {
    let phases = [
        ("dns", timings.dns_ms),
        ("tcp", timings.tcp_ms),
        ("proxy", timings.proxy_ms),
        ("tls", timings.tls_ms),
        ("settings", timings.settings_ms),
        ("handshake", timings.handshake_ms),
        ("total", Some(timings.total_ms)),
    ];
    let phases: Vec<_> =
        phases.iter().filter_map(|(name, ms)| Some(format!("{name} {} ms", (*ms)?))).collect();
    phases.join(", ")
}
