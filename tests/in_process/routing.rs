//! Where a request goes by its authority, as the documents have it, and how the line names the
//! places.

use std::net::SocketAddr;

use serde_json::json;
use tokio::io::AsyncWriteExt;
use websockets_cli::access_log::Format;
use websockets_cli::mesh::{
    self, Documents, ISTIO_VERSION, MeshDefaults, Outbound, OutboundQuery, OutboundTrafficPolicy,
};
use websockets_cli::sidecar::Direction;

use crate::support::*;

/// What the built-in documents make of the client's sidecar.
fn outbound(listen: &str, policy: OutboundTrafficPolicy) -> Outbound {
    let mesh = MeshDefaults::default();
    let query = OutboundQuery {
        workload: None,
        listen: listen.parse().unwrap(),
        policy,
        istio_version: ISTIO_VERSION,
        mesh: &mesh,
    };
    let mut outbound = mesh::outbound(&Documents::builtin(), &query).unwrap();
    outbound.connection_manager.delayed_close_timeout = std::time::Duration::from_millis(10);
    outbound
}

fn start(mesh: Outbound, endpoint: SocketAddr, passthrough: Option<SocketAddr>) -> Alone {
    Alone::start(Direction::Outbound { mesh, passthrough }, endpoint, |_| {})
}

fn handshake_for(authority: &str) -> String {
    String::from_utf8(handshake()).unwrap().replace(AUTHORITY, authority)
}

#[tokio::test]
async fn every_name_of_the_service_leads_to_it_with_any_port_and_in_any_letter_case() {
    let server =
        FrameServer::start(|_, stream| vec![headers(stream, END_STREAM, &[(":status", "403")])]).await;
    let mesh = outbound("127.0.10.1:8080", OutboundTrafficPolicy::RegistryOnly);
    let sidecar = start(mesh, server.address, None);
    let names = [
        "websockets-server",
        "websockets-server:8080",
        "websockets-server.default",
        "websockets-server.default:8080",
        "websockets-server.default.svc",
        "websockets-server.default.svc:8080",
        "websockets-server.default.svc.cluster.local",
        "websockets-server.default.svc.cluster.local:8080",
        "websockets-server.default.svc.cluster.local:9999",
        "WEBSOCKETS-SERVER:8080",
        "WebSockets-Server.Default.SVC.cluster.LOCAL",
        "127.0.10.1",
        "127.0.10.1:8080",
    ];
    for (number, name) in names.into_iter().enumerate() {
        let answer = ask(sidecar.address, handshake_for(name)).await;
        assert!(answer.starts_with("HTTP/1.1 403 "), "{name}: {answer}");
        let line = sidecar.lines(number + 1).await.pop().unwrap();
        assert_eq!(line["authority"], name, "as it was sent");
        assert_eq!(line["route_name"], "default");
        assert_eq!(line["upstream_cluster"], "outbound|8080||websockets-server.default.svc.cluster.local");
    }
    assert_eq!(server.requests(), names.len());
}

#[tokio::test]
async fn a_host_outside_of_the_documents_is_passed_through_to_where_it_was_going() {
    let mesh = outbound("127.0.10.1:8080", OutboundTrafficPolicy::AllowAny);
    let sidecar = start(mesh.clone(), nobody(), Some(echo()));
    for authority in ["example.com", "websockets-server.other", "user@websockets-server:8080", ""] {
        let mut client = send(sidecar.address, handshake_for(authority)).await;
        assert!(read_head(&mut client).await.starts_with("HTTP/1.1 101 "), "{authority}");
        client.write_all(CLOSE).await.unwrap();
        read_all(&mut client).await;
    }
    let details = "upstream_reset_after_response_started{connection_termination}";
    for line in sidecar.lines(4).await {
        assert_eq!(ending(&line), json!([101, "UC", details, 8, 4]));
        assert_eq!(line["route_name"], "allow_any");
        assert_eq!(line["upstream_cluster"], "PassthroughCluster");
    }
    // Nothing is tried again there.
    let sidecar = start(mesh, nobody(), Some(nobody()));
    let answer = ask(sidecar.address, handshake_for("example.com")).await;
    assert!(answer.ends_with("before headers. reset reason: remote connection failure"), "{answer}");
    assert_eq!(sidecar.line().await["response_flags"], "UF");
}

#[tokio::test]
async fn in_registry_only_a_host_outside_of_the_documents_is_blocked() {
    let sidecar = start(outbound("127.0.10.1:8080", OutboundTrafficPolicy::RegistryOnly), echo(), None);
    let plain = "GET / HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n";
    for request in [handshake_for("example.com"), plain.to_owned()] {
        let answer = ask(sidecar.address, request).await;
        assert!(answer.starts_with("HTTP/1.1 502 Bad Gateway\r\n"), "{answer}");
    }
    for line in sidecar.lines(2).await {
        assert_eq!(ending(&line), json!([502, "-", "direct_response", 0, 0]));
        assert_eq!(line["route_name"], "block_all");
    }
}

#[tokio::test]
async fn without_a_catch_all_a_host_outside_of_the_documents_has_no_route() {
    let sidecar = start(outbound("127.0.10.1:8080", OutboundTrafficPolicy::None), echo(), None);
    let answer = ask(sidecar.address, handshake_for("example.com")).await;
    assert!(answer.starts_with("HTTP/1.1 404 Not Found\r\n"), "{answer}");
    assert_eq!(ending(&sidecar.line().await), json!([404, "NR", "route_not_found", 0, 0]));
}

#[tokio::test]
async fn addresses_of_ipv6_have_brackets_in_every_key() {
    let application = tokio::net::TcpListener::bind("[::1]:0").await.unwrap();
    let host = application.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = application.accept().await.unwrap();
        read_head(&mut stream).await;
        stream.write_all(SWITCHING.as_bytes()).await.unwrap();
        read_all(&mut stream).await;
    });
    let direction = Direction::Inbound {
        mesh: inbound_mesh(Hop::Http1),
        bind_source: Some("::1".parse().unwrap()),
        mint_websocket_key: false,
    };
    let sidecar = Alone::start(direction, host, |config| config.listen = "[::1]:0".parse().unwrap());
    let mut client = send(sidecar.address, handshake_for("[::1]:8080")).await;
    read_head(&mut client).await;
    let remote = client.local_addr().unwrap();
    drop(client);
    let line = sidecar.line().await;
    assert_eq!(line["authority"], "[::1]:8080");
    assert_eq!(line["downstream_local_address"], json!(sidecar.address.to_string()));
    assert_eq!(line["downstream_remote_address"], json!(remote.to_string()));
    assert_eq!(line["upstream_host"], json!(host.to_string()));
    let local = line["upstream_local_address"].as_str().unwrap();
    assert!(local.starts_with("[::1]:"), "{local}");
}

#[tokio::test]
async fn a_service_is_found_by_its_ipv6_address() {
    let mesh = outbound("[fd00::1]:8080", OutboundTrafficPolicy::None);
    let server =
        FrameServer::start(|_, stream| vec![headers(stream, END_STREAM, &[(":status", "403")])]).await;
    let sidecar = start(mesh, server.address, None);
    for authority in ["[fd00::1]", "[fd00::1]:8080"] {
        let answer = ask(sidecar.address, handshake_for(authority)).await;
        assert!(answer.starts_with("HTTP/1.1 403 "), "{authority}: {answer}");
    }
}

#[tokio::test]
async fn a_text_line_says_what_a_json_line_says() {
    let text = {
        let direction = Direction::Inbound {
            mesh: inbound_mesh(Hop::Http1),
            bind_source: None,
            mint_websocket_key: false,
        };
        let sidecar = Alone::start(direction, echo(), |config| config.access_log_format = Format::Text);
        let mut client = open_session(sidecar.address).await;
        client.write_all(CLOSE).await.unwrap();
        read_all(&mut client).await;
        sidecar.log.wait_until(1).await
    };
    let [text] = &text[..] else { panic!("{text:#?}") };
    let sidecar = Alone::inbound(Hop::Http1, echo(), |_| {});
    let mut client = open_session(sidecar.address).await;
    client.write_all(CLOSE).await.unwrap();
    read_all(&mut client).await;
    let line = sidecar.line().await;
    let key = |key: &str| line[key].as_str().unwrap().to_owned();
    let request = format!(
        "\"GET / HTTP/1.1\" {} {} {} - \"-\" {} {} ",
        line["response_code"],
        key("response_flags"),
        key("response_code_details"),
        line["bytes_received"],
        line["bytes_sent"],
    );
    assert!(text.starts_with("[20") && text.contains(&format!("Z] {request}")), "{text}");
    assert!(text.contains(&format!(" \"{}\" \"", key("authority"))), "{text}");
    assert!(text.contains("\" inbound|80|| 127.0.0.1:") && text.ends_with(" - default"), "{text}");
}

/// A Service and the routes of its `VirtualService`, spoken to in HTTP/1.1.
fn outbound_with_routes(routes: &str) -> Outbound {
    let text = format!(
        "{{apiVersion: v1, kind: Service, metadata: {{name: websockets-server}}, spec: {{ports: [{{name: http-web, \
         port: 8080}}]}}}}\n---\n{{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {{name: v}}, \
         spec: {{hosts: [websockets-server], http: [{routes}]}}}}\n"
    );
    let documents = Documents::parse("routes.yaml", &text).unwrap();
    assert_eq!(documents.warnings(), []);
    let mesh = MeshDefaults::default();
    let query = OutboundQuery {
        workload: None,
        listen: "127.0.10.1:8080".parse().unwrap(),
        policy: OutboundTrafficPolicy::None,
        istio_version: ISTIO_VERSION,
        mesh: &mesh,
    };
    mesh::outbound(&documents, &query).unwrap()
}

fn get_of(path: &str, fields: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {AUTHORITY}\r\nConnection: close\r\n{fields}\r\n")
}

#[tokio::test]
async fn a_request_takes_the_first_route_whose_conditions_it_meets() {
    let to = "route: [{destination: {host: websockets-server}}]";
    let routes = format!(
        "{{name: exact, match: [{{uri: {{exact: /chat}}, headers: {{x-canary: {{exact: '1'}}}}}}], {to}}},
         {{name: room, match: [{{queryParams: {{room: {{regex: '[0-9]+'}}}}}}], {to}}},
         {{name: chat, match: [{{uri: {{prefix: /chat}}}}], {to}}},
         {{name: mine, match: [{{method: {{exact: PUT}}}}, {{name: other, authority: {{prefix: '127.'}}}}], {to}}}"
    );
    let application = Application::answering("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").await;
    let sidecar = start(outbound_with_routes(&routes), application.address, None);
    for (number, (path, fields, name)) in [
        ("/chat", "x-canary: 1\r\n", Some("exact")),
        ("/chat", "x-canary: 1\r\nx-canary: 2\r\n", Some("chat")),
        ("/?room=12", "", Some("room")),
        ("/?room=x", "", None),
        ("/chatter", "", Some("chat")),
        ("/elsewhere", "", None),
    ]
    .into_iter()
    .enumerate()
    {
        let answer = ask(sidecar.address, get_of(path, fields)).await;
        let status = if name.is_some() { "HTTP/1.1 204 " } else { "HTTP/1.1 404 " };
        assert!(answer.starts_with(status), "{path} {fields}: {answer}");
        let line = sidecar.lines(number + 1).await.pop().unwrap();
        assert_eq!(line["route_name"], json!(name), "{path} {fields}");
        let flags = if name.is_some() { "-" } else { "NR" };
        assert_eq!(line["response_flags"], flags, "{path} {fields}");
    }
}

#[tokio::test]
async fn what_a_route_rewrites_reaches_the_application_and_the_line_keeps_the_path_that_was_asked_for() {
    let routes = "{match: [{uri: {prefix: /chat}}], rewrite: {uri: /room, authority: inner}, headers: {request: {set: \
                  {x-a: '2'}, add: {x-b: '1'}, remove: [x-c]}, response: {set: {x-d: '3'}, remove: [gone]}}, route: \
                  [{destination: {host: websockets-server}}]}";
    let answer = "HTTP/1.1 204 No Content\r\ngone: 1\r\nConnection: close\r\n\r\n";
    let application = Application::answering(answer).await;
    let sidecar = start(outbound_with_routes(routes), application.address, None);
    let answer = ask(sidecar.address, get_of("/chat/1?x", "x-a: 1\r\nx-c: 1\r\n")).await;
    assert!(answer.contains("x-d: 3\r\n") && !answer.contains("gone"), "{answer}");
    let head = application.head();
    assert!(head.starts_with("GET /room/1?x HTTP/1.1\r\nhost: inner\r\nx-a: 2\r\n"), "{head}");
    assert!(!head.contains("x-c"), "{head}");
    let original = format!("x-envoy-original-host: {AUTHORITY}\r\nx-envoy-original-path: /chat/1?x\r\n");
    assert!(head.contains(&original), "{head}");
    assert!(head.contains("x-b: 1\r\n"), "{head}");
    let line = sidecar.line().await;
    assert_eq!((&line["path"], &line["authority"]), (&json!("/chat/1?x"), &json!("inner")));
}

#[tokio::test]
async fn a_route_may_redirect_and_answer_by_itself_behind_others() {
    let routes = "{match: [{uri: {prefix: /old}}], redirect: {uri: /new, scheme: https}, headers: {response: {set: {x-d: \
                  '3'}}}}, {name: rest, directResponse: {status: 503, body: {string: closed}}}";
    let sidecar = start(outbound_with_routes(routes), nobody(), None);
    let answer = ask(sidecar.address, get_of("/old/1?x", "")).await;
    assert!(answer.starts_with("HTTP/1.1 301 "), "{answer}");
    let location = format!("location: https://{AUTHORITY}/new?x\r\nx-d: 3\r\n");
    assert!(answer.contains(&location), "{answer}");
    let line = sidecar.line().await;
    assert_eq!(ending(&line), json!([301, "-", "direct_response", 0, 0]));
    let answer = ask(sidecar.address, get_of("/else", "")).await;
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.ends_with("\r\n\r\nclosed"), "{answer}");
    let line = sidecar.lines(2).await.pop().unwrap();
    assert_eq!(line["route_name"], "rest");
}
