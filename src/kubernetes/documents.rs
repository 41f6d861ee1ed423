//! The documents of a cluster that decide about sessions, as far as they may be read.

use std::sync::Arc;

use serde_json::Value;

use super::discovery::{Resource, served};
use super::list::{Answer, ReadError, Reader};
use super::pods::{Keepers, SeenPod, seen};
use super::tidy;
use super::unread::Unread;
use crate::mesh::ROOT_NAMESPACE;
use crate::yaml::Text;

/// Kinds of Kubernetes' own that are in every cluster.
const OWN: [(&str, &str, &str); 4] = [
    ("", "Service", "services"),
    ("apps", "Deployment", "deployments"),
    ("apps", "StatefulSet", "statefulsets"),
    ("apps", "DaemonSet", "daemonsets"),
];

/// What was read.
#[derive(Default)]
pub(super) struct ClusterDocuments {
    pub(super) texts: Vec<Arc<Text>>,
    pub(super) pods: Vec<SeenPod>,
    pub(super) unread: Vec<Unread>,
    /// Whether any kind of Istio's is installed.
    pub(super) has_istio: bool,
}

impl ClusterDocuments {
    /// Reads the documents of a namespace, and those of Istio's root namespace that are for the
    /// whole mesh; or of all namespaces.
    pub(super) async fn read(reader: &Reader, namespace: Option<&str>) -> Result<Self, ReadError> {
        let mut documents = Self::default();
        documents.namespaces(reader, namespace).await?;
        documents.mesh_configuration(reader).await?;
        let own = OWN.map(|(group, kind, plural)| Resource::new(group, "v1", kind, plural));
        let served = served(reader).await?;
        documents.has_istio = served.iter().any(Resource::is_mesh_wide);
        let mut keepers = Keepers::new();
        for resource in own.iter().chain(&served) {
            documents.list(reader, resource, namespace, &mut keepers).await?;
        }
        if namespace.is_some_and(|namespace| namespace != ROOT_NAMESPACE) {
            for resource in served.iter().filter(|resource| resource.is_mesh_wide()) {
                documents.list(reader, resource, Some(ROOT_NAMESPACE), &mut keepers).await?;
            }
        }
        documents.pods(reader, namespace, &keepers).await?;
        Ok(documents)
    }

    async fn list(
        &mut self,
        reader: &Reader,
        resource: &Resource,
        namespace: Option<&str>,
        keepers: &mut Keepers,
    ) -> Result<(), ReadError> {
        let keeps_pods = resource.group == "apps";
        let keep = |object: Value| {
            let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
            let named = text("/metadata/namespace").zip(text("/metadata/name"));
            if let Some((namespace, name)) = named.filter(|_| keeps_pods) {
                keepers.insert((resource.kind.clone(), namespace.to_owned(), name.to_owned()));
            }
            Some(tidy::document(object, resource))
        };
        match reader.list(resource, namespace, keep).await? {
            Answer::Found(texts) => self.texts.extend(texts),
            Answer::Nothing => {}
            Answer::Forbidden(reason) => self.lacks("list", resource, namespace, reason),
        }
        Ok(())
    }

    /// The namespaces, whose labels decide about sidecars.
    async fn namespaces(&mut self, reader: &Reader, namespace: Option<&str>) -> Result<(), ReadError> {
        let resource = Resource::new("", "v1", "Namespace", "namespaces");
        let Some(name) = namespace else {
            return self.list(reader, &resource, None, &mut Keepers::new()).await;
        };
        let path = format!("{}/{name}", resource.path(None));
        match reader.get(&path, &format!("the namespace {name}")).await? {
            Answer::Found(object) => self.texts.push(tidy::document(object, &resource)),
            Answer::Nothing => return Err(ReadError::NoNamespace(name.to_owned())),
            Answer::Forbidden(reason) => self.lacks("get", &resource, Some(name), reason),
        }
        Ok(())
    }

    /// The `ConfigMap`s of the mesh's configuration, one for each revision of the control plane.
    async fn mesh_configuration(&mut self, reader: &Reader) -> Result<(), ReadError> {
        let resource = Resource::new("", "v1", "ConfigMap", "configmaps");
        let keep = |object: Value| {
            let name = object.pointer("/metadata/name").and_then(Value::as_str)?;
            let is_istios = name == "istio" || name.starts_with("istio-");
            let is_mesh = is_istios && object.pointer("/data/mesh").is_some();
            is_mesh.then(|| tidy::document(object, &resource))
        };
        match reader.list(&resource, Some(ROOT_NAMESPACE), keep).await? {
            Answer::Found(texts) => self.texts.extend(texts),
            Answer::Nothing => {}
            Answer::Forbidden(reason) => self.lacks("list", &resource, Some(ROOT_NAMESPACE), reason),
        }
        Ok(())
    }

    async fn pods(
        &mut self,
        reader: &Reader,
        namespace: Option<&str>,
        keepers: &Keepers,
    ) -> Result<(), ReadError> {
        let resource = Resource::new("", "v1", "Pod", "pods");
        match reader.list(&resource, namespace, |pod| seen(pod, &resource, keepers)).await? {
            Answer::Found(pods) => self.pods = pods,
            Answer::Nothing => {}
            Answer::Forbidden(reason) => self.lacks("list", &resource, namespace, reason),
        }
        self.texts.extend(self.pods.iter().filter_map(|pod| pod.text.clone()));
        Ok(())
    }

    /// Notes a right that is missing, together with the others of its group and namespace.
    fn lacks(&mut self, verb: &'static str, resource: &Resource, namespace: Option<&str>, reason: String) {
        let known = self.unread.iter_mut().find_map(|unread| match unread {
            Unread::Right { verb: known, group, resources, namespace: place, .. }
                if *known == verb && *group == resource.group && place.as_deref() == namespace =>
            {
                Some(resources)
            }
            _ => None,
        });
        match known {
            Some(resources) => resources.push(resource.plural.clone()),
            None => self.unread.push(Unread::Right {
                verb,
                group: resource.group.clone(),
                resources: vec![resource.plural.clone()],
                namespace: namespace.map(str::to_owned),
                reason,
            }),
        }
    }
}
