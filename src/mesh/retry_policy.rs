//! Envoy's `RetryPolicy`: what is tried again, and how often.

use http::StatusCode;
use serde::{Deserialize, Serialize};

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
