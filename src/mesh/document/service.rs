//! Kubernetes' `Service`, and the protocol of its ports as Istio decides it.

use std::fmt;
use std::net::IpAddr;

use serde::Deserialize;
use serde::de::{self, Deserializer, Unexpected, Visitor};

use super::Port;
use super::metadata::{Labels, Metadata, selects};
use super::read::{Body, WarningCollector};
use crate::mesh::config::Workload;
use crate::mesh::error::MeshError;
use crate::mesh::host::service_host;
use crate::mesh::rules::{NOT_PLAYED, TCP_PORT};
use crate::yaml::{Dialect, Placed};

/// A Service.
#[derive(Debug, Clone)]
pub struct Service {
    pub(in crate::mesh) metadata: Metadata,
    pub(in crate::mesh) selector: Labels,
    pub(in crate::mesh) ports: Vec<ServicePort>,
    /// The address that a cluster gave it, in an export.
    pub(in crate::mesh) cluster_ip: Option<IpAddr>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ServiceSpec {
    r#type: Option<Placed<String>>,
    #[serde(default)]
    selector: Labels,
    #[serde(default)]
    ports: Vec<Placed<ServicePortSpec>>,
    #[serde(rename = "clusterIP")]
    cluster_ip: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ServicePortSpec {
    port: Port,
    target_port: Option<TargetPort>,
    name: Option<String>,
    app_protocol: Option<String>,
    protocol: Option<String>,
}

/// A port of a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::mesh) struct ServicePort {
    pub(in crate::mesh) number: u16,
    pub(in crate::mesh) target: TargetPort,
    pub(in crate::mesh) protocol: PortProtocol,
}

/// Where a port leads to in the pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::mesh) enum TargetPort {
    Number(u16),
    /// The name of a container's port.
    Name(String),
}

/// What Istio takes a port to speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::mesh) enum PortProtocol {
    /// HTTP/1.1, which a policy may upgrade.
    Http,
    /// HTTP/2 from the start.
    Http2,
    /// gRPC, which is HTTP/2.
    Grpc,
    /// Not said: the proxy looks at the first bytes.
    Detected,
    /// Anything that is not HTTP, carried as bytes.
    Opaque,
}

impl PortProtocol {
    /// As a message says it.
    pub(in crate::mesh) fn in_words(self) -> &'static str {
        match self {
            Self::Http => "HTTP/1.1",
            Self::Http2 => "HTTP/2",
            Self::Grpc => "HTTP/2 (gRPC)",
            Self::Detected => "whatever is detected",
            Self::Opaque => "TCP",
        }
    }
}

impl Service {
    /// The name within its namespace.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.metadata.name
    }

    /// The namespace, in which its selector selects pods.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.metadata.namespace
    }

    /// Its fully qualified name, `websockets-server.default.svc.cluster.local`.
    #[must_use]
    pub fn host(&self) -> String {
        service_host(&self.metadata.name, &self.metadata.namespace)
    }

    /// The first port that can carry HTTP.
    #[must_use]
    pub fn http_port(&self) -> Option<u16> {
        self.http_ports().next().map(|port| port.number)
    }

    /// The numbers of all ports that are HTTP to Istio, or may be.
    pub fn http_port_numbers(&self) -> impl Iterator<Item = u16> {
        self.http_ports().map(|port| port.number)
    }

    /// The labels of its pods.
    #[must_use]
    pub fn selector(&self) -> &Labels {
        &self.selector
    }

    /// The address that a cluster gave it.
    #[must_use]
    pub fn cluster_ip(&self) -> Option<IpAddr> {
        self.cluster_ip
    }

    /// Whether its selector selects the workload's pods.
    #[must_use]
    pub fn selects(&self, workload: &Workload) -> bool {
        // A Service without a selector has endpoints that somebody else writes down.
        self.metadata.namespace == workload.namespace
            && !self.selector.is_empty()
            && selects(&self.selector, &workload.labels)
    }

    pub(in crate::mesh) fn http_ports(&self) -> impl Iterator<Item = &ServicePort> {
        self.ports.iter().filter(|port| port.protocol != PortProtocol::Opaque)
    }

    pub(super) fn read(metadata: Metadata, warnings: &mut WarningCollector) -> Result<Self, MeshError> {
        let Body { spec, .. } = metadata.manifest.document.root().read(Dialect::Kubernetes)?;
        let ServiceSpec { r#type, selector, ports, cluster_ip } = spec;
        if let Some(kind) = r#type.filter(|kind| kind.value == "ExternalName") {
            warnings.warn(
                &NOT_PLAYED,
                &kind,
                "an ExternalName Service is not implemented here: it is in force in a mesh alone",
            );
            return Ok(Self { metadata, selector: Labels::new(), ports: Vec::new(), cluster_ip: None });
        }
        Ok(Self {
            metadata,
            selector,
            ports: ports.into_iter().map(|port| ServicePort::of(port, warnings)).collect(),
            // `None` is a headless Service; an address is the export of a cluster.
            cluster_ip: cluster_ip.and_then(|address| address.parse().ok()),
        })
    }
}

impl ServicePort {
    /// Whether sessions may go to it: all but what is known to be of other protocols, by its number.
    pub(in crate::mesh) fn may_be_http(&self) -> bool {
        self.protocol != PortProtocol::Opaque || !is_never_http(self.number, None, None)
    }

    fn of(written: Placed<ServicePortSpec>, warnings: &mut WarningCollector) -> Self {
        let ServicePortSpec { port, name, app_protocol, protocol, .. } = &*written;
        let number = port.0;
        let protocol =
            PortProtocol::of(number, protocol.as_deref(), app_protocol.as_deref(), name.as_deref());
        let declared = app_protocol.as_deref().or(name.as_deref());
        if protocol == PortProtocol::Opaque && !is_never_http(number, written.protocol.as_deref(), declared) {
            let text = "not an HTTP port by its name or appProtocol, so no proxy here serves it";
            warnings.warn(&TCP_PORT, &written, text);
        }
        let target = written.value.target_port.unwrap_or(TargetPort::Number(number));
        Self { number, target, protocol }
    }
}

impl<'de> Deserialize<'de> for TargetPort {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TargetPortVisitor)
    }
}

/// Kubernetes' `IntOrString`.
struct TargetPortVisitor;

impl Visitor<'_> for TargetPortVisitor {
    type Value = TargetPort;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a whole number from 1 to 65535")
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<TargetPort, E> {
        match u16::try_from(number) {
            Ok(number @ 1..) => Ok(TargetPort::Number(number)),
            _ => Err(E::invalid_value(Unexpected::Unsigned(number), &self)),
        }
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<TargetPort, E> {
        if name.contains(|character: char| character.is_ascii_alphabetic()) {
            return Ok(TargetPort::Name(name.to_owned()));
        }
        let expected = "a number without quotes, or the name of a container's port, which has a letter";
        Err(E::invalid_value(Unexpected::Str(name), &expected))
    }
}

/// Protocols that nobody speaks WebSocket over; a port that says one of these is meant to be no
/// HTTP port.
const NEVER_HTTP: [&str; 4] = ["udp", "mongo", "mysql", "redis"];

/// Ports of SSH, mail, DNS, `etcd`, databases, caches and message brokers: where one of these is
/// TCP it is meant to be.
const NEVER_HTTP_PORTS: [u16; 15] =
    [22, 25, 53, 1433, 1521, 2181, 2379, 3306, 5432, 5672, 6379, 9042, 9092, 11211, 27017];

/// Whether a port that is no HTTP port is meant to be none: by its transport, by what its
/// `appProtocol` or name declares, or by its number.
pub(in crate::mesh) fn is_never_http(number: u16, transport: Option<&str>, declared: Option<&str>) -> bool {
    let declared = declared.unwrap_or_default().to_ascii_lowercase();
    transport.is_some_and(|transport| transport != "TCP")
        || NEVER_HTTP.iter().any(|protocol| declared.starts_with(protocol))
        || NEVER_HTTP_PORTS.contains(&number)
}

impl PortProtocol {
    /// Istio's protocol selection: `appProtocol`, else the name up to its first `-`
    /// (`pkg/config/kube/conversion.go`, `pkg/config/protocol/instance.go`).
    fn of(number: u16, transport: Option<&str>, app_protocol: Option<&str>, name: Option<&str>) -> Self {
        if transport.is_some_and(|transport| transport != "TCP") {
            return Self::Opaque;
        }
        let declared = app_protocol.or(name).unwrap_or_default().to_ascii_lowercase();
        let declared = match declared.as_str() {
            "kubernetes.io/h2c" => "http2",
            "kubernetes.io/ws" => "http",
            "kubernetes.io/wss" => "https",
            other if app_protocol.is_some() || other.starts_with("grpc-web") => other,
            other => other.split_once('-').map_or(other, |(prefix, _)| prefix),
        };
        match declared {
            "http" => Self::Http,
            "http2" => Self::Http2,
            "grpc" => Self::Grpc,
            other if other.starts_with("grpc-web") => Self::Grpc,
            "tcp" | "udp" | "https" | "tls" | "mongo" | "mysql" | "redis" => Self::Opaque,
            // Protocols whose server speaks first cannot be detected, so their well-known ports are
            // opaque.
            _ if [3306, 27017].contains(&number) => Self::Opaque,
            _ => Self::Detected,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_protocol_of_a_port_comes_from_app_protocol_or_else_from_its_name() {
        use PortProtocol::{Detected, Grpc, Http, Http2, Opaque};
        for (number, transport, app_protocol, name, expected) in [
            (8080, None, None, Some("http-websocket"), Http),
            (8080, Some("TCP"), None, Some("http"), Http),
            (8080, None, None, Some("HTTP-web"), Http),
            (8080, None, None, Some("http2-websocket"), Http2),
            (8080, None, None, Some("grpc"), Grpc),
            (8080, None, None, Some("grpc-web-x"), Grpc),
            (8080, None, None, Some("tcp-websocket"), Opaque),
            (8080, None, None, Some("https-websocket"), Opaque),
            (8080, None, None, Some("websocket"), Detected),
            (8080, None, None, None, Detected),
            (3306, None, None, None, Opaque),
            (8080, None, Some("http"), Some("tcp-websocket"), Http),
            (8080, None, Some("kubernetes.io/ws"), None, Http),
            (8080, None, Some("kubernetes.io/h2c"), None, Http2),
            (8080, None, Some("kubernetes.io/wss"), None, Opaque),
            (8080, None, Some("http-like"), Some("http"), Detected),
            (8080, Some("UDP"), None, Some("http"), Opaque),
        ] {
            let protocol = PortProtocol::of(number, transport, app_protocol, name);
            assert_eq!(protocol, expected, "{number} {transport:?} {app_protocol:?} {name:?}");
        }
    }
}
