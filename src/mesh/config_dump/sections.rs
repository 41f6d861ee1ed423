//! The sections of a dump, and the resources in them: which are in force, which are on their way,
//! which were refused.

use super::{Noted, items_at, text_at};
use crate::yaml::NodeRef;

/// The resources of a dump.
#[derive(Default)]
pub(super) struct Sections<'d> {
    bootstrap: Option<NodeRef<'d>>,
    /// Each with whether it is in force by itself (static) or came from a control plane.
    pub(super) listeners: Vec<(NodeRef<'d>, &'static str)>,
    pub(super) clusters: Vec<NodeRef<'d>>,
    pub(super) routes: Vec<NodeRef<'d>>,
    pub(super) scopes: Vec<NodeRef<'d>>,
    pub(super) endpoints: Vec<NodeRef<'d>>,
    /// HTTP filters by ECDS.
    pub(super) extensions: Vec<NodeRef<'d>>,
    pub(super) has_clusters: bool,
    /// Whether the dump has all route configurations, so that one that is missing is missing in the
    /// proxy.
    pub(super) has_routes: bool,
    pub(super) rejected: Vec<Noted>,
    pub(super) warming: Vec<Noted>,
    pub(super) unread: Vec<Noted>,
    /// How many items of the dump are of a known type.
    pub(super) known: usize,
}

impl<'d> Sections<'d> {
    pub(super) fn of(configs: NodeRef<'d>) -> Self {
        let mut sections = Self::default();
        for config in configs.items() {
            let Some(url) = text_at(config, "@type") else { continue };
            let kind = url.rsplit('/').next().unwrap_or(url);
            let kind = kind.strip_prefix("envoy.admin.").and_then(|kind| kind.split_once('.'));
            let Some((_, kind)) = kind else {
                sections
                    .unread
                    .push(Noted::new(config.place(), format!("a section of the type {url} is not read")));
                continue;
            };
            sections.known += 1;
            sections.section(kind, config);
        }
        // A bootstrap's own resources are repeated by the other sections, where there are any.
        if let Some(resources) = sections.bootstrap.and_then(|bootstrap| bootstrap.at("staticResources")) {
            if sections.listeners.is_empty() {
                sections
                    .listeners
                    .extend(items_at(resources, "listeners").map(|listener| (listener, "static")));
            }
            if sections.clusters.is_empty() {
                sections.clusters.extend(items_at(resources, "clusters"));
                sections.has_clusters = !sections.clusters.is_empty() && !sections.is_dynamic();
            }
        }
        sections
    }

    /// Whether clusters also come from a control plane.
    fn is_dynamic(&self) -> bool {
        self.bootstrap.is_some_and(|bootstrap| bootstrap.at("dynamicResources").is_some())
    }

    pub(super) fn node(&self) -> Option<NodeRef<'d>> {
        self.bootstrap?.at("node")
    }

    fn section(&mut self, kind: &str, config: NodeRef<'d>) {
        match kind {
            "BootstrapConfigDump" => self.bootstrap = config.at("bootstrap"),
            "ListenersConfigDump" => {
                for item in items_at(config, "staticListeners") {
                    self.static_listener(item);
                }
                for item in items_at(config, "dynamicListeners") {
                    self.dynamic_listener(item);
                }
            }
            // Single resources, as `/config_dump?resource=` prints them.
            "ListenersConfigDump.StaticListener" => self.static_listener(config),
            "ListenersConfigDump.DynamicListener" => self.dynamic_listener(config),
            "ClustersConfigDump" => {
                self.has_clusters = true;
                for list in ["staticClusters", "dynamicActiveClusters"] {
                    for item in items_at(config, list) {
                        self.cluster(item);
                    }
                }
                for item in items_at(config, "dynamicWarmingClusters") {
                    self.errors("cluster", item, item.at("cluster"));
                    self.warms("cluster", item.at("cluster"), item);
                }
            }
            "ClustersConfigDump.StaticCluster" | "ClustersConfigDump.DynamicCluster" => self.cluster(config),
            "RoutesConfigDump" => {
                self.has_routes = true;
                for list in ["staticRouteConfigs", "dynamicRouteConfigs"] {
                    for item in items_at(config, list) {
                        self.route(item);
                    }
                }
            }
            "RoutesConfigDump.StaticRouteConfig" | "RoutesConfigDump.DynamicRouteConfig" => {
                self.route(config);
            }
            "ScopedRoutesConfigDump" => {
                for list in ["inlineScopedRouteConfigs", "dynamicScopedRouteConfigs"] {
                    for item in items_at(config, list) {
                        self.errors("scoped routes", item, Some(item));
                        self.scopes.push(item);
                    }
                }
            }
            "EndpointsConfigDump" => {
                for list in ["staticEndpointConfigs", "dynamicEndpointConfigs"] {
                    for item in items_at(config, list) {
                        self.errors("endpoints", item, item.at("endpointConfig"));
                        self.endpoints.extend(item.at("endpointConfig"));
                    }
                }
            }
            "EcdsConfigDump" => {
                for item in items_at(config, "ecdsFilters") {
                    self.errors("filter", item, item.at("ecdsFilter"));
                    self.extensions.extend(item.at("ecdsFilter"));
                }
            }
            // Of secrets not even an update's error is shown.
            _ if kind.starts_with("SecretsConfigDump") => {}
            _ => {
                let what = format!("a section of the type {kind} is not read");
                self.unread.push(Noted::new(config.place(), what));
            }
        }
    }

    fn static_listener(&mut self, item: NodeRef<'d>) {
        self.listeners.extend(item.at("listener").map(|listener| (listener, "static")));
    }

    fn dynamic_listener(&mut self, item: NodeRef<'d>) {
        self.errors("listener", item, Some(item));
        self.listeners.extend(item.at("activeState.listener").map(|listener| (listener, "active")));
        if let Some(warming) = item.at("warmingState") {
            self.warms("listener", Some(item), warming);
            if item.at("activeState").is_none() {
                self.listeners.extend(warming.at("listener").map(|listener| (listener, "warming")));
            }
        }
        if let Some(draining) = item.at("drainingState.listener").filter(|_| item.at("activeState").is_none())
        {
            self.listeners.push((draining, "draining"));
        }
    }

    fn cluster(&mut self, item: NodeRef<'d>) {
        self.errors("cluster", item, item.at("cluster"));
        self.clusters.extend(item.at("cluster"));
    }

    fn route(&mut self, item: NodeRef<'d>) {
        self.errors("route configuration", item, item.at("routeConfig"));
        self.routes.extend(item.at("routeConfig"));
    }

    /// Notes an update that was refused.
    fn errors(&mut self, what: &str, item: NodeRef<'d>, named: Option<NodeRef<'d>>) {
        let Some(error) = item.at("errorState") else { return };
        // Of what was refused whole the name is in what was refused alone.
        let refused = error.at("failedConfiguration").and_then(name_of);
        let name = named.and_then(name_of).or(refused).unwrap_or("without a name");
        let details = text_at(error, "details").unwrap_or("Envoy says no reason");
        let what = format!("an update of the {what} {name} was refused: {details}");
        self.rejected.push(Noted::new(error.place(), what));
    }

    fn warms(&mut self, what: &str, named: Option<NodeRef<'d>>, at: NodeRef<'d>) {
        let name = named.and_then(name_of).unwrap_or("without a name");
        self.warming
            .push(Noted::new(at.place(), format!("the {what} {name} is warming: it is not in force yet")));
    }
}

fn name_of(resource: NodeRef<'_>) -> Option<&str> {
    text_at(resource, "name").or_else(|| text_at(resource, "clusterName"))
}
