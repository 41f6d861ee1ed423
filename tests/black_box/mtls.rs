//! `websockets-cli sidecar --mtls-…`: all three options or none, and files that are named when they
//! are of no use.

use crate::support::{run, text};

const SIDECAR: [&str; 6] = ["sidecar", "inbound", "--listen", "127.0.0.1:0", "--endpoint", "127.0.0.1:1"];

fn refusal(options: &[&str]) -> String {
    let output = run(&[&SIDECAR, options].concat(), "");
    assert_eq!(output.status.code(), Some(2), "{options:?}");
    text(&output.stderr)
}

#[test]
fn one_option_of_mutual_tls_requires_the_others() {
    for (given, missing) in [
        ("--mtls-cert", ["--mtls-key", "--mtls-ca"]),
        ("--mtls-key", ["--mtls-cert", "--mtls-ca"]),
        ("--mtls-ca", ["--mtls-cert", "--mtls-key"]),
    ] {
        let error = refusal(&[given, "file.pem"]);
        for option in missing {
            assert!(error.contains(&format!("  {option} <FILE>\n")), "{error}");
        }
    }
}

#[test]
fn a_file_that_cannot_be_read_and_one_that_is_no_pem_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let (absent, empty) = (folder.path().join("absent.pem"), folder.path().join("empty.pem"));
    std::fs::write(&empty, "nothing").unwrap();
    for (file, expected) in [
        (&absent, format!("error: read {}: ", absent.display())),
        (&empty, format!("error: {}: no PEM certificate in it\n", empty.display())),
    ] {
        let file = file.to_str().unwrap();
        let error = refusal(&["--mtls-cert", file, "--mtls-key", file, "--mtls-ca", file]);
        assert!(error.starts_with(&expected), "{error}");
    }
}
