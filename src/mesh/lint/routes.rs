//! The routes of `VirtualService`s: what becomes of a handshake in the proxies that have them. What
//! they lead to is looked at in `destinations`.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::finding::Finding;
use super::handshake::{HandshakeHead, Takes, takes_any};
use super::rules::{
    DIRECT_RESPONSE, FAULT_ABORT, FOR_NO_CLIENT, NO_HANDSHAKE_ROUTE, NOT_JUDGED, REDIRECT, UNROUTED_PATHS,
};
use super::set::Set;
use crate::mesh::config::Workload;
use crate::mesh::document::{Deployment, HttpMatchRequest, ProxyRole, RoutedProxy, Service, VirtualService};
use crate::mesh::host::resolve;
use crate::yaml::{Dialect, NodeRef};

pub(super) fn check(set: &Set, findings: &mut Vec<Finding>) {
    let namespaces = set.namespaces();
    for service in set.documents.virtual_services() {
        let routes = WrittenRoute::all_of(service);
        let mut found = Vec::new();
        for route in routes.iter().filter(|route| route.takes_in_any() > Takes::None) {
            check_fields(route.written, &mut found);
        }
        if service.is_for_sidecars() {
            found.extend(in_sidecars(set, &namespaces, service, &routes));
        }
        let named_gateways = service.metadata.document().at("spec.gateways").into_iter();
        if named_gateways.flat_map(NodeRef::items).any(|gateway| gateway.text() != Some("mesh")) {
            found.extend(in_gateways(service, &routes));
        }
        // What is so in one proxy is so in others.
        let mut places = HashSet::new();
        found.retain(|it| places.insert((it.rule.code, it.place.line, it.place.column)));
        findings.extend(found);
    }
}

/// A route as it was written, with its conditions; none: it takes every request.
struct WrittenRoute<'d> {
    written: NodeRef<'d>,
    conditions: Vec<HttpMatchRequest>,
}

impl<'d> WrittenRoute<'d> {
    fn all_of(service: &'d VirtualService) -> Vec<Self> {
        let written = service.metadata.document().at("spec.http").into_iter().flat_map(NodeRef::items);
        let conditions = |route: NodeRef<'d>| {
            let conditions = route.at("match").into_iter().flat_map(NodeRef::items);
            conditions.filter_map(|condition| condition.read(Dialect::Kubernetes).ok()).collect()
        };
        written.map(|route| Self { written: route, conditions: conditions(route) }).collect()
    }

    /// How many handshakes it takes in a proxy that has these of its conditions; nothing, if the
    /// proxy does not have the route.
    fn takes(&self, is_there: impl Fn(&HttpMatchRequest) -> bool) -> Option<Takes> {
        if self.conditions.is_empty() {
            return Some(Takes::Every);
        }
        let there = self.conditions.iter().filter(|condition| is_there(condition));
        let there: Vec<_> = there.map(HttpMatchRequest::route_match).collect();
        (!there.is_empty()).then(|| takes_any(&there))
    }

    fn takes_in_any(&self) -> Takes {
        self.takes(|_| true).unwrap_or(Takes::None)
    }
}

/// What becomes of handshakes in the sidecars of the clients that the documents know.
fn in_sidecars(
    set: &Set,
    namespaces: &BTreeSet<&str>,
    service: &VirtualService,
    routes: &[WrittenRoute<'_>],
) -> Vec<Finding> {
    let clients = Clients::of(set, namespaces, service, routes);
    if clients.pods.is_empty() {
        // It is exported to nobody here, which is a finding of its own.
        return Vec::new();
    }
    let mut found = Vec::new();
    let mut is_for_some = false;
    for client in clients.all() {
        let own: Vec<_> = routes
            .iter()
            .filter_map(|route| {
                let takes = route.takes(|it| it.is_for_sidecars() && it.is_for(client))?;
                Some((route.written, takes))
            })
            .collect();
        is_for_some |= !own.is_empty();
        if !own.is_empty() {
            found.extend(judge(&own, service, "the client's sidecar"));
        }
    }
    let Some(first) = routes.iter().find_map(|route| route.written.at("match")) else { return found };
    if !is_for_some {
        let hosts = service.hosts.join(", ");
        found.push(if clients.are_all_known {
            let message = format!(
                "by their ports and gateways no route for {hosts} is for a sidecar, so what Istio has without this VirtualService is in force"
            );
            FOR_NO_CLIENT.at(first.place_of_key(), message, "")
        } else {
            let message = format!(
                "no route for {hosts} is for a client among these documents: whether others take one is not judged"
            );
            NOT_JUDGED.at(first.place_of_key(), message, "")
        });
    }
    found
}

/// What becomes of handshakes in the gateways of the document. A port is one of their servers' there,
/// which are not looked at: those are told apart that are named.
fn in_gateways(service: &VirtualService, routes: &[WrittenRoute<'_>]) -> Vec<Finding> {
    let namespace = service.metadata.namespace.as_str();
    let gateways = service.metadata.document().at("spec.gateways").into_iter().flat_map(NodeRef::items);
    let gateways = gateways.filter_map(NodeRef::text).filter(|gateway| *gateway != "mesh");
    let conditions = routes.iter().flat_map(|route| &route.conditions);
    let ports: BTreeSet<u16> = conditions.filter_map(HttpMatchRequest::port).collect();
    let ports = || ports.iter().copied().map(Some).chain([None]);
    let mut found = Vec::new();
    let mut is_for_some = false;
    for (gateway, port) in gateways.flat_map(|gateway| ports().map(move |port| (gateway, port))) {
        let is_there = |condition: &HttpMatchRequest| {
            let mut own = condition.gateways().peekable();
            let is_here = own.peek().is_none()
                || own.any(|it| full_name(it, namespace) == full_name(gateway, namespace));
            is_here && condition.port().is_none_or(|it| Some(it) == port)
        };
        let own: Vec<_> =
            routes.iter().filter_map(|route| Some((route.written, route.takes(is_there)?))).collect();
        if own.is_empty() {
            continue;
        }
        is_for_some = true;
        found.extend(judge(&own, service, "the gateway").into_iter().filter(|finding| {
            // Who comes without TLS is sent to where it is, which another route is for.
            *finding.rule != REDIRECT || !own.iter().any(|(route, _)| is_to_tls(*route))
        }));
    }
    let first = routes.iter().find_map(|route| route.written.at("match"));
    if let Some(first) = first.filter(|_| !is_for_some) {
        let message = "no route is for a gateway of this VirtualService: it has no effect there";
        found.push(FOR_NO_CLIENT.at(first.place_of_key(), message, ""));
    }
    found
}

/// A gateway's name with its namespace (`resolveGatewayName` in `pilot/pkg/model/config.go`).
fn full_name(gateway: &str, namespace: &str) -> String {
    match gateway.split_once('/') {
        None => format!("{namespace}/{gateway}"),
        Some((".", name)) => format!("{namespace}/{name}"),
        Some(_) => gateway.to_owned(),
    }
}

/// Whether a route redirects to the same address with TLS.
fn is_to_tls(route: NodeRef<'_>) -> bool {
    let redirect = route.at("redirect");
    redirect.is_some_and(|redirect| {
        redirect.at("scheme").and_then(NodeRef::text) == Some("https")
            && ["uri", "authority"].iter().all(|field| redirect.at(field).is_none())
    })
}

/// Clients that the conditions of routes tell apart, and the ports that they dial.
struct Clients {
    /// Their namespaces, and their pods where labels matter.
    pods: Vec<(String, Option<Workload>)>,
    ports: BTreeSet<u16>,
    /// Whether every client is like one of these.
    are_all_known: bool,
}

impl Clients {
    fn of(
        set: &Set,
        namespaces: &BTreeSet<&str>,
        service: &VirtualService,
        routes: &[WrittenRoute<'_>],
    ) -> Self {
        let own = service.metadata.namespace.as_str();
        let is_visible = |namespace: &str| service.export_to.includes(namespace, own);
        let conditions = || routes.iter().flat_map(|route| &route.conditions);
        let anybody = [own].into_iter().chain(namespaces.iter().copied()).find(|it| is_visible(it));
        let mut pods: Vec<_> = anybody.map(|namespace| (namespace.to_owned(), None)).into_iter().collect();
        let mut are_all_known = !pods.is_empty();
        for (namespace, labels) in conditions().filter_map(HttpMatchRequest::source) {
            are_all_known = false;
            if set.documents.deployments().is_empty() {
                // Of clients nothing is known, so there may be one that is asked for.
                let namespace = namespace.unwrap_or(own);
                pods.push((namespace.to_owned(), Some(client_with(namespace, labels))));
            } else if labels.is_empty() {
                let known = namespace.filter(|namespace| namespaces.contains(namespace));
                pods.extend(known.map(|namespace| (namespace.to_owned(), None)));
            } else {
                let found = set.documents.pods_with(namespace, labels).map(Deployment::workload);
                let found = found.map(|workload| (workload.namespace.clone(), Some(workload)));
                pods.extend(found.into_iter().find(|(namespace, _)| is_visible(namespace)));
            }
        }
        Self { pods, ports: ports(set, service, routes), are_all_known }
    }

    fn all(&self) -> impl Iterator<Item = RoutedProxy<'_>> {
        self.pods.iter().flat_map(|(namespace, workload)| {
            let client =
                RoutedProxy { role: ProxyRole::Sidecar, workload: workload.as_ref(), namespace, port: 0 };
            self.ports.iter().map(move |port| RoutedProxy { port: *port, ..client })
        })
    }
}

/// A pod of which no more is known.
fn client_with(namespace: &str, labels: &BTreeMap<String, String>) -> Workload {
    Workload {
        name: String::new(),
        namespace: namespace.to_owned(),
        labels: labels.clone(),
        service_account: "default".to_owned(),
    }
}

/// The ports of the hosts, as far as they are told apart; 0 stands for every other one.
fn ports(set: &Set, service: &VirtualService, routes: &[WrittenRoute<'_>]) -> BTreeSet<u16> {
    let named: BTreeSet<u16> =
        routes.iter().flat_map(|route| &route.conditions).filter_map(HttpMatchRequest::port).collect();
    if named.is_empty() {
        return [0].into();
    }
    let hosts = service.hosts.iter().map(|host| resolve(host, &service.metadata.namespace));
    let ports = hosts.flat_map(|host| {
        let services = set.documents.services_for(&host);
        services.flat_map(Service::http_ports).map(|port| port.number).collect::<Vec<_>>()
    });
    let known: BTreeSet<u16> = ports.collect();
    if known.is_empty() { named.into_iter().chain([0]).collect() } else { known }
}

/// What becomes of handshakes in a proxy with these routes, which take so many of them.
fn judge(routes: &[(NodeRef<'_>, Takes)], service: &VirtualService, proxy: &str) -> Option<Finding> {
    let hosts = service.hosts.join(", ");
    // Behind a route for everything no other is taken.
    let last = routes.iter().position(|(_, takes)| *takes == Takes::Every);
    let reached = &routes[..last.map_or(routes.len(), |last| last + 1)];
    let mut taking = reached.iter().filter(|(_, takes)| *takes > Takes::None).map(|(route, _)| *route);
    // A delegate's routes are parts of another's.
    let conditions = routes.iter().find_map(|(route, _)| route.at("match")).filter(|_| !hosts.is_empty());
    let Some(first) = taking.clone().next() else {
        let message = format!("no route for {hosts} takes a handshake: each gets 404 (NR)");
        return Some(NO_HANDSHAKE_ROUTE.at(conditions?.place_of_key(), message, ""));
    };
    if last.is_some() {
        let answer = answer(first, &hosts, proxy)?;
        return taking.all(|route| self::answer(route, &hosts, proxy).is_some()).then_some(answer);
    }
    let message = format!("of {hosts} only the paths that match have a route: others get 404 (NR)");
    Some(UNROUTED_PATHS.at(conditions?.place_of_key(), message, ""))
}

/// What a route answers by itself, in the place of the application.
fn answer(route: NodeRef<'_>, hosts: &str, proxy: &str) -> Option<Finding> {
    if let Some(redirect) = route.at("redirect") {
        let message = format!("every handshake for {hosts} is redirected");
        return Some(REDIRECT.at(redirect.place_of_key(), message, ""));
    }
    let answered = |status: NodeRef<'_>| {
        let status = status.read::<u16>(Dialect::Kubernetes).ok()?;
        Some(format!("every handshake for {hosts} is answered with {status} by {proxy}"))
    };
    if let Some(response) = route.at("directResponse") {
        let message = answered(response.at("status")?)?;
        return Some(DIRECT_RESPONSE.at(response.place_of_key(), message, ""));
    }
    let abort = route.at("fault.abort")?;
    // Without a percentage none is.
    let share = abort.at("percentage.value")?.read::<f64>(Dialect::Kubernetes).ok()?;
    let message = answered(abort.at("httpStatus")?)?;
    (share >= 100.0).then(|| FAULT_ABORT.at(route.at("fault").unwrap_or(abort).place_of_key(), message, ""))
}

/// Whether a route, or one of its destinations, takes a field of the handshake away or writes over
/// it.
fn check_fields(route: NodeRef<'_>, findings: &mut Vec<Finding>) {
    let destinations = route.at("route").into_iter().flat_map(NodeRef::items);
    for part in std::iter::once(route).chain(destinations) {
        for (of, head) in [("request", HandshakeHead::Request), ("response", HandshakeHead::Response)] {
            let removed = part.at(&format!("headers.{of}.remove")).into_iter().flat_map(NodeRef::items);
            findings.extend(removed.filter_map(|it| head.without(it.text().unwrap_or_default(), it.place())));
            for operation in ["set", "add"] {
                let written = part.at(&format!("headers.{of}.{operation}")).into_iter();
                findings.extend(written.flat_map(NodeRef::entries).filter_map(|entry| {
                    let (name, value) = (entry.key().unwrap_or_default(), entry.text().unwrap_or_default());
                    head.with(name, value, entry.place_of_key())
                }));
            }
        }
    }
}
