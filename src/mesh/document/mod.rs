//! The documents, typed: what was written, with nothing decided yet about whom it applies to.

mod deployment;
mod destination_rule;
mod envoy_filter;
mod metadata;
mod read;
mod service;
mod virtual_service;

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, OnceLock};

pub(super) use deployment::Deployment;
pub use destination_rule::H2UpgradePolicy;
pub(super) use destination_rule::{ConnectionPool, DestinationRule, Subset, TrafficPolicy};
pub(super) use envoy_filter::{
    ConfigPatch, EnvoyFilter, HTTP_CONNECTION_MANAGER, ListenerMatch, PatchContext,
};
pub(crate) use metadata::ROOT_NAMESPACE;
pub(super) use metadata::{DEFAULT_NAMESPACE, Metadata, selects};
pub(super) use read::{Reading, read};
pub use service::Service;
pub(super) use service::{PortProtocol, ServicePort, TargetPort};
pub(super) use virtual_service::{Destination, HttpAction, VirtualService};

use super::config::Workload;
use super::field::Field;
use super::index::Index;
use super::place::{Duplicate, MeshError, Place, Places, Warning};
use super::yaml;

/// A set of Kubernetes and Istio documents.
#[derive(Debug, Clone, Default)]
pub struct Documents {
    services: Vec<Service>,
    deployments: Vec<Deployment>,
    destination_rules: Vec<DestinationRule>,
    virtual_services: Vec<VirtualService>,
    envoy_filters: Vec<EnvoyFilter>,
    warnings: Vec<Warning>,
    places: Places,
    manifests: Vec<Manifest>,
    /// Where each kind, namespace and name is.
    names: HashMap<(&'static str, String, String), Place>,
    /// Made when it is first asked for, of all documents that are there then.
    index: OnceLock<Index>,
}

/// A document as it was written, of whatever kind.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    /// All of it.
    pub json: serde_json::Value,
    /// Where it is.
    pub place: Place,
}

impl Documents {
    /// Reads the documents of one text; `name` is what messages call it.
    pub fn parse(name: &str, text: &str) -> Result<Self, MeshError> {
        let file = Arc::from(name);
        let mut documents = Self::default();
        let mut reading = Reading::default();
        for document in yaml::documents(&file, text)? {
            read(Field::document(&file, document), &mut documents, &mut reading)?;
        }
        reading.warnings.sort_by_key(|warning| (warning.place.line, warning.place.column));
        documents.warnings = reading.warnings;
        documents.places = reading.places;
        documents.manifests = reading.manifests;
        Ok(documents)
    }

    /// Adds other documents to these; no two may have the same kind, namespace and name.
    pub fn merge(&mut self, other: Self) -> Result<(), MeshError> {
        other.services.into_iter().try_for_each(|service| self.add_service(service))?;
        other.deployments.into_iter().try_for_each(|deployment| self.add_deployment(deployment))?;
        other.destination_rules.into_iter().try_for_each(|rule| self.add_destination_rule(rule))?;
        other.virtual_services.into_iter().try_for_each(|service| self.add_virtual_service(service))?;
        other.envoy_filters.into_iter().try_for_each(|filter| self.add_envoy_filter(filter))?;
        self.warnings.extend(other.warnings);
        self.places.extend(other.places);
        self.manifests.extend(other.manifests);
        Ok(())
    }

    /// What in these documents cannot be honoured.
    #[must_use]
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// The documents as they were written, of every kind, in the order in which they were read.
    #[must_use]
    pub fn manifests(&self) -> &[Manifest] {
        &self.manifests
    }

    /// Where the Istio documents among these say what.
    #[must_use]
    pub fn places(&self) -> &Places {
        &self.places
    }

    /// The Services, in the order in which they were read.
    #[must_use]
    pub fn services(&self) -> &[Service] {
        &self.services
    }

    pub(super) fn deployments(&self) -> &[Deployment] {
        &self.deployments
    }

    pub(super) fn destination_rules(&self) -> &[DestinationRule] {
        &self.destination_rules
    }

    pub(super) fn virtual_services(&self) -> &[VirtualService] {
        &self.virtual_services
    }

    pub(super) fn envoy_filters(&self) -> &[EnvoyFilter] {
        &self.envoy_filters
    }

    pub(super) fn index(&self) -> &Index {
        self.index.get_or_init(|| Index::new(self))
    }

    /// Finds a Service by `NAME` or `NAMESPACE/NAME`.
    pub fn service(&self, name: &str) -> Result<&Service, MeshError> {
        find("Service", name, &self.services, |service| &service.metadata)
    }

    /// Finds the workload of a Deployment, or of another kind with a pod template, by `NAME` or `NAMESPACE/NAME`.
    pub fn workload(&self, deployment: &str) -> Result<Workload, MeshError> {
        self.deployment(deployment).map(Deployment::workload)
    }

    pub(super) fn deployment(&self, name: &str) -> Result<&Deployment, MeshError> {
        find("Deployment", name, &self.deployments, |deployment| &deployment.metadata)
    }

    /// The namespace of the documents, if they share one beside Istio's root namespace; else `default`.
    #[must_use]
    pub fn namespace(&self) -> &str {
        let namespaces: BTreeSet<&str> = self
            .metadata()
            .map(|metadata| metadata.namespace.as_str())
            .filter(|&namespace| namespace != ROOT_NAMESPACE)
            .collect();
        match namespaces.first() {
            Some(namespace) if namespaces.len() == 1 => namespace,
            _ => DEFAULT_NAMESPACE,
        }
    }

    fn metadata(&self) -> impl Iterator<Item = &Metadata> {
        let services = self.services.iter().map(|document| &document.metadata);
        let deployments = self.deployments.iter().map(|document| &document.metadata);
        let destination_rules = self.destination_rules.iter().map(|document| &document.metadata);
        let virtual_services = self.virtual_services.iter().map(|document| &document.metadata);
        let envoy_filters = self.envoy_filters.iter().map(|document| &document.metadata);
        services.chain(deployments).chain(destination_rules).chain(virtual_services).chain(envoy_filters)
    }

    pub(super) fn add_service(&mut self, service: Service) -> Result<(), MeshError> {
        self.note("Service", &service.metadata)?;
        self.services.push(service);
        Ok(())
    }

    pub(super) fn add_deployment(&mut self, deployment: Deployment) -> Result<(), MeshError> {
        self.note(deployment.kind, &deployment.metadata)?;
        self.deployments.push(deployment);
        Ok(())
    }

    fn add_destination_rule(&mut self, rule: DestinationRule) -> Result<(), MeshError> {
        self.note("DestinationRule", &rule.metadata)?;
        self.destination_rules.push(rule);
        Ok(())
    }

    fn add_virtual_service(&mut self, service: VirtualService) -> Result<(), MeshError> {
        self.note("VirtualService", &service.metadata)?;
        self.virtual_services.push(service);
        Ok(())
    }

    fn add_envoy_filter(&mut self, filter: EnvoyFilter) -> Result<(), MeshError> {
        self.note("EnvoyFilter", &filter.metadata)?;
        self.envoy_filters.push(filter);
        Ok(())
    }

    /// Takes note of a document that is added, if there is none of its kind, namespace and name.
    fn note(&mut self, kind: &'static str, metadata: &Metadata) -> Result<(), MeshError> {
        let Metadata { name, namespace, place, .. } = metadata;
        match self.names.entry((kind, namespace.clone(), name.clone())) {
            Entry::Occupied(first) => Err(MeshError::Duplicate(Box::new(Duplicate {
                kind,
                namespace: namespace.clone(),
                name: name.clone(),
                first: first.get().clone(),
                second: place.clone(),
            }))),
            Entry::Vacant(entry) => {
                entry.insert(place.clone());
                self.index = OnceLock::new();
                Ok(())
            }
        }
    }
}

fn find<'d, T>(
    kind: &'static str,
    asked: &str,
    documents: &'d [T],
    metadata: impl Fn(&T) -> &Metadata,
) -> Result<&'d T, MeshError> {
    let (namespace, name) =
        asked.split_once('/').map_or((None, asked), |(namespace, name)| (Some(namespace), name));
    let mut found = documents.iter().filter(|document| {
        let metadata = metadata(document);
        metadata.name == name && namespace.is_none_or(|namespace| metadata.namespace == namespace)
    });
    let Some(first) = found.next() else {
        let names = documents.iter().map(|document| metadata(document).name.as_str());
        return Err(MeshError::Unknown { kind, name: asked.to_owned(), near: most_similar(name, names) });
    };
    let others: Vec<&T> = found.collect();
    if others.is_empty() {
        return Ok(first);
    }
    let namespaces =
        [first].into_iter().chain(others).map(|document| metadata(document).namespace.clone()).collect();
    Err(MeshError::Ambiguous { kind, name: name.to_owned(), namespaces })
}

/// The name that most likely was meant.
fn most_similar<'n>(name: &str, names: impl Iterator<Item = &'n str>) -> Option<String> {
    names
        .map(|candidate| (strsim::jaro_winkler(name, candidate), candidate))
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, candidate)| candidate.to_owned())
}
