//! What one proxy is configured with, in Envoy's terms: the answers of this module.
//!
//! Each default is the one of Envoy 1.40 or of the configuration that Istio generates; the
//! functions in [`super::outbound()`] and [`super::inbound()`] put the documents over them. Only
//! what the sidecar acts on is here.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::duration;
pub use super::retry_policy::{RetryOn, RetryPolicy};
pub use super::route::{
    Fault, FieldOperations, FieldWrite, FractionalPercent, Redirect, Rewrite, Route, RouteAction,
    WeightedCluster,
};
pub use super::route_match::{
    FieldMatch, PathMatch, Pattern, QueryParameterMatch, RequestHead, RouteMatch, ValueMatch, split_query,
};
pub use super::virtual_host::{VirtualHost, match_virtual_host};

/// The pod that a proxy belongs to, as its Deployment describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Workload {
    /// The Deployment's name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// The pod template's labels.
    pub labels: BTreeMap<String, String>,
    /// The pod's service account, `default` if it names none.
    pub service_account: String,
}

impl Workload {
    /// `spiffe://cluster.local/ns/NAMESPACE/sa/SERVICE-ACCOUNT` (Istio's `pkg/spiffe/spiffe.go`,
    /// default trust domain).
    #[must_use]
    pub fn spiffe_identity(&self) -> String {
        format!("spiffe://cluster.local/ns/{}/sa/{}", self.namespace, self.service_account)
    }
}

/// What a request to a host outside of the documents meets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub enum OutboundTrafficPolicy {
    /// `ALLOW_ANY`: the virtual host `allow_any`, to `PassthroughCluster`. Istio's default.
    #[default]
    AllowAny,
    /// `REGISTRY_ONLY`: the virtual host `block_all`, which answers 502.
    RegistryOnly,
    /// No catch-all virtual host: 404.
    None,
}

/// The client's sidecar.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outbound {
    /// The one HTTP connection manager of the port.
    pub connection_manager: HttpConnectionManager,
    /// One for each Service on the port, then the catch-all if there is one.
    pub virtual_hosts: Vec<VirtualHost>,
}

/// The server's sidecar.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inbound {
    /// The HTTP connection manager of the target port's filter chain.
    pub connection_manager: HttpConnectionManager,
    /// `inbound|http|PORT`, for every authority.
    pub virtual_host: VirtualHost,
}

/// Envoy's `HttpConnectionManager`: the downstream side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpConnectionManager {
    /// The `server` response header.
    pub server_name: ServerName,
    /// `http2_protocol_options.allow_connect`: whether extended CONNECT (RFC 8441) is taken.
    pub allow_connect: bool,
    /// `use_remote_address`: clients are strangers at the edge of the mesh. What they say of
    /// themselves does not count, and their addresses are told to the next hop.
    pub use_remote_address: bool,
    /// `xff_num_trusted_hops`: so many of the last addresses in `x-forwarded-for` come from proxies
    /// before this one.
    pub xff_num_trusted_hops: u32,
    /// `forward_client_cert_details`.
    pub forward_client_cert_details: ForwardClientCertDetails,
    /// `preserve_external_request_id`: the request ids of strangers count.
    pub preserve_external_request_id: bool,
    /// `http2_protocol_options.max_concurrent_streams`.
    pub max_concurrent_streams: u32,
    /// `http2_protocol_options.initial_stream_window_size`.
    pub initial_stream_window_size: u32,
    /// `http2_protocol_options.initial_connection_window_size`.
    pub initial_connection_window_size: u32,
    /// How long a stream may be without any activity; `None` is off, as Istio sets it.
    #[serde(with = "duration::optional")]
    pub stream_idle_timeout: Option<Duration>,
    /// `common_http_protocol_options.max_stream_duration`: how long a stream may last; `None` is
    /// off.
    #[serde(with = "duration::optional")]
    pub max_stream_duration: Option<Duration>,
    /// How long a connection that this side has finished with stays open for the peer to close it
    /// first.
    #[serde(with = "duration")]
    pub delayed_close_timeout: Duration,
    /// `upgrade_configs`: the tokens of the `Upgrade` field that are taken.
    pub upgrade_types: Vec<String>,
    /// What `EnvoyFilter`s merged into it, as it was written but for the names, which are in
    /// `snake_case`: a real Envoy knows more fields than these.
    #[serde(skip)]
    pub patches: Vec<serde_json::Value>,
}

/// What becomes of `x-forwarded-client-cert`, with subject, URI and DNS as Istio asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ForwardClientCertDetails {
    /// It is removed.
    Sanitize,
    /// The client's certificate, if it showed one, is added to it.
    AppendForward,
    /// It has the client's certificate alone, if it showed one.
    SanitizeSet,
}

/// What a proxy calls itself in the `server` response header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ServerName {
    /// `envoy`, its own name.
    Envoy,
    /// `istio-envoy`, the name that Istio gives it.
    IstioEnvoy,
}

impl ServerName {
    /// The name, as sent.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Envoy => "envoy",
            Self::IstioEnvoy => "istio-envoy",
        }
    }
}

/// Envoy 1.40's default of `max_concurrent_streams`, downstream and upstream.
const MAX_CONCURRENT_STREAMS: u32 = 1024;
/// Envoy 1.40's default window of a stream.
const INITIAL_STREAM_WINDOW_SIZE: u32 = 16 * 1024 * 1024;
/// Envoy 1.40's default window of a connection.
const INITIAL_CONNECTION_WINDOW_SIZE: u32 = 24 * 1024 * 1024;
/// Envoy's default of `delayed_close_timeout`.
const DELAYED_CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// Envoy's default of `common_http_protocol_options.idle_timeout` of a cluster.
const IDLE_TIMEOUT: Duration = Duration::from_secs(3600);
/// Istio's default `connectTimeout` (`pkg/config/mesh/mesh.go`).
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The idle timeout that Istio gives `PassthroughCluster`.
const PASSTHROUGH_IDLE_TIMEOUT: Duration = Duration::from_secs(300);

impl HttpConnectionManager {
    /// As Istio generates it for a client's sidecar.
    #[must_use]
    pub fn outbound() -> Self {
        // Istio gives outbound connection managers no name, so it is Envoy's.
        Self::named(ServerName::Envoy)
    }

    /// As Istio generates it for a gateway (`createGatewayHTTPFilterChainOpts` in
    /// `pilot/pkg/networking/core/gateway.go`).
    #[must_use]
    pub fn gateway() -> Self {
        Self {
            use_remote_address: true,
            forward_client_cert_details: ForwardClientCertDetails::SanitizeSet,
            ..Self::named(ServerName::IstioEnvoy)
        }
    }

    /// As Istio generates it for a server's sidecar.
    #[must_use]
    pub fn inbound() -> Self {
        Self {
            forward_client_cert_details: ForwardClientCertDetails::AppendForward,
            ..Self::named(ServerName::IstioEnvoy)
        }
    }

    fn named(server_name: ServerName) -> Self {
        Self {
            server_name,
            allow_connect: false,
            use_remote_address: false,
            xff_num_trusted_hops: 0,
            forward_client_cert_details: ForwardClientCertDetails::Sanitize,
            preserve_external_request_id: false,
            max_concurrent_streams: MAX_CONCURRENT_STREAMS,
            initial_stream_window_size: INITIAL_STREAM_WINDOW_SIZE,
            initial_connection_window_size: INITIAL_CONNECTION_WINDOW_SIZE,
            stream_idle_timeout: None,
            max_stream_duration: None,
            delayed_close_timeout: DELAYED_CLOSE_TIMEOUT,
            upgrade_types: vec!["websocket".to_owned()],
            patches: Vec::new(),
        }
    }
}

/// Envoy's `Cluster`: the upstream side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    /// `outbound|8080||websockets-server.default.svc.cluster.local`, `inbound|80||`,
    /// `PassthroughCluster`.
    pub name: String,
    /// Where its one host is.
    pub kind: ClusterKind,
    /// What is spoken to it.
    pub protocol: UpstreamProtocol,
    /// How long dialling may take.
    #[serde(with = "duration")]
    pub connect_timeout: Duration,
    /// How long a connection may be without a request; `None` is off.
    #[serde(with = "duration::optional")]
    pub idle_timeout: Option<Duration>,
    /// After how long a connection takes no more requests; `None` is off.
    #[serde(with = "duration::optional")]
    pub max_connection_duration: Option<Duration>,
    /// How many streams at most on one HTTP/2 connection; the peer's SETTINGS may allow fewer.
    pub max_concurrent_streams: u32,
    /// With mutual TLS: the server name that is sent,
    /// `outbound_.8080_._.websockets-server.default.svc.cluster.local`.
    pub sni: Option<String>,
    /// With mutual TLS: the SPIFFE identities of which the peer's certificate must have one; empty:
    /// any.
    pub subject_alt_names: Vec<String>,
}

/// Where the one host of a cluster is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClusterKind {
    /// The endpoint that the sidecar was started with.
    Endpoint,
    /// The original destination of the connection.
    Passthrough,
}

/// Envoy's `HttpProtocolOptions`: what is spoken upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum UpstreamProtocol {
    /// `explicit_http_config` with `http_protocol_options`.
    Http1,
    /// `explicit_http_config` with `http2_protocol_options`: a WebSocket is an extended CONNECT.
    Http2,
    /// `use_downstream_protocol_config`: what the downstream connection speaks.
    UseDownstream,
}

impl Cluster {
    /// A cluster of the endpoint with everything by default, HTTP/1.1.
    #[must_use]
    pub fn endpoint(name: String) -> Self {
        Self {
            name,
            kind: ClusterKind::Endpoint,
            protocol: UpstreamProtocol::Http1,
            connect_timeout: CONNECT_TIMEOUT,
            idle_timeout: Some(IDLE_TIMEOUT),
            max_connection_duration: None,
            max_concurrent_streams: MAX_CONCURRENT_STREAMS,
            sni: None,
            subject_alt_names: Vec::new(),
        }
    }

    /// `PassthroughCluster`.
    #[must_use]
    pub fn passthrough() -> Self {
        Self {
            kind: ClusterKind::Passthrough,
            protocol: UpstreamProtocol::UseDownstream,
            idle_timeout: Some(PASSTHROUGH_IDLE_TIMEOUT),
            ..Self::endpoint("PassthroughCluster".to_owned())
        }
    }
}
