//! What is asked of the API server, and what its answers are made of, against one that answers from
//! a script.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Mutex as StdMutex;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::Barrier;

use super::*;
use crate::mesh;

const RULE: &str =
    "{apiVersion: networking.istio.io/v1beta1, kind: DestinationRule, metadata: {name: a}, spec: {host: a}}";
const RULES: &str = "/apis/networking.istio.io/v1beta1/namespaces/default/destinationrules";

/// A request, as far as it matters: method, path with query, body.
type AskedApi = (Method, String, Value);

/// An API server: objects by path, and statuses for what is not answered with one.
#[derive(Clone, Default)]
struct Script {
    objects: HashMap<String, Value>,
    refusals: HashMap<(Method, String), (u16, &'static str)>,
    asked: Arc<StdMutex<Vec<AskedApi>>>,
    /// Where a PATCH says that it has come, and waits until it may be answered.
    hold: Option<Arc<Barrier>>,
}

impl Script {
    fn with(mut self, path: &str, object: Value) -> Self {
        self.objects.insert(path.to_owned(), object);
        self
    }

    fn refusing(mut self, method: Method, path: &str, status: u16, message: &'static str) -> Self {
        self.refusals.insert((method, path.to_owned()), (status, message));
        self
    }

    async fn answer(self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.expect("a body").to_bytes();
        let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
        let path = head.uri.path().to_owned();
        self.asked.lock().expect("unpoisoned").push((
            head.method.clone(),
            head.uri.to_string(),
            body.clone(),
        ));
        if let (&Method::PATCH, Some(hold)) = (&head.method, &self.hold) {
            hold.wait().await;
            hold.wait().await;
        }
        let failure = |code: u16, message: &str| {
            (
                code,
                json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": message,
                "reason": if code == 404 { "NotFound" } else { "" }}),
            )
        };
        let (status, answer) =
            match (self.refusals.get(&(head.method.clone(), path.clone())), self.objects.get(&path)) {
                (Some((status, message)), _) => failure(*status, message),
                (None, _) if head.method == Method::PATCH => (200, body),
                (None, Some(object)) => (200, object.clone()),
                (None, None) if path.ends_with('s') => {
                    (200, json!({"kind": "List", "apiVersion": "v1", "metadata": {}, "items": []}))
                }
                (None, None) => failure(404, "not found"),
            };
        let mut response = Response::new(Full::new(answer.to_string().into()));
        *response.status_mut() = StatusCode::from_u16(status).expect("a status");
        Ok(response)
    }

    /// Starts it, and a mesh whose cluster it is.
    async fn mesh(&self) -> LiveMesh {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("loopback has a port");
        let address = listener.local_addr().expect("an address");
        let script = self.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let script = script.clone();
                let answer = service_fn(move |request| script.clone().answer(request));
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
            }
        });
        let folder = tempfile::tempdir().expect("a folder");
        let kubeconfig = folder.path().join("config");
        std::fs::write(&kubeconfig, kubeconfig_for(address)).expect("a file");
        let config = KubernetesConfig {
            cluster: ClusterChoice { kubeconfig: Some(kubeconfig), ..ClusterChoice::default() },
            namespace: None,
            timeout: Duration::from_secs(1),
        };
        LiveMesh::connect(&config).await.expect("a kubeconfig")
    }

    fn asked(&self) -> Vec<AskedApi> {
        self.asked.lock().expect("unpoisoned").clone()
    }
}

fn kubeconfig_for(address: SocketAddr) -> String {
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "k", "cluster": {"server": format!("http://{address}")}}],
        "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
    })
    .to_string()
}

fn rule() -> Documents {
    Documents::parse("rule.yaml", RULE).expect("valid documents")
}

fn in_cluster(metadata: &Value) -> Value {
    let mut metadata = metadata.clone();
    metadata["name"] = "a".into();
    metadata["namespace"] = "default".into();
    json!({"apiVersion": "networking.istio.io/v1beta1", "kind": "DestinationRule", "metadata": metadata, "spec": {"host": "a"}})
}

#[tokio::test]
async fn looking_at_a_cluster_only_reads() {
    let script = Script::default().with(&format!("{RULES}/a"), in_cluster(&json!({})));
    script.mesh().await.documents(Some(&rule())).await.expect("present");
    assert!(script.asked().iter().all(|(method, _, _)| method == Method::GET), "{:?}", script.asked());
}

#[tokio::test]
async fn a_document_that_is_not_there_or_is_another_is_named_by_its_place() {
    let absent = Script::default().mesh().await.documents(Some(&rule())).await.expect_err("absent");
    assert_eq!(absent.to_string(), "rule.yaml:1: DestinationRule default/a is not in the cluster");
    let mut other = in_cluster(&json!({}));
    other["spec"]["host"] = "b".into();
    let mesh = Script::default().with(&format!("{RULES}/a"), other).mesh().await;
    let differs = mesh.documents(Some(&rule())).await.expect_err("another");
    assert_eq!(
        differs.to_string(),
        "rule.yaml:1: DestinationRule default/a is another in the cluster: spec.host differs"
    );
}

#[tokio::test]
async fn a_right_that_is_missing_is_named_as_a_role_grants_it() {
    let services = "/api/v1/namespaces/default/services";
    let mesh = Script::default().refusing(Method::GET, services, 403, "no").mesh().await;
    let error = mesh.documents(None).await.expect_err("forbidden");
    assert_eq!(error.to_string(), "not allowed to list services in the namespace default: no");
    let exec = "/api/v1/namespaces/default/pods/p/exec";
    let mesh = Script::default().refusing(Method::GET, exec, 403, "no").mesh().await;
    let error = mesh.cluster.exec("p", "default", "c", &["true"]).await.err().expect("forbidden");
    assert!(
        error.to_string().starts_with("not allowed to get and create pods/exec in the namespace default: "),
        "{error}"
    );
}

#[tokio::test]
async fn documents_of_the_whole_mesh_may_be_out_of_sight() {
    let root = RULES.replace("/default/", "/istio-system/");
    let rules = json!({"kind": "DestinationRuleList", "apiVersion": "networking.istio.io/v1beta1", "metadata": {},
        "items": [in_cluster(&json!({}))]});
    let script = Script::default().with(RULES, rules).refusing(Method::GET, &root, 403, "no");
    let documents = script.mesh().await.documents(None).await.expect("the namespace is enough");
    assert_eq!(documents.manifests().len(), 1, "the rule of the namespace");
    assert!(script.asked().iter().any(|(_, path, _)| path.starts_with(&root)), "it was not asked for");
}

#[tokio::test]
async fn apply_is_a_server_side_apply_that_marks_what_it_creates() {
    let script = Script::default();
    let changes = script.mesh().await.apply(&rule(), false, false).await.expect("applied");
    assert_eq!(
        changes,
        [Change { title: "DestinationRule default/a".to_owned(), kind: ChangeKind::Created }]
    );
    let asked = script.asked();
    let (method, path, body) = asked.last().expect("a request");
    assert_eq!(
        (method, path.as_str()),
        (&Method::PATCH, &*format!("{RULES}/a?&fieldManager=websockets-cli"))
    );
    assert_eq!(body["metadata"]["annotations"], json!({"websockets-cli/created-by-verify": "true"}));
}

#[tokio::test]
async fn a_dry_run_says_so_to_the_api_server_and_what_was_there_is_not_marked() {
    let script = Script::default().with(&format!("{RULES}/a"), in_cluster(&json!({})));
    let changes = script.mesh().await.apply(&rule(), true, true).await.expect("applied");
    assert_eq!(changes[0].kind, ChangeKind::Unchanged);
    let asked = script.asked();
    let (_, path, body) = asked.last().expect("a request");
    assert!(path.contains("dryRun=All") && path.contains("force=true"), "{path}");
    assert_eq!(body["metadata"].get("annotations"), None);
}

#[tokio::test]
async fn another_managers_field_is_a_conflict_with_advice() {
    let path = format!("{RULES}/a");
    let mesh =
        Script::default().refusing(Method::PATCH, &path, 409, "conflict with \"kubectl\"").mesh().await;
    let error = mesh.apply(&rule(), false, false).await.expect_err("a conflict");
    assert_eq!(error.to_string(), "apply: conflict with \"kubectl\"");
    assert_eq!(error.hint(), Some("--force-conflicts takes the fields over"));
}

#[tokio::test]
async fn cleaning_up_deletes_what_apply_created_and_gives_up_what_it_changed() {
    let created = json!({"annotations": {"websockets-cli/created-by-verify": "true"}});
    let adopted = json!({"managedFields": [{"manager": "websockets-cli", "operation": "Apply"}]});
    for (metadata, kind, method) in [
        (created, Some(ChangeKind::Deleted), Method::DELETE),
        (adopted, Some(ChangeKind::GivenUp), Method::PATCH),
        (json!({}), None, Method::GET),
    ] {
        let script = Script::default().with(&format!("{RULES}/a"), in_cluster(&metadata));
        let changes = script.mesh().await.clean_up(&rule(), false).await.expect("cleaned up");
        assert_eq!(changes.first().map(|change| change.kind), kind, "{metadata}");
        let asked = script.asked();
        let (last, _, body) = asked.last().expect("a request");
        assert_eq!(*last, method, "{metadata}");
        if method == Method::PATCH {
            assert_eq!(body.get("spec"), None, "of our fields none stays");
        }
    }
}

#[tokio::test]
async fn cleaning_up_waits_for_an_apply_that_was_given_up() {
    let hold = Arc::new(Barrier::new(2));
    let script = Script { hold: Some(Arc::clone(&hold)), ..Script::default() };
    let mesh = script.mesh().await;
    let documents = rule();
    tokio::select! {
        applied = mesh.apply(&documents, false, false) => panic!("answered: {applied:?}"),
        _ = hold.wait() => {}
    }
    let mut clean_up = std::pin::pin!(mesh.clean_up(&documents, false));
    assert!(futures_util::poll!(&mut clean_up).is_pending());
    assert_eq!(script.asked().last().map(|asked| asked.0.clone()), Some(Method::PATCH));
    let (cleaned, _) = tokio::join!(clean_up, hold.wait());
    cleaned.expect("cleaned up");
    assert_eq!(script.asked().last().map(|asked| asked.0.clone()), Some(Method::GET));
}

#[tokio::test]
async fn what_the_built_in_documents_would_complete_is_missing_in_a_cluster() {
    let mesh = Script::default().mesh().await;
    let pair = PairConfig::new(
        Documents::default(),
        None,
        None,
        None,
        &mesh::MeshDefaults::default(),
        mesh::ISTIO_VERSION,
    );
    let error = mesh.ready(&pair.expect("a pair")).await.expect_err("nothing is there");
    assert_eq!(error.to_string(), "no Service default/websockets-server in the cluster");
}

#[test]
fn a_deployment_is_awaited_until_all_its_pods_are_new_and_available() {
    let deployment = |generation: i64, updated: i64, available: i64, all: i64| {
        json!({"metadata": {"generation": 2}, "spec": {"replicas": 2}, "status": {"observedGeneration": generation,
            "updatedReplicas": updated, "availableReplicas": available, "replicas": all}})
    };
    assert_eq!(rollout(&deployment(2, 2, 2, 2)), None);
    for (generation, updated, available, all) in [(1, 2, 2, 2), (2, 1, 2, 3), (2, 2, 1, 2), (2, 2, 2, 3)] {
        assert!(rollout(&deployment(generation, updated, available, all)).is_some());
    }
}
