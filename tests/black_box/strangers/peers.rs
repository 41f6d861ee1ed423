//! The strangers at the other end of a connection: servers, proxies, an API server.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::Stdio;

use rcgen::{CertificateParams, DnType, KeyPair};
use tungstenite::Message;
use tungstenite::protocol::CloseFrame;

use super::{FORGED, hostile, is_told, nothing_is_obeyed};
use crate::support::{Program, TIMEOUT, pseudo_terminal, text, websockets_cli};

/// A server that answers each of its connections with these bytes, and closes. Its thread ends with
/// the test's process.
fn answering(bytes: Vec<u8>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let address = listener.local_addr().expect("it is bound");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let bytes = bytes.clone();
            std::thread::spawn(move || {
                let _ = stream.set_read_timeout(Some(TIMEOUT));
                let mut request = [0; 4096];
                let _ = stream.read(&mut request);
                let _ = stream.write_all(&bytes);
                let _ = stream.shutdown(std::net::Shutdown::Write);
                while stream.read(&mut request).is_ok_and(|count| count > 0) {}
            });
        }
    });
    address
}

/// What a server may send in a field of HTTP/1.1: no line feed, none of C0.
fn in_a_field() -> String {
    let sendable = |character: &char| *character == '\t' || !character.is_ascii_control();
    hostile().chars().filter(sendable).collect()
}

/// The program against a peer, with and without the narration, and with what all libraries say of
/// it.
fn against(address: SocketAddr, args: &[&str]) {
    let uri = format!("ws://{address}/");
    for (more, log) in [(&[][..], ""), (&["-vv"], ""), (&[], "trace")] {
        let is_verbose = !more.is_empty();
        if is_verbose && args[0] != "client" {
            continue;
        }
        let mut command = websockets_cli();
        command.args(args).args(more).arg(&uri).env("RUST_LOG", log).stdin(Stdio::null());
        let output = command.output().expect("the binary ends");
        nothing_is_obeyed(&format!("{args:?} {more:?} {log}"), &output);
    }
}

#[test]
fn what_an_http_server_answers_is_shown_and_not_obeyed() {
    let (field, body) = (in_a_field(), hostile());
    let length = body.len();
    let refusal = |status: &str| {
        format!("HTTP/1.1 {status}\r\nserver: {field}\r\ncontent-length: {length}\r\n\r\n{body}").into_bytes()
    };
    let switched = |fields: &str| {
        format!("HTTP/1.1 101 Switching\r\nupgrade: websocket\r\nconnection: upgrade\r\n{fields}\r\n\r\n")
            .into_bytes()
    };
    for answer in [
        refusal(&format!("503 {}", in_a_field())),
        refusal("404 Not Found"),
        refusal("426 forged"),
        format!("HTTP/1.1 302 Found\r\nlocation: ftp://{field}\r\ncontent-length: 0\r\n\r\n").into_bytes(),
        format!("HTTP/1.1 302 Found\r\nlocation: ws://{field}/\r\ncontent-length: 0\r\n\r\n").into_bytes(),
        format!("HTTP/1.1 401 no\r\nwww-authenticate: {field}\r\nretry-after: {field}\r\ncontent-length: 0\r\n\r\n").into_bytes(),
        switched(&format!("sec-websocket-accept: {field}")),
        switched(&format!("sec-websocket-accept: x\r\nsec-websocket-protocol: {field}")),
        switched(&format!("sec-websocket-extensions: {field}")),
        format!("HTTP/1.1 {body}\r\n\r\n").into_bytes(),
        format!("forged {body}").into_bytes(),
    ] {
        let address = answering(answer);
        for args in [&["client"][..], &["probe"], &["probe", "--output", "json"]] {
            against(address, args);
        }
    }
}

#[test]
fn what_an_http2_server_says_as_it_goes_away_is_not_obeyed() {
    let debug = hostile();
    let length = u32::try_from(8 + debug.len()).expect("short").to_be_bytes();
    // SETTINGS with ENABLE_CONNECT_PROTOCOL, then GOAWAY with last stream 0, INTERNAL_ERROR and its
    // debug data (RFC 9113).
    let mut frames = vec![0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 1];
    frames.extend([&length[1..], &[7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]].concat());
    frames.extend(debug.as_bytes());
    let address = answering(frames);
    let mut command = websockets_cli();
    command.args(["client", "-vv", "--http2", &format!("ws://{address}/")]).env("RUST_LOG", "trace");
    nothing_is_obeyed("client --http2", &command.output().expect("the binary ends"));
}

#[test]
fn what_a_proxy_answers_is_shown_and_not_obeyed() {
    let body = hostile();
    let answer =
        format!("HTTP/1.1 407 {}\r\nvia: {0}\r\ncontent-length: {}\r\n\r\n{body}", in_a_field(), body.len());
    let proxy = format!("http://{}", answering(answer.into_bytes()));
    for args in [&["client"][..], &["probe"], &["probe", "--output", "json"]] {
        let output = websockets_cli().args(args).args(["--proxy", &proxy, "ws://h/"]).output();
        is_told(&format!("{args:?} through a proxy"), &output.expect("the binary ends"));
    }
}

#[cfg(feature = "kubernetes")]
#[test]
fn what_an_api_server_answers_is_told_and_not_obeyed() {
    let folder = tempfile::tempdir().expect("a folder");
    let kubeconfig = folder.path().join("config");
    let message = hostile();
    let status = serde_json::json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 403, "message": message, "reason": message,
    });
    for body in [status.to_string(), hostile()] {
        let answer = format!(
            "HTTP/1.1 403 Forbidden\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let server = format!("http://{}", answering(answer.into_bytes()));
        let config = format!(
            "{{apiVersion: v1, kind: Config, current-context: a, users: [], \
             contexts: [{{name: a, context: {{cluster: a, user: ''}}}}], clusters: [{{name: a, cluster: {{server: '{server}'}}}}]}}"
        );
        fs::write(&kubeconfig, config).expect("a file");
        for log in ["", "trace"] {
            let mut command = websockets_cli();
            command.args(["verify", "--kubernetes", "--timeout", "1", "--kubeconfig"]).arg(&kubeconfig);
            let output = command.env("RUST_LOG", log).output().expect("the binary ends");
            is_told("verify --kubernetes", &output);
        }
    }
}

#[test]
fn what_a_certificate_says_is_shown_and_not_obeyed() {
    let folder = tempfile::tempdir().expect("a folder");
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    for part in [DnType::CommonName, DnType::OrganizationName] {
        params.distinguished_name.push(part, hostile());
    }
    let ascii: String = hostile().chars().filter(char::is_ascii).collect();
    params.subject_alt_names.push(rcgen::SanType::URI(ascii.try_into().expect("ASCII")));
    let (cert, pem) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    fs::write(&cert, params.self_signed(&key).expect("a certificate").pem()).expect("a file");
    fs::write(&pem, key.serialize_pem()).expect("a file");
    let (cert, pem) = (cert.to_str().expect("text"), pem.to_str().expect("text"));
    let (_server, address) =
        Program::listening(&["server", "--listen", "127.0.0.1:0", "--cert", cert, "--key", pem]);
    let uri = format!("wss://{address}/");
    for args in [
        &["client", "-v", "--insecure"][..],
        &["client", "-v", "--cacert", cert],
        &["probe", "--insecure"],
        &["probe", "--insecure", "--output", "json"],
    ] {
        let output = websockets_cli().args(args).arg(&uri).env("RUST_LOG", "trace").output();
        is_told(&format!("{args:?}"), &output.expect("the binary ends"));
    }
}

/// A WebSocket server whose messages, ping and Close are hostile.
fn session() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let address = listener.local_addr().expect("it is bound");
    std::thread::spawn(move || {
        let (stream, _) = listener.accept().expect("a client comes");
        let mut peer = tungstenite::accept(stream).expect("a WebSocket is opened");
        peer.send(Message::text(hostile())).expect("the client reads");
        peer.send(Message::Ping("\x1b[31mforged".into())).expect("the client reads");
        let reason: String = FORGED.chars().take(60).collect();
        let _ = peer.close(Some(CloseFrame { code: 4000.into(), reason: reason.into() }));
        while peer.read().is_ok() {}
    });
    format!("ws://{address}/")
}

#[test]
fn messages_are_data_in_a_pipe_and_text_on_a_terminal() {
    let run = |args: &[&str]| {
        let mut command = websockets_cli();
        command.arg("client").args(args).args(["--wait", "1h", "--send", "a", &session()]);
        command.output().expect("the binary ends")
    };
    let mut lines = run(&["-vv"]);
    assert_eq!(text(&lines.stdout), hostile() + "\n");
    lines.stdout.clear();
    nothing_is_obeyed("what is said beside messages", &lines);
    let raw = run(&["--raw-output"]);
    assert_eq!(text(&raw.stdout), hostile());
    let records = run(&["--output", "jsonl"]);
    is_told("records", &records);
    let records = text(&records.stdout);
    let payloads = records.lines().map(|line| {
        let record: serde_json::Value = serde_json::from_str(line).expect("JSON");
        record["payload"].as_str().expect("text").to_owned()
    });
    assert!(payloads.into_iter().any(|payload| payload == hostile()), "{records}");

    let (mut master, slave) = pseudo_terminal();
    let mut command = websockets_cli();
    command.args(["client", "--wait", "1h", "--send", "a", &session()]).stdout(Stdio::from(slave));
    let mut child = command.stderr(Stdio::null()).spawn().expect("the program starts");
    drop(command);
    let mut shown = Vec::new();
    // Fails once the program, and with it the other end, is gone.
    let _ = master.read_to_end(&mut shown);
    child.wait().expect("it is ours");
    let shown = text(&shown).replace("\r\n", "\n").into_bytes();
    nothing_is_obeyed(
        "a script's output on a terminal",
        &std::process::Output {
            stdout: shown,
            stderr: Vec::new(),
            status: std::process::ExitStatus::default(),
        },
    );
}
