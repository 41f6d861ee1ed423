//! The names of the fields of Kubernetes', Istio's and Envoy's messages, and the words of those that
//! take only some, as far as an operator writes them for WebSockets.

mod envoy;
mod gateway_api;
mod mesh_config;
mod networking;
mod security;

pub(super) use self::envoy::HTTP_CONNECTION_MANAGER;
pub(super) use self::mesh_config::MESH_CONFIG;

use crate::mesh::document::Manifest;
use crate::mesh::kinds::group_and_version;

/// The fields of a message, and of those that are looked into the message below.
pub(super) struct MessageSchema {
    /// In `lowerCamelCase`; none, if they are not looked at.
    pub(super) fields: &'static [&'static str],
    pub(super) below: &'static [(&'static str, &'static MessageSchema)],
    /// The words that a field may have.
    pub(super) values: &'static [(&'static str, &'static [&'static str])],
    /// The message of every field of a mapping whose keys mean something else.
    pub(super) of_each: Option<&'static MessageSchema>,
}

const EMPTY: MessageSchema = MessageSchema { fields: &[], below: &[], values: &[], of_each: None };

impl MessageSchema {
    /// The message of a field; of a list, that of its items.
    pub(super) fn below(&self, field: &str) -> Option<&'static Self> {
        let named = self.below.iter().find(|(name, _)| *name == field).map(|(_, message)| *message);
        named.or(self.of_each)
    }
}

/// The message of a document's `spec`.
pub(super) fn spec_of(manifest: &Manifest) -> Option<&'static MessageSchema> {
    let (group, _) = group_and_version(&manifest.api_version);
    match (group, manifest.kind.as_str()) {
        ("", "Service") => Some(&SERVICE),
        ("networking.istio.io", "DestinationRule") => Some(&networking::DESTINATION_RULE),
        ("networking.istio.io", "VirtualService") => Some(&networking::VIRTUAL_SERVICE),
        ("networking.istio.io", "EnvoyFilter") => Some(&networking::ENVOY_FILTER),
        ("networking.istio.io", "ServiceEntry") => Some(&networking::SERVICE_ENTRY),
        ("networking.istio.io", "Sidecar") => Some(&networking::SIDECAR),
        ("networking.istio.io", "Gateway") => Some(&networking::GATEWAY),
        ("security.istio.io", "AuthorizationPolicy") => Some(&security::AUTHORIZATION_POLICY),
        ("security.istio.io", "PeerAuthentication") => Some(&security::PEER_AUTHENTICATION),
        ("security.istio.io", "RequestAuthentication") => Some(&security::REQUEST_AUTHENTICATION),
        ("telemetry.istio.io", "Telemetry") => Some(&security::TELEMETRY),
        ("gateway.networking.k8s.io", "HTTPRoute") => Some(&gateway_api::HTTP_ROUTE),
        _ => None,
    }
}

/// Kubernetes' `ServiceSpec`.
const SERVICE: MessageSchema = MessageSchema {
    fields: &[
        "type",
        "selector",
        "ports",
        "clusterIP",
        "clusterIPs",
        "externalIPs",
        "externalName",
        "externalTrafficPolicy",
        "internalTrafficPolicy",
        "healthCheckNodePort",
        "ipFamilies",
        "ipFamilyPolicy",
        "ipFamily",
        "loadBalancerClass",
        "loadBalancerIP",
        "loadBalancerSourceRanges",
        "allocateLoadBalancerNodePorts",
        "publishNotReadyAddresses",
        "sessionAffinity",
        "sessionAffinityConfig",
        "trafficDistribution",
        "topologyKeys",
    ],
    below: &[("ports", &SERVICE_PORT)],
    values: &[("type", &["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"])],
    ..EMPTY
};

const SERVICE_PORT: MessageSchema = MessageSchema {
    fields: &["name", "protocol", "appProtocol", "port", "targetPort", "nodePort"],
    values: &[("protocol", &["TCP", "UDP", "SCTP"])],
    ..EMPTY
};
