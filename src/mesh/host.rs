//! Names of hosts as Istio resolves and matches them, and to whom a document is visible.

use std::net::IpAddr;

use serde::Deserialize;

/// Kubernetes' default cluster domain, and Istio's.
const CLUSTER_DOMAIN: &str = "cluster.local";

/// The fully qualified name of a Service.
pub(super) fn service_host(name: &str, namespace: &str) -> String {
    format!("{name}.{namespace}.svc.{CLUSTER_DOMAIN}")
}

/// Makes the host of a document a full name: one without a dot is a Service in the document's own
/// namespace, whoever the client is; addresses, `*` and names with any dot stay as they are
/// (`pilot/pkg/model/config.go`, `ResolveShortnameToFQDN`). So `websockets-server.default` is a
/// host that no Service has.
pub(super) fn resolve(host: &str, namespace: &str) -> String {
    if host == "*" || host.contains('.') || host.parse::<IpAddr>().is_ok() {
        return host.to_owned();
    }
    service_host(host, namespace)
}

/// The names by which a proxy in `namespace` finds a Service, most complete first
/// (`pilot/pkg/networking/core/httproute.go`, `generateVirtualHostDomains`).
pub(super) fn domains(name: &str, service_namespace: &str, namespace: &str) -> Vec<String> {
    let mut domains = vec![service_host(name, service_namespace)];
    if service_namespace == namespace {
        domains.push(name.to_owned());
    }
    domains.push(format!("{name}.{service_namespace}.svc"));
    domains.push(format!("{name}.{service_namespace}"));
    domains
}

/// Istio's `exportTo`: the namespaces whose proxies see a document; without it, everybody does.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Visibility(Vec<String>);

impl Visibility {
    /// The namespaces that are named.
    pub(super) fn namespaces(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// Whether a document in the namespace `own` is visible from `namespace`.
    pub(super) fn includes(&self, namespace: &str, own: &str) -> bool {
        self.0.is_empty()
            || self.0.iter().any(|entry| match entry.as_str() {
                "*" => true,
                "." => namespace == own,
                entry => entry == namespace,
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_host_is_completed_with_the_namespace_of_its_document() {
        for (host, namespace, expected) in [
            ("websockets-server", "default", "websockets-server.default.svc.cluster.local"),
            ("websockets-server", "chat", "websockets-server.chat.svc.cluster.local"),
            ("websockets-server.default", "chat", "websockets-server.default"),
            (
                "websockets-server.default.svc.cluster.local",
                "chat",
                "websockets-server.default.svc.cluster.local",
            ),
            ("*.cluster.local", "chat", "*.cluster.local"),
            ("*", "chat", "*"),
            ("10.0.0.1", "chat", "10.0.0.1"),
            ("fd00::1", "chat", "fd00::1"),
        ] {
            assert_eq!(resolve(host, namespace), expected);
        }
    }

    #[test]
    fn only_proxies_of_its_own_namespace_know_a_service_by_its_bare_name() {
        let full = "a.default.svc.cluster.local";
        assert_eq!(domains("a", "default", "default"), [full, "a", "a.default.svc", "a.default"]);
        assert_eq!(domains("a", "default", "chat"), [full, "a.default.svc", "a.default"]);
    }

    #[test]
    fn export_to_limits_who_sees_a_document() {
        for (export_to, from_own, from_other) in [
            (&[][..], true, true),
            (&["*"], true, true),
            (&["."], true, false),
            (&["chat"], false, true),
            (&[".", "chat"], true, true),
            (&["~"], false, false),
        ] {
            let visibility = Visibility(export_to.iter().map(|&entry| entry.to_owned()).collect());
            assert_eq!(visibility.includes("default", "default"), from_own, "{export_to:?}");
            assert_eq!(visibility.includes("chat", "default"), from_other, "{export_to:?}");
        }
    }
}
