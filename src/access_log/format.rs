//! Istio's two default formats: JSON with 24 keys (alphabetical, as Envoy 1.40 writes them) and
//! TEXT.

use std::fmt::Display;
use std::io::{self, Write};
use std::time::SystemTime;

use http::HeaderValue;
use serde::{Deserialize, Serialize};

use super::Entry;

/// How a line looks (`MeshConfig.accessLogEncoding`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Format {
    /// One JSON object a line; a missing value is `null`.
    #[default]
    Json,
    /// Envoy's text format as Istio extends it; a missing value is `-`.
    Text,
}

impl Format {
    /// Appends the line, with its line feed.
    ///
    /// # Errors
    /// None for a buffer in memory.
    pub fn write(self, entry: &Entry, out: &mut Vec<u8>) -> io::Result<()> {
        match self {
            Self::Json => write_json(entry, out),
            Self::Text => write_text(entry, out),
        }
    }
}

fn write_json(entry: &Entry, out: &mut Vec<u8>) -> io::Result<()> {
    let mut object = JsonObject { out, first: true };
    object.text("authority", entry.authority.as_ref().map(HeaderValue::as_bytes))?;
    object.number("bytes_received", entry.bytes_received)?;
    object.number("bytes_sent", entry.bytes_sent)?;
    object.text(
        "connection_termination_details",
        entry.connection_termination_details.as_deref().map(str::as_bytes),
    )?;
    object.display("downstream_local_address", Some(entry.downstream_local_address))?;
    object.display("downstream_remote_address", Some(entry.downstream_remote_address))?;
    object.number("duration", milliseconds(entry))?;
    object.text("method", entry.method.as_ref().map(|method| method.as_str().as_bytes()))?;
    object.text("path", entry.path.as_deref())?;
    object.text("protocol", entry.protocol.map(|protocol| protocol.as_str().as_bytes()))?;
    object.text("request_id", entry.request_id.as_ref().map(HeaderValue::as_bytes))?;
    object.text("requested_server_name", entry.requested_server_name.as_deref().map(str::as_bytes))?;
    object.number("response_code", u64::from(entry.response_code))?;
    object.text("response_code_details", entry.response_code_details.as_deref().map(str::as_bytes))?;
    object.display("response_flags", Some(entry.response_flags))?;
    object.text("route_name", entry.route_name.as_deref().map(str::as_bytes))?;
    object.display("start_time", Some(timestamp(entry.start_time)))?;
    object.text("upstream_cluster", entry.upstream_cluster.as_deref().map(str::as_bytes))?;
    object.display("upstream_host", entry.upstream_host)?;
    object.display("upstream_local_address", entry.upstream_local_address)?;
    object.text("upstream_service_time", entry.upstream_service_time.as_ref().map(HeaderValue::as_bytes))?;
    object.text(
        "upstream_transport_failure_reason",
        entry.upstream_transport_failure_reason.as_deref().map(str::as_bytes),
    )?;
    object.text("user_agent", entry.user_agent.as_ref().map(HeaderValue::as_bytes))?;
    object.text("x_forwarded_for", entry.x_forwarded_for.as_ref().map(HeaderValue::as_bytes))?;
    out.extend_from_slice(b"}\n");
    Ok(())
}

/// A flat JSON object under construction.
struct JsonObject<'a> {
    out: &'a mut Vec<u8>,
    first: bool,
}

impl JsonObject<'_> {
    fn key(&mut self, key: &str) -> io::Result<()> {
        let before = if self.first { '{' } else { ',' };
        self.first = false;
        write!(self.out, "{before}\"{key}\":")
    }

    fn number(&mut self, key: &str, value: u64) -> io::Result<()> {
        self.key(key)?;
        write!(self.out, "{value}")
    }

    /// A string from outside: escaped, and bytes that are not UTF-8 replaced.
    fn text(&mut self, key: &str, value: Option<&[u8]>) -> io::Result<()> {
        self.key(key)?;
        match value {
            Some(bytes) => Ok(serde_json::to_writer(&mut *self.out, &String::from_utf8_lossy(bytes))?),
            None => self.out.write_all(b"null"),
        }
    }

    /// A string of our own making, which has nothing to escape.
    fn display(&mut self, key: &str, value: Option<impl Display>) -> io::Result<()> {
        self.key(key)?;
        match value {
            Some(value) => write!(self.out, "\"{value}\""),
            None => self.out.write_all(b"null"),
        }
    }
}

fn write_text(entry: &Entry, out: &mut Vec<u8>) -> io::Result<()> {
    writeln!(
        out,
        "[{}] \"{} {} {}\" {} {} {} {} \"{}\" {} {} {} {} \"{}\" \"{}\" \"{}\" \"{}\" \"{}\" {} {} {} {} {} {}",
        timestamp(entry.start_time),
        or_dash(entry.method.as_ref()),
        or_dash(entry.path.as_deref().map(String::from_utf8_lossy)),
        or_dash(entry.protocol.map(super::Protocol::as_str)),
        entry.response_code,
        entry.response_flags,
        or_dash(entry.response_code_details.as_ref()),
        or_dash(entry.connection_termination_details.as_ref()),
        or_dash(entry.upstream_transport_failure_reason.as_ref()),
        entry.bytes_received,
        entry.bytes_sent,
        milliseconds(entry),
        or_dash(lossy(entry.upstream_service_time.as_ref())),
        or_dash(lossy(entry.x_forwarded_for.as_ref())),
        or_dash(lossy(entry.user_agent.as_ref())),
        or_dash(lossy(entry.request_id.as_ref())),
        or_dash(lossy(entry.authority.as_ref())),
        or_dash(entry.upstream_host),
        or_dash(entry.upstream_cluster.as_ref()),
        or_dash(entry.upstream_local_address),
        entry.downstream_local_address,
        entry.downstream_remote_address,
        or_dash(entry.requested_server_name.as_ref()),
        or_dash(entry.route_name.as_ref()),
    )
}

fn lossy(value: Option<&HeaderValue>) -> Option<std::borrow::Cow<'_, str>> {
    value.map(|value| String::from_utf8_lossy(value.as_bytes()))
}

fn or_dash(value: Option<impl Display>) -> impl Display {
    struct OrDash<T>(Option<T>);
    impl<T: Display> Display for OrDash<T> {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            match &self.0 {
                Some(value) => value.fmt(f),
                None => f.write_str("-"),
            }
        }
    }
    OrDash(value)
}

fn milliseconds(entry: &Entry) -> u64 {
    u64::try_from(entry.duration.as_millis()).unwrap_or(u64::MAX)
}

/// `%START_TIME%` as Envoy writes it: UTC with milliseconds, `2026-11-23T15:04:03.025Z`.
fn timestamp(time: SystemTime) -> impl Display {
    let timestamp = jiff::Timestamp::try_from(time).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    timestamp.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::super::{Protocol, ResponseFlag, ResponseFlags};
    use super::*;

    fn entry() -> Entry {
        let mut entry = Entry::new("127.0.10.1:8080".parse().unwrap(), "[::1]:5000".parse().unwrap());
        entry.start_time = UNIX_EPOCH + Duration::from_millis(1_795_446_243_025);
        entry.method = Some(http::Method::GET);
        entry.path = Some("/\"quoted\"".into());
        entry.protocol = Some(Protocol::Http11);
        entry.response_code = 101;
        entry.response_flags.set(ResponseFlag::UpstreamConnectionTermination);
        entry.duration = Duration::from_micros(1_073_900);
        entry.user_agent = Some(HeaderValue::from_bytes(b"caf\xe9").unwrap());
        entry
    }

    #[test]
    fn json_has_istios_24_keys_in_alphabetical_order_and_null_for_what_is_missing() {
        let mut out = Vec::new();
        Format::Json.write(&entry(), &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.ends_with("}\n"));
        let object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&text).unwrap();
        assert_eq!(object.len(), 24);
        let written: Vec<&str> = text.split("\":").filter_map(|part| part.rsplit('"').next()).collect();
        assert!(written[..24].is_sorted(), "{written:?}");
        assert_eq!(object["path"], "/\"quoted\"");
        assert_eq!(object["user_agent"], "caf\u{fffd}");
        assert_eq!(object["duration"], 1073);
        assert_eq!(object["start_time"], "2026-11-23T15:04:03.025Z");
        assert_eq!(object["upstream_host"], serde_json::Value::Null);
        assert_eq!(object["downstream_remote_address"], "[::1]:5000");
    }

    #[test]
    fn text_has_a_dash_for_what_is_missing() {
        let mut out = Vec::new();
        Format::Text.write(&entry(), &mut out).unwrap();
        let expected = "[2026-11-23T15:04:03.025Z] \"GET /\"quoted\" HTTP/1.1\" 101 UC - - \"-\" 0 0 1073 - \"-\" \
                        \"caf\u{fffd}\" \"-\" \"-\" \"-\" - - 127.0.10.1:8080 [::1]:5000 - -\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn no_flag_is_a_dash_in_json_too() {
        let mut entry = entry();
        entry.response_flags = ResponseFlags::default();
        let mut out = Vec::new();
        Format::Json.write(&entry, &mut out).unwrap();
        assert!(String::from_utf8(out).unwrap().contains("\"response_flags\":\"-\""));
    }
}
