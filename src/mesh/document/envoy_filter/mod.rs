//! Istio's `EnvoyFilter`: changes to the configuration that Istio generates. Read are the patches
//! that merge something into the HTTP connection manager or the routes of a sidecar or a gateway; the
//! others get a warning.

mod connection_manager_patch;
mod route_patch;
mod written;

use regex::Regex;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, Unexpected};

use self::connection_manager_patch::ConnectionManagerPatch;
pub(in crate::mesh) use self::connection_manager_patch::HTTP_CONNECTION_MANAGER_TYPE;
pub(in crate::mesh) use self::route_patch::{PatchedRoute, RoutePatch};
pub(crate) use self::written::ConnectionManagerFilter;
use super::Port;
use super::metadata::{Labels, Metadata};
use super::read::WarningCollector;
use crate::mesh::error::MeshError;
use crate::mesh::rules::NOT_PLAYED;
use crate::yaml::{Dialect, NodeRef, Placed, Skip};

/// The one network filter that can be patched here (Istio's `wellknown.HTTPConnectionManager`).
pub(in crate::mesh) const HTTP_CONNECTION_MANAGER: &str = "envoy.filters.network.http_connection_manager";

/// The transport that a filter chain for TLS asks for; the other one is `raw_buffer`.
const TLS: &str = "tls";

/// An `EnvoyFilter`.
#[derive(Debug, Clone)]
pub(in crate::mesh) struct EnvoyFilter {
    pub(in crate::mesh) metadata: Metadata,
    /// The lower, the earlier; filters of the root namespace do not come first if another has a
    /// lower one.
    pub(in crate::mesh) priority: i32,
    /// The workloads that it is for; empty: all of its namespace, or of the mesh if that is the
    /// root namespace.
    pub(in crate::mesh) workload_selector: Labels,
    pub(in crate::mesh) patches: Vec<ConfigPatch>,
    pub(in crate::mesh) route_patches: Vec<RoutePatch>,
}

/// A patch that merges into the HTTP connection manager.
#[derive(Debug, Clone)]
pub(in crate::mesh) struct ConfigPatch {
    /// Its position among the `configPatches`.
    position: usize,
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
    /// Whether it asks for what comes with TLS, which between sidecars all does that comes inbound.
    pub(in crate::mesh) is_for_tls: bool,
}

/// Which kind of proxy configuration a patch is for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(in crate::mesh) enum PatchContext {
    /// Also if nothing is said.
    #[default]
    Any,
    SidecarInbound,
    SidecarOutbound,
    Gateway,
    Waypoint,
}

/// `EnvoyFilter.ApplyTo`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum ApplyTo {
    Listener,
    FilterChain,
    NetworkFilter,
    HttpFilter,
    RouteConfiguration,
    VirtualHost,
    HttpRoute,
    Cluster,
    ExtensionConfig,
    Bootstrap,
    ListenerFilter,
    Invalid,
}

/// `EnvoyFilter.Patch.Operation`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum Operation {
    Merge,
    Add,
    Remove,
    InsertBefore,
    InsertAfter,
    InsertFirst,
    Replace,
    MergeAndReplaceList,
    Invalid,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct EnvoyFilterSpec {
    priority: i32,
    workload_selector: WorkloadSelector,
    config_patches: Vec<Placed<Skip>>,
    target_refs: Option<Placed<Skip>>,
}

#[derive(Deserialize, Default)]
struct WorkloadSelector {
    #[serde(default)]
    labels: Labels,
}

/// What decides whether the rest of a patch is read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PatchHead {
    apply_to: Placed<ApplyTo>,
    #[serde(default)]
    r#match: ContextMatch,
}

#[derive(Deserialize, Default)]
struct ContextMatch {
    #[serde(default)]
    context: PatchContext,
}

#[derive(Deserialize)]
struct PatchOperation {
    patch: OperationOf,
}

#[derive(Deserialize)]
struct OperationOf {
    operation: Placed<Operation>,
}

/// A patch that merges something into a network filter.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NetworkFilterPatch {
    #[expect(dead_code, reason = "read before")]
    apply_to: Skip,
    #[serde(default)]
    r#match: ObjectMatch,
    patch: Patch,
}

#[derive(Deserialize)]
struct Patch {
    #[expect(dead_code, reason = "read before")]
    operation: Skip,
    value: Option<Placed<Skip>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ObjectMatch {
    /// Read before the rest of the patch.
    context: Skip,
    proxy: ProxyMatch,
    listener: ListenerObjectMatch,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct ProxyMatch {
    metadata: Option<Placed<Skip>>,
    proxy_version: Option<ProxyVersion>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct ListenerObjectMatch {
    name: Option<String>,
    port_number: Option<Port>,
    filter_chain: FilterChainMatch,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct FilterChainMatch {
    name: Option<String>,
    destination_port: Option<Port>,
    sni: Option<Placed<Skip>>,
    transport_protocol: Option<Placed<String>>,
    application_protocols: Option<Placed<Skip>>,
    filter: FilterMatch,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct FilterMatch {
    name: Option<Placed<String>>,
}

/// A pattern in Go's syntax, which is RE2's, as is the crate's. An empty one is none.
struct ProxyVersion(Option<Regex>);

impl<'de> Deserialize<'de> for ProxyVersion {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let pattern = String::deserialize(deserializer)?;
        if pattern.is_empty() {
            return Ok(Self(None));
        }
        let expected = "a regular expression such as ^1\\.2.*";
        let wrong = |_| D::Error::invalid_value(Unexpected::Str(&pattern), &expected);
        Regex::new(&pattern).map(|pattern| Self(Some(pattern))).map_err(wrong)
    }
}

impl EnvoyFilter {
    pub(super) fn read(metadata: Metadata, warnings: &mut WarningCollector) -> Result<Self, MeshError> {
        let spec: EnvoyFilterSpec = warnings.spec(&metadata.manifest)?;
        let (mut patches, mut route_patches) = (Vec::new(), Vec::new());
        let written = metadata.manifest.document.at("spec.configPatches");
        let written = spec.config_patches.iter().zip(written.into_iter().flat_map(NodeRef::items));
        for (position, (place, patch)) in written.enumerate() {
            match AnyPatch::read(position, patch, &place.path, warnings)? {
                Some(AnyPatch::ConnectionManager(patch)) => patches.push(patch),
                Some(AnyPatch::Route(patch)) => route_patches.push(patch),
                None => {}
            }
        }
        if let Some(targets) = spec.target_refs {
            warnings.warn(
                &NOT_PLAYED,
                &targets,
                "targetRefs are not implemented here, so the filter applies to nothing",
            );
            patches.clear();
            route_patches.clear();
        }
        Ok(Self {
            metadata,
            priority: spec.priority,
            workload_selector: spec.workload_selector.labels,
            patches,
            route_patches,
        })
    }
}

impl EnvoyFilter {
    /// The patch at a position of the `configPatches`, if it is one that is applied.
    pub(in crate::mesh) fn patch(&self, position: usize) -> Option<&ConfigPatch> {
        let found = self.patches.binary_search_by_key(&position, |patch| patch.position);
        found.ok().map(|found| &self.patches[found])
    }
}

/// A patch of one of the kinds that are applied.
enum AnyPatch {
    ConnectionManager(ConfigPatch),
    Route(RoutePatch),
}

impl AnyPatch {
    /// Nothing if no sidecar or gateway can match.
    fn read(
        position: usize,
        written: NodeRef<'_>,
        path: &str,
        warnings: &mut WarningCollector,
    ) -> Result<Option<Self>, MeshError> {
        let PatchHead { apply_to, r#match: ContextMatch { context } } =
            written.read_at(path, Dialect::Kubernetes, None)?;
        let read = |warnings: &mut WarningCollector| match *apply_to {
            ApplyTo::NetworkFilter => {
                let read = ConfigPatch::read(position, written, path, context, warnings)?;
                Ok(read.map(Self::ConnectionManager))
            }
            ApplyTo::HttpRoute if is_merge(written, path, warnings)? => {
                Ok(RoutePatch::read(written, path, context, warnings)?.map(Self::Route))
            }
            ApplyTo::HttpRoute => Ok(None),
            _ => {
                let text = "only NETWORK_FILTER and HTTP_ROUTE are implemented here; the patch has no effect";
                warnings.warn(&NOT_PLAYED, &apply_to, text);
                Ok(None)
            }
        };
        match context {
            PatchContext::Waypoint => Ok(None),
            PatchContext::Gateway => warnings.for_gateways(read),
            PatchContext::Any | PatchContext::SidecarInbound | PatchContext::SidecarOutbound => {
                read(warnings)
            }
        }
    }
}

/// Whether a patch merges, which is all that is implemented.
fn is_merge(written: NodeRef<'_>, path: &str, warnings: &mut WarningCollector) -> Result<bool, MeshError> {
    let PatchOperation { patch: OperationOf { operation } } =
        written.read_at(path, Dialect::Kubernetes, None)?;
    if *operation != Operation::Merge {
        warnings.warn(&NOT_PLAYED, &operation, "only MERGE is implemented here; the patch has no effect");
    }
    Ok(*operation == Operation::Merge)
}

impl ConfigPatch {
    /// Nothing if no HTTP connection manager can match.
    fn read(
        position: usize,
        written: NodeRef<'_>,
        path: &str,
        context: PatchContext,
        warnings: &mut WarningCollector,
    ) -> Result<Option<Self>, MeshError> {
        if !is_merge(written, path, warnings)? {
            return Ok(None);
        }
        let mut unread = Vec::new();
        let filter_patch: NetworkFilterPatch =
            written.read_at(path, Dialect::Kubernetes, Some(&mut unread))?;
        let ObjectMatch { proxy, listener, .. } = filter_patch.r#match;
        if let Some(metadata) = proxy.metadata {
            warnings.warn(&NOT_PLAYED, &metadata, "proxies have no metadata here; the patch has no effect");
            return Ok(None);
        }
        let Some(listener) = listener.of_connection_manager(warnings) else { return Ok(None) };
        let value = match filter_patch.patch.value {
            Some(value) => ConnectionManagerPatch::read(written, &value, warnings)?,
            None => None,
        };
        warnings.warn_of(unread);
        let proxy_version = proxy.proxy_version.and_then(|version| version.0);
        Ok(value.map(|value| Self { position, context, proxy_version, listener, value }))
    }
}

impl ListenerObjectMatch {
    /// Nothing if no sidecar's HTTP connection manager can match.
    fn of_connection_manager(self, warnings: &mut WarningCollector) -> Option<ListenerMatch> {
        let chain = self.filter_chain;
        let transport = chain.transport_protocol.filter(|transport| !transport.is_empty());
        if let Some(transport) = transport.as_ref().filter(|transport| transport.value != TLS) {
            let text = "between sidecars that agree on mutual TLS no filter chain is for this transport; the patch \
                        has no effect here";
            warnings.warn(&NOT_PLAYED, transport, text);
            return None;
        }
        let conditions = [chain.sni, chain.application_protocols];
        if let Some(condition) = conditions.into_iter().flatten().next() {
            warnings.warn(
                &NOT_PLAYED,
                &condition,
                "this condition is not implemented here; the patch has no effect",
            );
            return None;
        }
        if let Some(name) = chain.filter.name.filter(|name| name.value != HTTP_CONNECTION_MANAGER) {
            warnings.warn(
                &NOT_PLAYED,
                &name,
                "not the HTTP connection manager; the patch has no effect here",
            );
            return None;
        }
        Some(ListenerMatch {
            name: self.name,
            port_number: self.port_number.map(|port| port.0),
            filter_chain_name: chain.name,
            destination_port: chain.destination_port.map(|port| port.0),
            is_for_tls: transport.is_some(),
        })
    }
}
