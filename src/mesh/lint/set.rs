//! All documents that are judged together, and what the rules look up in them.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::proxies::labelled;
use crate::mesh::document::{Deployment, Documents, EnvoyFilter, Manifest, ROOT_NAMESPACE, Service, Subset};
use crate::mesh::error::MeshError;
use crate::mesh::kinds::group_and_version;
use crate::yaml::{Document, NodeRef, Text};

/// Kinds with pods that are not read, beside those with a pod template, so that a selector without
/// any of the others may well have some.
const OTHER_WORKLOADS: [&str; 3] = ["Pod", "CronJob", "WorkloadEntry"];

/// How many names are compared to find the nearest ones: with a thousand Services, a thousand names
/// that are not there.
const MAX_COMPARISONS: usize = 1_000_000;

/// The documents, indexed for the rules.
pub(super) struct Set {
    pub(super) documents: Documents,
    /// Why some of them are not among the typed ones.
    pub(super) refused: Vec<MeshError>,
    /// The namespaces with what keeps pods.
    with_pods: HashSet<String>,
    /// The Services of each namespace that has any.
    pub(super) services_by_namespace: HashMap<String, Vec<usize>>,
    /// The first Service of each name.
    pub(super) service_names: HashMap<String, usize>,
    /// The first value of each label that an `EnvoyFilter` selects.
    pub(super) filter_labels: BTreeMap<String, String>,
    /// Whether there are pods of kinds that are not read.
    other_pods: bool,
    /// The namespaces whose pods are in an ambient mesh, and those without injection.
    pub(super) ambient_namespaces: HashSet<String>,
    pub(super) uninjected_namespaces: HashSet<String>,
    /// The hosts of `ServiceEntry`s.
    entry_hosts: HashSet<String>,
    /// How many names may still be compared with one that is not there.
    comparisons: Cell<usize>,
}

impl Set {
    pub(super) fn read(texts: &[Arc<Text>]) -> Result<Self, MeshError> {
        let (mut documents, mut refused) = (Documents::default(), Vec::new());
        for text in texts {
            documents.read(text, &mut |error| {
                refused.push(error);
                Ok(())
            })?;
        }
        let mut set = Self {
            documents: documents.held(texts)?,
            refused,
            with_pods: HashSet::new(),
            services_by_namespace: HashMap::new(),
            service_names: HashMap::new(),
            filter_labels: BTreeMap::new(),
            other_pods: false,
            ambient_namespaces: HashSet::new(),
            uninjected_namespaces: HashSet::new(),
            entry_hosts: HashSet::new(),
            comparisons: Cell::new(MAX_COMPARISONS),
        };
        let deployments = set.documents.deployments().iter();
        set.with_pods = deployments.map(|deployment| deployment.metadata.namespace.clone()).collect();
        for (position, service) in set.documents.services().iter().enumerate() {
            let namespace = service.namespace().to_owned();
            set.services_by_namespace.entry(namespace).or_default().push(position);
            set.service_names.entry(service.name().to_owned()).or_insert(position);
        }
        for (label, value) in
            set.documents.envoy_filters().iter().flat_map(|filter| &filter.workload_selector)
        {
            set.filter_labels.entry(label.clone()).or_insert_with(|| value.clone());
        }
        set.other_pods = set.documents.manifests().iter().any(|manifest| {
            let kind = manifest.kind.as_str();
            OTHER_WORKLOADS.contains(&kind)
                || (!Deployment::KINDS.contains(&kind)
                    && manifest.document.at("spec.template.spec").is_some())
        });
        let manifests = || set.documents.manifests().iter().map(|manifest| &**manifest);
        let ambient = labelled(manifests(), "istio.io/dataplane-mode", "ambient");
        let uninjected = labelled(manifests(), "istio-injection", "disabled");
        (set.ambient_namespaces, set.uninjected_namespaces) = (ambient, uninjected);
        let entries = set.of_kind("networking.istio.io", "ServiceEntry");
        let hosts = entries.filter_map(|it| it.document.at("spec.hosts")).flat_map(NodeRef::items);
        set.entry_hosts = hosts.filter_map(NodeRef::text).map(str::to_owned).collect();
        Ok(set)
    }

    /// The Services of a namespace, or all of them if it is the root namespace.
    pub(super) fn services_in<'s>(&'s self, namespace: &'s str) -> impl Iterator<Item = &'s Service> {
        let services = self.documents.services();
        let all = (namespace == ROOT_NAMESPACE).then_some(services).into_iter().flatten();
        let own = self.services_by_namespace.get(namespace).filter(|_| namespace != ROOT_NAMESPACE);
        all.chain(own.into_iter().flatten().map(move |position| &services[*position]))
    }

    /// What a name that is not there may be compared with: everything, as long as there are not too
    /// many such names, since each of them is compared with everything that is there.
    pub(super) fn comparable<T>(&self, known: impl IntoIterator<Item = T>) -> impl Iterator<Item = T> {
        known.into_iter().take_while(|_| {
            let left = self.comparisons.get();
            self.comparisons.set(left.saturating_sub(1));
            left > 0
        })
    }

    /// The documents of a kind that is not typed, in any version.
    pub(super) fn of_kind(&self, group: &'static str, kind: &'static str) -> impl Iterator<Item = &Manifest> {
        let manifests = self.documents.manifests().iter().map(|manifest| &**manifest);
        manifests.filter(move |it| it.kind == kind && group_and_version(&it.api_version).0 == group)
    }

    /// The `EnvoyFilter`s, typed and as they were written.
    pub(super) fn envoy_filters(&self) -> impl Iterator<Item = (&EnvoyFilter, &Document)> {
        self.documents.envoy_filters().iter().map(|filter| (filter, filter.metadata.document()))
    }

    /// Whether all pods of a namespace (of the mesh, if it is the root namespace) are known: it has
    /// Deployments or the like, and no other kind with pods, such as a Job, a `ReplicaSet` or
    /// Argo's Rollout.
    pub(super) fn knows_pods_of(&self, namespace: &str) -> bool {
        let is_there = if namespace == ROOT_NAMESPACE {
            !self.with_pods.is_empty()
        } else {
            self.with_pods.contains(namespace)
        };
        is_there && !self.other_pods
    }

    /// Whether a subset is known to have none of the pods of its Service, which has some.
    pub(super) fn has_no_pods(&self, service: &Service, subset: &Subset) -> bool {
        let pods = self.documents.pods_of(service);
        !pods.is_empty()
            && self.knows_pods_of(service.namespace())
            && subset.labels.as_ref().is_some_and(|labels| !pods.iter().any(|pod| pod.has_labels(labels)))
    }

    /// Whether a `ServiceEntry` among the documents makes a host known.
    pub(super) fn has_entry_for(&self, host: &str) -> bool {
        let suffixes = host.char_indices().filter(|(_, character)| *character == '.');
        let mut wildcards = suffixes.map(|(at, _)| format!("*{}", &host[at..]));
        self.entry_hosts.contains(host) || wildcards.any(|wildcard| self.entry_hosts.contains(&wildcard))
    }

    /// The namespaces in which clients may be.
    pub(super) fn namespaces(&self) -> BTreeSet<&str> {
        let services = self.documents.services().iter().map(|service| &service.metadata);
        let deployments = self.documents.deployments().iter().map(|deployment| &deployment.metadata);
        let rules = self.documents.destination_rules().iter().map(|rule| &rule.metadata);
        let all = services.chain(deployments).chain(rules).map(|metadata| metadata.namespace.as_str());
        all.filter(|&namespace| namespace != ROOT_NAMESPACE).collect()
    }
}
