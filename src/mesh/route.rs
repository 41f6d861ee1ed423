//! Envoy's `Route`: what a request for it meets, and what is changed in it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::config::Cluster;
use super::duration;
use super::retry_policy::RetryPolicy;
use super::route_match::{Pattern, RouteMatch};

/// A route of a virtual host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// The access log's `route_name`; a `VirtualService`'s route without a name has none.
    pub name: Option<String>,
    /// Which requests are for it.
    pub conditions: RouteMatch,
    /// What they meet.
    pub action: RouteAction,
    /// What is changed in the fields of a request that is sent on.
    pub request_fields: FieldOperations,
    /// What is changed in the fields of its answer, but for those of refusals and failures.
    pub response_fields: FieldOperations,
}

impl Route {
    /// A route for every path that changes nothing.
    #[must_use]
    pub fn every_path(name: Option<String>, action: RouteAction) -> Self {
        Self {
            name,
            conditions: RouteMatch::every_path(),
            action,
            request_fields: FieldOperations::default(),
            response_fields: FieldOperations::default(),
        }
    }
}

/// What a route does with a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RouteAction {
    /// Send it to a cluster.
    Forward {
        /// The cluster that gets it.
        cluster: Box<Cluster>,
        /// How long the whole answer may take, from the end of the request; off in Istio's default
        /// routes.
        #[serde(with = "duration::optional")]
        timeout: Option<Duration>,
        /// What is tried again.
        retry: RetryPolicy,
        /// What takes the place of path and authority.
        rewrite: Rewrite,
    },
    /// Answer with the address of something else.
    Redirect(Redirect),
    /// Answer at once (`block_all`, a `VirtualService`'s `directResponse`).
    DirectResponse {
        /// The status of the answer.
        status: u16,
        /// The body, which may be empty.
        body: String,
    },
    /// Send it to a cluster that does not exist, as Istio does with a destination that it does not
    /// know.
    UnknownCluster {
        /// The name that no cluster has; the access log says it.
        name: String,
    },
}

impl RouteAction {
    /// The cluster that requests go to.
    #[must_use]
    pub fn cluster(&self) -> Option<&Cluster> {
        match self {
            Self::Forward { cluster, .. } => Some(cluster),
            Self::Redirect(_) | Self::DirectResponse { .. } | Self::UnknownCluster { .. } => None,
        }
    }
}

/// What takes the place of parts of a request that is sent on. By default nothing does.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rewrite {
    /// `prefix_rewrite`: of what the path was compared with.
    pub prefix: Option<String>,
    /// `regex_rewrite`: each match of the expression in the path without its query, and what takes
    /// its place, in RE2's form (`\1` is the first group).
    pub regex: Option<(Pattern, String)>,
    /// `host_rewrite_literal`.
    pub authority: Option<String>,
}

/// Envoy's `RedirectAction`. What is not given stays as the request has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redirect {
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
    /// `scheme_redirect`.
    pub scheme: Option<String>,
    /// `host_redirect`.
    pub authority: Option<String>,
    /// `port_redirect`.
    pub port: Option<u16>,
    /// `path_redirect`, whose query takes the place of the request's if it has one.
    pub path: Option<String>,
}

/// What is changed in a list of fields: first some are removed, then others written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldOperations {
    /// Names in lower case.
    pub remove: Vec<String>,
    /// In this order.
    pub write: Vec<FieldWrite>,
}

/// A field that is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldWrite {
    /// In lower case.
    pub name: String,
    /// As it is sent: no command operators.
    pub value: String,
    /// `OVERWRITE_IF_EXISTS_OR_ADD`; else one more is added (`APPEND_IF_EXISTS_OR_ADD`).
    pub overwrite: bool,
}
