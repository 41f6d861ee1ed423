//! Whether a document can decide about the sessions between two workloads. A document that was not
//! taken whole leaves open only what becomes of the sessions that it is about.

use std::collections::HashMap;
use std::sync::Arc;

use super::config::Workload;
use super::document::{Documents, Manifest, ROOT_NAMESPACE, Service};
use crate::yaml::{NodeRef, Place};

/// Sessions from a client through its sidecar and the server's.
#[derive(Debug, Clone, Copy)]
pub struct Sessions<'a> {
    /// Whose they are.
    pub client: &'a Workload,
    /// Where they go.
    pub service: &'a Service,
    /// Who answers them.
    pub server: &'a Workload,
}

/// The documents by where they are.
#[derive(Debug)]
pub struct DocumentsByPlace<'d> {
    documents: &'d Documents,
    /// Of each file, in the order of its text.
    files: HashMap<Arc<str>, Vec<(Mark, &'d Manifest)>>,
}

/// Line and column.
type Mark = (u64, u64);

impl Documents {
    /// Looks up where each of them is.
    #[must_use]
    pub fn by_place(&self) -> DocumentsByPlace<'_> {
        let mut files: HashMap<_, Vec<_>> = HashMap::new();
        for manifest in self.manifests() {
            let Place { file, line, column, .. } = manifest.place();
            files.entry(file).or_default().push(((line, column), &**manifest));
        }
        for manifests in files.values_mut() {
            manifests.sort_by_key(|(begins, _)| *begins);
        }
        DocumentsByPlace { documents: self, files }
    }
}

impl DocumentsByPlace<'_> {
    /// Whether the document that has this place in it can decide about the sessions. Of a kind that
    /// is not known here it can, and so can a place that is in none of these documents.
    #[must_use]
    pub fn concerns(&self, place: &Place, sessions: &Sessions<'_>) -> bool {
        self.manifest(place).is_none_or(|found| self.documents.is_about(found, sessions))
    }

    /// The document that has this place in it.
    pub(super) fn manifest(&self, place: &Place) -> Option<&Manifest> {
        let manifests = self.files.get(&place.file)?;
        let behind = manifests.partition_point(|(begins, _)| *begins <= (place.line, place.column));
        behind.checked_sub(1).map(|position| manifests[position].1)
    }
}

impl Documents {
    fn is_about(&self, manifest: &Manifest, sessions: &Sessions<'_>) -> bool {
        let Sessions { client, service, server } = *sessions;
        let host = service.host();
        let is_this = |other: &Manifest| std::ptr::eq(other, manifest);
        let (group, _) = manifest.api_version.split_once('/').unwrap_or_default();
        match (group, manifest.kind.as_str()) {
            ("networking.istio.io", "DestinationRule") => {
                self.destination_rules_for(&host).iter().any(|(_, rule)| is_this(&rule.metadata.manifest))
            }
            ("networking.istio.io", "VirtualService") => {
                let found = self.virtual_services_for(&host);
                let mut found = found.iter().filter(|(_, found)| found.is_for_sidecars());
                // A delegate has no hosts, and is a part of one that has.
                found.any(|(_, found)| is_this(&found.metadata.manifest)) || is_delegate(manifest)
            }
            ("networking.istio.io", "EnvoyFilter" | "Sidecar") => [client, server]
                .into_iter()
                .any(|workload| selects(manifest, "workloadSelector.labels", workload)),
            // Between two sidecars mutual TLS is agreed on (auto mTLS); who does not take part in it
            // says so in a DestinationRule. A port may differ.
            ("security.istio.io", "PeerAuthentication")
                if manifest.document.at("spec.portLevelMtls").is_none() =>
            {
                false
            }
            ("security.istio.io", _) => selects(manifest, "selector.matchLabels", server),
            ("", "Service") => is_this(&service.metadata.manifest),
            ("networking.istio.io", "ServiceEntry") => {
                let hosts = manifest.document.at("spec.hosts").into_iter().flat_map(NodeRef::items);
                hosts.filter_map(NodeRef::text).any(|named| named == host || named.starts_with('*'))
            }
            // Routes of the sidecars have a Service as their parent.
            ("gateway.networking.k8s.io", "HTTPRoute" | "GRPCRoute") => {
                let parents = manifest.document.at("spec.parentRefs").into_iter().flat_map(NodeRef::items);
                let mut parents =
                    parents.filter(|it| it.at("kind").and_then(NodeRef::text) == Some("Service"));
                parents.any(|it| it.at("name").and_then(NodeRef::text) == Some(service.name()))
            }
            ("apps", "Deployment" | "StatefulSet" | "DaemonSet") => {
                let name = manifest.document.at("metadata.name").and_then(NodeRef::text);
                [client, server].into_iter().any(|workload| {
                    name == Some(workload.name.as_str()) && manifest.namespace() == workload.namespace
                })
            }
            // They are not on the way between two sidecars, or say what the pair has anyhow: pods
            // that are there, and who wrote what of them.
            ("networking.istio.io" | "gateway.networking.k8s.io", "Gateway")
            | ("networking.istio.io", "ProxyConfig" | "WorkloadEntry" | "WorkloadGroup")
            | ("gateway.networking.k8s.io", "GatewayClass" | "ReferenceGrant")
            | ("networking.k8s.io", "Ingress" | "IngressClass")
            | ("telemetry.istio.io" | "install.istio.io" | "sailoperator.io" | "batch", _)
            | ("", "Endpoints" | "Pod" | "ReplicationController")
            | ("apps", "ReplicaSet")
            | ("discovery.k8s.io", "EndpointSlice") => false,
            _ => true,
        }
    }
}

fn is_delegate(manifest: &Manifest) -> bool {
    manifest.document.at("spec.hosts").is_none_or(|hosts| hosts.items().len() == 0)
}

/// Whether a document that selects pods in its namespace, or from the root namespace in all, selects
/// those of a workload.
fn selects(manifest: &Manifest, selector: &str, workload: &Workload) -> bool {
    let document = &manifest.document;
    let namespace = document.at("metadata.namespace").and_then(NodeRef::text).unwrap_or("default");
    let labels = document.at(&format!("spec.{selector}")).into_iter().flat_map(NodeRef::entries);
    let mut labels = labels.filter_map(|label| Some((label.key()?, label.text()?)));
    (namespace == ROOT_NAMESPACE || namespace == workload.namespace)
        && labels.all(|(name, value)| workload.labels.get(name).is_some_and(|it| it == value))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SESSIONS: &str = "\
apiVersion: v1
kind: Service
metadata: {name: chat, namespace: chat}
spec: {selector: {app: chat}, ports: [{name: http, port: 80}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: chat, namespace: chat}
spec: {template: {metadata: {labels: {app: chat}}, spec: {containers: []}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: client, namespace: people}
spec: {template: {metadata: {labels: {app: client}}, spec: {containers: []}}}
";

    /// Whether a document, which is named `it`, can decide about sessions from client to chat.
    fn concerns(head: &str, namespace: &str, spec: &str) -> bool {
        let (api_version, kind) = head.split_once(' ').expect("version and kind");
        let text = format!(
            "{SESSIONS}---\napiVersion: {api_version}\nkind: {kind}\nmetadata: {{name: it, namespace: {namespace}}}\n\
             spec: {spec}\n"
        );
        let documents = Documents::parse("it.yaml", &text).expect(&text);
        let [client, server] = ["client", "chat"].map(|name| documents.workload(name).expect("a workload"));
        let service = documents.service("chat").expect("a Service");
        let sessions = Sessions { client: &client, service, server: &server };
        let last = documents.manifests().last().expect("a document");
        documents.by_place().concerns(&last.document.place_of("spec"), &sessions)
    }

    #[test]
    fn a_document_concerns_the_sessions_that_its_hosts_and_selectors_are_about() {
        const ISTIO: &str = "networking.istio.io/v1";
        const FILTER: &str = "networking.istio.io/v1alpha3 EnvoyFilter";
        const POLICY: &str = "security.istio.io/v1 AuthorizationPolicy";
        let routes = format!("{ISTIO} VirtualService");
        for (head, namespace, spec, expected) in [
            (routes.as_str(), "chat", "{hosts: [chat]}", true),
            (&routes, "people", "{hosts: ['*.svc.cluster.local']}", true),
            (&routes, "people", "{hosts: [chat]}", false),
            (&routes, "chat", "{hosts: [chat], gateways: [front]}", false),
            (&routes, "chat", "{http: []}", true),
            (&format!("{ISTIO} DestinationRule"), "chat", "{host: chat}", true),
            (&format!("{ISTIO} DestinationRule"), "chat", "{host: other}", false),
            (FILTER, "chat", "{workloadSelector: {labels: {app: chat}}}", true),
            (FILTER, "people", "{workloadSelector: {labels: {app: client}}}", true),
            (FILTER, "chat", "{workloadSelector: {labels: {app: other}}}", false),
            (FILTER, "elsewhere", "{}", false),
            (FILTER, "istio-system", "{}", true),
            (POLICY, "chat", "{}", true),
            (POLICY, "chat", "{selector: {matchLabels: {app: other}}}", false),
            (POLICY, "people", "{}", false),
            (POLICY, "istio-system", "{selector: {matchLabels: {app: chat}}}", true),
            (&format!("{ISTIO} Gateway"), "chat", "{}", false),
            ("apps/v1 Deployment", "people", "{template: {spec: {containers: []}}}", false),
            ("example.org/v1 Unknown", "elsewhere", "{}", true),
        ] {
            assert_eq!(concerns(head, namespace, spec), expected, "{head} in {namespace}: {spec}");
        }
    }

    #[test]
    fn a_place_in_no_document_may_be_about_anything() {
        let documents = Documents::parse("it.yaml", SESSIONS).expect("documents");
        let [client, server] = ["client", "chat"].map(|name| documents.workload(name).expect("a workload"));
        let service = documents.service("chat").expect("a Service");
        let sessions = Sessions { client: &client, service, server: &server };
        let elsewhere = Documents::parse("other.yaml", SESSIONS).expect("documents");
        let places = documents.by_place();
        assert!(places.concerns(&elsewhere.manifests()[0].place(), &sessions));
        assert!(places.concerns(&documents.manifests()[2].place(), &sessions), "the client's own");
    }
}
