//! What the sidecars warn of when they run is found here, too, with the code that they say.

use std::path::{Path, PathBuf};

use super::*;

/// A document for each place in the sources that warns.
const WARNED_OF: &[(&str, &str)] = &[
    (
        "VirtualService",
        "{hosts: [a], http: [{headers: {request: {set: {x: '%PROTOCOL%'}}}, route: [{destination: {host: a}}]}]}",
    ),
    ("VirtualService", "{hosts: [a], http: [{name: nowhere}]}"),
    (
        "VirtualService",
        "{hosts: [a], http: [{route: [{destination: {host: a}, weight: 1}, {destination: {host: b}, weight: 1}]}]}",
    ),
    (
        "VirtualService",
        "{hosts: [a], http: [{fault: {abort: {httpStatus: 503, percentage: {value: 5}}}, route: [{destination: {host: \
         a}}]}]}",
    ),
    (
        "EnvoyFilter",
        "{configPatches: [{applyTo: HTTP_ROUTE, match: {proxy: {metadata: {a: b}}}, patch: {operation: MERGE}}]}",
    ),
    (
        "VirtualService",
        "{hosts: [a], http: [{retries: {attempts: 1, retryOn: never}, route: [{destination: {host: a}}]}]}",
    ),
    ("DestinationRule", "{host: a, trafficPolicy: {tls: {mode: SIMPLE}}}"),
    ("Service", "{type: ExternalName, externalName: a.example.org}"),
    ("Service", "{ports: [{name: tcp-chat, port: 80}]}"),
    ("EnvoyFilter", "{targetRefs: [], configPatches: []}"),
    ("EnvoyFilter", "{configPatches: [{applyTo: HTTP_FILTER, patch: {operation: ADD, value: {name: a}}}]}"),
    ("EnvoyFilter", "{configPatches: [{applyTo: NETWORK_FILTER, patch: {operation: REMOVE}}]}"),
    (
        "EnvoyFilter",
        "{configPatches: [{applyTo: NETWORK_FILTER, match: {proxy: {metadata: {a: b}}}, patch: {operation: MERGE}}]}",
    ),
    (
        "EnvoyFilter",
        "{configPatches: [{applyTo: NETWORK_FILTER, match: {listener: {filterChain: {sni: a}}}, patch: {operation: MERGE}}]}",
    ),
    (
        "EnvoyFilter",
        "{configPatches: [{applyTo: NETWORK_FILTER, match: {listener: {filterChain: {transportProtocol: raw_buffer}}}, patch: {operation: MERGE}}]}",
    ),
    (
        "EnvoyFilter",
        "{configPatches: [{applyTo: NETWORK_FILTER, match: {listener: {filterChain: {filter: {name: a}}}}, patch: {operation: MERGE}}]}",
    ),
    (
        "EnvoyFilter",
        "{configPatches: [{applyTo: NETWORK_FILTER, patch: {operation: MERGE, value: {typed_config: {codec_type: AUTO}}}}]}",
    ),
    (
        "EnvoyFilter",
        "{configPatches: [{applyTo: NETWORK_FILTER, patch: {operation: MERGE, value: {typed_config: {'@type': a.TcpProxy}}}}]}",
    ),
    (
        "EnvoyFilter",
        "{configPatches: [{applyTo: NETWORK_FILTER, patch: {operation: MERGE, value: {typed_config: {'@type': \
         type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager, \
         upgrade_configs: [{upgrade_type: websocket}]}}}}]}",
    ),
];

/// Those where neither a value nor its line is at hand: fields that no type takes, and whole kinds.
const OTHERS: &[(&str, &str)] = &[
    ("VirtualService", "{hosts: [a], http: [{mirror: {}, route: [{destination: {host: a}}]}]}"),
    ("DestinationRule", "{host: a, trafficPolicy: {outlierDetection: {}}}"),
    ("Sidecar", "{}"),
    ("Sidecars", "{}"),
];

fn document(kind: &str, spec: &str) -> String {
    let api_version = match kind {
        "Service" => "v1",
        "EnvoyFilter" => "networking.istio.io/v1alpha3",
        _ => "networking.istio.io/v1",
    };
    format!("apiVersion: {api_version}\nkind: {kind}\nmetadata: {{name: it}}\nspec: {spec}\n")
}

#[test]
fn each_warning_of_the_sidecars_is_a_finding_with_its_code() {
    for (kind, spec) in WARNED_OF.iter().chain(OTHERS) {
        let text = document(kind, spec);
        let documents = Documents::parse("test.yaml", &text).expect(&text);
        assert!(!documents.warnings().is_empty(), "nothing warns of {spec}");
        let found = findings(&text);
        for warning in documents.warnings() {
            let says_it = |finding: &&Finding| {
                let here =
                    (finding.place.line, finding.place.column) == (warning.place.line, warning.place.column);
                finding.rule == warning.rule || here
            };
            assert!(found.iter().any(|finding| says_it(&finding)), "no finding for: {warning}\n{found:#?}");
        }
    }
}

#[test]
fn a_place_in_the_sources_that_warns_has_its_document_here() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/mesh/document");
    let mut folders: Vec<PathBuf> = vec![folder];
    let mut places = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                places += std::fs::read_to_string(&path).expect("text").matches("warnings.warn(").count();
            }
        }
    }
    assert_eq!(WARNED_OF.len(), places, "a warning has no document above, and may have no finding");
}

#[test]
fn what_is_left_out_in_the_same_way_in_many_places_is_one_note() {
    let mirrors = "{hosts: [a], http: [{mirror: {}, route: [{destination: {host: a}}]}, {mirror: {}, route: \
                  [{destination: {host: a}}]}]}";
    let another = document("VirtualService", mirrors).replace("name: it", "name: another");
    let found = findings(&format!("{}---\n{another}", document("VirtualService", mirrors)));
    let notes: Vec<_> = found.iter().filter(|finding| *finding.rule == rules::NOT_PLAYED).collect();
    assert_eq!(notes.len(), 1, "{notes:#?}");
    assert!(
        notes[0].message.ends_with(
            "mirror is not implemented here: it is in force in a mesh alone (and 3 more like this)"
        )
    );
}

#[test]
fn of_what_is_wrong_anyhow_nobody_is_told_that_it_is_left_out() {
    let found =
        findings(&document("VirtualService", "{hosts: [a], http: [{websocketUpgrade: true, route: []}]}"));
    let here =
        found.iter().filter(|finding| finding.message.contains("websocketUpgrade")).collect::<Vec<_>>();
    assert_eq!(here.len(), 1, "{here:#?}");
    assert_eq!(*here[0].rule, rules::UNKNOWN_FIELD);
}
