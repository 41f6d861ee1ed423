//! The pods on both ends, and what can be asked of them.

use std::net::IpAddr;
use std::time::Duration;

use kube::core::Object;
use serde::Deserialize;
use serde_json::Value;
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use super::KubernetesError;
use super::api::{Kubernetes, SIDECAR};

/// How long a command in a container may take.
const COMMAND_LIMIT: Duration = Duration::from_secs(20);

/// A pod as the API has it, as far as it is read here: code for all of its some hundred types would
/// be as large as the rest of the program.
pub(super) type ApiPod = Object<Spec, Status>;

/// What of Kubernetes' `PodSpec` is read.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Spec {
    #[serde(default)]
    containers: Vec<Container>,
    #[serde(default)]
    init_containers: Vec<Container>,
}

/// What of `Container` is read.
#[derive(Debug, Clone, Deserialize)]
struct Container {
    name: String,
}

/// What of `PodStatus` is read.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Status {
    #[serde(default)]
    conditions: Vec<Condition>,
    #[serde(rename = "podIP")]
    pod_ip: Option<IpAddr>,
    #[serde(default)]
    container_statuses: Vec<ContainerStatus>,
    /// Why the pod as a whole is as it is, such as `Evicted`.
    #[serde(flatten)]
    reason: ObstacleReason,
}

/// What of `PodCondition` is read.
#[derive(Debug, Clone, Deserialize)]
struct Condition {
    r#type: String,
    status: String,
    #[serde(flatten)]
    reason: ObstacleReason,
}

/// What of `ContainerStatus` is read.
#[derive(Debug, Clone, Deserialize)]
struct ContainerStatus {
    name: String,
    #[serde(default)]
    state: ContainerState,
}

/// What of `ContainerState` is read.
#[derive(Debug, Clone, Default, Deserialize)]
struct ContainerState {
    waiting: Option<ObstacleReason>,
}

/// What Kubernetes says of a state, for programs and for people.
#[derive(Debug, Clone, Default, Deserialize)]
struct ObstacleReason {
    reason: Option<String>,
    message: Option<String>,
}

impl ObstacleReason {
    /// `Unschedulable: 0/1 nodes are available`.
    fn text(&self) -> Option<String> {
        let reason = self.reason.as_ref()?;
        Some(match &self.message {
            Some(message) => format!("{reason}: {message}"),
            None => reason.clone(),
        })
    }
}

impl Status {
    /// Why a pod is not ready, where it is more than that it has just begun.
    fn obstacle(&self) -> Option<String> {
        let unscheduled = || {
            let refused =
                self.conditions.iter().find(|it| it.r#type == "PodScheduled" && it.status == "False");
            refused?.reason.text()
        };
        let waiting = || {
            self.container_statuses.iter().find_map(|container| {
                let waiting = container.state.waiting.as_ref()?;
                let has_begun =
                    ["ContainerCreating", "PodInitializing"].map(Some).contains(&waiting.reason.as_deref());
                let text = waiting.text().filter(|_| !has_begun)?;
                Some(format!("container {}: {text}", container.name))
            })
        };
        self.reason.text().or_else(unscheduled).or_else(waiting)
    }
}

/// A ready pod with a sidecar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pod {
    pub(super) name: String,
    pub(super) namespace: String,
    pub(super) address: IpAddr,
    /// The application's container: the first that is not the sidecar.
    pub(super) container: String,
}

impl Pod {
    /// The pod if it is ready and stays.
    ///
    /// # Errors
    /// It is, and has no sidecar.
    fn of(pod: &ApiPod) -> Result<Option<Self>, KubernetesError> {
        let metadata = &pod.metadata;
        let (spec, Some(status), None) = (&pod.spec, &pod.status, &metadata.deletion_timestamp) else {
            return Ok(None);
        };
        let name = metadata.name.clone().unwrap_or_default();
        // A native sidecar is an init container.
        let containers = spec.containers.iter().chain(&spec.init_containers);
        let has_sidecar = containers.into_iter().any(|container| container.name == SIDECAR);
        let ready = status.conditions.iter().any(|it| it.r#type == "Ready" && it.status == "True");
        let (true, Some(address)) = (ready, status.pod_ip) else { return Ok(None) };
        if !has_sidecar {
            return Err(KubernetesError::NoSidecar { pod: name });
        }
        let container = spec.containers.iter().find(|container| container.name != SIDECAR);
        Ok(container.map(|container| Self {
            name,
            namespace: metadata.namespace.clone().unwrap_or_default(),
            address,
            container: container.name.clone(),
        }))
    }
}

/// Labels as a selector: `app=a,version=v1`.
fn selector<'l>(labels: impl IntoIterator<Item = (&'l String, &'l String)>) -> String {
    let labels: Vec<String> = labels.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    labels.join(",")
}

impl Kubernetes {
    /// What keeps pods with all of these labels from being ready, by name.
    pub(super) async fn obstacles<'l>(
        &self,
        labels: impl IntoIterator<Item = (&'l String, &'l String)>,
        namespace: &str,
    ) -> Result<Vec<String>, KubernetesError> {
        let pods = self.pods_with(&selector(labels), namespace).await?;
        let obstacle = |pod: &ApiPod| {
            let obstacle = pod.status.as_ref()?.obstacle()?;
            Some(format!("{}: {obstacle}", pod.metadata.name.as_deref().unwrap_or_default()))
        };
        let mut obstacles: Vec<String> = pods.iter().filter_map(obstacle).collect();
        obstacles.sort_unstable();
        Ok(obstacles)
    }

    /// The ready pods that have all of these labels, by name.
    pub(super) async fn ready_pods<'l>(
        &self,
        labels: impl IntoIterator<Item = (&'l String, &'l String)>,
        namespace: &str,
    ) -> Result<Vec<Pod>, KubernetesError> {
        let pods = self.pods_with(&selector(labels), namespace).await?;
        let mut pods: Vec<Pod> =
            pods.iter().map(Pod::of).filter_map(Result::transpose).collect::<Result<_, _>>()?;
        pods.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(pods)
    }

    /// What a command in a container writes to standard output.
    pub(super) async fn run(
        &self,
        pod: &Pod,
        container: &str,
        command: &[&str],
    ) -> Result<String, KubernetesError> {
        let failed = |reason: String| KubernetesError::Command {
            pod: pod.name.clone(),
            container: container.to_owned(),
            command: command.join(" "),
            reason,
        };
        let mut process = self.exec(&pod.name, &pod.namespace, container, command).await?;
        // Kept until the end: where standard input cannot be closed alone, its end is the end of
        // everything.
        let _input = process.stdin();
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let (output, errors) = (process.stdout(), process.stderr());
        let status = process.take_status();
        let reading = async {
            let output = async {
                if let Some(mut output) = output {
                    output.read_to_end(&mut stdout).await?;
                }
                std::io::Result::Ok(())
            };
            let errors = async {
                if let Some(mut errors) = errors {
                    errors.read_to_end(&mut stderr).await?;
                }
                std::io::Result::Ok(())
            };
            tokio::try_join!(output, errors)?;
            std::io::Result::Ok(match status {
                Some(status) => status.await,
                None => None,
            })
        };
        let ended = timeout(COMMAND_LIMIT, reading).await;
        let ended = ended.map_err(|_| failed(format!("nothing within {COMMAND_LIMIT:?}")))?;
        let status = ended.map_err(|error| failed(error.to_string()))?;
        match status {
            Some(status) if status.status.as_deref() == Some("Failure") => {
                let said = String::from_utf8_lossy(&stderr).trim().to_owned();
                Err(failed(if said.is_empty() { status.message.unwrap_or_default() } else { said }))
            }
            _ => Ok(String::from_utf8_lossy(&stdout).into_owned()),
        }
    }

    /// Asks the admin interface of a pod's Envoy.
    pub(super) async fn admin(&self, pod: &Pod, path: &str) -> Result<Value, KubernetesError> {
        let text = self.run(pod, SIDECAR, &["pilot-agent", "request", "GET", path]).await?;
        serde_json::from_str(&text).map_err(|error| KubernetesError::Command {
            pod: pod.name.clone(),
            container: SIDECAR.to_owned(),
            command: format!("pilot-agent request GET {path}"),
            reason: format!("an answer that is no JSON: {error}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_that_is_not_ready_says_what_keeps_it() {
        let obstacle = |status: Value| {
            let status: Status = serde_json::from_value(status).expect("a status");
            status.obstacle()
        };
        let waiting = |reason: &str| json!({"containerStatuses": [{"name": "app", "state": {"waiting": {"reason": reason, "message": "no such image"}}}]});
        for (status, expected) in [
            (json!({"phase": "Pending"}), None),
            (waiting("ContainerCreating"), None),
            (waiting("ImagePullBackOff"), Some("container app: ImagePullBackOff: no such image")),
            (json!({"reason": "Evicted", "message": "the node is full"}), Some("Evicted: the node is full")),
            (
                json!({"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
                                       "message": "0/1 nodes are available"}]}),
                Some("Unschedulable: 0/1 nodes are available"),
            ),
        ] {
            assert_eq!(obstacle(status.clone()).as_deref(), expected, "{status}");
        }
    }
}
