//! What messages say of documents that lack something, are wrong, or cannot be honoured.

use super::super::{Documents, MeshDefaults, MeshError, Service, Source};
use super::{GUIDE, inbound_of, parse, upgrades};

#[test]
fn what_a_set_of_documents_lacks_is_built_in_and_put_into_its_namespace() {
    let rule = "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: r, namespace: chat}\nspec: {host: websockets-server}\n";
    let mut documents = parse(rule);
    assert!(documents.service_of_destination_rule().is_none());
    documents.complete("websockets-server", "websockets-client-sleep").expect("complete");
    let service = documents.service_of_destination_rule().expect("the built-in Service");
    assert_eq!(service.host(), "websockets-server.chat.svc.cluster.local");
    assert_eq!(documents.workload_of(service).expect("a Deployment").namespace, "chat");
    assert_eq!(documents.workload("websockets-client-sleep").expect("a Deployment").namespace, "chat");
    assert!(!upgrades(&documents, service, &MeshDefaults::default()), "no rule is added");
    assert!(
        !inbound_of(&documents).expect("an answer").connection_manager.allow_connect,
        "no EnvoyFilter is added"
    );
    assert_eq!(documents.services().len(), 1, "the client's own Service is not needed");
}

#[test]
fn complete_documents_stay_as_they_are() {
    let mut documents = parse(GUIDE);
    documents.complete("websockets-server", "websockets-client-sleep").expect("complete");
    let names: Vec<&str> = documents.services().iter().map(Service::name).collect();
    assert_eq!(names, ["websockets-server", "websockets-client"]);
    let error = documents.complete("websocket-servr", "x").expect_err("no such Service").to_string();
    assert_eq!(error, "no Service websocket-servr in the documents: the nearest is websockets-server");
}

#[test]
fn a_list_is_unfolded_and_json_is_yaml() {
    let json = "{\"apiVersion\": \"v1\", \"kind\": \"List\", \"items\": [\n\t{\"apiVersion\": \"v1\", \"kind\": \"Service\",\n\t\t\"metadata\": {\"name\": \"a\", \"namespace\": \"b\"},\n\t\t\"spec\": {\"ports\": [{\"port\": 8080, \"name\": \"http\"}]}}]}";
    let documents = parse(json);
    assert_eq!(documents.services()[0].host(), "a.b.svc.cluster.local");
    assert_eq!(documents.namespace(), "b");
}

#[test]
fn two_documents_with_one_name_are_an_error_that_names_both_places() {
    let service = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {}\n";
    let error =
        Documents::parse("test.yaml", &format!("{service}---\n{service}")).expect_err("twice").to_string();
    assert_eq!(
        error,
        "test.yaml:6:1: Service default/a is already defined at test.yaml:1:1: remove one of the two"
    );
    let mut documents = parse(service);
    let other = Documents::parse("other.yaml", service).expect("valid");
    let error = documents.merge(other).expect_err("twice").to_string();
    assert_eq!(
        error,
        "other.yaml:1:1: Service default/a is already defined at test.yaml:1:1: remove one of the two"
    );
    let elsewhere = service.replace("name: a", "name: a, namespace: b");
    assert!(Documents::parse("test.yaml", &format!("{service}---\n{elsewhere}")).is_ok());
}

#[test]
fn a_name_in_two_namespaces_is_asked_for_with_its_namespace() {
    let in_b = GUIDE
        .replace("  name: websockets-client-sleep\n", "  name: websockets-client-sleep\n  namespace: b\n");
    let mut documents = parse(GUIDE);
    let client = in_b.split("---\n").nth(3).expect("the client's Deployment");
    documents.merge(parse(client)).expect("distinct");
    let error = documents.workload("websockets-client-sleep").expect_err("ambiguous").to_string();
    let expected = "there is more than one Deployment websockets-client-sleep, in the namespaces default, b: write NAMESPACE/websockets-client-sleep";
    assert_eq!(error, expected);
    assert_eq!(documents.workload("b/websockets-client-sleep").expect("found").namespace, "b");
    let error = documents.workload("websockets-client").expect_err("no such").to_string();
    assert_eq!(
        error,
        "no Deployment websockets-client in the documents: the nearest is websockets-client-sleep"
    );
}

#[test]
fn a_wrong_document_is_named_with_its_place_and_what_was_expected() {
    for (from, to, expected) in [
        (
            "h2UpgradePolicy: UPGRADE",
            "h2UpgradePolicy: UPGRADED",
            "83:26: spec.trafficPolicy.connectionPool.http.h2UpgradePolicy: expected one of DEFAULT, DO_NOT_UPGRADE, UPGRADE, found \"UPGRADED\"",
        ),
        (
            "h2UpgradePolicy: UPGRADE",
            "{h2UpgradePolicy: UPGRADE, useClientProtocol: true}",
            "83:55: spec.trafficPolicy.connectionPool.http.useClientProtocol: expected false where h2UpgradePolicy is UPGRADE, found true",
        ),
        (
            "asm-system: 'true'",
            "asm-system: true",
            "90:17: metadata.labels.asm-system: expected a string (put the value in quotes), found true",
        ),
        (
            "- port: 8080",
            "- port: '8080'",
            "10:13: spec.ports[0].port: expected a whole number from 1 to 65535, found \"8080\"",
        ),
        (
            "targetPort: 80",
            "targetPort: '80'",
            "11:19: spec.ports[0].targetPort: expected a number without quotes, or the name of a container's port, which has a letter, found \"80\"",
        ),
        (
            "allow_connect: true",
            "allow_connect: yep",
            "112:28: spec.configPatches[0].patch.value.typed_config.http2_protocol_options.allow_connect: expected true or false, without quotes, found \"yep\"",
        ),
        (
            "'^1\\.*.*'",
            "'^1(.*'",
            "101:23: spec.configPatches[0].match.proxy.proxyVersion: expected a regular expression such as ^1\\.2.*, found \"^1(.*\"",
        ),
        (
            "operation: MERGE",
            "operation: MERGED",
            "107:18: spec.configPatches[0].patch.operation: expected one of MERGE, ADD, REMOVE, INSERT_BEFORE, INSERT_AFTER, INSERT_FIRST, REPLACE, MERGE_AND_REPLACE_LIST, INVALID, found \"MERGED\"",
        ),
        ("  host: websockets-server\n", "", "79:3: spec.host: expected a value, found nothing"),
        ("kind: DestinationRule\n", "", "72:1: kind: expected a value, found nothing"),
    ] {
        assert!(GUIDE.contains(from), "{from}");
        let error = Documents::parse("guide.yaml", &GUIDE.replacen(from, to, 1)).expect_err(to).to_string();
        assert_eq!(error, format!("guide.yaml:{expected}"));
    }
}

#[test]
fn what_cannot_be_honoured_is_a_warning_with_its_line() {
    for (from, to, expected) in [
        (
            "  trafficPolicy:\n",
            "  trafficPolicy:\n    outlierDetection: {}\n",
            "81: spec.trafficPolicy.outlierDetection is not implemented here: it is in force in a mesh alone [not-played]",
        ),
        (
            "  trafficPolicy:\n",
            "  trafficPolicy:\n    tls: {mode: SIMPLE}\n",
            "81: spec.trafficPolicy.tls: only DISABLE and ISTIO_MUTUAL are played here [not-played]",
        ),
        (
            "h2UpgradePolicy: UPGRADE",
            "http2MaxRequests: 1",
            "83: spec.trafficPolicy.connectionPool.http.http2MaxRequests is not implemented here: it is in force in a mesh alone [not-played]",
        ),
        (
            "kind: DestinationRule",
            "kind: Sidecar",
            "73: Sidecar (networking.istio.io/v1beta1) is not read here: what it does in a mesh is not known [not-judged]",
        ),
        (
            "applyTo: NETWORK_FILTER",
            "applyTo: CLUSTER",
            "97: spec.configPatches[0].applyTo: only NETWORK_FILTER and HTTP_ROUTE are implemented here; the patch has no effect [not-played]",
        ),
        (
            "operation: MERGE",
            "operation: ADD",
            "107: spec.configPatches[0].patch.operation: only MERGE is implemented here; the patch has no effect [not-played]",
        ),
        (
            "\"envoy.filters.network.http_connection_manager\"",
            "envoy.http_connection_manager",
            "105: spec.configPatches[0].match.listener.filterChain.filter.name: not the HTTP connection manager; the patch has no effect here [not-played]",
        ),
        (
            "v3.HttpConnectionManager",
            "v2.HttpConnectionManager",
            "110: spec.configPatches[0].patch.value.typed_config.@type: not type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager, so the patch has no effect [envoy-filter-type]",
        ),
        (
            "http2_protocol_options:\n            allow_connect: true",
            "merge_slashes: true",
            "111: spec.configPatches[0].patch.value.typed_config.merge_slashes is not implemented here: it is in force in a mesh alone [not-played]",
        ),
        (
            "http2_protocol_options:\n            allow_connect: true",
            "request_timeout: 5s",
            "111: spec.configPatches[0].patch.value.typed_config.request_timeout is not implemented here: it is in force in a mesh alone [not-played]",
        ),
        (
            "http2_protocol_options:\n            allow_connect: true",
            "upgrade_configs: [{upgrade_type: websocket}]",
            "111: spec.configPatches[0].patch.value.typed_config.upgrade_configs[0]: websocket is there already, and Envoy refuses an upgrade type that is there twice [duplicate-upgrade-type]",
        ),
        (
            "  workloadSelector:",
            "  targetRefs: []\n  workloadSelector:",
            "93: spec.targetRefs: targetRefs are not implemented here, so the filter applies to nothing [not-played]",
        ),
        (
            "name: http-websocket\n",
            "name: tcp-websocket\n",
            "10: spec.ports[0]: not an HTTP port by its name or appProtocol, so no proxy here serves it [tcp-port]",
        ),
    ] {
        assert!(GUIDE.contains(from), "{from}");
        let documents = Documents::parse("guide.yaml", &GUIDE.replacen(from, to, 1)).expect("valid");
        let warnings: Vec<String> = documents.warnings().iter().map(ToString::to_string).collect();
        assert_eq!(warnings, [format!("guide.yaml:{expected}")], "{to}");
    }
}

#[test]
fn a_folder_is_read_as_kubectl_reads_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let service =
        |name: &str| format!("{{apiVersion: v1, kind: Service, metadata: {{name: {name}}}, spec: {{}}}}");
    for (file, name) in [("b.yaml", "b"), ("a.yml", "a"), ("c.json", "c"), ("d.txt", "d"), ("e", "e")] {
        std::fs::write(folder.path().join(file), service(name)).expect("written");
    }
    std::fs::create_dir(folder.path().join("deeper")).expect("created");
    std::fs::write(folder.path().join("deeper/f.yaml"), service("f")).expect("written");
    let load = |path: &str| Documents::load(&[Source::from(folder.path().join(path))]);
    let names = |documents: &Documents| documents.services().iter().map(Service::name).collect::<String>();
    assert_eq!(names(&load("").expect("read")), "abc");
    assert_eq!(names(&load("d.txt").expect("read")), "d");
    assert_eq!(names(&load("deeper").expect("read")), "f");
    std::fs::remove_file(folder.path().join("deeper/f.yaml")).expect("removed");
    assert!(matches!(load("deeper"), Err(MeshError::EmptyFolder { .. })));
    assert!(matches!(load("nothing.yaml"), Err(MeshError::Read { .. })));
    assert_eq!(Source::from(std::path::PathBuf::from("-")), Source::StandardInput);
}

#[test]
fn the_http1_manifest_is_the_other_policy_alone() {
    let text = include_str!("../../../manifests/http1/destination-rule.yaml");
    let documents = Documents::parse("http1", text).expect("valid");
    let mut complete = documents.clone();
    complete.complete("websockets-server", "websockets-client-sleep").expect("complete");
    let service = complete.service_of_destination_rule().expect("the Service");
    assert!(!upgrades(&complete, service, &MeshDefaults::default()));
    let error = Documents::builtin().merge(documents).expect_err("the same rule").to_string();
    assert!(error.contains("DestinationRule default/websockets-server is already defined"), "{error}");
}
