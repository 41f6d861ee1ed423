//! Envoy's `Route`: what a request for it meets, and what is changed in it.

use std::collections::BTreeMap;
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
    /// What Envoy's fault filter does before.
    pub fault: Option<Fault>,
    /// `upgrade_configs` of the route: whether an upgrade type is taken, whatever the connection
    /// manager says.
    pub upgrades: BTreeMap<String, bool>,
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
            fault: None,
            upgrades: BTreeMap::new(),
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
    /// Send it to one of several clusters (`weighted_clusters`).
    Weighted(Vec<WeightedCluster>),
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
        /// The name that no cluster has.
        name: String,
        /// The answer: 503 from a `VirtualService`, 500 from an `HTTPRoute`
        /// (`cluster_not_found_response_code`).
        status: u16,
    },
}

/// One of several clusters of a route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WeightedCluster {
    /// Its share of the requests, of the sum of all weights.
    pub weight: u32,
    /// [`RouteAction::Forward`] or [`RouteAction::UnknownCluster`].
    pub action: RouteAction,
    /// What is changed in the fields of a request that goes there, before what the route changes.
    pub request_fields: FieldOperations,
    /// What is changed in the fields of its answer, before what the route changes.
    pub response_fields: FieldOperations,
}

/// Envoy's `HTTPFault`: what becomes of some requests before they are sent on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// How long they wait (`DI`), and how many of them.
    pub delay: Option<(Duration, FractionalPercent)>,
    /// With which status they are answered (`FI`), and how many of them.
    pub abort: Option<(u16, FractionalPercent)>,
}

/// Envoy's `FractionalPercent`, in millionths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FractionalPercent(u32);

impl FractionalPercent {
    const MILLION: u32 = 1_000_000;

    /// Of so many percent, as Istio makes it of a `Percent`: what is beyond four decimals is left
    /// out.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped before")]
    pub fn of_percent(percent: f64) -> Self {
        Self((percent * 10_000.0).clamp(0.0, f64::from(Self::MILLION)) as u32)
    }

    /// In millionths.
    #[must_use]
    pub fn millionths(self) -> u32 {
        self.0
    }

    /// Whether some are, and some are not.
    pub(super) fn is_chance(self) -> bool {
        (1..Self::MILLION).contains(&self.0)
    }

    /// Whether it is one of them, by a random number.
    #[must_use]
    pub fn includes(self, random: u64) -> bool {
        random % u64::from(Self::MILLION) < u64::from(self.0)
    }
}

impl RouteAction {
    /// The clusters that requests go to.
    pub fn clusters(&self) -> impl Iterator<Item = &Cluster> {
        let (own, weighted): (_, &[WeightedCluster]) = match self {
            Self::Forward { cluster, .. } => (Some(&**cluster), &[]),
            Self::Weighted(weighted) => (None, weighted),
            Self::Redirect(_) | Self::DirectResponse { .. } | Self::UnknownCluster { .. } => (None, &[]),
        };
        let others = weighted.iter().filter_map(|weighted| match &weighted.action {
            Self::Forward { cluster, .. } => Some(&**cluster),
            _ => None,
        });
        own.into_iter().chain(others)
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

impl FieldOperations {
    /// Adds what comes after these.
    pub(super) fn extend(&mut self, later: &Self) {
        self.remove.extend_from_slice(&later.remove);
        self.write.extend_from_slice(&later.write);
    }
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
