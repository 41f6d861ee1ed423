//! The documents that are in force in the cluster, and whether those that the user brings are among
//! them.

use serde_json::{Value, json};

use super::KubernetesError;
use super::api::{Kubernetes, resource};
use crate::mesh::{Documents, Manifest, ROOT_NAMESPACE};
use crate::yaml::Place;

/// What a proxy's configuration is made from. Istio serves its newer kinds in older versions too.
const KINDS: [(&str, &str); 5] = [
    ("v1", "Service"),
    ("apps/v1", "Deployment"),
    ("networking.istio.io/v1beta1", "DestinationRule"),
    ("networking.istio.io/v1beta1", "VirtualService"),
    ("networking.istio.io/v1alpha3", "EnvoyFilter"),
];

/// A document that the user brings, as the API takes it.
#[derive(Debug, Clone)]
pub(super) struct WantedDocument {
    pub(super) api_version: String,
    pub(super) kind: String,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) json: Value,
    pub(super) place: Place,
}

impl WantedDocument {
    /// Completes a document: the namespace, and the protocol of a port, which older clusters want
    /// for server-side apply.
    pub(super) fn of(manifest: &Manifest, namespace: &str) -> Self {
        let mut json = manifest.json();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        if json["metadata"]["namespace"].is_null() {
            json["metadata"]["namespace"] = namespace.into();
        }
        if json["kind"] == "Service" {
            name_protocols(&mut json["spec"]["ports"]);
        }
        for container in json
            .pointer_mut("/spec/template/spec/containers")
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            if let Some(ports) = container.get_mut("ports") {
                name_protocols(ports);
            }
        }
        Self {
            api_version: text(&json["apiVersion"]),
            kind: text(&json["kind"]),
            namespace: text(&json["metadata"]["namespace"]),
            name: text(&json["metadata"]["name"]),
            json,
            place: manifest.place(),
        }
    }

    /// `Service default/websockets-server`.
    pub(super) fn title(&self) -> String {
        format!("{} {}/{}", self.kind, self.namespace, self.name)
    }
}

fn name_protocols(ports: &mut Value) {
    for port in ports.as_array_mut().into_iter().flatten() {
        if port["protocol"].is_null() {
            port["protocol"] = "TCP".into();
        }
    }
}

impl Kubernetes {
    /// The documents of these namespaces and of Istio's root namespace, as far as they may be seen.
    pub(super) async fn documents(&self, namespaces: &[String]) -> Result<Documents, KubernetesError> {
        let mut items = Vec::new();
        for (api_version, kind) in KINDS {
            for namespace in namespaces {
                items.extend(self.list(&resource(api_version, kind), namespace).await?);
            }
        }
        let root = ROOT_NAMESPACE.to_owned();
        if !namespaces.contains(&root) {
            for (api_version, kind) in [KINDS[2], KINDS[4]] {
                match self.list(&resource(api_version, kind), &root).await {
                    Ok(found) => items.extend(found),
                    // A role in one namespace is enough for everything else.
                    Err(error @ KubernetesError::Forbidden { .. }) => {
                        tracing::debug!("documents of the whole mesh are not taken into account: {error}");
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        for item in &mut items {
            if let Some(object) = item.as_object_mut() {
                object.remove("status");
            }
        }
        let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
        Documents::parse("the cluster", &list.to_string())
            .map_err(|error| KubernetesError::Documents(error.to_string()))
    }

    /// Checks that each document is in the cluster and says there what it says here.
    pub(super) async fn check_present(&self, wanted: &[WantedDocument]) -> Result<(), KubernetesError> {
        for document in wanted {
            let kind = resource(&document.api_version, &document.kind);
            let there = self.get(&kind, &document.namespace, &document.name).await?;
            let problem = match there {
                None => Some("is not in the cluster".to_owned()),
                Some(there) => difference(&document.json["spec"], &there["spec"], "spec")
                    .map(|path| format!("is another in the cluster: {path} differs")),
            };
            if let Some(problem) = problem {
                return Err(KubernetesError::NotPresent {
                    place: document.place.clone(),
                    title: document.title(),
                    problem,
                });
            }
        }
        Ok(())
    }
}

/// The path of the first value that is wanted and is not there. What is there beside it are
/// defaults.
fn difference(wanted: &Value, there: &Value, path: &str) -> Option<String> {
    match (wanted, there) {
        (Value::Object(wanted), Value::Object(there)) => wanted.iter().find_map(|(name, value)| {
            difference(value, there.get(name).unwrap_or(&Value::Null), &format!("{path}.{name}"))
        }),
        (Value::Array(wanted), Value::Array(there)) if wanted.len() == there.len() => {
            (wanted.iter().zip(there))
                .enumerate()
                .find_map(|(index, (wanted, there))| difference(wanted, there, &format!("{path}[{index}]")))
        }
        _ => (wanted != there).then(|| path.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_differs_only_in_what_it_says_itself() {
        let there = json!({"host": "a", "ports": [{"port": 80, "protocol": "TCP"}], "clusterIP": "10.0.0.1"});
        for (wanted, differs) in [
            (json!({"host": "a"}), None),
            (json!({"ports": [{"port": 80}]}), None),
            (json!({"host": "b"}), Some("spec.host")),
            (json!({"ports": [{"port": 81}]}), Some("spec.ports[0].port")),
            (json!({"ports": []}), Some("spec.ports")),
            (json!({"selector": {"app": "a"}}), Some("spec.selector")),
        ] {
            assert_eq!(difference(&wanted, &there, "spec").as_deref(), differs, "{wanted}");
        }
    }

    #[test]
    fn what_server_side_apply_needs_in_older_clusters_is_completed() {
        let text =
            "{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {ports: [{port: 80, name: http}]}}";
        let documents = Documents::parse("a.yaml", text).expect("valid documents");
        let wanted = WantedDocument::of(&documents.manifests()[0], "chat");
        assert_eq!(wanted.title(), "Service chat/a");
        assert_eq!(wanted.json["spec"]["ports"][0]["protocol"], "TCP");
        assert_eq!(wanted.json["metadata"]["namespace"], "chat");
    }
}
