//! The facts of a downstream connection that its streams share.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

/// A downstream connection (Envoy's `ConnectionInfoProvider`).
#[derive(Debug, Clone)]
pub(super) struct ConnectionInfo {
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
    /// With mutual TLS.
    pub(super) tls: Option<Rc<DownstreamTls>>,
}

/// The facts of a downstream's TLS handshake.
#[derive(Debug)]
pub(super) struct DownstreamTls {
    /// `%REQUESTED_SERVER_NAME%`.
    pub(super) requested_server_name: Option<Arc<str>>,
    /// An element of `x-forwarded-client-cert`.
    pub(super) client_certificate: String,
}
