//! What finds documents by what they say of one another: hosts by name, pods by label. Without it
//! each answer would look at every document, and the answers for a cluster would cost the square of
//! its size.

use std::collections::{BTreeMap, HashMap};

use super::config::Workload;
use super::document::{Deployment, DestinationRule, Documents, EnvoyFilter, Service, VirtualService};
use super::host::resolve;

/// Documents by what they name, as positions in the lists of [`Documents`].
#[derive(Debug, Clone, Default)]
pub(super) struct Index {
    services: HashMap<String, usize>,
    /// The Services by their hosts backwards, in order, for patterns that begin with `*`.
    backwards: Vec<(String, usize)>,
    destination_rules: Hosts,
    virtual_services: Hosts,
    pods: Labelled,
    service_selectors: Selectors,
    envoy_filters: Selectors,
}

impl Index {
    pub(super) fn new(documents: &Documents) -> Self {
        let mut index = Self::default();
        for (position, service) in documents.services().iter().enumerate() {
            let host = service.host();
            index.backwards.push((backwards(&host), position));
            index.services.entry(host).or_insert(position);
        }
        index.backwards.sort_unstable();
        for (position, rule) in documents.destination_rules().iter().enumerate() {
            index.destination_rules.add(resolve(&rule.host, &rule.metadata.namespace), position);
        }
        for (position, service) in documents.virtual_services().iter().enumerate() {
            for host in &service.hosts {
                index.virtual_services.add(resolve(host, &service.metadata.namespace), position);
            }
        }
        for (position, deployment) in documents.deployments().iter().enumerate() {
            index.pods.add(&deployment.metadata.namespace, deployment.labels(), position);
        }
        let services = documents.services().iter();
        index.service_selectors =
            Selectors::new(services.map(|service| (service.namespace(), &service.selector)));
        let filters = documents.envoy_filters().iter();
        index.envoy_filters =
            Selectors::new(filters.map(|filter| (&*filter.metadata.namespace, &filter.workload_selector)));
        index
    }
}

impl Documents {
    /// The Service with that full name.
    pub(super) fn service_with_host(&self, host: &str) -> Option<&Service> {
        self.index().services.get(host).map(|position| &self.services()[*position])
    }

    /// The Services that a resolved host, which may begin with `*`, is about.
    pub(super) fn services_for(&self, pattern: &str) -> impl Iterator<Item = &Service> {
        let whole = if pattern.starts_with('*') { None } else { self.service_with_host(pattern) };
        let suffix = pattern.strip_prefix('*').map(backwards);
        let backwards = &self.index().backwards;
        let at = suffix
            .as_ref()
            .map_or(backwards.len(), |suffix| backwards.partition_point(|(host, _)| host < suffix));
        let ending = backwards[at..]
            .iter()
            .take_while(move |(host, _)| suffix.as_ref().is_some_and(|suffix| host.starts_with(suffix)));
        whole.into_iter().chain(ending.map(|(_, position)| &self.services()[*position]))
    }

    /// The rules whose host is the Service's, in the order in which they were read, with how
    /// specifically they name it.
    pub(super) fn destination_rules_for(&self, host: &str) -> Vec<(usize, &DestinationRule)> {
        let found = self.index().destination_rules.matching(host);
        found.into_iter().map(|(position, rank)| (rank, &self.destination_rules()[position])).collect()
    }

    /// The `VirtualService`s with a host that is the Service's, in the order in which they were
    /// read, with how specifically they name it.
    pub(super) fn virtual_services_for(&self, host: &str) -> Vec<(usize, &VirtualService)> {
        let found = self.index().virtual_services.matching(host);
        found.into_iter().map(|(position, rank)| (rank, &self.virtual_services()[position])).collect()
    }

    /// What keeps pods that a Service selects.
    pub(super) fn pods_of(&self, service: &Service) -> Vec<&Deployment> {
        // A Service without a selector has endpoints that somebody else writes down.
        if service.selector.is_empty() {
            return Vec::new();
        }
        let candidates = self.index().pods.candidates(Some(service.namespace()), &service.selector);
        let pods = candidates.unwrap_or_default().iter().map(|position| &self.deployments()[*position]);
        pods.filter(|deployment| deployment.has_labels(&service.selector)).collect()
    }

    /// The Services that select a pod, in the order in which they were read.
    pub(super) fn services_of(&self, workload: &Workload) -> Vec<&Service> {
        let found = self.index().service_selectors.candidates([&workload.namespace], Some(&workload.labels));
        let found = found.into_iter().map(|position| &self.services()[position]);
        found.filter(|service| service.selects(workload)).collect()
    }

    /// What keeps pods with all of these labels, in a namespace or in all.
    pub(super) fn pods_with<'d>(
        &'d self,
        namespace: Option<&'d str>,
        selector: &'d BTreeMap<String, String>,
    ) -> impl Iterator<Item = &'d Deployment> {
        let candidates = self.index().pods.candidates(namespace, selector);
        candidates
            .unwrap_or_default()
            .iter()
            .map(|position| &self.deployments()[*position])
            .filter(move |deployment| deployment.has_labels(selector))
    }

    /// The `EnvoyFilter`s of a namespace that may select a pod with these labels, in the order in
    /// which they were read.
    pub(super) fn envoy_filters_for(
        &self,
        namespaces: [&str; 2],
        labels: Option<&BTreeMap<String, String>>,
    ) -> Vec<&EnvoyFilter> {
        let found = self.index().envoy_filters.candidates(namespaces, labels);
        found.into_iter().map(|position| &self.envoy_filters()[position]).collect()
    }
}

fn backwards(host: &str) -> String {
    host.chars().rev().collect()
}

/// Positions by host: whole names, and what follows a leading `*`.
#[derive(Debug, Clone, Default)]
struct Hosts {
    exact: HashMap<String, Vec<usize>>,
    suffixes: HashMap<String, Vec<usize>>,
}

impl Hosts {
    fn add(&mut self, pattern: String, position: usize) {
        let (map, key) = match pattern.strip_prefix('*') {
            Some(suffix) => (&mut self.suffixes, suffix.to_owned()),
            None => (&mut self.exact, pattern),
        };
        map.entry(key).or_default().push(position);
    }

    /// In ascending order, each position once, with how specific its most specific host is: the
    /// greatest wins, and a whole name over every pattern.
    fn matching(&self, host: &str) -> BTreeMap<usize, usize> {
        let mut found = BTreeMap::new();
        if !self.suffixes.is_empty() {
            // The longest suffix last, so that it counts.
            let starts = host.char_indices().map(|(at, _)| at).chain([host.len()]);
            for at in starts.rev() {
                let suffix = &host[at..];
                for position in self.suffixes.get(suffix).into_iter().flatten() {
                    found.insert(*position, suffix.len());
                }
            }
        }
        for position in self.exact.get(host).into_iter().flatten() {
            found.insert(*position, usize::MAX);
        }
        found
    }
}

/// A label in a namespace, or with an empty one in any.
fn key(namespace: &str, name: &str, value: &str) -> String {
    format!("{namespace}\0{name}\0{value}")
}

/// Positions of what has labels, by each of them.
#[derive(Debug, Clone, Default)]
struct Labelled {
    by_label: HashMap<String, Vec<usize>>,
    by_namespace: HashMap<String, Vec<usize>>,
}

impl Labelled {
    fn add(&mut self, namespace: &str, labels: &BTreeMap<String, String>, position: usize) {
        for namespace in [namespace, ""] {
            self.by_namespace.entry(namespace.to_owned()).or_default().push(position);
            for (name, value) in labels {
                self.by_label.entry(key(namespace, name, value)).or_default().push(position);
            }
        }
    }

    /// Those that have the rarest label of the selector; an empty one leaves all of the namespace.
    fn candidates(&self, namespace: Option<&str>, selector: &BTreeMap<String, String>) -> Option<&[usize]> {
        let namespace = namespace.unwrap_or_default();
        if selector.is_empty() {
            return self.by_namespace.get(namespace).map(Vec::as_slice);
        }
        let mut rarest: Option<&[usize]> = None;
        for (name, value) in selector {
            let having = self.by_label.get(&key(namespace, name, value))?;
            if rarest.is_none_or(|rarest| having.len() < rarest.len()) {
                rarest = Some(having);
            }
        }
        rarest
    }
}

/// Positions of what has a selector, by the label in it that the fewest have.
#[derive(Debug, Clone, Default)]
struct Selectors {
    by_label: HashMap<String, Vec<usize>>,
    without: HashMap<String, Vec<usize>>,
}

impl Selectors {
    fn new<'s>(selectors: impl Iterator<Item = (&'s str, &'s BTreeMap<String, String>)> + Clone) -> Self {
        let mut frequency: HashMap<(&str, &str), usize> = HashMap::new();
        for (name, value) in selectors.clone().flat_map(|(_, selector)| selector) {
            *frequency.entry((name, value)).or_default() += 1;
        }
        let mut index = Self::default();
        for (position, (namespace, selector)) in selectors.enumerate() {
            match selector.iter().min_by_key(|(name, value)| frequency[&(name.as_str(), value.as_str())]) {
                Some((name, value)) => index.by_label.entry(key(namespace, name, value)),
                None => index.without.entry(namespace.to_owned()),
            }
            .or_default()
            .push(position);
        }
        index
    }

    /// In ascending order, those of the namespaces whose selector may be met by the labels.
    fn candidates<const N: usize>(
        &self,
        namespaces: [&str; N],
        labels: Option<&BTreeMap<String, String>>,
    ) -> Vec<usize> {
        let mut found = Vec::new();
        for namespace in namespaces {
            found.extend(self.without.get(namespace).into_iter().flatten());
            for (name, value) in labels.into_iter().flatten() {
                found.extend(self.by_label.get(&key(namespace, name, value)).into_iter().flatten());
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_specific_host_wins() {
        let service = "a.default.svc.cluster.local";
        let patterns =
            [service, "*", "*.cluster.local", "*.default.svc.cluster.local", "b", "a", "*.example"];
        let mut hosts = Hosts::default();
        for (position, pattern) in patterns.into_iter().enumerate() {
            hosts.add(pattern.to_owned(), position);
        }
        hosts.add("*.local".to_owned(), 2);
        let found = hosts.matching(service);
        assert_eq!(found.keys().copied().collect::<Vec<_>>(), [0, 1, 2, 3]);
        assert!(found[&1] < found[&2] && found[&2] < found[&3] && found[&3] < found[&0], "{found:?}");
        assert_eq!(found[&2], ".cluster.local".len());
    }
}
