//! Istio's `Gateway`: which ports a gateway's proxies open, for which hosts, and with which
//! certificates. Not the routes behind them, which are those of `VirtualService`s.

use serde::Deserialize;

use super::Port;
use super::metadata::{Labels, Metadata};
use super::read::WarningCollector;
use crate::mesh::error::MeshError;
use crate::yaml::{Placed, Skip};

/// A `Gateway`.
#[derive(Debug, Clone)]
pub(in crate::mesh) struct Gateway {
    pub(in crate::mesh) metadata: Metadata,
    /// The labels of the gateway's pods; empty: every gateway.
    pub(in crate::mesh) selector: Labels,
    pub(in crate::mesh) servers: Vec<Placed<Server>>,
}

/// Istio's `Server`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::mesh) struct Server {
    pub(in crate::mesh) port: ServerPort,
    /// `host`, `*.suffix` or `*`, with `namespace/`, `./` or `*/` before it.
    #[serde(default)]
    pub(in crate::mesh) hosts: Vec<String>,
    pub(in crate::mesh) tls: Option<ServerTls>,
    /// For messages and for routes of `EnvoyFilter`s alone.
    #[serde(default)]
    #[expect(dead_code, reason = "known, and without effect here")]
    name: Option<Skip>,
}

/// A port of a gateway, as clients and its Service know it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::mesh) struct ServerPort {
    pub(in crate::mesh) number: Port,
    pub(in crate::mesh) protocol: ServerProtocol,
    #[serde(default)]
    pub(in crate::mesh) name: String,
    /// Deprecated, and looked up in the gateway's Service instead.
    #[expect(dead_code, reason = "known, and without effect")]
    target_port: Option<Skip>,
}

/// What a server speaks (`pkg/config/protocol/instance.go`, `Parse`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(in crate::mesh) enum ServerProtocol {
    /// HTTP/1.1 and HTTP/2 in plain text, whichever of HTTP, HTTP2, GRPC and GRPC-Web is written.
    Http,
    /// HTTP in TLS.
    Https,
    /// Bytes in TLS.
    Tls,
    /// Bytes.
    Tcp,
}

impl TryFrom<String> for ServerProtocol {
    type Error = String;

    fn try_from(written: String) -> Result<Self, String> {
        match written.to_ascii_uppercase().as_str() {
            "HTTP" | "HTTP2" | "HTTP_PROXY" | "GRPC" | "GRPC-WEB" => Ok(Self::Http),
            "HTTPS" => Ok(Self::Https),
            "TLS" => Ok(Self::Tls),
            "TCP" | "MONGO" | "MYSQL" | "REDIS" => Ok(Self::Tcp),
            _ => Err(format!("expected HTTP, HTTPS, HTTP2, GRPC, GRPC-WEB, TLS or TCP, found {written:?}")),
        }
    }
}

/// Istio's `ServerTLSSettings`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(in crate::mesh) struct ServerTls {
    pub(in crate::mesh) https_redirect: bool,
    pub(in crate::mesh) mode: TlsMode,
    pub(in crate::mesh) credential_name: Option<String>,
    pub(in crate::mesh) server_certificate: Option<String>,
    pub(in crate::mesh) private_key: Option<String>,
    pub(in crate::mesh) ca_certificates: Option<String>,
    pub(in crate::mesh) subject_alt_names: Vec<String>,
    pub(in crate::mesh) min_protocol_version: TlsVersion,
    pub(in crate::mesh) max_protocol_version: TlsVersion,
}

/// `ServerTLSSettings.TLSmode`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(in crate::mesh) enum TlsMode {
    /// Also if nothing is said.
    #[default]
    Passthrough,
    Simple,
    Mutual,
    AutoPassthrough,
    IstioMutual,
    OptionalMutual,
}

/// `ServerTLSSettings.TLSProtocol`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub(in crate::mesh) enum TlsVersion {
    #[default]
    #[serde(rename = "TLS_AUTO")]
    Auto,
    #[serde(rename = "TLSV1_0")]
    V1_0,
    #[serde(rename = "TLSV1_1")]
    V1_1,
    #[serde(rename = "TLSV1_2")]
    V1_2,
    #[serde(rename = "TLSV1_3")]
    V1_3,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct GatewaySpec {
    selector: Labels,
    servers: Vec<Placed<Server>>,
}

impl Gateway {
    /// What cannot be honoured of it matters to gateways alone.
    pub(super) fn read(metadata: Metadata, warnings: &mut WarningCollector) -> Result<Self, MeshError> {
        let spec = warnings.for_gateways(|warnings| warnings.spec(&metadata.manifest))?;
        let GatewaySpec { selector, servers } = spec;
        Ok(Self { metadata, selector, servers })
    }
}

impl ServerTls {
    /// Whether a TLS server ends TLS itself.
    pub(in crate::mesh) fn terminates(&self) -> bool {
        !matches!(self.mode, TlsMode::Passthrough | TlsMode::AutoPassthrough)
    }
}
