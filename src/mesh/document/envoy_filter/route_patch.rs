//! What an `EnvoyFilter` merges into Envoy's `Route` (`applyTo: HTTP_ROUTE`), and into which ones
//! (`pilot/pkg/networking/core/envoyfilter/rc_patch.go`).

use std::collections::BTreeMap;

use regex::Regex;
use serde::Deserialize;

use super::connection_manager_patch::UpgradeConfig;
use super::{PatchContext, ProxyMatch};
use crate::mesh::config::Route;
use crate::mesh::document::{Port, WarningCollector};
use crate::mesh::error::MeshError;
use crate::mesh::rules::NOT_PLAYED;
use crate::yaml::{Dialect, NodeRef, Placed, Skip};

/// A patch that merges into routes.
#[derive(Debug, Clone)]
pub(in crate::mesh) struct RoutePatch {
    pub(in crate::mesh) context: PatchContext,
    /// Searched in the proxy's Istio version.
    pub(in crate::mesh) proxy_version: Option<Regex>,
    routes: RouteConfigurationMatch,
    upgrades: BTreeMap<String, bool>,
}

/// A route with what surrounds it.
#[derive(Debug, Clone, Copy)]
pub(in crate::mesh) struct PatchedRoute<'a> {
    /// The route configuration's, `http.8080`.
    pub(in crate::mesh) configuration: &'a str,
    /// The Service's port, or the number of a gateway's server.
    pub(in crate::mesh) port: u16,
    /// `NAMESPACE/NAME` of the `Gateway`, in a gateway.
    pub(in crate::mesh) gateway: Option<&'a str>,
    pub(in crate::mesh) virtual_host: &'a str,
    pub(in crate::mesh) domains: &'a [String],
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenRoutePatch {
    #[expect(dead_code, reason = "read before")]
    apply_to: Skip,
    #[serde(default)]
    r#match: RouteObjectMatch,
    patch: RoutePatchOperation,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct RouteObjectMatch {
    /// Read before.
    context: Skip,
    proxy: ProxyMatch,
    route_configuration: RouteConfigurationMatch,
}

/// `EnvoyFilter.RouteConfigurationMatch`; nothing set: every route.
#[derive(Debug, Clone, Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct RouteConfigurationMatch {
    name: Option<String>,
    port_number: Option<Port>,
    gateway: Option<String>,
    vhost: VirtualHostMatch,
}

#[derive(Debug, Clone, Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct VirtualHostMatch {
    name: Option<String>,
    domain_name: Option<String>,
    route: NamedRoute,
}

#[derive(Debug, Clone, Deserialize, Default)]
#[serde(default)]
struct NamedRoute {
    name: Option<String>,
}

#[derive(Deserialize)]
struct RoutePatchOperation {
    #[expect(dead_code, reason = "read before")]
    operation: Skip,
    value: Option<Placed<Skip>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct RouteValue {
    route: RouteActionValue,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct RouteActionValue {
    upgrade_configs: Vec<UpgradeConfig>,
}

impl RoutePatch {
    pub(super) fn read(
        written: NodeRef<'_>,
        path: &str,
        context: PatchContext,
        warnings: &mut WarningCollector,
    ) -> Result<Option<Self>, MeshError> {
        let WrittenRoutePatch { r#match, patch, .. } = warnings.read(written, path, Dialect::Kubernetes)?;
        if let Some(metadata) = r#match.proxy.metadata {
            warnings.warn(&NOT_PLAYED, &metadata, "proxies have no metadata here; the patch has no effect");
            return Ok(None);
        }
        let (Some(place), Some(value)) = (patch.value, written.at("patch.value")) else { return Ok(None) };
        let RouteValue { route } = warnings.read(value, &place.path, Dialect::Protobuf)?;
        let upgrades = route.upgrade_configs.into_iter();
        Ok(Some(Self {
            context,
            proxy_version: r#match.proxy.proxy_version.and_then(|version| version.0),
            routes: r#match.route_configuration,
            upgrades: upgrades
                .map(|config| (config.upgrade_type.to_ascii_lowercase(), config.enabled.unwrap_or(true)))
                .collect(),
        }))
    }

    /// Merges into a route, if it is one that is meant.
    pub(in crate::mesh) fn merge_into(&self, route: &mut Route, of: PatchedRoute<'_>) {
        let RouteConfigurationMatch { name, port_number, gateway, vhost } = &self.routes;
        let is = |wanted: &Option<String>, found: &str| wanted.as_deref().is_none_or(|it| it == found);
        let matches = is(name, of.configuration)
            && port_number.as_ref().is_none_or(|port| port.0 == of.port)
            && is(gateway, of.gateway.unwrap_or_default())
            && is(&vhost.name, of.virtual_host)
            && vhost.domain_name.as_ref().is_none_or(|domain| of.domains.contains(domain))
            && is(&vhost.route.name, route.name.as_deref().unwrap_or_default());
        if matches {
            route.upgrades.extend(self.upgrades.clone());
        }
    }
}
