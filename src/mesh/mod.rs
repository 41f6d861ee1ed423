//! Kubernetes and Istio documents, and what applies of them to one proxy.

mod config;
mod duration;
mod virtual_host;

pub use config::{
    Cluster, ClusterKind, HttpConnectionManager, Inbound, Outbound, OutboundTrafficPolicy, RetryOn,
    RetryPolicy, Route, RouteAction, UpstreamProtocol, VirtualHost, Workload, match_virtual_host,
};
