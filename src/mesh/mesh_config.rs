//! Istio's `MeshConfig`, as far as it decides something here: the mesh-wide `h2UpgradePolicy`.

use std::path::Path;

use serde::Deserialize;

use super::document::{H2UpgradePolicy, Manifest, WarningCollector};
use super::error::{MeshError, Warning};
use super::source::text_of_file;
use crate::yaml::{self, Dialect, Document, Skip, Text};

/// What the mesh does where no document says otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeshDefaults {
    /// For HTTP ports without a policy of their own.
    pub h2_upgrade_policy: H2UpgradePolicy,
}

impl Default for MeshDefaults {
    /// Istio's default (`pkg/config/mesh/mesh.go`).
    fn default() -> Self {
        Self { h2_upgrade_policy: H2UpgradePolicy::DoNotUpgrade }
    }
}

/// `MeshConfig`. The fields without effect say nothing about what is implemented here, or an option
/// of the sidecar says it.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct MeshConfig {
    h2_upgrade_policy: Option<MeshPolicy>,
    kind: Skip,
    access_log_encoding: Skip,
    access_log_file: Skip,
    default_config: Skip,
    default_providers: Skip,
    enable_prometheus_merge: Skip,
    enable_tracing: Skip,
    extension_providers: Skip,
    outbound_traffic_policy: Skip,
}

/// The mesh's policy, which has no other default behind it.
#[derive(Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum MeshPolicy {
    DoNotUpgrade,
    Upgrade,
}

#[derive(Deserialize)]
struct MaybeConfigMap {
    kind: Option<String>,
}

#[derive(Deserialize)]
struct ConfigMap {
    data: ConfigMapData,
}

#[derive(Deserialize)]
struct ConfigMapData {
    mesh: String,
}

impl MeshDefaults {
    /// Reads a file that holds either a `MeshConfig` or the `ConfigMap` that Istio keeps it in
    /// (`istio`, key `mesh`).
    pub fn load(path: &Path) -> Result<(Self, Vec<Warning>), MeshError> {
        let text = text_of_file(path).map_err(|source| MeshError::Read { path: path.to_owned(), source })?;
        Self::parse(&path.display().to_string(), &text)
    }

    /// Reads such a text; `name` is what messages call it.
    pub fn parse(name: &str, text: &str) -> Result<(Self, Vec<Warning>), MeshError> {
        let Some(document) = only_document(name, text)? else { return Ok((Self::default(), Vec::new())) };
        let MaybeConfigMap { kind } = document.root().read(Dialect::Protobuf)?;
        if kind.as_deref() != Some("ConfigMap") {
            return Self::read(&document);
        }
        let ConfigMap { data: ConfigMapData { mesh } } = document.root().read(Dialect::Kubernetes)?;
        match only_document(&format!("{name} (data.mesh)"), &mesh)? {
            Some(inner) => Self::read(&inner),
            None => Ok((Self::default(), Vec::new())),
        }
    }

    /// The mesh's configuration in a document that also a cluster would read it in: Istio's
    /// `ConfigMap` (of any revision), an `IstioOperator`, or Sail's `Istio`. None if the document is
    /// no such, or what it says cannot be read.
    pub(super) fn in_document(manifest: &Manifest) -> Option<Self> {
        let document = &manifest.document;
        let text = match (manifest.kind.as_str(), manifest.api_version.as_str()) {
            ("ConfigMap", "v1") => {
                let name = document.at("metadata.name")?.text()?;
                (name == "istio" || name.starts_with("istio-")).then_some(())?;
                document.at("data.mesh")?.text()?.to_owned()
            }
            ("IstioOperator", version) if version.starts_with("install.istio.io/") => {
                document.at("spec.meshConfig")?.to_json(str::to_owned).to_string()
            }
            ("Istio", _) => document.at("spec.values.meshConfig")?.to_json(str::to_owned).to_string(),
            _ => return None,
        };
        Self::parse("the mesh's configuration", &text).ok().map(|(defaults, _)| defaults)
    }

    fn read(document: &Document) -> Result<(Self, Vec<Warning>), MeshError> {
        let mut warnings = WarningCollector::default();
        let config: MeshConfig = warnings.read(document.root(), "", Dialect::Protobuf)?;
        let defaults = match config.h2_upgrade_policy {
            Some(MeshPolicy::Upgrade) => Self { h2_upgrade_policy: H2UpgradePolicy::Upgrade },
            Some(MeshPolicy::DoNotUpgrade) => Self { h2_upgrade_policy: H2UpgradePolicy::DoNotUpgrade },
            None => Self::default(),
        };
        Ok((defaults, warnings.into_warnings()))
    }
}

/// A text's document, of which there may be one or none.
fn only_document(name: &str, text: &str) -> Result<Option<Document>, MeshError> {
    let mut documents = yaml::documents(&Text::new(name, text.to_owned()))?.into_iter();
    let first = documents.next();
    match documents.next() {
        Some(second) => Err(second.unexpected("one document, the mesh's configuration").into()),
        None => Ok(first),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mesh_default_is_read_plain_or_from_istios_config_map() {
        let config_map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio}\ndata:\n  mesh: |\n    h2UpgradePolicy: UPGRADE\n";
        for (text, expected) in [
            ("", H2UpgradePolicy::DoNotUpgrade),
            ("accessLogFile: /dev/stdout\n", H2UpgradePolicy::DoNotUpgrade),
            ("h2UpgradePolicy: UPGRADE\n", H2UpgradePolicy::Upgrade),
            ("h2_upgrade_policy: UPGRADE\n", H2UpgradePolicy::Upgrade),
            ("h2UpgradePolicy: DO_NOT_UPGRADE\n", H2UpgradePolicy::DoNotUpgrade),
            (config_map, H2UpgradePolicy::Upgrade),
        ] {
            let (defaults, warnings) = MeshDefaults::parse("mesh.yaml", text).expect(text);
            assert_eq!((defaults.h2_upgrade_policy, &warnings[..]), (expected, &[][..]), "{text}");
        }
    }

    #[test]
    fn a_wrong_mesh_config_is_named_with_its_place() {
        for (text, expected) in [
            (
                "h2UpgradePolicy: yes\n",
                "mesh.yaml:1:18: h2UpgradePolicy: expected one of DO_NOT_UPGRADE, UPGRADE, found true",
            ),
            (
                "kind: ConfigMap\ndata: {mesh: 'h2UpgradePolicy: DEFAULT'}\n",
                "mesh.yaml (data.mesh):1:18: h2UpgradePolicy: expected one of DO_NOT_UPGRADE, UPGRADE, found \"DEFAULT\"",
            ),
            ("kind: ConfigMap\n", "mesh.yaml:1:1: data: expected a value, found nothing"),
            (
                "a: 1\n---\na: 1\n",
                "mesh.yaml:3:1: the document: expected one document, the mesh's configuration, found a mapping",
            ),
        ] {
            assert_eq!(MeshDefaults::parse("mesh.yaml", text).expect_err(text).to_string(), expected);
        }
    }
}
