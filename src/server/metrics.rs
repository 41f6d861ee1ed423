//! `/metrics`: what the workers have counted, added up, in the text format of Prometheus (version
//! 0.0.4).

use std::collections::BTreeMap;
use std::fmt::{Display, Write};
use std::sync::Arc;

use super::buffers::Buffers;
use super::rejection::RejectionReason;
use super::stats::{BUCKETS, Stats};

/// The `Content-Type` of the format.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The text of `/metrics`, in the format of Prometheus.
pub(super) fn render(workers: &[Arc<Stats>], buffers: &Buffers) -> String {
    let sum = |of: &dyn Fn(&Stats) -> u64| workers.iter().map(|stats| of(stats)).sum::<u64>();
    let mut page = MetricsPage::default();

    // Read before the sessions that began, so that none is counted as ended that has not begun.
    let ended = sum(&|stats| stats.ended.get());
    let sessions = [0, 1].map(|version| sum(&|stats| stats.sessions[version].get()));
    page.family("sessions_open", "gauge", "WebSocket sessions that are open.");
    page.sample("sessions_open", "", sessions.iter().sum::<u64>().saturating_sub(ended));
    page.family("sessions_total", "counter", "WebSocket sessions that were opened, by the version of HTTP.");
    for (version, count) in ["1.1", "2"].into_iter().zip(sessions) {
        page.sample("sessions_total", &format!("http_version=\"{version}\""), count);
    }

    for (name, help, count) in [
        ("received_messages_total", "Messages received.", sum(&|stats| stats.received.messages.get())),
        ("received_bytes_total", "Bytes of messages received.", sum(&|stats| stats.received.bytes.get())),
        ("sent_messages_total", "Messages sent.", sum(&|stats| stats.sent.messages.get())),
        ("sent_bytes_total", "Bytes of messages sent.", sum(&|stats| stats.sent.bytes.get())),
    ] {
        page.family(name, "counter", help);
        page.sample(name, "", count);
    }

    page.family("buffered_bytes", "gauge", "Bytes that sessions hold of messages.");
    page.sample("buffered_bytes", "", buffers.held());
    page.family("buffered_bytes_limit", "gauge", "How many they may hold, --max-buffered-bytes.");
    page.sample("buffered_bytes_limit", "", buffers.limit());
    for (name, help, count) in [
        (
            "buffer_waits_total",
            "How often a session was not read from because sessions held as much as they may.",
            sum(&|stats| stats.waits_for_room.get()),
        ),
        (
            "buffer_evictions_total",
            "Sessions that were ended because they held memory and did not move while others waited for it.",
            sum(&|stats| stats.ended_for_room.get()),
        ),
    ] {
        page.family(name, "counter", help);
        page.sample(name, "", count);
    }

    let mut closes = BTreeMap::new();
    for (code, count) in workers.iter().flat_map(|stats| stats.closes()) {
        *closes.entry(code).or_insert(0) += count;
    }
    page.family(
        "closes_total",
        "counter",
        "Sessions that ended, by close code; 1006 is an end without a Close frame.",
    );
    for (code, count) in closes {
        page.sample("closes_total", &format!("code=\"{code}\""), count);
    }

    page.family("handshake_refusals_total", "counter", "Opening handshakes that were refused, by reason.");
    for reason in RejectionReason::ALL {
        let label = format!("reason=\"{}\"", reason.name());
        page.sample("handshake_refusals_total", &label, sum(&|stats| stats.refused(reason)));
    }

    page.family("session_duration_seconds", "histogram", "How long sessions lasted that have ended.");
    let mut up_to_here = 0;
    let ends = BUCKETS.iter().map(f64::to_string).chain(["+Inf".to_owned()]);
    for (bucket, end) in ends.enumerate() {
        up_to_here += sum(&|stats| stats.lasted[bucket].get());
        page.sample("session_duration_seconds_bucket", &format!("le=\"{end}\""), up_to_here);
    }
    let microseconds = sum(&|stats| stats.lasted_microseconds.get());
    let seconds = format!("{}.{:06}", microseconds / 1_000_000, microseconds % 1_000_000);
    page.sample("session_duration_seconds_sum", "", seconds);
    page.sample("session_duration_seconds_count", "", up_to_here);
    page.0
}

/// The text so far. Writing to it does not fail.
#[derive(Debug, Default)]
struct MetricsPage(String);

impl MetricsPage {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(
            self.0,
            "# HELP websockets_server_{name} {help}\n# TYPE websockets_server_{name} {kind}"
        );
    }

    fn sample(&mut self, name: &str, label: &str, value: impl Display) {
        let _ = match label {
            "" => writeln!(self.0, "websockets_server_{name} {value}"),
            label => writeln!(self.0, "websockets_server_{name}{{{label}}} {value}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use http::Version;

    use super::*;

    #[test]
    fn the_workers_are_added_up() {
        let workers = [Arc::<Stats>::default(), Arc::default()];
        let open = workers[0].open(Version::HTTP_11);
        let ended = workers[1].open(Version::HTTP_2);
        for session in [&open, &ended] {
            session.received(5);
            session.sent(7);
        }
        ended.closes_with(4321);
        ended.closes_with(1000);
        drop(ended);
        workers[1].refuse(RejectionReason::Origin);
        let page = render(&workers, &Buffers::new(1000));
        for line in [
            "# TYPE websockets_server_sessions_open gauge",
            "websockets_server_sessions_open 1",
            "websockets_server_sessions_total{http_version=\"1.1\"} 1",
            "websockets_server_sessions_total{http_version=\"2\"} 1",
            "websockets_server_received_messages_total 2",
            "websockets_server_received_bytes_total 10",
            "websockets_server_sent_bytes_total 14",
            "websockets_server_buffered_bytes 0",
            "websockets_server_buffered_bytes_limit 1000",
            "websockets_server_buffer_waits_total 0",
            "websockets_server_buffer_evictions_total 0",
            "websockets_server_closes_total{code=\"4321\"} 1",
            "websockets_server_handshake_refusals_total{reason=\"origin\"} 1",
            "websockets_server_handshake_refusals_total{reason=\"key\"} 0",
            "websockets_server_session_duration_seconds_bucket{le=\"28800\"} 1",
            "websockets_server_session_duration_seconds_bucket{le=\"+Inf\"} 1",
            "websockets_server_session_duration_seconds_count 1",
        ] {
            assert!(page.lines().any(|candidate| candidate == line), "{line} is missing:\n{page}");
        }
        assert!(!page.contains("code=\"1000\""), "{page}");
    }

    #[test]
    fn a_session_that_is_dropped_ended_abnormally() {
        let stats = Arc::<Stats>::default();
        drop(stats.open(Version::HTTP_11));
        assert!(render(&[stats], &Buffers::new(1000)).contains("closes_total{code=\"1006\"} 1\n"));
    }
}
