//! From a document as it was written to the typed one: by kind and API version.

use std::sync::Arc;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::Documents;
use super::deployment::Deployment;
use super::destination_rule::DestinationRule;
use super::envoy_filter::EnvoyFilter;
use super::gateway::Gateway;
use super::manifest::Manifest;
use super::metadata::Metadata;
use super::secret::Secret;
use super::service::Service;
use super::virtual_service::VirtualService;
use crate::mesh::error::{MeshError, Warning};
use crate::mesh::kinds;
use crate::mesh::mesh_config::DeclaredMesh;
use crate::mesh::rule::Rule;
use crate::mesh::rules::NOT_PLAYED;
use crate::yaml::{self, Dialect, Document, NodeRef, Placed, Skip, Text, Unread};

/// What reading finds in a document that cannot be honoured.
#[derive(Debug, Default)]
pub(in crate::mesh) struct WarningCollector {
    collected: Vec<Warning>,
    /// What matters to gateways alone.
    of_gateways: Vec<Warning>,
}

impl WarningCollector {
    /// Warns of a value by the rule with which `lint` says the same.
    pub(in crate::mesh) fn warn<T>(&mut self, rule: &'static Rule, value: &Placed<T>, text: &str) {
        let text = format!("{}: {text}", value.path);
        self.collected.extend(value.place.clone().map(|place| Warning { place, text, rule }));
    }

    /// Warns of fields that no type took.
    pub(in crate::mesh) fn warn_of(&mut self, unread: Vec<Unread>) {
        self.collected.extend(unread.into_iter().map(|Unread { path, place }| Warning {
            place,
            text: format!("{path} is not implemented here: it is in force in a mesh alone"),
            rule: &NOT_PLAYED,
        }));
    }

    /// Reads a value at a path of its document, and warns of all fields in it that the type does
    /// not take.
    pub(in crate::mesh) fn read<'d, T: Deserialize<'d>>(
        &mut self,
        value: NodeRef<'d>,
        path: &str,
        dialect: Dialect,
    ) -> Result<T, yaml::Error> {
        let mut unread = Vec::new();
        let read = value.read_at(path, dialect, Some(&mut unread))?;
        self.warn_of(unread);
        Ok(read)
    }

    /// Reads the `spec` of a document, and warns of all fields that its type does not take.
    pub(super) fn spec<S: DeserializeOwned>(&mut self, manifest: &Manifest) -> Result<S, yaml::Error> {
        let Body { spec, .. } = self.read(manifest.document.root(), "", Dialect::Kubernetes)?;
        Ok(spec)
    }

    /// Reads what only gateways have, and keeps apart what is warned of.
    pub(super) fn for_gateways<T>(&mut self, read: impl FnOnce(&mut Self) -> T) -> T {
        let mut own = Self::default();
        let value = read(&mut own);
        self.of_gateways.append(&mut own.collected);
        value
    }

    /// In the order of the text.
    pub(in crate::mesh) fn into_warnings(self) -> Vec<Warning> {
        in_order(self.collected)
    }
}

fn in_order(mut warnings: Vec<Warning>) -> Vec<Warning> {
    warnings.sort_by_key(|warning| (warning.place.line, warning.place.column));
    warnings
}

/// The versions of Istio's networking API that are the same but for their names.
pub(super) const ISTIO: [&str; 3] =
    ["networking.istio.io/v1alpha3", "networking.istio.io/v1beta1", "networking.istio.io/v1"];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    api_version: String,
    kind: Placed<String>,
}

/// A document of any kind. What is not its `spec` is read elsewhere, or says nothing about how a
/// proxy behaves.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "they are known, though not read here")]
pub(super) struct Body<S> {
    api_version: Skip,
    kind: Skip,
    metadata: Skip,
    pub(super) spec: S,
    status: Option<Skip>,
}

#[derive(Deserialize)]
struct List {
    #[serde(default)]
    #[expect(dead_code, reason = "that it is a list is all that matters")]
    items: Vec<Skip>,
}

impl Documents {
    /// Reads the documents of a text; `refuse` decides what becomes of those that a cluster would
    /// not take.
    pub(in crate::mesh) fn read(
        &mut self,
        text: &Arc<Text>,
        refuse: &mut impl FnMut(MeshError) -> Result<(), MeshError>,
    ) -> Result<(), MeshError> {
        let documents = yaml::documents(text).map_err(|error| {
            let is_template = error.is_of_syntax() && text.text.contains("{{");
            if is_template { MeshError::Template(error) } else { error.into() }
        })?;
        documents.into_iter().try_for_each(|document| self.add(document, refuse))
    }

    /// Reads one document; a `List` is its items.
    fn add(
        &mut self,
        document: Document,
        refuse: &mut impl FnMut(MeshError) -> Result<(), MeshError>,
    ) -> Result<(), MeshError> {
        if DeclaredMesh::are_values(&document) {
            let added = DeclaredMesh::of(&document).map(|it| self.declared_meshes.extend(it));
            return added.or_else(refuse);
        }
        let Head { api_version, kind } = document.root().read(Dialect::Kubernetes)?;
        if kind.value == "List" && api_version == "v1" {
            let List { .. } = document.root().read(Dialect::Kubernetes)?;
            return document.into_items("items").into_iter().try_for_each(|item| self.add(item, refuse));
        }
        let manifest = Arc::new(Manifest { kind: kind.value.clone(), api_version, document });
        self.manifests.push(Arc::clone(&manifest));
        let mut warnings = WarningCollector::default();
        let added = self.add_typed(&manifest, &kind, &mut warnings);
        self.gateway_warnings.extend(in_order(std::mem::take(&mut warnings.of_gateways)));
        self.warnings.extend(warnings.into_warnings());
        added.or_else(refuse)
    }

    fn add_typed(
        &mut self,
        manifest: &Arc<Manifest>,
        kind: &Placed<String>,
        warnings: &mut WarningCollector,
    ) -> Result<(), MeshError> {
        let metadata = || Metadata::read(manifest);
        let api_version = manifest.api_version.as_str();
        if api_version == "apps/v1"
            && let Some(kind) = Deployment::KINDS.into_iter().find(|known| *known == manifest.kind)
        {
            return self.add_deployment(Deployment::read(kind, metadata()?)?);
        }
        match (manifest.kind.as_str(), api_version) {
            ("Service", "v1") => self.add_service(Service::read(metadata()?, warnings)?),
            ("DestinationRule", version) if ISTIO.contains(&version) => {
                self.add_destination_rule(DestinationRule::read(metadata()?, warnings)?)
            }
            ("VirtualService", version) if ISTIO.contains(&version) => {
                self.add_virtual_service(VirtualService::read(metadata()?, warnings)?)
            }
            ("Gateway", version) if ISTIO.contains(&version) => {
                self.add_gateway(Gateway::read(metadata()?, warnings)?)
            }
            ("Secret", "v1") => self.add_secret(Secret::read(metadata()?)?),
            ("EnvoyFilter", "networking.istio.io/v1alpha3") => {
                self.add_envoy_filter(EnvoyFilter::read(metadata()?, warnings)?)
            }
            (name, _) => {
                if let Some(rule) = kinds::left_out(manifest) {
                    let text = format!(
                        "{name} ({api_version}) is not read here: what it does in a mesh is not known"
                    );
                    let place = kind.place.clone();
                    warnings.collected.extend(place.map(|place| Warning { place, text, rule }));
                }
                self.declared_meshes.extend(DeclaredMesh::of(&manifest.document)?);
                Ok(())
            }
        }
    }
}
