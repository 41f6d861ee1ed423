//! `websockets-cli lint --kubernetes` against an API server that answers from a table: how it ends,
//! and what people and programs are shown. What is asked of the API server is tested in the library.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::Output;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{run, text};

const NAMESPACE: (&str, &str) = (
    "/api/v1/namespaces/chat",
    r#"{"metadata": {"name": "chat", "labels": {"istio-injection": "enabled"}}}"#,
);
const GROUPS: (&str, &str) =
    ("/apis", r#"{"groups": [{"name": "networking.istio.io", "versions": [{"version": "v1"}]}]}"#);
const KINDS: (&str, &str) = (
    "/apis/networking.istio.io/v1",
    r#"{"resources": [{"name": "destinationrules", "kind": "DestinationRule", "namespaced": true, "verbs": ["list"]}]}"#,
);
const SERVICES: (&str, &str) = (
    "/api/v1/namespaces/chat/services",
    r#"{"items": [{"metadata": {"name": "web", "namespace": "chat"},
        "spec": {"selector": {"app": "web"}, "ports": [{"name": "http", "port": 80}]}}]}"#,
);
const DEPLOYMENTS: (&str, &str) = (
    "/apis/apps/v1/namespaces/chat/deployments",
    r#"{"items": [{"metadata": {"name": "web", "namespace": "chat"}, "spec": {"selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web"}]}}}}]}"#,
);
const UPGRADE: (&str, &str) = (
    "/apis/networking.istio.io/v1/namespaces/chat/destinationrules",
    r#"{"items": [{"metadata": {"name": "web", "namespace": "chat"}, "spec": {"host": "web",
        "trafficPolicy": {"connectionPool": {"http": {"h2UpgradePolicy": "UPGRADE"}}}}}]}"#,
);
const RIGHT: [(&str, &str); 5] = [NAMESPACE, GROUPS, KINDS, SERVICES, DEPLOYMENTS];

/// An API server in a thread, which ends with the test's process, and its kubeconfig.
struct ApiServer {
    kubeconfig: TempDir,
}

impl ApiServer {
    /// Answers paths from a table, lists that are not in it with none, and one path with 403.
    fn start(answers: Vec<(&'static str, &'static str)>, forbidden: &'static str) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a port");
        let address = listener.local_addr().expect("an address");
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let answers = answers.clone();
                std::thread::spawn(move || serve(stream, &answers, forbidden));
            }
        });
        let kubeconfig = tempfile::tempdir().expect("a folder");
        let text = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "k", "cluster": {"server": format!("http://{address}")}}],
            "users": [], "contexts": [{"name": "c", "context": {"cluster": "k", "user": "", "namespace": "chat"}}],
        });
        std::fs::write(kubeconfig.path().join("config"), text.to_string()).expect("a file");
        Self { kubeconfig }
    }

    fn lint(&self, args: &[&str]) -> Output {
        let kubeconfig = self.kubeconfig.path().join("config");
        let cluster = ["lint", "--kubernetes", "--kubeconfig", kubeconfig.to_str().expect("text")];
        run(&[&cluster[..], args].concat(), "")
    }
}

/// Answers the requests of a connection.
fn serve(mut stream: TcpStream, answers: &[(&str, &str)], forbidden: &str) {
    let mut lines = BufReader::new(stream.try_clone().expect("a handle")).lines();
    while let Some(Ok(request)) = lines.next() {
        // A GET ends with its head.
        while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
        let path = request.split([' ', '?']).nth(1).unwrap_or_default();
        let known = answers.iter().find(|(known, _)| *known == path);
        let (status, body) = match known {
            _ if path == forbidden => {
                ("403 Forbidden", r#"{"kind": "Status", "code": 403, "message": "no such right"}"#)
            }
            Some((_, body)) => ("200 OK", *body),
            None if path.ends_with('s') => ("200 OK", r#"{"items": []}"#),
            None => ("404 Not Found", r#"{"kind": "Status", "code": 404}"#),
        };
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

#[test]
fn a_namespace_without_a_fault_ends_with_0_and_says_what_was_read() {
    let output = ApiServer::start(RIGHT.to_vec(), "").lint(&[]);
    assert_eq!(output.status.code(), Some(0), "{}{}", text(&output.stdout), text(&output.stderr));
    let said = text(&output.stderr);
    let read = "read 3 documents of the namespace chat, and what istio-system says of the whole mesh";
    assert!(said.contains(read), "{said}");
}

#[test]
fn a_fault_in_the_cluster_is_shown_at_its_object() {
    let output = ApiServer::start([&RIGHT[..], &[UPGRADE]].concat(), "").lint(&["-n", "chat"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let shown = text(&output.stdout);
    assert!(shown.contains("error[upgrade-without-allow-connect]"), "{shown}");
    assert!(shown.contains("--> DestinationRule/web in chat:"), "{shown}");
    assert!(shown.contains(r#""h2UpgradePolicy": "UPGRADE""#), "{shown}");
}

#[test]
fn what_may_not_be_read_is_never_called_right() {
    let server = ApiServer::start(RIGHT.to_vec(), UPGRADE.0);
    let output = server.lint(&[]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
    let shown = text(&output.stdout);
    let missing = "not allowed to list destinationrules (networking.istio.io) in the namespace chat";
    assert!(shown.contains("warning[not-read]") && shown.contains(missing), "{shown}");
    assert!(shown.contains("- apiGroups: [networking.istio.io]"), "{shown}");
    let report: Value = serde_json::from_slice(&server.lint(&["--output", "json"]).stdout).expect("a report");
    let codes: Vec<_> = report["findings"].as_array().expect("a list").iter().map(|it| &it["code"]).collect();
    assert!(codes.contains(&&json!("not-read")), "{codes:?}");
    // What is wrong for certain outranks it.
    let server = ApiServer::start([&RIGHT[..], &[UPGRADE]].concat(), "/api/v1/namespaces/chat/pods");
    assert_eq!(server.lint(&[]).status.code(), Some(1));
}

#[test]
fn a_namespace_or_a_context_that_is_not_there_ends_with_2() {
    let server = ApiServer::start(RIGHT.to_vec(), "");
    for (args, said) in [
        (&["-n", "chta"][..], "error: the cluster has no namespace chta\n"),
        (&["--context", "d"], "error: find the cluster: the kubeconfig has no context d; it has c\n"),
    ] {
        let output = server.lint(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(text(&output.stderr).starts_with(said), "{}", text(&output.stderr));
    }
}
