//! Which `EnvoyFilter` patches apply to a proxy's HTTP connection manager and its routes, and in
//! which order.
//!
//! Istio: `pilot/pkg/model/push_context.go` (`EnvoyFilters`), `envoyfilter.go` (`proxyMatch`) and
//! `pilot/pkg/networking/core/envoyfilter/listener_patch.go`.

use std::fmt;

use regex::Regex;

use super::config::{HttpConnectionManager, VirtualHost, Workload};
use super::document::{
    Documents, EnvoyFilter, ListenerMatch, PatchContext, PatchedRoute, ROOT_NAMESPACE, selects,
};

/// The HTTP connection manager that patches may be for.
#[derive(Debug)]
pub(super) struct PatchTarget<'a> {
    /// The proxy's namespace, whose filters apply beside those of the root namespace.
    pub(super) namespace: &'a str,
    /// What the proxy belongs to; without it, no selector matches.
    pub(super) workload: Option<&'a Workload>,
    /// `ISTIO_VERSION` in the proxy's metadata.
    pub(super) istio_version: &'a str,
    /// Which side the proxy is on.
    pub(super) direction: TargetListener,
}

/// The listener and the filter chain of an HTTP connection manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum TargetListener {
    /// `0.0.0.0_PORT`, of a Service's port; its only chain has neither a name nor a condition.
    Outbound(u16),
    /// `virtualInbound`, in it the chain `0.0.0.0_PORT` for a target port.
    Inbound(u16),
    /// A gateway's `0.0.0.0_PORT`, of the port that it is bound to.
    Gateway(u16),
}

/// Merges all patches for the target into its HTTP connection manager.
pub(super) fn apply(documents: &Documents, target: &PatchTarget<'_>, manager: &mut HttpConnectionManager) {
    for patch in target.filters(documents).iter().flat_map(|filter| &filter.patches) {
        if target.direction.is_in(patch.context)
            && is_for_version(patch.proxy_version.as_ref(), target.istio_version)
            && target.direction.matches(&patch.listener)
        {
            patch.value.merge_into(manager);
        }
    }
}

/// Merges all patches for the target into the routes of its virtual hosts, which are in the route
/// configuration of that name for that port, and of that `Gateway` in a gateway.
pub(super) fn apply_to_routes(
    documents: &Documents,
    target: &PatchTarget<'_>,
    (configuration, port, gateway): (&str, u16, Option<&str>),
    virtual_hosts: &mut [VirtualHost],
) {
    let filters = target.filters(documents);
    let patches = || {
        filters.iter().flat_map(|filter| &filter.route_patches).filter(|patch| {
            target.direction.is_in(patch.context)
                && is_for_version(patch.proxy_version.as_ref(), target.istio_version)
        })
    };
    for VirtualHost { name, domains, routes, .. } in virtual_hosts {
        let of = PatchedRoute { configuration, port, gateway, virtual_host: name, domains };
        for route in routes {
            patches().for_each(|patch| patch.merge_into(route, of));
        }
    }
}

/// Whether a patch for proxies whose version has this pattern in it is for that version.
pub(super) fn is_for_version(pattern: Option<&Regex>, istio_version: &str) -> bool {
    pattern.is_none_or(|pattern| {
        // A proxy that does not say its version has none that could be right.
        !istio_version.is_empty() && pattern.is_match(istio_version)
    })
}

impl PatchTarget<'_> {
    /// The filters that are for this proxy, in the order in which they apply.
    fn filters<'d>(&self, documents: &'d Documents) -> Vec<&'d EnvoyFilter> {
        let labels = self.workload.map(|workload| &workload.labels);
        let mut filters = documents.envoy_filters_for([ROOT_NAMESPACE, self.namespace], labels);
        filters.retain(|filter| self.is_selected_by(filter));
        filters.sort_by_key(|filter| {
            (filter.priority, filter.metadata.namespace != ROOT_NAMESPACE, filter.metadata.age())
        });
        filters
    }

    /// Whether the filter is for this proxy: in its namespace or in the root namespace, with a
    /// selector, if any, whose labels are all on the workload.
    pub(super) fn is_selected_by(&self, filter: &EnvoyFilter) -> bool {
        let namespace = &filter.metadata.namespace;
        let selected = match self.workload {
            Some(workload) => selects(&filter.workload_selector, &workload.labels),
            None => filter.workload_selector.is_empty(),
        };
        (namespace == ROOT_NAMESPACE || namespace == self.namespace) && selected
    }
}

impl fmt::Display for TargetListener {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Outbound(port) | Self::Gateway(port) => write!(formatter, "0.0.0.0_{port}"),
            Self::Inbound(port) => write!(formatter, "virtualInbound with the chain 0.0.0.0_{port}"),
        }
    }
}

impl TargetListener {
    /// Whether patches of that context are for this side.
    pub(super) fn is_in(self, context: PatchContext) -> bool {
        match context {
            PatchContext::Any => true,
            PatchContext::SidecarInbound => matches!(self, Self::Inbound(_)),
            PatchContext::SidecarOutbound => matches!(self, Self::Outbound(_)),
            PatchContext::Gateway => matches!(self, Self::Gateway(_)),
            PatchContext::Waypoint => false,
        }
    }

    /// Whether the listener and its chain are the ones that are meant.
    pub(super) fn matches(self, listener: &ListenerMatch) -> bool {
        let (name, port, chain, destination_port) = match self {
            Self::Outbound(port) | Self::Gateway(port) => (format!("0.0.0.0_{port}"), port, None, None),
            Self::Inbound(port) => {
                ("virtualInbound".to_owned(), port, Some(format!("0.0.0.0_{port}")), Some(port))
            }
        };
        listener.name.as_ref().is_none_or(|wanted| *wanted == name)
            && listener.port_number.is_none_or(|wanted| wanted == port)
            && (listener.filter_chain_name.is_none() || listener.filter_chain_name == chain)
            && (listener.destination_port.is_none() || listener.destination_port == destination_port)
            && (!listener.is_for_tls || matches!(self, Self::Inbound(_)))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    const NAME: &str = "envoy.filters.network.http_connection_manager";
    const TYPE: &str = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";

    /// An `EnvoyFilter` with one patch.
    struct Filter {
        metadata: &'static str,
        spec: &'static str,
        matching: String,
        type_url: &'static str,
        config: &'static str,
    }

    impl Default for Filter {
        fn default() -> Self {
            Self {
                metadata: "name: f",
                spec: "",
                matching: String::new(),
                type_url: TYPE,
                config: "http2_protocol_options: {allow_connect: true}",
            }
        }
    }

    impl Filter {
        fn matching(matching: &str) -> Self {
            Self { matching: format!("match: {{{matching}}}, "), ..Self::default() }
        }

        fn config(metadata: &'static str, config: &'static str) -> Self {
            Self { metadata, config, ..Self::default() }
        }

        fn yaml(&self) -> String {
            let Self { metadata, spec, matching, type_url, config } = self;
            format!(
                "---\n{{apiVersion: networking.istio.io/v1alpha3, kind: EnvoyFilter, metadata: {{{metadata}}}, spec: {{{spec}
                 configPatches: [{{applyTo: NETWORK_FILTER, {matching}patch: {{operation: MERGE,
                 value: {{typed_config: {{'@type': {type_url}, {config}}}}}}}}}]}}}}\n"
            )
        }
    }

    /// The inbound connection manager of the workload `app: a` in `default`, at target port 80,
    /// after the filters.
    fn patched(filters: &[Filter]) -> HttpConnectionManager {
        patched_at(filters, TargetListener::Inbound(80), "1.27.0")
    }

    fn patched_at(
        filters: &[Filter],
        direction: TargetListener,
        istio_version: &str,
    ) -> HttpConnectionManager {
        let text: String = filters.iter().map(Filter::yaml).collect();
        let documents = Documents::parse("test.yaml", &text).expect("valid documents");
        let workload = Workload {
            name: "a".to_owned(),
            namespace: "default".to_owned(),
            labels: [("app", "a"), ("version", "v1")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            service_account: "default".to_owned(),
        };
        let target =
            PatchTarget { namespace: "default", workload: Some(&workload), istio_version, direction };
        let mut manager = HttpConnectionManager::inbound();
        apply(&documents, &target, &mut manager);
        manager
    }

    #[test]
    fn a_filter_is_for_its_own_namespace_or_from_the_root_namespace_for_all() {
        for (metadata, expected) in [
            ("name: f", true),
            ("name: f, namespace: default", true),
            ("name: f, namespace: istio-system", true),
            ("name: f, namespace: chat", false),
        ] {
            assert_eq!(
                patched(&[Filter { metadata, ..Filter::default() }]).allow_connect,
                expected,
                "{metadata}"
            );
        }
    }

    #[test]
    fn all_labels_of_the_selector_must_be_on_the_workload() {
        for (spec, expected) in [
            ("workloadSelector: {labels: {app: a}},", true),
            ("workloadSelector: {labels: {app: a, version: v1}},", true),
            ("workloadSelector: {labels: {app: a, version: v2}},", false),
            ("workloadSelector: {labels: {app: b}},", false),
            ("workloadSelector: {labels: {tier: a}},", false),
            ("workloadSelector: {},", true),
        ] {
            assert_eq!(patched(&[Filter { spec, ..Filter::default() }]).allow_connect, expected, "{spec}");
        }
    }

    #[test]
    fn without_a_workload_no_selector_matches() {
        let selecting = Filter { spec: "workloadSelector: {labels: {app: a}},", ..Filter::default() };
        for (filter, expected) in [(selecting, false), (Filter::default(), true)] {
            let documents = Documents::parse("test.yaml", &filter.yaml()).expect("valid documents");
            let direction = TargetListener::Inbound(80);
            let target =
                PatchTarget { namespace: "default", workload: None, istio_version: "1.27.0", direction };
            let mut manager = HttpConnectionManager::inbound();
            apply(&documents, &target, &mut manager);
            assert_eq!(manager.allow_connect, expected);
        }
    }

    #[test]
    fn the_context_chooses_the_side() {
        for (matching, inbound, outbound) in [
            ("context: SIDECAR_INBOUND", true, false),
            ("context: SIDECAR_OUTBOUND", false, true),
            ("context: ANY", true, true),
            ("context: GATEWAY", false, false),
            ("", true, true),
        ] {
            for (direction, expected) in
                [(TargetListener::Inbound(80), inbound), (TargetListener::Outbound(8080), outbound)]
            {
                let manager = patched_at(&[Filter::matching(matching)], direction, "1.27.0");
                assert_eq!(manager.allow_connect, expected, "{matching} {direction:?}");
            }
        }
        assert!(patched(&[Filter::default()]).allow_connect, "no match at all");
    }

    #[test]
    fn the_proxy_version_is_searched_for_not_matched_whole() {
        for (pattern, version, expected) in [
            (r"^1\.*.*", "1.27.0", true), // the guide's
            (r"^1\.*.*", "10.0", true),
            (r"^1\.*.*", "2.0.0", false),
            (r"1\.27", "1.27.0", true),
            ("27", "1.27.0", true),
            (r"^1\.16.*", "1.27.0", false),
            (r"^1\.27$", "1.27.0", false),
            ("", "1.27.0", true),
            (r"^1\.*.*", "", false),
            (".*", "", false),
        ] {
            let filters = [Filter::matching(&format!("proxy: {{proxyVersion: '{pattern}'}}"))];
            let manager = patched_at(&filters, TargetListener::Inbound(80), version);
            assert_eq!(manager.allow_connect, expected, "{pattern:?} {version:?}");
        }
    }

    #[test]
    fn the_listener_must_be_the_one_named_and_the_filter_name_exact() {
        let another_filter = "filterChain: {filter: {name: envoy.http_connection_manager}}";
        for (listener, inbound, outbound) in [
            (&*format!("filterChain: {{filter: {{name: {NAME}}}}}"), true, true),
            (another_filter, false, false),
            ("filterChain: {filter: {name: envoy.filters.network.http_connection_manager2}}", false, false),
            ("name: virtualInbound", true, false),
            ("name: 0.0.0.0_8080", false, true),
            ("portNumber: 80", true, false),
            ("portNumber: 8080", false, true),
            ("filterChain: {name: 0.0.0.0_80}", true, false),
            ("filterChain: {destinationPort: 80}", true, false),
            ("filterChain: {destinationPort: 81}", false, false),
            ("filterChain: {transportProtocol: tls}", true, false),
            ("filterChain: {transportProtocol: raw_buffer}", false, false),
            ("filterChain: {transportProtocol: ''}", true, true),
            ("filterChain: {sni: a}", false, false),
        ] {
            let matching = format!("listener: {{{listener}}}");
            for (direction, expected) in
                [(TargetListener::Inbound(80), inbound), (TargetListener::Outbound(8080), outbound)]
            {
                let manager = patched_at(&[Filter::matching(&matching)], direction, "1.27.0");
                assert_eq!(manager.allow_connect, expected, "{listener} {direction:?}");
            }
        }
    }

    #[test]
    fn a_merge_leaves_everything_else_alone() {
        let mut manager = patched(&[Filter::default()]);
        let written = json!({"@type": TYPE, "http2_protocol_options": {"allow_connect": true}});
        assert_eq!(std::mem::take(&mut manager.patches), [written]);
        let mut expected = HttpConnectionManager::inbound();
        expected.allow_connect = true;
        assert_eq!(manager, expected);
    }

    #[test]
    fn a_merge_overwrites_what_is_set_appends_to_lists_and_replaces_durations() {
        let mut manager = patched(&[Filter {
            config: "http2_protocol_options: {max_concurrent_streams: 2, initial_stream_window_size: 65535,
                initial_connection_window_size: '131072'}, stream_idle_timeout: 1.5s, delayed_close_timeout: 0.3s,
                common_http_protocol_options: {max_stream_duration: 2s},
                upgrade_configs: [{upgrade_type: foo}, {upgrade_type: bar, enabled: false}]",
            ..Filter::default()
        }]);
        let expected = HttpConnectionManager {
            max_concurrent_streams: 2,
            initial_stream_window_size: 65_535,
            initial_connection_window_size: 131_072,
            stream_idle_timeout: Some(Duration::from_millis(1500)),
            max_stream_duration: Some(Duration::from_secs(2)),
            delayed_close_timeout: Duration::from_millis(300),
            upgrade_types: vec!["websocket".to_owned(), "foo".to_owned()],
            ..HttpConnectionManager::inbound()
        };
        assert_eq!(std::mem::take(&mut manager.patches).len(), 1);
        assert_eq!(manager, expected);
    }

    #[test]
    fn field_names_may_be_protobufs_or_its_json_names() {
        let config = "http2ProtocolOptions: {allowConnect: true}, streamIdleTimeout: 2s";
        let manager = patched(&[Filter { config, ..Filter::default() }]);
        assert_eq!(
            (manager.allow_connect, manager.stream_idle_timeout),
            (true, Some(Duration::from_secs(2)))
        );
    }

    #[test]
    fn a_timeout_of_zero_turns_it_off() {
        let config = "stream_idle_timeout: 0s, delayed_close_timeout: 0s, \
                      common_http_protocol_options: {max_stream_duration: 0s}";
        let manager = patched(&[Filter { config, ..Filter::default() }]);
        assert_eq!((manager.stream_idle_timeout, manager.max_stream_duration), (None, None));
        assert_eq!(manager.delayed_close_timeout, Duration::ZERO);
    }

    #[test]
    fn several_filters_are_merged_one_after_another_and_false_is_no_value() {
        let manager = patched(&[
            Filter::config(
                "name: a",
                "http2_protocol_options: {allow_connect: true}, stream_idle_timeout: 1s",
            ),
            Filter::config(
                "name: b",
                "http2_protocol_options: {allow_connect: false}, stream_idle_timeout: 2s",
            ),
        ]);
        assert_eq!(
            (manager.allow_connect, manager.stream_idle_timeout),
            (true, Some(Duration::from_secs(2)))
        );
    }

    #[test]
    fn filters_go_by_priority_then_root_namespace_then_age_then_name() {
        let filter = |metadata, spec, config| Filter { metadata, spec, config, ..Filter::default() };
        let seconds = |filters: &[Filter]| patched(filters).stream_idle_timeout.expect("on").as_secs();
        let (one, two) = ("stream_idle_timeout: 1s", "stream_idle_timeout: 2s");
        // The last one wins, so each pair is written in the wrong order.
        assert_eq!(seconds(&[filter("name: a", "priority: 1,", two), filter("name: b", "", one)]), 2);
        assert_eq!(seconds(&[filter("name: a", "", two), filter("name: b", "priority: -1,", one)]), 2);
        let root = "name: b, namespace: istio-system";
        assert_eq!(seconds(&[filter("name: a", "", two), filter(root, "", one)]), 2);
        let (old, new) = (
            "name: b, creationTimestamp: '2024-01-01T00:00:00Z'",
            "name: a, creationTimestamp: '2025-01-01T00:00:00Z'",
        );
        assert_eq!(seconds(&[filter(new, "", two), filter(old, "", one)]), 2);
        assert_eq!(seconds(&[filter("name: b", "", two), filter("name: a", "", one)]), 2);
    }

    #[test]
    fn another_type_keeps_the_original() {
        for type_url in [
            "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
            "type.googleapis.com/envoy.config.filter.network.http_connection_manager.v2.HttpConnectionManager",
            "HttpConnectionManager",
        ] {
            let manager = patched(&[Filter { type_url, ..Filter::default() }]);
            assert_eq!(manager, HttpConnectionManager::inbound(), "{type_url}");
        }
    }
}
