//! Kubernetes and Istio documents, and what applies of them to one proxy.
//!
//! ```text
//!  text ──yaml──▶ field ──▶ document/ ──┬─ traffic_policy (DestinationRule) ─┬─▶ outbound ─▶ config::Outbound
//!        (places)  (types)  (Documents) └─ patches (EnvoyFilter) ────────────┴─▶ inbound ──▶ config::Inbound
//! ```
//!
//! [`Documents`] is what was written; [`outbound()`] and [`inbound()`] answer what Istio would make of it for one proxy, in
//! Envoy's terms. All of it is plain functions; only [`Documents::load`] and [`MeshDefaults::load`] read files.

mod completion;
mod config;
mod connection_manager_patch;
mod document;
mod duration;
mod field;
mod filter_text;
mod host;
mod inbound;
mod index;
pub mod lint;
mod mesh_config;
mod outbound;
mod patches;
mod place;
mod scalar;
mod source;
mod traffic_policy;
mod virtual_host;
mod yaml;

#[cfg(test)]
mod tests;

pub use config::{
    Cluster, ClusterKind, HttpConnectionManager, Inbound, Outbound, OutboundTrafficPolicy, RetryOn,
    RetryPolicy, Route, RouteAction, ServerName, UpstreamProtocol, VirtualHost, Workload, match_virtual_host,
};
pub(crate) use document::ROOT_NAMESPACE;
pub use document::{Documents, H2UpgradePolicy, Manifest, Service};
pub(crate) use duration::format as format_duration;
pub(crate) use filter_text::ConnectionManagerFilter;
pub use inbound::{InboundQuery, inbound};
pub use mesh_config::MeshDefaults;
pub use outbound::{OutboundQuery, outbound};
pub use place::{Duplicate, MeshError, Place, Places, Warning};
pub use source::{Source, Text};

/// The Istio release that a proxy says it is of if nothing else is asked for; each `proxyVersion` of today's documents
/// matches it.
pub const ISTIO_VERSION: &str = "1.27.0";
