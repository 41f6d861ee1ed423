//! Scenarios as they are played in a cluster, without one.

use super::*;
use crate::verify::scenario::{Scenario, built_in};

fn case(folder: &str) -> Case {
    let mut cases = built_in().iter().flat_map(Scenario::cases);
    cases.find(|case| case.folder == folder).expect("a built-in case")
}

/// The client's lines, each with the connection it used and the pod it led to.
fn logs(lines: &[(&str, &str)]) -> RunLogs {
    let line = |(connection, pod): &(&str, &str)| {
        format!("{{\"upstream_local_address\":\"{connection}\",\"upstream_host\":\"{pod}\"}}\n")
    };
    RunLogs::parse(&lines.iter().map(line).collect::<String>(), "")
}

#[test]
fn each_worker_and_each_pod_may_have_a_connection_of_its_own() {
    let three = logs(&[("c:1", "10.0.0.1:80"), ("c:2", "10.0.0.1:80"), ("c:3", "10.0.0.2:80")]);
    for (at_most, holds) in [(1, false), (2, false), (3, true), (4, true)] {
        let checks = connections(&case("multiplexing"), at_most, &three);
        assert_eq!(checks.iter().map(|check| check.holds).collect::<Vec<_>>(), [holds], "{at_most}");
    }
    assert!(connections(&case("http2"), 1, &three).is_empty(), "nothing is shared there");
    assert!(!connections(&case("multiplexing"), 4, &logs(&[]))[0].holds, "no line is no proof");
}

#[test]
fn what_a_mesh_does_not_promise_is_not_expected_of_it() {
    let http2 = case("http2");
    assert!(http2.expect.server.contains_key("requested_server_name"));
    let ours = in_a_mesh(&http2, Program::WebsocketsCli);
    assert!(!ours.expect.server.contains_key("requested_server_name"), "it is the SNI of mutual TLS");
    assert!(ours.expect.client.contains_key("bytes_received"));
    let pythons = in_a_mesh(&http2, Program::Python);
    assert!(!pythons.expect.client.contains_key("bytes_received"), "Python's client compresses");
    let shared = in_a_mesh(&case("multiplexing"), Program::WebsocketsCli);
    assert_eq!(shared.expect.across.len() + 1, case("multiplexing").expect.across.len());
}

#[test]
fn the_pods_that_served_are_those_that_the_clients_sidecar_names() {
    let lines = [("c:1", "10.0.0.1:80"), ("c:2", "10.0.0.2:80"), ("c:3", "10.0.0.2:80"), ("c:4", "-")];
    let pods = pods_that_served(&logs(&lines));
    assert_eq!(pods.iter().map(ToString::to_string).collect::<Vec<_>>(), ["10.0.0.1:80", "10.0.0.2:80"]);
}
