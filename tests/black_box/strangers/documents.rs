//! Documents of strangers, as `lint`, `sidecar` and `verify` read them.

use std::fs;

use super::{about, file, is_told, nothing_is_obeyed, quoted};

/// Documents in which keys, names, values and comments are a stranger's.
fn documents() -> Vec<(&'static str, String)> {
    let hostile = quoted();
    let rule = "apiVersion: networking.istio.io/v1beta1\nkind: DestinationRule\n";
    vec![
        ("a key", format!("{rule}metadata: {{name: a}}\nspec:\n  host: a\n  {hostile}: 1\n")),
        ("a host", format!("{rule}metadata: {{name: a}}\nspec:\n  host: {hostile}\n  {hostile}: 1\n")),
        (
            "a name",
            format!(
                "{rule}metadata: {{name: {hostile}, namespace: {hostile}}}\nspec: {{host: a.b.svc}}\n---\n\
                 {rule}metadata: {{name: {hostile}, namespace: {hostile}}}\nspec: {{host: a.b.svc}}\n"
            ),
        ),
        ("a value", format!("{rule}metadata: {{name: a}}\nspec:\n  host: a\n  trafficPolicy: {hostile}\n")),
        (
            "the lines around",
            format!(
                "# \u{9b}31m\u{202e}\u{2028}::error::forged ##[error]forged\u{2066}\r\n{rule}\
                 metadata: {{name: a}}\nspec:\n  host: a\n  nohost: a # \u{9b}31m\u{85}::error::forged ##[error]forged\n"
            ),
        ),
        (
            "a Service",
            format!(
                "apiVersion: v1\nkind: Service\nmetadata: {{name: {hostile}}}\nspec:\n  selector: {{{hostile}: {hostile}}}\n  \
                 ports:\n  - {{port: 80, name: {hostile}, targetPort: {hostile}}}\n---\n\
                 apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: b}}\nspec:\n  template:\n    metadata:\n      \
                 labels: {{{hostile}: b}}\n    spec: {{containers: [{{name: b}}]}}\n"
            ),
        ),
        (
            "a VirtualService",
            format!(
                "apiVersion: networking.istio.io/v1beta1\nkind: VirtualService\nmetadata: {{name: a}}\nspec:\n  \
                 hosts: [{hostile}]\n  http:\n  - timeout: {hostile}\n    route:\n    - destination: {{host: {hostile}, subset: {hostile}}}\n"
            ),
        ),
        (
            "an EnvoyFilter",
            format!(
                "apiVersion: networking.istio.io/v1alpha3\nkind: EnvoyFilter\nmetadata: {{name: {hostile}}}\nspec:\n  \
                 workloadSelector: {{labels: {{{hostile}: {hostile}}}}}\n  configPatches:\n  - applyTo: {hostile}\n    \
                 match: {{context: SIDECAR_INBOUND}}\n    patch: {{operation: MERGE, value: {{{hostile}: 1}}}}\n"
            ),
        ),
        (
            "codes that it means to allow",
            format!(
                "# websockets-cli: allow {hostile}\napiVersion: v1\nkind: Service\nmetadata:\n  name: a\n  \
                 annotations: {{websockets-cli/allow: {hostile}}}\n"
            ),
        ),
        ("another kind", format!("apiVersion: a\nkind: {hostile}\nmetadata: {{name: a}}\n")),
        ("no YAML", format!("a: [\n{hostile}: {hostile}\n")),
        ("an anchor", "a: *forged\u{9b}31m\u{202e}\n".to_owned()),
        ("nothing", String::new()),
    ]
}

#[test]
fn what_a_document_says_is_found_fault_with_and_not_obeyed() {
    let folder = tempfile::tempdir().expect("a folder");
    for (what, document) in documents() {
        let path = file(folder.path(), b"\xff.yaml", &document);
        for args in [
            "lint -f",
            "lint --output json -f",
            "lint --output github -f",
            "lint --output sarif -f",
            "sidecar outbound --listen 127.0.0.1:0 --endpoint 127.0.0.1:1 --workload none -f",
            "sidecar inbound --listen 127.0.0.1:0 --endpoint 127.0.0.1:1 --workload none -f",
            "verify --service none -f",
        ] {
            nothing_is_obeyed(&format!("{args} {what}"), &about(args, &path));
        }
    }
    let path =
        file(folder.path(), b"-mesh.yaml", &format!("{}: 1\nh2UpgradePolicy: {}\n", quoted(), quoted()));
    is_told("a mesh's configuration", &about("lint -f manifests --mesh-config", &path));
    let folder_without_documents = path.with_extension("d");
    fs::create_dir(&folder_without_documents).expect("a folder");
    is_told("an empty folder", &about("lint -f", &folder_without_documents));
}
