//! That what `lint` finds is what happens: the same documents, judged and on the wire.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use websockets_cli::mesh::lint::{Circumstances, Severity, lint};
use websockets_cli::mesh::{
    self, Documents, ISTIO_VERSION, InboundQuery, MeshDefaults, OutboundQuery, OutboundTrafficPolicy, Text,
};

use crate::support::*;

/// The guide's documents: HTTP/2 between the sidecars, with the `EnvoyFilter`.
const GUIDE: &str = include_str!("../fixtures/guide.yaml");

fn edited(from: &str, to: &str) -> String {
    assert!(GUIDE.contains(from), "{from}");
    GUIDE.replace(from, to)
}

/// The codes of the findings above a note.
fn codes(documents: &str) -> Vec<&'static str> {
    let texts = [Text { name: "test.yaml".to_owned(), text: documents.to_owned() }];
    let circumstances = Circumstances { mesh: &MeshDefaults::default(), istio_version: ISTIO_VERSION };
    let findings = lint(&texts, &circumstances).expect("documents");
    let worse = findings.iter().filter(|finding| finding.rule.severity > Severity::Note);
    worse.map(|finding| finding.rule.code).collect()
}

/// The pair as the documents make it, before an echo server; its delayed close is short.
fn pair(documents: &str) -> Pair {
    pair_before(echo(), documents)
}

fn pair_before(application: SocketAddr, documents: &str) -> Pair {
    let documents = Documents::parse("test.yaml", documents).expect("documents");
    let client = documents.workload("websockets-client-sleep").expect("the client");
    let server = documents.workload("websockets-server").expect("the server");
    let query = OutboundQuery {
        workload: Some(&client),
        listen: "10.96.0.1:8080".parse().unwrap(),
        policy: OutboundTrafficPolicy::None,
        istio_version: ISTIO_VERSION,
        mesh: &MeshDefaults::default(),
    };
    let mut of_client = mesh::outbound(&documents, &query).expect("a client's sidecar");
    let query = InboundQuery { workload: Some(&server), istio_version: ISTIO_VERSION };
    let mut of_server = mesh::inbound(&documents, &query).expect("a server's sidecar");
    of_client.connection_manager.delayed_close_timeout = Duration::from_millis(10);
    of_server.connection_manager.delayed_close_timeout = Duration::from_millis(10);
    Pair::configured(Hop::Http2, application, |outbound, inbound| {
        (*outbound, *inbound) = (of_client, of_server);
    })
}

async fn status_of_a_session(pair: &Pair) -> String {
    let mut client = send(pair.outbound, handshake()).await;
    read_head(&mut client).await.split(' ').nth(1).expect("a status").to_owned()
}

#[tokio::test]
async fn without_a_finding_the_session_works() {
    assert_eq!(codes(GUIDE), [""; 0]);
    assert_eq!(status_of_a_session(&pair(GUIDE)).await, "101");
}

#[tokio::test]
async fn with_an_error_the_session_gets_503_and_the_reason_is_a_finding_too() {
    let filter = "kind: EnvoyFilter\nmetadata:\n";
    let selector = "workloadSelector:\n    labels:\n      app: websockets-server";
    for (documents, reason) in [
        (edited("allow_connect: true", "allow_conect: true"), Some("unknown-field")),
        (edited("SIDECAR_INBOUND", "SIDECAR_OUTBOUND"), Some("envoy-filter-context")),
        (edited(selector, &selector.replace("server", "srv")), Some("envoy-filter-selector")),
        (edited(filter, &format!("{filter}  namespace: other\n")), Some("envoy-filter-namespace")),
        (edited(r"'^1\.*.*'", r"'^2\..*'"), Some("envoy-filter-proxy-version")),
        (edited("filters.network.http_", "http_"), Some("envoy-filter-filter-name")),
        (edited("listener:\n", "listener:\n        portNumber: 8080\n"), Some("envoy-filter-listener")),
        (edited("v3.HttpConnectionManager", "v2.HttpConnectionManager"), Some("envoy-filter-type")),
        (edited("operation: MERGE", "operation: REPLACE"), Some("envoy-filter-operation")),
        (edited("allow_connect: true", "allow_connect: false"), None),
    ] {
        let found = codes(&documents);
        assert!(found.contains(&"upgrade-without-allow-connect"), "{found:?}");
        assert!(reason.is_none_or(|reason| found.contains(&reason)), "{reason:?}: {found:?}");
        assert_eq!(status_of_a_session(&pair(&documents)).await, "503", "{reason:?}");
    }
}

#[tokio::test]
async fn a_rule_for_a_host_of_no_service_and_a_lost_policy_leave_http1() {
    let lost =
        "http:\n        h2UpgradePolicy: UPGRADE\n    portLevelSettings:\n    - port: {number: 8080}\n";
    for (documents, code) in [
        (edited("host: websockets-server", "host: websockets-server.default"), "unknown-host"),
        (edited("http:\n        h2UpgradePolicy: UPGRADE\n", lost), "upgrade-policy-lost"),
    ] {
        assert_eq!(codes(&documents), [code]);
        let pair = pair(&documents);
        let mut session = open_session(pair.outbound).await;
        session.write_all(CLOSE).await.unwrap();
        read_all(&mut session).await;
        assert_eq!(pair.one_line_each().await.1["protocol"], "HTTP/1.1", "{code}");
    }
}

#[tokio::test]
async fn a_stream_idle_timeout_ends_an_idle_session() {
    let options = "http2_protocol_options:";
    let documents = edited(options, &format!("stream_idle_timeout: 0.1s\n          {options}"));
    assert_eq!(codes(&documents), ["stream-idle-timeout"]);
    let pair = pair(&documents);
    let mut session = open_session(pair.outbound).await;
    read_all(&mut session).await;
    assert_eq!(pair.one_line_each().await.1["response_flags"], "SI");
}

#[tokio::test]
async fn a_timeout_of_a_virtual_service_ends_a_handshake_that_takes_longer() {
    let documents = format!(
        "{GUIDE}\n---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata:\n  name: timed\nspec:\n  hosts: \
         [websockets-server]\n  http:\n  - timeout: 0.1s\n    route:\n    - destination:\n        host: websockets-server\n"
    );
    assert_eq!(codes(&documents), ["virtual-service-timeout"]);
    let silent = Application::answering("").await;
    assert_eq!(status_of_a_session(&pair_before(silent.address, &documents)).await, "504");
    assert_eq!(status_of_a_session(&pair(&documents)).await, "101");
}
