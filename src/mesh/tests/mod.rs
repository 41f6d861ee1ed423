//! From documents to answers: the guide's own, what is put beside them, and what is wrong with
//! some.

mod answers;
mod messages;

use std::net::SocketAddr;

use super::*;

/// The guide's Services and Deployments as the guide prints them, with the two Istio documents for
/// HTTP/2.
const GUIDE: &str = include_str!("../../../tests/fixtures/guide.yaml");
const LISTEN: &str = "10.96.0.1:8080";
const HOST: &str = "websockets-server.default.svc.cluster.local";

fn parse(text: &str) -> Documents {
    Documents::parse("test.yaml", text).expect("valid documents")
}

fn outbound_of(
    documents: &Documents,
    listen: &str,
    policy: OutboundTrafficPolicy,
) -> Result<Outbound, MeshError> {
    outbound_in(&MeshDefaults::default(), documents, listen, policy)
}

fn outbound_in(
    mesh: &MeshDefaults,
    documents: &Documents,
    listen: &str,
    policy: OutboundTrafficPolicy,
) -> Result<Outbound, MeshError> {
    let workload = documents.workload("websockets-client-sleep").ok();
    let query = OutboundQuery {
        workload: workload.as_ref(),
        listen: listen.parse::<SocketAddr>().expect("an address"),
        policy,
        istio_version: ISTIO_VERSION,
        mesh,
    };
    outbound(documents, &query)
}

/// Whether the client's sidecar speaks HTTP/2 to the Service's.
fn upgrades(documents: &Documents, service: &Service, mesh: &MeshDefaults) -> bool {
    let outbound = outbound_in(mesh, documents, LISTEN, OutboundTrafficPolicy::None).expect("an answer");
    let found = match_virtual_host(&outbound.virtual_hosts, &service.host()).expect("a virtual host");
    found.routes[0].action.clusters().next().expect("a cluster").protocol == UpstreamProtocol::Http2
}

fn inbound_of(documents: &Documents) -> Result<Inbound, MeshError> {
    let workload = documents.workload("websockets-server").ok();
    inbound(
        documents,
        &InboundQuery { workload: workload.as_ref(), port: None, istio_version: ISTIO_VERSION },
    )
}
