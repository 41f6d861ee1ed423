//! Kubernetes and Istio documents, and what applies of them to one proxy.
//!
//! ```text
//!  text ──crate::yaml──▶ document/ ──┬─ traffic_policy (DestinationRule) ─┬─▶ outbound ─▶ config::Outbound
//!          (trees)      (Documents) └─ patches (EnvoyFilter) ────────────┴─▶ inbound ──▶ config::Inbound
//! ```
//!
//! [`Documents`] is what was written; [`outbound()`] and [`inbound()`] answer what Istio would make
//! of it for one proxy, in Envoy's terms. All of it is plain functions; only [`Documents::load`]
//! and [`MeshDefaults::load`] read files.

mod concern;
mod config;
pub mod config_dump;
mod document;
mod duration;
mod error;
mod gateway;
mod host;
mod inbound;
mod index;
mod kinds;
pub mod lint;
mod listener;
mod mesh_config;
mod outbound;
mod patches;
mod retry_policy;
mod route;
mod route_match;
mod routing;
mod rule;
pub mod rules;
mod scalar;
mod source;
mod traffic_policy;
mod virtual_host;

#[cfg(test)]
mod tests;

pub use concern::{DocumentsByPlace, Sessions};
pub use config::{
    Cluster, ClusterKind, Fault, FieldMatch, FieldOperations, FieldWrite, ForwardClientCertDetails,
    FractionalPercent, HttpConnectionManager, Inbound, Outbound, OutboundTrafficPolicy, PathMatch, Pattern,
    QueryParameterMatch, Redirect, RequestHead, RetryOn, RetryPolicy, Rewrite, Route, RouteAction,
    RouteMatch, ServerName, UpstreamProtocol, ValueMatch, VirtualHost, WeightedCluster, Workload,
    match_virtual_host, split_query,
};
pub(crate) use document::ConnectionManagerFilter;
pub(crate) use document::ROOT_NAMESPACE;
pub use document::{Documents, H2UpgradePolicy, Manifest, Places, Service};
pub(crate) use duration::format as format_duration;
pub use error::{Duplicate, MeshError, Warning};
pub use gateway::{GatewayQuery, gateway};
pub use inbound::{InboundQuery, inbound};
pub use listener::{
    ClientCertificates, Credential, DownstreamTlsContext, FilterChain, Gateway, Listener, PemSecret,
    TerminalFilter,
};
pub use mesh_config::MeshDefaults;
pub use outbound::{OutboundQuery, outbound};
pub use rule::{Rule, Severity};
pub use source::{CONFIGURATION_FILE, Source};

/// The Istio release that a proxy says it is of if nothing else is asked for; each `proxyVersion`
/// of today's documents matches it.
pub const ISTIO_VERSION: &str = "1.27.0";

/// A field's name in protobuf: `allowConnect` is `allow_connect`. What is no name of a field, such
/// as `@type`, stays.
fn snake_case(name: &str) -> String {
    if name.contains(['@', '.', '/']) {
        return name.to_owned();
    }
    let mut snake = String::with_capacity(name.len() + 4);
    for character in name.chars() {
        if character.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(character.to_ascii_lowercase());
    }
    snake
}
