//! Istio's `EnvoyFilter`: changes to the configuration that Istio generates. Read are the patches that merge something
//! into the HTTP connection manager of a sidecar; the others get a warning.

use std::collections::BTreeMap;

use regex::Regex;

use super::metadata::Metadata;
use super::read::Reading;
use crate::mesh::connection_manager_patch::ConnectionManagerPatch;
use crate::mesh::field::{Field, Fields};
use crate::mesh::place::{MeshError, Place};

/// The one network filter that can be patched here (Istio's `wellknown.HTTPConnectionManager`).
pub(in crate::mesh) const HTTP_CONNECTION_MANAGER: &str = "envoy.filters.network.http_connection_manager";

/// An `EnvoyFilter`.
#[derive(Debug, Clone)]
pub(in crate::mesh) struct EnvoyFilter {
    pub(in crate::mesh) metadata: Metadata,
    /// The lower, the earlier; filters of the root namespace do not come first if another has a lower one.
    pub(in crate::mesh) priority: i32,
    /// The workloads that it is for; empty: all of its namespace, or of the mesh if that is the root namespace.
    pub(in crate::mesh) workload_selector: BTreeMap<String, String>,
    pub(in crate::mesh) patches: Vec<ConfigPatch>,
}

/// A patch that merges into the HTTP connection manager.
#[derive(Debug, Clone)]
pub(in crate::mesh) struct ConfigPatch {
    pub(in crate::mesh) place: Place,
    pub(in crate::mesh) context: PatchContext,
    /// Searched in the proxy's Istio version.
    pub(in crate::mesh) proxy_version: Option<Regex>,
    pub(in crate::mesh) listener: ListenerMatch,
    pub(in crate::mesh) value: ConnectionManagerPatch,
}

/// Which listener and filter chain a patch is for; nothing set: every one.
#[derive(Debug, Clone, Default)]
pub(in crate::mesh) struct ListenerMatch {
    pub(in crate::mesh) name: Option<String>,
    pub(in crate::mesh) port_number: Option<u16>,
    pub(in crate::mesh) filter_chain_name: Option<String>,
    pub(in crate::mesh) destination_port: Option<u16>,
}

/// Which kind of proxy configuration a patch is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::mesh) enum PatchContext {
    /// `ANY`, or nothing said.
    Any,
    /// `SIDECAR_INBOUND`.
    SidecarInbound,
    /// `SIDECAR_OUTBOUND`.
    SidecarOutbound,
    /// Gateways and waypoints.
    Elsewhere,
}

/// `EnvoyFilter.ApplyTo`, and whether it is implemented here.
const APPLY_TO: [(&str, bool); 12] = [
    ("LISTENER", false),
    ("FILTER_CHAIN", false),
    ("NETWORK_FILTER", true),
    ("HTTP_FILTER", false),
    ("ROUTE_CONFIGURATION", false),
    ("VIRTUAL_HOST", false),
    ("HTTP_ROUTE", false),
    ("CLUSTER", false),
    ("EXTENSION_CONFIG", false),
    ("BOOTSTRAP", false),
    ("LISTENER_FILTER", false),
    ("INVALID", false),
];

/// `EnvoyFilter.Patch.Operation`, and whether it is implemented here.
const OPERATIONS: [(&str, bool); 8] = [
    ("MERGE", true),
    ("ADD", false),
    ("REMOVE", false),
    ("INSERT_BEFORE", false),
    ("INSERT_AFTER", false),
    ("INSERT_FIRST", false),
    ("REPLACE", false),
    ("INVALID", false),
];

/// `EnvoyFilter.PatchContext`.
const CONTEXTS: [(&str, PatchContext); 5] = [
    ("ANY", PatchContext::Any),
    ("SIDECAR_INBOUND", PatchContext::SidecarInbound),
    ("SIDECAR_OUTBOUND", PatchContext::SidecarOutbound),
    ("GATEWAY", PatchContext::Elsewhere),
    ("WAYPOINT", PatchContext::Elsewhere),
];

impl EnvoyFilter {
    pub(super) fn read(mut document: Fields, reading: &mut Reading) -> Result<Self, MeshError> {
        let metadata = Metadata::read(&mut document)?;
        let mut spec = document.required("spec")?.fields()?;
        let priority = spec.take("priority").map_or(Ok(0), |field| field.number(i32::MIN..=i32::MAX))?;
        let workload_selector = match spec.fields("workloadSelector")? {
            Some(mut selector) => {
                let labels = selector.take("labels").map(Field::labels).transpose()?.unwrap_or_default();
                reading.warn_of_rest(selector);
                labels
            }
            None => BTreeMap::new(),
        };
        let mut patches = Vec::new();
        for patch in spec.items("configPatches")? {
            patches.extend(ConfigPatch::read(patch, reading)?);
        }
        if let Some(targets) = spec.take("targetRefs") {
            reading.warn(
                targets.warning("targetRefs are not implemented here, so the filter applies to nothing"),
            );
            patches.clear();
        }
        reading.warn_of_rest(spec);
        reading.warn_of_rest(document);
        Ok(Self { metadata, priority, workload_selector, patches })
    }
}

impl ConfigPatch {
    fn read(patch: Field, reading: &mut Reading) -> Result<Option<Self>, MeshError> {
        let place = patch.place().clone();
        let mut fields = patch.fields()?;
        let apply_to = fields.required("applyTo")?;
        let unknown_target =
            apply_to.warning("only NETWORK_FILTER is implemented here; the patch has no effect");
        let network_filter = apply_to.choice(&APPLY_TO)?;
        let mut matching = fields.fields("match")?;
        let context = match matching.as_mut().and_then(|matching| matching.take("context")) {
            Some(context) => context.choice(&CONTEXTS)?,
            None => PatchContext::Any,
        };
        if context == PatchContext::Elsewhere {
            return Ok(None);
        }
        if !network_filter {
            reading.warn(unknown_target);
            return Ok(None);
        }
        let mut change = fields.required("patch")?.fields()?;
        let operation = change.required("operation")?;
        let unknown_operation = operation.warning("only MERGE is implemented here; the patch has no effect");
        if !operation.choice(&OPERATIONS)? {
            reading.warn(unknown_operation);
            return Ok(None);
        }
        let (proxy_version, listener) = match matching {
            Some(matching) => match read_match(matching, reading)? {
                Some(matches) => matches,
                None => return Ok(None),
            },
            None => (None, ListenerMatch::default()),
        };
        let value =
            change.take("value").map(|value| ConnectionManagerPatch::read(value, reading)).transpose()?;
        reading.warn_of_rest(change);
        reading.warn_of_rest(fields);
        Ok(value.flatten().map(|value| Self { place, context, proxy_version, listener, value }))
    }
}

/// Reads what is left of `match` beside the context; nothing if no sidecar's HTTP connection manager can match.
fn read_match(
    mut matching: Fields,
    reading: &mut Reading,
) -> Result<Option<(Option<Regex>, ListenerMatch)>, MeshError> {
    let proxy_version = match matching.fields("proxy")? {
        Some(mut proxy) => {
            if let Some(metadata) = proxy.take("metadata") {
                reading.warn(metadata.warning("proxies have no metadata here; the patch has no effect"));
                return Ok(None);
            }
            proxy.take("proxyVersion").map(read_version).transpose()?.flatten()
        }
        None => None,
    };
    let mut listener = ListenerMatch::default();
    if let Some(mut fields) = matching.fields("listener")? {
        listener.name = fields.take("name").map(Field::text).transpose()?;
        listener.port_number = fields.take("portNumber").map(Field::port).transpose()?;
        if let Some(chain) = fields.fields("filterChain")?
            && !listener.read_filter_chain(chain, reading)?
        {
            return Ok(None);
        }
        reading.warn_of_rest(fields);
    }
    reading.warn_of_rest(matching);
    Ok(Some((proxy_version, listener)))
}

/// A pattern in Go's syntax, which is RE2's, as is the crate's. An empty one is none.
fn read_version(field: Field) -> Result<Option<Regex>, MeshError> {
    let wrong = field.unexpected("a regular expression such as ^1\\.2.*");
    let pattern = field.text()?;
    if pattern.is_empty() {
        return Ok(None);
    }
    Regex::new(&pattern).map(Some).map_err(|_| wrong)
}

impl ListenerMatch {
    /// Reads `filterChain`; false if no sidecar's HTTP connection manager can match.
    fn read_filter_chain(&mut self, mut chain: Fields, reading: &mut Reading) -> Result<bool, MeshError> {
        self.filter_chain_name = chain.take("name").map(Field::text).transpose()?;
        self.destination_port = chain.take("destinationPort").map(Field::port).transpose()?;
        for name in ["sni", "transportProtocol", "applicationProtocols"] {
            if let Some(condition) = chain.take(name) {
                reading.warn(
                    condition.warning("this condition is not implemented here; the patch has no effect"),
                );
                return Ok(false);
            }
        }
        if let Some(mut filter) = chain.fields("filter")? {
            if let Some(name) = filter.take("name") {
                let elsewhere = name.warning("not the HTTP connection manager; the patch has no effect here");
                if name.text()? != HTTP_CONNECTION_MANAGER {
                    reading.warn(elsewhere);
                    return Ok(false);
                }
            }
            reading.warn_of_rest(filter);
        }
        reading.warn_of_rest(chain);
        Ok(true)
    }
}
