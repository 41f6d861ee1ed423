//! The gateway as its documents make it, before the server's sidecar: what it takes, what it makes of
//! a stranger's request, and what both lines say.

use std::path::Path;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use websockets_cli::mesh::{self, Documents, GatewayQuery, ISTIO_VERSION, MeshDefaults};
use websockets_cli::sidecar::Direction;
use websockets_cli::tls::client::{Client, ClientOptions};

use crate::support::*;

const DOCUMENTS: &str = r"
apiVersion: apps/v1
kind: Deployment
metadata: {name: istio-ingressgateway, namespace: istio-system}
spec:
  selector: {matchLabels: {istio: ingressgateway}}
  template: {metadata: {labels: {istio: ingressgateway}}, spec: {containers: [{name: main, image: main}]}}
---
apiVersion: v1
kind: Service
metadata: {name: websockets-server, namespace: default}
spec: {selector: {app: websockets-server}, ports: [{name: http-websocket, port: 8080, targetPort: 80}]}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: ws-gateway, namespace: default}
spec:
  selector: {istio: ingressgateway}
  servers:
    - {port: {number: 80, name: http, protocol: HTTP}, hosts: [ws.example.com], tls: {httpsRedirect: true}}
";

const CLUSTER: &str = "outbound|8080||websockets-server.default.svc.cluster.local";

/// A VirtualService of the host with these routes.
fn routes(http: &str) -> String {
    format!(
        "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: ws, namespace: default}}\n\
         spec: {{hosts: [ws.example.com], gateways: [ws-gateway], http: [{http}]}}\n"
    )
}

const TO_SERVER: &str = "{route: [{destination: {host: websockets-server, port: {number: 8080}}}]}";

fn plain(documents: &str) -> String {
    DOCUMENTS.replace(", tls: {httpsRedirect: true}", "") + documents
}

/// What the documents make of the gateway, with the ports of its servers on ports that are free.
fn gateway(documents: &str, ports: &[u16]) -> mesh::Gateway {
    let documents = Documents::parse("gateway.yaml", documents).unwrap();
    let defaults = MeshDefaults::default();
    let listen: Vec<_> = ports.iter().map(|port| (Some(*port), "127.0.0.1:0".parse().unwrap())).collect();
    let query = GatewayQuery {
        workload: Some(&documents.workload("istio-ingressgateway").unwrap()),
        listen: &listen,
        istio_version: ISTIO_VERSION,
        mesh: &defaults,
    };
    let (mut gateway, warnings) = mesh::gateway(&documents, &query).unwrap();
    assert!(warnings.is_empty(), "{warnings:?}");
    for chain in gateway.listeners.iter_mut().flat_map(|listener| &mut listener.filter_chains) {
        let mesh::TerminalFilter::Http { connection_manager, .. } = &mut chain.filter;
        connection_manager.delayed_close_timeout = std::time::Duration::from_millis(10);
    }
    gateway
}

fn start(documents: &str, endpoint: std::net::SocketAddr) -> Alone {
    let mesh = gateway(documents, &[80]);
    Alone::start(Direction::Gateway { mesh, mint_websocket_key: false }, endpoint, |_| {})
}

fn request(target: &str, fields: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: ws.example.com\r\n{fields}\r\n")
}

const UPGRADE: &str = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\n";

/// The fields of a head that the gateway writes, in its order.
fn field<'a>(head: &'a str, name: &str) -> Vec<&'a str> {
    let lines = head.split("\r\n").filter_map(|line| line.split_once(": "));
    lines.filter(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
}

#[tokio::test]
async fn a_session_goes_through_gateway_and_sidecar_over_both_versions_with_one_request_id() {
    let upgrade = "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: s, namespace: default}\n\
        spec: {host: websockets-server, trafficPolicy: {connectionPool: {http: {h2UpgradePolicy: UPGRADE}}}}\n";
    for (hop, documents, protocol) in [(Hop::Http1, "", "HTTP/1.1"), (Hop::Http2, upgrade, "HTTP/2")] {
        let sidecar = Alone::inbound(hop, echo(), |_| {});
        let gateway = start(&(plain(&routes(TO_SERVER)) + documents), sidecar.address);
        let mut client = send(gateway.address, request("/chat", UPGRADE)).await;
        assert!(read_head(&mut client).await.starts_with("HTTP/1.1 101 "));
        client.write_all(HELLO).await.unwrap();
        assert_eq!(read_exactly(&mut client, 7).await, b"\x81\x05hello");
        client.write_all(CLOSE).await.unwrap();
        assert_eq!(read_all(&mut client).await, b"\x88\x02\x03\xe8");
        let (outer, inner) = (gateway.line().await, sidecar.line().await);
        assert_eq!(outer["upstream_cluster"], CLUSTER);
        assert_eq!((&outer["protocol"], &inner["protocol"]), (&json!("HTTP/1.1"), &json!(protocol)));
        assert_eq!(outer["request_id"], inner["request_id"]);
        assert_eq!(outer["authority"], "ws.example.com");
        assert_eq!(outer["x_forwarded_for"], inner["x_forwarded_for"]);
    }
}

#[tokio::test]
async fn what_strangers_say_of_themselves_is_replaced_or_taken_away() {
    let application = Application::answering(SWITCHING).await;
    let gateway = start(&plain(&routes(TO_SERVER)), application.address);
    let claimed = "x-request-id: 11111111-1111-4111-8111-111111111111\r\nx-forwarded-proto: https\r\n\
        x-forwarded-for: 10.9.9.9\r\nx-envoy-original-path: /secret\r\nx-envoy-retry-on: 5xx\r\n\
        x-forwarded-client-cert: By=me\r\nx-envoy-attempt-count: 9\r\n";
    let mut client = send(gateway.address, request("/", &format!("{UPGRADE}{claimed}"))).await;
    read_head(&mut client).await;
    let head = application.head();
    assert_ne!(field(&head, "x-request-id"), ["11111111-1111-4111-8111-111111111111"]);
    assert_eq!(field(&head, "x-forwarded-proto"), ["http"]);
    // A peer on this machine has the machine's address there, as behind Envoy.
    let forwarded = field(&head, "x-forwarded-for").concat();
    assert!(forwarded.starts_with("10.9.9.9,") && !forwarded.ends_with(','), "{forwarded}");
    assert_eq!(field(&head, "x-envoy-attempt-count"), ["1"]);
    for name in ["x-envoy-original-path", "x-envoy-retry-on", "x-forwarded-client-cert"] {
        assert_eq!(field(&head, name), Vec::<&str>::new(), "{name}");
    }
}

#[tokio::test]
async fn plain_requests_are_sent_to_https_where_the_server_says_so() {
    let gateway = start(&(DOCUMENTS.to_owned() + &routes(TO_SERVER)), nobody());
    let mut client = send(gateway.address, request("/chat?room=1", UPGRADE)).await;
    let head = read_head(&mut client).await;
    assert!(head.starts_with("HTTP/1.1 301 "), "{head}");
    assert_eq!(field(&head, "location"), ["https://ws.example.com/chat?room=1"]);
    let line = gateway.line().await;
    assert_eq!(line["response_code_details"], "direct_response");
    assert_eq!(line["upstream_host"], Value::Null);
}

#[tokio::test]
async fn an_unknown_host_and_a_path_without_a_route_are_not_found() {
    let gateway = start(
        &plain(&routes(&TO_SERVER.replace("{route", "{match: [{uri: {prefix: /chat}}], route"))),
        nobody(),
    );
    for request in
        [request("/", UPGRADE), request("/chat", UPGRADE).replace("ws.example.com", "other.example.org")]
    {
        let mut client = send(gateway.address, &request).await;
        let head = read_head(&mut client).await;
        assert!(head.starts_with("HTTP/1.1 404 "), "{head}");
    }
    for line in gateway.lines(2).await {
        assert_eq!(ending(&line), json!([404, "NR", "route_not_found", 0, 0]));
    }
}

#[tokio::test]
async fn weights_are_shares_of_what_a_route_takes() {
    let (one, other) = (Application::answering(SWITCHING).await, Application::answering(SWITCHING).await);
    let weighted = "{route: [{destination: {host: websockets-server, port: {number: 8080}}, weight: 50},\
        {destination: {host: websockets-server, subset: v2, port: {number: 8080}}, weight: 50}]}";
    let subsets = "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: s, namespace: default}\n\
        spec: {host: websockets-server, subsets: [{name: v2, labels: {version: v2}}]}\n";
    let mesh = gateway(&(plain(&routes(weighted)) + subsets), &[80]);
    let gateway =
        Alone::start(Direction::Gateway { mesh, mint_websocket_key: false }, one.address, |config| {
            config.endpoints.named.insert(CLUSTER.replace("||", "|v2|"), other.address);
        });
    for _ in 0..40 {
        let mut client = send(gateway.address, request("/", UPGRADE)).await;
        assert!(read_head(&mut client).await.starts_with("HTTP/1.1 101 "));
    }
    let lines = gateway.lines(40).await;
    let hosts = lines.iter().map(|line| line["upstream_host"].as_str().unwrap().to_owned());
    let second = hosts.filter(|host| *host == other.address.to_string()).count();
    // All forty on one side: once in half a million million runs.
    assert!((1..40).contains(&second), "{second} of 40");
}

#[tokio::test]
async fn a_fault_is_injected_and_named() {
    let aborted =
        TO_SERVER.replace("{route", "{fault: {abort: {httpStatus: 418, percentage: {value: 100}}}, route");
    let gateway = start(&plain(&routes(&aborted)), nobody());
    let mut client = send(gateway.address, request("/", UPGRADE)).await;
    assert!(read_head(&mut client).await.starts_with("HTTP/1.1 418 "));
    assert_eq!(ending(&gateway.line().await), json!([418, "FI", "fault_filter_abort", 0, 18]));
    let delayed =
        TO_SERVER.replace("{route", "{fault: {delay: {fixedDelay: 0.02s, percentage: {value: 100}}}, route");
    let application = Application::closing_after(SWITCHING).await;
    let gateway = start(&plain(&routes(&delayed)), application.address);
    let mut client = send(gateway.address, request("/", UPGRADE)).await;
    assert!(read_head(&mut client).await.starts_with("HTTP/1.1 101 "));
    drop(client);
    let line = gateway.line().await;
    assert!(line["response_flags"].as_str().unwrap().split(',').any(|flag| flag == "DI"), "{line}");
    assert!(line["duration"].as_u64().unwrap() >= 20, "{line}");
}

/// The documents with a server for TLS on 443, whose certificate is for the host.
fn secured(folder: &Path) -> String {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["ws.example.com".to_owned()]).unwrap();
    std::fs::write(folder.join("ca.pem"), cert.pem()).unwrap();
    let indented = |pem: String| pem.replace('\n', "\n    ");
    plain(&routes(TO_SERVER))
        + &format!(
            "---\napiVersion: v1\nkind: Secret\nmetadata: {{name: ws-cert, namespace: istio-system}}\n\
             stringData:\n  tls.crt: |\n    {}\n  tls.key: |\n    {}\n",
            indented(cert.pem()),
            indented(signing_key.serialize_pem())
        )
        + "---\napiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: ws-gateway, namespace: default}\n\
           spec: {selector: {istio: ingressgateway}, servers: [{port: {number: 443, name: https, protocol: HTTPS},\
           hosts: [ws.example.com], tls: {mode: SIMPLE, credentialName: ws-cert}}]}\n"
}

/// The documents have the Gateway for plain requests no more: that of TLS has its name.
fn only_secured(folder: &Path) -> String {
    let all = secured(folder);
    let (before, rest) = all.split_once("---\napiVersion: networking.istio.io/v1\nkind: Gateway").unwrap();
    let (_, after) = rest.split_once("---\n").unwrap();
    format!("{before}---\n{after}")
}

#[tokio::test]
async fn tls_ends_at_the_gateway_for_the_names_that_it_has() {
    let folder = tempfile::tempdir().unwrap();
    let mesh = gateway(&only_secured(folder.path()), &[443]);
    let sidecar = Alone::inbound(Hop::Http1, echo(), |_| {});
    let gateway =
        Alone::start(Direction::Gateway { mesh, mint_websocket_key: false }, sidecar.address, |_| {});
    let options = ClientOptions { ca: Some(folder.path().join("ca.pem")), ..ClientOptions::default() };
    let client = Client::load(&options).unwrap();
    let socket = TcpStream::connect(gateway.address).await.unwrap();
    let (mut stream, facts) = client.connect(socket, "ws.example.com", &["h2", "http/1.1"]).await.unwrap();
    assert_eq!(facts.alpn.as_deref(), Some("h2"));
    drop(stream);
    let socket = TcpStream::connect(gateway.address).await.unwrap();
    (stream, _) = client.connect(socket, "ws.example.com", &["http/1.1"]).await.unwrap();
    stream.write_all(request("/", UPGRADE).as_bytes()).await.unwrap();
    let head = String::from_utf8(read_exactly(&mut stream, 13).await).unwrap();
    assert_eq!(head, "HTTP/1.1 101 ");
    drop(stream);
    let line = gateway.line().await;
    assert_eq!(line["requested_server_name"], "ws.example.com");
    assert_eq!(line["response_code"], 101);
    let socket = TcpStream::connect(gateway.address).await.unwrap();
    client.connect(socket, "other.example.org", &["http/1.1"]).await.unwrap_err();
    let line = gateway.lines(2).await.remove(1);
    assert_eq!(ending(&line), json!([0, "NR", "filter_chain_not_found", 0, 0]));
    assert_eq!(line["requested_server_name"], "other.example.org");
}
