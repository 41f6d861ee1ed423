//! A gateway in Envoy's terms: its listeners, and in each the filter chains of which the server name
//! that a client asks for (SNI) chooses one.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::config::HttpConnectionManager;
use super::virtual_host::VirtualHost;

/// A gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gateway {
    /// One for each port that is opened.
    pub listeners: Vec<Listener>,
    /// What the Secrets hold that listeners name. Not for anybody's eyes.
    pub secrets: BTreeMap<String, PemSecret>,
}

/// Envoy's `Listener`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listener {
    /// `servers[].port.number`: how clients know the port.
    pub number: u16,
    /// Where it is bound.
    pub address: SocketAddr,
    /// Of a listener in plain text one, and with TLS at least one.
    pub filter_chains: Vec<FilterChain>,
}

/// Envoy's `FilterChain`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilterChain {
    /// Which server names it is for, in lower case, `*.suffix` for any name under it; none: all.
    pub server_names: Vec<String>,
    /// How TLS is ended; nothing in plain text, and where TLS is not looked into.
    pub tls: Option<DownstreamTlsContext>,
    /// What becomes of the bytes.
    pub filter: TerminalFilter,
}

/// The last network filter of a chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TerminalFilter {
    /// `envoy.filters.network.http_connection_manager`.
    Http {
        /// Its settings.
        connection_manager: Box<HttpConnectionManager>,
        /// Its routes.
        virtual_hosts: Vec<VirtualHost>,
    },
}

/// Envoy's `DownstreamTlsContext`, as Istio makes it of `ServerTLSSettings`
/// (`BuildListenerTLSContext`): it offers `h2` and `http/1.1`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DownstreamTlsContext {
    /// The server's certificate and its key.
    pub credential: Credential,
    /// Whether clients show certificates.
    pub client_certificates: ClientCertificates,
    /// `tls_minimum_protocol_version` is TLS 1.3.
    pub only_tls13: bool,
    /// `tls_maximum_protocol_version` is TLS 1.2.
    pub only_tls12: bool,
}

/// Where a certificate is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Credential {
    /// In the Secret `NAMESPACE/NAME` among the documents.
    Secret(String),
    /// In files of the gateway's pod.
    Files {
        /// `serverCertificate`.
        certificate: PathBuf,
        /// `privateKey`.
        key: PathBuf,
        /// `caCertificates`.
        ca: Option<PathBuf>,
    },
}

/// A certificate, its key, and the CAs of clients, in PEM.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PemSecret {
    /// The certificate and any intermediate ones.
    pub certificate: String,
    /// The key.
    pub key: String,
    /// The CAs.
    pub ca: Option<String>,
}

/// Nobody shows what is secret.
impl fmt::Debug for PemSecret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("PemSecret").finish_non_exhaustive()
    }
}

/// Whether clients show certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientCertificates {
    /// They need not (`SIMPLE`).
    NotAsked,
    /// They may (`OPTIONAL_MUTUAL`).
    Optional,
    /// They have to (`MUTUAL`).
    Required,
}
