//! Istio's `DestinationRule`: how a client's sidecar connects to a host.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

use super::metadata::{Labels, Metadata};
use super::read::WarningCollector;
use super::{INT32_MAX, PortSelector};
use crate::mesh::duration;
use crate::mesh::error::MeshError;
use crate::mesh::host::Visibility;
use crate::mesh::rules::NOT_PLAYED;
use crate::yaml::{Placed, Skip, Within};

/// A `DestinationRule`.
#[derive(Debug, Clone)]
pub(in crate::mesh) struct DestinationRule {
    pub(in crate::mesh) metadata: Metadata,
    /// As it is written; [`crate::mesh::host::resolve`] makes it a full name.
    pub(in crate::mesh) host: String,
    pub(in crate::mesh) traffic_policy: Option<TrafficPolicy>,
    pub(in crate::mesh) subsets: Vec<Subset>,
    pub(in crate::mesh) export_to: Visibility,
    /// The clients that it is for; `None`: all.
    pub(in crate::mesh) workload_selector: Option<Labels>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DestinationRuleSpec {
    host: String,
    traffic_policy: Option<TrafficPolicy>,
    #[serde(default)]
    subsets: Vec<Subset>,
    #[serde(default)]
    export_to: Visibility,
    workload_selector: Option<ClientSelector>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ClientSelector {
    #[serde(default)]
    match_labels: Labels,
}

/// A `TrafficPolicy`. Of its blocks only the connection pool is read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(in crate::mesh) struct TrafficPolicy {
    pub(in crate::mesh) connection_pool: Option<ConnectionPool>,
    pub(in crate::mesh) port_level_settings: Vec<PortLevelSettings>,
    /// Of one endpoint nothing is chosen.
    load_balancer: Option<Skip>,
    tls: Option<Placed<ClientTlsSettings>>,
}

/// What takes the policy's place for one port.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::mesh) struct PortLevelSettings {
    /// The Service's port, not the target port.
    #[serde(deserialize_with = "number")]
    pub(in crate::mesh) port: u16,
    pub(in crate::mesh) connection_pool: Option<ConnectionPool>,
    load_balancer: Option<Skip>,
    tls: Option<Placed<ClientTlsSettings>>,
}

/// Istio's `ClientTLSSettings`. Between two sidecars there is mutual TLS or none, which sessions do
/// not notice; whatever else is asked for is not done here.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct ClientTlsSettings {
    mode: Option<String>,
    #[serde(flatten)]
    others: BTreeMap<String, serde_json::Value>,
}

/// The number in a `PortSelector`.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u16, D::Error> {
    PortSelector::deserialize(deserializer).map(|selector| selector.number.0)
}

/// A named set of a host's pods. Which these are does not matter: there is one endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::mesh) struct Subset {
    pub(in crate::mesh) name: String,
    /// Of the pods that are in it. No sidecar here chooses among them; Istio does.
    pub(in crate::mesh) labels: Option<Labels>,
    pub(in crate::mesh) traffic_policy: Option<TrafficPolicy>,
}

/// Istio's `ConnectionPoolSettings`, as far as a proxy here acts on them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "ConnectionPoolSettings")]
pub(in crate::mesh) struct ConnectionPool {
    pub(in crate::mesh) connect_timeout: Option<Duration>,
    pub(in crate::mesh) max_connection_duration: Option<Duration>,
    /// `http.idleTimeout`, else `tcp.idleTimeout`.
    pub(in crate::mesh) idle_timeout: Option<Duration>,
    pub(in crate::mesh) h2_upgrade_policy: H2UpgradePolicy,
    pub(in crate::mesh) use_client_protocol: bool,
    pub(in crate::mesh) max_concurrent_streams: Option<u32>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ConnectionPoolSettings {
    tcp: TcpSettings,
    http: HttpSettings,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct TcpSettings {
    connect_timeout: Option<duration::GoDuration>,
    max_connection_duration: Option<duration::GoDuration>,
    idle_timeout: Option<duration::GoDuration>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct HttpSettings {
    idle_timeout: Option<duration::GoDuration>,
    max_concurrent_streams: Option<Within<u32, 0, INT32_MAX>>,
    h2_upgrade_policy: H2UpgradePolicy,
    use_client_protocol: bool,
}

impl From<ConnectionPoolSettings> for ConnectionPool {
    fn from(ConnectionPoolSettings { tcp, http }: ConnectionPoolSettings) -> Self {
        let duration = |written: Option<duration::GoDuration>| written.map(|written| written.0);
        Self {
            connect_timeout: duration(tcp.connect_timeout),
            max_connection_duration: duration(tcp.max_connection_duration),
            idle_timeout: duration(http.idle_timeout.or(tcp.idle_timeout)),
            h2_upgrade_policy: http.h2_upgrade_policy,
            use_client_protocol: http.use_client_protocol,
            // Istio cannot tell 0 from a field that is not there.
            max_concurrent_streams: http
                .max_concurrent_streams
                .map(|streams| streams.0)
                .filter(|&streams| streams > 0),
        }
    }
}

/// Whether HTTP/1.1 is upgraded to HTTP/2 between the sidecars.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, Deserialize)]
#[serde(rename_all(deserialize = "SCREAMING_SNAKE_CASE"))]
pub enum H2UpgradePolicy {
    /// As the mesh's default says.
    #[default]
    Default,
    /// HTTP/1.1 goes on as HTTP/1.1.
    DoNotUpgrade,
    /// HTTP/1.1 goes on as HTTP/2.
    Upgrade,
}

impl DestinationRule {
    pub(super) fn read(metadata: Metadata, warnings: &mut WarningCollector) -> Result<Self, MeshError> {
        let spec: DestinationRuleSpec = warnings.spec(&metadata.manifest)?;
        let rule = Self {
            metadata,
            host: spec.host,
            traffic_policy: spec.traffic_policy,
            subsets: spec.subsets,
            export_to: spec.export_to,
            workload_selector: spec.workload_selector.map(|selector| selector.match_labels),
        };
        for tls in rule.tls_settings() {
            if !matches!(tls.mode.as_deref(), None | Some("DISABLE" | "ISTIO_MUTUAL")) {
                warnings.warn(&NOT_PLAYED, tls, "only DISABLE and ISTIO_MUTUAL are played here");
            }
        }
        for (path, pool) in rule.connection_pools() {
            if pool.use_client_protocol && pool.h2_upgrade_policy == H2UpgradePolicy::Upgrade {
                let field = format!("{path}.http.useClientProtocol");
                let place = rule.metadata.manifest.document.place_of(&field);
                return Err(MeshError::ClientProtocolWithUpgrade { place, field });
            }
        }
        Ok(rule)
    }

    fn tls_settings(&self) -> impl Iterator<Item = &Placed<ClientTlsSettings>> {
        let of_subsets = self.subsets.iter().filter_map(|subset| subset.traffic_policy.as_ref());
        self.traffic_policy.iter().chain(of_subsets).flat_map(|policy| {
            policy.tls.iter().chain(policy.port_level_settings.iter().filter_map(|port| port.tls.as_ref()))
        })
    }

    /// Every connection pool, with its path in the document.
    pub(in crate::mesh) fn connection_pools(&self) -> Vec<(String, &ConnectionPool)> {
        let mut pools = Vec::new();
        if let Some(policy) = &self.traffic_policy {
            policy.add_connection_pools("spec.trafficPolicy", &mut pools);
        }
        for (index, subset) in self.subsets.iter().enumerate() {
            if let Some(policy) = &subset.traffic_policy {
                policy.add_connection_pools(&format!("spec.subsets[{index}].trafficPolicy"), &mut pools);
            }
        }
        pools
    }
}

impl TrafficPolicy {
    fn add_connection_pools<'d>(&'d self, path: &str, pools: &mut Vec<(String, &'d ConnectionPool)>) {
        if let Some(pool) = &self.connection_pool {
            pools.push((format!("{path}.connectionPool"), pool));
        }
        for (index, settings) in self.port_level_settings.iter().enumerate() {
            if let Some(pool) = &settings.connection_pool {
                pools.push((format!("{path}.portLevelSettings[{index}].connectionPool"), pool));
            }
        }
    }
}
