//! `verify` with scenarios in files: the example, mistakes, and the reports of a run.

use std::fs;
use std::path::Path;
use std::process::Output;

use serde_json::Value;

use crate::json_schema::violations;
use crate::support::{run, text, websockets_cli};

fn verify(args: &[&str]) -> Output {
    run(&[&["verify"], args].concat(), "")
}

/// A folder with the example as `mine.yaml`, edited.
fn example(edit: impl FnOnce(&str) -> String) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("mine.yaml").to_str().expect("text").to_owned();
    let output = verify(&["init", &path]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let written = fs::read_to_string(&path).expect("it was written");
    fs::write(&path, edit(&written)).expect("it can be written");
    (folder, path)
}

/// The example, with an expectation that does not hold.
fn failing() -> (tempfile::TempDir, String) {
    example(|text| {
        let part = "    connection_termination_details: null\n";
        assert!(text.contains(part), "{text}");
        text.replace(part, "    connection_termination_details: 50% gone\n")
    })
}

/// The line of a text, from 1, that contains a part.
fn line_of(path: &str, part: &str) -> usize {
    let text = fs::read_to_string(path).expect("a file");
    1 + text.lines().position(|line| line.contains(part)).expect("the part is there")
}

#[test]
fn the_example_that_init_writes_holds_as_it_is_and_is_never_overwritten() {
    let (_folder, path) = example(str::to_owned);
    let output = verify(&["--scenario", &path]);
    let stdout = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{stdout}{}", text(&output.stderr));
    assert!(stdout.contains("ok    my-scenario") && stdout.contains("1 scenario: 1 ok"), "{stdout}");
    let again = verify(&["init", &path]);
    assert_eq!(again.status.code(), Some(2));
    assert!(text(&again.stderr).contains("mine.yaml"), "{}", text(&again.stderr));
}

#[test]
fn a_scenario_in_a_file_runs_beside_a_built_in_one_and_is_listed() {
    let (_folder, path) = example(str::to_owned);
    let output = verify(&["--scenario", &path, "--scenario", "http1"]);
    let stdout = text(&output.stdout);
    assert!(stdout.contains("ok    http1") && stdout.contains("ok    my-scenario"), "{stdout}");
    let list = text(&verify(&["--list", "--scenario", &path]).stdout);
    assert!(list.starts_with("my-scenario  an example") && list.lines().count() == 1, "{list}");
}

#[test]
fn a_mistake_in_a_scenario_is_named_with_its_place_and_a_hint_and_nothing_is_run() {
    let (_folder, path) = example(|text| text.replace("      - ping:", "      - pnig:"));
    let output = verify(&["--scenario", &path]);
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(text(&output.stdout), "");
    let place = format!("{path}:{}:9: nothing is named \"pnig\" here", line_of(&path, "- pnig:"));
    assert!(stderr.contains(&place) && stderr.contains("hint: did you mean ping?"), "{stderr}");
    let missing = verify(&["--scenario", "nowhere/it.yaml"]);
    assert_eq!(missing.status.code(), Some(2));
    assert!(text(&missing.stderr).contains("read nowhere/it.yaml"), "{}", text(&missing.stderr));
}

#[test]
fn documents_and_messages_come_from_files_beside_the_scenario() {
    let (folder, path) = example(|text| {
        let (before, rest) = text.split_once("documents: |\n").expect("documents");
        let (_, after) = rest.split_once("\n# All of them go").expect("sessions");
        let after = after.replace("{binary: AAEC}", "{file: message.bin}");
        format!("{before}document_files: [rules.yaml]\n\n# All of them go{after}")
    });
    fs::write(folder.path().join("message.bin"), vec![7; 100_000]).expect("a file");
    let rule = "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: a}\n\
                spec: {host: websockets-server, trafficPolicy: {connectionPool: {http: {h2UpgradePolicy: DO_NOT_UPGRADE}}}}\n";
    fs::write(folder.path().join("rules.yaml"), rule).expect("a file");
    fs::write(
        &path,
        fs::read_to_string(&path).expect("it").replace("{binary: AAEC, within", "{file: message.bin, within"),
    )
    .expect("it can be written");
    let output = verify(&["--scenario", &path]);
    let stdout = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{stdout}{}", text(&output.stderr));
    // The sessions went as they should, and the documents decided how.
    assert!(!stdout.contains("session:") && stdout.contains("expected HTTP/2, was HTTP/1.1"), "{stdout}");
}

#[test]
fn a_scenario_says_how_many_lines_there_are_where_a_sidecar_answers_itself() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("it.yaml");
    // No Service has this name, and nothing stands for the passthrough.
    let scenario = "{name: it, description: x, documents: '',
                    sessions: [{steps: [{connect: {host: nowhere.example, status: 503}}]}],
                    expect: {client: {response_flags: UH}, LINES}}";
    let path = path.to_str().expect("text");
    for (lines, status) in [("lines: {server: 0}", 0), ("free_of: nothing", 1)] {
        fs::write(path, scenario.replace("LINES", lines)).expect("a file");
        let output = verify(&["--scenario", path]);
        assert_eq!(output.status.code(), Some(status), "{}{}", text(&output.stdout), text(&output.stderr));
    }
}

#[test]
fn who_drops_the_connection_or_closes_with_another_code_is_seen_in_the_logs() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("it.yaml");
    let scenario = "{name: it, description: x, sessions: [{count: 3, steps: [{repeat: {times: 2, steps: [\
                    {connect: {}}, {send: a}, {receive: a}, drop]}}]}], \
                    expect: {client: {response_flags: DC}, server: {response_flags: DC}}}";
    fs::write(&path, scenario).expect("a file");
    let output = verify(&["--scenario", path.to_str().expect("text")]);
    assert_eq!(output.status.code(), Some(0), "{}{}", text(&output.stdout), text(&output.stderr));
}

#[test]
fn reports_are_written_beside_the_one_for_people() {
    let (folder, path) = failing();
    let at = |name: &str| folder.path().join(name).to_str().expect("text").to_owned();
    let (junit, json) = (at("it.xml"), at("it.json"));
    let output = verify(&[
        "--scenario",
        "http1",
        "--scenario",
        &path,
        "--report",
        &format!("junit={junit}"),
        "--report",
        &format!("json={json}"),
    ]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("FAIL  my-scenario"), "{}", text(&output.stdout));
    let junit = fs::read_to_string(junit).expect("a report");
    assert!(junit.contains("<testsuite name=\"http1\"") && junit.contains("<failure"), "{junit}");
    let report: Value = serde_json::from_str(&fs::read_to_string(json).expect("a report")).expect("JSON");
    assert_eq!((&report["version"], &report["failed"]), (&1.into(), &1.into()));
    let checks = report["scenarios"][1]["cases"][0]["checks"].as_array().expect("checks");
    let failed = checks.iter().find(|check| check["holds"] == false).expect("one failed");
    assert_eq!(failed["field"], "connection_termination_details");
    assert_eq!(failed["at"], line_of(&path, "50% gone"));
}

#[test]
fn a_report_on_standard_output_is_alone_there() {
    let output = verify(&["--scenario", "http1", "--report", "json=-"]);
    assert_eq!(output.status.code(), Some(0));
    let report: Value = serde_json::from_slice(&output.stdout).expect("nothing but JSON");
    assert_eq!(report["holds"], true);
    assert!(text(&output.stderr).contains("ok    http1"), "{}", text(&output.stderr));
}

#[test]
fn a_report_that_cannot_be_written_is_an_error_before_the_run() {
    for report in ["json=nowhere/it.json", "html=it.html"] {
        let output = verify(&["--scenario", "http1", "--report", report]);
        assert_eq!(output.status.code(), Some(2), "{report}");
        assert_eq!(text(&output.stdout), "", "{report}");
    }
}

#[test]
fn in_a_step_of_github_actions_its_report_is_on_by_itself() {
    let (folder, path) = failing();
    let summary = folder.path().join("summary.md");
    fs::write(&summary, "before\n").expect("a file");
    let output = websockets_cli()
        .args(["verify", "--scenario", &path])
        .env("GITHUB_ACTIONS", "true")
        .env("GITHUB_STEP_SUMMARY", &summary)
        .output()
        .expect("it runs");
    let stdout = text(&output.stdout);
    let place = format!("::error file={path},line={},title=", line_of(&path, "50% gone"));
    assert!(stdout.lines().any(|line| line.starts_with(&place) && line.contains("50%25 gone")), "{stdout}");
    let summary = fs::read_to_string(summary).expect("a summary");
    assert!(summary.starts_with("before\n") && summary.contains("| my-scenario | **FAIL** |"), "{summary}");
}

#[test]
fn the_published_schemas_are_those_that_the_program_prints() {
    for format in ["scenario", "report"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("schemas/{format}.schema.json"));
        let published =
            fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let printed = text(&verify(&["schema", format]).stdout);
        assert_eq!(published, printed, "cargo run -- verify schema {format} > schemas/{format}.schema.json");
    }
}

/// One of the published schemas.
fn schema(format: &str) -> Value {
    serde_json::from_slice(&verify(&["schema", format]).stdout).expect("JSON")
}

#[test]
fn a_report_is_as_its_schema_says() {
    let (_folder, path) = failing();
    let output = verify(&["--scenario", &path, "--scenario", "multiplexing", "--report", "json=-"]);
    let mut report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(violations(&schema("report"), &report), [""; 0]);
    report["scenarios"][0]["cases"][0]["checks"][0]["subject"] = "proxy".into();
    assert_eq!(violations(&schema("report"), &report).len(), 1);
}

#[test]
fn the_scenarios_of_this_program_are_as_their_schema_says() {
    let schema = schema("scenario");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/verify/scenario/builtin");
    let mut count = 0;
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("a file").path();
        let scenario: Value = websockets_cli::yaml::from_str(&fs::read_to_string(&path).expect("text"))
            .expect("well-formed YAML");
        assert_eq!(violations(&schema, &scenario), [""; 0], "{}", path.display());
        count += 1;
    }
    assert!(count > 5, "{count}");
    let mistaken =
        serde_json::json!({"name": "a", "description": "b", "sessions": [{"steps": [{"sned": "c"}]}]});
    assert!(!violations(&schema, &mistaken).is_empty());
}

#[test]
fn what_the_pair_cannot_honour_in_a_scenarios_documents_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("it.yaml");
    let scenario = "{name: it, description: x, sessions: [{steps: [{connect: {}}, {close: 1000}]}],
                    documents: \"apiVersion: networking.istio.io/v1\\nkind: VirtualService\\nmetadata: {name: a}\\n\
                    spec: {hosts: [websockets-server], http: [{mirror: {host: elsewhere}, route: [{destination: {host: websockets-server}}]}]}\"}";
    fs::write(&path, scenario).expect("a file");
    let output = verify(&["--scenario", path.to_str().expect("text")]);
    let stderr = text(&output.stderr);
    assert!(
        stderr.contains(
            "spec.http[0].mirror is not implemented here: it is in force in a mesh alone [not-played]"
        ),
        "{stderr}"
    );
    assert_eq!(output.status.code(), Some(5), "{}", text(&output.stdout));
}

#[test]
fn a_scenario_reads_what_is_in_its_folder_alone_unless_it_is_let() {
    let outer = tempfile::tempdir().expect("a folder");
    let (secret, folder) = (outer.path().join("secret.txt"), outer.path().join("request"));
    fs::write(&secret, "of the runner").expect("written");
    fs::create_dir(&folder).expect("made");
    std::os::unix::fs::symlink(&secret, folder.join("link.txt")).expect("linked");
    std::os::unix::fs::symlink(&secret, folder.join("scenario.yaml")).expect("linked");
    let scenario = folder.join("it.yaml");
    let path = scenario.to_str().expect("UTF-8");
    let root = outer.path().to_str().expect("UTF-8");
    for file in ["../secret.txt", "link.txt", secret.to_str().expect("UTF-8")] {
        let written = format!(
            "name: it\ndescription: it\nsessions:\n  - steps:\n      - connect: {{}}\n      \
             - send: {{text_file: {file}}}\n      - receive: of the runner\n      - close: 1000\n"
        );
        fs::write(&scenario, written).expect("written");
        let refused = run(&["verify", "--scenario", path], "");
        let stderr = text(&refused.stderr);
        assert_eq!(refused.status.code(), Some(2), "{stderr}");
        assert!(stderr.contains("in its folder") && stderr.contains("--scenario-root DIR"), "{stderr}");
        assert!(!stderr.contains("of the runner"), "{stderr}");
        let let_in = run(&["verify", "--scenario", path, "--scenario-root", root], "");
        assert_eq!(let_in.status.code(), Some(0), "{}{}", text(&let_in.stdout), text(&let_in.stderr));
    }
    let link = folder.join("scenario.yaml");
    let refused = run(&["verify", "--list", "--scenario", link.to_str().expect("UTF-8")], "");
    assert_eq!(refused.status.code(), Some(2));
    assert!(!text(&refused.stderr).contains("of the runner"), "{}", text(&refused.stderr));
}
