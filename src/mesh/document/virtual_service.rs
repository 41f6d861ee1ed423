//! Istio's `VirtualService`: the routes of a host, in a client's sidecar.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use super::metadata::Metadata;
use super::read::WarningCollector;
use super::{INT32_MAX, PortSelector};
use crate::mesh::duration;
use crate::mesh::error::MeshError;
use crate::mesh::host::Visibility;
use crate::mesh::rules::NOT_PLAYED;
use crate::mesh::virtual_host::{RetryOn, RetryPolicy};
use crate::yaml::{Dialect, NodeRef, Placed, Skip, Within};

/// A `VirtualService`.
#[derive(Debug, Clone)]
pub(in crate::mesh) struct VirtualService {
    pub(in crate::mesh) metadata: Metadata,
    /// As they are written; [`crate::mesh::host::resolve`] makes them full names.
    pub(in crate::mesh) hosts: Vec<String>,
    pub(in crate::mesh) export_to: Visibility,
    /// Whether it applies to sidecars, not only to gateways.
    pub(in crate::mesh) for_sidecars: bool,
    /// The routes for every path.
    pub(in crate::mesh) http: Vec<HttpRoute>,
}

/// An `HTTPRoute` without conditions.
#[derive(Debug, Clone)]
pub(in crate::mesh) struct HttpRoute {
    pub(in crate::mesh) name: Option<String>,
    pub(in crate::mesh) action: HttpAction,
}

/// What an `HTTPRoute` does with a request.
#[derive(Debug, Clone)]
pub(in crate::mesh) enum HttpAction {
    /// `route`: the request goes to a destination.
    Forward { destination: Destination, timeout: Option<Duration>, retry: RetryPolicy },
    /// `directResponse`: the sidecar answers by itself.
    DirectResponse { status: u16, body: String },
}

/// Where a route leads to.
#[derive(Debug, Clone)]
pub(in crate::mesh) struct Destination {
    pub(in crate::mesh) host: String,
    pub(in crate::mesh) subset: Option<String>,
    pub(in crate::mesh) port: Option<u16>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct VirtualServiceSpec {
    /// A delegate, whose routes others refer to, has none.
    hosts: Vec<String>,
    gateways: Vec<String>,
    export_to: Visibility,
    http: Vec<Placed<Skip>>,
}

/// What decides whether a route is read.
#[derive(Deserialize)]
struct Conditional {
    #[serde(default)]
    r#match: Vec<HttpMatchRequest>,
}

/// A condition. Only the prefix of a path is read.
#[derive(Deserialize)]
struct HttpMatchRequest {
    uri: Option<StringMatch>,
    #[expect(dead_code, reason = "it is no condition")]
    name: Option<Skip>,
    #[serde(flatten)]
    others: BTreeMap<String, serde_json::Value>,
}

#[derive(Deserialize)]
struct StringMatch {
    prefix: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct HttpRouteSpec {
    #[expect(dead_code, reason = "read before")]
    r#match: Option<Skip>,
    name: Option<String>,
    timeout: Option<duration::GoDuration>,
    retries: Option<HttpRetry>,
    #[serde(default)]
    route: Vec<Placed<HttpRouteDestination>>,
    direct_response: Option<HttpDirectResponse>,
}

#[derive(Deserialize)]
struct HttpRouteDestination {
    destination: DestinationSpec,
    weight: Option<Within<u32, 0, INT32_MAX>>,
}

#[derive(Deserialize)]
struct DestinationSpec {
    host: String,
    subset: Option<String>,
    port: Option<PortSelector>,
}

#[derive(Deserialize)]
struct HttpDirectResponse {
    /// As Envoy takes them.
    status: Within<u16, 200, 599>,
    body: Option<HttpBody>,
}

#[derive(Deserialize)]
struct HttpBody {
    string: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct HttpRetry {
    attempts: Option<Within<u32, 0, INT32_MAX>>,
    retry_on: Option<Placed<String>>,
    #[expect(dead_code, reason = "which host is tried again does not matter: there is one")]
    retry_ignore_previous_hosts: Option<Skip>,
    #[expect(dead_code, reason = "as above")]
    retry_remote_localities: Option<Skip>,
}

impl VirtualService {
    pub(super) fn read(metadata: Metadata, warnings: &mut WarningCollector) -> Result<Self, MeshError> {
        let spec: VirtualServiceSpec = warnings.spec(&metadata.manifest)?;
        let mut http = Vec::new();
        let routes = metadata.manifest.document.at("spec.http").into_iter().flat_map(NodeRef::items);
        for (index, (place, route)) in spec.http.iter().zip(routes).enumerate() {
            http.extend(HttpRoute::read(place, route, index == 0, warnings)?);
        }
        // `mesh` stands for the sidecars, which are also meant where no gateway is named.
        let for_sidecars = spec.gateways.is_empty() || spec.gateways.iter().any(|gateway| gateway == "mesh");
        Ok(Self { metadata, hosts: spec.hosts, export_to: spec.export_to, for_sidecars, http })
    }
}

impl HttpRoute {
    fn read(
        place: &Placed<Skip>,
        route: NodeRef<'_>,
        is_first: bool,
        warnings: &mut WarningCollector,
    ) -> Result<Option<Self>, MeshError> {
        let Conditional { r#match } = route.read_at(&place.path, Dialect::Kubernetes, None)?;
        if !r#match.is_empty() && !r#match.iter().any(HttpMatchRequest::is_every_path) {
            warnings.warn(
                &NOT_PLAYED,
                place,
                "a route with conditions (match) is not implemented here and is left out",
            );
            return Ok(None);
        }
        let written: HttpRouteSpec = warnings.read(route, &place.path, Dialect::Kubernetes)?;
        // Zero is Envoy's way to say that there is no timeout.
        let timeout = written.timeout.map(|timeout| timeout.0).filter(|timeout| !timeout.is_zero());
        let retry = match written.retries {
            Some(retries) => retries.policy(warnings),
            None => RetryPolicy::outbound(),
        };
        let action = match (Destination::of(written.route, warnings), written.direct_response) {
            (Some(destination), _) => HttpAction::Forward { destination, timeout, retry },
            (None, Some(HttpDirectResponse { status, body })) if is_first => {
                let body = body.and_then(|body| body.string).unwrap_or_default();
                HttpAction::DirectResponse { status: status.0, body }
            }
            (None, Some(_)) => {
                // It answers the paths that the conditions before it leave, and a session's path is
                // hardly one of them.
                let text = "a directResponse behind other routes is not implemented here and is left out";
                warnings.warn(&NOT_PLAYED, place, text);
                return Ok(None);
            }
            // Of these fields a warning says already that they are left out.
            (None, None) if ["redirect", "delegate"].iter().any(|it| route.at(it).is_some()) => {
                return Ok(None);
            }
            (None, None) => {
                warnings.warn(
                    &NOT_PLAYED,
                    place,
                    "a route without a destination or a directResponse is not implemented here and is left out",
                );
                return Ok(None);
            }
        };
        Ok(Some(Self { name: written.name, action }))
    }
}

impl HttpMatchRequest {
    /// Whether it lets every path through, and nothing else is asked.
    fn is_every_path(&self) -> bool {
        let prefix = self.uri.as_ref().and_then(|uri| uri.prefix.as_deref());
        prefix == Some("/") && self.others.is_empty()
    }
}

impl Destination {
    /// The one destination, or of several the first that gets any requests.
    fn of(written: Vec<Placed<HttpRouteDestination>>, warnings: &mut WarningCollector) -> Option<Self> {
        let is_weighted = |to: &Placed<HttpRouteDestination>| to.weight.is_none_or(|weight| weight.0 > 0);
        let mut weighted = written.into_iter().filter(is_weighted);
        let HttpRouteDestination { destination, .. } = weighted.next()?.value;
        if let Some(another) = weighted.next() {
            let text = "several destinations are not implemented here: all requests go to the first";
            warnings.warn(&NOT_PLAYED, &another, text);
        }
        let DestinationSpec { host, subset, port } = destination;
        Some(Self { host, subset, port: port.map(|port| port.number.0) })
    }
}

impl HttpRetry {
    /// Istio's `HTTPRetry` over its default policy
    /// (`pilot/pkg/networking/core/route/retry/retry.go`).
    fn policy(self, warnings: &mut WarningCollector) -> RetryPolicy {
        let retry_on = self.retry_on.and_then(|written| conditions(&written, warnings));
        // Nothing is the same as 0, and 0 turns retries off.
        match self.attempts.map_or(0, |attempts| attempts.0) {
            0 => RetryPolicy::default(),
            attempts => RetryPolicy {
                num_retries: attempts,
                retry_on: retry_on.unwrap_or_else(|| RetryPolicy::outbound().retry_on),
            },
        }
    }
}

/// A comma-separated list of conditions and statuses; an empty one is no list.
fn conditions(written: &Placed<String>, warnings: &mut WarningCollector) -> Option<RetryOn> {
    if written.is_empty() {
        return None;
    }
    let mut retry_on = RetryOn::default();
    for condition in written.split(',').map(str::trim).filter(|condition| !condition.is_empty()) {
        if !retry_on.add(condition) {
            warnings.warn(&NOT_PLAYED, written, "not all of these conditions are implemented here");
        }
    }
    Some(retry_on)
}
