//! Which `DestinationRule` counts for a Service, and what of it for one port and subset.
//!
//! Istio: `pilot/pkg/model/push_context.go` (`destinationRule`), `sidecar.go` (`DestinationRule`),
//! `destination_rule.go` (`mergeDestinationRule`) and `pilot/pkg/networking/util/util.go`
//! (`GetPortLevelTrafficPolicy`, `MergeSubsetTrafficPolicy`).

use super::config::Workload;
use super::document::{
    ConnectionPool, DestinationRule, Documents, ROOT_NAMESPACE, Service, Subset, TrafficPolicy, selects,
};

/// The rules of a namespace for one host, as one.
#[derive(Debug, Default)]
pub(super) struct MergedRule<'d> {
    traffic_policy: Option<&'d TrafficPolicy>,
    subsets: Vec<&'d Subset>,
}

/// The client's point of view: a rule's `workloadSelector` counts for clients alone.
#[derive(Debug, Clone, Copy)]
pub(super) enum ProxySide<'a> {
    /// A client's sidecar, of this workload if it has one.
    Client(Option<&'a Workload>),
    /// A server's sidecar, which takes the connection pool too.
    Server,
}

/// Finds the rule for a Service: in the proxy's namespace, then in the Service's, then in the root
/// namespace. The first namespace that has any rule for the host decides, with the most specific
/// host.
pub(super) fn rule_for<'d>(
    documents: &'d Documents,
    namespace: &str,
    side: ProxySide<'_>,
    service: &Service,
) -> Option<MergedRule<'d>> {
    let candidates = documents.destination_rules_for(&service.host());
    [namespace, service.namespace(), ROOT_NAMESPACE].into_iter().find_map(|place| {
        let visible = candidates.iter().filter(|(_, rule)| {
            rule.metadata.namespace == place
                && (place == namespace || rule.export_to.includes(namespace, place))
        });
        let best = visible.clone().map(|(rank, _)| *rank).max()?;
        let mut rules: Vec<_> = visible.filter(|(rank, _)| *rank == best).map(|(_, rule)| *rule).collect();
        rules.sort_by_key(|rule| rule.metadata.age());
        Some(chosen(&rules, namespace, side))
    })
}

/// Of rules for the same host: the one whose selector selects the client, else those without a
/// selector, merged.
fn chosen<'d>(rules: &[&'d DestinationRule], namespace: &str, side: ProxySide<'_>) -> MergedRule<'d> {
    if let ProxySide::Client(Some(workload)) = side {
        let selecting = rules.iter().find(|rule| {
            let selector = rule.workload_selector.as_ref();
            rule.metadata.namespace == namespace
                && selector.is_some_and(|labels| selects(labels, &workload.labels))
        });
        if let Some(rule) = selecting {
            return merged(&[rule]);
        }
    }
    let general: Vec<_> = rules.iter().copied().filter(|rule| rule.workload_selector.is_none()).collect();
    merged(&general)
}

/// Two rules for one host are one: subsets are put together, the first of a name wins, and so does
/// the first policy.
fn merged<'d>(rules: &[&'d DestinationRule]) -> MergedRule<'d> {
    let mut merged = MergedRule::default();
    for rule in rules {
        merged.traffic_policy = merged.traffic_policy.or(rule.traffic_policy.as_ref());
        for subset in &rule.subsets {
            if !merged.subsets.iter().any(|known| known.name == subset.name) {
                merged.subsets.push(subset);
            }
        }
    }
    merged
}

impl<'d> MergedRule<'d> {
    /// The connection pool for a Service's port.
    pub(super) fn connection_pool(&self, port: u16) -> Option<&'d ConnectionPool> {
        self.traffic_policy.and_then(|policy| at_port(policy, port).0)
    }

    /// The subsets of all these rules, of each name the first.
    pub(super) fn subsets(&self) -> impl Iterator<Item = &'d Subset> {
        self.subsets.iter().copied()
    }

    /// The subset of that name.
    pub(super) fn subset(&self, name: &str) -> Option<&'d Subset> {
        self.subsets.iter().copied().find(|subset| subset.name == name)
    }

    /// The connection pool for a subset's port: a block that the subset has takes the rule's place
    /// whole.
    pub(super) fn connection_pool_of(&self, subset: &'d Subset, port: u16) -> Option<&'d ConnectionPool> {
        match subset.traffic_policy.as_ref().map(|policy| at_port(policy, port)) {
            Some((pool, true)) => pool,
            Some((Some(pool), false)) => Some(pool),
            Some((None, false)) | None => self.connection_pool(port),
        }
    }
}

/// The connection pool of a policy, and whether it comes from `portLevelSettings`. These replace
/// the policy as a whole: what they leave out has Istio's default, whatever the policy says.
fn at_port(policy: &TrafficPolicy, port: u16) -> (Option<&ConnectionPool>, bool) {
    match policy.port_level_settings.iter().find(|settings| settings.port == port) {
        Some(settings) => (settings.connection_pool.as_ref(), true),
        None => (policy.connection_pool.as_ref(), false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::H2UpgradePolicy::{self, Default as ByDefault, DoNotUpgrade, Upgrade};

    const SERVICE: &str = "
apiVersion: v1
kind: Service
metadata: {name: a, namespace: servers}
spec: {ports: [{port: 8080, name: http}, {port: 9090, name: http-other}], selector: {app: a}}
";

    fn rule(name: &str, namespace: &str, spec: &str) -> String {
        format!(
            "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: {spec}\n"
        )
    }

    fn policy(host: &str, policy: &str) -> String {
        format!(
            "{{host: {host}, trafficPolicy: {{connectionPool: {{http: {{h2UpgradePolicy: {policy}}}}}}}}}"
        )
    }

    fn documents(rules: &[String]) -> Documents {
        Documents::parse("test.yaml", &(SERVICE.to_owned() + &rules.concat())).expect("valid documents")
    }

    /// What the rules say for the Service from a namespace; nothing if no rule applies.
    fn seen_from(namespace: &str, rules: &[String]) -> Option<H2UpgradePolicy> {
        let documents = documents(rules);
        let service = documents.service("a").expect("the Service");
        let rule = rule_for(&documents, namespace, ProxySide::Client(None), service)?;
        rule.connection_pool(8080).map(|pool| pool.h2_upgrade_policy)
    }

    #[test]
    fn the_clients_namespace_comes_before_the_services_and_that_before_the_root_namespace() {
        let full = "a.servers.svc.cluster.local";
        let client = rule("r", "clients", &policy(full, "UPGRADE"));
        let server = rule("r", "servers", &policy("a", "DO_NOT_UPGRADE"));
        let root = rule("r", "istio-system", &policy("'*'", "DEFAULT"));
        let all = [client, server, root];
        assert_eq!(seen_from("clients", &all), Some(Upgrade));
        assert_eq!(seen_from("elsewhere", &all), Some(DoNotUpgrade));
        assert_eq!(seen_from("servers", &all), Some(DoNotUpgrade));
        assert_eq!(seen_from("clients", &all[1..]), Some(DoNotUpgrade));
        assert_eq!(seen_from("clients", &all[2..]), Some(ByDefault));
        assert_eq!(seen_from("clients", &[]), None);
    }

    #[test]
    fn a_short_host_names_a_service_in_the_rules_own_namespace() {
        assert_eq!(seen_from("clients", &[rule("r", "clients", &policy("a", "UPGRADE"))]), None);
        assert_eq!(seen_from("clients", &[rule("r", "clients", &policy("a.servers", "UPGRADE"))]), None);
        assert_eq!(seen_from("servers", &[rule("r", "servers", &policy("a", "UPGRADE"))]), Some(Upgrade));
    }

    #[test]
    fn within_a_namespace_the_most_specific_host_wins_but_never_over_an_earlier_namespace() {
        let wide = rule("wide", "clients", &policy("'*.cluster.local'", "DO_NOT_UPGRADE"));
        let exact = rule("exact", "clients", &policy("a.servers.svc.cluster.local", "UPGRADE"));
        assert_eq!(seen_from("clients", &[wide.clone(), exact]), Some(Upgrade));
        let of_service = rule("exact", "servers", &policy("a", "UPGRADE"));
        assert_eq!(seen_from("clients", &[wide, of_service]), Some(DoNotUpgrade));
    }

    #[test]
    fn a_rule_that_is_not_exported_does_not_reach_clients_elsewhere() {
        let spec = policy("a", "UPGRADE").replacen('{', "{exportTo: [.], ", 1);
        let rules = [rule("r", "servers", &spec)];
        assert_eq!(seen_from("servers", &rules), Some(Upgrade));
        assert_eq!(seen_from("clients", &rules), None);
    }

    #[test]
    fn rules_for_the_same_host_are_merged_and_the_first_policy_and_subset_win() {
        let subsets = |http: &str| {
            format!(
                "{{host: a, subsets: [{{name: v1, trafficPolicy: {{connectionPool: {{http: {http}}}}}}}]}}"
            )
        };
        let rules = [
            rule("b", "servers", &policy("a", "DO_NOT_UPGRADE")),
            rule("a", "servers", &subsets("{h2UpgradePolicy: UPGRADE}")),
            rule("c", "servers", &subsets("{h2UpgradePolicy: DO_NOT_UPGRADE}")),
            rule("d", "servers", &policy("a", "UPGRADE")),
        ];
        let documents = documents(&rules);
        let service = documents.service("a").expect("the Service");
        let rule = rule_for(&documents, "clients", ProxySide::Client(None), service).expect("a rule");
        assert_eq!(rule.connection_pool(8080).map(|pool| pool.h2_upgrade_policy), Some(DoNotUpgrade));
        let of_subset = rule.connection_pool_of(rule.subset("v1").expect("the subset"), 8080);
        assert_eq!(of_subset.map(|pool| pool.h2_upgrade_policy), Some(Upgrade));
    }

    #[test]
    fn a_rule_with_a_workload_selector_is_for_the_clients_that_it_selects() {
        let selecting =
            policy("a", "UPGRADE").replacen('{', "{workloadSelector: {matchLabels: {app: chat}}, ", 1);
        let documents = documents(&[
            rule("a", "servers", &selecting),
            rule("b", "servers", &policy("a", "DO_NOT_UPGRADE")),
        ]);
        let service = documents.service("a").expect("the Service");
        let workload = |app: &str| Workload {
            name: "client".to_owned(),
            namespace: "servers".to_owned(),
            labels: [("app".to_owned(), app.to_owned())].into(),
            service_account: "default".to_owned(),
        };
        let (chat, other) = (workload("chat"), workload("other"));
        for (side, expected) in [
            (ProxySide::Client(Some(&chat)), Upgrade),
            (ProxySide::Client(Some(&other)), DoNotUpgrade),
            (ProxySide::Client(None), DoNotUpgrade),
            (ProxySide::Server, DoNotUpgrade),
        ] {
            let rule = rule_for(&documents, "servers", side, service).expect("a rule");
            assert_eq!(
                rule.connection_pool(8080).map(|pool| pool.h2_upgrade_policy),
                Some(expected),
                "{side:?}"
            );
        }
    }

    /// A rule with a policy, and with a subset `v1` with a policy.
    fn with_subset(of_rule: &str, of_subset: &str) -> Documents {
        let spec = format!(
            "{{host: a, trafficPolicy: {of_rule}, subsets: [{{name: v1, labels: {{v: '1'}}, trafficPolicy: {of_subset}}}]}}"
        );
        documents(&[rule("r", "servers", &spec)])
    }

    #[test]
    fn port_level_settings_replace_the_policy_of_their_service_port_whole() {
        let upgrade = "connectionPool: {http: {h2UpgradePolicy: UPGRADE}}";
        let at_port = |number, settings| {
            format!("{{{upgrade}, portLevelSettings: [{{port: {{number: {number}}}{settings}}}]}}")
        };
        let streams = ", connectionPool: {http: {maxConcurrentStreams: 5}}";
        for (policy, expected) in [
            (at_port(9090, streams), Some((Upgrade, None))),
            (at_port(80, streams), Some((Upgrade, None))), // the target port is not looked at
            (at_port(8080, streams), Some((ByDefault, Some(5)))),
            (at_port(8080, ""), None),
        ] {
            let documents = with_subset(&policy, "{}");
            let service = documents.service("a").expect("the Service");
            let rule = rule_for(&documents, "servers", ProxySide::Client(None), service).expect("a rule");
            let pool =
                rule.connection_pool(8080).map(|pool| (pool.h2_upgrade_policy, pool.max_concurrent_streams));
            assert_eq!(pool, expected, "{policy}");
        }
    }

    #[test]
    fn a_subsets_connection_pool_replaces_the_rules_whole() {
        let upgrade = "{connectionPool: {http: {h2UpgradePolicy: UPGRADE}}}";
        let port_level = "{portLevelSettings: [{port: {number: 8080}}]}";
        for (of_subset, expected) in [
            ("{}", Some(Upgrade)),
            ("{connectionPool: {http: {h2UpgradePolicy: DO_NOT_UPGRADE}}}", Some(DoNotUpgrade)),
            ("{connectionPool: {http: {maxConcurrentStreams: 5}}}", Some(ByDefault)),
            ("{connectionPool: {tcp: {connectTimeout: 1s}}}", Some(ByDefault)),
            (port_level, None),
        ] {
            let documents = with_subset(upgrade, of_subset);
            let service = documents.service("a").expect("the Service");
            let rule = rule_for(&documents, "servers", ProxySide::Client(None), service).expect("a rule");
            let pool = rule.connection_pool_of(rule.subset("v1").expect("the subset"), 8080);
            assert_eq!(pool.map(|pool| pool.h2_upgrade_policy), expected, "{of_subset}");
            assert!(rule.subset("v2").is_none());
        }
    }
}
