//! Small dumps, read: their forms, their defaults, and what of them is never shown.

use super::*;

const MANAGER: &str =
    "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";

fn read(configs: &str) -> DumpedProxy {
    let text = Text::new("dump.json", format!(r#"{{"configs": [{configs}]}}"#));
    DumpedProxy::read(&text, None).expect("a dump").remove(0)
}

fn listener(manager: &str) -> String {
    format!(
        r#"{{"@type": "type.googleapis.com/envoy.admin.v3.ListenersConfigDump", "dynamic_listeners": [
        {{"name": "l", "active_state": {{"listener": {{"name": "l", "filter_chains": [{{"filters": [
        {{"name": "h", "typed_config": {{"@type": "{MANAGER}", {manager}}}}}]}}]}}}}}}]}}"#
    )
}

fn cluster(fields: &str) -> DumpedCluster {
    let dump = format!(
        r#"{{"@type": "type.googleapis.com/envoy.admin.v3.ClustersConfigDump",
        "static_clusters": [{{"cluster": {{"name": "c", {fields}}}}}]}}"#
    );
    read(&dump).clusters.pop().expect("a cluster")
}

#[test]
fn a_route_decides_over_upgrades_before_its_connection_manager() {
    let manager = r#""upgrade_configs": [{"upgrade_type": "WebSocket"}], "route_config": {"virtual_hosts": [{"name": "v",
        "routes": [{"match": {"prefix": "/a"}, "route": {"cluster": "c"}},
        {"match": {"prefix": "/b"}, "route": {"cluster": "c", "upgrade_configs":
        [{"upgrade_type": "websocket", "enabled": false}]}}]}]}"#;
    let proxy = read(&listener(manager));
    let routes = proxy.listeners[0].managers[0].routes.as_ref().expect("routes");
    assert_eq!(routes[0].taken, UpgradeTaken::Yes);
    assert!(matches!(routes[1].taken, UpgradeTaken::SwitchedOff(_)));
    // Nothing is set, and Envoy's defaults are in force.
    let idle = routes[0].idle_timeout.as_ref().expect("five minutes");
    assert_eq!((idle.duration, idle.is_default), (Duration::from_secs(300), true));
    let manager = r#""stream_idle_timeout": "0s", "route_config": {"virtual_hosts": [{"name": "v", "routes": [
        {"match": {"prefix": "/"}, "route": {"cluster": "c", "upgrade_configs": [{"upgrade_type": "websocket"}]}},
        {"match": {"prefix": "/b"}, "route": {"cluster": "c", "idle_timeout": "7s"}}]}]}"#;
    let proxy = read(&listener(manager));
    let routes = proxy.listeners[0].managers[0].routes.as_ref().expect("routes");
    assert_eq!([&routes[0].taken, &routes[1].taken], [&UpgradeTaken::Yes, &UpgradeTaken::NotEnabled]);
    assert_eq!(routes[0].idle_timeout, None);
    assert_eq!(routes[1].idle_timeout.as_ref().expect("set").duration, Duration::from_secs(7));
}

#[test]
fn routes_by_rds_are_those_of_the_dump_and_missing_ones_are_named() {
    let by_rds =
        listener(r#""upgrade_configs": [{"upgrade_type": "websocket"}], "rds": {"route_config_name": "r"}"#);
    let routes = r#"{"@type": "type.googleapis.com/envoy.admin.v3.RoutesConfigDump", "dynamic_route_configs": [
        {"route_config": {"name": "r", "virtual_hosts": [{"name": "v", "routes": [{"route": {"cluster": "c"}}]}]}}]}"#;
    let proxy = read(&format!("{by_rds}, {routes}"));
    assert_eq!(proxy.listeners[0].managers[0].routes.as_ref().map(Vec::len), Some(1));
    assert!(proxy.unread.is_empty(), "{:?}", proxy.unread);
    let proxy = read(&by_rds);
    assert!(proxy.listeners[0].managers[0].routes.is_none());
    assert_eq!(proxy.unread[0].what, "the dump does not have the route configuration r");
    // With all routes in the dump the proxy does not have them.
    let others = routes.replace(r#""name": "r""#, r#""name": "other""#);
    let proxy = read(&format!("{by_rds}, {others}"));
    assert_eq!((proxy.unread.len(), proxy.warming.len()), (0, 1));
    // Of a listener that takes no connections any more nothing is missed.
    let draining = by_rds.replace("active_state", "draining_state");
    let proxy = read(&format!("{draining}, {others}"));
    assert_eq!((proxy.unread.len(), proxy.warming.len()), (0, 0));
}

#[test]
fn what_was_refused_is_named_also_where_the_whole_update_was() {
    let refused = |name: &str| {
        format!(
            r#"{{{name}"error_state": {{"failed_configuration": {{"name": "l"}}, "details": "no such filter"}}}}"#
        )
    };
    let (alone, whole) = (refused(r#""name": "l", "#), refused(""));
    let proxy = read(&format!(
        r#"{{"@type": "type.googleapis.com/envoy.admin.v3.ListenersConfigDump", "dynamic_listeners": [{alone}, {whole}]}}"#
    ));
    let said: Vec<_> = proxy.rejected.iter().map(|rejected| &*rejected.what).collect();
    assert_eq!(said, ["an update of the listener l was refused: no such filter"; 2]);
}

#[test]
fn what_a_cluster_speaks_is_said_in_the_old_way_or_in_the_new_one() {
    let options = |said: &str| {
        format!(
            r#""typed_extension_protocol_options": {{"envoy.extensions.upstreams.http.v3.HttpProtocolOptions":
            {{"@type": "x", {said}}}}}"#
        )
    };
    for (fields, protocol) in [
        (r#""type": "STATIC""#.to_owned(), DumpedProtocol::Http1),
        (r#""http2_protocol_options": {}"#.to_owned(), DumpedProtocol::Http2),
        (r#""protocol_selection": "USE_DOWNSTREAM_PROTOCOL""#.to_owned(), DumpedProtocol::UseDownstream),
        (options(r#""explicit_http_config": {"http2_protocol_options": {}}"#), DumpedProtocol::Http2),
        (options(r#""explicit_http_config": {"http3_protocol_options": {}}"#), DumpedProtocol::Http3),
        (options(r#""explicit_http_config": {"http_protocol_options": {}}"#), DumpedProtocol::Http1),
        (
            options(r#""use_downstream_protocol_config": {"http2_protocol_options": {}}"#),
            DumpedProtocol::UseDownstream,
        ),
        (options(r#""auto_config": {"http2_protocol_options": {}}"#), DumpedProtocol::Auto),
    ] {
        assert_eq!(cluster(&fields).protocol, protocol, "{fields}");
    }
}

#[test]
fn sessions_are_bounded_by_requests_and_over_http1_by_connections() {
    let breakers = r#""circuit_breakers": {"thresholds": [{"priority": "HIGH", "max_requests": 1},
        {"max_connections": 10, "max_requests": 20}]}"#;
    assert_eq!(cluster(breakers).max_sessions.0, 10);
    assert_eq!(cluster(&format!(r#"{breakers}, "http2_protocol_options": {{}}"#)).max_sessions.0, 20);
    assert_eq!(cluster(r#""type": "STATIC""#).max_sessions.0, 1024, "Envoy's default");
}

#[test]
fn the_side_is_what_the_node_id_begins_with() {
    for (id, side) in [
        ("sidecar~10.0.0.1~a.b~b.svc.cluster.local", Side::Sidecar),
        ("router~10.0.0.1~a.b~b.svc.cluster.local", Side::Gateway),
        ("waypoint~10.0.0.1~a.b~b.svc.cluster.local", Side::Waypoint),
        ("envoy", Side::Unknown),
    ] {
        let bootstrap = format!(
            r#"{{"@type": "type.googleapis.com/envoy.admin.v3.BootstrapConfigDump", "bootstrap": {{"node": {{"id": "{id}"}}}}}}"#
        );
        assert_eq!(read(&bootstrap).side, side, "{id}");
    }
}

#[test]
fn what_is_no_dump_is_an_error_that_says_what_is_expected() {
    for foreign in
        ["{}", "[]", r#"{"configs": []}"#, r#"{"configs": [{"@type": "a.b.C"}]}"#, "kind: Service", ""]
    {
        let text = Text::new("dump.json", foreign.to_owned());
        let error = DumpedProxy::read(&text, None).expect_err(foreign).to_string();
        assert!(error.starts_with("dump.json:1:1: ") && error.contains("config_dump"), "{foreign}: {error}");
    }
    let text = Text::new("dump.json", "{\"configs\": [\n{".to_owned());
    DumpedProxy::read(&text, None).expect_err("cut off");
    let deep = format!(r#"{{"configs": {}{}}}"#, "[".repeat(1000), "]".repeat(1000));
    DumpedProxy::read(&Text::new("dump.json", deep), None).expect_err("too deep");
}

#[test]
fn dumps_by_namespace_and_pod_are_read_each_for_itself() {
    let dump = |id: &str| {
        format!(
            r#"{{"configs": [{{"@type": "type.googleapis.com/envoy.admin.v3.BootstrapConfigDump", "bootstrap": {{"node": {{"id": "{id}"}}}}}}]}}"#
        )
    };
    let (one, two, three) = (dump("one"), dump("two"), dump("three"));
    for (text, ids) in [
        (one.clone(), &["one"][..]),
        (format!(r#"{{"a-pod": {one}, "another": {two}}}"#), &["one", "two"]),
        (
            format!(r#"{{"default": {{"a-pod": {one}}}, "other": {{"b": {two}, "c": {three}}}}}"#),
            &["one", "two", "three"],
        ),
    ] {
        let read = DumpedProxy::read(&Text::new("dump.json", text), None).expect("dumps");
        let found: Vec<_> = read.iter().filter_map(|proxy| proxy.node.as_deref()).collect();
        assert_eq!(found, ids);
    }
    let one_is_none =
        format!(r#"{{"default": {{"a-pod": {one}, "b": {{"configs": [{{"@type": "a.b.C"}}]}}}}}}"#);
    DumpedProxy::read(&Text::new("dump.json", one_is_none), None).expect_err("not all are dumps");
}

#[test]
fn of_secrets_only_their_length_is_shown() {
    let dump = r#"{"configs": [{"@type": "type.googleapis.com/envoy.admin.v3.SecretsConfigDump", "s": [{"name": "geheim1"}]},
        {"private_key": {"inline_string": "geheim2"}, "header": {"key": "Authorization", "value": "geheim3"},
        "name": "shown"}]}"#;
    let text = Text::new("dump.json", dump.to_owned());
    let masked = masked(&text);
    assert_eq!(masked.text.len(), text.text.len());
    assert!(!masked.text.contains("geheim") && masked.text.contains("shown"), "{}", masked.text);
}
