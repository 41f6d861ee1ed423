//! Lengths of time as arguments: `300ms`, `5s`, `1m30s`; a number alone is seconds, as with curl.

use std::time::Duration;

/// Parses one, for clap's `value_parser`.
pub(super) fn parse(text: &str) -> Result<Duration, String> {
    let parsed = match text.parse::<f64>() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).ok(),
        Err(_) => text.parse::<jiff::SignedDuration>().ok().and_then(|duration| duration.try_into().ok()),
    };
    parsed.ok_or_else(|| "not a length of time such as 300ms, 5s or 1m30s".to_owned())
}

/// The same, where none at all makes no sense.
pub(super) fn parse_positive(text: &str) -> Result<Duration, String> {
    parse(text).and_then(|duration| {
        if duration.is_zero() { Err("it has to be longer than nothing".to_owned()) } else { Ok(duration) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_has_a_unit_or_is_seconds_and_is_not_negative() {
        assert_eq!(parse("300ms"), Ok(Duration::from_millis(300)));
        assert_eq!(parse("1m30s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(parse("0s"), Ok(Duration::ZERO));
        assert_eq!(parse("5"), Ok(Duration::from_secs(5)));
        assert_eq!(parse("0.25"), Ok(Duration::from_millis(250)));
        for wrong in ["-5", "inf", "nan", "-1s", "1 parsec", ""] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
        assert!(parse_positive("1ms").is_ok());
        assert!(parse_positive("0s").is_err());
    }
}
