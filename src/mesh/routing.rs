//! What `VirtualService`s and `DestinationRule`s make of a proxy's routes and clusters. A client's
//! sidecar and a gateway have them alike.
//!
//! Istio: `pilot/pkg/networking/core/route/route.go` (routes), `cluster_builder.go` and
//! `cluster_traffic_policy.go` (clusters).

use std::time::Duration;

use super::config::{
    Cluster, Redirect, RetryPolicy, Rewrite, Route, RouteAction, RouteMatch, UpstreamProtocol,
    WeightedCluster, Workload,
};
use super::document::{
    ConnectionPool, Destination, Documents, H2UpgradePolicy, HttpAction, HttpMatchRequest, HttpRoute,
    PortProtocol, RoutedProxy, Service, ServicePort, VirtualService, WeightedDestination,
};
use super::host::resolve;
use super::mesh_config::MeshDefaults;
use super::traffic_policy::{ProxySide, rule_for};

/// The answer to a request for a cluster that is not there.
const CLUSTER_NOT_FOUND: u16 = 503;

/// A proxy's point of view of the documents.
#[derive(Debug, Clone, Copy)]
pub(super) struct Routing<'a> {
    pub(super) documents: &'a Documents,
    pub(super) workload: Option<&'a Workload>,
    pub(super) namespace: &'a str,
    mesh: &'a MeshDefaults,
    /// Gateways do not look at what a port without a declared protocol speaks
    /// (`setUpstreamProtocol`).
    detects_protocols: bool,
}

impl<'a> Routing<'a> {
    pub(super) fn new(
        documents: &'a Documents,
        workload: Option<&'a Workload>,
        mesh: &'a MeshDefaults,
    ) -> Self {
        let namespace = workload.map_or_else(|| documents.namespace(), |workload| &workload.namespace);
        Self { documents, workload, namespace, mesh, detects_protocols: true }
    }

    pub(super) fn of_gateway(self) -> Self {
        Self { detects_protocols: false, ..self }
    }

    /// The routes of a `VirtualService`, as far as they are for this proxy.
    pub(super) fn routes(&self, of: &VirtualService, proxy: RoutedProxy<'_>) -> Vec<Route> {
        let namespace = &of.metadata.namespace;
        let mut routes: Vec<Route> =
            of.http.iter().flat_map(|route| self.routes_of(route, namespace, proxy)).collect();
        // What comes behind a route for every path is never reached.
        if let Some(last) = routes.iter().position(|route| route.conditions.is_every_path()) {
            routes.truncate(last + 1);
        }
        routes
    }

    /// One for each of its conditions.
    fn routes_of(&self, route: &HttpRoute, namespace: &str, proxy: RoutedProxy<'_>) -> Vec<Route> {
        let mut request_fields = route.request_fields.clone();
        let mut response_fields = route.response_fields.clone();
        let action = match &route.action {
            HttpAction::DirectResponse { status, body } => {
                RouteAction::DirectResponse { status: *status, body: body.clone() }
            }
            HttpAction::Redirect { redirect, derives_port } => {
                let port = if *derives_port { Some(proxy.port) } else { redirect.port };
                RouteAction::Redirect(Redirect { port, ..redirect.clone() })
            }
            HttpAction::Forward { destinations, timeout, retry, rewrite } => {
                let to = |to: &WeightedDestination| {
                    let cluster = self.destination(&to.destination, namespace, proxy.port);
                    forward(cluster, *timeout, retry.clone(), rewrite.clone())
                };
                if let [only] = &destinations[..] {
                    request_fields.extend(&only.request_fields);
                    response_fields.extend(&only.response_fields);
                    to(only)
                } else {
                    let weighted = destinations.iter().map(|destination| WeightedCluster {
                        weight: destination.weight,
                        action: to(destination),
                        request_fields: destination.request_fields.clone(),
                        response_fields: destination.response_fields.clone(),
                    });
                    RouteAction::Weighted(weighted.collect())
                }
            }
        };
        let under = |name: Option<String>, conditions: RouteMatch| Route {
            name,
            conditions,
            fault: route.fault.clone(),
            request_fields: request_fields.clone(),
            response_fields: response_fields.clone(),
            ..Route::every_path(None, action.clone())
        };
        if route.conditions.is_empty() {
            return vec![under(route.name.clone(), RouteMatch::every_path())];
        }
        let conditions = route.conditions.iter().filter(|condition| condition.is_for(proxy));
        conditions.map(|condition| under(name(route, condition), condition.route_match())).collect()
    }

    /// The cluster of a `VirtualService`'s destination, or the name of one that does not exist.
    pub(super) fn destination(
        &self,
        destination: &Destination,
        namespace: &str,
        listener_port: u16,
    ) -> Result<Cluster, String> {
        let host = resolve(&destination.host, namespace);
        let service = self.documents.service_with_host(&host);
        let number = match (destination.port, service.map(|service| &service.ports[..])) {
            (Some(number), _) => number,
            (None, Some([only])) => only.number,
            (None, _) => listener_port,
        };
        let subset = destination.subset.as_deref();
        let known = service
            .and_then(|service| Some((service, service.ports.iter().find(|port| port.number == number)?)));
        let (service, port) = known.ok_or_else(|| cluster_name(number, subset, &host))?;
        self.cluster(service, port, subset)
    }

    /// The cluster of a Service's port, or the name of one that does not exist: no rule has the
    /// subset.
    pub(super) fn cluster(
        &self,
        service: &Service,
        port: &ServicePort,
        subset: Option<&str>,
    ) -> Result<Cluster, String> {
        let host = service.host();
        let name = cluster_name(port.number, subset, &host);
        let rule = rule_for(self.documents, self.namespace, ProxySide::Client(self.workload), service)
            .unwrap_or_default();
        let pool = match subset {
            None => rule.connection_pool(port.number),
            Some(subset) => {
                let Some(subset) = rule.subset(subset) else { return Err(name) };
                rule.connection_pool_of(subset, port.number)
            }
        };
        let subset = subset.unwrap_or_default();
        let mut cluster = Cluster::endpoint(name);
        if let Some(pool) = pool {
            cluster.apply(pool);
        }
        cluster.protocol = match protocol(port.protocol, pool, self.mesh) {
            UpstreamProtocol::UseDownstream
                if !self.detects_protocols && !pool.is_some_and(|pool| pool.use_client_protocol) =>
            {
                UpstreamProtocol::Http1
            }
            spoken => spoken,
        };
        cluster.sni = Some(format!("outbound_.{}_.{subset}_.{host}", port.number));
        let servers = self.documents.pods_of(service).into_iter();
        cluster.subject_alt_names =
            servers.map(|deployment| deployment.workload().spiffe_identity()).collect();
        cluster.subject_alt_names.sort();
        cluster.subject_alt_names.dedup();
        Ok(cluster)
    }
}

/// `%ROUTE_NAME%` of a route with a condition: both names, if these have any.
fn name(route: &HttpRoute, condition: &HttpMatchRequest) -> Option<String> {
    match condition.name() {
        Some(of_condition) => Some(format!("{}.{of_condition}", route.name.as_deref().unwrap_or_default())),
        None => route.name.clone(),
    }
}

/// `outbound|8080|v1|websockets-server.default.svc.cluster.local` (Istio's `BuildSubsetKey`).
fn cluster_name(port: u16, subset: Option<&str>, host: &str) -> String {
    format!("outbound|{port}|{}|{host}", subset.unwrap_or_default())
}

pub(super) fn forward(
    cluster: Result<Cluster, String>,
    timeout: Option<Duration>,
    retry: RetryPolicy,
    rewrite: Rewrite,
) -> RouteAction {
    match cluster {
        Ok(cluster) => RouteAction::Forward { cluster: Box::new(cluster), timeout, retry, rewrite },
        Err(name) => RouteAction::UnknownCluster { name, status: CLUSTER_NOT_FOUND },
    }
}

impl Cluster {
    /// Takes over what a connection pool says beside the protocol, as Istio does for both sides
    /// (`cluster_traffic_policy.go`, `applyConnectionPool`).
    pub(super) fn apply(&mut self, pool: &ConnectionPool) {
        self.connect_timeout = pool.connect_timeout.unwrap_or(self.connect_timeout);
        self.max_concurrent_streams = pool.max_concurrent_streams.unwrap_or(self.max_concurrent_streams);
        // Zero is Envoy's way to turn a timeout off.
        if let Some(timeout) = pool.idle_timeout {
            self.idle_timeout = Some(timeout).filter(|timeout| !timeout.is_zero());
        }
        self.max_connection_duration = pool.max_connection_duration.filter(|duration| !duration.is_zero());
    }
}

/// What is spoken to a Service's port: Istio's `shouldH2Upgrade`, in its order.
pub(super) fn protocol(
    port: PortProtocol,
    pool: Option<&ConnectionPool>,
    mesh: &MeshDefaults,
) -> UpstreamProtocol {
    if matches!(port, PortProtocol::Http2 | PortProtocol::Grpc) {
        return UpstreamProtocol::Http2;
    }
    if pool.is_some_and(|pool| pool.use_client_protocol) {
        return UpstreamProtocol::UseDownstream;
    }
    let upgrade = match pool.map(|pool| pool.h2_upgrade_policy).unwrap_or_default() {
        H2UpgradePolicy::Upgrade => true,
        H2UpgradePolicy::DoNotUpgrade => false,
        // The mesh's default is for ports that are declared to be HTTP.
        H2UpgradePolicy::Default => {
            port == PortProtocol::Http && mesh.h2_upgrade_policy == H2UpgradePolicy::Upgrade
        }
    };
    match port {
        _ if upgrade => UpstreamProtocol::Http2,
        PortProtocol::Detected => UpstreamProtocol::UseDownstream,
        _ => UpstreamProtocol::Http1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_upgrade_to_http2_is_decided_in_istios_order() {
        use PortProtocol::{Detected, Grpc, Http, Http2};
        use UpstreamProtocol::{Http1, UseDownstream};
        let pool = |h2_upgrade_policy, use_client_protocol| {
            Some(ConnectionPool { h2_upgrade_policy, use_client_protocol, ..ConnectionPool::default() })
        };
        let none = None::<ConnectionPool>;
        let default = pool(H2UpgradePolicy::Default, false);
        let upgrade = pool(H2UpgradePolicy::Upgrade, false);
        let do_not = pool(H2UpgradePolicy::DoNotUpgrade, false);
        let client = pool(H2UpgradePolicy::Default, true);
        for (port, pool, by_default, in_upgrading_mesh) in [
            (Http, &none, Http1, UpstreamProtocol::Http2),
            (Http, &default, Http1, UpstreamProtocol::Http2),
            (Http, &upgrade, UpstreamProtocol::Http2, UpstreamProtocol::Http2),
            (Http, &do_not, Http1, Http1),
            (Http, &client, UseDownstream, UseDownstream),
            (Detected, &none, UseDownstream, UseDownstream),
            (Detected, &upgrade, UpstreamProtocol::Http2, UpstreamProtocol::Http2),
            (Detected, &do_not, UseDownstream, UseDownstream),
            (Http2, &none, UpstreamProtocol::Http2, UpstreamProtocol::Http2),
            (Http2, &do_not, UpstreamProtocol::Http2, UpstreamProtocol::Http2),
            (Grpc, &do_not, UpstreamProtocol::Http2, UpstreamProtocol::Http2),
        ] {
            let upgrading = MeshDefaults { h2_upgrade_policy: H2UpgradePolicy::Upgrade };
            assert_eq!(
                protocol(port, pool.as_ref(), &MeshDefaults::default()),
                by_default,
                "{port:?} {pool:?}"
            );
            assert_eq!(protocol(port, pool.as_ref(), &upgrading), in_upgrading_mesh, "{port:?} {pool:?}");
        }
    }
}
