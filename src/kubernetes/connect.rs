//! Which cluster is meant, found as kubectl finds it.

use std::path::PathBuf;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use crate::nearest::nearest;
use crate::telemetry::with_causes;

/// How similar (Jaro-Winkler) a context must be to be what was meant.
const SIMILAR: f64 = 0.7;

/// Which cluster, as kubectl is told.
#[derive(Debug, Clone, Default)]
pub struct ClusterChoice {
    /// The context in the kubeconfig; the current one if none is named.
    pub context: Option<String>,
    /// The kubeconfig; as kubectl finds it if none is named, and in a pod the service account's.
    pub kubeconfig: Option<PathBuf>,
}

/// Why no cluster was found.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// No cluster is configured, or the configuration is malformed.
    #[error("find the cluster: {0}")]
    Config(String),
    /// The kubeconfig has no such context.
    #[error("find the cluster: the kubeconfig has no context {name}{}", known(near.as_deref(), contexts))]
    UnknownContext {
        /// The name that was asked for.
        name: String,
        /// The most similar name there is.
        near: Option<String>,
        /// Those that there are.
        contexts: Vec<String>,
    },
}

impl ConnectError {
    /// What may be done about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Config(_) => "--kubeconfig and --context name a cluster, as kubectl takes them",
            Self::UnknownContext { .. } => "kubectl config get-contexts shows all of them",
        }
    }
}

fn known(near: Option<&str>, contexts: &[String]) -> String {
    match (near, contexts) {
        (Some(near), _) => format!(": the nearest is {near}"),
        (None, []) => ", nor any other".to_owned(),
        (None, contexts) => format!("; it has {}", contexts.join(", ")),
    }
}

/// Finds the cluster by the kubeconfig that is named, by `KUBECONFIG` or `~/.kube/config`, and
/// inside of a pod by its service account. Returns its client, and the namespace of what names none.
/// The cluster is asked nothing yet.
///
/// # Errors
/// There is no configuration, it has no such context, or it is malformed.
pub async fn connect(choice: &ClusterChoice) -> Result<(Client, String), ConnectError> {
    let malformed = |error: &dyn std::error::Error| ConnectError::Config(with_causes(error));
    let kubeconfig = match &choice.kubeconfig {
        Some(path) => Some(Kubeconfig::read_from(path)),
        None => choice.context.is_some().then(Kubeconfig::read),
    };
    let config = match kubeconfig {
        None => Config::infer().await.map_err(|error| malformed(&error))?,
        Some(kubeconfig) => {
            let kubeconfig = kubeconfig.map_err(|error| malformed(&error))?;
            check_context(&kubeconfig, choice.context.as_deref())?;
            let options =
                KubeConfigOptions { context: choice.context.clone(), ..KubeConfigOptions::default() };
            let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
            config.map_err(|error| malformed(&error))?
        }
    };
    let namespace = config.default_namespace.clone();
    let client = Client::try_from(config).map_err(|error| malformed(&error))?;
    Ok((client, namespace))
}

/// Checks that the kubeconfig has the context that is named.
fn check_context(kubeconfig: &Kubeconfig, named: Option<&str>) -> Result<(), ConnectError> {
    let contexts = kubeconfig.contexts.iter().map(|context| context.name.clone());
    let contexts: Vec<String> = contexts.collect();
    match named {
        Some(name) if !contexts.iter().any(|context| context == name) => {
            let near = nearest(name, contexts.iter().map(String::as_str), SIMILAR).map(str::to_owned);
            Err(ConnectError::UnknownContext { name: name.to_owned(), near, contexts })
        }
        _ => Ok(()),
    }
}
