//! The route table of one worker: the configured virtual hosts with the clusters they lead to.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

use super::config::Proxy;
use super::stats::WorkerStats;
use super::upstream::cluster::Cluster;
use crate::mesh::{self, ClusterKind, RetryPolicy, RouteAction};
use crate::net::Budget;
use crate::websocket::extended_connect::RequestParts;

/// A route, with a cluster that has connections.
#[derive(Debug)]
pub(super) struct Route {
    /// `%ROUTE_NAME%`.
    pub(super) name: Option<Arc<str>>,
    /// The virtual host's `include_request_attempt_count`.
    pub(super) include_request_attempt_count: bool,
    pub(super) action: Action,
}

/// What a route does with a request.
#[derive(Debug)]
pub(super) enum Action {
    /// Sends it to a cluster.
    Forward { cluster: Rc<Cluster>, timeout: Option<Duration>, retry: RetryPolicy },
    /// Answers it.
    DirectResponse(StatusCode, String),
    /// Answers that the cluster does not exist.
    UnknownCluster,
}

/// All routes of the listener.
#[derive(Debug)]
pub(super) struct Routes {
    virtual_hosts: Arc<[mesh::VirtualHost]>,
    /// By the name of the virtual host; Envoy requires that to be unique.
    routes: HashMap<String, Route>,
}

impl Routes {
    pub(super) fn new(proxy: &Proxy, stats: &WorkerStats, budget: &Rc<Budget>) -> Self {
        let routes = proxy
            .virtual_hosts
            .iter()
            .filter_map(|virtual_host| {
                Some((virtual_host.name.clone(), route(virtual_host, proxy, stats, budget)?))
            })
            .collect();
        Self { virtual_hosts: Arc::clone(&proxy.virtual_hosts), routes }
    }

    /// The route for a request; every route matches every path, but none a request without one
    /// (CONNECT).
    pub(super) fn find(&self, request: &RequestParts) -> Option<&Route> {
        request.path.as_ref()?;
        let authority = std::str::from_utf8(request.authority.as_ref()?.as_bytes()).ok()?;
        let virtual_host = mesh::match_virtual_host(&self.virtual_hosts, authority)?;
        self.routes.get(&virtual_host.name)
    }
}

fn route(
    virtual_host: &mesh::VirtualHost,
    proxy: &Proxy,
    stats: &WorkerStats,
    budget: &Rc<Budget>,
) -> Option<Route> {
    let route = virtual_host.routes.first()?;
    let action = match &route.action {
        RouteAction::DirectResponse { status, body } => {
            let code = StatusCode::from_u16(*status).unwrap_or(StatusCode::BAD_GATEWAY);
            Action::DirectResponse(code, body.clone())
        }
        RouteAction::UnknownCluster { .. } => Action::UnknownCluster,
        RouteAction::Forward { cluster, timeout, retry } => {
            let host = match cluster.kind {
                ClusterKind::Endpoint => Some(proxy.endpoint),
                ClusterKind::Passthrough => proxy.passthrough,
            };
            let stats = stats.cluster(&cluster.name);
            let (cluster, tls) = ((**cluster).clone(), proxy.upstream_tls.as_ref());
            let budget = Rc::clone(budget);
            let cluster = Rc::new(Cluster::new(cluster, host, proxy.bind_source, tls, stats, budget));
            Action::Forward { cluster, timeout: *timeout, retry: retry.clone() }
        }
    };
    Some(Route {
        name: route.name.as_deref().map(Arc::from),
        include_request_attempt_count: virtual_host.include_request_attempt_count,
        action,
    })
}
