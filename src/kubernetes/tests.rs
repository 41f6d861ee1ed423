//! What is asked of the API server, and what becomes of its answers, against one that answers from
//! a script.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_tungstenite::WebSocketStream;
use tungstenite::Message;
use tungstenite::handshake::derive_accept_key;
use tungstenite::protocol::Role;

use super::read::read_now;
use super::*;

const SERVICES: &str = "/api/v1/namespaces/chat/services";
const PODS: &str = "/api/v1/namespaces/chat/pods";
const FORWARD: &str = "/api/v1/namespaces/chat/pods/web-5f9-a/portforward";
const RULES: &str = "/apis/networking.istio.io/v1/namespaces/chat/destinationrules";
const DUMP: &str = r#"{"configs": []}"#;

/// An API server: answers by path with query, in the order in which they are given if there are
/// several for one path.
#[derive(Clone, Default)]
struct Script {
    answers: HashMap<String, Vec<(u16, Value)>>,
    /// What Envoy's admin port says in the pod whose port is forwarded; nothing if it refuses.
    admin: Option<&'static str>,
    /// The path that is never answered.
    silent: Option<&'static str>,
    asked: Arc<Mutex<Vec<(Method, String)>>>,
}

impl Script {
    fn with(mut self, path: &str, answer: Value) -> Self {
        self.answers.entry(path.to_owned()).or_default().push((200, answer));
        self
    }

    fn refusing(mut self, path: &str, status: u16, message: &str) -> Self {
        let answer = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": status,
            "message": message, "reason": ""});
        self.answers.entry(path.to_owned()).or_default().push((status, answer));
        self
    }

    /// A cluster with the namespace `chat`, and with Istio.
    fn with_istio() -> Self {
        let group = json!({"name": "networking.istio.io", "preferredVersion": {"version": "v1"},
            "versions": [{"version": "v1"}, {"version": "v1alpha3"}]});
        let kind = |name: &str, kind: &str| json!({"name": name, "kind": kind, "namespaced": true, "verbs": ["get", "list"]});
        Self::default()
            .with("/apis", json!({"groups": [group]}))
            .with(
                "/apis/networking.istio.io/v1",
                json!({"resources": [kind("destinationrules", "DestinationRule"),
                    kind("destinationrules/status", "DestinationRule")]}),
            )
            .with(
                "/apis/networking.istio.io/v1alpha3",
                json!({"resources": [kind("destinationrules", "DestinationRule"),
                    kind("envoyfilters", "EnvoyFilter")]}),
            )
            .with("/api/v1/namespaces/chat", json!({"metadata": {"name": "chat"}}))
    }

    async fn answer(self, mut request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        let path = request.uri().path().to_owned();
        let whole = request.uri().to_string().replace("?&", "?").trim_end_matches('?').to_owned();
        self.asked.lock().expect("unpoisoned").push((request.method().clone(), whole.clone()));
        if self.silent == Some(&path) {
            std::future::pending::<()>().await;
        }
        let known = self.answers.get(&whole).or_else(|| self.answers.get(&path));
        if path.ends_with("/portforward") && known.is_none() {
            return Ok(self.forward(&mut request));
        }
        let (status, answer) = match known {
            Some(answers) => {
                let asked = self.asked.lock().expect("unpoisoned");
                let before = asked.iter().filter(|(_, asked)| *asked == whole).count() - 1;
                answers[before.min(answers.len() - 1)].clone()
            }
            None if path.ends_with('s') => (200, list(&[])),
            None => (
                404,
                json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404,
                "message": "not found", "reason": "NotFound"}),
            ),
        };
        let mut response = Response::new(Full::new(answer.to_string().into()));
        *response.status_mut() = StatusCode::from_u16(status).expect("a status");
        Ok(response)
    }

    /// The pod's end of a forwarded port: two channels, each of which begins with the port.
    fn forward(&self, request: &mut Request<Incoming>) -> Response<Full<Bytes>> {
        let upgrade = hyper::upgrade::on(&mut *request);
        let admin = self.admin;
        tokio::spawn(async move {
            let stream = TokioIo::new(upgrade.await.expect("an upgrade"));
            let mut socket = WebSocketStream::from_raw_socket(stream, Role::Server, None).await;
            let port = 15_000_u16.to_le_bytes();
            for channel in [0, 1] {
                socket.send(Message::binary(vec![channel, port[0], port[1]])).await.expect("sent");
            }
            let said = match admin {
                None => [&[1][..], b"connection refused"].concat(),
                Some(body) => {
                    let asked = socket.next().await.expect("a request").expect("a frame").into_data();
                    assert!(asked.starts_with(b"\0GET /config_dump?include_eds HTTP/1.1\r\n"), "{asked:?}");
                    let head = format!("\0HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                    head.into_bytes()
                }
            };
            socket.send(Message::binary(said)).await.expect("sent");
            let _ = socket.close(None).await;
        });
        let key = request.headers()[SEC_WEBSOCKET_KEY].as_bytes();
        let mut response = Response::new(Full::default());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let accept = derive_accept_key(key);
        for (name, value) in [
            (CONNECTION, "Upgrade"),
            (UPGRADE, "websocket"),
            (SEC_WEBSOCKET_ACCEPT, &*accept),
            (SEC_WEBSOCKET_PROTOCOL, "v4.channel.k8s.io"),
        ] {
            response.headers_mut().insert(name, value.parse().expect("a value"));
        }
        response
    }

    /// Starts it, and reads what it has in force, as it is told to.
    async fn read(&self, told: impl FnOnce(&mut ReadConfig)) -> Result<InForce, ReadError> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("loopback has a port");
        let address = listener.local_addr().expect("an address");
        let script = self.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let script = script.clone();
                let answer = service_fn(move |request| script.clone().answer(request));
                let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), answer);
                tokio::spawn(connection.with_upgrades());
            }
        });
        let (_folder, kubeconfig) = kubeconfig(address);
        let mut config = config(kubeconfig);
        told(&mut config);
        read_now(&config).await
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("unpoisoned").iter().map(|(_, path)| path.clone()).collect()
    }
}

/// A namespace in the cluster of this kubeconfig.
fn config(kubeconfig: PathBuf) -> ReadConfig {
    ReadConfig {
        cluster: ClusterChoice { kubeconfig: Some(kubeconfig), ..ClusterChoice::default() },
        all_namespaces: false,
        namespace: Some("chat".to_owned()),
        proxies: false,
        limit: Duration::from_secs(20),
    }
}

fn kubeconfig(address: SocketAddr) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("config");
    let text = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "prod-eu",
        "clusters": [{"name": "k", "cluster": {"server": format!("http://{address}")}}],
        "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "prod-eu", "context": {"cluster": "k", "user": "u", "namespace": "chat"}}],
    });
    std::fs::write(&path, text.to_string()).expect("a file");
    (folder, path)
}

fn list(items: &[Value]) -> Value {
    json!({"kind": "List", "apiVersion": "v1", "metadata": {}, "items": items})
}

fn page(names: &[&str], next: &str) -> Value {
    let mut list = list(&names.iter().map(|name| named(name)).collect::<Vec<_>>());
    list["metadata"]["continue"] = next.into();
    list
}

fn named(name: &str) -> Value {
    json!({"metadata": {"name": name, "namespace": "chat"}})
}

fn names(in_force: &InForce) -> Vec<&str> {
    in_force.documents.iter().map(|text| &*text.name).collect()
}

#[tokio::test]
async fn a_namespace_is_read_with_what_the_root_namespace_says_and_by_get_alone() {
    let mesh =
        json!({"metadata": {"name": "istio-canary", "namespace": "istio-system"}, "data": {"mesh": ""}});
    let other = json!({"metadata": {"name": "istio-leader", "namespace": "istio-system"}});
    let mut filter = named("f");
    filter["metadata"]["namespace"] = "istio-system".into();
    let script = Script::with_istio()
        .with("/api/v1/namespaces/istio-system/configmaps", list(&[other, mesh]))
        .with(SERVICES, list(&[named("web")]))
        .with(RULES, list(&[named("web")]))
        .with("/apis/networking.istio.io/v1alpha3/namespaces/istio-system/envoyfilters", list(&[filter]));
    let in_force = script.read(|_| ()).await.expect("read");
    assert_eq!(
        names(&in_force),
        [
            "Namespace/chat",
            "ConfigMap/istio-canary in istio-system",
            "Service/web in chat",
            "DestinationRule/web in chat",
            "EnvoyFilter/f in istio-system"
        ]
    );
    assert_eq!((&in_force.unread[..], in_force.covered.has_istio), (&[][..], true));
    let asked = script.asked.lock().expect("unpoisoned");
    assert!(asked.iter().all(|(method, _)| method == Method::GET), "{asked:?}");
    // Each kind once, in its preferred version.
    let rules = asked.iter().filter(|(_, path)| path.contains("v1alpha3/namespaces/chat/destinationrules"));
    assert_eq!(rules.count(), 0);
}

#[tokio::test]
async fn all_namespaces_are_one_list_of_each_kind() {
    let script = Script::with_istio().with("/api/v1/services", list(&[named("web")]));
    let in_force = script.read(|config| config.all_namespaces = true).await.expect("read");
    assert_eq!(names(&in_force), ["Service/web in chat"]);
    assert_eq!(in_force.covered.words(), "all namespaces");
    let namespaced: Vec<_> =
        script.asked().into_iter().filter(|path| path.contains("/namespaces/")).collect();
    assert_eq!(namespaced, ["/api/v1/namespaces/istio-system/configmaps?limit=500"]);
}

#[tokio::test]
async fn kinds_that_are_not_installed_have_no_documents() {
    let script = Script::with_istio();
    let none = Script {
        answers: HashMap::from([("/apis".to_owned(), vec![(200, json!({"groups": []}))])]),
        ..script
    };
    let none = none.with("/api/v1/namespaces/chat", json!({"metadata": {"name": "chat"}}));
    let in_force = none.read(|_| ()).await.expect("read");
    assert_eq!((names(&in_force), in_force.covered.has_istio), (vec!["Namespace/chat"], false));
    assert_eq!(in_force.unread, []);
}

#[tokio::test]
async fn a_long_list_is_read_page_by_page() {
    let script = Script::with_istio()
        .with(&format!("{SERVICES}?limit=500"), page(&["a", "b"], "n+1"))
        .with(&format!("{SERVICES}?limit=500&continue=n%2B1"), page(&["c"], ""));
    let in_force = script.read(|_| ()).await.expect("read");
    assert_eq!(names(&in_force)[1..], ["Service/a in chat", "Service/b in chat", "Service/c in chat"]);
}

#[tokio::test]
async fn a_list_that_grew_too_old_is_read_again_in_one_page() {
    let script = Script::with_istio()
        .with(&format!("{SERVICES}?limit=500"), page(&["a", "gone"], "n"))
        .refusing(
            &format!("{SERVICES}?limit=500&continue=n"),
            410,
            "the provided continue parameter is too old",
        )
        .with(SERVICES, page(&["a", "b"], ""));
    let in_force = script.read(|_| ()).await.expect("read");
    assert_eq!(names(&in_force)[1..], ["Service/a in chat", "Service/b in chat"]);
}

#[tokio::test]
async fn a_right_that_is_missing_is_said_once_for_its_group_with_the_rule_of_a_role() {
    let no = "no list for you";
    let apps = ["deployments", "statefulsets", "daemonsets"];
    let mut script = Script::with_istio().with(SERVICES, list(&[named("web")]));
    for resource in apps {
        script = script.refusing(&format!("/apis/apps/v1/namespaces/chat/{resource}"), 403, no);
    }
    let root = "/apis/networking.istio.io/v1alpha3/namespaces/istio-system/envoyfilters";
    let in_force = script.refusing(root, 403, no).read(|_| ()).await.expect("what may be read");
    assert_eq!(names(&in_force), ["Namespace/chat", "Service/web in chat"]);
    let said: Vec<_> = in_force.unread.iter().map(ToString::to_string).collect();
    assert_eq!(
        said,
        [
            "not allowed to list deployments, statefulsets, daemonsets (apps) in the namespace chat: no list for you",
            "not allowed to list envoyfilters (networking.istio.io) in the namespace istio-system: no list for you"
        ]
    );
    assert_eq!(
        in_force.unread[0].rule(),
        "- apiGroups: [apps]\n  resources: [deployments, statefulsets, daemonsets]\n  verbs: [list]"
    );
}

#[tokio::test]
async fn what_the_api_server_keeps_beside_a_document_is_not_of_it() {
    let service = json!({"metadata": {"name": "web", "namespace": "chat", "uid": "1", "resourceVersion": "2",
        "creationTimestamp": "2026-01-01T00:00:00Z", "managedFields": [{"manager": "kubectl"}],
        "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}", "a": "b"}},
        "spec": {"ports": []}, "status": {"loadBalancer": {}}});
    let in_force = Script::with_istio().with(SERVICES, list(&[service])).read(|_| ()).await.expect("read");
    let document: Value = serde_json::from_str(&in_force.documents[1].text).expect("JSON");
    assert_eq!(
        document,
        json!({"apiVersion": "v1", "kind": "Service", "spec": {"ports": []}, "metadata": {"name": "web",
            "namespace": "chat", "creationTimestamp": "2026-01-01T00:00:00Z", "annotations": {"a": "b"}}})
    );
}

/// A pod with a proxy, kept by something of this kind and name.
fn pod(name: &str, keeper: (&str, &str), phase: &str) -> Value {
    json!({"metadata": {"name": name, "namespace": "chat", "labels": {"pod-template-hash": "5f9"},
        "ownerReferences": [{"controller": true, "kind": keeper.0, "name": keeper.1}]},
        "spec": {"containers": [{"name": "app"}, {"name": "istio-proxy"}]},
        "status": {"phase": phase, "podIPs": [{"ip": "10.0.0.1"}], "conditions": [{"type": "Ready", "status": "True"}]}})
}

#[tokio::test]
async fn of_pods_those_are_documents_that_no_other_document_stands_for() {
    let pods = [
        pod("web-5f9-a", ("ReplicaSet", "web-5f9"), "Running"),
        pod("rollout-5f9-a", ("ReplicaSet", "rollout-5f9"), "Running"),
        pod("job-a", ("Job", "job"), "Running"),
        pod("done-a", ("Job", "done"), "Succeeded"),
        named("bare"),
    ];
    let script = Script::with_istio()
        .with("/apis/apps/v1/namespaces/chat/deployments", list(&[named("web")]))
        .with(PODS, list(&pods));
    let in_force = script.read(|_| ()).await.expect("read");
    assert_eq!(
        names(&in_force)[1..],
        ["Deployment/web in chat", "Pod/rollout-5f9-a in chat", "Pod/job-a in chat", "Pod/bare in chat"]
    );
}

#[tokio::test]
async fn one_proxy_of_each_workload_is_asked_through_a_forwarded_port() {
    let mut starting = pod("web-5f9-0", ("ReplicaSet", "web-5f9"), "Running");
    starting["status"]["conditions"] = json!([]);
    let pods = [starting, pod("web-5f9-a", ("ReplicaSet", "web-5f9"), "Running"), named("bare")];
    let script = Script { admin: Some(DUMP), ..Script::with_istio().with(PODS, list(&pods)) };
    let in_force = script.read(|config| config.proxies = true).await.expect("read");
    assert_eq!(in_force.unread, []);
    let [PodDump { text, addresses, is_sidecar: true }] = &in_force.dumps[..] else {
        panic!("{:?}", in_force.dumps)
    };
    assert_eq!((&*text.name, &*text.text), ("Pod/web-5f9-a in chat", DUMP));
    assert_eq!(addresses[..], ["10.0.0.1"]);
    assert!(script.asked().contains(&format!("{FORWARD}?ports=15000")), "{:?}", script.asked());
}

#[tokio::test]
async fn a_proxy_that_cannot_be_asked_is_named() {
    let pods = list(&[pod("web-5f9-a", ("ReplicaSet", "web-5f9"), "Running")]);
    let script = Script::with_istio().with(PODS, pods);
    let in_force = script.read(|config| config.proxies = true).await.expect("read");
    let said: Vec<_> = in_force.unread.iter().map(ToString::to_string).collect();
    assert_eq!(said, ["the proxy of Pod/web-5f9-a in chat was not read: connection refused"]);

    let script = script.refusing(FORWARD, 403, "no forward for you");
    let in_force = script.read(|config| config.proxies = true).await.expect("read");
    let [unread] = &in_force.unread[..] else { panic!("{:?}", in_force.unread) };
    let said = "not allowed to get and create pods/portforward in the namespace chat: no forward for you";
    assert_eq!(unread.to_string(), said);
    assert!(unread.rule().ends_with("verbs: [get, create]"), "{}", unread.rule());
}

#[tokio::test]
async fn a_cluster_that_cannot_be_read_is_an_error_that_says_what_to_do() {
    // A port that was free a moment ago.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("loopback has a port");
    let (_folder, path) = kubeconfig(listener.local_addr().expect("an address"));
    drop(listener);
    let context =
        |name: &str| ClusterChoice { context: Some(name.to_owned()), kubeconfig: Some(path.clone()) };
    for (name, said) in [("prod-us", ": the nearest is prod-eu"), ("x", "; it has prod-eu")] {
        let error = read_now(&ReadConfig { cluster: context(name), ..config(path.clone()) }).await;
        let error = error.expect_err("no such context");
        assert_eq!(
            error.to_string(),
            format!("find the cluster: the kubeconfig has no context {name}{said}")
        );
    }
    let error = read_now(&config("/nowhere/config".into())).await.expect_err("no such file");
    assert!(error.to_string().starts_with("find the cluster: "), "{error}");

    let error = read_now(&config(path.clone())).await.expect_err("nobody listens there");
    assert!(error.to_string().starts_with("ask the API server for the namespace chat: "), "{error}");

    let error = Script::default().read(|_| ()).await.expect_err("no such namespace");
    assert_eq!(error.to_string(), "the cluster has no namespace chat");

    let login = Script::default().refusing("/api/v1/namespaces/chat", 401, "Unauthorized");
    let error = login.read(|_| ()).await.expect_err("not logged in");
    assert_eq!(error.to_string(), "the namespace chat: the API server says 401: Unauthorized");
    assert!(error.hint().is_some_and(|hint| hint.contains("log in again")));

    let silent = Script { silent: Some(SERVICES), ..Script::with_istio() };
    let error = silent.read(|config| config.limit = Duration::from_millis(300)).await.expect_err("no answer");
    assert_eq!(
        error.to_string(),
        "ask the API server for the services of the namespace chat: no answer within 300ms"
    );
    assert_eq!(error.hint(), Some("--timeout waits longer"));
}
