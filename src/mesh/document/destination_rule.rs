//! Istio's `DestinationRule`: how a client's sidecar connects to a host.

use std::collections::BTreeMap;
use std::time::Duration;

use super::metadata::Metadata;
use super::read::Reading;
use crate::mesh::field::{Field, Fields};
use crate::mesh::host::Visibility;
use crate::mesh::place::MeshError;

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
    pub(in crate::mesh) workload_selector: Option<BTreeMap<String, String>>,
}

/// A `TrafficPolicy`. Of its blocks only the connection pool is read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::mesh) struct TrafficPolicy {
    pub(in crate::mesh) connection_pool: Option<ConnectionPool>,
    /// By the Service's port, not the target port.
    pub(in crate::mesh) port_level_settings: Vec<(u16, Option<ConnectionPool>)>,
}

/// A named set of a host's pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::mesh) struct Subset {
    pub(in crate::mesh) name: String,
    pub(in crate::mesh) traffic_policy: Option<TrafficPolicy>,
}

/// `ConnectionPoolSettings`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::mesh) struct ConnectionPool {
    pub(in crate::mesh) connect_timeout: Option<Duration>,
    pub(in crate::mesh) max_connection_duration: Option<Duration>,
    /// `http.idleTimeout`, else `tcp.idleTimeout`.
    pub(in crate::mesh) idle_timeout: Option<Duration>,
    pub(in crate::mesh) h2_upgrade_policy: H2UpgradePolicy,
    pub(in crate::mesh) use_client_protocol: bool,
    pub(in crate::mesh) max_concurrent_streams: Option<u32>,
}

/// Whether HTTP/1.1 is upgraded to HTTP/2 between the sidecars.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub enum H2UpgradePolicy {
    /// As the mesh's default says.
    #[default]
    Default,
    /// Never.
    DoNotUpgrade,
    /// Always.
    Upgrade,
}

/// Protobuf's `int32`, of which Istio wants no negative ones.
const INT32_MAX: u32 = i32::MAX.unsigned_abs();

impl DestinationRule {
    pub(super) fn read(mut document: Fields, reading: &mut Reading) -> Result<Self, MeshError> {
        let metadata = Metadata::read(&mut document)?;
        let mut spec = document.required("spec")?.fields()?;
        let host = spec.required("host")?.text()?;
        let traffic_policy =
            spec.take("trafficPolicy").map(|field| TrafficPolicy::read(field, reading)).transpose()?;
        let subsets = spec
            .items("subsets")?
            .into_iter()
            .map(|field| Subset::read(field, reading))
            .collect::<Result<_, _>>()?;
        let export_to = Visibility::read(&mut spec)?;
        let workload_selector = match spec.fields("workloadSelector")? {
            Some(mut selector) => {
                let labels = selector.take("matchLabels").map(Field::labels).transpose()?.unwrap_or_default();
                reading.warn_of_rest(selector);
                Some(labels)
            }
            None => None,
        };
        reading.warn_of_rest(spec);
        reading.warn_of_rest(document);
        Ok(Self { metadata, host, traffic_policy, subsets, export_to, workload_selector })
    }
}

impl TrafficPolicy {
    fn read(field: Field, reading: &mut Reading) -> Result<Self, MeshError> {
        let mut fields = field.fields()?;
        let connection_pool = ConnectionPool::take(&mut fields, reading)?;
        let mut port_level_settings = Vec::new();
        for settings in fields.items("portLevelSettings")? {
            let mut settings = settings.fields()?;
            let number = settings.required("port")?.fields()?.required("number")?.port()?;
            port_level_settings.push((number, ConnectionPool::take(&mut settings, reading)?));
            reading.warn_of_rest(settings);
        }
        reading.warn_of_rest(fields);
        Ok(Self { connection_pool, port_level_settings })
    }
}

impl Subset {
    fn read(field: Field, reading: &mut Reading) -> Result<Self, MeshError> {
        let mut fields = field.fields()?;
        let name = fields.required("name")?.text()?;
        // Which pods a subset has does not matter: there is one endpoint.
        if let Some(labels) = fields.take("labels") {
            labels.labels()?;
        }
        let traffic_policy =
            fields.take("trafficPolicy").map(|field| TrafficPolicy::read(field, reading)).transpose()?;
        reading.warn_of_rest(fields);
        Ok(Self { name, traffic_policy })
    }
}

impl ConnectionPool {
    fn take(fields: &mut Fields, reading: &mut Reading) -> Result<Option<Self>, MeshError> {
        let Some(mut fields) = fields.fields("connectionPool")? else { return Ok(None) };
        let mut pool = Self::default();
        if let Some(mut tcp) = fields.fields("tcp")? {
            pool.connect_timeout = tcp.take("connectTimeout").map(Field::duration).transpose()?;
            pool.max_connection_duration =
                tcp.take("maxConnectionDuration").map(Field::duration).transpose()?;
            pool.idle_timeout = tcp.take("idleTimeout").map(Field::duration).transpose()?;
            reading.warn_of_rest(tcp);
        }
        if let Some(http) = fields.fields("http")? {
            pool.read_http(http, reading)?;
        }
        reading.warn_of_rest(fields);
        Ok(Some(pool))
    }

    fn read_http(&mut self, mut http: Fields, reading: &mut Reading) -> Result<(), MeshError> {
        if let Some(timeout) = http.take("idleTimeout") {
            self.idle_timeout = Some(timeout.duration()?);
        }
        if let Some(streams) = http.take("maxConcurrentStreams") {
            // Istio cannot tell 0 from a field that is not there.
            self.max_concurrent_streams = Some(streams.number(0..=INT32_MAX)?).filter(|&streams| streams > 0);
        }
        if let Some(policy) = http.take("h2UpgradePolicy") {
            self.h2_upgrade_policy = policy.choice(&[
                ("DEFAULT", H2UpgradePolicy::Default),
                ("DO_NOT_UPGRADE", H2UpgradePolicy::DoNotUpgrade),
                ("UPGRADE", H2UpgradePolicy::Upgrade),
            ])?;
        }
        if let Some(use_client_protocol) = http.take("useClientProtocol") {
            let contradiction = MeshError::ClientProtocolWithUpgrade {
                place: use_client_protocol.place().clone(),
                field: use_client_protocol.path().to_owned(),
            };
            self.use_client_protocol = use_client_protocol.boolean()?;
            if self.use_client_protocol && self.h2_upgrade_policy == H2UpgradePolicy::Upgrade {
                return Err(contradiction);
            }
        }
        reading.warn_of_rest(http);
        Ok(())
    }
}
