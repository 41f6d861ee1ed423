//! The route table of one worker: the configured virtual hosts with the clusters they lead to.

use std::borrow::Cow;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, StatusCode};

use super::config::Proxy;
use super::route_fields::RouteFields;
use super::stats::WorkerStats;
use super::upstream::cluster::Cluster;
use crate::mesh::{self, ClusterKind, Redirect, RequestHead, RetryPolicy, Rewrite, RouteAction, RouteMatch};
use crate::net::Budget;
use crate::websocket::extended_connect::RequestParts;

/// A route, with a cluster that has connections.
#[derive(Debug)]
pub(super) struct Route {
    /// `%ROUTE_NAME%`.
    pub(super) name: Option<Arc<str>>,
    pub(super) conditions: RouteMatch,
    /// The virtual host's `include_request_attempt_count`.
    pub(super) include_request_attempt_count: bool,
    pub(super) action: Action,
    pub(super) request_fields: RouteFields,
    pub(super) response_fields: RouteFields,
}

/// What a route does with a request.
#[derive(Debug)]
pub(super) enum Action {
    /// Sends it to a cluster.
    Forward { cluster: Rc<Cluster>, timeout: Option<Duration>, retry: RetryPolicy, rewrite: Rewrite },
    /// Answers with another address.
    Redirect(StatusCode, Redirect),
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
    routes: HashMap<String, Vec<Route>>,
}

impl Routes {
    pub(super) fn new(proxy: &Proxy, stats: &WorkerStats, budget: &Rc<Budget>) -> Self {
        let mut clusters = Clusters { proxy, stats, budget, by_name: HashMap::new() };
        let routes = proxy.virtual_hosts.iter();
        let routes = routes.map(|virtual_host| (virtual_host.name.clone(), clusters.routes(virtual_host)));
        Self { routes: routes.collect(), virtual_hosts: Arc::clone(&proxy.virtual_hosts) }
    }

    /// The route for a request: the first of its virtual host that it matches. None is for a request
    /// without a path (CONNECT).
    pub(super) fn find(&self, request: &RequestParts) -> Option<&Route> {
        request.path.as_ref()?;
        let authority = std::str::from_utf8(request.authority.as_ref()?.as_bytes()).ok()?;
        let virtual_host = mesh::match_virtual_host(&self.virtual_hosts, authority)?;
        self.routes.get(&virtual_host.name)?.iter().find(|route| route.conditions.matches(request))
    }
}

impl RequestHead for RequestParts {
    fn path(&self) -> &[u8] {
        self.path.as_ref().map_or(b"", HeaderValue::as_bytes)
    }

    fn field(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        match name {
            ":authority" => self.authority.as_ref().map(|authority| authority.as_bytes().into()),
            ":method" => Some(self.method.as_str().as_bytes().into()),
            ":scheme" => Some(self.scheme.as_bytes().into()),
            _ => {
                let mut values = self.fields.iter().filter(|(known, _)| *known == name);
                let first = values.next()?.1.as_bytes();
                let rest: Vec<&[u8]> = values.map(|(_, value)| value.as_bytes()).collect();
                if rest.is_empty() {
                    Some(first.into())
                } else {
                    Some([&[first], &rest[..]].concat().join(&b',').into())
                }
            }
        }
    }
}

/// The clusters of a listener, each once, however many routes lead to it.
struct Clusters<'a> {
    proxy: &'a Proxy,
    stats: &'a WorkerStats,
    budget: &'a Rc<Budget>,
    by_name: HashMap<String, Rc<Cluster>>,
}

impl Clusters<'_> {
    fn routes(&mut self, virtual_host: &mesh::VirtualHost) -> Vec<Route> {
        let route = |route: &mesh::Route| Route {
            name: route.name.as_deref().map(Arc::from),
            conditions: route.conditions.clone(),
            include_request_attempt_count: virtual_host.include_request_attempt_count,
            action: self.action(&route.action),
            request_fields: RouteFields::new(&route.request_fields),
            response_fields: RouteFields::new(&route.response_fields),
        };
        virtual_host.routes.iter().map(route).collect()
    }

    fn action(&mut self, action: &RouteAction) -> Action {
        let status = |status| StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
        match action {
            RouteAction::Redirect(redirect) => Action::Redirect(status(redirect.status), redirect.clone()),
            RouteAction::DirectResponse { status: code, body } => {
                Action::DirectResponse(status(*code), body.clone())
            }
            RouteAction::UnknownCluster { .. } => Action::UnknownCluster,
            RouteAction::Forward { cluster, timeout, retry, rewrite } => Action::Forward {
                cluster: self.cluster(cluster),
                timeout: *timeout,
                retry: retry.clone(),
                rewrite: rewrite.clone(),
            },
        }
    }

    fn cluster(&mut self, cluster: &mesh::Cluster) -> Rc<Cluster> {
        if let Some(known) = self.by_name.get(&cluster.name) {
            return Rc::clone(known);
        }
        let proxy = self.proxy;
        let host = match cluster.kind {
            ClusterKind::Endpoint => Some(proxy.endpoint),
            ClusterKind::Passthrough => proxy.passthrough,
        };
        let stats = self.stats.cluster(&cluster.name);
        let (tls, budget) = (proxy.upstream_tls.as_ref(), Rc::clone(self.budget));
        let made = Rc::new(Cluster::new(cluster.clone(), host, proxy.bind_source, tls, stats, budget));
        self.by_name.insert(cluster.name.clone(), Rc::clone(&made));
        made
    }
}
