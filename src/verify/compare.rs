//! What two pairs of sidecars wrote of the same sessions, field by field: a plain function over
//! data.
//!
//! What differs from run to run is reduced to what must not differ: a time to its form, an id to
//! being one, an address to whose it is or to its host. What ids and ports have in common is
//! counted, since reducing them loses it. The order of lines is ignored: sessions that go side by
//! side end in any order.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use super::expect::Side;
use super::judge::{Check, Subject};
use super::played::{Played, RunLogs};
use super::template::Facts;
use crate::access_log::{Field, ParsedLine};

/// Fields that hold an address.
const ADDRESSES: [&str; 4] =
    ["downstream_local_address", "downstream_remote_address", "upstream_host", "upstream_local_address"];

/// Fields whose values are counted over all lines.
const COUNTED: [&str; 3] = ["downstream_remote_address", "request_id", "upstream_local_address"];

/// What two durations may differ by, in milliseconds, or the quarter of the longer one: a busy
/// machine is slower now than before.
const DURATION_TOLERANCE: u64 = 1000;

/// A line, reduced.
type Reduced = BTreeMap<String, String>;

/// Compares what the bundled pair left with what Envoys left: one check for each field that
/// differs, and one that holds for each side where nothing does.
pub(super) fn compare(bundled: &Played, envoy: &Played) -> Vec<Check> {
    let mut checks = Vec::new();
    for side in Side::BOTH {
        let differences =
            [of_lines(side, bundled, envoy), of_counts(side, &bundled.logs, &envoy.logs)].concat();
        if differences.is_empty() {
            let same = "what the bundled pair wrote".to_owned();
            checks.push(check(side, "comparison", same.clone(), same, None));
        }
        checks.extend(differences);
    }
    checks
}

fn check(side: Side, field: &str, expected: String, actual: String, line: Option<&str>) -> Check {
    let holds = expected == actual;
    Check {
        subject: Subject::Log(side),
        field: field.to_owned(),
        expected,
        actual,
        holds,
        request_id: None,
        line: line.map(str::to_owned),
        // What it means is no reason why it is another one.
        explanation: None,
        at: None,
    }
}

fn differing(side: Side, field: &str, envoy: &str, bundled: &str, line: Option<&str>) -> Check {
    check(side, field, format!("{envoy} (Envoy)"), format!("{bundled} (bundled pair)"), line)
}

/// The fields in which lines differ; lines that have no counterpart differ as a whole.
fn of_lines(side: Side, bundled: &Played, envoy: &Played) -> Vec<Check> {
    let reduced = |Played { logs, facts, .. }: &Played| -> Vec<(Reduced, Option<u64>, String)> {
        logs.lines(side).map(|line| (reduce(line, facts), duration(line), line.text().to_owned())).collect()
    };
    let mut bundled = reduced(bundled);
    let mut checks = Vec::new();
    for (wanted, took, text) in reduced(envoy) {
        let alike = |(line, _, _): &(Reduced, _, _)| {
            wanted.iter().filter(|(key, value)| line.get(*key) == Some(*value)).count()
        };
        let nearest = (0..bundled.len()).rev().max_by_key(|&index| alike(&bundled[index]));
        let Some(nearest) = nearest else {
            checks.push(differing(side, "line", "a line", "none", Some(&text)));
            continue;
        };
        let (line, took_there, _) = bundled.swap_remove(nearest);
        let keys: BTreeSet<&String> = wanted.keys().chain(line.keys()).collect();
        for key in keys {
            let value = |line: &Reduced| line.get(key).cloned().unwrap_or_else(|| Field::Absent.to_string());
            if wanted.get(key) != line.get(key) {
                checks.push(differing(side, key, &value(&wanted), &value(&line), Some(&text)));
            }
        }
        if let (Some(took), Some(took_there)) = (took, took_there)
            && took.abs_diff(took_there) > DURATION_TOLERANCE.max(took.max(took_there) / 4)
        {
            let (took, took_there) = (took.to_string(), took_there.to_string());
            checks.push(differing(side, "duration", &took, &took_there, Some(&text)));
        }
    }
    checks.extend(bundled.iter().map(|(_, _, text)| differing(side, "line", "none", "a line", Some(text))));
    checks
}

fn duration(line: &ParsedLine) -> Option<u64> {
    match line.field("duration") {
        Field::Number(duration) => Some(duration),
        _ => None,
    }
}

/// A line without what differs from run to run.
fn reduce(line: &ParsedLine, facts: &Facts) -> Reduced {
    let reduced = |key: &str| {
        let text = match line.field(key) {
            Field::Text(text) => text,
            other => return other.to_string(),
        };
        match key {
            "start_time" if text.parse::<jiff::Timestamp>().is_ok() => "a time".to_owned(),
            "request_id" if text.parse::<uuid::Uuid>().is_ok() => "a UUID".to_owned(),
            "upstream_service_time" if text.parse::<u64>().is_ok() => "milliseconds".to_owned(),
            key if ADDRESSES.contains(&key) => whose(text, facts),
            _ => text.to_owned(),
        }
    };
    line.keys().filter(|key| *key != "duration").map(|key| (key.to_owned(), reduced(key))).collect()
}

/// The name of the program with this address; else its host, since the port of a connection is
/// chosen anew for each.
fn whose(text: &str, facts: &Facts) -> String {
    let Ok(address) = text.parse::<SocketAddr>() else { return text.to_owned() };
    let programs = [
        (&facts.client_sidecar, "the client's sidecar"),
        (&facts.server_sidecar, "the server's sidecar"),
        (&facts.application, "the application"),
    ];
    match programs.into_iter().find(|(fact, _)| **fact == address.into()) {
        Some((_, name)) => name.to_owned(),
        None => format!("{}:…", address.ip()),
    }
}

/// How many different values a field has in all lines: how many connections there were, whether
/// each session has its id.
fn of_counts(side: Side, bundled: &RunLogs, envoy: &RunLogs) -> Vec<Check> {
    let count = |logs: &RunLogs, field: &str| {
        logs.lines(side).filter_map(|line| line.text_of(field)).collect::<BTreeSet<_>>().len()
    };
    let differing = |field: &&str| {
        let (wanted, found) = (count(envoy, field), count(bundled, field));
        let many = |count: usize| format!("{count} different");
        (wanted != found).then(|| differing(side, field, &many(wanted), &many(found), None))
    };
    COUNTED.iter().filter_map(differing).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn line(flags: &str, remote: &str, milliseconds: u64, id: &str) -> String {
        format!(
            "{{\"response_flags\":\"{flags}\",\"downstream_remote_address\":\"{remote}\",\"duration\":{milliseconds},\
             \"request_id\":\"{id}\",\"start_time\":\"2026-11-23T15:13:45.369Z\",\"upstream_service_time\":\"3\"}}\n"
        )
    }

    const ID: &str = "2fcf4acf-c83a-4bef-addd-323d2faa91ec";
    const ANOTHER_ID: &str = "f224a525-d462-4419-9577-1307bcccfa11";

    /// A run of which the client's sidecar left this log.
    fn played(log: &str, facts: Facts) -> Played {
        let logs = RunLogs::parse(log, "");
        Played { facts, endings: Vec::new(), logs, elapsed: Duration::ZERO }
    }

    /// The fields in which the client's sidecar's lines differ, as
    /// `field: Envoy's, the bundled pair's`.
    fn differences(bundled: &str, envoy: &str) -> Vec<String> {
        let [bundled, envoy] = [bundled, envoy].map(|log| played(log, Facts::example()));
        let checks = compare(&bundled, &envoy);
        let failed = checks.iter().filter(|check| !check.holds);
        failed.map(|check| format!("{}: {}, {}", check.field, check.expected, check.actual)).collect()
    }

    #[test]
    fn times_ports_and_ids_differ_by_nature() {
        let bundled = line("UC", "127.0.0.1:5000", 3, ID);
        let envoy = line("UC", "127.0.0.1:6000", 900, ANOTHER_ID);
        assert_eq!(differences(&bundled, &envoy), Vec::<String>::new());
    }

    #[test]
    fn every_other_field_that_differs_is_named_with_both_values() {
        let bundled = line("UC", "127.0.0.1:5000", 3, ID).replace("\"3\"", "null");
        let envoy = line("UR", "127.0.0.6:5000", 3, ID);
        assert_eq!(
            differences(&bundled, &envoy),
            [
                "downstream_remote_address: 127.0.0.6:… (Envoy), 127.0.0.1:… (bundled pair)",
                "response_flags: UR (Envoy), UC (bundled pair)",
                "upstream_service_time: milliseconds (Envoy), null (bundled pair)",
            ]
        );
    }

    #[test]
    fn a_duration_differs_only_by_more_than_a_busy_machine_explains() {
        let took = |milliseconds| line("UC", "127.0.0.1:5000", milliseconds, ID);
        assert_eq!(differences(&took(9_000), &took(11_000)), Vec::<String>::new());
        assert_eq!(differences(&took(12), &took(1_022)), ["duration: 1022 (Envoy), 12 (bundled pair)"]);
    }

    #[test]
    fn lines_are_compared_in_any_order_and_one_without_a_counterpart_is_named() {
        let (one, other) = (line("UC", "127.0.0.1:1", 1, ID), line("UR", "127.0.0.1:2", 1, ANOTHER_ID));
        let both = format!("{one}{other}");
        assert_eq!(differences(&both, &format!("{other}{one}")), Vec::<String>::new());
        assert_eq!(
            differences(&one, &both),
            [
                "line: a line (Envoy), none (bundled pair)",
                "downstream_remote_address: 2 different (Envoy), 1 different (bundled pair)",
                "request_id: 2 different (Envoy), 1 different (bundled pair)",
            ]
        );
    }

    #[test]
    fn an_address_is_the_same_if_it_is_the_same_programs() {
        let moved =
            Facts { client_sidecar: SocketAddr::from(([127, 0, 0, 1], 9)).into(), ..Facts::example() };
        let at = |address| format!("{{\"downstream_local_address\":\"{address}\"}}\n");
        let bundled = played(&at("127.0.10.1:8080"), Facts::example());
        for (facts, same) in [(moved, true), (Facts::example(), false)] {
            let envoy = played(&at("127.0.0.1:9"), facts);
            assert_eq!(compare(&bundled, &envoy).iter().all(|check| check.holds), same);
        }
    }
}
