//! What one line of the access log says: a field for each key of Istio's default format
//! (`EnvoyJSONLogFormatIstio`, `pilot/pkg/model/telemetry_logging.go`).

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderValue, Method};

use super::ResponseFlags;

/// `%PROTOCOL%`: what the downstream side of the logging proxy speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// `HTTP/1.0`.
    Http10,
    /// `HTTP/1.1`.
    Http11,
    /// `HTTP/2`.
    Http2,
}

impl Protocol {
    /// The name, as logged.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
            Self::Http2 => "HTTP/2",
        }
    }
}

/// One line. `None` is JSON `null`, or `-` in text.
#[derive(Debug, Clone)]
pub struct Entry {
    /// `%START_TIME%`: when the proxy began to decode the request head.
    pub start_time: SystemTime,
    /// `%ROUTE_NAME%`.
    pub route_name: Option<Arc<str>>,
    /// `%REQ(:METHOD)%`.
    pub method: Option<Method>,
    /// `%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%`.
    pub path: Option<Bytes>,
    /// `%PROTOCOL%`.
    pub protocol: Option<Protocol>,
    /// `%RESPONSE_CODE%`: 0 if nothing was answered.
    pub response_code: u16,
    /// `%RESPONSE_FLAGS%`.
    pub response_flags: ResponseFlags,
    /// `%RESPONSE_CODE_DETAILS%`.
    pub response_code_details: Option<Cow<'static, str>>,
    /// `%CONNECTION_TERMINATION_DETAILS%`.
    pub connection_termination_details: Option<Cow<'static, str>>,
    /// `%BYTES_RECEIVED%`: body bytes from downstream; of a WebSocket all frame bytes.
    pub bytes_received: u64,
    /// `%BYTES_SENT%`: body bytes to downstream; of a WebSocket all frame bytes.
    pub bytes_sent: u64,
    /// `%DURATION%`, logged in milliseconds.
    pub duration: Duration,
    /// `%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%`.
    pub upstream_service_time: Option<HeaderValue>,
    /// `%REQ(X-FORWARDED-FOR)%`.
    pub x_forwarded_for: Option<HeaderValue>,
    /// `%REQ(USER-AGENT)%`.
    pub user_agent: Option<HeaderValue>,
    /// `%REQ(X-REQUEST-ID)%`.
    pub request_id: Option<HeaderValue>,
    /// `%REQ(:AUTHORITY)%`.
    pub authority: Option<HeaderValue>,
    /// `%UPSTREAM_HOST%`.
    pub upstream_host: Option<SocketAddr>,
    /// `%UPSTREAM_CLUSTER_RAW%`.
    pub upstream_cluster: Option<Arc<str>>,
    /// `%UPSTREAM_LOCAL_ADDRESS%`.
    pub upstream_local_address: Option<SocketAddr>,
    /// `%DOWNSTREAM_LOCAL_ADDRESS%`.
    pub downstream_local_address: SocketAddr,
    /// `%DOWNSTREAM_REMOTE_ADDRESS%`.
    pub downstream_remote_address: SocketAddr,
    /// `%REQUESTED_SERVER_NAME%`.
    pub requested_server_name: Option<Arc<str>>,
    /// `%UPSTREAM_TRANSPORT_FAILURE_REASON%`.
    pub upstream_transport_failure_reason: Option<Cow<'static, str>>,
}

impl Entry {
    /// An entry of which only the connection is known.
    #[must_use]
    pub fn new(downstream_local_address: SocketAddr, downstream_remote_address: SocketAddr) -> Self {
        Self {
            start_time: SystemTime::now(),
            route_name: None,
            method: None,
            path: None,
            protocol: None,
            response_code: 0,
            response_flags: ResponseFlags::default(),
            response_code_details: None,
            connection_termination_details: None,
            bytes_received: 0,
            bytes_sent: 0,
            duration: Duration::ZERO,
            upstream_service_time: None,
            x_forwarded_for: None,
            user_agent: None,
            request_id: None,
            authority: None,
            upstream_host: None,
            upstream_cluster: None,
            upstream_local_address: None,
            downstream_local_address,
            downstream_remote_address,
            requested_server_name: None,
            upstream_transport_failure_reason: None,
        }
    }
}
