//! Kubernetes' `ObjectMeta`, as far as proxies depend on it.

use std::collections::BTreeMap;

use crate::mesh::field::{Field, Fields};
use crate::mesh::place::{MeshError, Place};

/// The namespace of a document that names none.
pub(in crate::mesh) const DEFAULT_NAMESPACE: &str = "default";
/// Istio's root namespace, whose documents apply to the whole mesh (`MeshConfig.rootNamespace`'s default).
pub(crate) const ROOT_NAMESPACE: &str = "istio-system";

/// What names a document, and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::mesh) struct Metadata {
    pub(in crate::mesh) name: String,
    pub(in crate::mesh) namespace: String,
    /// RFC 3339 in UTC, as Kubernetes writes it; empty in a file that is no export of a cluster.
    creation_timestamp: String,
    pub(in crate::mesh) place: Place,
}

impl Metadata {
    /// Takes `metadata` out of a document.
    pub(super) fn read(document: &mut Fields) -> Result<Self, MeshError> {
        let place = document.place().clone();
        let mut metadata = document.required("metadata")?.fields()?;
        let name = metadata.required("name")?.text()?;
        let namespace = match metadata.take("namespace") {
            Some(namespace) => namespace.text()?,
            None => DEFAULT_NAMESPACE.to_owned(),
        };
        // Not used, but kubectl too refuses labels that are no strings.
        if let Some(labels) = metadata.take("labels") {
            labels.labels()?;
        }
        let creation_timestamp = metadata.take("creationTimestamp").map_or(Ok(String::new()), Field::text)?;
        Ok(Self { name, namespace, creation_timestamp, place })
    }

    /// Istio's order of documents that compete: the oldest first, then by name and namespace.
    pub(in crate::mesh) fn age(&self) -> (&str, &str, &str) {
        (&self.creation_timestamp, &self.name, &self.namespace)
    }
}

/// Whether all of the selector's labels are there. An empty selector has nothing that could be missing.
pub(in crate::mesh) fn selects(
    selector: &BTreeMap<String, String>,
    labels: &BTreeMap<String, String>,
) -> bool {
    selector.iter().all(|(name, value)| labels.get(name) == Some(value))
}
