//! An object of a cluster as a document: what somebody wrote, without what the API server keeps
//! beside it.

use std::sync::Arc;

use serde_json::Value;

use super::discovery::Resource;
use crate::yaml::Text;

/// What of `ObjectMeta` nobody writes. `creationTimestamp` stays: Istio goes by it.
const KEPT_BY_THE_SERVER: [&str; 5] = ["managedFields", "uid", "resourceVersion", "generation", "selfLink"];

/// An annotation that repeats the document.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The document of an object, named by its kind, its name and its namespace. In a list objects have
/// no kind of their own.
pub(super) fn document(mut object: Value, resource: &Resource) -> Arc<Text> {
    let name = name(&object, resource);
    if let Some(fields) = object.as_object_mut() {
        fields.remove("status");
        fields.insert("apiVersion".to_owned(), resource.api_version().into());
        fields.insert("kind".to_owned(), resource.kind.as_str().into());
    }
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.retain(|field, _| !KEPT_BY_THE_SERVER.contains(&field.as_str()));
        if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.remove(LAST_APPLIED);
        }
    }
    // A line a field, so that a finding shows the few that it is about.
    Text::new(&name, format!("{object:#}"))
}

/// `Service/chat in default`.
fn name(object: &Value, resource: &Resource) -> String {
    let text = |pointer| object.pointer(pointer).and_then(Value::as_str);
    let name = text("/metadata/name").unwrap_or("without a name");
    match text("/metadata/namespace") {
        Some(namespace) => format!("{}/{name} in {namespace}", resource.kind),
        None => format!("{}/{name}", resource.kind),
    }
}
