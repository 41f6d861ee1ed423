//! The formats of `/stats`: Envoy's text and JSON, and Prometheus's with the names and labels that
//! Envoy derives.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::json;

use super::super::stats::{Kind, Reading, Scope, Snapshot};
use crate::escape::escape_line;

/// Envoy's `format` parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// A line each, `name: value`.
    Text,
    /// One object.
    Json,
    /// The exposition format.
    Prometheus,
}

impl Format {
    pub(super) fn named(name: &str) -> Option<Self> {
        match name {
            "text" => Some(Self::Text),
            "json" => Some(Self::Json),
            "prometheus" => Some(Self::Prometheus),
            _ => None,
        }
    }
}

/// The name in Envoy's text: `cluster.inbound|80||.upstream_cx_total`.
pub(super) fn full_name(scope: &Scope, name: &str) -> String {
    match scope {
        Scope::Cluster(cluster) => format!("cluster.{cluster}.{name}"),
        Scope::ConnectionManager(prefix) => format!("http.{prefix}.{name}"),
        Scope::Http2 => format!("http2.{name}"),
        Scope::Overload => name.to_owned(),
        Scope::Server => format!("server.{name}"),
    }
}

/// By the full name, which sorts otherwise than its parts.
fn sorted(snapshot: &Snapshot) -> BTreeMap<String, Reading> {
    snapshot.iter().map(|((scope, name), reading)| (full_name(scope, name), *reading)).collect()
}

pub(super) fn text(snapshot: &Snapshot) -> String {
    sorted(snapshot).iter().fold(String::new(), |mut text, (name, reading)| {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{}: {}", escape_line(name), reading.value);
        text
    })
}

pub(super) fn json(snapshot: &Snapshot) -> serde_json::Value {
    let stats: Vec<_> = sorted(snapshot)
        .into_iter()
        .map(|(name, reading)| json!({ "name": name, "value": reading.value }))
        .collect();
    json!({ "stats": stats })
}

/// Counters, then gauges, each metric with all its series under one `# TYPE`.
pub(super) fn prometheus(snapshot: &Snapshot) -> String {
    let mut metrics: BTreeMap<(Kind, String), Vec<(String, u64)>> = BTreeMap::new();
    for ((scope, name), reading) in snapshot {
        let (metric, labels) = series(scope, name);
        metrics.entry((reading.kind, metric)).or_default().push((labels, reading.value));
    }
    let mut out = String::new();
    for ((kind, metric), series) in metrics {
        let kind = if kind == Kind::Counter { "counter" } else { "gauge" };
        // Writing to a string does not fail.
        let _ = writeln!(out, "# TYPE {metric} {kind}");
        for (labels, value) in series {
            let _ = writeln!(out, "{metric}{{{labels}}} {value}");
        }
    }
    out
}

/// The metric's name and its labels: what varies in Envoy's name becomes a label (its
/// `stats_tags`).
fn series(scope: &Scope, name: &str) -> (String, String) {
    let mut labels = Vec::new();
    let name = match name.split_once("_rq_") {
        Some((family, code)) if code.len() == 3 && code.starts_with(|digit: char| digit.is_ascii_digit()) => {
            if let Some(class) = code.strip_suffix("xx") {
                labels.push(label("envoy_response_code_class", class));
                format!("{family}_rq_xx")
            } else {
                labels.push(label("envoy_response_code", code));
                format!("{family}_rq")
            }
        }
        _ => name.replace('.', "_"),
    };
    let scope = match scope {
        Scope::Cluster(cluster) => {
            labels.push(label("envoy_cluster_name", cluster));
            "cluster"
        }
        Scope::ConnectionManager(prefix) => {
            // Istio ends the prefix with a delimiter for this purpose, `;`, which does not belong
            // to the label.
            labels.push(label("envoy_http_conn_manager_prefix", prefix.trim_end_matches(';')));
            "http"
        }
        Scope::Http2 => "http2",
        Scope::Overload => return (format!("envoy_{name}"), labels.join(",")),
        Scope::Server => "server",
    };
    (format!("envoy_{scope}_{name}"), labels.join(","))
}

fn label(name: &str, value: &str) -> String {
    format!("{name}=\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot() -> Snapshot {
        let cluster = Scope::Cluster("outbound|8080||a.b".into());
        let manager = Scope::ConnectionManager("inbound_0.0.0.0_80;".into());
        let counter = |value| Reading { kind: Kind::Counter, value, used: true };
        [
            ((cluster.clone(), "upstream_rq_5xx".to_owned()), counter(2)),
            ((cluster.clone(), "upstream_rq_503".to_owned()), counter(2)),
            ((cluster, "http2.streams_active".to_owned()), Reading::gauge(1)),
            ((manager, "downstream_rq_completed".to_owned()), counter(3)),
            ((Scope::Server, "live".to_owned()), Reading::gauge(1)),
        ]
        .into()
    }

    #[test]
    fn text_is_a_sorted_line_each() {
        let expected = "cluster.outbound|8080||a.b.http2.streams_active: 1\n\
                        cluster.outbound|8080||a.b.upstream_rq_503: 2\n\
                        cluster.outbound|8080||a.b.upstream_rq_5xx: 2\n\
                        http.inbound_0.0.0.0_80;.downstream_rq_completed: 3\n\
                        server.live: 1\n";
        assert_eq!(text(&snapshot()), expected);
    }

    #[test]
    fn prometheus_has_what_varies_in_labels() {
        let expected = "# TYPE envoy_cluster_upstream_rq counter\n\
            envoy_cluster_upstream_rq{envoy_response_code=\"503\",envoy_cluster_name=\"outbound|8080||a.b\"} 2\n\
            # TYPE envoy_cluster_upstream_rq_xx counter\n\
            envoy_cluster_upstream_rq_xx{envoy_response_code_class=\"5\",envoy_cluster_name=\"outbound|8080||a.b\"} 2\n\
            # TYPE envoy_http_downstream_rq_completed counter\n\
            envoy_http_downstream_rq_completed{envoy_http_conn_manager_prefix=\"inbound_0.0.0.0_80\"} 3\n\
            # TYPE envoy_cluster_http2_streams_active gauge\n\
            envoy_cluster_http2_streams_active{envoy_cluster_name=\"outbound|8080||a.b\"} 1\n\
            # TYPE envoy_server_live gauge\n\
            envoy_server_live{} 1\n";
        assert_eq!(prometheus(&snapshot()), expected);
    }
}
