//! HTTP/2 between the sidecars: whether the server's takes WebSockets over it, and whether the
//! policy is where it counts.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::Circumstances;
use super::finding::Finding;
use super::proxies::{InboundProxy, inbound_proxy};
use super::rules::{
    HTTP2_PORT, NOT_JUDGED, UPGRADE_POLICY_LOST, UPGRADE_WITHOUT_ALLOW_CONNECT, UPGRADE_WITHOUT_SIDECAR,
};
use super::set::Set;
use crate::mesh::ConnectionManagerFilter;
use crate::mesh::config::{HttpConnectionManager, UpstreamProtocol, Workload};
use crate::mesh::document::{
    ConnectionPool, Deployment, DestinationRule, EnvoyFilter, H2UpgradePolicy, PatchContext, PortProtocol,
    ROOT_NAMESPACE, Service, ServicePort, TrafficPolicy, selects,
};
use crate::mesh::host::resolve;
use crate::mesh::inbound::target_port;
use crate::mesh::patches::{self, PatchTarget, TargetListener, is_for_version};
use crate::mesh::routing::protocol;
use crate::mesh::traffic_policy::{ProxySide, rule_for};
use crate::yaml::{Document, NodeRef, Place};

pub(super) fn check(set: &Set, circumstances: &Circumstances<'_>, findings: &mut Vec<Finding>) {
    let namespaces = set.namespaces();
    let mut found = Vec::new();
    for service in set.documents.services() {
        for (index, port) in service.ports.iter().enumerate() {
            match port.protocol {
                PortProtocol::Http | PortProtocol::Detected => {
                    check_port(set, circumstances, (service, port), &namespaces, &mut found);
                }
                // It is spoken to in HTTP/2, whatever the policy.
                PortProtocol::Http2 | PortProtocol::Grpc => {
                    findings.extend(http2_port(set, circumstances, service, index, port));
                }
                PortProtocol::Opaque => {}
            }
        }
    }
    check_outside(set, circumstances, findings);
    check_external_names(set, circumstances, findings);
    // One policy may be in force for many ports.
    let mut places = HashSet::new();
    found.retain(|finding: &Finding| places.insert((finding.place.file.clone(), finding.place.span.start)));
    findings.extend(found);
    for rule in set.documents.destination_rules() {
        if set.documents.services().is_empty() {
            check_unseen(set, circumstances, rule, findings);
        }
        check_lost(rule, rule.metadata.document(), findings);
    }
}

fn check_port(
    set: &Set,
    circumstances: &Circumstances<'_>,
    (service, port): (&Service, &ServicePort),
    namespaces: &BTreeSet<&str>,
    findings: &mut Vec<Finding>,
) {
    let rules: Vec<&DestinationRule> =
        set.documents.destination_rules_for(&service.host()).into_iter().map(|(_, rule)| rule).collect();
    let Some(refusing) = refusing(set, circumstances, service, port) else { return };
    for pool in pools_in_force(set, &rules, namespaces, service, port) {
        if protocol(port.protocol, pool, &set.documents.mesh(circumstances.mesh)) != UpstreamProtocol::Http2 {
            continue;
        }
        let decisive = pool.filter(|pool| pool.h2_upgrade_policy == H2UpgradePolicy::Upgrade);
        let (place, cause) = match decisive.and_then(|pool| place_of(&rules, pool)) {
            Some(place) => (place, "h2UpgradePolicy is UPGRADE"),
            // The mesh's default, which is in no document.
            None => {
                (service.metadata.document().place_of("spec.ports"), "the mesh's h2UpgradePolicy is UPGRADE")
            }
        };
        let to = format!("{}:{}", service.host(), port.number);
        findings.push(match &refusing {
            Refusing::Sidecar(pods) => {
                let message = format!(
                    "{cause} for {to}, and no EnvoyFilter sets allow_connect in the sidecar of {pods}"
                );
                let yaml = allow_connect(&service.selector, service.namespace(), "SIDECAR_INBOUND");
                UPGRADE_WITHOUT_ALLOW_CONNECT.at(place, message, yaml)
            }
            Refusing::Gateway(pods) => {
                let message =
                    format!("{cause} for {to}, and no EnvoyFilter sets allow_connect in the gateway {pods}");
                let yaml = allow_connect(&service.selector, service.namespace(), "GATEWAY");
                UPGRADE_WITHOUT_ALLOW_CONNECT.at(place, message, yaml)
            }
            Refusing::Application(pods, why) => {
                let message = format!("{cause} for {to}, and no sidecar of {pods} takes it: {why}");
                UPGRADE_WITHOUT_SIDECAR.at(place, message, "h2UpgradePolicy: DO_NOT_UPGRADE")
            }
        });
    }
}

/// A Service's port, before pods that a filter selects, to which one of these is spoken.
pub(super) fn spoken_to(
    set: &Set,
    circumstances: &Circumstances<'_>,
    filter: &EnvoyFilter,
    protocols: &[UpstreamProtocol],
) -> Option<String> {
    let namespaces = set.namespaces();
    let mesh = set.documents.mesh(circumstances.mesh);
    let mut services = set.services_in(&filter.metadata.namespace).filter(|service| {
        let mut pods = servers(set, service).into_iter();
        pods.any(|pod| selects(&filter.workload_selector, &pod.labels))
    });
    services.find_map(|service| {
        let rules: Vec<&DestinationRule> =
            set.documents.destination_rules_for(&service.host()).into_iter().map(|(_, rule)| rule).collect();
        let mut ports = service.http_ports();
        let port = ports.find(|port| {
            let mut pools = pools_in_force(set, &rules, &namespaces, service, port).into_iter();
            pools.any(|pool| protocols.contains(&protocol(port.protocol, pool, &mesh)))
        })?;
        Some(format!("{}:{}", service.host(), port.number))
    })
}

/// What of a Service's pods takes no WebSocket over HTTP/2, by the name of what keeps them.
enum Refusing {
    Sidecar(String),
    Gateway(String),
    /// Nothing stands before the application, for this reason.
    Application(String, String),
}

fn refusing(
    set: &Set,
    circumstances: &Circumstances<'_>,
    service: &Service,
    port: &ServicePort,
) -> Option<Refusing> {
    let mut gateways = false;
    for pod in set.documents.pods_of(service) {
        let number = target_port(&set.documents, service, Some(&pod.workload()), port).unwrap_or(port.number);
        let name = pod.metadata.name.clone();
        match inbound_proxy(set, pod, number) {
            InboundProxy::None(why) => return Some(Refusing::Application(name, why)),
            InboundProxy::Ambient => {
                let why = "they are in an ambient mesh, where a waypoint or ztunnel takes what comes";
                return Some(Refusing::Application(name, why.to_owned()));
            }
            InboundProxy::Gateway if !gateway_takes_connect(set, pod) => {
                return Some(Refusing::Gateway(name));
            }
            InboundProxy::Gateway => gateways = true,
            InboundProxy::Sidecar => {}
        }
    }
    let refuses = |server: &Workload| !takes_connect(set, circumstances.istio_version, service, port, server);
    let sidecars = (!gateways).then(|| servers(set, service)).into_iter().flatten();
    sidecars.into_iter().find(refuses).map(|server| Refusing::Sidecar(server.name))
}

/// Whether an `EnvoyFilter` allows extended CONNECT in a gateway.
fn gateway_takes_connect(set: &Set, gateway: &Deployment) -> bool {
    set.envoy_filters().any(|(filter, written)| {
        let namespace = filter.metadata.namespace.as_str();
        (namespace == ROOT_NAMESPACE || namespace == gateway.metadata.namespace)
            && gateway.has_labels(&filter.workload_selector)
            && written.at("spec.configPatches").into_iter().flat_map(NodeRef::items).any(|patch| {
                let context = patch.at("match.context").and_then(NodeRef::text).unwrap_or("ANY");
                let allowed = patch.at("patch.value.typedConfig.http2ProtocolOptions.allowConnect");
                ["GATEWAY", "ANY"].contains(&context)
                    && allowed.is_some_and(|allowed| allowed.to_json(str::to_owned) == true)
            })
    })
}

/// A port that is HTTP/2 to Istio, before what takes no WebSocket over it.
fn http2_port(
    set: &Set,
    circumstances: &Circumstances<'_>,
    service: &Service,
    index: usize,
    port: &ServicePort,
) -> Option<Finding> {
    let written = service.metadata.document();
    let path = |field: &str| format!("spec.ports[{index}].{field}");
    let field = ["appProtocol", "name"].into_iter().find(|field| written.at(&path(field)).is_some())?;
    let said = written.at(&path(field)).and_then(NodeRef::text)?;
    let Some(refusing) = refusing(set, circumstances, service, port) else {
        let message = format!(
            "the {field} {said} makes {}:{} HTTP/2 up to the application: whether that takes WebSockets over HTTP/2 \
             (RFC 8441) is not judged",
            service.host(),
            port.number
        );
        return Some(NOT_JUDGED.at(written.place_of(&path(field)), message, ""));
    };
    let name = written.at(&path("name")).and_then(NodeRef::text).unwrap_or_default();
    if port.protocol == PortProtocol::Grpc && !is_named_for_sessions(name) {
        let message = format!(
            "the {field} {said} makes {}:{} gRPC, which is HTTP/2: sessions to it, if there are any, get 503, and that \
             it has none is not judged",
            service.host(),
            port.number
        );
        return Some(NOT_JUDGED.at(written.place_of(&path(field)), message, ""));
    }
    let (who, why) = match refusing {
        Refusing::Sidecar(pods) => ("the sidecar of ", format!("{pods} has no allow_connect")),
        Refusing::Gateway(pods) => ("the gateway ", format!("{pods} has no allow_connect")),
        Refusing::Application(pods, why) => ("", format!("{pods} has no sidecar before it ({why})")),
    };
    let message = format!(
        "the {field} {said} makes {}:{} HTTP/2, with h2UpgradePolicy DO_NOT_UPGRADE too, and {who}{why}",
        service.host(),
        port.number
    );
    let rest = said.split_once('-').map_or("websocket", |(_, rest)| rest);
    let yaml =
        if field == "appProtocol" { "appProtocol: http".to_owned() } else { format!("name: http-{rest}") };
    Some(HTTP2_PORT.at(written.place_of(&path(field)), message, yaml))
}

/// Whether the name of a gRPC port says that WebSockets come to it.
fn is_named_for_sessions(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.contains("websocket") || name.split(['-', '_', '.']).any(|part| ["ws", "wss"].contains(&part))
}

/// A port of a host outside of the mesh that is HTTP/2 from the start.
fn http2_port_outside(port: NodeRef<'_>, host: &str) -> Option<Finding> {
    let protocol = port.at("protocol")?;
    let said = protocol.text()?.to_ascii_uppercase();
    let number = port.at("number")?.to_json(str::to_owned);
    match said.as_str() {
        "HTTP2" => {
            let message = format!(
                "the protocol {said} makes {host}:{number} HTTP/2, and a host outside of the mesh has no sidecar with \
                 allow_connect"
            );
            Some(HTTP2_PORT.at(protocol.place(), message, "protocol: HTTP"))
        }
        "GRPC" | "GRPC-WEB" => {
            let message = format!(
                "the protocol {said} makes {host}:{number} HTTP/2: whether sessions go there, which would fail, is not \
                 judged"
            );
            Some(NOT_JUDGED.at(protocol.place(), message, ""))
        }
        _ => None,
    }
}

/// `ExternalName` Services that lead out of the mesh, to which HTTP/2 is spoken.
fn check_external_names(set: &Set, circumstances: &Circumstances<'_>, findings: &mut Vec<Finding>) {
    for service in set.documents.services() {
        let written = service.metadata.document();
        let text = |path: &str| written.at(path).and_then(NodeRef::text);
        let Some(name) = text("spec.externalName").filter(|_| text("spec.type") == Some("ExternalName"))
        else {
            continue;
        };
        // What stands for a Service of the cluster is an alias of it.
        if !name.ends_with(".svc.cluster.local")
            && let Some(cause) = upgrades(set, circumstances, &service.host())
        {
            let message = format!(
                "{cause} for {}, which leads to {name}, and a host outside of the mesh has no sidecar",
                service.host()
            );
            let place = written.place_of("spec.externalName");
            findings.push(UPGRADE_WITHOUT_SIDECAR.at(place, message, "h2UpgradePolicy: DO_NOT_UPGRADE"));
        }
    }
}

/// Why HTTP/2 is spoken to a host that no Service with pods has, if it is.
fn upgrades(set: &Set, circumstances: &Circumstances<'_>, host: &str) -> Option<&'static str> {
    let rules = set.documents.destination_rules_for(host);
    let pools = rules.iter().flat_map(|(_, rule)| rule.connection_pools());
    let mut said = pools.map(|(_, pool)| pool.h2_upgrade_policy);
    let (policy, cause) = match said.find(|policy| *policy != H2UpgradePolicy::Default) {
        Some(policy) => (policy, "h2UpgradePolicy is UPGRADE"),
        None => (
            set.documents.mesh(circumstances.mesh).h2_upgrade_policy,
            "the mesh's h2UpgradePolicy is UPGRADE",
        ),
    };
    (policy == H2UpgradePolicy::Upgrade).then_some(cause)
}

/// Hosts outside of the mesh to which HTTP/2 is spoken.
fn check_outside(set: &Set, circumstances: &Circumstances<'_>, findings: &mut Vec<Finding>) {
    for manifest in set.documents.manifests() {
        let document = &manifest.document;
        let text = |path: &str| document.at(path).and_then(NodeRef::text);
        if manifest.kind != "ServiceEntry"
            || !manifest.api_version.starts_with("networking.istio.io/")
            || text("spec.location") == Some("MESH_INTERNAL")
        {
            continue;
        }
        let ports = || document.at("spec.ports").into_iter().flat_map(NodeRef::items);
        let first = text("spec.hosts[0]").unwrap_or_default();
        findings.extend(ports().filter_map(|port| http2_port_outside(port, first)));
        let is_http = |port: NodeRef<'_>| {
            port.at("protocol").and_then(NodeRef::text).is_some_and(|it| it.eq_ignore_ascii_case("HTTP"))
        };
        if !ports().any(is_http) {
            continue;
        }
        for host in document.at("spec.hosts").into_iter().flat_map(NodeRef::items) {
            let Some(name) = host.text() else { continue };
            if let Some(cause) = upgrades(set, circumstances, name) {
                let message = format!("{cause} for {name}, and a host outside of the mesh has no sidecar");
                let yaml = format!(
                    "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata:\n  name: {}\nspec:\n  host: \
                     {name}\n  trafficPolicy:\n    connectionPool:\n      http:\n        h2UpgradePolicy: DO_NOT_UPGRADE",
                    name.replace(['.', '*'], "-").trim_matches('-')
                );
                findings.push(UPGRADE_WITHOUT_SIDECAR.at(host.place(), message, yaml));
            }
        }
    }
}

/// The pods behind a Service; if no pod template is among the documents, the one of which its
/// selector tells the labels, and which may have whatever else an `EnvoyFilter` selects.
fn servers(set: &Set, service: &Service) -> Vec<Workload> {
    let selected: Vec<Workload> =
        set.documents.pods_of(service).into_iter().map(Deployment::workload).collect();
    if !selected.is_empty() {
        return selected;
    }
    let mut labels = service.selector.clone();
    for (label, value) in &set.filter_labels {
        labels.entry(label.clone()).or_insert_with(|| value.clone());
    }
    vec![Workload {
        name: service.name().to_owned(),
        namespace: service.namespace().to_owned(),
        labels,
        service_account: "default".to_owned(),
    }]
}

fn takes_connect(
    set: &Set,
    istio_version: &str,
    service: &Service,
    port: &ServicePort,
    server: &Workload,
) -> bool {
    // That a named port leads nowhere is a finding of its own.
    let number = target_port(&set.documents, service, Some(server), port).unwrap_or(port.number);
    let target = PatchTarget {
        namespace: service.namespace(),
        workload: Some(server),
        istio_version,
        direction: TargetListener::Inbound(number),
    };
    let mut manager = HttpConnectionManager::inbound();
    patches::apply(&set.documents, &target, &mut manager);
    manager.allow_connect
}

/// What any client's sidecar may find for a Service's port, with and without a subset; nothing: no
/// rule says anything. Asked for are one client of each kind that `rules`, those for the Service,
/// tell apart.
fn pools_in_force<'s>(
    set: &'s Set,
    rules: &[&'s DestinationRule],
    namespaces: &BTreeSet<&str>,
    service: &Service,
    port: &ServicePort,
) -> Vec<Option<&'s ConnectionPool>> {
    let told_apart: BTreeSet<&str> = rules
        .iter()
        .flat_map(|rule| rule.export_to.namespaces().chain([rule.metadata.namespace.as_str()]))
        .chain([service.namespace()])
        .filter(|namespace| namespaces.contains(namespace))
        .collect();
    let elsewhere = namespaces.iter().copied().find(|namespace| !told_apart.contains(namespace));
    let selected: Vec<Workload> =
        rules.iter().filter_map(|rule| client_selected_by(set, rules, rule)).collect();
    let workloads = selected.iter().map(|workload| (workload.namespace.as_str(), Some(workload)));
    let unknown = told_apart.into_iter().chain(elsewhere).map(|namespace| (namespace, None));
    let mut pools = Vec::new();
    for (namespace, workload) in workloads.chain(unknown) {
        let rule =
            rule_for(&set.documents, namespace, ProxySide::Client(workload), service).unwrap_or_default();
        pools.push(rule.connection_pool(port.number));
        let of_subset = |subset| rule.connection_pool_of(subset, port.number);
        pools.extend(rule.subsets().map(of_subset));
    }
    pools
}

/// A client that the selector of one of the rules selects, if there is one that no other of them
/// selects.
fn client_selected_by(set: &Set, rules: &[&DestinationRule], rule: &DestinationRule) -> Option<Workload> {
    let selector = rule.workload_selector.as_ref()?;
    let namespace = rule.metadata.namespace.as_str();
    let clients = || set.documents.pods_with(Some(namespace), selector);
    let others = rules
        .iter()
        .filter(|other| !std::ptr::eq(**other, rule) && other.metadata.namespace == rule.metadata.namespace);
    let selected_by_another = |client: &&Deployment| {
        others
            .clone()
            .filter_map(|other| other.workload_selector.as_ref())
            .any(|selector| client.has_labels(selector))
    };
    let alone = clients().find(|client| !selected_by_another(client));
    alone.or_else(|| clients().next()).map(Deployment::workload)
}

/// Where a pool's policy is written.
fn place_of(rules: &[&DestinationRule], pool: &ConnectionPool) -> Option<Place> {
    rules.iter().find_map(|rule| {
        let (path, _) = rule.connection_pools().into_iter().find(|(_, other)| std::ptr::eq(*other, pool))?;
        Some(rule.metadata.document().place_of(&format!("{path}.http.h2UpgradePolicy")))
    })
}

/// Without any Service among the documents, whether there is a filter that can be meant for the
/// host's pods.
fn check_unseen(
    set: &Set,
    circumstances: &Circumstances<'_>,
    rule: &DestinationRule,
    findings: &mut Vec<Finding>,
) {
    let host = resolve(&rule.host, &rule.metadata.namespace);
    let namespace = host.split('.').nth(1).filter(|_| host.ends_with(".svc.cluster.local"));
    let filters = set.documents.envoy_filters().iter().filter(|filter| {
        let place = filter.metadata.namespace.as_str();
        place == ROOT_NAMESPACE || namespace.is_none_or(|namespace| namespace == place)
    });
    let allowed = filters.flat_map(|filter| &filter.patches).any(|patch| {
        matches!(patch.context, PatchContext::Any | PatchContext::SidecarInbound)
            && is_for_version(patch.proxy_version.as_ref(), circumstances.istio_version)
            && patch.value.allows_connect()
    });
    let upgrades = |pool: &ConnectionPool| pool.h2_upgrade_policy == H2UpgradePolicy::Upgrade;
    let pools = rule.connection_pools().into_iter().filter(|(_, pool)| upgrades(pool) && !allowed);
    findings.extend(pools.map(|(path, _)| {
        let message = format!(
            "h2UpgradePolicy is UPGRADE for {host}, and no EnvoyFilter in these documents sets allow_connect in the \
             server's sidecar"
        );
        let place = rule.metadata.document().place_of(&format!("{path}.http.h2UpgradePolicy"));
        let app = host.split('.').next().unwrap_or_default().to_owned();
        let labels = [("app".to_owned(), app)].into();
        let yaml = allow_connect(&labels, namespace.unwrap_or(&rule.metadata.namespace), "SIDECAR_INBOUND");
        UPGRADE_WITHOUT_ALLOW_CONNECT.at(place, message, yaml)
    }));
}

/// The `EnvoyFilter` that is missing.
fn allow_connect(labels: &BTreeMap<String, String>, namespace: &str, context: &str) -> String {
    let filter = ConnectionManagerFilter {
        name: "allow-connect",
        namespace,
        labels,
        context,
        options: "http2_protocol_options:\n  allow_connect: true",
    };
    filter.to_string()
}

/// Blocks inside a rule that take the place of its connection pool and say nothing of the policy.
fn check_lost(rule: &DestinationRule, written: &Document, findings: &mut Vec<Finding>) {
    let says = |path: &str| {
        let http = format!("{path}.http");
        ["h2UpgradePolicy", "useClientProtocol"]
            .iter()
            .any(|field| written.at(&format!("{http}.{field}")).is_some())
    };
    let outer = "spec.trafficPolicy";
    let policy = written.at(&format!("{outer}.connectionPool.http.h2UpgradePolicy"));
    let policy = policy.and_then(NodeRef::text).filter(|policy| *policy != "DEFAULT");
    let ports = |policy: &TrafficPolicy, path: &str| -> Vec<(String, String)> {
        let settings = policy.port_level_settings.iter().enumerate();
        settings
            .map(|(index, settings)| {
                (format!("{path}.portLevelSettings[{index}]"), format!("port {}", settings.port))
            })
            .collect()
    };
    let mut inner = rule.traffic_policy.as_ref().map(|policy| ports(policy, outer)).unwrap_or_default();
    for (index, subset) in rule.subsets.iter().enumerate() {
        let Some(of_subset) = &subset.traffic_policy else { continue };
        let path = format!("spec.subsets[{index}].trafficPolicy");
        if of_subset.connection_pool.is_some() {
            inner.push((path.clone(), format!("the subset {}", subset.name)));
        }
        inner.extend(ports(of_subset, &path));
    }
    let Some(policy) = policy else { return };
    for (path, scope) in inner {
        let pool = format!("{path}.connectionPool");
        if !says(&pool) {
            let message = format!("the rule's h2UpgradePolicy: {policy} does not count for {scope}");
            let yaml = format!("connectionPool:\n  http:\n    h2UpgradePolicy: {policy}");
            findings.push(UPGRADE_POLICY_LOST.at(written.place_of(&pool), message, yaml));
        }
    }
}
