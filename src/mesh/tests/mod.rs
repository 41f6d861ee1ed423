//! From documents to answers: the guide's own, what is put beside them, and what is wrong with some.

mod answers;
mod messages;

use std::net::SocketAddr;

use super::*;

/// The guide's Services and Deployments as the guide prints them, with the two Istio documents for HTTP/2.
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
    let workload = documents.workload("websockets-client-sleep").ok();
    let query = OutboundQuery {
        workload: workload.as_ref(),
        listen: listen.parse::<SocketAddr>().expect("an address"),
        policy,
        istio_version: ISTIO_VERSION,
        mesh: &MeshDefaults::default(),
    };
    outbound(documents, &query)
}

fn inbound_of(documents: &Documents) -> Result<Inbound, MeshError> {
    let workload = documents.workload("websockets-server").ok();
    inbound(documents, &InboundQuery { workload: workload.as_ref(), istio_version: ISTIO_VERSION })
}
