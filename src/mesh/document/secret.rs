//! Kubernetes' `Secret`, as far as a gateway takes certificates from it.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::metadata::Metadata;
use crate::mesh::error::MeshError;
use crate::yaml::Dialect;

/// A Secret.
#[derive(Clone)]
pub(in crate::mesh) struct Secret {
    pub(in crate::mesh) metadata: Metadata,
    /// As they are written: in base64.
    data: BTreeMap<String, String>,
    /// In plain text, which wins over the others.
    string_data: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SecretBody {
    #[serde(default)]
    data: Option<BTreeMap<String, String>>,
    #[serde(default)]
    string_data: Option<BTreeMap<String, String>>,
}

/// Nobody shows what is secret.
impl std::fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Secret").field("metadata", &self.metadata).finish_non_exhaustive()
    }
}

impl Secret {
    pub(super) fn read(metadata: Metadata) -> Result<Self, MeshError> {
        let body: SecretBody = metadata.manifest.document.root().read(Dialect::Kubernetes)?;
        let SecretBody { data, string_data } = body;
        Ok(Self { metadata, data: data.unwrap_or_default(), string_data: string_data.unwrap_or_default() })
    }

    /// The text of a key; what is no base64, or no text, is none.
    pub(in crate::mesh) fn text(&self, key: &str) -> Option<String> {
        if let Some(plain) = self.string_data.get(key) {
            return Some(plain.clone());
        }
        // Line breaks are not part of it, as for Kubernetes.
        let written: String = self.data.get(key)?.split_ascii_whitespace().collect();
        String::from_utf8(STANDARD.decode(written).ok()?).ok()
    }
}
