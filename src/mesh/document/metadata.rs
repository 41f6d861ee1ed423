//! Kubernetes' `ObjectMeta`, as far as proxies depend on it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;

use super::manifest::Manifest;
use crate::mesh::error::MeshError;
use crate::yaml::{Dialect, Document, Place};

/// The namespace of a document that names none.
pub(in crate::mesh) const DEFAULT_NAMESPACE: &str = "default";
/// Istio's root namespace, whose documents apply to the whole mesh (`MeshConfig.rootNamespace`'s
/// default).
pub(crate) const ROOT_NAMESPACE: &str = "istio-system";

/// Labels, or a selector of them.
pub(in crate::mesh) type Labels = BTreeMap<String, String>;

/// What names a document, and where it is.
#[derive(Debug, Clone)]
pub(in crate::mesh) struct Metadata {
    pub(in crate::mesh) name: String,
    pub(in crate::mesh) namespace: String,
    /// RFC 3339 in UTC, as Kubernetes writes it; empty in a file that is no export of a cluster.
    creation_timestamp: String,
    /// The document as it was written.
    pub(in crate::mesh) manifest: Arc<Manifest>,
}

/// What names a document, as it writes it.
#[derive(Deserialize)]
struct NamedDocument {
    metadata: ObjectMeta,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ObjectMeta {
    name: String,
    namespace: Option<String>,
    creation_timestamp: Option<String>,
    #[expect(dead_code, reason = "not used, but kubectl too refuses labels that are not texts")]
    labels: Option<Labels>,
}

impl Metadata {
    pub(super) fn read(manifest: &Arc<Manifest>) -> Result<Self, MeshError> {
        let NamedDocument { metadata } = manifest.document.root().read(Dialect::Kubernetes)?;
        Ok(Self {
            name: metadata.name,
            namespace: metadata.namespace.unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned()),
            creation_timestamp: metadata.creation_timestamp.unwrap_or_default(),
            manifest: Arc::clone(manifest),
        })
    }

    /// The document as it was written.
    pub(in crate::mesh) fn document(&self) -> &Document {
        &self.manifest.document
    }

    /// Where the document is.
    pub(in crate::mesh) fn place(&self) -> Place {
        self.manifest.place()
    }

    /// Istio's order of documents that compete: the oldest first, then by name and namespace.
    pub(in crate::mesh) fn age(&self) -> (&str, &str, &str) {
        (&self.creation_timestamp, &self.name, &self.namespace)
    }
}

/// Whether all of the selector's labels are there. An empty selector has nothing that could be
/// missing.
pub(in crate::mesh) fn selects(selector: &Labels, labels: &Labels) -> bool {
    selector.iter().all(|(name, value)| labels.get(name) == Some(value))
}
