//! `sidecar outbound|inbound` as two processes: the pair started by hand, its log, its end, and
//! what it refuses.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::support::{Program, TIMEOUT, eventually, run, text};

const HANDSHAKE: &[u8] = b"GET /chat HTTP/1.1\r\nHost: websockets-server:8080\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

/// `hello` as a client's text frame, masked with zeros.
const HELLO: &[u8] = b"\x81\x85\0\0\0\0hello";

struct Pair {
    _server: Program,
    inbound: Program,
    outbound: Program,
    address: SocketAddr,
}

fn start(logs: &Path, extra: &[&str]) -> Pair {
    let log = |side: &str| logs.join(side).to_str().unwrap().to_owned();
    let side = |direction: &str, endpoint: SocketAddr, workload: &str| {
        let (endpoint, log) = (endpoint.to_string(), log(direction));
        let mut args = vec!["sidecar", direction, "--listen", "127.0.0.1:0", "--endpoint", &endpoint];
        args.extend(["--workload", workload, "--access-log", &log, "--concurrency", "2"]);
        args.extend(extra);
        Program::listening(&args)
    };
    let (server, application) = Program::listening(&["server", "--listen", "127.0.0.1:0", "--workers", "1"]);
    let (inbound, inbound_address) = side("inbound", application, "websockets-server");
    let (outbound, address) = side("outbound", inbound_address, "websockets-client-sleep");
    Pair { _server: server, inbound, outbound, address }
}

/// Opens a session and has `hello` echoed.
fn open_session(address: SocketAddr) -> TcpStream {
    let mut client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(TIMEOUT)).unwrap();
    client.write_all(&[HANDSHAKE, HELLO].concat()).unwrap();
    let mut seen = Vec::new();
    while !seen.ends_with(b"\x81\x05hello") {
        let mut byte = [0];
        client.read_exact(&mut byte).unwrap_or_else(|error| panic!("{error} after {}", text(&seen)));
        seen.push(byte[0]);
    }
    client
}

fn lines(logs: &Path, side: &str) -> Vec<Value> {
    let log = std::fs::read_to_string(logs.join(side)).unwrap_or_default();
    log.lines().map(|line| serde_json::from_str(line).expect("a whole line")).collect()
}

#[test]
fn a_pair_started_by_hand_carries_a_session_over_http2_by_default() {
    let logs = tempfile::tempdir().unwrap();
    let pair = start(logs.path(), &[]);
    let mut client = open_session(pair.address);
    client.write_all(b"\x88\x82\0\0\0\0\x03\xe8").unwrap();
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"\x88\x02\x03\xe8");
    let line = |side| eventually("a line", || lines(logs.path(), side).pop());
    let (client, server) = (line("outbound"), line("inbound"));
    assert_eq!((&client["protocol"], &server["protocol"]), (&json!("HTTP/1.1"), &json!("HTTP/2")));
    assert_eq!(client["authority"], "websockets-server:8080");
    assert_eq!(client["upstream_cluster"], "outbound|8080||websockets-server.default.svc.cluster.local");
    assert_eq!(server["upstream_cluster"], "inbound|80||");
    assert_eq!(client["request_id"], server["request_id"]);
}

#[test]
fn a_sidecar_serves_as_an_image_of_the_program_that_has_parsed_nothing() {
    let logs = tempfile::tempdir().unwrap();
    let pair = start(logs.path(), &[]);
    let of_process =
        |file: &str| std::fs::read_to_string(format!("/proc/{}/{file}", pair.inbound.id())).unwrap();
    let environment = of_process("environ");
    let handed_over =
        environment.split('\0').find_map(|variable| variable.strip_prefix("WEBSOCKETS_CLI_SIDECAR="));
    let handed_over = handed_over.expect("a second image");
    // To who looks at the process it is what was started.
    assert!(of_process("cmdline").contains("sidecar\0inbound\0--listen\0"));
    assert_eq!(of_process("comm"), "websockets-cli\n");
    // Another process that inherits the variable does what it is told.
    let mut other = std::process::Command::new(env!("CARGO_BIN_EXE_websockets-cli"));
    let said = other.arg("--version").env("WEBSOCKETS_CLI_SIDECAR", handed_over).output().unwrap();
    assert!(said.stdout.starts_with(b"websockets-cli "), "{said:?}");
}

#[test]
fn sigterm_ends_a_sidecar_at_once_and_its_open_sessions_leave_their_lines() {
    let logs = tempfile::tempdir().unwrap();
    let mut pair = start(logs.path(), &[]);
    let sessions: Vec<TcpStream> = (0..5).map(|_| open_session(pair.address)).collect();
    assert_eq!(lines(logs.path(), "outbound"), Vec::<Value>::new(), "an open session has no line");
    pair.outbound.signal(Signal::SIGTERM);
    assert_eq!(pair.outbound.end().code(), Some(0));
    let left = lines(logs.path(), "outbound");
    assert_eq!(left.len(), sessions.len());
    for line in left {
        assert_eq!((&line["response_flags"], &line["response_code"]), (&json!("DC"), &json!(101)));
    }
    let server = eventually("the peer's lines", || {
        Some(lines(logs.path(), "inbound")).filter(|lines| lines.len() == sessions.len())
    });
    assert!(server.iter().all(|line| line["response_code_details"] == "http2.remote_reset"), "{server:?}");
    pair.inbound.signal(Signal::SIGINT);
    assert_eq!(pair.inbound.end().code(), Some(0));
}

#[test]
fn the_access_log_goes_to_standard_output_as_text_if_asked() {
    let (mut server, application) =
        Program::listening(&["server", "--listen", "127.0.0.1:0", "--workers", "1"]);
    let endpoint = application.to_string();
    let (mut sidecar, address) = Program::listening(&[
        "sidecar",
        "inbound",
        "--listen",
        "127.0.0.1:0",
        "--endpoint",
        &endpoint,
        "--access-log-format",
        "text",
    ]);
    drop(open_session(address));
    // Its end makes sure of the line: either the client's leaving or the sidecar's own end is what
    // it says.
    sidecar.signal(Signal::SIGTERM);
    let (status, output) = sidecar.output();
    assert_eq!(status.code(), Some(0));
    assert!(output.contains("] \"GET /chat HTTP/1.1\" 101 DC downstream_"), "{output}");
    assert_eq!(output.lines().count(), 1);
    server.signal(Signal::SIGTERM);
    assert_eq!(server.end().code(), Some(0));
}

#[test]
fn without_the_envoy_filter_in_the_documents_the_client_gets_503() {
    let logs = tempfile::tempdir().unwrap();
    let documents = logs.path().join("documents");
    std::fs::create_dir(&documents).unwrap();
    for file in ["websockets-server.yaml", "websockets-client.yaml", "destination-rule.yaml"] {
        let manifests = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests");
        std::fs::copy(manifests.join(file), documents.join(file)).unwrap();
    }
    let pair = start(logs.path(), &["-f", documents.to_str().unwrap()]);
    let mut client = TcpStream::connect(pair.address).unwrap();
    client.set_read_timeout(Some(TIMEOUT)).unwrap();
    client.write_all(HANDSHAKE).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{answer}");
}

#[test]
fn the_mesh_config_decides_where_no_destination_rule_does() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (documents, mesh_config) = (path("documents"), path("mesh.yaml"));
    std::fs::create_dir(&documents).unwrap();
    for file in ["websockets-server.yaml", "websockets-client.yaml", "envoy-filter.yaml"] {
        let manifests = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests");
        std::fs::copy(manifests.join(file), Path::new(&documents).join(file)).unwrap();
    }
    for (policy, protocol) in [("UPGRADE", "HTTP/2"), ("DO_NOT_UPGRADE", "HTTP/1.1")] {
        std::fs::write(&mesh_config, format!("h2UpgradePolicy: {policy}\nrootNamespace: mesh\n")).unwrap();
        let logs = tempfile::tempdir().unwrap();
        let mut pair = start(logs.path(), &["-f", &documents, "--mesh-config", &mesh_config]);
        drop(open_session(pair.address));
        let server = eventually("a line", || lines(logs.path(), "inbound").pop());
        assert_eq!(server["protocol"], protocol);
        for sidecar in [&mut pair.inbound, &mut pair.outbound] {
            let warned = |line: &&String| line.contains("mesh.yaml:2: ") && line.contains("rootNamespace");
            assert_eq!(sidecar.said.iter().filter(warned).count(), 1, "{:?}", sidecar.said);
        }
    }
}

#[test]
fn wrong_input_is_an_error_with_its_place_and_status_2() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mesh.yaml");
    std::fs::write(&file, "apiVersion: v1\nkind: Service\nmetadata:\n  name: x\nspec:\n  ports: 5\n")
        .unwrap();
    let file = file.to_str().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let wrong = folder.path().join("wrong.yaml");
    std::fs::write(&wrong, "h2UpgradePolicy: MAYBE\n").unwrap();
    let cases: [(&[&str], &str); 5] = [
        (&["-f", file], "mesh.yaml:6:10: spec.ports: expected a list, found 5"),
        (&["--mesh-config", wrong.to_str().unwrap()], "wrong.yaml:1:18: h2UpgradePolicy: expected one of"),
        (&["--workload", "nobody"], "no Deployment nobody"),
        (&["--access-log", "/nonexistent/log"], "open the access log /nonexistent/log"),
        (&["--listen", &taken], "something else listens there"),
    ];
    for (extra, expected) in cases {
        let mut args = vec!["sidecar", "inbound", "--endpoint", "127.0.0.1:1"];
        if !extra.contains(&"--listen") {
            args.extend(["--listen", "127.0.0.1:0"]);
        }
        args.extend(extra);
        let output = run(&args, "");
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(text(&output.stderr).contains(expected), "{args:?}: {}", text(&output.stderr));
        assert!(output.stdout.is_empty());
    }
}

#[test]
#[cfg(target_os = "linux")]
fn servers_take_as_many_open_files_as_they_may() {
    for args in [&["server"][..], &["sidecar", "inbound", "--endpoint", "127.0.0.1:1"]] {
        let mut command = std::process::Command::new("sh");
        let limited = "ulimit -S -n 64; exec \"$@\"";
        command.args(["-c", limited, "sh", env!("CARGO_BIN_EXE_websockets-cli")]).args(args);
        let mut program = Program::spawn(command.args(["--listen", "127.0.0.1:0"]));
        program.wait_for("listening on ");
        let limits = std::fs::read_to_string(format!("/proc/{}/limits", program.id())).unwrap();
        let limit = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
        let words: Vec<&str> = limit.split_whitespace().collect();
        assert_eq!(words[3], words[4], "{limit}");
    }
}
