//! Istio's `MeshConfig`, as far as it decides something here, the mesh-wide `h2UpgradePolicy`, and
//! where people have it: plain, in Istio's `ConfigMap`, in an `IstioOperator`, in Sail's `Istio`, or
//! in the values of Helm.

use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;

use super::config::Workload;
use super::document::{Documents, H2UpgradePolicy, WarningCollector};
use super::error::{MeshError, Warning};
use super::rules::MESH_CONFIGS_DIFFER;
use super::source::text_of_file;
use crate::yaml::{self, Dialect, Document, NodeRef, Place, Skip, Text};

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
struct ConfigMap {
    data: ConfigMapData,
}

#[derive(Deserialize)]
struct ConfigMapData {
    mesh: String,
}

/// Where the values of Helm have the mesh's configuration.
const OF_VALUES: &str = "meshConfig";

/// A configuration of the mesh that stands among documents.
#[derive(Debug, Clone)]
pub(super) struct DeclaredMesh {
    pub(super) place: Place,
    /// The document that has it, which of a `ConfigMap` is the text in it.
    document: Arc<Document>,
    /// Where it is in that; empty: it is all of it.
    pub(super) path: String,
    /// The `ConfigMap` with that text.
    config_map: Option<Arc<Document>>,
    /// None where it says nothing of it.
    policy: Option<H2UpgradePolicy>,
}

impl MeshDefaults {
    /// Reads a file that holds a `MeshConfig`, as it is or where a cluster or who installs one has
    /// it.
    pub fn load(path: &Path) -> Result<(Self, Vec<Warning>), MeshError> {
        let text = text_of_file(path).map_err(|source| MeshError::Read { path: path.to_owned(), source })?;
        Self::parse(&path.display().to_string(), &text)
    }

    /// Reads such a text; `name` is what messages call it.
    pub fn parse(name: &str, text: &str) -> Result<(Self, Vec<Warning>), MeshError> {
        let mut warnings = WarningCollector::default();
        let policy = match only_document(name, text)? {
            None => return Err(MeshError::NoDocument { sources: name.to_owned() }),
            Some(document) if is_config_map(&document) => {
                let inner = text_of_config_map(name, &document)?;
                policy_of_config_map(&document, inner.as_ref(), &mut warnings)?
            }
            Some(document) if has_a_kind(&document) || !paths_in(&document).is_empty() => {
                let mut policy = None;
                for path in paths_in(&document) {
                    if let Some(config) = document.at(&path) {
                        policy = policy.or(policy_of(config, &path, &mut warnings)?);
                    }
                }
                policy
            }
            Some(document) => policy_of(document.root(), "", &mut warnings)?,
        };
        let defaults = policy.map_or_else(Self::default, |h2_upgrade_policy| Self { h2_upgrade_policy });
        Ok((defaults, warnings.into_warnings()))
    }
}

impl Documents {
    /// What the mesh does where no document says otherwise: what was given, else what the
    /// documents say where people have it, the last of several, else Istio's default.
    #[must_use]
    pub fn mesh(&self, given: Option<&MeshDefaults>) -> MeshDefaults {
        let declared = || self.declared_meshes().iter().rev().find_map(|it| it.policy);
        let of_documents = || declared().map(|h2_upgrade_policy| MeshDefaults { h2_upgrade_policy });
        given.cloned().or_else(of_documents).unwrap_or_default()
    }

    /// The first configuration of the mesh that contradicts one before it.
    #[must_use]
    pub fn contradicting_mesh(&self) -> Option<Warning> {
        let mut declared = self.declared_meshes().iter().filter_map(|it| Some((&it.place, it.policy?)));
        let (at, first) = declared.next()?;
        let (place, _) = declared.find(|(_, other)| *other != first)?;
        let (here, there) = match first {
            H2UpgradePolicy::Upgrade => ("DO_NOT_UPGRADE", "UPGRADE"),
            _ => ("UPGRADE", "DO_NOT_UPGRADE"),
        };
        let text = format!("the mesh's h2UpgradePolicy is {here} here and {there} at {at}");
        Some(Warning { place: place.clone(), text, rule: &MESH_CONFIGS_DIFFER })
    }
}

/// Istio's `ProxyConfig`, as far as it decides about a gateway's connection managers.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct ProxyConfig {
    gateway_topology: Topology,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Topology {
    num_trusted_proxies: u32,
}

impl Documents {
    /// `gatewayTopology.numTrustedProxies` of a gateway's pods, by their annotation
    /// `proxy.istio.io/config`: how many proxies before the gateway are believed.
    pub(super) fn trusted_proxies(&self, workload: &Workload) -> u32 {
        let name = format!("{}/{}", workload.namespace, workload.name);
        let config = self.deployment(&name).ok().and_then(|deployment| deployment.proxy_config.as_deref());
        let document =
            config.and_then(|config| only_document("proxy.istio.io/config", config).ok().flatten());
        let read = document.and_then(|document| document.root().read::<ProxyConfig>(Dialect::Protobuf).ok());
        read.unwrap_or_default().gateway_topology.num_trusted_proxies
    }
}

impl DeclaredMesh {
    /// That of a document: Istio's `ConfigMap` (of any revision), an `IstioOperator`, Sail's
    /// `Istio`, or Helm's values. None if the document is no such. What else is in it is not
    /// looked at.
    ///
    /// # Errors
    /// It says something that Istio does not know.
    pub(super) fn of(document: &Document) -> Result<Option<Self>, MeshError> {
        let warnings = &mut WarningCollector::default();
        if is_config_map(document) {
            let name = document.at("metadata.name").and_then(NodeRef::text).unwrap_or_default();
            let Some(config) = document.at("data.mesh") else { return Ok(None) };
            if name != "istio" && !name.starts_with("istio-") {
                return Ok(None);
            }
            let place = config.place();
            let inner = text_of_config_map(&place.file, document)?;
            let policy = policy_of_config_map(document, inner.as_ref(), warnings)?;
            return Ok(inner.map(|inner| Self {
                place,
                policy,
                document: Arc::new(inner),
                path: String::new(),
                config_map: Some(Arc::new(document.clone())),
            }));
        }
        let mut declared = None;
        for path in paths_in(document) {
            let Some(config) = document.at(&path) else { continue };
            let policy = policy_of(config, &path, warnings)?;
            let place = document.place_of(&format!("{path}.h2UpgradePolicy"));
            let found = Self { place, policy, document: Arc::new(document.clone()), path, config_map: None };
            if policy.is_some() {
                return Ok(Some(found));
            }
            declared.get_or_insert(found);
        }
        Ok(declared)
    }

    /// The configuration, as it was written.
    pub(super) fn config(&self) -> Option<NodeRef<'_>> {
        if self.path.is_empty() { Some(self.document.root()) } else { self.document.at(&self.path) }
    }

    /// Where in the documents a place in the configuration is.
    pub(super) fn place_in_documents(&self, place: Place) -> Place {
        let text = self.config_map.as_ref().and_then(|config_map| config_map.at("data.mesh"));
        text.and_then(|text| text.place_within(&place)).unwrap_or(place)
    }

    /// Whether a document that is none of Kubernetes' is Helm's values with such a configuration.
    pub(super) fn are_values(document: &Document) -> bool {
        !has_a_kind(document) && document.at("apiVersion").is_none() && !paths_in(document).is_empty()
    }
}

fn kind(document: &Document) -> &str {
    document.at("kind").and_then(NodeRef::text).unwrap_or_default()
}

fn has_a_kind(document: &Document) -> bool {
    !kind(document).is_empty()
}

fn is_config_map(document: &Document) -> bool {
    kind(document) == "ConfigMap"
}

/// Where a document of its kind has the mesh's configuration; what is first in it counts. Helm's
/// values have that of a chart inside another one under the chart's name.
fn paths_in(document: &Document) -> Vec<String> {
    let paths: &[&str] = match kind(document) {
        "IstioOperator" => &["spec.meshConfig", "spec.values.meshConfig"],
        "Istio" | "IstioRevision" => &["spec.values.meshConfig"],
        "" => {
            let is_mapping = |node: &NodeRef<'_>| node.entries().len() > 0;
            let own = document.at(OF_VALUES).map(|_| OF_VALUES.to_owned());
            let charts = document.root().entries();
            let of_charts = charts.filter(|chart| chart.at(OF_VALUES).as_ref().is_some_and(is_mapping));
            let of_charts = of_charts.filter_map(NodeRef::key).filter(|name| !name.contains('.'));
            return own.into_iter().chain(of_charts.map(|name| format!("{name}.{OF_VALUES}"))).collect();
        }
        _ => &[],
    };
    paths.iter().map(|path| (*path).to_owned()).collect()
}

/// The document in the key `mesh` of Istio's `ConfigMap`; `name` is what messages call the file.
fn text_of_config_map(name: &str, document: &Document) -> Result<Option<Document>, MeshError> {
    let ConfigMap { data: ConfigMapData { mesh } } = document.root().read(Dialect::Kubernetes)?;
    let inner = only_document(&format!("{name} (data.mesh)"), &mesh);
    inner.map_err(|error| in_config_map(document, error))
}

/// What that document says.
fn policy_of_config_map(
    document: &Document,
    inner: Option<&Document>,
    warnings: &mut WarningCollector,
) -> Result<Option<H2UpgradePolicy>, MeshError> {
    let policy = inner.map(|inner| policy_of(inner.root(), "", warnings)).transpose();
    policy.map(Option::flatten).map_err(|error| in_config_map(document, error))
}

/// The error with its place in the file, as far as that is known.
fn in_config_map(document: &Document, error: MeshError) -> MeshError {
    let text = document.at("data.mesh");
    match error {
        MeshError::Document(error) => {
            MeshError::Document(error.moved(|place| text.and_then(|text| text.place_within(place))))
        }
        other => other,
    }
}

fn policy_of(
    config: NodeRef<'_>,
    path: &str,
    warnings: &mut WarningCollector,
) -> Result<Option<H2UpgradePolicy>, MeshError> {
    let config: MeshConfig = warnings.read(config, path, Dialect::Protobuf)?;
    Ok(config.h2_upgrade_policy.map(|policy| match policy {
        MeshPolicy::Upgrade => H2UpgradePolicy::Upgrade,
        MeshPolicy::DoNotUpgrade => H2UpgradePolicy::DoNotUpgrade,
    }))
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
            ("istiod: {meshConfig: {h2UpgradePolicy: UPGRADE}}\nglobal: {}\n", H2UpgradePolicy::Upgrade),
            ("accessLogFile: /dev/stdout\n", H2UpgradePolicy::DoNotUpgrade),
            ("h2UpgradePolicy: UPGRADE\n", H2UpgradePolicy::Upgrade),
            ("h2_upgrade_policy: UPGRADE\n", H2UpgradePolicy::Upgrade),
            ("h2UpgradePolicy: DO_NOT_UPGRADE\n", H2UpgradePolicy::DoNotUpgrade),
            ("meshConfig: {h2UpgradePolicy: UPGRADE}\nglobal: {}\n", H2UpgradePolicy::Upgrade),
            (
                "kind: IstioOperator\nspec: {meshConfig: {h2UpgradePolicy: UPGRADE}}\n",
                H2UpgradePolicy::Upgrade,
            ),
            (
                "kind: Istio\nspec: {values: {meshConfig: {h2UpgradePolicy: UPGRADE}}}\n",
                H2UpgradePolicy::Upgrade,
            ),
            (config_map, H2UpgradePolicy::Upgrade),
        ] {
            let (defaults, warnings) = MeshDefaults::parse("mesh.yaml", text).expect(text);
            assert_eq!((defaults.h2_upgrade_policy, &warnings[..]), (expected, &[][..]), "{text}");
        }
    }

    #[test]
    fn a_wrong_mesh_config_is_named_with_its_place() {
        for (text, expected) in [
            ("# nothing\n", "mesh.yaml: no document: nothing but comments and empty ones"),
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
