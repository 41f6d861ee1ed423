//! Kubernetes and Istio documents, and what applies of them to one proxy.

mod config;
mod connection_manager_patch;
mod document;
mod duration;
mod field;
mod host;
mod place;
mod source;
mod virtual_host;
mod yaml;

pub use config::{
    Cluster, ClusterKind, HttpConnectionManager, Inbound, Outbound, OutboundTrafficPolicy, RetryOn,
    RetryPolicy, Route, RouteAction, UpstreamProtocol, VirtualHost, Workload, match_virtual_host,
};
pub use document::{Documents, H2UpgradePolicy, Service};
pub use place::{Duplicate, MeshError, Place, Warning};
pub use source::Source;
