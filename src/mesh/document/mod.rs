//! The documents, typed: what was written, with nothing decided yet about whom it applies to.

mod deployment;
mod destination_rule;
mod envoy_filter;
mod gateway;
mod manifest;
mod metadata;
mod read;
mod secret;
mod service;
mod virtual_service;

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, OnceLock};

pub(super) use deployment::Deployment;
pub use destination_rule::H2UpgradePolicy;
pub(super) use destination_rule::{ConnectionPool, DestinationRule, Subset, TrafficPolicy};
pub(crate) use envoy_filter::ConnectionManagerFilter;
pub(super) use envoy_filter::{
    ConfigPatch, EnvoyFilter, HTTP_CONNECTION_MANAGER, HTTP_CONNECTION_MANAGER_TYPE, ListenerMatch,
    PatchContext, PatchedRoute,
};
pub(super) use gateway::{Gateway, Server, ServerProtocol, ServerTls, TlsMode, TlsVersion};
pub use manifest::{Manifest, Places};
pub(crate) use metadata::ROOT_NAMESPACE;
pub(super) use metadata::{DEFAULT_NAMESPACE, Metadata, selects};
pub(super) use read::WarningCollector;
pub(super) use secret::Secret;
pub use service::Service;
pub(super) use service::{PortProtocol, ServicePort, TargetPort, is_never_http};
pub(super) use virtual_service::{
    Destination, HttpAction, HttpMatchRequest, HttpRoute, ProxyRole, RoutedProxy, VirtualService,
    WeightedDestination, resolve_gateway,
};

use serde::Deserialize;

use super::config::Workload;
use super::error::{Duplicate, MeshError, Warning};
use super::host::resolve;
use super::index::Index;
use super::mesh_config::DeclaredMesh;
use crate::nearest::nearest;
use crate::yaml::{Place, Text, Within};

/// A TCP port.
pub(super) type Port = Within<u16, 1, 65_535>;

/// Istio's `PortSelector`.
#[derive(Deserialize)]
struct PortSelector {
    number: Port,
}

/// Protobuf's largest `int32`; of most numbers Istio wants no negative ones.
const INT32_MAX: i64 = i32::MAX as i64;

/// A set of Kubernetes and Istio documents.
#[derive(Debug, Clone, Default)]
pub struct Documents {
    services: Vec<Service>,
    deployments: Vec<Deployment>,
    destination_rules: Vec<DestinationRule>,
    virtual_services: Vec<VirtualService>,
    envoy_filters: Vec<EnvoyFilter>,
    gateways: Vec<Gateway>,
    secrets: Vec<Secret>,
    warnings: Vec<Warning>,
    /// What matters to gateways alone.
    gateway_warnings: Vec<Warning>,
    /// All documents, also those of kinds that are not typed.
    manifests: Vec<Arc<Manifest>>,
    /// The configurations of the mesh among them.
    declared_meshes: Vec<DeclaredMesh>,
    /// The document of each kind, namespace and name.
    names: HashMap<(&'static str, String, String), Arc<Manifest>>,
    /// Made when it is first asked for, of all documents that are there then.
    index: OnceLock<Index>,
}

impl Documents {
    /// Reads the documents of one text; `name` is what messages call it.
    pub fn parse(name: &str, text: &str) -> Result<Self, MeshError> {
        let mut documents = Self::default();
        documents.read(&Text::new(name, text.to_owned()), &mut Err)?;
        Ok(documents)
    }

    /// Adds other documents to these; no two may have the same kind, namespace and name.
    pub fn merge(&mut self, other: Self) -> Result<(), MeshError> {
        other.services.into_iter().try_for_each(|service| self.add_service(service))?;
        other.deployments.into_iter().try_for_each(|deployment| self.add_deployment(deployment))?;
        other.destination_rules.into_iter().try_for_each(|rule| self.add_destination_rule(rule))?;
        other.virtual_services.into_iter().try_for_each(|service| self.add_virtual_service(service))?;
        other.envoy_filters.into_iter().try_for_each(|filter| self.add_envoy_filter(filter))?;
        other.gateways.into_iter().try_for_each(|gateway| self.add_gateway(gateway))?;
        other.secrets.into_iter().try_for_each(|secret| self.add_secret(secret))?;
        self.warnings.extend(other.warnings);
        self.gateway_warnings.extend(other.gateway_warnings);
        self.manifests.extend(other.manifests);
        self.declared_meshes.extend(other.declared_meshes);
        Ok(())
    }

    /// What in these documents cannot be honoured.
    #[must_use]
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// What in these documents a gateway cannot honour, beside what no proxy can.
    #[must_use]
    pub fn gateway_warnings(&self) -> &[Warning] {
        &self.gateway_warnings
    }

    /// The documents as they were written, of every kind, in the order in which they were read.
    #[must_use]
    pub fn manifests(&self) -> &[Arc<Manifest>] {
        &self.manifests
    }

    /// The configurations of the mesh, in the order in which they were read.
    pub(super) fn declared_meshes(&self) -> &[DeclaredMesh] {
        &self.declared_meshes
    }

    /// Where the Istio documents among these say what.
    #[must_use]
    pub fn places(&self) -> Places {
        let manifests = self.manifests.iter();
        let of_istio = manifests.filter(|manifest| read::ISTIO.contains(&manifest.api_version.as_str()));
        Places(of_istio.cloned().collect())
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

    pub(super) fn gateways(&self) -> &[Gateway] {
        &self.gateways
    }

    /// The Secret of that name in a namespace.
    pub(super) fn secret(&self, namespace: &str, name: &str) -> Option<&Secret> {
        let is_it = |secret: &&Secret| secret.metadata.name == name && secret.metadata.namespace == namespace;
        self.secrets.iter().find(is_it)
    }

    pub(super) fn index(&self) -> &Index {
        self.index.get_or_init(|| Index::new(self))
    }

    /// Finds a Service by `NAME` or `NAMESPACE/NAME`.
    pub fn service(&self, name: &str) -> Result<&Service, MeshError> {
        find("Service", name, &self.services, |service| &service.metadata)
    }

    /// Finds the workload of a Deployment, or of another kind with a pod template, by `NAME` or
    /// `NAMESPACE/NAME`.
    pub fn workload(&self, deployment: &str) -> Result<Workload, MeshError> {
        self.deployment(deployment).map(Deployment::workload)
    }

    pub(super) fn deployment(&self, name: &str) -> Result<&Deployment, MeshError> {
        find("Deployment", name, &self.deployments, |deployment| &deployment.metadata)
    }

    /// The namespace of the documents, if they share one beside Istio's root namespace; else
    /// `default`.
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

    fn add_gateway(&mut self, gateway: Gateway) -> Result<(), MeshError> {
        self.note("Gateway", &gateway.metadata)?;
        self.gateways.push(gateway);
        Ok(())
    }

    fn add_secret(&mut self, secret: Secret) -> Result<(), MeshError> {
        self.note("Secret", &secret.metadata)?;
        self.secrets.push(secret);
        Ok(())
    }

    /// Takes note of a document that is added, if there is none of its kind, namespace and name.
    fn note(&mut self, kind: &'static str, metadata: &Metadata) -> Result<(), MeshError> {
        let Metadata { name, namespace, manifest, .. } = metadata;
        match self.names.entry((kind, namespace.clone(), name.clone())) {
            Entry::Occupied(first) => Err(MeshError::Duplicate(Box::new(Duplicate {
                kind,
                namespace: namespace.clone(),
                name: name.clone(),
                first: first.get().place(),
                second: manifest.place(),
            }))),
            Entry::Vacant(entry) => {
                entry.insert(Arc::clone(manifest));
                self.index = OnceLock::new();
                Ok(())
            }
        }
    }
}

/// What a set of documents is about, and what it takes from the built-in ones where it is not
/// complete: only the Service and the two Deployments, never a `DestinationRule` or an
/// `EnvoyFilter`, whose absence means something.
impl Documents {
    /// The Service that a `DestinationRule`'s host names, of the first rule that names one.
    #[must_use]
    pub fn service_of_destination_rule(&self) -> Option<&Service> {
        self.services_of_destination_rules().next().map(|(service, _)| service)
    }

    /// The Services that `DestinationRule`s are about, in the order of the rules, with the places
    /// where these name them.
    pub fn services_of_destination_rules(&self) -> impl Iterator<Item = (&Service, Place)> {
        self.destination_rules().iter().filter_map(|rule| {
            let host = resolve(&rule.host, &rule.metadata.namespace);
            Some((self.service_with_host(&host)?, rule.metadata.document().place_of("spec.host")))
        })
    }

    /// Where the ports of a Service are written, if it is one of these documents.
    #[must_use]
    pub fn place_of_service(&self, service: &Service) -> Option<Place> {
        let found = self.service_with_host(&service.host())?;
        Some(found.metadata.document().place_of("spec.ports"))
    }

    /// Where the routes of a host are written, if a `VirtualService` for it has some.
    #[must_use]
    pub fn place_of_routes(&self, host: &str) -> Option<Place> {
        let found = self.virtual_services_for(host).into_iter().find(|(_, it)| it.is_for_sidecars());
        found.map(|(_, it)| it.metadata.document().place_of("spec.http"))
    }

    /// Where routes to a Service are written that this client does not have on this port, and who does,
    /// in words: clients with other labels or of another namespace, or those that dial another port.
    #[must_use]
    pub fn routes_of_others(&self, service: &Service, client: &Workload, port: u16) -> Vec<(Place, String)> {
        let found = self.virtual_services_for(&service.host()).into_iter();
        let Some((_, found)) = found.into_iter().find(|(_, it)| it.is_for_sidecars()) else {
            return Vec::new();
        };
        let place = found.metadata.document().place_of("spec.http");
        let proxy = RoutedProxy {
            role: ProxyRole::Sidecar,
            workload: Some(client),
            namespace: &client.namespace,
            port,
        };
        let of_others = |route: &&HttpRoute| {
            !route.conditions.is_empty() && !route.conditions.iter().any(|it| it.is_for(proxy))
        };
        let conditions = found.http.iter().filter(of_others).flat_map(|route| &route.conditions);
        let whose = conditions.filter(|it| it.is_for_sidecars()).filter_map(|condition| {
            match (condition.port().filter(|it| *it != port), condition.source()) {
                (Some(other), _) => {
                    let is_known = service.http_ports().any(|port| port.number == other);
                    is_known.then(|| format!("sessions to port {other}"))
                }
                (None, Some((Some(namespace), _))) if namespace != client.namespace => {
                    Some(format!("clients in the namespace {namespace}"))
                }
                (None, Some((_, labels))) => {
                    let labels: Vec<_> =
                        labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
                    Some(format!("clients with the labels {}", labels.join(", ")))
                }
                (None, None) => None,
            }
        });
        let mut whose: Vec<String> = whose.collect();
        whose.dedup();
        whose.into_iter().map(|whose| (place.clone(), whose)).collect()
    }

    /// The workload of the Deployment that a Service selects; of several the oldest.
    pub fn workload_of(&self, service: &Service) -> Result<Workload, MeshError> {
        let selected = self.pods_of(service).into_iter();
        selected.min_by_key(|deployment| deployment.metadata.age()).map(Deployment::workload).ok_or_else(
            || {
                let (name, namespace) = (service.name(), service.namespace());
                MeshError::Underivable(format!(
                    "the Service {name} selects no Deployment in the namespace {namespace}: \
                 compare its selector with the labels of the Deployment's pod template"
                ))
            },
        )
    }

    /// Adds the built-in Service and Deployments that are lacking, in the namespace of the
    /// documents: the Service named `service`, a Deployment that it selects, and the client's
    /// Deployment.
    pub fn complete(&mut self, service: &str, client_workload: &str) -> Result<(), MeshError> {
        let built_in = Self::builtin();
        let namespace = self.namespace().to_owned();
        if matches!(self.service(service), Err(MeshError::Unknown { .. }))
            && let Ok(lacking) = built_in.service(service)
        {
            let mut lacking = lacking.clone();
            lacking.metadata.namespace.clone_from(&namespace);
            self.add_service(lacking)?;
        }
        let found = self.service(service)?;
        if self.workload_of(found).is_err() {
            let namespace = found.namespace().to_owned();
            let selected =
                built_in.deployments().iter().map(|deployment| in_namespace(deployment, &namespace));
            let lacking = selected.into_iter().find(|deployment| found.selects(&deployment.workload()));
            lacking.map_or(Ok(()), |deployment| self.add_deployment(deployment))?;
        }
        if matches!(self.workload(client_workload), Err(MeshError::Unknown { .. }))
            && let Ok(lacking) = built_in.deployment(client_workload)
        {
            self.add_deployment(in_namespace(lacking, &namespace))?;
        }
        Ok(())
    }
}

fn in_namespace(deployment: &Deployment, namespace: &str) -> Deployment {
    let mut deployment = deployment.clone();
    namespace.clone_into(&mut deployment.metadata.namespace);
    deployment
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
        return Err(MeshError::Unknown {
            kind,
            name: asked.to_owned(),
            near: nearest(name, names, 0.0).map(str::to_owned),
        });
    };
    let others: Vec<&T> = found.collect();
    if others.is_empty() {
        return Ok(first);
    }
    let namespaces =
        [first].into_iter().chain(others).map(|document| metadata(document).namespace.clone()).collect();
    Err(MeshError::Ambiguous { kind, name: name.to_owned(), namespaces })
}
