//! The few calls of the Kubernetes API that are made here, each with what may be wrong with it said
//! in its own words: a right that is missing is named as a role grants it, verb and resource.

use k8s_openapi::api::core::v1::Pod;
use kube::api::{
    ApiResource, AttachParams, AttachedProcess, DeleteParams, DynamicObject, GroupVersionKind, ListParams,
    LogParams, Patch, PatchParams,
};
use kube::client::UpgradeConnectionError;
use kube::{Api, Client};
use serde_json::Value;

use super::pods::ApiPod;
use super::{KubernetesConfig, KubernetesError};
use crate::kubernetes::connect;
use crate::telemetry::with_causes;

/// The field manager of server-side apply.
pub(super) const FIELD_MANAGER: &str = "websockets-cli";

/// The container of Istio's sidecar.
pub(super) const SIDECAR: &str = "istio-proxy";

/// How far back a log is read at most, in seconds: longer than any case takes.
const LOG_WINDOW: i64 = 600;

/// A cluster's API server.
#[derive(Clone)]
pub(super) struct Kubernetes {
    client: Client,
    /// The namespace of what names none.
    pub(super) namespace: String,
}

/// What is asked for, in the words of a role.
#[derive(Debug, Clone, Copy)]
pub(super) struct Right<'a> {
    pub(super) verb: &'a str,
    pub(super) resource: &'a str,
    pub(super) namespace: &'a str,
}

impl Kubernetes {
    /// Finds the cluster.
    pub(super) async fn connect(config: &KubernetesConfig) -> Result<Self, KubernetesError> {
        let (client, default) = connect(&config.cluster).await?;
        Ok(Self { client, namespace: config.namespace.clone().unwrap_or(default) })
    }

    fn objects(&self, resource: &ApiResource, namespace: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), namespace, resource)
    }

    /// For the calls on pods that no other object has.
    fn pods(&self, namespace: &str) -> Api<Pod> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// All objects of a kind; none if the cluster does not know the kind.
    pub(super) async fn list(
        &self,
        kind: &ApiResource,
        namespace: &str,
    ) -> Result<Vec<Value>, KubernetesError> {
        let right = Right { verb: "list", resource: &kind.plural, namespace };
        match self.objects(kind, namespace).list(&ListParams::default()).await {
            Ok(list) => list.items.into_iter().map(|object| json(object, kind)).collect(),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(Vec::new()),
            Err(error) => Err(right.failed(&error)),
        }
    }

    /// One object, if there is one.
    pub(super) async fn get(
        &self,
        kind: &ApiResource,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Value>, KubernetesError> {
        let right = Right { verb: "get", resource: &kind.plural, namespace };
        let object =
            self.objects(kind, namespace).get_opt(name).await.map_err(|error| right.failed(&error))?;
        object.map(|object| json(object, kind)).transpose()
    }

    /// Server-side apply; returns the object as it is then, or with `dry_run` as it would be.
    pub(super) async fn apply(
        &self,
        kind: &ApiResource,
        namespace: &str,
        (name, object): (&str, &Value),
        (force, dry_run): (bool, bool),
    ) -> Result<Value, KubernetesError> {
        let right = Right { verb: "patch", resource: &kind.plural, namespace };
        let params = PatchParams { force, dry_run, ..PatchParams::apply(FIELD_MANAGER) };
        let applied = self.objects(kind, namespace).patch(name, &params, &Patch::Apply(object)).await;
        json(applied.map_err(|error| right.failed(&error))?, kind)
    }

    /// Deletes an object, and what belongs to it.
    pub(super) async fn delete(
        &self,
        kind: &ApiResource,
        namespace: &str,
        name: &str,
    ) -> Result<(), KubernetesError> {
        let right = Right { verb: "delete", resource: &kind.plural, namespace };
        match self.objects(kind, namespace).delete(name, &DeleteParams::background()).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(error) => Err(right.failed(&error)),
        }
    }

    /// The pods that have all of the labels, written `app=a,version=v1`.
    pub(super) async fn pods_with(
        &self,
        labels: &str,
        namespace: &str,
    ) -> Result<Vec<ApiPod>, KubernetesError> {
        let right = Right { verb: "list", resource: "pods", namespace };
        let pods = Api::<ApiPod>::namespaced_with(self.client.clone(), namespace, &resource("v1", "Pod"));
        let list = pods.list(&ListParams::default().labels(labels)).await;
        Ok(list.map_err(|error| right.failed(&error))?.items)
    }

    /// What a pod's sidecar wrote lately.
    pub(super) async fn sidecar_log(&self, pod: &str, namespace: &str) -> Result<String, KubernetesError> {
        let right = Right { verb: "get", resource: "pods/log", namespace };
        let params = LogParams {
            container: Some(SIDECAR.to_owned()),
            since_seconds: Some(LOG_WINDOW),
            ..LogParams::default()
        };
        self.pods(namespace).logs(pod, &params).await.map_err(|error| right.failed(&error))
    }

    /// Starts a command in a container, with all three streams.
    pub(super) async fn exec(
        &self,
        pod: &str,
        namespace: &str,
        container: &str,
        command: &[&str],
    ) -> Result<AttachedProcess, KubernetesError> {
        // Older clusters ask for `get`, since a WebSocket begins with a GET; newer ones for
        // `create`, as kubectl needs it.
        let right = Right { verb: "get and create", resource: "pods/exec", namespace };
        let params = AttachParams::default().container(container).stdin(true).stdout(true).stderr(true);
        let command = command.iter().copied().map(str::to_owned);
        self.pods(namespace)
            .exec(pod, command.collect::<Vec<_>>(), &params)
            .await
            .map_err(|error| right.failed(&error))
    }
}

impl Right<'_> {
    fn failed(self, error: &kube::Error) -> KubernetesError {
        let Self { verb, resource, namespace } = self;
        let status = match error {
            kube::Error::Api(status) => Some((status.code, status.message.clone())),
            kube::Error::UpgradeConnection(UpgradeConnectionError::ProtocolSwitch(status)) => {
                Some((status.as_u16(), format!("the API server answers {status}")))
            }
            _ => None,
        };
        match status {
            Some((401 | 403, reason)) => KubernetesError::Forbidden {
                verb: verb.to_owned(),
                resource: resource.to_owned(),
                namespace: namespace.to_owned(),
                reason,
            },
            Some((409, reason)) if verb == "patch" => KubernetesError::Conflict { reason },
            Some((_, reason)) => KubernetesError::Refused {
                what: format!("{verb} {resource} in the namespace {namespace}"),
                reason,
            },
            None => KubernetesError::Unreachable(with_causes(error)),
        }
    }
}

/// An object with its kind, which those in a list leave out.
fn json(object: DynamicObject, kind: &ApiResource) -> Result<Value, KubernetesError> {
    let mut json =
        serde_json::to_value(object).map_err(|error| KubernetesError::Unreachable(error.to_string()))?;
    json["apiVersion"] = kind.api_version.as_str().into();
    json["kind"] = kind.kind.as_str().into();
    Ok(json)
}

/// The resource of a kind, `apps/v1` and `Deployment`.
pub(super) fn resource(api_version: &str, kind: &str) -> ApiResource {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind))
}
