//! Services: what their ports speak, which pods they select, and where their ports lead.

use std::collections::BTreeMap;

use super::finding::Finding;
use super::rules::{
    NO_REPLICAS, PORT_PROTOCOL_CONFLICT, SERVICE_SELECTOR, SUBSET_WITHOUT_PODS, TCP_PORT,
    UNDECLARED_NAMED_PORT, UNDECLARED_PORT, UNDECLARED_PROTOCOL,
};
use super::set::Set;
use crate::mesh::document::{Deployment, PortProtocol, Service, ServicePort, TargetPort, is_never_http};
use crate::mesh::host::resolve;
use crate::mesh::inbound::target_port;
use crate::mesh::scalar::scalar;
use crate::nearest::nearest;
use crate::yaml::{Document, NodeRef};

pub(super) fn check(set: &Set, findings: &mut Vec<Finding>) {
    for service in set.documents.services() {
        let written = service.metadata.document();
        let is_alone = service.http_ports().next().is_none() && has_rules(set, service);
        for (index, port) in service.ports.iter().enumerate() {
            check_protocol(written, index, port, is_alone, findings);
        }
        if service.selector.is_empty() {
            continue;
        }
        let selected = set.documents.pods_of(service);
        if selected.is_empty() && set.knows_pods_of(service.namespace()) {
            findings.push(without_pods(set, service, written));
        }
        findings.extend(without_replicas(set, service, &selected));
        for (index, port) in service.ports.iter().enumerate() {
            check_target(written, index, port, &selected, findings);
            check_conflict(set, service, index, port, &selected, findings);
        }
    }
    for rule in set.documents.destination_rules() {
        let host = resolve(&rule.host, &rule.metadata.namespace);
        let Some(service) = set.documents.service_with_host(&host) else { continue };
        for (index, subset) in rule.subsets.iter().enumerate() {
            if set.has_no_pods(service, subset) {
                let message = format!("no pod of {host} has the labels of the subset {}", subset.name);
                let place = rule.metadata.document().place_of(&format!("spec.subsets[{index}]"));
                findings.push(SUBSET_WITHOUT_PODS.at(place, message, ""));
            }
        }
    }
}

/// Whether somebody means the Service to carry HTTP.
fn has_rules(set: &Set, service: &Service) -> bool {
    let host = service.host();
    let mut rules = set.documents.destination_rules_for(&host).into_iter();
    rules.any(|(_, rule)| !rule.connection_pools().is_empty())
        || set.documents.virtual_services_for(&host).iter().any(|(_, routes)| !routes.http.is_empty())
}

/// Pods of which none runs. A scaler of another kind (KEDA's `ScaledObject`) may start some.
fn without_replicas(set: &Set, service: &Service, pods: &[&Deployment]) -> Option<Finding> {
    let none: Option<Vec<NodeRef<'_>>> = pods
        .iter()
        .map(|pods| {
            let replicas = pods.metadata.document().at("spec.replicas")?;
            (replicas.to_json(str::to_owned) == 0).then_some(replicas)
        })
        .collect();
    let first = none?.into_iter().next()?;
    let is_scaled = set.of_kind("keda.sh", "ScaledObject").next().is_some();
    let message = format!("no pod of the Service {} runs: replicas is 0", service.name());
    (!is_scaled).then(|| NO_REPLICAS.at(first.place(), message, "replicas: 1"))
}

/// Another Service, of an earlier name, that gives the same port of a pod another protocol.
fn check_conflict(
    set: &Set,
    service: &Service,
    index: usize,
    port: &ServicePort,
    pods: &[&Deployment],
    findings: &mut Vec<Finding>,
) {
    let target = |service: &Service, port: &ServicePort, pod: &Deployment| {
        target_port(&set.documents, service, Some(&pod.workload()), port).ok()
    };
    for pod in pods {
        let Some(number) = target(service, port, pod) else { continue };
        for other in set.documents.services_of(&pod.workload()) {
            let differs =
                |it: &&ServicePort| it.protocol != port.protocol && target(other, it, pod) == Some(number);
            let Some(theirs) = other.ports.iter().find(differs) else { continue };
            if other.name() >= service.name() {
                continue;
            }
            let message = format!(
                "port {number} of {} is {} to the Service {} and {} to the Service {}",
                pod.metadata.name,
                port.protocol.in_words(),
                service.name(),
                theirs.protocol.in_words(),
                other.name()
            );
            let place = service.metadata.document().place_of(&format!("spec.ports[{index}]"));
            findings.push(PORT_PROTOCOL_CONFLICT.at(place, message, ""));
            return;
        }
    }
}

/// What Istio takes a port for. It `is_alone` if rules are for its Service, and no port of that can
/// carry HTTP.
fn check_protocol(
    written: &Document,
    index: usize,
    port: &ServicePort,
    is_alone: bool,
    findings: &mut Vec<Finding>,
) {
    let text = |field: &str| written.at(&format!("spec.ports[{index}].{field}")).and_then(NodeRef::text);
    let (app_protocol, name) = (text("appProtocol"), text("name"));
    let (path, said) = match (app_protocol, name) {
        (Some(protocol), _) => ("appProtocol", format!("the appProtocol {protocol}")),
        (None, Some(name)) => ("name", format!("the name {name}")),
        (None, None) => ("port", "the lack of a name and of an appProtocol".to_owned()),
    };
    let place = || written.place_of(&format!("spec.ports[{index}].{path}"));
    let yaml = if app_protocol.is_some() {
        "appProtocol: http".to_owned()
    } else {
        // What is before the hyphen is the protocol that Istio took it for, and says nothing that
        // should stay.
        let rest = name.and_then(|name| name.split_once('-')).map_or(name, |(_, rest)| Some(rest));
        format!("name: {}", scalar(&format!("http-{}", rest.unwrap_or("websocket"))))
    };
    let number = port.number;
    match port.protocol {
        PortProtocol::Opaque if is_alone && text("protocol") == Some("UDP") => {
            let message =
                format!("port {number} is UDP, and a WebSocket needs TCP: no port here can carry one");
            findings.push(TCP_PORT.at(
                written.place_of(&format!("spec.ports[{index}].protocol")),
                message,
                "protocol: TCP",
            ));
        }
        PortProtocol::Opaque if is_never_http(number, text("protocol"), app_protocol.or(name)) => {}
        PortProtocol::Opaque => {
            findings.push(TCP_PORT.at(place(), format!("{said} makes port {number} TCP"), yaml));
        }
        PortProtocol::Detected => {
            let message = format!("{said} leaves open what port {number} speaks");
            findings.push(UNDECLARED_PROTOCOL.at(place(), message, yaml));
        }
        PortProtocol::Http | PortProtocol::Http2 | PortProtocol::Grpc => {}
    }
}

fn without_pods(set: &Set, service: &Service, written: &Document) -> Finding {
    let (name, namespace) = (service.name(), service.namespace());
    let message = format!("the Service {name} selects no pod template in the namespace {namespace}");
    let everyone = BTreeMap::new();
    let own: Vec<_> = set.comparable(set.documents.pods_with(Some(namespace), &everyone)).collect();
    let nearest = nearest(name, own.iter().map(|deployment| deployment.metadata.name.as_str()), 0.0);
    let meant = own.iter().find(|deployment| Some(deployment.metadata.name.as_str()) == nearest);
    let yaml = meant.map(|deployment| labels("selector", deployment.labels()));
    SERVICE_SELECTOR.at(written.place_of("spec.selector"), message, yaml.unwrap_or_default())
}

/// A mapping of labels as YAML.
pub(super) fn labels<'l>(name: &str, labels: impl IntoIterator<Item = (&'l String, &'l String)>) -> String {
    let lines = labels.into_iter().map(|(label, value)| format!("\n  {}: {}", scalar(label), scalar(value)));
    format!("{name}:{}", lines.collect::<String>())
}

fn check_target(
    written: &Document,
    index: usize,
    port: &ServicePort,
    pods: &[&Deployment],
    findings: &mut Vec<Finding>,
) {
    let place = || {
        let path = format!("spec.ports[{index}].targetPort");
        written.place_of(if written.at(&path).is_some() {
            &path
        } else {
            path.trim_end_matches("targetPort")
        })
    };
    for pod in pods {
        let (kind, workload) = (pod.kind, &pod.metadata.name);
        match &port.target {
            TargetPort::Name(name) if !pod.ports.contains_key(name) => {
                let message = format!("no container of the {kind} {workload} has a port named {name}");
                let yaml = format!("ports:\n- name: {}\n  containerPort: {}", scalar(name), port.number);
                findings.push(UNDECLARED_NAMED_PORT.at(place(), message, yaml));
            }
            TargetPort::Number(number) if !pod.port_numbers.contains(number) => {
                let message = format!("no container of the {kind} {workload} declares port {number}");
                let yaml = format!("ports:\n- containerPort: {number}");
                findings.push(UNDECLARED_PORT.at(place(), message, yaml));
            }
            _ => {}
        }
    }
}
