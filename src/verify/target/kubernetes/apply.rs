//! `--apply`, `--cleanup` and `--dry-run`: documents into the cluster, and just these out of it
//! again.
//!
//! What an apply creates it marks with an annotation; only that is deleted afterwards. Of an object
//! that was there before, the fields that were applied are given up, which server-side apply
//! answers by removing those that nobody else owns.

use std::fmt;

use serde_json::{Value, json};

use super::KubernetesError;
use super::api::{FIELD_MANAGER, Kubernetes, resource};
use super::documents::WantedDocument;

/// On an object that would not be there without `--apply`.
const CREATED: &str = "websockets-cli/created-by-verify";

/// What became of a document, or with `--dry-run` would become of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// `Service default/websockets-server`.
    pub title: String,
    /// What became of it.
    pub kind: ChangeKind,
}

/// What a change is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// It was not there.
    Created,
    /// It was there and said something else.
    Configured,
    /// It was there and said the same.
    Unchanged,
    /// It is not there any more.
    Deleted,
    /// It is as it was before.
    GivenUp,
}

impl fmt::Display for ChangeKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Created => "created",
            Self::Configured => "configured",
            Self::Unchanged => "unchanged",
            Self::Deleted => "deleted",
            Self::GivenUp => "given up",
        })
    }
}

impl Kubernetes {
    /// Applies the documents, in their order.
    pub(super) async fn apply_all(
        &self,
        wanted: &[WantedDocument],
        force: bool,
        dry_run: bool,
    ) -> Result<Vec<Change>, KubernetesError> {
        let mut changes = Vec::new();
        for document in wanted {
            let kind = resource(&document.api_version, &document.kind);
            let (namespace, name) = (&document.namespace, &document.name);
            let before = self.get(&kind, namespace, name).await?;
            let mut object = document.json.clone();
            if before.as_ref().is_none_or(is_created_here) {
                object["metadata"]["annotations"][CREATED] = "true".into();
            }
            let after = self.apply(&kind, namespace, (name, &object), (force, dry_run)).await?;
            let kind = match before {
                None => ChangeKind::Created,
                Some(before) if substance(&before) == substance(&after) => ChangeKind::Unchanged,
                Some(_) => ChangeKind::Configured,
            };
            changes.push(Change { title: document.title(), kind });
        }
        Ok(changes)
    }

    /// Takes back what applying the documents did, in the reverse order.
    pub(super) async fn clean_up(
        &self,
        wanted: &[WantedDocument],
        dry_run: bool,
    ) -> Result<Vec<Change>, KubernetesError> {
        let mut changes = Vec::new();
        for document in wanted.iter().rev() {
            let kind = resource(&document.api_version, &document.kind);
            let (namespace, name) = (&document.namespace, &document.name);
            let Some(there) = self.get(&kind, namespace, name).await? else { continue };
            let change = if is_created_here(&there) {
                if !dry_run {
                    self.delete(&kind, namespace, name).await?;
                }
                ChangeKind::Deleted
            } else if is_applied_here(&there) {
                let nothing = json!({
                    "apiVersion": document.api_version,
                    "kind": document.kind,
                    "metadata": {"name": name, "namespace": namespace},
                });
                self.apply(&kind, namespace, (name, &nothing), (false, dry_run)).await?;
                ChangeKind::GivenUp
            } else {
                continue;
            };
            changes.push(Change { title: document.title(), kind: change });
        }
        Ok(changes)
    }
}

fn is_created_here(object: &Value) -> bool {
    object["metadata"]["annotations"][CREATED] == "true"
}

fn is_applied_here(object: &Value) -> bool {
    let managers = object["metadata"]["managedFields"].as_array();
    managers
        .into_iter()
        .flatten()
        .any(|entry| entry["manager"] == FIELD_MANAGER && entry["operation"] == "Apply")
}

/// An object without the bookkeeping of the API server.
fn substance(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(fields) = object.as_object_mut() {
        fields.remove("status");
    }
    if let Some(metadata) = object["metadata"].as_object_mut() {
        for name in ["managedFields", "resourceVersion", "generation"] {
            metadata.remove(name);
        }
    }
    object
}
