//! The pods on both ends, and what can be asked of them.

use std::net::IpAddr;
use std::time::Duration;

use k8s_openapi::api::core::v1;
use serde_json::Value;
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use super::KubernetesError;
use super::api::{Kubernetes, SIDECAR};

/// How long a command in a container may take.
const COMMAND_LIMIT: Duration = Duration::from_secs(20);

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
    fn of(pod: &v1::Pod) -> Result<Option<Self>, KubernetesError> {
        let metadata = &pod.metadata;
        let (Some(spec), Some(status), None) = (&pod.spec, &pod.status, &metadata.deletion_timestamp) else {
            return Ok(None);
        };
        let name = metadata.name.clone().unwrap_or_default();
        // A native sidecar is an init container.
        let containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
        let has_sidecar = containers.into_iter().any(|container| container.name == SIDECAR);
        let ready = status.conditions.iter().flatten().any(|it| it.type_ == "Ready" && it.status == "True");
        let address = status.pod_ip.as_deref().and_then(|address| address.parse().ok());
        let (true, Some(address)) = (ready, address) else { return Ok(None) };
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

impl Kubernetes {
    /// The ready pods that have all of these labels, by name.
    pub(super) async fn ready_pods<'l>(
        &self,
        labels: impl IntoIterator<Item = (&'l String, &'l String)>,
        namespace: &str,
    ) -> Result<Vec<Pod>, KubernetesError> {
        let selector: Vec<String> =
            labels.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        let pods = self.pods_with(&selector.join(","), namespace).await?;
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
        // Kept until the end: where standard input cannot be closed alone, its end is the end of everything.
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
