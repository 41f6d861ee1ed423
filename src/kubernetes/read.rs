//! What a cluster has in force, read by itself: its documents, and the dumps of its proxies.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};

use super::connect::{ClusterChoice, connect};
use super::documents::ClusterDocuments;
use super::dump::NoDump;
use super::list::{ReadError, Reader};
use super::pods::{SeenPod, with_proxies};
use super::unread::Unread;
use crate::mesh::ROOT_NAMESPACE;
use crate::yaml::Text;

/// How many proxies are asked at a time.
const AT_A_TIME: usize = 4;

/// The verbs by which a port is forwarded: older clusters ask for `get`, since a WebSocket begins
/// with a GET; newer ones for `create`, as kubectl needs it.
const FORWARD: &str = "get and create";

/// What is to be read.
#[derive(Debug, Clone)]
pub struct ReadConfig {
    /// The cluster.
    pub cluster: ClusterChoice,
    /// Whether all namespaces are meant.
    pub all_namespaces: bool,
    /// The namespace that is meant, if not all are; the context's if none is named.
    pub namespace: Option<String>,
    /// Whether the proxies are asked for their dumps.
    pub proxies: bool,
    /// How long each answer is awaited.
    pub limit: Duration,
}

/// What a cluster has in force.
#[derive(Debug)]
pub struct InForce {
    /// Its documents, a text each, named by kind, name and namespace.
    pub documents: Vec<Arc<Text>>,
    /// The dumps of its proxies, one of each workload.
    pub dumps: Vec<PodDump>,
    /// What could not be read.
    pub unread: Vec<Unread>,
    /// What was meant to be read.
    pub covered: Covered,
}

/// The dump of a pod's proxy, and what the cluster says of the pod.
#[derive(Debug)]
pub struct PodDump {
    /// The dump, named by the pod.
    pub text: Arc<Text>,
    /// The addresses of the pod.
    pub addresses: Vec<String>,
    /// Whether the proxy is beside an application, and no gateway or waypoint.
    pub is_sidecar: bool,
}

/// What was meant to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Covered {
    /// The namespace; `None` for all of them.
    pub namespace: Option<String>,
    /// Whether any kind of Istio's is installed.
    pub has_istio: bool,
}

impl Covered {
    /// In words: `all namespaces`, `the namespaces chat and istio-system`.
    #[must_use]
    pub fn words(&self) -> String {
        match self.namespace.as_deref() {
            None => "all namespaces".to_owned(),
            Some(ROOT_NAMESPACE) => format!("the namespace {ROOT_NAMESPACE}"),
            Some(namespace) => {
                format!("the namespace {namespace}, and what {ROOT_NAMESPACE} says of the whole mesh")
            }
        }
    }
}

/// Reads what a cluster has in force, by GET alone.
///
/// # Errors
/// There is no such cluster, it does not answer, or it has no such namespace. A right that is
/// missing is none: it is said in [`InForce::unread`].
pub fn read(config: &ReadConfig) -> Result<InForce, ReadError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(ReadError::Runtime)?.block_on(read_now(config))
}

pub(super) async fn read_now(config: &ReadConfig) -> Result<InForce, ReadError> {
    let (client, default) = connect(&config.cluster).await?;
    let reader = Reader { client, limit: config.limit };
    let namespace = (!config.all_namespaces).then(|| config.namespace.clone().unwrap_or(default));
    let ClusterDocuments { texts, pods, mut unread, has_istio } =
        ClusterDocuments::read(&reader, namespace.as_deref()).await?;
    let dumps = if config.proxies { dumps(&reader, &pods, &mut unread).await } else { Vec::new() };
    Ok(InForce { documents: texts, dumps, unread, covered: Covered { namespace, has_istio } })
}

/// The dumps of the proxies, in the order of the pods that were chosen.
async fn dumps(reader: &Reader, pods: &[SeenPod], unread: &mut Vec<Unread>) -> Vec<PodDump> {
    let asked = with_proxies(pods).into_iter().map(async |pod| {
        let name = format!("Pod/{} in {}", pod.name, pod.namespace);
        (pod, name, reader.dump(&pod.name, &pod.namespace).await)
    });
    let answers: Vec<_> = stream::iter(asked).buffered(AT_A_TIME).collect().await;
    let mut dumps = Vec::new();
    for (pod, name, dump) in answers {
        match dump {
            Ok(dump) => dumps.push(PodDump {
                text: Text::new(&name, dump),
                addresses: pod.addresses.clone(),
                is_sidecar: !pod.is_proxy_alone,
            }),
            Err(NoDump::Failed(reason)) => unread.push(Unread::Proxy { pod: name, reason }),
            Err(NoDump::Forbidden(reason)) => {
                let missing = Unread::Right {
                    verb: FORWARD,
                    group: String::new(),
                    resources: vec!["pods/portforward".to_owned()],
                    namespace: Some(pod.namespace.clone()),
                    reason,
                };
                // Once for each namespace, whatever the pod.
                if !unread.iter().any(|known| known.place() == missing.place()) {
                    unread.push(missing);
                }
            }
        }
    }
    dumps
}
