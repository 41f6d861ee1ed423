//! `websockets-cli verify`: what it prints, how it ends, and that the documents decide what it
//! sees.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use crate::support::{Program, eventually, pseudo_terminal, run, text, websockets_cli};

const SCENARIOS: [&str; 6] =
    ["http1", "http2", "no-allow-connect", "do-not-upgrade", "one-line-per-connection", "multiplexing"];

/// Runs `verify` with these arguments.
fn verify(args: &[&str]) -> Output {
    run(&[&["verify"], args].concat(), "")
}

/// The scenarios that standard output names, with their verdicts.
fn verdicts(output: &Output) -> Vec<(String, String)> {
    let stdout = text(&output.stdout);
    let verdict = |line: &str| -> Option<(String, String)> {
        let mut words = line.split_whitespace();
        let (status, name) = (words.next()?, words.next()?);
        let is_verdict = match status {
            "ok" => line.starts_with("ok ") && words.next().is_none(),
            // What failed has its reason behind it.
            _ => line.starts_with("FAIL ") && name.ends_with(':') && words.next().is_some(),
        };
        is_verdict.then(|| (status.to_owned(), name.trim_end_matches(':').to_owned()))
    };
    stdout.lines().filter_map(verdict).collect()
}

fn all(status: &str, names: &[&str]) -> Vec<(String, String)> {
    names.iter().map(|&name| (status.to_owned(), name.to_owned())).collect()
}

/// One of the project's manifests.
fn manifest(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A folder with mesh documents, and what the options name it.
struct Documents(tempfile::TempDir);

impl Documents {
    fn new(texts: &[String]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        for (index, text) in texts.iter().enumerate() {
            fs::write(folder.path().join(format!("{index}.yaml")), text).expect("a file");
        }
        Self(folder)
    }

    fn path(&self) -> &str {
        self.0.path().to_str().expect("text")
    }
}

/// `text` with one part replaced, which has to be there.
fn edited(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "{from:?} is not in {text}");
    text.replace(from, to)
}

/// The only line of a kept log.
fn line(folder: &Path, scenario: &str, side: &str) -> serde_json::Value {
    let path = folder.join(scenario).join(format!("{side}-sidecar.jsonl"));
    let log = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(log.lines().count(), 1, "{log}");
    serde_json::from_str(&log).expect("a JSON line")
}

#[test]
fn the_list_names_every_scenario_and_describes_it() {
    let output = verify(&["--list"]);
    assert_eq!(output.status.code(), Some(0));
    let stdout = text(&output.stdout);
    let names: Vec<_> = stdout.lines().map(|line| line.split_whitespace().next().unwrap_or("")).collect();
    assert_eq!(names, SCENARIOS);
    assert!(stdout.lines().all(|line| line.split_whitespace().count() > 5), "{stdout}");
}

#[test]
fn an_unknown_scenario_is_refused_with_the_nearest_name() {
    let output = verify(&["--scenario", "htp2"]);
    assert_eq!(output.status.code(), Some(2));
    let stderr = text(&output.stderr);
    assert!(stderr.contains("\"htp2\"") && stderr.contains("did you mean http2?"), "{stderr}");
    assert_eq!(text(&output.stdout), "");
}

#[cfg(not(feature = "kubernetes"))]
#[test]
fn without_the_feature_a_cluster_is_refused_with_what_is_missing_and_how_to_get_it() {
    for arguments in [
        &["--kubernetes"][..],
        &["--kubernetes", "-n", "default", "--timeout", "1"],
        &["--kubernetes", "-f", "/nonexistent.yaml", "--apply"],
        &["--kubernetes", "--report", "json=/nonexistent/report.json"],
    ] {
        let output = verify(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let stderr = text(&output.stderr);
        assert!(stderr.starts_with("error: verify --kubernetes: "), "{stderr}");
        assert!(stderr.contains("built without the feature kubernetes\nhint: "), "{stderr}");
        assert!(stderr.contains("cargo build") && stderr.lines().count() == 2, "{stderr}");
        assert_eq!(text(&output.stdout), "");
    }
}

#[test]
fn every_scenario_holds_and_says_what_decided_it() {
    let output = verify(&[]);
    let stdout = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{stdout}{}", text(&output.stderr));
    assert_eq!(verdicts(&output), all("ok", &SCENARIOS), "{stdout}");
    assert!(stdout.contains("HTTP/1.1  GET  101  UR"), "{stdout}");
    assert!(stdout.contains("HTTP/2  GET  101  UC  bytes_received 30  bytes_sent 18"), "{stdout}");
    assert!(stdout.contains("in all 20 lines") && stdout.contains("20 different in 20 lines"), "{stdout}");
    assert!(stdout.contains("\n6 scenarios: 6 ok in "), "{stdout}");
}

#[test]
fn in_a_pipe_there_is_no_progress_bar_and_no_escape_sequence() {
    let output = verify(&["--scenario", "http1"]);
    assert_eq!(text(&output.stderr), "");
    assert!(!text(&output.stdout).contains('\x1b'), "{}", text(&output.stdout));
}

#[test]
fn on_a_terminal_there_is_a_progress_bar_and_it_is_cleared() {
    let (mut screen_end, program_end) = pseudo_terminal();
    let mut verify = websockets_cli()
        .args(["verify", "--scenario", "http1"])
        .stdout(Stdio::null())
        .stderr(Stdio::from(program_end))
        .spawn()
        .expect("the program starts");
    let mut bytes = Vec::new();
    // Ends with an error, as a terminal does when its other end is closed.
    let _ = screen_end.read_to_end(&mut bytes);
    assert_eq!(verify.wait().expect("it ends").code(), Some(0));
    // Of http1 there are two cases.
    assert!(text(&bytes).contains(" 0/2"), "{:?}", text(&bytes));
    let mut screen = vt100::Parser::default();
    screen.process(&bytes);
    assert_eq!(screen.screen().contents().trim(), "");
}

#[test]
fn scenarios_are_selected_by_name_each_once() {
    let output = verify(&["--scenario", "http2", "--scenario", "http1", "--scenario", "http2"]);
    assert_eq!(verdicts(&output), all("ok", &["http1", "http2"]));
}

#[test]
fn kept_logs_are_what_the_sidecars_of_each_scenario_wrote_in_this_run() {
    let folder = tempfile::tempdir().expect("a folder");
    let keep = folder.path().join("kept").to_str().expect("text").to_owned();
    for _ in 0..2 {
        let output = verify(&["--scenario", "http1", "--scenario", "http2", "--keep", &keep]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
    }
    let keep = PathBuf::from(keep);
    let (client, server) = (line(&keep, "http2", "client"), line(&keep, "http2", "server"));
    for line in [&client, &server] {
        assert_eq!(line["authority"], "websockets-server.default.svc.cluster.local:8080");
        assert_eq!(line["route_name"], "default");
        assert_eq!(line["method"], "GET");
        assert_eq!((&line["bytes_received"], &line["bytes_sent"]), (&30.into(), &18.into()));
        assert_eq!(line["upstream_service_time"], serde_json::Value::Null);
    }
    assert_eq!(client["protocol"], "HTTP/1.1");
    assert_eq!(server["protocol"], "HTTP/2");
    assert_eq!(client["upstream_cluster"], "outbound|8080||websockets-server.default.svc.cluster.local");
    assert_eq!(server["upstream_cluster"], "inbound|80||");
    assert_eq!(client["request_id"], server["request_id"]);
    for scenario in ["http1", "http1-no-destination-rule"] {
        for side in ["client", "server"] {
            assert_eq!(line(&keep, scenario, side)["protocol"], "HTTP/1.1", "{scenario}");
        }
    }
}

#[test]
fn the_guides_documents_from_files_select_what_stands_for_upgrade() {
    let documents = Documents::new(&[
        manifest("websockets-server.yaml"),
        manifest("websockets-client.yaml"),
        manifest("destination-rule.yaml"),
        manifest("envoy-filter.yaml"),
    ]);
    let output = verify(&["-f", documents.path()]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
    assert_eq!(verdicts(&output), all("ok", &["http2", "one-line-per-connection", "multiplexing"]));
}

#[test]
fn do_not_upgrade_in_the_documents_changes_the_scenario_and_fails_the_other_one() {
    let rule = edited(&manifest("destination-rule.yaml"), ": UPGRADE", ": DO_NOT_UPGRADE");
    let documents = Documents::new(&[rule, manifest("envoy-filter.yaml")]);
    let output = verify(&["-f", documents.path()]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
    assert_eq!(verdicts(&output), all("ok", &["http1", "one-line-per-connection", "multiplexing"]));
    assert!(
        !text(&output.stdout).contains("UPGRADE"),
        "a label of other documents: {}",
        text(&output.stdout)
    );

    let output = verify(&["-f", documents.path(), "--scenario", "http2"]);
    let stdout = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{stdout}");
    assert_eq!(verdicts(&output), all("FAIL", &["http2"]));
    assert!(stdout.contains("  server: protocol: expected HTTP/2, was HTTP/1.1\n"), "{stdout}");
    let line = "{\"authority\":\"websockets-server.default";
    assert!(!stdout.contains(line), "{stdout}");
    let verbose = verify(&["-f", documents.path(), "--scenario", "http2", "-v"]);
    assert!(text(&verbose.stdout).contains(line), "{}", text(&verbose.stdout));
}

#[test]
fn the_mesh_config_stands_in_for_a_destination_rule() {
    let documents = Documents::new(&[manifest("envoy-filter.yaml")]);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("mesh.yaml");
    let config_map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio}\ndata:\n  mesh: |\n    h2UpgradePolicy: UPGRADE\n";
    fs::write(&file, config_map).expect("a file");
    let file = file.to_str().expect("text");
    let output = verify(&["-f", documents.path(), "--mesh-config", file]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
    assert_eq!(verdicts(&output), all("ok", &["http2", "one-line-per-connection", "multiplexing"]));
    assert_eq!(text(&output.stderr), "");
    let without = verify(&["-f", documents.path()]);
    assert_eq!(verdicts(&without)[0].1, "http1");
    let alone = verify(&["--mesh-config", file]);
    assert_eq!(alone.status.code(), Some(2), "it has nothing to say about the scenarios' own documents");
}

#[test]
fn the_mesh_config_counts_among_the_documents_and_the_one_that_is_named_counts_more() {
    let config_map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio, namespace: istio-system}\ndata: {mesh: 'h2UpgradePolicy: UPGRADE'}\n";
    let values = "meshConfig: {h2UpgradePolicy: UPGRADE}\nglobal: {}\n";
    let folder = tempfile::tempdir().expect("a folder");
    let named = folder.path().join("mesh.yaml");
    fs::write(&named, "h2UpgradePolicy: DO_NOT_UPGRADE\n").expect("a file");
    let named = named.to_str().expect("text");
    for mesh in [config_map, values] {
        let documents = Documents::new(&[manifest("envoy-filter.yaml"), mesh.to_owned()]);
        let output = verify(&["-f", documents.path(), "--scenario", "http2"]);
        assert_eq!(output.status.code(), Some(0), "{mesh}: {}", text(&output.stdout));
        let output = verify(&["-f", documents.path(), "--scenario", "http1", "--mesh-config", named]);
        assert_eq!(output.status.code(), Some(0), "{mesh}: {}", text(&output.stdout));
    }
    let contradicting = values.replace("UPGRADE", "DO_NOT_UPGRADE");
    let documents = Documents::new(&[manifest("envoy-filter.yaml"), config_map.to_owned(), contradicting]);
    let output = verify(&["-f", documents.path(), "--scenario", "http1"]);
    assert_eq!(output.status.code(), Some(5), "{}", text(&output.stdout));
    assert!(text(&output.stdout).contains("mesh-configs-differ"), "{}", text(&output.stdout));
}

#[test]
fn whatever_takes_allow_connect_away_shows_as_503() {
    let filter = manifest("envoy-filter.yaml");
    let filters = [
        None,
        Some(edited(&filter, "allow_connect: true", "allow_connect: false")),
        Some(edited(&filter, r"'^1\.*.*'", "'^2'")),
        Some(edited(&filter, "app: websockets-server", "app: websocket-server")),
        Some(edited(&filter, "SIDECAR_INBOUND", "SIDECAR_OUTBOUND")),
    ];
    for filter in filters {
        let mut texts = vec![manifest("destination-rule.yaml")];
        texts.extend(filter);
        let documents = Documents::new(&texts);
        let output =
            verify(&["-f", documents.path(), "--scenario", "http2", "--scenario", "no-allow-connect"]);
        let stdout = text(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "{stdout}");
        assert_eq!(
            verdicts(&output),
            [all("FAIL", &["http2"]), all("ok", &["no-allow-connect"])].concat(),
            "{texts:?}: {stdout}"
        );
        let cause = "the server's sidecar does not allow extended CONNECT";
        assert!(stdout.starts_with(&format!("FAIL  http2: {cause}")), "{stdout}");
        assert_eq!(stdout.matches(cause).count(), 1, "{stdout}");
        assert!(stdout.contains("  session: connect: expected 101, was 503"), "{stdout}");
        assert!(stdout.contains("  server: response_flags: expected UC, was DPE\n"), "{stdout}");
        assert!(!stdout.contains("server: method:") && stdout.contains(" that follow from it"), "{stdout}");
        assert!(!stdout.contains("\"authority\""), "{stdout}");
    }
}

#[test]
fn host_port_namespace_and_labels_come_from_the_documents() {
    let server = manifest("websockets-server.yaml");
    let server = edited(&server, "name: websockets-server\n", "name: chat\n  namespace: talk\n");
    let server = edited(&edited(&server, "port: 8080", "port: 9000"), "targetPort: 80", "targetPort: 7000");
    let server = edited(&server, "app: websockets-server", "app: chat");
    let rule = edited(
        &manifest("destination-rule.yaml"),
        "name: websockets-server",
        "name: chat\n  namespace: talk",
    );
    let rule = edited(&rule, "host: websockets-server", "host: chat");
    let filter = edited(&manifest("envoy-filter.yaml"), "app: websockets-server", "app: chat");
    let filter = edited(&filter, "name: h2-upgrade-wss", "name: h2-upgrade-wss\n  namespace: talk");
    let documents = Documents::new(&[server, rule, filter]);
    let folder = tempfile::tempdir().expect("a folder");
    let keep = folder.path().to_str().expect("text");
    let output = verify(&["-f", documents.path(), "--keep", keep]);
    assert_eq!(output.status.code(), Some(0), "{}{}", text(&output.stdout), text(&output.stderr));
    assert_eq!(verdicts(&output)[0].1, "http2");
    let client = line(folder.path(), "http2", "client");
    assert_eq!(client["authority"], "chat.talk.svc.cluster.local:9000");
    assert_eq!(client["upstream_cluster"], "outbound|9000||chat.talk.svc.cluster.local");
    assert_eq!(line(folder.path(), "http2", "server")["upstream_cluster"], "inbound|7000||");
}

#[test]
fn a_service_and_a_deployment_that_the_files_lack_are_built_in_ones_in_the_files_namespace() {
    let in_talk = |name: &str| {
        let text = manifest(name);
        edited(&text, "\nmetadata:\n", "\nmetadata:\n  namespace: talk\n")
    };
    let documents = Documents::new(&[in_talk("destination-rule.yaml"), in_talk("envoy-filter.yaml")]);
    let folder = tempfile::tempdir().expect("a folder");
    let keep = folder.path().to_str().expect("text");
    let output = verify(&["-f", documents.path(), "--scenario", "http2", "--keep", keep]);
    assert_eq!(output.status.code(), Some(0), "{}{}", text(&output.stdout), text(&output.stderr));
    let client = line(folder.path(), "http2", "client");
    assert_eq!(client["authority"], "websockets-server.talk.svc.cluster.local:8080");
}

#[test]
fn wrong_documents_are_named_with_file_and_line_and_nothing_is_run() {
    let rule = manifest("destination-rule.yaml");
    for (text_of_rule, line_number) in
        [(edited(&rule, ": UPGRADE", ": UPGRADED"), 13), (edited(&rule, "  host: ", " host: "), 10)]
    {
        let documents = Documents::new(&[text_of_rule]);
        let output = verify(&["-f", documents.path()]);
        assert_eq!(output.status.code(), Some(2), "{}", text(&output.stdout));
        let stderr = text(&output.stderr);
        assert!(stderr.contains(&format!("0.yaml:{line_number}")), "{stderr}");
        assert_eq!(text(&output.stdout), "");
    }
    let output = verify(&["-f", "no-such-file.yaml"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("no-such-file.yaml"), "{}", text(&output.stderr));
}

#[test]
fn a_service_and_a_client_are_chosen_by_name() {
    let server = manifest("websockets-server.yaml");
    let second = edited(&edited(&server, "websockets-server", "second"), "websockets-test", "second");
    let documents = Documents::new(&[server, second]);
    let folder = tempfile::tempdir().expect("a folder");
    let keep = folder.path().to_str().expect("text");
    let args = ["-f", documents.path(), "--scenario", "http1", "--keep", keep, "--service", "second"];
    let output = verify(&args);
    assert_eq!(output.status.code(), Some(0), "{}{}", text(&output.stdout), text(&output.stderr));
    let authority = &line(folder.path(), "http1", "client")["authority"];
    assert_eq!(authority, "second.default.svc.cluster.local:8080");
    for option in ["--service", "--client-workload"] {
        let output = verify(&["-f", documents.path(), option, "third"]);
        assert_eq!(output.status.code(), Some(2), "{option}: {}", text(&output.stdout));
        assert!(text(&output.stderr).contains("third"), "{}", text(&output.stderr));
    }
}

#[test]
fn a_route_that_a_virtual_service_names_is_what_the_lines_have_to_say() {
    let service = "\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: websockets-server
spec:
  hosts: [websockets-server]
  http:
  - name: chat
    route:
    - destination: {host: websockets-server}
";
    let documents = Documents::new(&[service.to_owned()]);
    let folder = tempfile::tempdir().expect("a folder");
    let keep = folder.path().to_str().expect("text");
    let output = verify(&["-f", documents.path(), "--scenario", "http1", "--keep", keep]);
    assert_eq!(output.status.code(), Some(0), "{}{}", text(&output.stdout), text(&output.stderr));
    assert_eq!(line(folder.path(), "http1", "client")["route_name"], "chat");
    assert_eq!(line(folder.path(), "http1", "server")["route_name"], "default");
}

#[test]
fn an_interrupted_run_ends_with_130_and_leaves_nothing() {
    // A filter of the user's own, under which closing takes longer than anybody waits.
    let filter = edited(
        &manifest("envoy-filter.yaml"),
        "http2_protocol_options:\n            allow_connect: true",
        "delayed_close_timeout: 60s",
    );
    let filter = edited(&filter, "SIDECAR_INBOUND", "ANY");
    let filter = edited(&filter, "  workloadSelector:\n    labels:\n      app: websockets-server\n", "");
    let documents = Documents::new(&[filter]);
    let temporary = tempfile::tempdir().expect("a folder");
    let entries = || fs::read_dir(temporary.path()).expect("readable").count();
    let mut program = Program::spawn(
        websockets_cli()
            .args(["verify", "--scenario", "http1", "-f", documents.path()])
            .env("TMPDIR", temporary.path()),
    );
    eventually("it runs", || (entries() > 0).then_some(()));
    program.signal(nix::sys::signal::Signal::SIGINT);
    assert_eq!(program.end().code(), Some(130));
    assert_eq!(entries(), 0, "the logs are still there");
}

#[test]
fn a_file_without_a_document_is_not_judged_by_the_documents_that_are_built_in() {
    let empty = tempfile::NamedTempFile::new().expect("a file");
    for text in ["", "# rendered to nothing\n---\n"] {
        std::fs::write(&empty, text).expect("written");
        let output = verify(&["-f", empty.path().to_str().expect("UTF-8")]);
        let stderr = crate::support::text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(stderr.contains("no document: nothing but comments and empty ones"), "{stderr}");
    }
}

/// The routes of a host, in a file of their own.
fn virtual_service(host: &str, routes: &str) -> tempfile::NamedTempFile {
    let route = format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: v}}\nspec: {{hosts: \
         [{host}], http: [{routes}]}}\n"
    );
    let file = tempfile::Builder::new().suffix(".yaml").tempfile().expect("a file");
    std::fs::write(&file, route).expect("written");
    file
}

const MANIFESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/manifests");

#[test]
fn documents_that_say_more_than_is_played_are_not_judged_to_be_right() {
    let file = virtual_service(
        "websockets-server",
        "{fault: {abort: {httpStatus: 503, percentage: {value: 0.0001}}}, route: [{destination: {host: \
         websockets-server}}]}",
    );
    let path = file.path().to_str().expect("UTF-8");
    let output = verify(&["-f", MANIFESTS, "-f", path, "--scenario", "http2"]);
    let stdout = crate::support::text(&output.stdout);
    assert_eq!(output.status.code(), Some(5), "{stdout}");
    let place = format!("{path}:4:51");
    assert!(
        stdout.starts_with(&format!("not judged  http2\n      not judged: not-played ({place})\n")),
        "{stdout}"
    );
    assert!(stdout.contains("\n1 scenario: 0 ok, 1 not judged in "), "{stdout}");
    assert!(
        stdout.contains(&format!(
            "\n  {place}: spec.http[0].fault: some requests are delayed or answered, and others are not"
        )),
        "{stdout}"
    );
    // What fails is worse.
    let output =
        verify(&["-f", MANIFESTS, "-f", path, "--scenario", "http2", "--scenario", "do-not-upgrade"]);
    let stdout = crate::support::text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{stdout}");
    assert!(stdout.contains("\n2 scenarios: 0 ok, 1 failed, 1 not judged in "), "{stdout}");
}

/// A Service with its Deployment, and more documents, in a file of their own.
fn service(name: &str, more: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{selector: {{app: {name}}}, ports: [{{name: \
         http-ws, port: 8080, targetPort: 80}}]}}\n---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: {name}}}\n\
         spec: {{template: {{metadata: {{labels: {{app: {name}}}}}, spec: {{containers: []}}}}}}\n---\n{more}"
    )
}

#[test]
fn sessions_go_to_the_service_of_the_documents_and_where_there_are_several_it_has_to_be_named() {
    let redirect = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: v}\nspec: {hosts: [web], \
                    http: [{redirect: {uri: /x}}]}\n";
    let rule = |host: &str| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: {host}}}\nspec: {{host: \
             {host}, trafficPolicy: {{connectionPool: {{http: {{h2UpgradePolicy: DO_NOT_UPGRADE}}}}}}}}\n---\n"
        )
    };
    let several = service("web", "") + &service("api", "");
    let named =
        "no session here goes to api.default.svc.cluster.local: all go to web.default.svc.cluster.local";
    for (documents, more, status, said) in [
        (service("web", redirect), &[][..], 1, "connect: expected 101, was 301"),
        (several.clone(), &[], 2, "(default/web, default/api): name one with --service"),
        (several.clone(), &["--service", "api"], 0, "1 scenario: 1 ok"),
        (several.clone() + &rule("web") + &rule("api"), &[], 5, named),
        (several + &rule("web") + &rule("api"), &["--service", "web"], 0, "1 scenario: 1 ok"),
        (
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n".to_owned(),
            &[],
            5,
            "not judged: nothing-judged",
        ),
    ] {
        let file = tempfile::Builder::new().suffix(".yaml").tempfile().expect("a file");
        std::fs::write(&file, &documents).expect("written");
        let path = file.path().to_str().expect("UTF-8");
        let output = verify(&[&["-f", path, "--scenario", "http1"], more].concat());
        let all = format!("{}{}", text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(status), "{documents}: {all}");
        assert!(all.contains(said), "{documents}: {all}");
    }
}

#[test]
fn a_route_is_played_and_one_that_no_session_takes_is_not_judged() {
    let to = "route: [{destination: {host: websockets-server}}]";
    for (routes, status, said) in [
        ("{redirect: {uri: /elsewhere}}".to_owned(), 1, "connect: expected 101, was 301"),
        (
            format!("{{match: [{{uri: {{prefix: /chat}}}}], {to}}}"),
            5,
            "sessions here ask for /chat, which a route matches; / has no route: it would be answered with 404 (NR)",
        ),
        (
            format!("{{match: [{{sourceLabels: {{app: other}}}}], {to}}}"),
            5,
            "no session here takes the routes for clients with the labels app=other",
        ),
        (
            format!("{{match: [{{sourceNamespace: other}}], {to}}}, {{{to}}}"),
            5,
            "no session here takes the routes for clients in the namespace other",
        ),
        (format!("{{match: [{{port: 9999}}], {to}}}"), 0, "1 scenario: 1 ok"),
        (format!("{{match: [{{gateways: [a/b]}}], {to}}}"), 0, "1 scenario: 1 ok"),
        (format!("{{rewrite: {{authority: other.example.com}}, {to}}}"), 0, "1 scenario: 1 ok"),
        (
            format!("{{headers: {{request: {{set: {{Host: other.example.com}}}}}}, {to}}}"),
            0,
            "1 scenario: 1 ok",
        ),
        (
            format!("{{match: [{{uri: {{prefix: /chat}}}}], redirect: {{uri: /}}}}, {{{to}}}"),
            5,
            "no session here takes the route for paths that begin with /chat",
        ),
        (format!("{{match: [{{uri: {{prefix: /chat}}}}], {to}}}, {{{to}}}"), 0, "1 scenario: 1 ok"),
        (format!("{{match: [{{headers: {{upgrade: {{exact: websocket}}}}}}], {to}}}"), 0, "1 scenario: 1 ok"),
    ] {
        let file = virtual_service("websockets-server", &routes);
        let path = file.path().to_str().expect("UTF-8");
        let output = verify(&["-f", MANIFESTS, "-f", path, "--scenario", "http2"]);
        let stdout = crate::support::text(&output.stdout);
        assert_eq!(output.status.code(), Some(status), "{routes}: {stdout}");
        assert!(stdout.contains(said), "{routes}: {stdout}");
    }
}

#[test]
fn the_path_that_is_named_is_asked_for_and_is_all_that_counts() {
    let to = "route: [{destination: {host: websockets-server}}]";
    let of_chat = format!("{{match: [{{uri: {{prefix: /chat}}}}], {to}}}");
    for (routes, path, status, said) in [
        (of_chat.clone(), "/chat", 0, "3 scenarios: 3 ok"),
        (of_chat.clone(), "/chat/a", 0, "3 scenarios: 3 ok"),
        (of_chat.clone(), "/", 1, "connect: expected 101, was 404"),
        (format!("{of_chat}, {{redirect: {{uri: /}}}}"), "/chat", 0, "3 scenarios: 3 ok"),
        (format!("{of_chat}, {{redirect: {{uri: /}}}}"), "/", 1, "connect: expected 101, was 301"),
        (
            format!("{{match: [{{uri: {{prefix: /chat}}}}], rewrite: {{uri: /}}, {to}}}"),
            "/chat",
            0,
            "3 scenarios: 3 ok",
        ),
        (
            format!(
                "{{match: [{{uri: {{prefix: /chat}}, headers: {{x-a: {{exact: b}}}}}}], redirect: {{uri: /}}}}, {{{to}}}"
            ),
            "/chat",
            5,
            "no session here takes the route for paths that begin with /chat",
        ),
        (of_chat, "chat", 2, ""),
    ] {
        let file = virtual_service("websockets-server", &routes);
        let output = verify(&["-f", MANIFESTS, "-f", file.path().to_str().expect("UTF-8"), "--path", path]);
        let stdout = crate::support::text(&output.stdout);
        assert_eq!(output.status.code(), Some(status), "{routes} {path}: {stdout}");
        assert!(stdout.contains(said), "{routes} {path}: {stdout}");
    }
}

#[test]
fn a_port_where_the_sidecars_speak_otherwise_is_not_judged_until_it_is_played() {
    let documents = |of_other: &str, ports: &str| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: chat}}\nspec: {{selector: {{app: chat}}, ports: {ports}}}\n---\n\
             apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: chat}}\nspec: {{template: {{metadata: {{labels: {{app: chat}}}}, \
             spec: {{containers: []}}}}}}\n---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: chat}}\n\
             spec: {{host: chat, trafficPolicy: {{portLevelSettings: [{{port: {{number: 81}}, connectionPool: {{http: {{h2UpgradePolicy: \
             {of_other}}}}}}}]}}}}\n"
        )
    };
    let ports = "[{name: http, port: 80, targetPort: 8000}, {name: http-b, port: 81, targetPort: 8001}]";
    let (alike, upgrading) = (documents("DO_NOT_UPGRADE", ports), documents("UPGRADE", ports));
    let http2 = documents("DO_NOT_UPGRADE", &ports.replace("http-b", "http2-b"));
    let other = "no session here goes to port 81 of chat.default.svc.cluster.local, where the sidecars speak otherwise: all go to 80";
    for (documents, more, status, said) in [
        (&alike, &[][..], 0, "3 scenarios: 3 ok"),
        (&upgrading, &[], 5, other),
        (&http2, &[], 5, other),
        (&upgrading, &["--service", "chat:80"], 0, "3 scenarios: 3 ok"),
        (
            &upgrading,
            &["--service", "default/chat:81"],
            1,
            "the server's sidecar does not allow extended CONNECT",
        ),
        (&http2, &["--service", "chat:81"], 1, "the server's sidecar does not allow extended CONNECT"),
        (&alike, &["--service", "chat:82"], 2, ""),
    ] {
        let file = tempfile::Builder::new().suffix(".yaml").tempfile().expect("a file");
        std::fs::write(&file, documents).expect("written");
        let output = verify(&[&["-f", file.path().to_str().expect("UTF-8")], more].concat());
        let stdout = crate::support::text(&output.stdout);
        assert_eq!(output.status.code(), Some(status), "{documents} {more:?}: {stdout}");
        assert!(stdout.contains(said), "{documents} {more:?}: {stdout}");
    }
}

#[test]
fn documents_about_other_sessions_leave_nothing_open() {
    let file = virtual_service("somebody-else", "{redirect: {uri: /}}");
    let path = file.path().to_str().expect("UTF-8");
    let output = verify(&["-f", MANIFESTS, "-f", path, "--scenario", "http2"]);
    assert_eq!(output.status.code(), Some(0), "{}", crate::support::text(&output.stdout));
}

#[test]
fn a_scenario_whose_own_documents_say_more_than_is_played_is_not_judged_and_the_others_are() {
    let folder = tempfile::tempdir().expect("a folder");
    let scenario = folder.path().join("mine.yaml");
    let path = scenario.to_str().expect("UTF-8");
    assert_eq!(verify(&["init", path]).status.code(), Some(0));
    let text = std::fs::read_to_string(&scenario).expect("written");
    let (before, after) = text.split_once("documents: |\n").expect("it has documents");
    let route = "  apiVersion: networking.istio.io/v1\n  kind: VirtualService\n  metadata: {name: v}\n  spec: \
                 {hosts: [websockets-server], http: [{mirror: {host: a}, route: [{destination: {host: websockets-server}}]}]}\n  ---\n";
    std::fs::write(&scenario, format!("{before}documents: |\n{route}{after}")).expect("written");
    let json = folder.path().join("report.json");
    let report = format!("json={}", json.display());
    let output = verify(&["--scenario", path, "--scenario", "http1", "--report", &report]);
    assert_eq!(output.status.code(), Some(5), "{}", crate::support::text(&output.stdout));
    let report: serde_json::Value =
        serde_json::from_slice(&std::fs::read(json).expect("a report")).expect("JSON");
    let scenarios = report["scenarios"].as_array().expect("scenarios");
    let outcomes: Vec<_> = scenarios.iter().map(|scenario| &scenario["outcome"]).collect();
    assert_eq!(outcomes, ["ok", "not_judged"]);
    let why = &scenarios[1]["not_judged"][0];
    assert_eq!((&why["code"], &why["file"]), (&"not-played".into(), &path.into()));
    let line = before.lines().count() + 5;
    assert_eq!(why["line"], line, "{why}");
}

#[test]
fn an_application_behind_an_http2_port_is_spoken_to_in_http2_as_the_sidecars_do() {
    let manifests = std::path::Path::new(MANIFESTS);
    let read = |name: &str| std::fs::read_to_string(manifests.join(name)).expect("a document");
    let (service, filter) = (read("websockets-server.yaml"), read("envoy-filter.yaml"));
    let rule = read("destination-rule.yaml");
    let named = "name: http-websocket";
    assert!(service.contains(named));
    for (port, rule) in [
        ("name: http2-websocket", ""),
        ("name: grpc-websocket", ""),
        ("name: websocket\n      appProtocol: kubernetes.io/h2c", ""),
        // Whose protocol is not said: what comes from the client's sidecar goes on as it comes.
        ("name: websocket", rule.as_str()),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let text = [&service.replace(named, port), &filter, rule].join("\n---\n");
        let path = folder.path().join("documents.yaml");
        std::fs::write(&path, text).expect("written");
        let output = verify(&["-f", path.to_str().expect("UTF-8")]);
        let stdout = crate::support::text(&output.stdout);
        assert!(stdout.contains("\n3 scenarios: 3 ok in "), "{port}: {stdout}");
        assert!(
            stdout.starts_with("ok    http2\n        client  HTTP/1.1  GET  101  -\n"),
            "{port}: {stdout}"
        );
    }
}

#[test]
fn what_the_sidecars_leave_out_of_documents_is_a_finding_and_keeps_scenarios_from_being_judged() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("more.yaml");
    let more = path.to_str().expect("UTF-8");
    for (document, code) in [
        (
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: v}\nspec: {hosts: \
             [websockets-server], http: [{mirror: {host: another}, route: [{destination: {host: \
             websockets-server}}]}]}\n",
            "not-played",
        ),
        (
            "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: a}\nspec: {action: \
             DENY, rules: [{from: [{source: {namespaces: [other]}}]}]}\n",
            "not-judged",
        ),
    ] {
        std::fs::write(&path, document).expect("written");
        let output = verify(&["-f", MANIFESTS, "-f", more, "--scenario", "http2"]);
        let (stdout, stderr) = (crate::support::text(&output.stdout), crate::support::text(&output.stderr));
        assert_eq!(output.status.code(), Some(5), "{stdout}{stderr}");
        assert!(stdout.contains(&format!("not judged: {code} ({more}:")), "{stdout}");
        // Once: as a finding, not as a warning of the sidecars beside it.
        assert!(stderr.contains(&format!("note[{code}]: ")) && !stderr.contains("WARN"), "{stderr}");
    }
    // What two sidecars agree on, and what does not choose among one endpoint, leaves nothing open.
    let taken = "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: p}\nspec: {mtls: \
                 {mode: STRICT}}\n";
    std::fs::write(&path, taken).expect("written");
    let output = verify(&["-f", MANIFESTS, "-f", more, "--scenario", "http2"]);
    assert_eq!(output.status.code(), Some(0), "{}", crate::support::text(&output.stdout));
}
