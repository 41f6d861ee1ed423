//! The documents twice: typed, as the rest of `mesh` reads them, and as they were written, where every name has a place.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use serde_saphyr::Spanned;

use crate::mesh::document::{
    ConnectionPool, Deployment, DestinationRule, Documents, EnvoyFilter, Metadata, ROOT_NAMESPACE, Reading,
    Service, TrafficPolicy, read,
};
use crate::mesh::field::{Field, lower_camel_case};
use crate::mesh::place::{MeshError, Place};
use crate::mesh::source::Text;
use crate::mesh::yaml::{self, Value};

/// Kinds with pods that are not read, beside those with a pod template, so that a selector without any of the others may
/// well have some.
const OTHER_WORKLOADS: [&str; 3] = ["Pod", "CronJob", "WorkloadEntry"];

/// How many names are compared to find the nearest ones: with a thousand Services, a thousand names that are not there.
const MAX_COMPARISONS: usize = 1_000_000;

/// All documents.
pub(super) struct Set {
    pub(super) documents: Documents,
    pub(super) manifests: Vec<Manifest>,
    /// Why some of them are not among the typed ones.
    pub(super) refused: Vec<MeshError>,
    /// The manifests by where they begin.
    positions: HashMap<(Arc<str>, u64, u64), usize>,
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
    /// How many names may still be compared with one that is not there.
    comparisons: Cell<usize>,
}

/// A document as it was written.
pub(super) struct Manifest {
    pub(super) kind: String,
    file: Arc<str>,
    root: Spanned<Value>,
}

/// A value in a document.
pub(super) struct Node<'m> {
    file: &'m Arc<str>,
    key: Option<&'m Spanned<String>>,
    value: &'m Spanned<Value>,
}

impl Set {
    pub(super) fn read(texts: &[Text]) -> Result<Self, MeshError> {
        let mut set = Self {
            documents: Documents::default(),
            manifests: Vec::new(),
            refused: Vec::new(),
            positions: HashMap::new(),
            with_pods: HashSet::new(),
            services_by_namespace: HashMap::new(),
            service_names: HashMap::new(),
            filter_labels: BTreeMap::new(),
            other_pods: false,
            comparisons: Cell::new(MAX_COMPARISONS),
        };
        for Text { name, text } in texts {
            let file = Arc::from(name.as_str());
            for document in yaml::documents(&file, text)? {
                set.add(&file, document)?;
            }
        }
        if set.manifests.is_empty() {
            let names: Vec<&str> = texts.iter().map(|text| text.name.as_str()).collect();
            return Err(MeshError::NoDocument { sources: names.join(", ") });
        }
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
        set.other_pods = set.manifests.iter().any(|manifest| {
            let kind = manifest.kind.as_str();
            OTHER_WORKLOADS.contains(&kind)
                || (!Deployment::KINDS.contains(&kind) && manifest.at("spec.template.spec").is_some())
        });
        Ok(set)
    }

    /// The Services of a namespace, or all of them if it is the root namespace.
    pub(super) fn services_in<'s>(&'s self, namespace: &'s str) -> impl Iterator<Item = &'s Service> {
        let services = self.documents.services();
        let all = (namespace == ROOT_NAMESPACE).then_some(services).into_iter().flatten();
        let own = self.services_by_namespace.get(namespace).filter(|_| namespace != ROOT_NAMESPACE);
        all.chain(own.into_iter().flatten().map(move |position| &services[*position]))
    }

    /// How similar two names are (Jaro-Winkler), as long as there are not too many that are not there: else each of them
    /// would be compared with every one that is.
    pub(super) fn similarity(&self, one: &str, other: &str) -> Option<f64> {
        let left = self.comparisons.get().checked_sub(1)?;
        self.comparisons.set(left);
        Some(strsim::jaro_winkler(one, other))
    }

    fn add(&mut self, file: &Arc<str>, root: Spanned<Value>) -> Result<(), MeshError> {
        let mut head = Field::document(file, root.clone()).fields()?;
        head.required("apiVersion")?.text()?;
        let kind = head.required("kind")?.text()?;
        if kind == "List" {
            let items = Manifest { kind, file: Arc::clone(file), root };
            for item in items.root().at("items").iter().flat_map(Node::items) {
                self.add(file, item.value.clone())?;
            }
            return Ok(());
        }
        let typed = read(Field::document(file, root.clone()), &mut self.documents, &mut Reading::default());
        self.refused.extend(typed.err());
        let manifest = Manifest { kind, file: Arc::clone(file), root };
        let Place { file, line, column, .. } = manifest.begins();
        self.positions.insert((file, line, column), self.manifests.len());
        self.manifests.push(manifest);
        Ok(())
    }

    /// A typed document as it was written.
    pub(super) fn written(&self, metadata: &Metadata) -> &Manifest {
        let Place { file, line, column, .. } = &metadata.place;
        let position = self.positions.get(&(Arc::clone(file), *line, *column));
        &self.manifests[*position.expect("each typed document was read from a manifest")]
    }

    /// The `EnvoyFilter`s, typed and as they were written.
    pub(super) fn envoy_filters(&self) -> impl Iterator<Item = (&EnvoyFilter, &Manifest)> {
        self.documents.envoy_filters().iter().map(|filter| (filter, self.written(&filter.metadata)))
    }

    /// Every connection pool of a `DestinationRule`, with its path.
    pub(super) fn pools(rule: &DestinationRule) -> Vec<(String, &ConnectionPool)> {
        let mut pools = Vec::new();
        pools_of(rule.traffic_policy.as_ref(), "spec.trafficPolicy", &mut pools);
        for (index, subset) in rule.subsets.iter().enumerate() {
            let path = format!("spec.subsets[{index}].trafficPolicy");
            pools_of(subset.traffic_policy.as_ref(), &path, &mut pools);
        }
        pools
    }

    /// Whether all pods of a namespace (of the mesh, if it is the root namespace) are known: it has Deployments or the like,
    /// and no other kind with pods, such as a Job, a `ReplicaSet` or Argo's Rollout.
    pub(super) fn knows_pods_of(&self, namespace: &str) -> bool {
        let is_there = if namespace == ROOT_NAMESPACE {
            !self.with_pods.is_empty()
        } else {
            self.with_pods.contains(namespace)
        };
        is_there && !self.other_pods
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

fn pools_of<'d>(
    policy: Option<&'d TrafficPolicy>,
    path: &str,
    pools: &mut Vec<(String, &'d ConnectionPool)>,
) {
    let Some(policy) = policy else { return };
    if let Some(pool) = &policy.connection_pool {
        pools.push((format!("{path}.connectionPool"), pool));
    }
    for (index, (_, pool)) in policy.port_level_settings.iter().enumerate() {
        if let Some(pool) = pool {
            pools.push((format!("{path}.portLevelSettings[{index}].connectionPool"), pool));
        }
    }
}

impl Manifest {
    pub(super) fn root(&self) -> Node<'_> {
        Node { file: &self.file, key: None, value: &self.root }
    }

    /// The value at a path such as `spec.ports[0].name`.
    pub(super) fn at(&self, path: &str) -> Option<Node<'_>> {
        self.root().at(path)
    }

    /// Where a path is; where it is not there, the last part of it that is.
    pub(super) fn place(&self, path: &str) -> Place {
        let mut path = path;
        loop {
            if let Some(node) = self.at(path) {
                return node.place();
            }
            match path.rfind(['.', '[']) {
                Some(end) => path = &path[..end],
                None => return self.begins(),
            }
        }
    }

    fn begins(&self) -> Place {
        yaml::place(&self.file, self.root.referenced)
    }
}

impl<'m> Node<'m> {
    /// The value at a path below this one, with names in `lowerCamelCase`. A null is not there.
    pub(super) fn at(&self, path: &str) -> Option<Self> {
        let mut node = Node { file: self.file, key: self.key, value: self.value };
        for part in path.split('.') {
            let (name, index) = match part.split_once('[') {
                Some((name, index)) => (name, index.strip_suffix(']')?.parse::<usize>().ok()),
                None => (part, None),
            };
            node = node.entries().into_iter().find(|entry| entry.is_named(name))?;
            if let Some(index) = index {
                node = node.items().into_iter().nth(index)?;
            }
        }
        (!matches!(node.value.value, Value::Null)).then_some(node)
    }

    /// The fields of a mapping.
    pub(super) fn entries(&self) -> Vec<Self> {
        match &self.value.value {
            Value::Mapping(entries) => {
                entries.iter().map(|(key, value)| Self { file: self.file, key: Some(key), value }).collect()
            }
            _ => Vec::new(),
        }
    }

    /// The items of a list.
    pub(super) fn items(&self) -> Vec<Self> {
        match &self.value.value {
            Value::Sequence(items) => {
                items.iter().map(|value| Self { file: self.file, key: None, value }).collect()
            }
            _ => Vec::new(),
        }
    }

    /// The field's name, in `lowerCamelCase`.
    pub(super) fn name(&self) -> Option<String> {
        self.key.map(|key| lower_camel_case(&key.value))
    }

    /// Whether that is the field's name, in `lowerCamelCase`.
    fn is_named(&self, name: &str) -> bool {
        self.key.is_some_and(|key| {
            key.value == name || (key.value.contains('_') && lower_camel_case(&key.value) == name)
        })
    }

    /// The field's name as it is written.
    pub(super) fn key(&self) -> Option<&'m str> {
        self.key.map(|key| key.value.as_str())
    }

    pub(super) fn text(&self) -> Option<&'m str> {
        match &self.value.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// To be read by type.
    pub(super) fn field(&self) -> Field {
        Field::document(self.file, self.value.clone())
    }

    /// Where it is, for a reader: a scalar itself, of anything larger its name.
    pub(super) fn place(&self) -> Place {
        match (&self.value.value, self.key) {
            (Value::Mapping(_) | Value::Sequence(_) | Value::Null, Some(_)) => self.place_of_key(),
            _ => yaml::place(self.file, self.value.referenced),
        }
    }

    /// Where its name is.
    pub(super) fn place_of_key(&self) -> Place {
        yaml::place(self.file, self.key.map_or(self.value.referenced, |key| key.referenced))
    }

    /// Where the value begins, which is how the typed documents know it.
    pub(super) fn place_of_value(&self) -> Place {
        yaml::place(self.file, self.value.referenced)
    }
}
