//! Durations as Istio's and Envoy's documents write them: `1s`, `0.3s`, `1h30m`.
//!
//! Istio reads both its own documents and the values of an `EnvoyFilter` with Go's protobuf JSON
//! reader, whose durations are Go's `time.ParseDuration`: a sequence of decimal numbers, each with
//! a unit. Negative ones are none of these documents' business and are refused.

use std::fmt;
use std::time::Duration;

use serde::de::{self, Error as _, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serializer};

/// Nanoseconds in each of Go's units, longer names first so that `ms` is not read as `m`.
const UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000), // U+00B5, the micro sign
    ("μs", 1_000), // U+03BC, the Greek letter
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Reads a duration, or nothing if the text is none.
pub(super) fn parse(text: &str) -> Option<Duration> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    if rest.is_empty() {
        return None;
    }
    let mut nanoseconds: u64 = 0;
    while !rest.is_empty() {
        let number_length = rest.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
        let (number, after) = rest.split_at(number_length);
        let (unit, in_nanoseconds) = UNITS.iter().find(|(unit, _)| after.starts_with(unit))?;
        nanoseconds = nanoseconds.checked_add(scaled(number, *in_nanoseconds)?)?;
        rest = &after[unit.len()..];
    }
    Some(Duration::from_nanos(nanoseconds))
}

/// A decimal number times a unit, exactly; digits below a nanosecond are cut off, as Go does.
fn scaled(number: &str, unit: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut total = whole.checked_mul(unit)?;
    let mut part = unit;
    for digit in fraction.chars() {
        part /= 10;
        total = total.checked_add(part * u64::from(digit.to_digit(10)?))?;
    }
    Some(total)
}

/// A duration in a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct GoDuration(pub(super) Duration);

impl<'de> Deserialize<'de> for GoDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(GoDurationVisitor)
    }
}

struct GoDurationVisitor;

impl Visitor<'_> for GoDurationVisitor {
    type Value = GoDuration;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a duration such as 1s, 0.3s or 1h30m")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<GoDuration, E> {
        parse(text).map(GoDuration).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
    }
}

/// Writes a duration as protobuf's JSON does: seconds, with as many decimals as it needs.
pub(crate) fn format(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let fraction = format!("{:09}", duration.subsec_nanos());
    match fraction.trim_end_matches('0') {
        "" => format!("{seconds}s"),
        fraction => format!("{seconds}.{fraction}s"),
    }
}

/// For `#[serde(with)]` on a duration.
pub(super) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format(*duration))
}

/// For `#[serde(with)]` on a duration.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse(&text).ok_or_else(|| D::Error::custom(format_args!("{text} is no duration")))
}

/// For `#[serde(with)]` on a duration that may be off.
pub(super) mod optional {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    /// A duration within something optional.
    #[derive(Serialize, Deserialize)]
    struct Within(#[serde(with = "super")] Duration);

    #[expect(clippy::ref_option, reason = "serde passes a reference to the field")]
    pub(in crate::mesh) fn serialize<S: Serializer>(
        duration: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        duration.map(Within).serialize(serializer)
    }

    pub(in crate::mesh) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        Ok(Option::deserialize(deserializer)?.map(|Within(duration)| duration))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_read_as_go_reads_it() {
        for (text, expected) in [
            ("1s", Some(Duration::from_secs(1))),
            ("0s", Some(Duration::ZERO)),
            ("0", Some(Duration::ZERO)),
            ("+5s", Some(Duration::from_secs(5))),
            ("0.3s", Some(Duration::from_millis(300))),
            (".5s", Some(Duration::from_millis(500))),
            ("1.s", Some(Duration::from_secs(1))),
            ("1h30m", Some(Duration::from_secs(5400))),
            ("1.5h", Some(Duration::from_secs(5400))),
            ("250ms", Some(Duration::from_millis(250))),
            ("10us", Some(Duration::from_micros(10))),
            ("10µs", Some(Duration::from_micros(10))),
            ("7ns", Some(Duration::from_nanos(7))),
            ("0.0000000019s", Some(Duration::from_nanos(1))),
            ("315576000000s", None), // protobuf's bound, past Go's 292 years
            ("-1s", None),
            ("", None),
            ("s", None),
            (".s", None),
            ("1", None),
            ("1 s", None),
            ("1d", None),
            ("1.2.3s", None),
            ("one second", None),
        ] {
            assert_eq!(parse(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_duration_is_written_in_seconds() {
        for (milliseconds, expected) in [(0, "0s"), (1000, "1s"), (300, "0.3s"), (3_600_000, "3600s")] {
            assert_eq!(format(Duration::from_millis(milliseconds)), expected);
        }
    }
}
