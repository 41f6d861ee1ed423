//! Kubernetes' `Deployment`, and the other kinds of `apps/v1` with a pod template, which says what
//! a proxy's workload is.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::Port;
use super::metadata::{Labels, Metadata, selects};
use super::read::Body;
use crate::mesh::config::Workload;
use crate::mesh::error::MeshError;
use crate::yaml::Dialect;

/// A Deployment, or what keeps pods in another way.
#[derive(Debug, Clone)]
pub(in crate::mesh) struct Deployment {
    /// `Deployment`, `StatefulSet` and so on.
    pub(in crate::mesh) kind: &'static str,
    pub(in crate::mesh) metadata: Metadata,
    labels: Labels,
    service_account: String,
    /// The annotation `proxy.istio.io/config` of its pods: Istio's `ProxyConfig` in YAML.
    pub(in crate::mesh) proxy_config: Option<String>,
    /// The named ports of the containers.
    pub(in crate::mesh) ports: BTreeMap<String, u16>,
    /// All ports that the containers declare.
    pub(in crate::mesh) port_numbers: BTreeSet<u16>,
}

#[derive(Deserialize)]
struct DeploymentSpec {
    template: PodTemplate,
}

#[derive(Deserialize)]
struct PodTemplate {
    #[serde(default)]
    metadata: PodMeta,
    spec: PodSpec,
}

#[derive(Deserialize, Default)]
struct PodMeta {
    #[serde(default)]
    labels: Labels,
    #[serde(default)]
    annotations: PodAnnotations,
}

#[derive(Deserialize, Default)]
struct PodAnnotations {
    #[serde(rename = "proxy.istio.io/config")]
    proxy_config: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PodSpec {
    service_account_name: Option<String>,
    /// The deprecated name of the same field.
    service_account: Option<String>,
    #[serde(default)]
    containers: Vec<PodContainer>,
}

#[derive(Deserialize)]
struct PodContainer {
    #[serde(default)]
    ports: Vec<ContainerPort>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ContainerPort {
    container_port: Port,
    name: Option<String>,
}

impl Deployment {
    /// The kinds. Not `ReplicaSet`: those of a cluster are a Deployment's, former ones too.
    pub(in crate::mesh) const KINDS: [&str; 3] = ["Deployment", "StatefulSet", "DaemonSet"];

    pub(in crate::mesh) fn workload(&self) -> Workload {
        Workload {
            name: self.metadata.name.clone(),
            namespace: self.metadata.namespace.clone(),
            labels: self.labels.clone(),
            service_account: self.service_account.clone(),
        }
    }

    /// The labels of its pods.
    pub(in crate::mesh) fn labels(&self) -> &Labels {
        &self.labels
    }

    /// Whether its pods have all of these labels.
    pub(in crate::mesh) fn has_labels(&self, selector: &Labels) -> bool {
        selects(selector, &self.labels)
    }

    pub(super) fn read(kind: &'static str, metadata: Metadata) -> Result<Self, MeshError> {
        let Body { spec: DeploymentSpec { template }, .. } =
            metadata.manifest.document.root().read(Dialect::Kubernetes)?;
        let account = template.spec.service_account_name.or(template.spec.service_account);
        let (mut ports, mut port_numbers) = (BTreeMap::new(), BTreeSet::new());
        for port in template.spec.containers.into_iter().flat_map(|container| container.ports) {
            port_numbers.insert(port.container_port.0);
            if let Some(name) = port.name {
                ports.insert(name, port.container_port.0);
            }
        }
        Ok(Self {
            kind,
            metadata,
            labels: template.metadata.labels,
            proxy_config: template.metadata.annotations.proxy_config,
            service_account: account.unwrap_or_else(|| "default".to_owned()),
            ports,
            port_numbers,
        })
    }
}
