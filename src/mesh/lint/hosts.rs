//! The hosts that `DestinationRule`s and `VirtualService`s name: whether they are a Service's, and
//! whether two documents are about the same one.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use super::finding::Finding;
use super::rules::{
    DUPLICATE_DESTINATION_RULE, DUPLICATE_VIRTUAL_SERVICE, UNKNOWN_DESTINATION, UNKNOWN_HOST, UNSEEN_HOST,
};
use super::set::Set;
use crate::mesh::document::{DEFAULT_NAMESPACE, DestinationRule, Service, VirtualService};
use crate::mesh::host::{resolve, service_host};
use crate::mesh::scalar::scalar;
use crate::nearest::nearest;
use crate::yaml::Place;

/// How similar (Jaro-Winkler) a host must be to be what was meant.
const SIMILAR: f64 = 0.9;

pub(super) fn check(set: &Set, findings: &mut Vec<Finding>) {
    let documents = &set.documents;
    for rule in documents.destination_rules() {
        let place = rule.metadata.document().place_of("spec.host");
        findings.extend(unknown(set, &rule.host, &rule.metadata.namespace, place, "host: "));
    }
    for service in documents.virtual_services() {
        let written = service.metadata.document();
        if service.is_for_sidecars() {
            for (index, host) in service.hosts.iter().enumerate() {
                let place = written.place_of(&format!("spec.hosts[{index}]"));
                findings.extend(unknown(set, host, &service.metadata.namespace, place, "hosts:\n- "));
            }
        }
    }
    check_duplicate_rules(set, findings);
    check_duplicate_routes(set, findings);
}

/// A host that is no Service's.
pub(super) fn unknown(set: &Set, host: &str, namespace: &str, place: Place, key: &str) -> Option<Finding> {
    let resolved = resolve(host, namespace);
    let documents = &set.documents;
    if documents.services_for(&resolved).next().is_some() || set.has_entry_for(&resolved) {
        return None;
    }
    // An empty one is refused.
    if host.is_empty() {
        return None;
    }
    let means = if resolved == host { "is taken as it is".to_owned() } else { format!("means {resolved}") };
    if let Some(service) = meant(set, host, &resolved) {
        let full = service.host();
        let message =
            format!("the host {host} {means}, and no Service has that name: {full} has a similar one");
        return Some(UNKNOWN_HOST.at(place, message, format!("{key}{}", scalar(&full))));
    }
    let message = format!("the host {host} {means}, and no Service in these documents has that name");
    if is_short_form(set, host, namespace) {
        let full = format!("{}.svc.cluster.local", host.trim_end_matches(".svc"));
        return Some(UNKNOWN_HOST.at(place, message, format!("{key}{}", scalar(&full))));
    }
    let is_there = |(name, namespace): (&str, &str)| {
        set.services_by_namespace.contains_key(namespace) && resolved == service_host(name, namespace)
    };
    if first_parts(&resolved).is_some_and(is_there) {
        return Some(UNKNOWN_HOST.at(place, message, ""));
    }
    // What is no name of the cluster is a host outside of it.
    (resolved.ends_with(".svc.cluster.local") || resolved.contains('*'))
        .then(|| UNSEEN_HOST.at(place, message, ""))
}

/// As [`unknown`], of a host that a route leads to: nowhere, if it is known that it does not exist.
pub(super) fn unknown_destination(
    set: &Set,
    host: &str,
    namespace: &str,
    place: Place,
    key: &str,
) -> Option<Finding> {
    if let Some(found) = unknown(set, host, namespace, place.clone(), key) {
        let does_not_exist = *found.rule == UNKNOWN_HOST;
        return Some(if does_not_exist { Finding { rule: &UNKNOWN_DESTINATION, ..found } } else { found });
    }
    let resolved = resolve(host, namespace);
    let is_known = set.documents.services_for(&resolved).next().is_some() || set.has_entry_for(&resolved);
    let message = format!(
        "the host {host} is outside of the cluster, and no ServiceEntry in these documents makes it known to the mesh"
    );
    (!is_known).then(|| UNSEEN_HOST.at(place, message, ""))
}

/// `svc.ns` and `svc.ns.svc`, which are names for clients and none for documents. `example.com`
/// looks the same, so one of the two parts has to be known: the Service or the namespace.
fn is_short_form(set: &Set, host: &str, namespace: &str) -> bool {
    match host.split('.').collect::<Vec<_>>()[..] {
        [_, _, "svc"] => true,
        [first, second] => {
            [DEFAULT_NAMESPACE, namespace].contains(&second)
                || set.services_by_namespace.contains_key(second)
                || set.service_names.contains_key(first)
        }
        _ => false,
    }
}

/// What is in the place of the Service's name and of its namespace.
fn first_parts(host: &str) -> Option<(&str, &str)> {
    let mut parts = host.split('.');
    Some((parts.next()?, parts.next()?))
}

/// The Service that a host that is no Service's was to be: one of its shorter names, else a similar
/// one.
fn meant<'s>(set: &'s Set, host: &str, resolved: &str) -> Option<&'s Service> {
    let services = set.documents.services();
    let by_name = set.service_names.get(host).map(|position| &services[*position]);
    by_name
        .or_else(|| {
            let (name, namespace) = first_parts(host.strip_suffix(".svc").unwrap_or(host))?;
            set.documents.service_with_host(&service_host(name, namespace)).filter(|service| {
                let short = format!("{}.{}", service.name(), service.namespace());
                host.strip_prefix(&short).is_some_and(|rest| rest.is_empty() || rest == ".svc")
            })
        })
        .or_else(|| {
            let hosts: Vec<String> = set.comparable(services).map(Service::host).collect();
            let host = nearest(resolved, hosts.iter().map(String::as_str), SIMILAR)?;
            set.documents.service_with_host(host)
        })
}

fn check_duplicate_rules(set: &Set, findings: &mut Vec<Finding>) {
    let mut rules: Vec<_> = set.documents.destination_rules().iter().collect();
    rules.sort_by_key(|rule| rule.metadata.age());
    let mut first_for: HashMap<(&str, String), &DestinationRule> = HashMap::new();
    for rule in rules {
        // Without a policy it adds subsets; with a selector it is for some clients alone.
        if rule.traffic_policy.is_none() || rule.workload_selector.is_some() {
            continue;
        }
        let namespace = rule.metadata.namespace.as_str();
        let resolved = resolve(&rule.host, namespace);
        match first_for.entry((namespace, resolved)) {
            Entry::Vacant(entry) => {
                entry.insert(rule);
            }
            Entry::Occupied(first) => {
                let (metadata, resolved) = (&first.get().metadata, &first.key().1);
                let message = format!(
                    "the trafficPolicy of this rule does not count: the DestinationRule {} ({}) is for {resolved} too",
                    metadata.name,
                    metadata.place()
                );
                let place = rule.metadata.document().place_of("spec.trafficPolicy");
                findings.push(DUPLICATE_DESTINATION_RULE.at(place, message, ""));
            }
        }
    }
}

fn check_duplicate_routes(set: &Set, findings: &mut Vec<Finding>) {
    let mut services: Vec<_> =
        set.documents.virtual_services().iter().filter(|service| service.is_for_sidecars()).collect();
    services.sort_by_key(|service| service.metadata.age());
    let mut first_for: HashMap<String, &VirtualService> = HashMap::new();
    for service in services {
        let mut own = HashSet::new();
        for (position, host) in service.hosts.iter().enumerate() {
            let host = resolve(host, &service.metadata.namespace);
            if let Some(first) = first_for.get(&host).filter(|_| !own.contains(&host)) {
                let message = format!(
                    "these routes are never taken: the VirtualService {} ({}) is for {host} too",
                    first.metadata.name,
                    first.metadata.place()
                );
                let place = service.metadata.document().place_of(&format!("spec.hosts[{position}]"));
                findings.push(DUPLICATE_VIRTUAL_SERVICE.at(place, message, ""));
            } else {
                own.insert(host.clone());
                first_for.entry(host).or_insert(service);
            }
        }
    }
}
