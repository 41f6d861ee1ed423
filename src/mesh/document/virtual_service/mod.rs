//! Istio's `VirtualService`: the routes of a host, in a client's sidecar.

mod http_match;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use super::metadata::Metadata;
use super::read::WarningCollector;
use super::{INT32_MAX, Port, PortSelector};
use crate::mesh::config::{FieldOperations, FieldWrite, Pattern, Redirect, RetryOn, RetryPolicy, Rewrite};
use crate::mesh::duration;
use crate::mesh::error::MeshError;
use crate::mesh::host::Visibility;
use crate::mesh::rules::NOT_PLAYED;
use crate::yaml::{Dialect, NodeRef, Placed, Skip, Within};

pub(in crate::mesh) use http_match::{ClientProxy, HttpMatchRequest};

/// A `VirtualService`.
#[derive(Debug, Clone)]
pub(in crate::mesh) struct VirtualService {
    pub(in crate::mesh) metadata: Metadata,
    /// As they are written; [`crate::mesh::host::resolve`] makes them full names.
    pub(in crate::mesh) hosts: Vec<String>,
    pub(in crate::mesh) export_to: Visibility,
    /// Whether it applies to sidecars, not only to gateways.
    pub(in crate::mesh) for_sidecars: bool,
    /// The routes that sidecars have, in their order.
    pub(in crate::mesh) http: Vec<HttpRoute>,
}

/// An `HTTPRoute`.
#[derive(Debug, Clone)]
pub(in crate::mesh) struct HttpRoute {
    pub(in crate::mesh) name: Option<String>,
    /// One of them has to be true, if there are any.
    pub(in crate::mesh) conditions: Vec<HttpMatchRequest>,
    pub(in crate::mesh) action: HttpAction,
    pub(in crate::mesh) request_fields: FieldOperations,
    pub(in crate::mesh) response_fields: FieldOperations,
}

/// What an `HTTPRoute` does with a request.
#[derive(Debug, Clone)]
pub(in crate::mesh) enum HttpAction {
    /// `route`: the request goes to a destination.
    Forward { destination: Destination, timeout: Option<Duration>, retry: RetryPolicy, rewrite: Rewrite },
    /// `redirect`: the sidecar answers with another address.
    Redirect { redirect: Redirect, derives_port: bool },
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
    #[serde(default)]
    rewrite: HttpRewrite,
    #[serde(default)]
    headers: Headers,
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
        // `mesh` stands for the sidecars, which are also meant where no gateway is named.
        let for_sidecars = spec.gateways.is_empty() || spec.gateways.iter().any(|gateway| gateway == "mesh");
        Ok(Self { metadata, hosts: spec.hosts, export_to: spec.export_to, for_sidecars, http })
    }
}

impl HttpRoute {
    /// Reads a route, if sidecars have it.
    fn read(
        place: &Placed<Skip>,
        route: NodeRef<'_>,
        warnings: &mut WarningCollector,
    ) -> Result<Option<Self>, MeshError> {
        let written: HttpRouteSpec = warnings.read(route, &place.path, Dialect::Kubernetes)?;
        let has_conditions = !written.r#match.is_empty();
        let mut conditions = written.r#match;
        conditions.retain(HttpMatchRequest::is_for_sidecars);
        if has_conditions && conditions.is_empty() {
            return Ok(None);
        }
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
        let destination = Destination::of(written.route, warnings);
        let action = if let Some(redirect) = written.redirect {
            redirect.value.action()
        } else if let Some(HttpDirectResponse { status, body }) = written.direct_response {
            let body = body.and_then(|body| body.string).unwrap_or_default();
            HttpAction::DirectResponse { status: status.0, body }
        } else if let Some(destination) = destination {
            HttpAction::Forward { destination, timeout, retry, rewrite }
        } else {
            // Of a delegate a warning says already that it is left out.
            if route.at("delegate").is_none() {
                let text = "a route without a destination, a redirect or a directResponse is not \
                            implemented here and is left out";
                warnings.warn(&NOT_PLAYED, place, text);
            }
            return Ok(None);
        };
        Ok(Some(Self { name: written.name, conditions, action, request_fields, response_fields }))
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

impl Destination {
    /// The one destination, whose weight does not matter, or of several the first that gets any
    /// requests; a weight that is not written is 0 (`processWeightedDestination` in
    /// `pilot/pkg/networking/core/route/route.go`).
    fn of(written: Vec<Placed<HttpRouteDestination>>, warnings: &mut WarningCollector) -> Option<Self> {
        let is_one = written.len() == 1;
        let is_weighted = |to: &Placed<HttpRouteDestination>| {
            is_one || to.weight.as_ref().is_some_and(|weight| weight.0 > 0)
        };
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
