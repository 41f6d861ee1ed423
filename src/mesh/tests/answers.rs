//! From documents to the two sidecars.

use std::collections::BTreeSet;
use std::time::Duration;

use super::super::*;
use super::{GUIDE, HOST, LISTEN, inbound_of, outbound_of, parse, upgrades};

/// The route that a request for an authority takes from the client's sidecar.
fn route_to(documents: &Documents, authority: &str) -> Route {
    let outbound = outbound_of(documents, LISTEN, OutboundTrafficPolicy::AllowAny).expect("an answer");
    let found = match_virtual_host(&outbound.virtual_hosts, authority).expect("a virtual host");
    found.routes.first().expect("a route").clone()
}

fn cluster_of(route: &Route) -> &Cluster {
    match &route.action {
        RouteAction::Forward { cluster, .. } => cluster,
        other => panic!("{other:?}"),
    }
}

fn retry_of(route: &Route) -> &RetryPolicy {
    match &route.action {
        RouteAction::Forward { retry, .. } => retry,
        other => panic!("{other:?}"),
    }
}

fn virtual_service(http: &str) -> Documents {
    parse(&format!(
        "{GUIDE}---\n{{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {{name: v}},
         spec: {{hosts: [websockets-server], http: {http}}}}}\n"
    ))
}

#[test]
fn the_guides_documents_give_no_warning() {
    assert_eq!(parse(GUIDE).warnings(), []);
    assert_eq!(Documents::builtin().warnings(), []);
}

#[test]
fn the_built_in_documents_mean_what_the_guides_mean() {
    for policy in
        [OutboundTrafficPolicy::AllowAny, OutboundTrafficPolicy::RegistryOnly, OutboundTrafficPolicy::None]
    {
        let built_in = outbound_of(&Documents::builtin(), LISTEN, policy).expect("an answer");
        assert_eq!(built_in, outbound_of(&parse(GUIDE), LISTEN, policy).expect("an answer"));
    }
    let built_in = inbound_of(&Documents::builtin()).expect("an answer");
    assert_eq!(built_in, inbound_of(&parse(GUIDE)).expect("an answer"));
}

#[test]
fn the_guides_client_upgrades_to_http2() {
    let route = route_to(&parse(GUIDE), &format!("{HOST}:8080"));
    let expected = Cluster {
        protocol: UpstreamProtocol::Http2,
        sni: Some(format!("outbound_.8080_._.{HOST}")),
        subject_alt_names: vec!["spiffe://cluster.local/ns/default/sa/default".to_owned()],
        ..Cluster::endpoint(format!("outbound|8080||{HOST}"))
    };
    assert_eq!(route.name.as_deref(), Some("default"));
    assert_eq!(cluster_of(&route), &expected);
    assert_eq!(retry_of(&route), &RetryPolicy::outbound());
}

#[test]
fn the_guides_server_takes_extended_connect() {
    let inbound = inbound_of(&parse(GUIDE)).expect("an answer");
    let patches = inbound.connection_manager.patches.clone();
    let manager = HttpConnectionManager { allow_connect: true, patches, ..HttpConnectionManager::inbound() };
    assert_eq!(inbound.connection_manager, manager);
    let VirtualHost { name, domains, routes, include_request_attempt_count, .. } = inbound.virtual_host;
    assert_eq!((name.as_str(), include_request_attempt_count), ("inbound|http|8080", false));
    assert_eq!(domains, ["*"]);
    assert_eq!(routes[0].name.as_deref(), Some("default"));
    assert_eq!(cluster_of(&routes[0]), &Cluster::endpoint("inbound|80||".to_owned()));
    assert_eq!(retry_of(&routes[0]), &RetryPolicy::inbound());
}

#[test]
fn every_name_of_a_service_leads_to_it_and_the_dialled_address_to_the_one_with_the_rule() {
    let documents = parse(GUIDE);
    let client = "outbound|8080||websockets-client.default.svc.cluster.local";
    let server = &*format!("outbound|8080||{HOST}");
    for (authority, cluster) in [
        (HOST, server),
        ("websockets-server:8080", server),
        ("websockets-server.default", server),
        ("websockets-server.default.svc:1", server),
        ("WebSockets-Server", server),
        ("10.96.0.1:8080", server),
        ("websockets-client", client),
        ("10.96.0.2", "PassthroughCluster"),
        ("websockets-server.default.svc.cluster", "PassthroughCluster"),
        ("websockets-server.other", "PassthroughCluster"),
        ("example.com", "PassthroughCluster"),
    ] {
        assert_eq!(cluster_of(&route_to(&documents, authority)).name, cluster, "{authority}");
    }
}

#[test]
fn the_dialled_address_is_that_of_a_service_which_says_so_and_never_the_clients_own() {
    let without_rule = GUIDE.replace("kind: DestinationRule", "kind: Rule");
    assert_eq!(
        cluster_of(&route_to(&parse(&without_rule), "10.96.0.1")).name,
        format!("outbound|8080||{HOST}")
    );
    let exported = GUIDE.replacen("type: ClusterIP", "clusterIP: 10.96.0.9", 1).replacen(
        "type: ClusterIP",
        "clusterIP: 10.96.0.1",
        1,
    );
    let documents = parse(&exported);
    let client = "outbound|8080||websockets-client.default.svc.cluster.local";
    assert_eq!(cluster_of(&route_to(&documents, "10.96.0.1")).name, client);
    assert_eq!(cluster_of(&route_to(&documents, "10.96.0.9")).name, format!("outbound|8080||{HOST}"));
}

#[test]
fn an_ipv6_listener_is_matched_in_brackets() {
    let outbound =
        outbound_of(&parse(GUIDE), "[fd00::1]:8080", OutboundTrafficPolicy::None).expect("an answer");
    assert!(match_virtual_host(&outbound.virtual_hosts, "[fd00::1]:8080").is_some());
}

#[test]
fn the_traffic_policy_decides_about_other_hosts() {
    for (policy, expected) in [
        (OutboundTrafficPolicy::AllowAny, Some("allow_any")),
        (OutboundTrafficPolicy::RegistryOnly, Some("block_all")),
        (OutboundTrafficPolicy::None, None),
    ] {
        let outbound = outbound_of(&parse(GUIDE), LISTEN, policy).expect("an answer");
        let found = match_virtual_host(&outbound.virtual_hosts, "example.com");
        assert_eq!(found.map(|found| found.name.as_str()), expected);
        let action = found.map(|found| &found.routes[0].action);
        if policy == OutboundTrafficPolicy::RegistryOnly {
            assert_eq!(action, Some(&RouteAction::DirectResponse { status: 502, body: String::new() }));
        }
    }
}

#[test]
fn a_port_that_no_service_has_stands_for_the_one_that_all_share() {
    let names = |text: &str, listen: &str| {
        let outbound = outbound_of(&parse(text), listen, OutboundTrafficPolicy::None)?;
        Ok::<_, MeshError>(
            outbound.virtual_hosts.into_iter().map(|found| found.name).collect::<BTreeSet<_>>(),
        )
    };
    let shared = BTreeSet::from([
        format!("{HOST}:8080"),
        "websockets-client.default.svc.cluster.local:8080".to_owned(),
    ]);
    assert_eq!(names(GUIDE, "127.0.0.1:45678").expect("shared"), shared);
    let differing = GUIDE.replacen("port: 8080", "port: 9090", 1);
    assert_eq!(
        names(&differing, "127.0.0.1:9090").expect("its own"),
        BTreeSet::from([format!("{HOST}:9090")])
    );
    let error = names(&differing, "127.0.0.1:45678").expect_err("ambiguous").to_string();
    assert_eq!(error, "no Service has the HTTP port 45678: listen on one of 8080, 9090");
    let error = names("", "127.0.0.1:1").expect_err("nothing").to_string();
    assert_eq!(
        error,
        "no Service in the documents has an HTTP port over TCP: name one http-… or give it an appProtocol"
    );
}

#[test]
fn a_connection_pool_goes_to_both_sides_but_for_the_upgrade() {
    let documents = parse(&GUIDE.replace(
        "    connectionPool:\n      http:\n",
        "    connectionPool:\n      tcp: {connectTimeout: 3s, maxConnectionDuration: 1h, idleTimeout: 9s}
      http:\n        maxConcurrentStreams: 7\n        idleTimeout: 1m30s\n",
    ));
    assert_eq!(documents.warnings(), []);
    let inbound = inbound_of(&documents).expect("an answer");
    let route = route_to(&documents, HOST);
    let (client, server) = (cluster_of(&route), cluster_of(&inbound.virtual_host.routes[0]));
    for cluster in [client, server] {
        assert_eq!(cluster.connect_timeout, Duration::from_secs(3));
        assert_eq!(cluster.max_connection_duration, Some(Duration::from_secs(3600)));
        assert_eq!(cluster.idle_timeout, Some(Duration::from_secs(90)));
        assert_eq!(cluster.max_concurrent_streams, 7);
    }
    assert_eq!((client.protocol, server.protocol), (UpstreamProtocol::Http2, UpstreamProtocol::Http1));
}

#[test]
fn a_named_target_port_is_that_of_the_pods_container() {
    let named = GUIDE.replacen("targetPort: 80", "targetPort: web", 1);
    let error = inbound_of(&parse(&named)).expect_err("no such port").to_string();
    assert!(error.contains("targetPort web, but no container"), "{error}");
    let documents = parse(&named.replacen("- containerPort: 80", "- {containerPort: 81, name: web}", 1));
    let by_workload = inbound_of(&documents).expect("an answer");
    assert_eq!(cluster_of(&by_workload.virtual_host.routes[0]).name, "inbound|81||");
    let without_workload = InboundQuery { workload: None, port: None, istio_version: ISTIO_VERSION };
    let by_service = inbound(&documents, &without_workload).expect("an answer");
    assert_eq!(by_service.virtual_host.routes, by_workload.virtual_host.routes);
    assert!(
        !by_service.connection_manager.allow_connect,
        "without a workload the guide's selector selects nothing"
    );
}

#[test]
fn a_workload_that_no_service_selects_has_no_inbound_side() {
    let documents =
        parse(&GUIDE.replacen("selector:\n    app: websockets-server", "selector:\n    app: other", 1));
    let error = inbound_of(&documents).expect_err("no Service").to_string();
    assert!(error.starts_with("no Service in the namespace default selects"), "{error}");
}

#[test]
fn a_virtual_service_names_the_route_and_sets_its_timeout_and_retries() {
    let to = "route: [{destination: {host: websockets-server}}]";
    let default = RetryPolicy::outbound();
    let on = |conditions: &[&str]| {
        let mut retry_on = RetryOn::default();
        for condition in conditions {
            assert!(retry_on.add(condition), "{condition}");
        }
        retry_on
    };
    for (fields, name, timeout, retry) in [
        ("", None, None, default.clone()),
        ("name: chat,", Some("chat"), None, default.clone()),
        ("timeout: 0s,", None, None, default.clone()),
        ("timeout: 1.5s,", None, Some(Duration::from_millis(1500)), default.clone()),
        ("retries: {attempts: 0},", None, None, RetryPolicy::default()),
        ("retries: {},", None, None, RetryPolicy::default()),
        ("retries: {attempts: 5},", None, None, RetryPolicy { num_retries: 5, ..default.clone() }),
        (
            "retries: {attempts: 1, retryOn: '5xx,reset, 503'},",
            None,
            None,
            RetryPolicy { num_retries: 1, retry_on: on(&["5xx", "reset", "503"]) },
        ),
        ("match: [{uri: {prefix: /}}], name: chat,", Some("chat"), None, default.clone()),
    ] {
        let documents = virtual_service(&format!("[{{{fields} {to}}}]"));
        assert_eq!(documents.warnings(), [], "{fields}");
        let route = route_to(&documents, HOST);
        assert_eq!(route.name.as_deref(), name, "{fields}");
        let RouteAction::Forward { timeout: found, retry: found_retry, .. } = &route.action else {
            panic!("{route:?}")
        };
        assert_eq!((*found, found_retry), (timeout, &retry), "{fields}");
    }
}

/// The routes of the Service's virtual host, by their names.
fn names_of_routes(documents: &Documents) -> Vec<String> {
    let outbound = outbound_of(documents, LISTEN, OutboundTrafficPolicy::None).expect("an answer");
    let virtual_hosts = outbound.virtual_hosts;
    let found = match_virtual_host(&virtual_hosts, HOST).expect("a virtual host");
    found.routes.iter().map(|route| route.name.clone().unwrap_or_default()).collect()
}

#[test]
fn each_condition_is_a_route_and_nothing_comes_behind_one_for_every_path() {
    let to = "route: [{destination: {host: websockets-server}}]";
    for (routes, expected) in [
        ("[{name: a, match: [{uri: {prefix: /a}}, {name: b, uri: {exact: /b}}], TO}]", &["a", "a.b"][..]),
        (
            "[{name: a, match: [{uri: {prefix: /a}}], TO}, {name: rest, TO}, {name: never, TO}]",
            &["a", "rest"],
        ),
        (
            "[{name: a, match: [{headers: {x: {exact: '1'}}}], TO}, {name: b, redirect: {uri: /c}}]",
            &["a", "b"],
        ),
        // For another proxy, or another port: as if it were not there.
        ("[{name: a, match: [{gateways: [edge]}], TO}, {name: b, TO}]", &["b"]),
        ("[{name: a, match: [{port: 1}, {name: b, port: 8080}], TO}]", &["a.b"]),
        ("[{name: a, match: [{sourceLabels: {app: websockets-client}}], TO}]", &["a"]),
        ("[{name: a, match: [{sourceLabels: {app: other}}], TO}]", &["default"]),
        ("[{name: a, match: [{sourceNamespace: other}], TO}]", &["default"]),
    ] {
        let documents = virtual_service(&routes.replace("TO", to));
        assert_eq!(documents.warnings(), [], "{routes}");
        assert_eq!(names_of_routes(&documents), expected, "{routes}");
    }
}

#[test]
fn an_expression_that_is_none_is_refused_with_its_place() {
    let text = format!(
        "{GUIDE}---\n{{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {{name: v}},
         spec: {{hosts: [a], http: [{{match: [{{uri: {{regex: '/a('}}}}]}}]}}}}\n"
    );
    let error = Documents::parse("mesh.yaml", &text).expect_err("no expression").to_string();
    assert!(error.contains("spec.http[0].match[0].uri.regex"), "{error}");
    assert!(error.contains("expected a regular expression, found \"/a(\""), "{error}");
}

#[test]
fn a_virtual_service_for_gateways_or_other_namespaces_does_not_apply() {
    let to = "[{name: chat, route: [{destination: {host: websockets-server}}]}]";
    for (fields, expected) in [
        ("gateways: [mesh, edge],", "chat"),
        ("gateways: [edge],", "default"),
        ("exportTo: [elsewhere],", "default"),
    ] {
        let text = format!(
            "{GUIDE}---\n{{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {{name: v}},
             spec: {{{fields} hosts: [websockets-server], http: {to}}}}}\n"
        );
        assert_eq!(route_to(&parse(&text), HOST).name.as_deref(), Some(expected), "{fields}");
    }
}

#[test]
fn a_destination_may_be_another_service_or_a_subset() {
    let subsets = GUIDE.replace(
        "  host: websockets-server\n",
        "  host: websockets-server\n  subsets:\n  - name: v1\n    trafficPolicy: {connectionPool: {http: {maxConcurrentStreams: 5}}}\n",
    );
    let with = |destination: &str| {
        parse(&format!(
            "{subsets}---\n{{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {{name: v}},
             spec: {{hosts: ['*.local'], http: [{{route: [{{destination: {{{destination}}}}}]}}]}}}}\n"
        ))
    };
    let route = route_to(&with("host: websockets-server, subset: v1"), HOST);
    let cluster = cluster_of(&route);
    assert_eq!(cluster.name, format!("outbound|8080|v1|{HOST}"));
    assert_eq!(cluster.sni, Some(format!("outbound_.8080_.v1_.{HOST}")));
    assert_eq!((cluster.protocol, cluster.max_concurrent_streams), (UpstreamProtocol::Http1, 5));
    let route = route_to(&with("host: websockets-client, port: {number: 8080}"), HOST);
    assert_eq!(cluster_of(&route).name, "outbound|8080||websockets-client.default.svc.cluster.local");
    for (destination, expected) in [
        ("host: nobody", "outbound|8080||nobody.default.svc.cluster.local".to_owned()),
        ("host: nobody, port: {number: 9}", "outbound|9||nobody.default.svc.cluster.local".to_owned()),
        ("host: websockets-server, port: {number: 1}", format!("outbound|1||{HOST}")),
        ("host: websockets-server, subset: v2", format!("outbound|8080|v2|{HOST}")),
    ] {
        let action = route_to(&with(destination), HOST).action;
        assert_eq!(action, RouteAction::UnknownCluster { name: expected, status: 503 }, "{destination}");
    }
}

#[test]
fn a_virtual_service_may_answer_by_itself() {
    for (response, status, body) in [
        ("{status: 404}", 404, ""),
        ("{status: 503, body: {string: closed for today}}", 503, "closed for today"),
    ] {
        let documents = virtual_service(&format!("[{{name: closed, directResponse: {response}}}]"));
        assert_eq!(documents.warnings(), []);
        let action = RouteAction::DirectResponse { status, body: body.to_owned() };
        assert_eq!(route_to(&documents, HOST), Route::every_path(Some("closed".to_owned()), action));
    }
    let documents = virtual_service("[{directResponse: {status: 200, body: {bytes: aGk=}}}]");
    let warning = documents.warnings()[0].to_string();
    assert!(warning.contains("directResponse.body.bytes is not implemented here"), "{warning}");
}

#[test]
fn the_documents_say_whether_they_upgrade() {
    let upgrading = MeshDefaults { h2_upgrade_policy: H2UpgradePolicy::Upgrade };
    for (text, by_default, in_upgrading_mesh) in [
        (GUIDE.to_owned(), true, true),
        (GUIDE.replace(": UPGRADE", ": DO_NOT_UPGRADE"), false, false),
        (GUIDE.replace(": UPGRADE", ": DEFAULT"), false, true),
        (GUIDE.replace("host: websockets-server", "host: websockets-server.default"), false, true),
    ] {
        let documents = parse(&text);
        let service = documents.service("websockets-server").expect("the Service");
        for (mesh, expected) in
            [(MeshDefaults::default(), by_default), (upgrading.clone(), in_upgrading_mesh)]
        {
            assert_eq!(upgrades(&documents, service, &mesh), expected);
        }
    }
}
