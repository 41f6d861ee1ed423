//! `EnvoyFilter`s that match nothing: by namespace, workload selector, context, version, listener,
//! filter name, type or operation.

use std::collections::{BTreeMap, HashSet};

use super::Circumstances;
use super::fields::is_connection_manager;
use super::finding::Finding;
use super::proxies::is_gateway;
use super::rules::{
    ENVOY_FILTER_CONTEXT, ENVOY_FILTER_FILTER_NAME, ENVOY_FILTER_LISTENER, ENVOY_FILTER_NAMESPACE,
    ENVOY_FILTER_OPERATION, ENVOY_FILTER_PROXY_VERSION, ENVOY_FILTER_SELECTOR, ENVOY_FILTER_TYPE,
};
use super::service::labels;
use super::set::Set;
use crate::mesh::document::{
    ConfigPatch, Deployment, EnvoyFilter, HTTP_CONNECTION_MANAGER, HTTP_CONNECTION_MANAGER_TYPE,
    PatchContext, ROOT_NAMESPACE, Service,
};
use crate::mesh::inbound::target_port;
use crate::mesh::patches::{TargetListener, is_for_version};
use crate::mesh::scalar::scalar;
use crate::nearest::nearest;
use crate::yaml::{Document, NodeRef};

/// How many listeners a message names.
const MAX_SHOWN: usize = 8;

pub(super) fn check(set: &Set, circumstances: &Circumstances<'_>, findings: &mut Vec<Finding>) {
    let services = set.documents.services().iter();
    let mut outbound: Vec<TargetListener> =
        services.flat_map(Service::http_ports).map(|port| TargetListener::Outbound(port.number)).collect();
    without_repetition(&mut outbound);
    for (filter, written) in set.envoy_filters() {
        findings.extend(without_pods(set, filter, written));
        let inbound = inbound(set, filter);
        let listeners = [&*inbound, &*outbound];
        let patches = written.at("spec.configPatches").into_iter().flat_map(NodeRef::items);
        for (position, patch) in patches.enumerate() {
            // What gateways have is not for the listeners of sidecars.
            let of_sidecars = filter.patch(position).filter(|typed| typed.context != PatchContext::Gateway);
            findings.extend(match of_sidecars {
                Some(typed) => unmatched(filter, typed, patch, circumstances.istio_version, listeners),
                None => left_out(set, filter, patch),
            });
        }
    }
}

/// What keeps pods with these labels in a filter's namespace, or in all if that is the root
/// namespace.
fn pods<'s>(
    set: &'s Set,
    filter: &'s EnvoyFilter,
    labels: &'s BTreeMap<String, String>,
) -> impl Iterator<Item = &'s Deployment> {
    let namespace = filter.metadata.namespace.as_str();
    set.documents.pods_with((namespace != ROOT_NAMESPACE).then_some(namespace), labels)
}

/// Leaves of each only the first.
fn without_repetition(directions: &mut Vec<TargetListener>) {
    let mut seen = HashSet::new();
    directions.retain(|direction| seen.insert(*direction));
}

/// The finding that no pod is selected by a filter that is for sidecars.
pub(super) fn without_pods(set: &Set, filter: &EnvoyFilter, written: &Document) -> Option<Finding> {
    let (namespace, selector) = (&filter.metadata.namespace, &filter.workload_selector);
    let everyone = BTreeMap::new();
    let services = || set.services_in(namespace);
    if pods(set, filter, &everyone).next().is_none() && services().next().is_none() {
        // Without any pod that it can be for, what it is for is not among the documents.
        let meant = &set.documents.pods_with(None, selector).next()?.metadata;
        let place = written.place_of("metadata.namespace");
        let message = format!(
            "no pod of the namespace {namespace} is in these documents; the pods of {} are in {}",
            meant.name, meant.namespace
        );
        let yaml = format!("metadata:\n  namespace: {}", scalar(&meant.namespace));
        return Some(ENVOY_FILTER_NAMESPACE.at(place, message, yaml));
    }
    let selected = if set.knows_pods_of(namespace) {
        pods(set, filter, selector).next().is_some()
    } else {
        // Of pods that are not known their Service's selector tells some labels.
        let contradicts = |service: &Service| {
            selector
                .iter()
                .any(|(name, value)| service.selector.get(name).is_some_and(|other| other != value))
        };
        services().next().is_none() || !services().all(contradicts)
    };
    if selected || is_for_gateways(selector, written) {
        return None;
    }
    let known = pods(set, filter, &everyone).map(Deployment::labels);
    let known = set.comparable(known.chain(services().map(|service| &service.selector)));
    let shared =
        |labels: &BTreeMap<String, String>| selector.keys().filter(|name| labels.contains_key(*name)).count();
    // Of those with the most labels of the same names the one whose text is the nearest.
    let known: Vec<_> = known.map(|labels| (shared(labels), format!("{labels:?}"), labels)).collect();
    let most = known.iter().map(|(shared, ..)| *shared).max();
    let known = known.iter().filter(|(shared, ..)| Some(*shared) == most);
    let meant = nearest(&format!("{selector:?}"), known.clone().map(|(_, text, _)| text.as_str()), 0.0);
    let meant = known.clone().find(|(_, text, _)| Some(text.as_str()) == meant).map(|(.., labels)| *labels);
    let shown: Vec<String> = selector.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    let message = format!("no pod in the namespace {namespace} has the labels {{{}}}", shown.join(", "));
    let yaml = meant.map(|meant| labels("labels", meant).replace('\n', "\n  "));
    let yaml = yaml.map(|yaml| format!("workloadSelector:\n  {yaml}")).unwrap_or_default();
    Some(ENVOY_FILTER_SELECTOR.at(written.place_of("spec.workloadSelector.labels"), message, yaml))
}

/// Whether the pods are gateways, whose Deployment comes with Istio and is in nobody's documents:
/// by the labels of its charts (`istio: ingressgateway`) or of the Gateway API, or because that is
/// all that the patches are for.
fn is_for_gateways(selector: &BTreeMap<String, String>, written: &Document) -> bool {
    let labelled = selector.iter().any(|(name, value)| {
        (name == "istio" && value.ends_with("gateway")) || name == "gateway.networking.k8s.io/gateway-name"
    });
    let mut patches = written.at("spec.configPatches").into_iter().flat_map(NodeRef::items).peekable();
    let is_gateway = |patch: NodeRef<'_>| {
        let context = patch.at("match.context");
        context.is_some_and(|context| matches!(context.text(), Some("GATEWAY" | "WAYPOINT")))
    };
    labelled || (patches.peek().is_some() && patches.all(is_gateway))
}

/// The inbound listeners of the proxies that a filter selects.
fn inbound(set: &Set, filter: &EnvoyFilter) -> Vec<TargetListener> {
    let documents = &set.documents;
    let mut inbound = Vec::new();
    for pod in pods(set, filter, &filter.workload_selector).map(Deployment::workload) {
        for service in documents.services_of(&pod) {
            let targets = service.http_ports().map(|port| target_port(documents, service, Some(&pod), port));
            inbound.extend(targets.flatten().map(TargetListener::Inbound));
        }
    }
    without_repetition(&mut inbound);
    inbound
}

/// A patch that Istio could apply: whether there is a proxy that it is for.
fn unmatched(
    filter: &EnvoyFilter,
    patch: &ConfigPatch,
    written: NodeRef<'_>,
    istio_version: &str,
    [inbound, outbound]: [&[TargetListener]; 2],
) -> Option<Finding> {
    // Documents often have a patch a version.
    let another = |other: &&ConfigPatch| {
        other.context == patch.context && is_for_version(other.proxy_version.as_ref(), istio_version)
    };
    if !is_for_version(patch.proxy_version.as_ref(), istio_version)
        && !filter.patches.iter().any(|other| another(&other))
    {
        let pattern = written.at("match.proxy.proxyVersion")?;
        let message =
            format!("proxyVersion {:?} is not found in {istio_version}", pattern.text().unwrap_or_default());
        return Some(ENVOY_FILTER_PROXY_VERSION.at(pattern.place(), message, "proxyVersion: '^1\\..*'"));
    }
    if patch.value.allows_connect() && patch.context == PatchContext::SidecarOutbound {
        let message = "allow_connect is set on the client's side, where the server's sidecar does not see it";
        let place = written.at("match.context")?.place();
        return Some(ENVOY_FILTER_CONTEXT.at(place, message, "context: SIDECAR_INBOUND"));
    }
    let listener = written.at("match.listener")?;
    let directions: Vec<&TargetListener> =
        inbound.iter().chain(outbound).filter(|direction| direction.is_in(patch.context)).collect();
    // Where no listener is known, none can be missing.
    let side = if patch.context == PatchContext::SidecarOutbound { outbound } else { inbound };
    if side.is_empty() || directions.iter().any(|direction| direction.matches(&patch.listener)) {
        return None;
    }
    let mut shown: Vec<String> = directions.iter().take(MAX_SHOWN).map(ToString::to_string).collect();
    if let Some(more @ 1..) = directions.len().checked_sub(MAX_SHOWN) {
        shown.push(format!("and {more} more"));
    }
    let message = format!("no listener is like this one; there are {}", shown.join(", "));
    let yaml =
        "listener:\n  filterChain:\n    filter:\n      name: envoy.filters.network.http_connection_manager";
    Some(ENVOY_FILTER_LISTENER.at(listener.place(), message, yaml))
}

/// A patch that Istio applies to no sidecar's connection manager, if it was meant to be.
fn left_out(set: &Set, filter: &EnvoyFilter, patch: NodeRef<'_>) -> Option<Finding> {
    let config = patch.at("patch.value.typedConfig");
    let text = |path: &str| patch.at(path).and_then(|node| node.text().map(|text| (text, node.place())));
    if let Some((context @ ("GATEWAY" | "WAYPOINT"), place)) = text("match.context") {
        let selector = &filter.workload_selector;
        let mut selected = pods(set, filter, selector).filter(|_| !selector.is_empty());
        let pod = selected.find(|pod| !is_gateway(pod))?;
        let message =
            format!("context {context} matches no sidecar: the pods of {} have one", pod.metadata.name);
        return Some(ENVOY_FILTER_CONTEXT.at(place, message, "context: SIDECAR_INBOUND"));
    }
    let for_connection_manager = config.is_some_and(is_connection_manager);
    let by_name = text("match.listener.filterChain.filter.name");
    if by_name.is_none() && !for_connection_manager {
        return None;
    }
    if for_connection_manager {
        for (path, wanted) in [("applyTo", "NETWORK_FILTER"), ("patch.operation", "MERGE")] {
            if let Some((found, place)) = text(path).filter(|(found, _)| *found != wanted) {
                let message = format!("the value is for the HTTP connection manager, and {path} is {found}");
                let field = path.trim_start_matches("patch.");
                return Some(ENVOY_FILTER_OPERATION.at(place, message, format!("{field}: {wanted}")));
            }
        }
    }
    let network_filter = text("applyTo").is_some_and(|(found, _)| found == "NETWORK_FILTER");
    match by_name {
        Some((name, place)) if name != HTTP_CONNECTION_MANAGER && network_filter => {
            let looks_like_it = name.ends_with("http_connection_manager")
                || strsim::normalized_levenshtein(name, HTTP_CONNECTION_MANAGER) > 0.8;
            if !for_connection_manager && !looks_like_it {
                return None;
            }
            let message = format!("no filter of a sidecar's listener is called {name}");
            let yaml = format!("filter:\n  name: {HTTP_CONNECTION_MANAGER}");
            Some(ENVOY_FILTER_FILTER_NAME.at(place, message, yaml))
        }
        _ => wrong_type(config.filter(|_| network_filter)?),
    }
}

fn wrong_type(config: NodeRef<'_>) -> Option<Finding> {
    let yaml = format!("typed_config:\n  '@type': type.googleapis.com/{HTTP_CONNECTION_MANAGER_TYPE}");
    let Some(type_url) = config.at("@type") else {
        return Some(ENVOY_FILTER_TYPE.at(config.place(), "typed_config has no @type", yaml));
    };
    let text = type_url.text()?;
    let wrong = text.rsplit('/').next() != Some(HTTP_CONNECTION_MANAGER_TYPE);
    wrong.then(|| ENVOY_FILTER_TYPE.at(type_url.place(), format!("@type is {text}"), yaml))
}
