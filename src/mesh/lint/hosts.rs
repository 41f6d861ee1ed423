//! The hosts that `DestinationRule`s and `VirtualService`s name: whether they are a Service's, and whether two documents
//! are about the same one.

use super::finding::Finding;
use super::manifest::Set;
use super::rules::{DUPLICATE_DESTINATION_RULE, DUPLICATE_VIRTUAL_SERVICE, UNKNOWN_HOST, UNSEEN_HOST};
use crate::mesh::document::{DEFAULT_NAMESPACE, Documents, Service, VirtualService};
use crate::mesh::host::{resolve, service_host, specificity};
use crate::mesh::place::Place;

/// How similar (Jaro-Winkler) a host must be to be what was meant.
const SIMILAR: f64 = 0.9;

pub(super) fn check(set: &Set, findings: &mut Vec<Finding>) {
    let documents = &set.documents;
    for rule in documents.destination_rules() {
        let place = set.written(&rule.metadata).place("spec.host");
        findings.extend(unknown(documents, &rule.host, &rule.metadata.namespace, place, "host: "));
    }
    for service in documents.virtual_services() {
        let written = set.written(&service.metadata);
        if service.for_sidecars {
            for (index, host) in service.hosts.iter().enumerate() {
                let place = written.place(&format!("spec.hosts[{index}]"));
                findings.extend(unknown(documents, host, &service.metadata.namespace, place, "hosts:\n- "));
            }
        }
    }
    check_duplicate_rules(set, findings);
    check_duplicate_routes(set, findings);
}

/// A host that is no Service's.
pub(super) fn unknown(
    documents: &Documents,
    host: &str,
    namespace: &str,
    place: Place,
    key: &str,
) -> Option<Finding> {
    let resolved = resolve(host, namespace);
    let services = documents.services();
    if services.iter().any(|service| specificity(&resolved, &service.host()).is_some()) {
        return None;
    }
    let means = if resolved == host { "is taken as it is".to_owned() } else { format!("means {resolved}") };
    if let Some(service) = meant(services, host, &resolved) {
        let full = service.host();
        let message =
            format!("the host {host} {means}, and no Service has that name: {full} has a similar one");
        return Some(UNKNOWN_HOST.at(place, message, format!("{key}{full}")));
    }
    let message = format!("the host {host} {means}, and no Service in these documents has that name");
    let full = format!("{key}{}.svc.cluster.local", host.trim_end_matches(".svc"));
    if is_short_form(documents, host, namespace) {
        return Some(UNKNOWN_HOST.at(place, message, full));
    }
    let is_there = |service: &Service| resolved == service_host(first_part(&resolved), service.namespace());
    if services.iter().any(is_there) {
        return Some(UNKNOWN_HOST.at(place, message, ""));
    }
    // What is no name of the cluster is a host outside of it.
    (resolved.ends_with(".svc.cluster.local") || resolved.contains('*'))
        .then(|| UNSEEN_HOST.at(place, message, ""))
}

/// `svc.ns` and `svc.ns.svc`, which are names for clients and none for documents. `example.com` looks the same, so
/// one of the two parts has to be known: the Service or the namespace.
fn is_short_form(documents: &Documents, host: &str, namespace: &str) -> bool {
    match host.split('.').collect::<Vec<_>>()[..] {
        [_, _, "svc"] => true,
        [first, second] => {
            let of_services = documents.services().iter().map(Service::namespace);
            let mut namespaces = [DEFAULT_NAMESPACE, namespace].into_iter().chain(of_services);
            namespaces.any(|known| known == second)
                || documents.services().iter().any(|known| known.name() == first)
        }
        _ => false,
    }
}

fn first_part(host: &str) -> &str {
    host.split('.').next().unwrap_or_default()
}

/// The Service that a host that is no Service's was to be: one of its shorter names, else a similar one.
fn meant<'d>(services: &'d [Service], host: &str, resolved: &str) -> Option<&'d Service> {
    let by_short_name = services.iter().find(|service| {
        let (name, namespace) = (service.name(), service.namespace());
        [format!("{name}.{namespace}"), format!("{name}.{namespace}.svc"), name.to_owned()]
            .contains(&host.to_owned())
    });
    let similarity = |service: &Service| strsim::jaro_winkler(resolved, &service.host());
    let by_similarity = || services.iter().max_by(|one, other| similarity(one).total_cmp(&similarity(other)));
    by_short_name.or_else(|| by_similarity().filter(|service| similarity(service) >= SIMILAR))
}

fn check_duplicate_rules(set: &Set, findings: &mut Vec<Finding>) {
    let mut rules: Vec<_> = set.documents.destination_rules().iter().collect();
    rules.sort_by_key(|rule| rule.metadata.age());
    for (index, rule) in rules.iter().enumerate() {
        let namespace = &rule.metadata.namespace;
        let resolved = resolve(&rule.host, namespace);
        // Without a policy it adds subsets; with a selector it is for some clients alone.
        let first = rules[..index].iter().find(|first| {
            [first, rule].iter().all(|rule| rule.traffic_policy.is_some() && rule.workload_selector.is_none())
                && first.metadata.namespace == *namespace
                && resolve(&first.host, namespace) == resolved
        });
        if let Some(first) = first {
            let message = format!(
                "the trafficPolicy of this rule does not count: the DestinationRule {} ({}) is for {resolved} too",
                first.metadata.name, first.metadata.place
            );
            findings.push(DUPLICATE_DESTINATION_RULE.at(
                set.written(&rule.metadata).place("spec.trafficPolicy"),
                message,
                "",
            ));
        }
    }
}

fn check_duplicate_routes(set: &Set, findings: &mut Vec<Finding>) {
    let mut services: Vec<_> =
        set.documents.virtual_services().iter().filter(|service| service.for_sidecars).collect();
    services.sort_by_key(|service| service.metadata.age());
    let hosts = |service: &VirtualService| -> Vec<String> {
        service.hosts.iter().map(|host| resolve(host, &service.metadata.namespace)).collect()
    };
    for (index, service) in services.iter().enumerate() {
        for (position, host) in hosts(service).iter().enumerate() {
            let first = services[..index].iter().find(|first| hosts(first).contains(host));
            if let Some(first) = first {
                let message = format!(
                    "these routes are never taken: the VirtualService {} ({}) is for {host} too",
                    first.metadata.name, first.metadata.place
                );
                findings.push(DUPLICATE_VIRTUAL_SERVICE.at(
                    set.written(&service.metadata).place(&format!("spec.hosts[{position}]")),
                    message,
                    "",
                ));
            }
        }
    }
}
