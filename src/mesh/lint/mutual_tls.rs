//! Mutual TLS to a Service: what its pods take, by `PeerAuthentication` and their proxies, and what
//! a `DestinationRule` has clients send.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::finding::Finding;
use super::proxies::{InboundProxy, inbound_proxy};
use super::rules::{HOP_MISMATCH, STRICT_WITHOUT_TLS, UNDECLARED_PORT};
use super::set::Set;
use crate::mesh::document::{
    Deployment, DestinationRule, Manifest, ROOT_NAMESPACE, Service, ServicePort, Subset, TrafficPolicy,
};
use crate::mesh::host::resolve;
use crate::mesh::inbound::target_port;
use crate::yaml::NodeRef;

pub(super) fn check(set: &Set, findings: &mut Vec<Finding>) {
    let policies = PeerAuthentications::of(set);
    findings.extend(without_auto_mtls(set, &policies));
    let written = set.of_kind("security.istio.io", "PeerAuthentication");
    findings.extend(written.flat_map(|policy| unknown_ports(set, policy)));
    let mut places = HashSet::new();
    for rule in set.documents.destination_rules() {
        let found = contradictions(set, &policies, rule).into_iter();
        // One mode may be for many ports.
        findings.extend(
            found.filter(|it| places.insert((it.place.file.clone(), it.place.line, it.place.column))),
        );
    }
}

/// Ports that a policy names and that no pod which it selects is known to have.
fn unknown_ports(set: &Set, policy: &Manifest) -> Vec<Finding> {
    let labels = selector(policy).map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let pods: Vec<&Deployment> = set.documents.pods_with(Some(policy.namespace()), &labels).collect();
    let of_services = pods.iter().flat_map(|pods| {
        let workload = pods.workload();
        let services = set.documents.services_of(&workload).into_iter();
        let targets = services.flat_map(|service| service.ports.iter().map(move |port| (service, port)));
        let numbers = targets
            .filter_map(|(service, port)| target_port(&set.documents, service, Some(&workload), port).ok());
        numbers.collect::<Vec<_>>()
    });
    let known: BTreeSet<u16> =
        pods.iter().flat_map(|pods| pods.port_numbers.iter().copied()).chain(of_services).collect();
    let ports = policy.document.at("spec.portLevelMtls").into_iter().flat_map(NodeRef::entries);
    let is_unknown =
        |port: &NodeRef<'_>| port.key().is_some_and(|key| key.parse().is_ok_and(|key| !known.contains(&key)));
    let all: Vec<String> = known.iter().map(u16::to_string).collect();
    let found = ports.filter(|port| !known.is_empty() && is_unknown(port)).map(|port| {
        let message = format!(
            "the pods that are selected have no port {}, which is meant here and not the Service's: they have {}",
            port.key().unwrap_or_default(),
            all.join(", ")
        );
        UNDECLARED_PORT.at(port.place_of_key(), message, "")
    });
    found.collect()
}

/// Without auto mTLS clients send plain text where no rule says otherwise, which is refused where the
/// pods take TLS alone.
fn without_auto_mtls(set: &Set, policies: &PeerAuthentications<'_>) -> Option<Finding> {
    let enabled = set.documents.declared_meshes().iter().rev().find_map(|mesh| {
        let enabled = mesh.config()?.at("enableAutoMtls")?;
        Some((mesh, enabled))
    });
    let (mesh, enabled) = enabled.filter(|(_, enabled)| enabled.to_json(str::to_owned) == false)?;
    let ports = set
        .documents
        .services()
        .iter()
        .flat_map(|service| service.http_ports().map(move |port| (service, port)));
    let has_mode = |service: &Service, port: &ServicePort| {
        let rules = set.documents.destination_rules_for(&service.host());
        rules.iter().any(|(_, rule)| !tls_modes(rule, port.number).is_empty())
    };
    let mut refusing = ports.filter(|(service, port)| {
        !has_mode(service, port) && policies.taken_by(set, service, port, None).contains(&Taken::MutualTls)
    });
    let (service, port) = refusing.next()?;
    let others = match refusing.count() {
        0 => String::new(),
        more => format!(" (and {more} more ports like this)"),
    };
    let message = format!(
        "enableAutoMtls is false, no DestinationRule has a tls mode for {}:{}, and PeerAuthentication says STRICT \
         there{others}",
        service.host(),
        port.number
    );
    let place = mesh.place_in_documents(enabled.place());
    Some(STRICT_WITHOUT_TLS.at(place, message, "enableAutoMtls: true"))
}

/// What the pods behind a port take.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    MutualTls,
    Both,
    /// For this reason.
    PlainText(String),
}

/// The `PeerAuthentication`s of each namespace.
///
/// Istio: `pilot/pkg/security/authn/policy_applier.go` (`ComposePeerAuthentication`).
pub(super) struct PeerAuthentications<'s>(HashMap<&'s str, OfNamespace<'s>>);

#[derive(Default)]
struct OfNamespace<'s> {
    /// Of those without a selector the oldest.
    of_all: Option<&'s Manifest>,
    /// The others by a label that they select, each with its age among them.
    by_label: HashMap<(&'s str, &'s str), Vec<(usize, &'s Manifest)>>,
}

impl<'s> PeerAuthentications<'s> {
    pub(super) fn of(set: &'s Set) -> Self {
        let mut policies: Vec<&Manifest> = set.of_kind("security.istio.io", "PeerAuthentication").collect();
        let text = |policy: &'s Manifest, path: &str| policy.document.at(path).and_then(NodeRef::text);
        policies.sort_by_key(|it| (text(it, "metadata.creationTimestamp"), text(it, "metadata.name")));
        let mut of_namespaces: HashMap<&str, OfNamespace<'_>> = HashMap::new();
        for (age, policy) in policies.into_iter().enumerate() {
            let of_namespace = of_namespaces.entry(policy.namespace()).or_default();
            match selector(policy).next() {
                None => of_namespace.of_all = of_namespace.of_all.or(Some(policy)),
                Some(first) => of_namespace.by_label.entry(first).or_default().push((age, policy)),
            }
        }
        Self(of_namespaces)
    }

    /// The mode in force for a port of pods, which is not the Service's: what a policy that selects
    /// them says of the port, then what it says of all, then their namespace's, then the mesh's.
    fn mode(&self, namespace: &str, labels: &BTreeMap<String, String>, port: Option<u16>) -> &'s str {
        let of_all = |namespace: &str| self.0.get(namespace).and_then(|found| found.of_all);
        // One that selects pods counts in its own namespace alone.
        let of_pods = self.0.get(namespace).filter(|_| namespace != ROOT_NAMESPACE).and_then(|found| {
            let has = |(name, value): (&str, &str)| labels.get(name).is_some_and(|label| label == value);
            let candidates = labels
                .iter()
                .filter_map(|(name, value)| found.by_label.get(&(name.as_str(), value.as_str())));
            let selecting = candidates.flatten().filter(|(_, policy)| selector(policy).all(has));
            selecting.min_by_key(|(age, _)| *age).map(|(_, policy)| *policy)
        });
        let ports = of_pods.and_then(|policy| policy.document.at("spec.portLevelMtls"));
        let number = port.map(|port| port.to_string());
        let of_port = ports
            .into_iter()
            .flat_map(NodeRef::entries)
            .find(|entry| entry.key().is_some() && entry.key() == number.as_deref())
            .and_then(|entry| entry.at("mode"));
        let policies = [of_pods, of_all(namespace), of_all(ROOT_NAMESPACE)].into_iter().flatten();
        let modes = policies.filter_map(|policy| policy.document.at("spec.mtls.mode"));
        let said = of_port.into_iter().chain(modes).filter_map(NodeRef::text).find(|mode| *mode != "UNSET");
        said.unwrap_or("PERMISSIVE")
    }

    fn taken(&self, set: &Set, pods: &Deployment, port: u16) -> Taken {
        match inbound_proxy(set, pods, port) {
            InboundProxy::None(why) => Taken::PlainText(why),
            InboundProxy::Gateway => Taken::Both,
            InboundProxy::Ambient | InboundProxy::Sidecar => {
                self.taken_by_proxy(&pods.metadata.namespace, pods.labels(), Some(port))
            }
        }
    }

    fn taken_by_proxy(&self, namespace: &str, labels: &BTreeMap<String, String>, port: Option<u16>) -> Taken {
        match self.mode(namespace, labels, port) {
            "STRICT" => Taken::MutualTls,
            "DISABLE" => Taken::PlainText("their PeerAuthentication says DISABLE".to_owned()),
            _ => Taken::Both,
        }
    }

    /// What the pods behind a Service's port take, of those in the subset if there is one.
    pub(super) fn taken_by(
        &self,
        set: &Set,
        service: &Service,
        port: &ServicePort,
        subset: Option<&Subset>,
    ) -> Vec<Taken> {
        let target = |pods: Option<&Deployment>| {
            let workload = pods.map(Deployment::workload);
            target_port(&set.documents, service, workload.as_ref(), port).unwrap_or(port.number)
        };
        let pods = set.documents.pods_of(service);
        if pods.is_empty() {
            return vec![self.taken_by_proxy(service.namespace(), service.selector(), Some(target(None)))];
        }
        let labels = subset.and_then(|subset| subset.labels.as_ref());
        let in_subset = pods.into_iter().filter(|pods| labels.is_none_or(|labels| pods.has_labels(labels)));
        in_subset.map(|pods| self.taken(set, pods, target(Some(pods)))).collect()
    }
}

/// The labels that a policy selects; none, if it is for all pods.
fn selector(policy: &Manifest) -> impl Iterator<Item = (&str, &str)> {
    let labels = policy.document.at("spec.selector.matchLabels").into_iter().flat_map(NodeRef::entries);
    labels.map(|label| (label.key().unwrap_or_default(), label.text().unwrap_or_default()))
}

fn contradictions(set: &Set, policies: &PeerAuthentications<'_>, rule: &DestinationRule) -> Vec<Finding> {
    let host = resolve(&rule.host, &rule.metadata.namespace);
    let mut services = set.documents.services_for(&host).peekable();
    if services.peek().is_none() {
        // Whose Service is not among the documents is of a namespace at least.
        let namespace = host.split('.').nth(1).filter(|_| host.ends_with(".svc.cluster.local"));
        let mode = rule.metadata.document().at("spec.trafficPolicy.tls.mode");
        let (Some(namespace), Some(mode)) = (namespace, mode) else { return Vec::new() };
        let taken = policies.taken_by_proxy(namespace, &BTreeMap::new(), None);
        return contradiction(mode, &host, &taken).into_iter().collect();
    }
    let ports = services.flat_map(|service| service.ports.iter().map(move |port| (service, port)));
    let mut found = Vec::new();
    for (service, port) in ports {
        for (mode, subset) in tls_modes(rule, port.number) {
            let taken = policies.taken_by(set, service, port, subset);
            let host = service.host();
            found.extend(taken.iter().filter_map(|taken| contradiction(mode, &host, taken)));
        }
    }
    found
}

fn contradiction(mode: NodeRef<'_>, host: &str, taken: &Taken) -> Option<Finding> {
    match (mode.text()?, taken) {
        ("DISABLE", Taken::MutualTls) => {
            let message = format!("tls mode is DISABLE for {host}, whose PeerAuthentication says STRICT");
            Some(STRICT_WITHOUT_TLS.at(mode.place(), message, "mode: ISTIO_MUTUAL"))
        }
        ("ISTIO_MUTUAL", Taken::PlainText(why)) => {
            let message = format!("tls mode is ISTIO_MUTUAL for {host}, and its pods take no TLS: {why}");
            Some(HOP_MISMATCH.at(mode.place(), message, "mode: DISABLE"))
        }
        _ => None,
    }
}

/// The tls modes that a rule has for a Service's port: its own, and those of its subsets.
fn tls_modes(rule: &DestinationRule, port: u16) -> Vec<(NodeRef<'_>, Option<&Subset>)> {
    let written = rule.metadata.document();
    let mode = |path: &str, policy: Option<&TrafficPolicy>| {
        // The settings of a port take the place of the policy whole.
        let of_port = policy?.port_level_settings.iter().position(|settings| settings.port == port);
        let path =
            of_port.map_or_else(|| path.to_owned(), |index| format!("{path}.portLevelSettings[{index}]"));
        written.at(&format!("{path}.tls.mode"))
    };
    let own = mode("spec.trafficPolicy", rule.traffic_policy.as_ref()).map(|mode| (mode, None));
    let of_subsets = rule.subsets.iter().enumerate().filter_map(|(index, subset)| {
        let path = format!("spec.subsets[{index}].trafficPolicy");
        Some((mode(&path, subset.traffic_policy.as_ref())?, Some(subset)))
    });
    own.into_iter().chain(of_subsets).collect()
}
