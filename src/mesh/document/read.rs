//! From a YAML document to the typed one: by kind and API version.

use super::Documents;
use super::Manifest;
use super::deployment::Deployment;
use super::destination_rule::DestinationRule;
use super::envoy_filter::EnvoyFilter;
use super::service::Service;
use super::virtual_service::VirtualService;
use crate::mesh::field::{Field, Fields};
use crate::mesh::place::{MeshError, Places, Warning};

/// What reading finds beside the documents: what cannot be honoured, and where everything is.
#[derive(Debug, Default)]
pub(in crate::mesh) struct Reading {
    pub(in crate::mesh) warnings: Vec<Warning>,
    /// Of the documents that become a proxy's configuration.
    pub(in crate::mesh) places: Places,
    pub(in crate::mesh) manifests: Vec<Manifest>,
}

impl Reading {
    pub(in crate::mesh) fn warn(&mut self, warning: Warning) {
        self.warnings.push(warning);
    }

    pub(in crate::mesh) fn warn_of_rest(&mut self, fields: Fields) {
        fields.warn_of_rest(&mut self.warnings);
    }
}

/// The versions of Istio's networking API that are the same but for their names.
const ISTIO: &[&str] =
    &["networking.istio.io/v1alpha3", "networking.istio.io/v1beta1", "networking.istio.io/v1"];

/// Reads one document into `documents`; a `List` is its items.
pub(in crate::mesh) fn read(
    document: Field,
    documents: &mut Documents,
    reading: &mut Reading,
) -> Result<(), MeshError> {
    let mut places = Places::default();
    document.note_places(&mut places);
    let manifest = Manifest { json: document.to_exact_json(), place: document.place().clone() };
    let mut fields = document.fields()?;
    let api_version = fields.required("apiVersion")?;
    let kind = fields.required("kind")?;
    let place = kind.place().clone();
    let (api_version, kind) = (api_version.text()?, kind.text()?);
    fields.ignore(&["status"]);
    if ISTIO.contains(&api_version.as_str()) {
        reading.places.extend(places);
    }
    if kind != "List" {
        reading.manifests.push(manifest);
    }
    if api_version == "apps/v1"
        && let Some(kind) = Deployment::KINDS.into_iter().find(|known| *known == kind)
    {
        return documents.add_deployment(Deployment::read(kind, fields)?);
    }
    match (kind.as_str(), api_version.as_str()) {
        ("List", "v1") => {
            for item in fields.items("items")? {
                read(item, documents, reading)?;
            }
            Ok(())
        }
        ("Service", "v1") => documents.add_service(Service::read(fields, reading)?),
        ("DestinationRule", version) if ISTIO.contains(&version) => {
            documents.add_destination_rule(DestinationRule::read(fields, reading)?)
        }
        ("VirtualService", version) if ISTIO.contains(&version) => {
            documents.add_virtual_service(VirtualService::read(fields, reading)?)
        }
        ("EnvoyFilter", "networking.istio.io/v1alpha3") => {
            documents.add_envoy_filter(EnvoyFilter::read(fields, reading)?)
        }
        // They say nothing about how a proxy behaves.
        ("Namespace" | "ServiceAccount", "v1") => Ok(()),
        _ => {
            let text = format!("{kind} ({api_version}) is not read here and has no effect");
            reading.warn(Warning { place, text });
            Ok(())
        }
    }
}
