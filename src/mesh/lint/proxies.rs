//! Which proxy stands before a pod, as the documents say it: a sidecar, a gateway itself, or none.

use std::collections::HashSet;

use super::set::Set;
use crate::mesh::document::{Deployment, Manifest};
use crate::mesh::mesh_config::DeclaredMesh;
use crate::yaml::NodeRef;

/// What takes the connections to a port of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum InboundProxy {
    /// The pod's own sidecar.
    Sidecar,
    /// The pod is a gateway: the proxy is its application.
    Gateway,
    /// A proxy of an ambient mesh, which no filter for sidecars is for.
    Ambient,
    /// The application itself, for this reason.
    None(String),
}

/// A label or an annotation, whose name may have dots.
pub(super) fn entry<'d>(node: Option<NodeRef<'d>>, name: &str) -> Option<&'d str> {
    node?.entries().find(|entry| entry.key() == Some(name))?.text()
}

/// What takes the connections to a port of the pods that a Deployment keeps.
pub(super) fn inbound_proxy(set: &Set, deployment: &Deployment, port: u16) -> InboundProxy {
    if is_gateway(deployment) {
        return InboundProxy::Gateway;
    }
    if let Some(why) = without_proxy(deployment) {
        return InboundProxy::None(why);
    }
    if is_ambient(set, deployment) {
        return InboundProxy::Ambient;
    }
    let bypassed = || past_inbound(annotations(deployment), port);
    without_injection(set, deployment).or_else(bypassed).map_or(InboundProxy::Sidecar, InboundProxy::None)
}

/// What of a client goes out past its sidecar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PastSidecar {
    /// All of it, for this reason.
    All(String),
    /// What goes to these ports.
    Ports(Vec<u16>),
}

/// What the pods that a Deployment keeps send past a sidecar; of an ambient mesh and of gateways
/// nothing.
pub(super) fn outbound_past_sidecar(set: &Set, deployment: &Deployment) -> PastSidecar {
    if is_gateway(deployment) {
        return PastSidecar::Ports(Vec::new());
    }
    if let Some(why) = without_proxy(deployment) {
        return PastSidecar::All(why);
    }
    if is_ambient(set, deployment) {
        return PastSidecar::Ports(Vec::new());
    }
    if let Some(why) = without_injection(set, deployment) {
        return PastSidecar::All(why);
    }
    let said = |name: &str| {
        entry(annotations(deployment), &format!("traffic.sidecar.istio.io/{name}")).map(str::trim)
    };
    if said("includeOutboundIPRanges") == Some("") && said("includeOutboundPorts").is_none() {
        return PastSidecar::All("includeOutboundIPRanges is empty".to_owned());
    }
    let excluded = said("excludeOutboundPorts").unwrap_or_default().split(',');
    PastSidecar::Ports(excluded.filter_map(|port| port.trim().parse().ok()).collect())
}

/// Why the pods that a Deployment keeps have no proxy, whatever their namespace says.
fn without_proxy(deployment: &Deployment) -> Option<String> {
    let (labels, annotations) = (labels(deployment), annotations(deployment));
    for (said, what) in [(labels, "label"), (annotations, "annotation")] {
        if entry(said, "sidecar.istio.io/inject") == Some("false") {
            return Some(format!("the {what} sidecar.istio.io/inject is false"));
        }
    }
    let spec = deployment.metadata.document().at("spec.template.spec.hostNetwork");
    if spec.is_some_and(|host_network| host_network.to_json(str::to_owned) == true) {
        return Some("nothing is injected into pods with hostNetwork: true".to_owned());
    }
    let mut templates = entry(annotations, "inject.istio.io/templates")?.split(',').map(str::trim);
    let is_proxyless = templates.clone().any(|template| template == "grpc-agent");
    (is_proxyless && !templates.any(|template| template == "sidecar"))
        .then(|| "the template grpc-agent injects an agent without a proxy".to_owned())
}

/// Why a sidecar that others have is not before these pods.
fn without_injection(set: &Set, deployment: &Deployment) -> Option<String> {
    let namespace = deployment.metadata.namespace.as_str();
    let injected = entry(labels(deployment), "sidecar.istio.io/inject") == Some("true");
    if set.uninjected_namespaces.contains(namespace) && !injected {
        return Some(format!("the namespace {namespace} says istio-injection: disabled"));
    }
    let own = entry(annotations(deployment), "sidecar.istio.io/interceptionMode");
    let of_mesh = || set.documents.declared_meshes().iter().rev().find_map(interception_mode);
    (own.or_else(of_mesh) == Some("NONE"))
        .then(|| "the interceptionMode NONE takes nothing to the sidecar".to_owned())
}

fn interception_mode(mesh: &DeclaredMesh) -> Option<&str> {
    mesh.config()?.at("defaultConfig.interceptionMode")?.text()
}

/// Why what comes to a port of a pod with a sidecar goes past it. Where the ports that are taken are
/// listed, none is excluded (Istio: `tools/istio-iptables/pkg/capture/run.go`).
fn past_inbound(annotations: Option<NodeRef<'_>>, port: u16) -> Option<String> {
    let said = |name: &str| entry(annotations, &format!("traffic.sidecar.istio.io/{name}")).map(str::trim);
    let tls = "with TLS by auto mTLS unless a DestinationRule says tls mode DISABLE";
    match said("includeInboundPorts") {
        None | Some("*") => {}
        Some(included) if has_port(included, port) => return None,
        Some(_) => {
            return Some(format!("includeInboundPorts leaves port {port} past the sidecar, {tls}"));
        }
    }
    let excluded = said("excludeInboundPorts").unwrap_or_default();
    has_port(excluded, port).then(|| format!("excludeInboundPorts takes port {port} past the sidecar, {tls}"))
}

fn has_port(list: &str, port: u16) -> bool {
    list.split(',').any(|listed| listed.trim().parse() == Ok(port))
}

fn is_ambient(set: &Set, deployment: &Deployment) -> bool {
    let mode = entry(labels(deployment), "istio.io/dataplane-mode");
    mode == Some("ambient")
        || (mode.is_none() && set.ambient_namespaces.contains(&deployment.metadata.namespace))
}

fn labels(deployment: &Deployment) -> Option<NodeRef<'_>> {
    deployment.metadata.document().at("spec.template.metadata.labels")
}

fn annotations(deployment: &Deployment) -> Option<NodeRef<'_>> {
    deployment.metadata.document().at("spec.template.metadata.annotations")
}

/// Whether pods are a gateway: by the labels of Istio's charts and of the Gateway API, or by the
/// template that they are injected with.
pub(super) fn is_gateway(deployment: &Deployment) -> bool {
    let named = |(name, value): (&String, &String)| {
        (name == "istio" && value.ends_with("gateway"))
            || name == "gateway.networking.k8s.io/gateway-name"
            || name == "gateway.istio.io/managed"
    };
    deployment.labels().iter().any(named)
        || entry(annotations(deployment), "inject.istio.io/templates")
            .is_some_and(|templates| templates.contains("gateway"))
}

/// The namespaces whose `Namespace` has this label with this value.
pub(super) fn labelled<'d>(
    manifests: impl Iterator<Item = &'d Manifest>,
    label: &str,
    value: &str,
) -> HashSet<String> {
    let namespaces =
        manifests.filter(|manifest| manifest.kind == "Namespace" && manifest.api_version == "v1");
    let having =
        namespaces.filter(|manifest| entry(manifest.document.at("metadata.labels"), label) == Some(value));
    having.filter_map(|manifest| Some(manifest.document.at("metadata.name")?.text()?.to_owned())).collect()
}
