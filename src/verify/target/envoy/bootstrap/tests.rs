//! What the documents make of the two bootstraps.

use super::*;
use crate::mesh::{Documents, ISTIO_VERSION, MeshDefaults};
use crate::verify::pair::PairConfig;

const UPSTREAM: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 10, 2)), 8000);

fn pair(documents: Documents) -> PairConfig {
    PairConfig::new(documents, None, None, None, &MeshDefaults::default(), ISTIO_VERSION).expect("a pair")
}

fn outbound_of(documents: Documents) -> Value {
    outbound(&pair(documents).outbound, UPSTREAM, Path::new("/logs/client-sidecar.jsonl"))
}

fn inbound_of(documents: Documents) -> Value {
    inbound(&pair(documents).inbound, UPSTREAM, Path::new("/logs/server-sidecar.jsonl"))
}

/// The guide's documents with more of these.
fn guide_with(text: &str) -> Documents {
    let mut documents = Documents::builtin();
    documents
        .merge(Documents::parse("more.yaml", text).expect("valid documents"))
        .expect("distinct documents");
    documents
}

/// An `EnvoyFilter` for the server's sidecar that merges `config`, and the guide's documents.
fn with_filter(config: &str) -> Documents {
    guide_with(&format!(
        "{{apiVersion: networking.istio.io/v1alpha3, kind: EnvoyFilter, metadata: {{name: more}}, spec: {{configPatches: [
           {{applyTo: NETWORK_FILTER, match: {{context: SIDECAR_INBOUND}}, patch: {{operation: MERGE, value: {{typed_config: {{
           '@type': type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager,
           {config}}}}}}}}}]}}}}"
    ))
}

fn manager(bootstrap: &Value) -> &Value {
    &bootstrap["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
}

#[test]
fn the_guides_documents_make_these_two_bootstraps() {
    for (bootstrap, snapshot) in [
        (outbound_of(Documents::builtin()), include_str!("snapshots/client.json")),
        (inbound_of(Documents::builtin()), include_str!("snapshots/server.json")),
    ] {
        assert_eq!(format!("{bootstrap:#}"), snapshot.trim_end());
    }
}

#[test]
fn a_patch_reaches_envoy_as_it_was_written_with_fields_that_are_not_known_here() {
    let bootstrap =
        inbound_of(with_filter("maxRequestHeadersKb: 96, upgrade_configs: [{upgrade_type: foo}]"));
    let config = manager(&bootstrap);
    assert_eq!(config["max_request_headers_kb"], 96);
    assert_eq!(config["upgrade_configs"], json!([{"upgrade_type": "websocket"}, {"upgrade_type": "foo"}]));
    assert_eq!(config["http2_protocol_options"], json!({"allow_connect": true}));
    assert_eq!(manager(&outbound_of(Documents::builtin())).get("http2_protocol_options"), None);
}

#[test]
fn durations_are_written_in_seconds_whatever_the_documents_write() {
    let bootstrap = inbound_of(with_filter(
        "stream_idle_timeout: 1h30m, delayed_close_timeout: 300ms, common_http_protocol_options: {max_stream_duration: 1h}",
    ));
    let config = manager(&bootstrap);
    assert_eq!(
        (&config["stream_idle_timeout"], &config["delayed_close_timeout"]),
        (&json!("5400s"), &json!("0.3s"))
    );
    assert_eq!(config["common_http_protocol_options"], json!({"max_stream_duration": "3600s"}));
}

#[test]
fn a_virtual_services_route_keeps_its_timeout_and_its_retries() {
    let bootstrap = outbound_of(guide_with(
        "{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: v}, spec: {hosts: [websockets-server],
          http: [{timeout: 2s, retries: {attempts: 3, retryOn: 'gateway-error,503'},
          route: [{destination: {host: websockets-server}}]}]}}",
    ));
    let hosts = &manager(&bootstrap)["route_config"]["virtual_hosts"];
    let hosts = hosts.as_array().expect("a list");
    let host = hosts.iter().find(|host| host["name"] == "websockets-server.default.svc.cluster.local:8080");
    let route = &host.expect("the Service's")["routes"][0];
    assert_eq!(route.get("name"), None);
    assert_eq!(route["route"]["timeout"], "2s");
    assert_eq!(
        route["route"]["retry_policy"],
        json!({
            "retry_on": "gateway-error,retriable-status-codes",
            "num_retries": 3,
            "retriable_status_codes": [503],
        })
    );
}
