//! Istio's `VirtualService`: the routes of a host, in a client's sidecar.

use std::time::Duration;

use super::metadata::Metadata;
use super::read::Reading;
use crate::mesh::field::{Field, Fields};
use crate::mesh::host::Visibility;
use crate::mesh::place::MeshError;
use crate::mesh::virtual_host::{RetryOn, RetryPolicy};

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
    /// `route`
    Forward { destination: Destination, timeout: Option<Duration>, retry: RetryPolicy },
    /// `directResponse`
    DirectResponse { status: u16, body: String },
}

/// Where a route leads to.
#[derive(Debug, Clone)]
pub(in crate::mesh) struct Destination {
    pub(in crate::mesh) host: String,
    pub(in crate::mesh) subset: Option<String>,
    pub(in crate::mesh) port: Option<u16>,
}

impl VirtualService {
    pub(super) fn read(mut document: Fields, reading: &mut Reading) -> Result<Self, MeshError> {
        let metadata = Metadata::read(&mut document)?;
        let mut spec = document.required("spec")?.fields()?;
        // A delegate, whose routes others refer to, has none.
        let hosts = spec.take("hosts").map(Field::texts).transpose()?.unwrap_or_default();
        let gateways = spec.take("gateways").map(Field::texts).transpose()?.unwrap_or_default();
        let export_to = Visibility::read(&mut spec)?;
        let mut http = Vec::new();
        for (index, route) in spec.items("http")?.into_iter().enumerate() {
            http.extend(HttpRoute::read(route, index == 0, reading)?);
        }
        reading.warn_of_rest(spec);
        reading.warn_of_rest(document);
        // `mesh` stands for the sidecars, which are also meant where no gateway is named.
        let for_sidecars = gateways.is_empty() || gateways.iter().any(|gateway| gateway == "mesh");
        Ok(Self { metadata, hosts, export_to, for_sidecars, http })
    }
}

impl HttpRoute {
    fn read(route: Field, is_first: bool, reading: &mut Reading) -> Result<Option<Self>, MeshError> {
        let conditional =
            route.warning("a route with conditions (match) is not implemented here and is left out");
        let elsewhere = route.warning(
            "a route without a destination or a directResponse is not implemented here and is left out",
        );
        // There it answers the paths that the conditions leave, and a session's path is hardly one of them.
        let behind =
            route.warning("a directResponse behind other routes is not implemented here and is left out");
        let mut fields = route.fields()?;
        if !every_path(&mut fields)? {
            reading.warn(conditional);
            return Ok(None);
        }
        let name = fields.take("name").map(Field::text).transpose()?;
        // Zero is Envoy's way to say that there is no timeout.
        let timeout =
            fields.take("timeout").map(Field::duration).transpose()?.filter(|timeout| !timeout.is_zero());
        let retry = match fields.take("retries") {
            Some(retries) => read_retries(retries, reading)?,
            None => RetryPolicy::outbound(),
        };
        let destination = Destination::take(&mut fields, reading)?;
        let direct_response = fields.take("directResponse");
        let direct_response =
            direct_response.map(|response| read_direct_response(response, reading)).transpose()?;
        reading.warn_of_rest(fields);
        let action = match (destination, direct_response) {
            (Some(destination), _) => HttpAction::Forward { destination, timeout, retry },
            (None, Some(response)) if is_first => response,
            (None, Some(_)) => {
                reading.warn(behind);
                return Ok(None);
            }
            (None, None) => {
                reading.warn(elsewhere);
                return Ok(None);
            }
        };
        Ok(Some(Self { name, action }))
    }
}

/// An `HTTPDirectResponse`, with the statuses that Envoy takes.
fn read_direct_response(response: Field, reading: &mut Reading) -> Result<HttpAction, MeshError> {
    let mut response = response.fields()?;
    let status = response.required("status")?.number(200..=599)?;
    let mut text = None;
    if let Some(mut body) = response.fields("body")? {
        text = body.take("string").map(Field::text).transpose()?;
        reading.warn_of_rest(body);
    }
    reading.warn_of_rest(response);
    Ok(HttpAction::DirectResponse { status, body: text.unwrap_or_default() })
}

/// Whether a route's conditions let everything through: there are none, or one of them is the path prefix `/`.
fn every_path(route: &mut Fields) -> Result<bool, MeshError> {
    let conditions = route.items("match")?;
    let mut every_path = conditions.is_empty();
    for condition in conditions {
        let mut condition = condition.fields()?;
        let prefix = match condition.fields("uri")? {
            Some(mut uri) => uri.take("prefix").map(Field::text).transpose()?,
            None => None,
        };
        condition.ignore(&["name"]);
        every_path |= prefix.as_deref() == Some("/") && condition.is_empty();
    }
    Ok(every_path)
}

impl Destination {
    /// Takes `route`: the one destination, or of several the first that gets any requests.
    fn take(route: &mut Fields, reading: &mut Reading) -> Result<Option<Self>, MeshError> {
        let mut chosen = None;
        for field in route.items("route")? {
            let another =
                field.warning("several destinations are not implemented here: all requests go to the first");
            let mut weighted = field.fields()?;
            let mut fields = weighted.required("destination")?.fields()?;
            let host = fields.required("host")?.text()?;
            let subset = fields.take("subset").map(Field::text).transpose()?;
            let port = match fields.fields("port")? {
                Some(mut port) => Some(port.required("number")?.port()?),
                None => None,
            };
            let weight =
                weighted.take("weight").map(|field| field.number(0..=i32::MAX.unsigned_abs())).transpose()?;
            reading.warn_of_rest(fields);
            reading.warn_of_rest(weighted);
            if weight == Some(0) {
                continue;
            }
            if chosen.is_some() {
                reading.warn(another);
                break;
            }
            chosen = Some(Self { host, subset, port });
        }
        Ok(chosen)
    }
}

/// Istio's `HTTPRetry` over its default policy (`pilot/pkg/networking/core/route/retry/retry.go`).
fn read_retries(field: Field, reading: &mut Reading) -> Result<RetryPolicy, MeshError> {
    let mut fields = field.fields()?;
    // Nothing is the same as 0, and 0 turns retries off.
    let attempts =
        fields.take("attempts").map(|field| field.number(0..=i32::MAX.unsigned_abs())).transpose()?;
    let retry_on = fields.take("retryOn").map(|field| read_retry_on(field, reading)).transpose()?.flatten();
    // Which host is tried again does not matter: there is one.
    fields.ignore(&["retryIgnorePreviousHosts", "retryRemoteLocalities"]);
    reading.warn_of_rest(fields);
    Ok(match attempts.unwrap_or_default() {
        0 => RetryPolicy::default(),
        attempts => RetryPolicy {
            num_retries: attempts,
            retry_on: retry_on.unwrap_or_else(|| RetryPolicy::outbound().retry_on),
        },
    })
}

/// A comma-separated list of conditions and statuses; an empty one is no list.
fn read_retry_on(field: Field, reading: &mut Reading) -> Result<Option<RetryOn>, MeshError> {
    let unknown = field.warning("not all of these conditions are implemented here");
    let text = field.text()?;
    if text.is_empty() {
        return Ok(None);
    }
    let mut retry_on = RetryOn::default();
    for condition in text.split(',').map(str::trim).filter(|condition| !condition.is_empty()) {
        if !retry_on.add(condition) {
            reading.warn(unknown.clone());
        }
    }
    Ok(Some(retry_on))
}
