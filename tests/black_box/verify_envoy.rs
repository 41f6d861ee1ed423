//! `websockets-cli verify --envoy` as far as it goes without an Envoy: what stands in for one here
//! is a script that refuses its configuration as Envoy does. The scenarios on real ones are a stage
//! of CI.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Output;

use nix::sys::signal::Signal;

use crate::support::{Program, eventually, text, websockets_cli};

/// What Envoy 1.40.0 wrote of a misspelt `allow_connect`.
const REFUSAL: &str = "[critical] error initializing configuration 't.json': Protobuf message (type \
    envoy.config.bootstrap.v3.Bootstrap reason INVALID_ARGUMENT: invalid JSON in envoy.config.bootstrap.v3.Bootstrap @ \
    static_resources.listeners[0].filter_chains[0].filters[0].typed_config.<any>.http2_protocol_options: message \
    envoy.config.core.v3.Http2ProtocolOptions, near 1:3685 (offset 3684): no such field: 'alow_connect') has unknown fields";

/// A program in `folder` that refuses every configuration.
fn refusing_envoy(folder: &Path) -> PathBuf {
    executable(folder, &format!("#!/bin/sh\ncat >&2 <<'END'\n{REFUSAL}\nEND\nexit 1\n"))
}

fn executable(folder: &Path, script: &str) -> PathBuf {
    let path = folder.join("envoy");
    fs::write(&path, script).expect("a file");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("an executable file");
    path
}

fn verify(envoy: &str, args: &[&str]) -> Output {
    let mut command = websockets_cli();
    command.arg("verify").args(args).env("ENVOY", envoy);
    command.output().expect("the binary ends")
}

#[test]
fn what_envoy_refuses_is_named_by_the_line_of_the_document_that_says_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let envoy = refusing_envoy(folder.path());
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/envoy-filter.yaml");
    let filter = fs::read_to_string(manifest).expect("a manifest").replace("allow_connect", "alow_connect");
    let line = filter.lines().position(|line| line.contains("alow_connect")).expect("the line") + 1;
    let file = folder.path().join("filter.yaml");
    fs::write(&file, &filter).expect("a file");
    let file = file.to_str().expect("text");
    for args in [&["--envoy", "-f", file][..], &["--compare", "-f", file]] {
        let output = verify(envoy.to_str().expect("text"), args);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        let expected = format!("error: {file}:{line}: Envoy refuses this: no such field: 'alow_connect'\n");
        assert!(stderr.ends_with(&expected), "{stderr}");
        assert_eq!(text(&output.stdout), "");
    }
}

#[test]
fn a_program_that_fails_without_a_word_is_no_refusal() {
    let output = verify("/bin/false", &["--envoy"]);
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.starts_with("error: start Envoy: its check ended with exit status: 1"), "{stderr}");
}

/// A program in `folder` that takes every configuration and then only stays, a child of the one
/// that was called; its id is in `folder/id`.
fn lasting_envoy(folder: &Path) -> PathBuf {
    let id = folder.join("id");
    let script = format!(
        "#!/bin/sh\ncase \"$*\" in *validate*) exit 0;; esac\nsleep 600 &\necho $! >{0}.new\nmv {0}.new {0}\nwait\n",
        id.display()
    );
    executable(folder, &script)
}

/// Whether a process has ended; one that nobody has waited for has, too. Its state says so and not
/// its command line, which is empty for a moment while `execve` puts another program in its place.
fn has_ended(id: &str) -> bool {
    let status = fs::read_to_string(format!("/proc/{}/status", id.trim())).unwrap_or_default();
    let state = status.lines().find_map(|line| line.strip_prefix("State:")).map(str::trim_start);
    state.is_none_or(|state| state.starts_with(['Z', 'X']))
}

/// Whether these tests run under `nohup`, and with them what they start.
fn hangup_is_ignored() -> bool {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).expect("a mask").trim();
    u64::from_str_radix(mask, 16).expect("hexadecimal digits") & 1 == 1
}

#[test]
fn however_verify_ends_its_envoys_end_with_it() {
    for (signal, status) in
        [(Signal::SIGHUP, Some(143)), (Signal::SIGTERM, Some(143)), (Signal::SIGKILL, None)]
    {
        if signal == Signal::SIGHUP && hangup_is_ignored() {
            continue;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let envoy = lasting_envoy(folder.path());
        let mut verify = websockets_cli();
        verify.args(["verify", "--scenario", "http2", "--envoy"]).arg(envoy).env("TMPDIR", folder.path());
        let mut verify = Program::spawn(&mut verify);
        let id = eventually("Envoy has started", || fs::read_to_string(folder.path().join("id")).ok());
        assert!(!has_ended(&id), "it stays");
        verify.signal(signal);
        assert_eq!(verify.end().code(), status, "{signal}");
        eventually("Envoy has ended", || has_ended(&id).then_some(()));
    }
}

#[test]
fn without_an_envoy_nothing_is_run_and_a_hint_says_where_one_is_looked_for() {
    for (envoy, args, why) in [
        ("", &["--envoy"][..], "ENVOY names none, and none is on PATH"),
        ("", &["--compare"], "ENVOY names none, and none is on PATH"),
        ("/nowhere/envoy", &["--envoy"], "ENVOY names /nowhere/envoy, which is no file"),
        ("", &["--envoy", "/nowhere/else"], "/nowhere/else, which is no file"),
    ] {
        let mut command = websockets_cli();
        let output = command.arg("verify").args(args).env("ENVOY", envoy).env("PATH", "/nowhere").output();
        let output = output.expect("the binary ends");
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(stderr.starts_with(&format!("error: no Envoy: {why}\nhint: ")), "{stderr}");
        assert_eq!(text(&output.stdout), "");
    }
}
