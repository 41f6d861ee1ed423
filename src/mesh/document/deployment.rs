//! Kubernetes' `Deployment`, and the other kinds of `apps/v1` with a pod template, which says what a proxy's workload is.

use std::collections::{BTreeMap, BTreeSet};

use super::metadata::{Metadata, selects};
use crate::mesh::config::Workload;
use crate::mesh::field::{Field, Fields};
use crate::mesh::place::MeshError;

/// A Deployment, or what keeps pods in another way.
#[derive(Debug, Clone)]
pub(in crate::mesh) struct Deployment {
    /// `Deployment`, `StatefulSet` and so on.
    pub(in crate::mesh) kind: &'static str,
    pub(in crate::mesh) metadata: Metadata,
    labels: BTreeMap<String, String>,
    service_account: String,
    /// The named ports of the containers.
    pub(in crate::mesh) ports: BTreeMap<String, u16>,
    /// All ports that the containers declare.
    pub(in crate::mesh) port_numbers: BTreeSet<u16>,
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
    pub(in crate::mesh) fn labels(&self) -> &BTreeMap<String, String> {
        &self.labels
    }

    /// Whether its pods have all of these labels.
    pub(in crate::mesh) fn has_labels(&self, selector: &BTreeMap<String, String>) -> bool {
        selects(selector, &self.labels)
    }

    pub(super) fn read(kind: &'static str, mut document: Fields) -> Result<Self, MeshError> {
        let metadata = Metadata::read(&mut document)?;
        let mut template = document.required("spec")?.fields()?.required("template")?.fields()?;
        let labels = match template.fields("metadata")?.and_then(|mut metadata| metadata.take("labels")) {
            Some(labels) => labels.labels()?,
            None => BTreeMap::new(),
        };
        let mut pod = template.required("spec")?.fields()?;
        let account = match pod.take("serviceAccountName") {
            Some(account) => Some(account),
            // The deprecated name of the same field.
            None => pod.take("serviceAccount"),
        };
        let service_account = account.map_or(Ok("default".to_owned()), Field::text)?;
        let (mut ports, mut port_numbers) = (BTreeMap::new(), BTreeSet::new());
        for container in pod.items("containers")? {
            for port in container.fields()?.items("ports")? {
                let mut port = port.fields()?;
                let number = port.required("containerPort")?.port()?;
                port_numbers.insert(number);
                if let Some(name) = port.take("name") {
                    ports.insert(name.text()?, number);
                }
            }
        }
        Ok(Self { kind, metadata, labels, service_account, ports, port_numbers })
    }
}
