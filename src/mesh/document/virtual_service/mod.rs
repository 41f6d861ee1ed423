//! Istio's `VirtualService`: the routes of a host, in a client's sidecar or a gateway.

mod http_match;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use super::metadata::Metadata;
use super::read::WarningCollector;
use super::{INT32_MAX, Port, PortSelector};
use crate::mesh::config::{
    Fault, FieldOperations, FieldWrite, FractionalPercent, Pattern, Redirect, RetryOn, RetryPolicy, Rewrite,
};
use crate::mesh::duration;
use crate::mesh::error::MeshError;
use crate::mesh::host::Visibility;
use crate::mesh::rules::NOT_PLAYED;
use crate::yaml::{Dialect, NodeRef, Placed, Skip, Within};

pub(in crate::mesh) use http_match::{HttpMatchRequest, ProxyRole, RoutedProxy, resolve_gateway};

/// A `VirtualService`.
#[derive(Debug, Clone)]
pub(in crate::mesh) struct VirtualService {
    pub(in crate::mesh) metadata: Metadata,
    /// As they are written; [`crate::mesh::host::resolve`] makes them full names.
    pub(in crate::mesh) hosts: Vec<String>,
    pub(in crate::mesh) export_to: Visibility,
    /// The gateways that it is bound to, as they are written, and `mesh` for sidecars; none is the
    /// same as `mesh`.
    pub(in crate::mesh) gateways: Vec<String>,
    /// The routes, in their order.
    pub(in crate::mesh) http: Vec<HttpRoute>,
}

/// What stands for all sidecars among the names of gateways.
pub(super) const MESH: &str = "mesh";

/// An `HTTPRoute`.
#[derive(Debug, Clone)]
pub(in crate::mesh) struct HttpRoute {
    pub(in crate::mesh) name: Option<String>,
    /// One of them has to be true, if there are any.
    pub(in crate::mesh) conditions: Vec<HttpMatchRequest>,
    pub(in crate::mesh) action: HttpAction,
    pub(in crate::mesh) fault: Option<Fault>,
    pub(in crate::mesh) request_fields: FieldOperations,
    pub(in crate::mesh) response_fields: FieldOperations,
}

/// What an `HTTPRoute` does with a request.
#[derive(Debug, Clone)]
pub(in crate::mesh) enum HttpAction {
    /// `route`: the request goes to one of the destinations.
    Forward {
        destinations: Vec<WeightedDestination>,
        timeout: Option<Duration>,
        retry: RetryPolicy,
        rewrite: Rewrite,
    },
    /// `redirect`: the proxy answers with another address.
    Redirect { redirect: Redirect, derives_port: bool },
    /// `directResponse`: the proxy answers by itself.
    DirectResponse { status: u16, body: String },
}

/// Istio's `HTTPRouteDestination`.
#[derive(Debug, Clone)]
pub(in crate::mesh) struct WeightedDestination {
    pub(in crate::mesh) destination: Destination,
    /// Its share of the requests, of the sum of all weights; not 0.
    pub(in crate::mesh) weight: u32,
    pub(in crate::mesh) request_fields: FieldOperations,
    pub(in crate::mesh) response_fields: FieldOperations,
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

/// What decides which proxies have a route.
#[derive(Deserialize)]
struct RouteHead {
    #[serde(default)]
    r#match: Vec<ForGateways>,
}

#[derive(Deserialize)]
struct ForGateways {
    #[serde(default)]
    gateways: Vec<String>,
}

impl RouteHead {
    fn is_for_sidecars(&self) -> bool {
        let is_for_sidecars =
            |gateways: &[String]| gateways.is_empty() || gateways.iter().any(|gateway| gateway == MESH);
        self.r#match.is_empty() || self.r#match.iter().any(|it| is_for_sidecars(&it.gateways))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct HttpRouteSpec {
    #[serde(default)]
    r#match: Vec<HttpMatchRequest>,
    name: Option<String>,
    timeout: Option<duration::GoDuration>,
    retries: Option<HttpRetry>,
    #[serde(default)]
    route: Vec<Placed<HttpRouteDestination>>,
    redirect: Option<Placed<HttpRedirect>>,
    direct_response: Option<HttpDirectResponse>,
    fault: Option<Placed<HttpFault>>,
    #[serde(default)]
    rewrite: HttpRewrite,
    #[serde(default)]
    headers: Headers,
}

#[derive(Deserialize)]
struct HttpRouteDestination {
    destination: DestinationSpec,
    weight: Option<Within<u32, 0, INT32_MAX>>,
    #[serde(default)]
    headers: Headers,
}

#[derive(Deserialize)]
struct HttpFault {
    delay: Option<HttpDelay>,
    abort: Option<HttpAbort>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct HttpDelay {
    percentage: Option<Percent>,
    fixed_delay: Option<duration::GoDuration>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct HttpAbort {
    percentage: Option<Percent>,
    http_status: Option<Within<u16, 200, 599>>,
}

#[derive(Deserialize)]
struct Percent {
    #[serde(default)]
    value: f64,
}

#[derive(Deserialize)]
struct DestinationSpec {
    host: String,
    subset: Option<String>,
    port: Option<PortSelector>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct HttpRedirect {
    uri: Option<String>,
    authority: Option<String>,
    port: Option<Port>,
    derive_port: Option<RedirectPort>,
    scheme: Option<String>,
    redirect_code: Option<RedirectCode>,
}

#[derive(Deserialize, PartialEq, Eq)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum RedirectPort {
    FromProtocolDefault,
    FromRequestPort,
}

/// Those that Envoy sends.
#[derive(Deserialize)]
#[serde(try_from = "u16")]
struct RedirectCode(u16);

impl TryFrom<u16> for RedirectCode {
    type Error = &'static str;

    fn try_from(code: u16) -> Result<Self, Self::Error> {
        let is_known = matches!(code, 301 | 302 | 303 | 307 | 308);
        is_known.then_some(Self(code)).ok_or("expected 301, 302, 303, 307 or 308")
    }
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

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct HttpRewrite {
    uri: Option<String>,
    authority: Option<String>,
    uri_regex_rewrite: Option<RegexRewrite>,
}

#[derive(Deserialize)]
struct RegexRewrite {
    r#match: Pattern,
    #[serde(default)]
    rewrite: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Headers {
    request: HeaderOperations,
    response: HeaderOperations,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct HeaderOperations {
    set: BTreeMap<String, Placed<String>>,
    add: BTreeMap<String, Placed<String>>,
    remove: Vec<String>,
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
        for (place, route) in spec.http.iter().zip(routes) {
            http.extend(HttpRoute::read(place, route, warnings)?);
        }
        let VirtualServiceSpec { hosts, gateways, export_to, .. } = spec;
        Ok(Self { metadata, hosts, export_to, gateways, http })
    }

    /// Whether it applies to sidecars, not only to gateways.
    pub(in crate::mesh) fn is_for_sidecars(&self) -> bool {
        self.gateways.is_empty() || self.gateways.iter().any(|gateway| gateway == MESH)
    }
}

impl HttpRoute {
    fn read(
        place: &Placed<Skip>,
        route: NodeRef<'_>,
        warnings: &mut WarningCollector,
    ) -> Result<Option<Self>, MeshError> {
        let head: RouteHead = route.read_at(&place.path, Dialect::Kubernetes, None)?;
        if head.is_for_sidecars() {
            Self::of(place, route, warnings)
        } else {
            warnings.for_gateways(|warnings| Self::of(place, route, warnings))
        }
    }

    fn of(
        place: &Placed<Skip>,
        route: NodeRef<'_>,
        warnings: &mut WarningCollector,
    ) -> Result<Option<Self>, MeshError> {
        let written: HttpRouteSpec = warnings.read(route, &place.path, Dialect::Kubernetes)?;
        let conditions = written.r#match;
        // Zero is Envoy's way to say that there is no timeout.
        let timeout = written.timeout.map(|timeout| timeout.0).filter(|timeout| !timeout.is_zero());
        let retry = match written.retries {
            Some(retries) => retries.policy(warnings),
            None => RetryPolicy::outbound(),
        };
        let (request_fields, authority) = written.headers.request.read(warnings);
        let (response_fields, _) = written.headers.response.read(warnings);
        let rewrite = Rewrite {
            prefix: written.rewrite.uri.filter(|uri| !uri.is_empty()),
            regex: written.rewrite.uri_regex_rewrite.map(|regex| (regex.r#match, regex.rewrite)),
            authority: written.rewrite.authority.filter(|authority| !authority.is_empty()).or(authority),
        };
        let destinations = WeightedDestination::all(written.route, warnings);
        let action = if let Some(redirect) = written.redirect {
            redirect.value.action()
        } else if let Some(HttpDirectResponse { status, body }) = written.direct_response {
            let body = body.and_then(|body| body.string).unwrap_or_default();
            HttpAction::DirectResponse { status: status.0, body }
        } else if !destinations.is_empty() {
            HttpAction::Forward { destinations, timeout, retry, rewrite }
        } else {
            // Of a delegate a warning says already that it is left out.
            if route.at("delegate").is_none() {
                let text = "a route without a destination that gets requests, a redirect or a \
                            directResponse is not implemented here and is left out";
                warnings.warn(&NOT_PLAYED, place, text);
            }
            return Ok(None);
        };
        let fault = written.fault.map(|fault| HttpFault::read(fault, warnings));
        Ok(Some(Self { name: written.name, conditions, action, fault, request_fields, response_fields }))
    }
}

impl HttpRedirect {
    fn action(self) -> HttpAction {
        let scheme = self.scheme.filter(|scheme| !scheme.is_empty());
        // A port that the scheme has anyhow is not written.
        let is_default =
            |port: u16| matches!((scheme.as_deref(), port), (Some("http"), 80) | (Some("https"), 443));
        HttpAction::Redirect {
            derives_port: self.derive_port == Some(RedirectPort::FromRequestPort),
            redirect: Redirect {
                status: self.redirect_code.map_or(301, |code| code.0),
                port: self.port.map(|port| port.0).filter(|port| !is_default(*port)),
                scheme,
                authority: self.authority.filter(|authority| !authority.is_empty()),
                path: self.uri.filter(|uri| !uri.is_empty()),
            },
        }
    }
}

impl HeaderOperations {
    /// The operations, and what is written into the authority, which is not a field of its own
    /// (`translateHeadersOperations`).
    fn read(self, warnings: &mut WarningCollector) -> (FieldOperations, Option<String>) {
        let mut operations = FieldOperations::default();
        let mut authority = None;
        for (written, overwrite) in [(self.set, true), (self.add, false)] {
            for (name, value) in written {
                let name = name.to_ascii_lowercase();
                if value.contains('%') {
                    warnings.warn(&NOT_PLAYED, &value, "a value with command operators is left out here");
                } else if is_authority(&name) {
                    authority = authority.or(Some(value.value));
                } else if !name.starts_with(':') {
                    operations.write.push(FieldWrite { name, value: value.value, overwrite });
                }
            }
        }
        let removed = self.remove.into_iter().map(|name| name.to_ascii_lowercase());
        operations.remove = removed.filter(|name| !name.starts_with(':') && !is_authority(name)).collect();
        (operations, authority)
    }
}

fn is_authority(name: &str) -> bool {
    matches!(name, ":authority" | "host")
}

impl WeightedDestination {
    /// The one destination, whose weight does not matter, or of several those that get any requests; a
    /// weight that is not written is 0 (`processWeightedDestination` in
    /// `pilot/pkg/networking/core/route/route.go`).
    fn all(written: Vec<Placed<HttpRouteDestination>>, warnings: &mut WarningCollector) -> Vec<Self> {
        let is_only = written.len() == 1;
        let mut all = Vec::new();
        for to in written {
            let place = Placed { value: (), place: to.place, path: to.path };
            let HttpRouteDestination { destination, weight, headers } = to.value;
            let weight = if is_only { 1 } else { weight.map_or(0, |weight| weight.0) };
            if weight == 0 {
                continue;
            }
            let DestinationSpec { host, subset, port } = destination;
            // An authority of one destination alone is not among what Istio writes.
            let (request_fields, _) = headers.request.read(warnings);
            let (response_fields, _) = headers.response.read(warnings);
            let destination = Destination { host, subset, port: port.map(|port| port.number.0) };
            if all.len() == 1 {
                let text = "requests go to several destinations: it is chance which one a session gets";
                warnings.warn(&NOT_PLAYED, &place, text);
            }
            all.push(Self { destination, weight, request_fields, response_fields });
        }
        all
    }
}

impl HttpFault {
    /// What Envoy's fault filter does with it (`TranslateFault` in
    /// `pilot/pkg/networking/core/route/route.go`): without a percentage nothing.
    fn read(written: Placed<Self>, warnings: &mut WarningCollector) -> Fault {
        let fault = written.value.fault();
        let parts = [fault.delay.map(|(_, of)| of), fault.abort.map(|(_, of)| of)];
        if parts.into_iter().flatten().any(FractionalPercent::is_chance) {
            let place = Placed { value: (), place: written.place, path: written.path };
            let text = "some requests are delayed or answered, and others are not: it is chance what a \
                        session meets";
            warnings.warn(&NOT_PLAYED, &place, text);
        }
        fault
    }

    fn fault(self) -> Fault {
        let parts = |percentage: Option<Percent>| {
            FractionalPercent::of_percent(percentage.map_or(0.0, |percentage| percentage.value))
        };
        let delay = self.delay.and_then(|delay| Some((delay.fixed_delay?.0, parts(delay.percentage))));
        let abort = self.abort.and_then(|abort| Some((abort.http_status?.0, parts(abort.percentage))));
        Fault { delay, abort }
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
