//! A live mesh as a target: the sessions go from the client's pod to the Service, and both pods'
//! sidecars are what is judged. Nothing is started here, and nothing is changed but by
//! [`LiveMesh::apply`] and [`LiveMesh::clean_up`].

mod api;
mod apply;
mod documents;
mod error;
mod lines;
mod play;
mod pods;
mod policy;
mod session;

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::sync::Mutex;

use self::api::{Kubernetes, resource};
pub use self::apply::{Change, ChangeKind};
use self::documents::WantedDocument;
pub use self::error::KubernetesError;
use self::pods::Pod;
use crate::kubernetes::ClusterChoice;
use crate::mesh::Documents;
use crate::verify::pair::PairConfig;

/// How often the cluster is asked whether it has come to where it is awaited.
const INTERVAL: Duration = Duration::from_millis(500);

/// Which cluster, and how long it is waited for.
#[derive(Debug, Clone)]
pub struct KubernetesConfig {
    /// The cluster.
    pub cluster: ClusterChoice,
    /// The namespace of what names none; the context's if none is named.
    pub namespace: Option<String>,
    /// How long pods and the policy are awaited.
    pub timeout: Duration,
}

/// A mesh in a cluster.
pub struct LiveMesh {
    cluster: Kubernetes,
    timeout: Duration,
    /// All cases go through the same pods, one after another.
    turn: Mutex<()>,
    /// Held while documents are applied.
    applying: Arc<Mutex<()>>,
}

impl fmt::Debug for LiveMesh {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("LiveMesh").finish_non_exhaustive()
    }
}

/// Both ends, with the policy in force.
#[derive(Debug)]
struct MeshEnds {
    client: Pod,
    servers: Vec<Pod>,
    /// How many workers the client's Envoy has, each with connections of its own.
    workers: usize,
}

impl LiveMesh {
    /// Finds the cluster; asks it nothing yet.
    ///
    /// # Errors
    /// There is no configuration, or it is malformed.
    pub async fn connect(config: &KubernetesConfig) -> Result<Self, KubernetesError> {
        let cluster = Kubernetes::connect(config).await?;
        Ok(Self { cluster, timeout: config.timeout, turn: Mutex::new(()), applying: Arc::default() })
    }

    fn wanted(&self, documents: &Documents) -> Vec<WantedDocument> {
        documents
            .manifests()
            .iter()
            .map(|manifest| WantedDocument::of(manifest, &self.cluster.namespace))
            .collect()
    }

    /// Applies documents by server-side apply, taking fields over from other managers if `force`;
    /// with `dry_run` only says what would become of them. Who gives up waiting does not cut it
    /// off.
    ///
    /// # Errors
    /// The API server does not allow or take it.
    pub async fn apply(
        &self,
        documents: &Documents,
        force: bool,
        dry_run: bool,
    ) -> Result<Vec<Change>, KubernetesError> {
        let applying = Arc::clone(&self.applying).lock_owned().await;
        let (cluster, wanted) = (self.cluster.clone(), self.wanted(documents));
        // A request that was sent may take effect whether its answer is awaited or not, so a signal
        // must not end this task with the one that waits for it: `clean_up` would come before what
        // it has to take back.
        let applied = tokio::spawn(async move {
            let _applying = applying;
            cluster.apply_all(&wanted, force, dry_run).await
        });
        applied.await.unwrap_or_else(|failure| std::panic::resume_unwind(failure.into_panic()))
    }

    /// Takes back just what applying these documents did, once that has come to its end.
    ///
    /// # Errors
    /// The API server does not allow it.
    pub async fn clean_up(
        &self,
        documents: &Documents,
        dry_run: bool,
    ) -> Result<Vec<Change>, KubernetesError> {
        let _applied = self.applying.lock().await;
        self.cluster.clean_up(&self.wanted(documents), dry_run).await
    }

    /// The documents in force: those of the cluster, in the namespaces of `brought`, which have to
    /// be among them.
    ///
    /// # Errors
    /// One of them is not, or they may not be read.
    pub async fn documents(&self, brought: Option<&Documents>) -> Result<Documents, KubernetesError> {
        let wanted = brought.map(|documents| self.wanted(documents)).unwrap_or_default();
        self.cluster.check_present(&wanted).await?;
        let named = wanted.into_iter().map(|document| document.namespace);
        let namespaces: BTreeSet<String> = named.chain([self.cluster.namespace.clone()]).collect();
        self.cluster.documents(&namespaces.into_iter().collect::<Vec<_>>()).await
    }

    /// Waits until there are ready pods with sidecars on both ends, and these have what the
    /// documents say.
    async fn ready(&self, pair: &PairConfig) -> Result<MeshEnds, KubernetesError> {
        let deadline = Instant::now() + self.timeout;
        loop {
            let problem = match self.look(pair).await? {
                Ok(ends) => return Ok(ends),
                Err(problem) => problem,
            };
            if Instant::now() >= deadline {
                return Err(KubernetesError::NotInForce { problem, limit: self.timeout });
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }

    /// Looks once; what is not as it should be may come to be so.
    async fn look(&self, pair: &PairConfig) -> Result<Result<MeshEnds, String>, KubernetesError> {
        let service = &pair.service;
        self.there(("v1", "Service"), service.namespace(), service.name()).await?;
        for workload in [&pair.client, &pair.server] {
            let deployment =
                self.there(("apps/v1", "Deployment"), &workload.namespace, &workload.name).await?;
            if let Some(problem) = rollout(&deployment) {
                let said = [format!("the Deployment {}/{} {problem}", workload.namespace, workload.name)];
                let obstacles = self.cluster.obstacles(&workload.labels, &workload.namespace).await?;
                return Ok(Err(said.into_iter().chain(obstacles).collect::<Vec<_>>().join("; ")));
            }
        }
        let clients = self.cluster.ready_pods(&pair.client.labels, &pair.client.namespace).await?;
        let Some(client) = clients.into_iter().next() else {
            return Ok(Err(format!("no pod of {}/{} is ready", pair.client.namespace, pair.client.name)));
        };
        let servers = self.cluster.ready_pods(service.selector(), service.namespace()).await?;
        if servers.is_empty() {
            return Ok(Err(format!(
                "no pod of the Service {}/{} is ready",
                service.namespace(),
                service.name()
            )));
        }
        // A pod may go between being listed and being asked.
        Ok(match self.sidecars(pair, &client, &servers).await {
            Ok(Ok(workers)) => Ok(MeshEnds { client, servers, workers }),
            Ok(Err(problem)) => Err(problem),
            Err(error @ (KubernetesError::Command { .. } | KubernetesError::Refused { .. })) => {
                Err(error.to_string())
            }
            Err(error) => return Err(error),
        })
    }

    /// An object that the documents left to the built-in ones must not be missing here.
    async fn there(
        &self,
        (api_version, kind): (&str, &str),
        namespace: &str,
        name: &str,
    ) -> Result<Value, KubernetesError> {
        let object = self.cluster.get(&resource(api_version, kind), namespace, name).await?;
        object.ok_or_else(|| KubernetesError::Missing { title: format!("{kind} {namespace}/{name}") })
    }

    /// Whether the sidecars have what the documents say; how many workers the client's one has.
    async fn sidecars(
        &self,
        pair: &PairConfig,
        client: &Pod,
        servers: &[Pod],
    ) -> Result<Result<usize, String>, KubernetesError> {
        const DUMP: &str = "config_dump?include_eds";
        const DRAINING: &str = "stats?format=json&filter=^listener_manager.total_.*_draining$";
        let addresses: BTreeSet<IpAddr> = servers.iter().map(|pod| pod.address).collect();
        let dump = self.cluster.admin(client, DUMP).await?;
        if let Some(problem) = policy::client_lacks(&dump, pair, &addresses) {
            return Ok(Err(format!("the sidecar of {}: {problem}", client.name)));
        }
        let mut without_log = policy::is_log_off(&dump, "outbound").then_some(client);
        for server in servers {
            let dump = self.cluster.admin(server, DUMP).await?;
            if let Some(problem) = policy::server_lacks(&dump, pair) {
                return Ok(Err(format!("the sidecar of {}: {problem}", server.name)));
            }
            if policy::is_log_off(&dump, "inbound") {
                without_log = Some(server);
            }
            if policy::is_affected_by_draining(pair)
                && policy::is_draining(&self.cluster.admin(server, DRAINING).await?)
            {
                let problem =
                    "it still serves connections from before the last change, until they are drained";
                return Ok(Err(format!("the sidecar of {}: {problem}", server.name)));
            }
        }
        if let Some(pod) = without_log {
            return Err(KubernetesError::LogsOff { pod: pod.name.clone() });
        }
        let info = self.cluster.admin(client, "server_info").await?;
        let workers = info["command_line_options"]["concurrency"].as_u64();
        Ok(Ok(workers.and_then(|workers| usize::try_from(workers).ok()).unwrap_or(1)))
    }
}

/// What a Deployment has not done yet, in words.
fn rollout(deployment: &Value) -> Option<String> {
    let number = |pointer: &str| deployment.pointer(pointer).and_then(Value::as_i64).unwrap_or_default();
    let wanted = deployment["spec"]["replicas"].as_i64().unwrap_or(1);
    if number("/status/observedGeneration") < number("/metadata/generation") {
        return Some("has not been seen by its controller".to_owned());
    }
    let [updated, available, all] =
        ["updatedReplicas", "availableReplicas", "replicas"].map(|name| number(&format!("/status/{name}")));
    if (updated, available, all) == (wanted, wanted, wanted) {
        return None;
    }
    Some(format!("has {available} of {wanted} pods available"))
}

#[cfg(test)]
mod tests;
