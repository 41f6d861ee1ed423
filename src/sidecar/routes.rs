//! The route table of one filter chain in one worker: the configured virtual hosts with the clusters
//! they lead to.

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
use crate::http1::Fields;
use crate::mesh::{
    self, ClusterKind, Fault, Redirect, RequestHead, RetryPolicy, Rewrite, RouteAction, RouteMatch,
};
use crate::net::Budget;
use crate::websocket::extended_connect::RequestParts;

/// A route, with clusters that have connections.
#[derive(Debug)]
pub(super) struct Route {
    /// `%ROUTE_NAME%`.
    pub(super) name: Option<Arc<str>>,
    pub(super) conditions: RouteMatch,
    /// The virtual host's `include_request_attempt_count`.
    pub(super) include_request_attempt_count: bool,
    /// Of several one is chosen for each request.
    choices: Vec<Choice>,
    pub(super) fault: Option<Fault>,
    /// Whether an upgrade type is taken, whatever the connection manager says; in lower case.
    upgrades: Vec<(String, bool)>,
    request_fields: RouteFields,
    response_fields: RouteFields,
}

/// What a route may do with a request.
#[derive(Debug)]
pub(super) struct Choice {
    weight: u32,
    pub(super) action: Action,
    request_fields: RouteFields,
    response_fields: RouteFields,
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
    /// Answers with this status that the cluster does not exist.
    UnknownCluster(StatusCode),
}

impl Route {
    /// What becomes of a request.
    pub(super) fn choose(&self) -> &Choice {
        let [first, others @ ..] = &self.choices[..] else { unreachable!("a route does something") };
        if others.is_empty() {
            return first;
        }
        let sum: u64 = self.choices.iter().map(|choice| u64::from(choice.weight)).sum();
        // A UUID is made of random bytes, which are good enough here.
        let mut random = uuid::Uuid::new_v4().as_u64_pair().1 % sum.max(1);
        let is_it = |choice: &&Choice| {
            let weight = u64::from(choice.weight);
            let found = random < weight;
            random = random.saturating_sub(weight);
            found
        };
        self.choices.iter().find(is_it).unwrap_or(first)
    }

    /// Whether an upgrade to this token is taken here; nothing if the route does not say.
    pub(super) fn takes_upgrade(&self, token: &str) -> Option<bool> {
        let known = self.upgrades.iter().find(|(name, _)| name.eq_ignore_ascii_case(token));
        known.map(|(_, taken)| *taken)
    }

    /// Changes the fields of a request, those of the choice first (Envoy's `finalizeRequestHeaders`).
    pub(super) fn change_request(&self, choice: &Choice, fields: &mut Fields) {
        choice.request_fields.apply(fields);
        self.request_fields.apply(fields);
    }

    /// Changes the fields of an answer.
    pub(super) fn change_response(&self, choice: &Choice, fields: &mut Fields) {
        choice.response_fields.apply(fields);
        self.response_fields.apply(fields);
    }
}

/// Where a request is to go.
pub(super) enum Found<'r> {
    /// A route takes it.
    Route(&'r Route),
    /// It has to come by TLS.
    RequiresTls,
}

/// All routes of a filter chain.
#[derive(Debug)]
pub(super) struct Routes {
    virtual_hosts: Arc<[mesh::VirtualHost]>,
    /// By the name of the virtual host; Envoy requires that to be unique.
    routes: HashMap<String, Vec<Route>>,
}

impl Routes {
    pub(super) fn new(virtual_hosts: &Arc<[mesh::VirtualHost]>, clusters: &mut Clusters<'_>) -> Self {
        let routes = virtual_hosts.iter();
        let routes = routes.map(|virtual_host| (virtual_host.name.clone(), clusters.routes(virtual_host)));
        Self { routes: routes.collect(), virtual_hosts: Arc::clone(virtual_hosts) }
    }

    /// The route for a request: the first of its virtual host that it matches. None is for a request
    /// without a path (CONNECT).
    pub(super) fn find(&self, request: &RequestParts, is_encrypted: bool) -> Option<Found<'_>> {
        request.path.as_ref()?;
        let authority = std::str::from_utf8(request.authority.as_ref()?.as_bytes()).ok()?;
        let virtual_host = mesh::match_virtual_host(&self.virtual_hosts, authority)?;
        if virtual_host.requires_tls && !is_encrypted {
            return Some(Found::RequiresTls);
        }
        let routes = self.routes.get(&virtual_host.name)?;
        routes.iter().find(|route| route.conditions.matches(request)).map(Found::Route)
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

/// The clusters of a worker, each once, however many routes lead to it.
pub(super) struct Clusters<'a> {
    proxy: &'a Proxy,
    stats: &'a WorkerStats,
    budget: &'a Rc<Budget>,
    by_name: HashMap<String, Rc<Cluster>>,
}

impl<'a> Clusters<'a> {
    pub(super) fn new(proxy: &'a Proxy, stats: &'a WorkerStats, budget: &'a Rc<Budget>) -> Self {
        Self { proxy, stats, budget, by_name: HashMap::new() }
    }

    fn routes(&mut self, virtual_host: &mesh::VirtualHost) -> Vec<Route> {
        let route = |route: &mesh::Route| Route {
            name: route.name.as_deref().map(Arc::from),
            conditions: route.conditions.clone(),
            include_request_attempt_count: virtual_host.include_request_attempt_count,
            choices: self.choices(&route.action),
            fault: route.fault.clone(),
            upgrades: route.upgrades.clone().into_iter().collect(),
            request_fields: RouteFields::new(&route.request_fields),
            response_fields: RouteFields::new(&route.response_fields),
        };
        virtual_host.routes.iter().map(route).collect()
    }

    fn choices(&mut self, action: &RouteAction) -> Vec<Choice> {
        let weighted = match action {
            RouteAction::Weighted(weighted) if !weighted.is_empty() => weighted,
            action => {
                let nothing = || RouteFields::new(&mesh::FieldOperations::default());
                let action = self.action(action);
                return vec![Choice {
                    weight: 1,
                    action,
                    request_fields: nothing(),
                    response_fields: nothing(),
                }];
            }
        };
        let choice = |weighted: &mesh::WeightedCluster| Choice {
            weight: weighted.weight,
            action: self.action(&weighted.action),
            request_fields: RouteFields::new(&weighted.request_fields),
            response_fields: RouteFields::new(&weighted.response_fields),
        };
        weighted.iter().map(choice).collect()
    }

    fn action(&mut self, action: &RouteAction) -> Action {
        let status = |status| StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
        match action {
            RouteAction::Redirect(redirect) => Action::Redirect(status(redirect.status), redirect.clone()),
            RouteAction::DirectResponse { status: code, body } => {
                Action::DirectResponse(status(*code), body.clone())
            }
            RouteAction::UnknownCluster { status: code, .. } => Action::UnknownCluster(status(*code)),
            // Clusters of clusters there are none.
            RouteAction::Weighted(_) => Action::UnknownCluster(StatusCode::SERVICE_UNAVAILABLE),
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
            ClusterKind::Endpoint => proxy.endpoints.of(&cluster.name),
            ClusterKind::Passthrough => proxy.passthrough,
        };
        let stats = self.stats.cluster(&cluster.name);
        let (tls, budget) = (proxy.upstream_tls.as_ref(), Rc::clone(self.budget));
        let made = Rc::new(Cluster::new(cluster.clone(), host, proxy.bind_source, tls, stats, budget));
        self.by_name.insert(cluster.name.clone(), Rc::clone(&made));
        made
    }
}
