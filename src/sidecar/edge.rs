//! What a gateway makes of the requests of strangers (`use_remote_address` in Envoy's
//! `ConnectionManagerUtility::mutateRequestHeaders`, with nobody inside by `internal_address_config`):
//! who they are is told to the mesh, and what only proxies of the mesh say is removed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use http::{HeaderName, HeaderValue};

use super::headers::{X_FORWARDED_FOR, X_FORWARDED_PROTO};
use super::route_fields::X_ENVOY_ORIGINAL_PATH;
use crate::http1::Fields;
use crate::mesh::HttpConnectionManager;
use crate::net;

const EXTERNAL_ADDRESS: HeaderName = HeaderName::from_static("x-envoy-external-address");

/// Fields that no stranger may send (`cleanInternalHeaders`, beside what is removed everywhere).
const OF_THE_MESH: [HeaderName; 4] = [
    HeaderName::from_static("x-envoy-decorator-operation"),
    HeaderName::from_static("x-envoy-downstream-service-cluster"),
    HeaderName::from_static("x-envoy-downstream-service-node"),
    X_ENVOY_ORIGINAL_PATH,
];

/// Prepares the fields of a request that came over `scheme` from `peer`. Returns the client's address
/// where proxies before this one have told it.
pub(super) fn prepare_request(
    fields: &mut Fields,
    scheme: &'static str,
    manager: &HttpConnectionManager,
    peer: IpAddr,
) -> Option<SocketAddr> {
    let forwarded = trusted_address(fields, manager.xff_num_trusted_hops);
    append_forwarded_for(fields, peer);
    if manager.xff_num_trusted_hops == 0 || !fields.contains(&X_FORWARDED_PROTO) {
        fields.set(X_FORWARDED_PROTO, HeaderValue::from_static(scheme));
    }
    fields.retain(|name, _| !OF_THE_MESH.contains(name));
    if let Ok(address) = HeaderValue::from_str(&forwarded.unwrap_or(peer).to_string()) {
        fields.set(EXTERNAL_ADDRESS, address);
    }
    forwarded.map(|address| SocketAddr::new(address, 0))
}

/// The address that the last proxy but so many has told.
fn trusted_address(fields: &Fields, hops: u32) -> Option<IpAddr> {
    let behind = usize::try_from(hops.checked_sub(1)?).ok()?;
    let name = X_FORWARDED_FOR;
    let told: Vec<&str> = fields.elements(&name).collect();
    told.len().checked_sub(1 + behind).and_then(|position| told[position].parse().ok())
}

/// Adds the peer to those before it. Of a peer at `127.0.0.1` or `::1`, Envoy tells its own address.
fn append_forwarded_for(fields: &mut Fields, peer: IpAddr) {
    let is_local = [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()].contains(&peer);
    let peer = if is_local { net::local_address(peer) } else { peer };
    let mut list: Vec<u8> = Vec::new();
    for value in fields.get_all(&X_FORWARDED_FOR) {
        list.extend_from_slice(value.as_bytes());
        list.push(b',');
    }
    list.extend_from_slice(peer.to_string().as_bytes());
    if let Ok(list) = HeaderValue::from_bytes(&list) {
        fields.set(X_FORWARDED_FOR, list);
    }
}
