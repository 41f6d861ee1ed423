//! Istio's `MeshConfig`, as far as it decides something here: the mesh-wide `h2UpgradePolicy`.

use std::path::Path;
use std::sync::Arc;

use super::document::{H2UpgradePolicy, Reading};
use super::field::{Field, Fields};
use super::place::{MeshError, Warning};
use super::source::text_of_file;
use super::yaml;

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

/// Fields that say nothing about what is implemented here, or that an option of the sidecar says.
const WITHOUT_BEARING: &[&str] = &[
    "accessLogEncoding",
    "accessLogFile",
    "defaultConfig",
    "defaultProviders",
    "enablePrometheusMerge",
    "enableTracing",
    "extensionProviders",
    "outboundTrafficPolicy",
];

impl MeshDefaults {
    /// Reads a file that holds either a `MeshConfig` or the `ConfigMap` that Istio keeps it in (`istio`, key `mesh`).
    pub fn load(path: &Path) -> Result<(Self, Vec<Warning>), MeshError> {
        let text = text_of_file(path).map_err(|source| MeshError::Read { path: path.to_owned(), source })?;
        Self::parse(&path.display().to_string(), &text)
    }

    /// Reads such a text; `name` is what messages call it.
    pub fn parse(name: &str, text: &str) -> Result<(Self, Vec<Warning>), MeshError> {
        let Some(mut fields) = only_document(name, text)? else { return Ok((Self::default(), Vec::new())) };
        let mut reading = Reading::default();
        let defaults = match fields.take("kind").map(Field::text).transpose()?.as_deref() {
            Some("ConfigMap") => {
                let inner = fields.required("data")?.fields()?.required("mesh")?.text()?;
                match only_document(&format!("{name} (data.mesh)"), &inner)? {
                    Some(fields) => Self::read(fields, &mut reading)?,
                    None => Self::default(),
                }
            }
            _ => Self::read(fields, &mut reading)?,
        };
        Ok((defaults, reading.warnings))
    }

    fn read(mut config: Fields, reading: &mut Reading) -> Result<Self, MeshError> {
        config.ignore(WITHOUT_BEARING);
        let mut defaults = Self::default();
        if let Some(policy) = config.take("h2UpgradePolicy") {
            defaults.h2_upgrade_policy = policy.choice(&[
                ("DO_NOT_UPGRADE", H2UpgradePolicy::DoNotUpgrade),
                ("UPGRADE", H2UpgradePolicy::Upgrade),
            ])?;
        }
        reading.warn_of_rest(config);
        Ok(defaults)
    }
}

/// The fields of a text's document, of which there may be one or none.
fn only_document(name: &str, text: &str) -> Result<Option<Fields>, MeshError> {
    let file = Arc::from(name);
    let mut documents =
        yaml::documents(&file, text)?.into_iter().map(|document| Field::document(&file, document));
    let Some(first) = documents.next() else { return Ok(None) };
    if let Some(second) = documents.next() {
        return Err(second.unexpected("one document, the mesh's configuration"));
    }
    first.into_protobuf().fields().map(Some)
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
