//! Pods: which of them no document that is read stands for, and which have a proxy of Istio's.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use serde_json::Value;

use super::discovery::Resource;
use super::tidy;
use crate::yaml::Text;

/// The container of Istio's proxies, of sidecars, gateways and waypoints.
const PROXY: &str = "istio-proxy";

/// Those that keep pods and are read themselves: kind, namespace and name.
pub(super) type Keepers = HashSet<(String, String, String)>;

/// What is known of a pod.
pub(super) struct SeenPod {
    pub(super) name: String,
    pub(super) namespace: String,
    /// What keeps it, kind and name.
    keeper: Option<(String, String)>,
    has_proxy: bool,
    /// Whether the proxy is all that it has, as in a gateway or a waypoint.
    pub(super) is_proxy_alone: bool,
    pub(super) addresses: Vec<String>,
    is_ready: bool,
    /// The pod as a document, if nothing else that is read stands for it.
    pub(super) text: Option<Arc<Text>>,
}

/// What is known of a pod that has not ended.
pub(super) fn seen(pod: Value, resource: &Resource, keepers: &Keepers) -> Option<SeenPod> {
    let text = |pointer: &str| pod.pointer(pointer).and_then(Value::as_str);
    if ["Succeeded", "Failed"].map(Some).contains(&text("/status/phase")) {
        return None;
    }
    let list = |pointer: &str| pod.pointer(pointer).and_then(Value::as_array).into_iter().flatten();
    let name = text("/metadata/name")?.to_owned();
    let namespace = text("/metadata/namespace").unwrap_or_default().to_owned();
    let keeper = list("/metadata/ownerReferences").find(|owner| owner["controller"] == true);
    let keeper = keeper
        .and_then(|owner| Some((owner["kind"].as_str()?.to_owned(), owner["name"].as_str()?.to_owned())));
    let is_kept = keeper.as_ref().is_some_and(|(kind, name)| {
        // A Deployment names its ReplicaSets by the hash of their template.
        let deployment = text("/metadata/labels/pod-template-hash")
            .and_then(|hash| name.strip_suffix(hash)?.strip_suffix('-'))
            .filter(|_| kind == "ReplicaSet");
        let (kind, name) = deployment.map_or((kind.as_str(), name.as_str()), |name| ("Deployment", name));
        keepers.contains(&(kind.to_owned(), namespace.clone(), name.to_owned()))
    });
    // A native sidecar is an init container.
    let mut containers = list("/spec/containers").chain(list("/spec/initContainers"));
    let has_proxy = containers.any(|container| container["name"] == PROXY);
    let is_proxy_alone = list("/spec/containers").all(|container| container["name"] == PROXY);
    let addresses = list("/status/podIPs").filter_map(|address| address["ip"].as_str());
    let addresses = addresses.map(str::to_owned).collect();
    let ready = list("/status/conditions").any(|it| it["type"] == "Ready" && it["status"] == "True");
    let is_ready = ready && text("/metadata/deletionTimestamp").is_none();
    let text = (!is_kept).then(|| tidy::document(pod, resource));
    Some(SeenPod { name, namespace, keeper, has_proxy, is_proxy_alone, addresses, is_ready, text })
}

/// One pod of each that keeps pods with proxies, a ready one if there is any: all of them are told
/// the same. During a rollout the old and the new `ReplicaSet` are two.
pub(super) fn with_proxies(pods: &[SeenPod]) -> Vec<&SeenPod> {
    let mut chosen: BTreeMap<(&str, &str, &str), &SeenPod> = BTreeMap::new();
    for pod in pods.iter().filter(|pod| pod.has_proxy) {
        let (kind, name) =
            pod.keeper.as_ref().map_or(("", pod.name.as_str()), |(kind, name)| (kind.as_str(), name));
        let chosen = chosen.entry((&pod.namespace, kind, name)).or_insert(pod);
        if pod.is_ready && !chosen.is_ready {
            *chosen = pod;
        }
    }
    chosen.into_values().collect()
}
