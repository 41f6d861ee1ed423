//! Dumps in the form that other meshes give them: their names of listeners, clusters, routes and
//! filters. They are also what the fuzz target `config_dump` begins with.

use crate::mesh::config_dump::{DumpedProxy, Side};
use crate::mesh::lint::lint_dumps;
use crate::mesh::rule::Severity;
use crate::yaml::Text;

const APP_MESH: &str = include_str!("../../../../fuzz/seeds/config_dump/app-mesh.json");
const CONSUL: &str = include_str!("../../../../fuzz/seeds/config_dump/consul.json");
const CONTOUR: &str = include_str!("../../../../fuzz/seeds/config_dump/contour.json");
const ENVOY_GATEWAY: &str = include_str!("../../../../fuzz/seeds/config_dump/envoy-gateway.json");
const KUMA_CLIENT: &str = include_str!("../../../../fuzz/seeds/config_dump/kuma-client.json");
const KUMA_SERVER: &str = include_str!("../../../../fuzz/seeds/config_dump/kuma-server.json");

fn proxy(name: &str, text: &str, side: Option<Side>) -> DumpedProxy {
    DumpedProxy::read(&Text::new(name, text.to_owned()), side).expect("a dump").remove(0)
}

/// The codes, each once.
fn codes(proxies: &[DumpedProxy]) -> Vec<&'static str> {
    let mut codes: Vec<_> = lint_dumps(proxies).iter().map(|finding| finding.rule.code).collect();
    codes.sort_unstable();
    codes.dedup();
    codes
}

#[test]
fn each_mesh_is_judged_by_what_its_proxies_have() {
    for (name, text, side, found) in [
        ("app-mesh", APP_MESH, None, &["stream-idle-timeout", "virtual-service-timeout"][..]),
        (
            "consul",
            CONSUL,
            None,
            &["not-judged", "session-limit", "stream-idle-timeout", "websocket-not-taken"],
        ),
        // What goes out takes no WebSockets there.
        ("consul", CONSUL, Some(Side::Client), &["no-websocket-taken"]),
        ("consul", CONSUL, Some(Side::Server), &["not-judged", "session-limit", "stream-idle-timeout"]),
        // One route takes them, and that is for sessions.
        ("contour", CONTOUR, None, &[]),
        ("envoy-gateway", ENVOY_GATEWAY, None, &["not-judged", "session-limit", "stream-idle-timeout"]),
        ("kuma", KUMA_SERVER, None, &[]),
        ("kuma", KUMA_CLIENT, None, &["not-judged"]),
    ] {
        assert_eq!(codes(&[proxy(name, text, side)]), found, "{name} {side:?}");
    }
}

#[test]
fn a_filter_that_asks_for_tokens_is_named_for_the_routes_that_have_it_alone() {
    let findings = lint_dumps(&[proxy("envoy-gateway", ENVOY_GATEWAY, None)]);
    let notes: Vec<_> = findings.iter().filter(|finding| finding.rule.code == "not-judged").collect();
    let [note] = &notes[..] else { panic!("{notes:?}") };
    assert!(note.message.contains("jwt_authn"), "{}", note.message);
    let without = ENVOY_GATEWAY.replace("PerRouteConfig", "Other");
    let findings = lint_dumps(&[proxy("envoy-gateway", &without, None)]);
    assert!(findings.iter().all(|finding| finding.rule.code != "not-judged"), "{findings:?}");
}

#[test]
fn between_two_sidecars_that_speak_http2_the_one_of_the_server_has_to_allow_connect() {
    let client = || proxy("client", KUMA_CLIENT, Some(Side::Client));
    let of = |server: &str| lint_dumps(&[client(), proxy("server", server, Some(Side::Server))]);
    let refused = of(KUMA_SERVER);
    let errors: Vec<_> = refused.iter().filter(|finding| finding.rule.severity == Severity::Error).collect();
    let [error] = &errors[..] else { panic!("{errors:?}") };
    assert_eq!(error.rule.code, "upgrade-without-allow-connect");
    assert!(error.message.contains("the listener inbound:10.0.0.2:8080 of server"), "{}", error.message);
    let allowing = KUMA_SERVER.replace(
        r#""stream_idle_timeout""#,
        r#""http2_protocol_options": {"allow_connect": true}, "stream_idle_timeout""#,
    );
    assert_eq!(of(&allowing).len(), 0);
}

#[test]
fn what_is_redirected_to_a_port_is_told_by_the_port_of_the_filter_chain() {
    let server = proxy("server", APP_MESH, Some(Side::Server));
    let inbound = &server.listeners[0];
    assert!(inbound.takes_port(8080) && inbound.takes_port(15000) && !inbound.takes_port(9090));
}
