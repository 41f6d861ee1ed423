//! Why a live mesh could not be verified, each in words that say what to do.

use std::time::Duration;

use crate::kubernetes::ConnectError;
use crate::yaml::Place;

/// Why a live mesh could not be verified.
#[derive(Debug, thiserror::Error)]
pub enum KubernetesError {
    /// No cluster is configured.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The API server cannot be reached, or does not answer as one.
    #[error("ask the API server: {0}")]
    Unreachable(String),
    /// A right is missing.
    #[error("not allowed to {verb} {resource} in the namespace {namespace}: {reason}")]
    Forbidden {
        /// As a role grants it.
        verb: String,
        /// As a role names it.
        resource: String,
        /// The namespace that was asked.
        namespace: String,
        /// What the API server says.
        reason: String,
    },
    /// The API server does not do it.
    #[error("{what}: {reason}")]
    Refused {
        /// What was asked for.
        what: String,
        /// What the API server says.
        reason: String,
    },
    /// Somebody else has set a field to another value.
    #[error("apply: {reason}")]
    Conflict {
        /// What the API server says.
        reason: String,
    },
    /// A document of the user's is not what is in the cluster.
    #[error("{}:{}: {title} {problem}", place.file, place.line)]
    NotPresent {
        /// Where the document is that names it.
        place: Place,
        /// Its kind and name.
        title: String,
        /// What is wrong.
        problem: String,
    },
    /// What the sessions need is not in the cluster.
    #[error("no {title} in the cluster")]
    Missing {
        /// Its kind and name.
        title: String,
    },
    /// The cluster's documents cannot be read.
    #[error("the documents of the cluster: {0}")]
    Documents(String),
    /// A pod without a sidecar.
    #[error("the pod {pod} has no container istio-proxy")]
    NoSidecar {
        /// The pod.
        pod: String,
    },
    /// Pods or policy did not come.
    #[error("not in force within {limit:?}: {problem}")]
    NotInForce {
        /// What was still missing.
        problem: String,
        /// How long it was awaited.
        limit: Duration,
    },
    /// Neither client is there.
    #[error("the container {container} of the pod {pod} has neither websockets-cli nor python3")]
    NoClient {
        /// The pod.
        pod: String,
        /// The container.
        container: String,
    },
    /// A command in a container failed.
    #[error("run {command:?} in the container {container} of the pod {pod}: {reason}")]
    Command {
        /// The pod.
        pod: String,
        /// The container.
        container: String,
        /// The command.
        command: String,
        /// What happened.
        reason: String,
    },
    /// A sidecar writes no access log.
    #[error("the sidecar of {pod} writes no access log")]
    LogsOff {
        /// Its pod.
        pod: String,
    },
    /// A sidecar's access log is in a format that is not Istio's.
    #[error("the access log of {pod} is in no known format: {line}")]
    LogFormat {
        /// Its pod.
        pod: String,
        /// A line of it.
        line: String,
    },
}

impl KubernetesError {
    /// What may be done about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Connect(error) => Some(error.hint()),
            Self::Forbidden { .. } => Some("manifests/verify-job has a Role with all that is needed"),
            Self::Conflict { .. } => Some("--force-conflicts takes the fields over"),
            Self::NotPresent { .. } => Some("--apply applies the documents"),
            Self::Missing { .. } => Some(
                "-f manifests --apply applies the guide's; --service, --client-workload and -n name others",
            ),
            Self::NoSidecar { .. } => Some(
                "label the namespace istio-injection=enabled, and replace the pod: kubectl rollout restart deployment",
            ),
            Self::NotInForce { .. } => Some("--timeout waits longer"),
            Self::NoClient { .. } => Some("deploy the client's image, manifests/websockets-client.yaml"),
            Self::LogsOff { .. } => Some(
                "turn it on with meshConfig.accessLogFile: /dev/stdout and accessLogEncoding: JSON, \
                 or with a Telemetry resource",
            ),
            Self::LogFormat { .. } => Some(
                "set meshConfig.accessLogEncoding to JSON or TEXT, without accessLogFormat; \
                 verify --log --log-format reads lines of any format from a file",
            ),
            Self::Unreachable(_) | Self::Refused { .. } | Self::Documents(_) | Self::Command { .. } => None,
        }
    }
}
