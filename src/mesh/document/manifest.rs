//! Documents as they were written.

use std::sync::Arc;

use super::metadata::DEFAULT_NAMESPACE;
use crate::mesh::snake_case;
use crate::yaml::{Document, NodeRef, Place};

/// A document as it was written, of whatever kind.
#[derive(Debug)]
pub struct Manifest {
    pub(in crate::mesh) kind: String,
    pub(in crate::mesh) api_version: String,
    pub(in crate::mesh) document: Document,
}

impl Manifest {
    /// All of it, but for what a cluster keeps in `managedFields`.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        self.document.root().to_json(str::to_owned)
    }

    /// Its namespace, or Kubernetes' default.
    pub(in crate::mesh) fn namespace(&self) -> &str {
        self.document.at("metadata.namespace").and_then(NodeRef::text).unwrap_or(DEFAULT_NAMESPACE)
    }

    /// Where the document begins.
    #[must_use]
    pub fn place(&self) -> Place {
        self.document.place()
    }
}

/// Where the documents say what.
#[derive(Debug, Clone, Default)]
pub struct Places(pub(super) Vec<Arc<Manifest>>);

impl Places {
    /// Where a field of this name, in `snake_case`, or this text, is first.
    #[must_use]
    pub fn of(&self, what: &str) -> Option<Place> {
        let is_name = |name: &str| snake_case(name) == what;
        self.0.iter().find_map(|manifest| manifest.document.root().find(&is_name, what))
    }
}
