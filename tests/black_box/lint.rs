//! `websockets-cli lint`: what it prints in each format, how it ends, and that `verify` shows the
//! same.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Output;

use serde_json::{Value, json};

use crate::json_schema::violations;
use crate::support::{run, run_in, text};

/// A subset that loses the policy, on lines that the report shows.
const LOST: &str = "\
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata:
  name: websockets-server
spec:
  host: websockets-server
  trafficPolicy:
    connectionPool:
      http:
        h2UpgradePolicy: DO_NOT_UPGRADE
  subsets:
  - name: v1
    trafficPolicy:
      connectionPool:
        http:
          maxConcurrentStreams: 5
";

/// One of the project's manifests.
fn manifest(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests").join(name);
    path.to_str().expect("text").to_owned()
}

/// The published schema of `--output json`.
fn schema() -> Value {
    serde_json::from_str(include_str!("../../schemas/lint.schema.json")).expect("JSON")
}

fn lint(args: &[&str], input: &str) -> Output {
    run(&[&["lint"], args].concat(), input)
}

#[test]
fn the_manifests_are_clean_and_an_upgrade_alone_is_an_error() {
    let clean = lint(&["-f", &manifest("")], "");
    assert_eq!(clean.status.code(), Some(0), "{}", text(&clean.stdout));
    assert_eq!(text(&clean.stderr), "no errors, no warnings, 1 note\n");
    let failing = lint(&["-f", &manifest("destination-rule.yaml"), &manifest("websockets-server.yaml")], "");
    assert_eq!(failing.status.code(), Some(1));
    assert!(text(&failing.stdout).contains("error[upgrade-without-allow-connect]"));
    assert_eq!(text(&failing.stderr), "1 error, no warnings, no notes\n");
}

#[test]
fn a_finding_is_shown_with_its_lines_its_reason_and_what_to_write() {
    let output = lint(&["-f", "-"], LOST);
    assert_eq!(output.status.code(), Some(0), "a warning is no error");
    let expected = fs::read_to_string(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/lint-upgrade-policy-lost.txt"),
    );
    assert_eq!(text(&output.stdout), expected.expect("the fixture"));
}

#[test]
fn of_a_document_in_one_long_line_the_report_shows_a_part() {
    let list = |items: String| format!(r#"{{"apiVersion": "v1", "kind": "List", "items": [{items}]}}"#);
    let others =
        r#"{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"ä": "b"}}, "#;
    let rule = r#"{"apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "metadata": {"name": "a"},
        "spec": {"host": "websockets-server"}}"#;
    let document = list(others.repeat(2000) + &rule.replace('\n', " "));
    let column = document.chars().count()
        - document.rsplit_once("\"websockets-server").expect("there").1.len()
        - "\"websockets-server".len()
        + 1;
    let output = lint(&["-f", "-"], &document);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let shown = text(&output.stdout);
    assert!(shown.contains(&format!("--> -:1:{column}\n")), "{column}: {shown}");
    let marked = shown.lines().find(|line| line.contains("^^^")).expect("what is meant is marked");
    let line = shown.lines().find(|line| line.contains("websockets-server\"")).expect("its line");
    assert!(line.contains("...") && line.chars().count() < 120, "{line}");
    assert_eq!(
        marked.find('^'),
        line.find("\"websockets-server").map(|at| line[..at].chars().count()),
        "{shown}"
    );
}

#[test]
fn json_has_a_version_and_all_of_a_finding() {
    let output = lint(&["-f", "-", "--output", "json"], LOST);
    assert_eq!(text(&output.stderr), "");
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["version"], 1);
    assert_eq!(report["summary"], serde_json::json!({"errors": 0, "warnings": 1, "notes": 1, "allowed": 0}));
    assert_eq!(report["allowed"], serde_json::json!([]));
    assert_eq!(violations(&schema(), &report), [""; 0]);
    let finding = &report["findings"][1];
    let span = LOST.find("connectionPool:\n        http:\n          max").expect("there");
    assert_eq!(finding["code"], "upgrade-policy-lost");
    assert_eq!(finding["severity"], "warning");
    assert_eq!(
        (&finding["file"], &finding["line"], &finding["column"]),
        (&"-".into(), &14.into(), &7.into())
    );
    assert_eq!(finding["span"], serde_json::json!({"offset": span, "length": 14}));
    assert_eq!(
        finding["message"],
        "the rule's h2UpgradePolicy: DO_NOT_UPGRADE does not count for the subset v1"
    );
    assert_eq!(finding["fix"]["yaml"], "connectionPool:\n  http:\n    h2UpgradePolicy: DO_NOT_UPGRADE");
    assert!(finding["why"].is_string() && finding["fix"]["words"].is_string());
}

#[test]
fn github_gets_a_command_a_finding() {
    let output = lint(&["-f", "-", "--output", "github"], LOST);
    let stdout = text(&output.stdout);
    let lines: Vec<&str> = stdout.lines().collect();
    assert_eq!(lines.len(), 2, "{stdout}");
    assert!(lines[0].starts_with("::notice file=-,line=6,col=9,title=unseen-host::"), "{stdout}");
    let warning = "::warning file=-,line=14,col=7,title=upgrade-policy-lost::the rule's h2UpgradePolicy: \
                   DO_NOT_UPGRADE does not count for the subset v1%0Awhy: ";
    assert!(lines[1].starts_with(warning), "{stdout}");
}

#[test]
fn what_cannot_be_read_ends_it_with_2_and_says_where() {
    for (args, input, expected) in [
        (&["-f", "-"][..], "a: b: c\n", "error: -:1:"),
        (&["-f", "-"], "# nothing\n", "error: -: no document"),
        (&["-f", "/nonexistent.yaml"], "", "error: read /nonexistent.yaml: "),
        (&[], "", "error: the following required arguments"),
    ] {
        let output = lint(args, input);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(text(&output.stderr).starts_with(expected), "{}", text(&output.stderr));
        assert_eq!(text(&output.stdout), "");
    }
}

#[test]
fn verify_shows_the_findings_and_its_verdict_is_its_own() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.yaml");
    let rule = fs::read_to_string(manifest("http1/destination-rule.yaml")).expect("the manifest");
    fs::write(&path, rule.replace("connectionPool:", "connectionPol: {}\n    connectionPool:"))
        .expect("written");
    let path = path.to_str().expect("text");
    let output = run(&["verify", "-f", path, "--scenario", "http1"], "");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
    assert!(text(&output.stderr).contains("warning[unknown-field]"), "{}", text(&output.stderr));
    assert!(!text(&output.stdout).contains("unknown-field"), "{}", text(&output.stdout));
}

#[test]
fn of_a_file_that_is_too_long_nothing_is_judged_and_it_is_said() {
    let long = format!("# {}\n", "x".repeat(256 * 1024 * 1024));
    let output = run(&["lint", "-f", "-"], &long);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("longer than 256 MiB"), "{}", text(&output.stderr));
    assert!(output.stdout.is_empty());
}

#[test]
fn a_dump_is_shown_as_it_is_in_force_and_its_faults_decide_over_the_status() {
    let dump = |upgrades: &str| {
        format!(
            r#"{{"configs": [{{"direction": "inbound", "listen": "127.0.0.1:80", "inbound": {{"configuration":
            {{"connection_manager": {{"allow_connect": true, "upgrade_types": [{upgrades}]}}, "virtual_host": {{"name": "v",
            "routes": [{{"name": "r", "action": {{"forward": {{"cluster": {{"name": "c\u001b", "protocol": "Http1"}}}}}}}}]}}}}}}}}]}}"#
        )
    };
    let clean = lint(&["--config-dump", "-"], &dump("\"websocket\""));
    assert_eq!(clean.status.code(), Some(0), "{}", text(&clean.stderr));
    let shown = text(&clean.stdout);
    assert!(shown.contains("in force in - (server, websockets-cli sidecar inbound):\n"), "{shown}");
    assert!(shown.contains("r of v: WebSockets taken; to c\\x1b (HTTP/1.1)"), "{shown}");
    let failing = lint(&["--output", "json", "--config-dump", "server=-"], &dump(""));
    assert_eq!(failing.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&failing.stdout).expect("JSON");
    assert_eq!(report["findings"][0]["code"], "no-websocket-taken");
    let proxy = &report["proxies"][0];
    assert_eq!((&proxy["side"], &proxy["file"]), (&json!("server"), &json!("-")));
    let http = &proxy["listeners"][0]["http"][0];
    assert_eq!(http["extended_connect"], true);
    let route = &http["routes"][0];
    assert_eq!((&route["name"], &route["websockets"]), (&json!("r"), &json!("not-enabled")));
    assert_eq!(route["clusters"], json!([{"name": "c\u{1b}", "protocol": "HTTP/1.1"}]));
}

#[test]
fn documents_and_dumps_are_judged_together_and_each_has_to_have_something() {
    let dump = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/seeds/config_dump/contour.json");
    let together = lint(&["-f", &manifest(""), "--config-dump", dump], "");
    assert_eq!(together.status.code(), Some(0), "{}", text(&together.stderr));
    assert!(text(&together.stdout).starts_with("in force in "), "{}", text(&together.stdout));
    let alone = "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}";
    let output = lint(&["-f", "-", "--config-dump", dump], alone);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stdout));
}

#[test]
fn what_is_no_dump_ends_with_2() {
    for (input, expected) in [
        (r#"{"kind": "List"}"#, "expected Envoy's config_dump"),
        ("{\"configs\": [", "-:1:"),
        (r#"{"configs": [{"@type": "type.googleapis.com/envoy.admin.v3.ClustersConfigDump"}]}"#, "1 note"),
    ] {
        let output = lint(&["--config-dump", "-"], input);
        assert_eq!(output.status.code(), Some(2), "{input}");
        assert!(text(&output.stderr).contains(expected), "{}", text(&output.stderr));
    }
    assert_eq!(lint(&["--config-dump", "client="], "").status.code(), Some(2));
}

#[test]
fn without_any_input_all_kinds_of_input_are_named() {
    let output = lint(&[], "");
    assert_eq!(output.status.code(), Some(2));
    let said = text(&output.stderr);
    for input in ["--filename", "--config-dump", "--kubernetes"] {
        assert!(said.contains(input), "{said}");
    }
}

#[cfg(not(feature = "kubernetes"))]
#[test]
fn without_the_feature_a_cluster_is_refused_with_what_is_missing() {
    let output = lint(&["--kubernetes"], "");
    assert_eq!(output.status.code(), Some(2));
    let said = text(&output.stderr);
    assert!(
        said.contains("lint --kubernetes: this program was built without the feature kubernetes"),
        "{said}"
    );
}

#[test]
fn sarif_has_all_rules_and_a_result_for_each_finding_also_for_those_that_are_allowed() {
    let commented = LOST.replace("  - name: v1", "  - name: v1 # websockets-cli: allow unseen-host").replace(
        "      connectionPool:\n        http:\n          max",
        "      # websockets-cli: allow upgrade-policy-lost\n\
                  \x20     connectionPool:\n        http:\n          max",
    );
    let output = lint(&["-f", "-", "--output", "sarif", "--deny", "unseen-host"], &commented);
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(1), String::new()));
    let log: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let schema = include_str!("../fixtures/sarif.schema.json");
    assert_eq!(violations(&serde_json::from_str(schema).expect("JSON"), &log), [""; 0]);
    let run = &log["runs"][0];
    let rules = run["tool"]["driver"]["rules"].as_array().expect("rules");
    let ids: BTreeSet<&str> = rules.iter().map(|rule| rule["id"].as_str().expect("an id")).collect();
    assert_eq!(ids.len(), rules.len());
    let results = run["results"].as_array().expect("results");
    for result in results {
        let index = usize::try_from(result["ruleIndex"].as_u64().expect("an index")).expect("small");
        assert_eq!(rules[index]["id"], result["ruleId"]);
    }
    let [denied, allowed] = results.as_slice() else { panic!("{results:?}") };
    assert_eq!(
        (&denied["ruleId"], &denied["level"], &denied["suppressions"]),
        (&"unseen-host".into(), &"error".into(), &serde_json::json!([]))
    );
    let region = serde_json::json!({"startLine": 6, "startColumn": 9, "endLine": 6, "endColumn": 26});
    let location = serde_json::json!({"artifactLocation": {"uri": "-"}, "region": region});
    assert_eq!(denied["locations"], serde_json::json!([{"physicalLocation": location}]));
    assert_eq!((&allowed["ruleId"], &allowed["level"]), (&"upgrade-policy-lost".into(), &"warning".into()));
    let suppression = &allowed["suppressions"][0];
    assert_eq!(suppression["kind"], "inSource");
    assert_eq!(suppression["location"]["physicalLocation"]["region"]["startLine"], 14);
    assert!(allowed["properties"]["yaml"].is_string());
}

#[test]
fn sarif_of_what_has_no_finding_has_no_result_and_all_rules() {
    let output = lint(&["--output", "sarif", "-f", &manifest(""), "--allow", "undeclared-port"], "");
    let log: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let run = &log["runs"][0];
    assert_eq!(run["results"][0]["suppressions"][0]["justification"], "--allow");
    let output = lint(&["--output", "sarif", "-f", &manifest("websockets-server.yaml")], "");
    let log: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(log["runs"][0]["results"], serde_json::json!([]));
    assert_eq!(log["runs"][0]["tool"], run["tool"]);
}

/// A Service whose port is TCP to Istio, a warning.
const TCP: &str = "\
apiVersion: v1
kind: Service
metadata: {name: a}
spec:
  ports: [{name: tcp, port: 1}]
";

#[test]
fn what_is_allowed_is_no_error_and_counted_in_every_report_and_what_is_denied_is_one() {
    let allowed = lint(&["-f", "-", "--allow", "tcp-port"], TCP);
    assert_eq!((allowed.status.code(), text(&allowed.stdout)), (Some(0), String::new()));
    assert_eq!(text(&allowed.stderr), "no errors, no warnings, no notes, 1 allowed (1 tcp-port)\n");
    let json = lint(&["-f", "-", "--output", "json", "--allow", "unseen-host,tcp-port"], TCP);
    let report: Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert_eq!(violations(&schema(), &report), [""; 0]);
    assert_eq!(report["findings"], serde_json::json!([]));
    assert_eq!(report["summary"]["allowed"], 1);
    let finding = &report["allowed"][0];
    assert_eq!(
        (&finding["code"], &finding["severity"], &finding["allowed_by"]),
        (&"tcp-port".into(), &"warning".into(), &"command_line".into())
    );
    let github = lint(&["-f", "-", "--output", "github", "--allow", "tcp-port"], TCP);
    assert_eq!(text(&github.stdout), "::notice title=allowed findings::1 allowed (1 tcp-port)\n");
    let denied = lint(&["-f", "-", "--deny", "tcp-port"], TCP);
    assert_eq!(denied.status.code(), Some(1));
    assert!(text(&denied.stdout).starts_with("error[tcp-port]: "), "{}", text(&denied.stdout));
}

#[test]
fn the_working_folder_says_it_for_all_documents_and_the_command_line_over_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let configuration = folder.path().join(".websockets-cli.yaml");
    fs::write(folder.path().join("a.yaml"), TCP).expect("written");
    fs::write(&configuration, "deny: [tcp-port]\n").expect("written");
    let status =
        |args: &[&str]| run_in(folder.path(), &[&["lint", "-f", "."], args].concat(), "").status.code();
    assert_eq!(status(&[]), Some(1));
    assert_eq!(status(&["--allow", "tcp-port"]), Some(0));
    fs::write(&configuration, "allow: [tcp-port]\n").expect("written");
    assert_eq!(status(&[]), Some(0));
    assert_eq!(status(&["--deny", "tcp-port"]), Some(1));
    fs::write(&configuration, "allow:\n- tcp-port\n- tcp-prt\n").expect("written");
    let refused = run_in(folder.path(), &["lint", "-f", "a.yaml"], "");
    let expected = "error: .websockets-cli.yaml:3:3: allow[1]: no finding has the code \"tcp-prt\": the nearest is \
                    tcp-port\n";
    assert_eq!((refused.status.code(), text(&refused.stderr)), (Some(2), expected.to_owned()));
    let refused = run_in(folder.path(), &["verify", "-f", "a.yaml"], "");
    assert_eq!((refused.status.code(), text(&refused.stderr)), (Some(2), expected.to_owned()));
}

#[test]
fn a_code_that_does_not_exist_is_refused_with_the_nearest_one() {
    for args in [&["lint", "-f", "-", "--allow", "tcp-prt"][..], &["verify", "--deny", "tcp-prt"]] {
        let refused = run(args, TCP);
        assert_eq!(refused.status.code(), Some(2));
        let said = text(&refused.stderr);
        assert!(said.contains("no finding has the code \"tcp-prt\": the nearest is tcp-port"), "{said}");
    }
    let both = lint(&["-f", "-", "--allow", "tcp-port", "--deny", "tcp-port"], TCP);
    assert_eq!(both.status.code(), Some(2));
    let said = text(&both.stderr);
    assert_eq!(
        said,
        "error: --allow and --deny: tcp-port is both allowed and denied: leave out one of the two\n"
    );
}

#[test]
fn what_was_not_judged_is_not_right_because_it_is_allowed() {
    for (input, code) in [
        ("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n", "nothing-judged"),
        (
            "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: x}]}\n",
            "invalid-document",
        ),
        ("apiVersion: v1\nkind: Servise\nmetadata: {name: a}\n", "unknown-kind"),
        (&format!("{TCP}---\n{TCP}"), "duplicate-document"),
    ] {
        let all = ["--allow", code, "--allow", "nothing-judged"];
        let output = lint(&[&["-f", "-"], &all[..]].concat(), input);
        assert_eq!(output.status.code(), Some(2), "{code}: {}", text(&output.stderr));
        assert!(text(&output.stderr).contains(&format!("1 {code}")), "{}", text(&output.stderr));
    }
}

#[test]
fn verify_stays_without_judgement_of_what_is_allowed_and_fails_for_what_is_denied() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.yaml");
    let rule = fs::read_to_string(manifest("http1/destination-rule.yaml")).expect("the manifest");
    let mirrored = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: a}\nspec: {hosts: \
                    [websockets-server], http: [{mirror: {host: a}, route: [{destination: {host: websockets-server}}]}]}\n";
    fs::write(&path, format!("{rule}---\n{mirrored}")).expect("written");
    let json = folder.path().join("report.json");
    let xml = folder.path().join("report.xml");
    let [json_to, xml_to] =
        [("json", &json), ("junit", &xml)].map(|(form, to)| format!("{form}={}", to.display()));
    let verify = |args: &[&str]| {
        let common = ["verify", "--scenario", "http1", "--report", &json_to, "--report", &xml_to, "-f"];
        run(&[&common[..], &[path.to_str().expect("text")], args].concat(), "")
    };
    let report =
        || serde_json::from_str::<Value>(&fs::read_to_string(&json).expect("a report")).expect("JSON");

    let allowed = verify(&["--allow", "not-played"]);
    assert_eq!(allowed.status.code(), Some(5), "{}", text(&allowed.stdout));
    assert!(text(&allowed.stderr).contains("1 allowed (1 not-played)"), "{}", text(&allowed.stderr));
    assert!(!text(&allowed.stderr).contains("note[not-played]"), "{}", text(&allowed.stderr));
    assert!(
        text(&allowed.stdout).contains("1 not judged, 1 finding allowed in "),
        "{}",
        text(&allowed.stdout)
    );
    assert_eq!(report()["allowed_findings"], 1);
    let junit = fs::read_to_string(&xml).expect("a report");
    assert!(junit.contains("<property name=\"allowed_findings\" value=\"1\"/>"), "{junit}");

    let denied = verify(&["--deny", "not-played"]);
    assert_eq!(denied.status.code(), Some(1), "{}", text(&denied.stdout));
    let check = &report()["scenarios"][0]["cases"][0]["checks"][0];
    assert_eq!(
        (&check["subject"], &check["field"], &check["holds"]),
        (&"documents".into(), &"not-played".into(), &false.into())
    );
}

#[test]
fn of_many_findings_of_a_kind_the_first_is_drawn_and_the_places_of_a_few_are_named() {
    let services = |count: usize| -> String {
        (1..=count).map(|index| TCP.replace("{name: a}", &format!("{{name: a{index}}}")) + "---\n").collect()
    };
    let drawn = |text: &str| text.matches("= why:").count();
    let few = lint(&["-f", "-"], &services(3));
    assert_eq!(drawn(&text(&few.stdout)), 3, "{}", text(&few.stdout));
    let many = lint(&["-f", "-"], &services(300));
    let shown = text(&many.stdout);
    assert_eq!(text(&many.stderr), "no errors, 300 warnings, no notes\n");
    assert_eq!(drawn(&shown), 1, "{shown}");
    let listed = "\
warning[tcp-port]: 299 more like this:
  -:11:18: the name tcp makes port 1 TCP
  -:17:18: the name tcp makes port 1 TCP
  -:23:18: the name tcp makes port 1 TCP
  -:29:18: the name tcp makes port 1 TCP
  and 295 more (lint --all draws each, --output json has all)

";
    assert!(shown.ends_with(listed), "{shown}");
    assert_eq!(drawn(&text(&lint(&["-f", "-", "--all"], &services(300)).stdout)), 300);
    for (form, pointer) in [("json", "/findings"), ("sarif", "/runs/0/results")] {
        let output = lint(&["-f", "-", "--output", form], &services(300));
        let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(report.pointer(pointer).and_then(Value::as_array).map(Vec::len), Some(300), "{form}");
    }
}

#[test]
fn options_about_a_cluster_are_refused_where_none_is_asked() {
    for option in ["-A", "--proxies", "-nchat", "--timeout=5", "--context=prod", "--kubeconfig=file"] {
        let output = lint(&["-f", "manifests", option], "");
        assert_eq!(output.status.code(), Some(2), "{option}");
        assert!(output.stdout.is_empty(), "{option}");
    }
}

#[test]
fn files_that_are_no_yaml_are_told_what_they_are() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("file.yaml");
    let utf16 = "\u{feff}kind: Service\n".encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    let template = b"kind: Service\nmetadata:\n  name: {{ .Release.Name }}\n".to_vec();
    for (bytes, expected) in
        [(utf16, "it is UTF-16"), (template, "{{ … }} makes it a template: give what Helm makes of it")]
    {
        std::fs::write(&path, bytes).expect("written");
        let output = lint(&["-f", path.to_str().expect("UTF-8")], "");
        assert_eq!(output.status.code(), Some(2));
        assert!(crate::support::text(&output.stderr).contains(expected), "{output:?}");
    }
}
