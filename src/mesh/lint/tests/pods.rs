//! Whose pods a document is about: those of every kind with a pod template, and those that are not
//! among the documents.

use super::*;

const POD_LABELS: &str = "metadata: {labels: {app: a}}";

#[test]
fn an_envoy_filter_whose_pods_are_not_among_the_documents_is_not_judged_by_them() {
    assert_eq!(codes(&envoy_filter(ALLOW_CONNECT)), [""; 0]);
    let other_kind = DEPLOYMENT.replace("Deployment", "ReplicaSet");
    let elsewhere = envoy_filter(ALLOW_CONNECT).replace("{app: a}", "{role: b}");
    assert_eq!(codes(&(elsewhere.clone() + SERVICE)), [""; 0]);
    assert_eq!(codes(&(elsewhere + SERVICE + &other_kind)), ["not-judged"]);
    // A patch for something else is none of these rules' business.
    let of_http_filter = envoy_filter(ALLOW_CONNECT)
        .replace("NETWORK_FILTER", "HTTP_FILTER")
        .replace(TYPE, "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua")
        .replace("MERGE", "INSERT_BEFORE");
    assert_eq!(codes(&(of_http_filter + SERVICE + DEPLOYMENT)), [""; 0]);
    // A patch a version is common, and one of them is for this one.
    let of_versions =
        envoy_filter(ALLOW_CONNECT).replace("match: {", "match: {proxy: {proxyVersion: '^1\\.16'}, ");
    let second = envoy_filter(ALLOW_CONNECT);
    let second = second.split("configPatches:\n").nth(1).expect("the patch");
    let both = of_versions.replace("---\n", second);
    assert_eq!(codes(&(both + SERVICE + DEPLOYMENT)), [""; 0]);
}

#[test]
fn every_kind_of_workload_has_pods() {
    for kind in ["StatefulSet", "DaemonSet"] {
        let pods = DEPLOYMENT
            .replace("Deployment", kind)
            .replace(POD_LABELS, "metadata: {labels: {app: a, tier: b}}");
        let all = with_pool("h2UpgradePolicy: UPGRADE") + SERVICE + &pods;
        let filter = |label: &str| envoy_filter(ALLOW_CONNECT).replace("{app: a}", label);
        assert_eq!(codes(&(all.clone() + &filter("{tier: b}"))), [""; 0]);
        assert_eq!(
            codes(&(all + &filter("{tier: c}"))),
            ["upgrade-without-allow-connect", "envoy-filter-selector"]
        );
        let misnamed = SERVICE.replace("targetPort: 80", "targetPort: http") + &pods;
        let found = findings(&misnamed).remove(0);
        assert_eq!(found.message, format!("no container of the {kind} a has a port named http"));
        // Two kinds may have one name.
        assert_eq!(codes(&(pods + SERVICE + DEPLOYMENT)), [""; 0]);
    }
}

#[test]
fn pods_that_are_not_among_the_documents_may_have_the_labels_that_a_filter_selects() {
    let upgrade = with_pool("h2UpgradePolicy: UPGRADE") + SERVICE;
    let filter = |label: &str| upgrade.clone() + &envoy_filter(ALLOW_CONNECT).replace("{app: a}", label);
    assert_eq!(codes(&filter("{tier: b}")), [""; 0]);
    // Not another one than their Service says.
    assert_eq!(codes(&filter("{app: b}")), ["upgrade-without-allow-connect", "envoy-filter-selector"]);
}

#[test]
fn a_filter_for_gateways_is_not_looked_for_among_the_pods() {
    let of_root =
        envoy_filter("use_remote_address: true").replace("namespace: default", "namespace: istio-system");
    let filter = |label: &str, context: &str| {
        of_root.replace("{app: a}", label).replace("SIDECAR_INBOUND", context) + SERVICE + DEPLOYMENT
    };
    assert_eq!(codes(&filter("{istio: ingressgateway}", "GATEWAY")), [""; 0]);
    assert_eq!(codes(&filter("{istio: eastwestgateway}", "ANY")), [""; 0]);
    assert_eq!(codes(&filter("{app: edge}", "GATEWAY")), [""; 0]);
    assert_eq!(codes(&filter("{app: edge}", "ANY")), ["envoy-filter-selector"]);
}
