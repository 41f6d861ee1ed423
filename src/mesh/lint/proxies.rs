//! Which proxy stands before a pod, as the documents say it: a sidecar, a gateway itself, or none.

use std::collections::HashSet;

use super::set::Set;
use crate::mesh::document::{Deployment, Manifest};
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
    let written = deployment.metadata.document();
    let labels = || written.at("spec.template.metadata.labels");
    let annotations = || written.at("spec.template.metadata.annotations");
    let namespace = deployment.metadata.namespace.as_str();
    if is_gateway(deployment) {
        return InboundProxy::Gateway;
    }
    for (said, what) in [(labels(), "label"), (annotations(), "annotation")] {
        if entry(said, "sidecar.istio.io/inject") == Some("false") {
            return InboundProxy::None(format!("the {what} sidecar.istio.io/inject is false"));
        }
    }
    let mode = entry(labels(), "istio.io/dataplane-mode");
    if mode == Some("ambient") || (mode.is_none() && set.ambient_namespaces.contains(namespace)) {
        return InboundProxy::Ambient;
    }
    let injected = entry(labels(), "sidecar.istio.io/inject") == Some("true");
    if set.uninjected_namespaces.contains(namespace) && !injected {
        return InboundProxy::None(format!("the namespace {namespace} says istio-injection: disabled"));
    }
    let excluded = entry(annotations(), "traffic.sidecar.istio.io/excludeInboundPorts").unwrap_or_default();
    if excluded.split(',').any(|excluded| excluded.trim().parse() == Ok(port)) {
        return InboundProxy::None(format!(
            "excludeInboundPorts takes port {port} past the sidecar, with TLS by auto mTLS unless a DestinationRule says \
             tls mode DISABLE"
        ));
    }
    InboundProxy::Sidecar
}

/// Whether pods are a gateway: by the labels of Istio's charts and of the Gateway API, or by the
/// template that they are injected with.
pub(super) fn is_gateway(deployment: &Deployment) -> bool {
    let named = |(name, value): (&String, &String)| {
        (name == "istio" && value.ends_with("gateway"))
            || name == "gateway.networking.k8s.io/gateway-name"
            || name == "gateway.istio.io/managed"
    };
    let annotations = deployment.metadata.document().at("spec.template.metadata.annotations");
    deployment.labels().iter().any(named)
        || entry(annotations, "inject.istio.io/templates")
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
