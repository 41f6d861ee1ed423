//! Envoy's `VirtualHost`, `Route` and `RetryPolicy`: which cluster a request goes to, by its
//! authority.
//!
//! Istio's routes for a Service match every path, so there is no path matching here; of several
//! routes only the first can be reached.

use std::time::Duration;

use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::config::Cluster;
use super::duration;

/// A set of names (domains) and what a request for one of them meets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VirtualHost {
    /// `websockets-server.default.svc.cluster.local:8080`, `inbound|http|8080`, `allow_any` or
    /// `block_all`.
    pub name: String,
    /// Exact names, `*.suffix`, `prefix.*`, or `*`; without ports.
    pub domains: Vec<String>,
    /// Tried in this order; each matches every path.
    pub routes: Vec<Route>,
    /// Whether the request gets `x-envoy-attempt-count`.
    pub include_request_attempt_count: bool,
}

/// A route, for every path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// The access log's `route_name`; a `VirtualService`'s route without a name has none.
    pub name: Option<String>,
    /// What a request for this route meets.
    pub action: RouteAction,
}

/// What a route does with a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RouteAction {
    /// Send it to a cluster.
    Forward {
        /// The cluster that gets it.
        cluster: Box<Cluster>,
        /// How long the whole answer may take, from the end of the request; off in Istio's default
        /// routes.
        #[serde(with = "duration::optional")]
        timeout: Option<Duration>,
        /// What is tried again.
        retry: RetryPolicy,
    },
    /// Answer at once (`block_all`, a `VirtualService`'s `directResponse`).
    DirectResponse {
        /// The status of the answer.
        status: u16,
        /// The body, which may be empty.
        body: String,
    },
    /// Send it to a cluster that does not exist, as Istio does with a destination that it does not
    /// know.
    UnknownCluster {
        /// The name that no cluster has; the access log says it.
        name: String,
    },
}

impl RouteAction {
    /// The cluster that requests go to.
    #[must_use]
    pub fn cluster(&self) -> Option<&Cluster> {
        match self {
            Self::Forward { cluster, .. } => Some(cluster),
            Self::DirectResponse { .. } | Self::UnknownCluster { .. } => None,
        }
    }
}

/// Envoy's `RetryPolicy`. The default is that of a route without one: nothing is tried again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryPolicy {
    /// How many attempts there may be after the first one.
    pub num_retries: u32,
    /// After which failures and answers.
    pub retry_on: RetryOn,
}

/// The conditions of `retry_on`; what each means is in Envoy's manual for `x-envoy-retry-on` and
/// `x-envoy-retry-grpc-on`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "Envoy's own set of independent conditions")]
#[expect(missing_docs, reason = "each field is the condition of that name")]
pub struct RetryOn {
    pub five_xx: bool,
    pub gateway_error: bool,
    pub reset: bool,
    pub reset_before_request: bool,
    pub connect_failure: bool,
    pub retriable_4xx: bool,
    pub refused_stream: bool,
    /// The statuses of `retriable-status-codes`; Istio's default policy names the condition and no
    /// status.
    pub retriable_status_codes: Vec<u16>,
    pub cancelled: bool,
    pub deadline_exceeded: bool,
    pub internal: bool,
    pub resource_exhausted: bool,
    pub unavailable: bool,
}

impl RetryOn {
    /// Adds a condition by its name, or a status; false if there is no such condition here.
    pub(super) fn add(&mut self, condition: &str) -> bool {
        match condition {
            "5xx" => self.five_xx = true,
            "gateway-error" => self.gateway_error = true,
            "reset" => self.reset = true,
            "reset-before-request" => self.reset_before_request = true,
            "connect-failure" => self.connect_failure = true,
            "retriable-4xx" => self.retriable_4xx = true,
            "refused-stream" => self.refused_stream = true,
            "cancelled" => self.cancelled = true,
            "deadline-exceeded" => self.deadline_exceeded = true,
            "internal" => self.internal = true,
            "resource-exhausted" => self.resource_exhausted = true,
            "unavailable" => self.unavailable = true,
            // The condition is that there are statuses, and these are listed by themselves.
            "retriable-status-codes" => {}
            other => match other.parse().ok().and_then(|status| StatusCode::from_u16(status).ok()) {
                Some(status) if status.canonical_reason().is_some() => {
                    self.retriable_status_codes.push(status.as_u16());
                }
                _ => return false,
            },
        }
        true
    }
}

impl RetryOn {
    /// The conditions by name, as [`Self::add`] takes them; the statuses are not among them.
    pub(crate) fn names(&self) -> Vec<&'static str> {
        [
            (self.five_xx, "5xx"),
            (self.gateway_error, "gateway-error"),
            (self.reset, "reset"),
            (self.reset_before_request, "reset-before-request"),
            (self.connect_failure, "connect-failure"),
            (self.retriable_4xx, "retriable-4xx"),
            (self.refused_stream, "refused-stream"),
            (!self.retriable_status_codes.is_empty(), "retriable-status-codes"),
            (self.cancelled, "cancelled"),
            (self.deadline_exceeded, "deadline-exceeded"),
            (self.internal, "internal"),
            (self.resource_exhausted, "resource-exhausted"),
            (self.unavailable, "unavailable"),
        ]
        .into_iter()
        .filter_map(|(is_set, name)| is_set.then_some(name))
        .collect()
    }
}

impl RetryPolicy {
    /// Istio's default for outbound routes:
    /// `connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes`, twice
    /// (`pilot/pkg/networking/core/route/retry/retry.go`).
    #[must_use]
    pub fn outbound() -> Self {
        let retry_on = RetryOn {
            connect_failure: true,
            refused_stream: true,
            unavailable: true,
            cancelled: true,
            ..RetryOn::default()
        };
        Self { num_retries: 2, retry_on }
    }

    /// Istio's default for inbound routes since 1.24: `reset-before-request`, twice.
    #[must_use]
    pub fn inbound() -> Self {
        Self { num_retries: 2, retry_on: RetryOn { reset_before_request: true, ..RetryOn::default() } }
    }
}

/// Finds the virtual host for an authority as Envoy does with `ignore_port_in_host_matching`:
/// without regard to the port and to letter case; an exact domain first, then the longest
/// `*suffix`, then the longest `prefix*`, then `*`.
#[must_use]
pub fn match_virtual_host<'a>(virtual_hosts: &'a [VirtualHost], authority: &str) -> Option<&'a VirtualHost> {
    let host = without_port(authority).to_ascii_lowercase();
    virtual_hosts
        .iter()
        .flat_map(|virtual_host| virtual_host.domains.iter().map(move |domain| (virtual_host, domain)))
        .filter_map(|(virtual_host, domain)| Some((specificity(domain, &host)?, virtual_host)))
        // Of equals the first; Envoy refuses a configuration that names a domain twice.
        .reduce(|best, next| if next.0 > best.0 { next } else { best })
        .map(|(_, virtual_host)| virtual_host)
}

/// How well a domain matches a host, ordered as Envoy tries them, or nothing if it does not.
fn specificity(domain: &str, host: &str) -> Option<(u8, usize)> {
    let domain = domain.to_ascii_lowercase();
    if domain == "*" {
        return Some((0, 0));
    }
    // A wildcard stands for at least one character.
    if let Some(suffix) = domain.strip_prefix('*') {
        return (host.len() > suffix.len() && host.ends_with(suffix)).then_some((2, suffix.len()));
    }
    if let Some(prefix) = domain.strip_suffix('*') {
        return (host.len() > prefix.len() && host.starts_with(prefix)).then_some((1, prefix.len()));
    }
    (domain == host).then_some((3, domain.len()))
}

/// Takes `:port` away; the colons inside an IPv6 address's brackets are none.
fn without_port(authority: &str) -> &str {
    match authority.rfind(':') {
        Some(colon) if authority.rfind(']').is_none_or(|bracket| bracket < colon) => &authority[..colon],
        _ => authority,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn virtual_host(name: &str, domains: &[&str]) -> VirtualHost {
        VirtualHost {
            name: name.to_owned(),
            domains: domains.iter().map(|&domain| domain.to_owned()).collect(),
            routes: Vec::new(),
            include_request_attempt_count: true,
        }
    }

    #[test]
    fn the_authority_picks_the_virtual_host_as_in_envoy() {
        let all = [
            virtual_host("any", &["*"]),
            virtual_host("prefix", &["websockets.*"]),
            virtual_host("short suffix", &["*.local"]),
            virtual_host("long suffix", &["*.cluster.local"]),
            virtual_host("exact", &["a.cluster.local", "a", "127.0.0.1", "[::1]"]),
        ];
        for (authority, expected) in [
            ("a.cluster.local", "exact"),
            ("a.cluster.local:8080", "exact"),
            ("a.cluster.local:1", "exact"),
            ("A.Cluster.LOCAL:8080", "exact"),
            ("a", "exact"),
            ("a:", "exact"),
            ("127.0.0.1:8080", "exact"),
            ("[::1]", "exact"),
            ("[::1]:8080", "exact"),
            ("b.cluster.local", "long suffix"),
            (".cluster.local", "short suffix"),
            ("b.local", "short suffix"),
            ("websockets.local", "short suffix"),
            ("websockets.example", "prefix"),
            ("websockets.", "any"),
            ("a.", "any"),
            ("", "any"),
        ] {
            let found = match_virtual_host(&all, authority).map(|found| found.name.as_str());
            assert_eq!(found, Some(expected), "{authority:?}");
        }
    }

    #[test]
    fn without_a_catch_all_an_unknown_authority_has_no_virtual_host() {
        assert_eq!(match_virtual_host(&[virtual_host("a", &["a", "*.a"])], "b"), None);
    }
}
