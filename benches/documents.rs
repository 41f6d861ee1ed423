//! What reading and judging the documents of a cluster costs, over the number of its Services.
//!
//!     cargo bench --bench documents [-- --sizes 1000,2000,4000,8000]
//!
//! A Service comes with its Deployment, `DestinationRule` and `VirtualService`: four documents.
//! They are written in four forms, and `lint` reads each: a row for each form and size, with the
//! CPU time that it took and the memory that it held at most. Where reading is linear, the time for
//! a document is the same down the table. Not a test: machines differ, and the table is for a
//! reader.

use std::error::Error;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use serde_json::{Value, json};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// The option by which this program starts itself to measure one run: the system tells the greatest
/// memory of all processes that a process waited for, so there may be no other one.
const MEASURE: &str = "--measure";

const MEBIBYTE: f64 = 1024.0 * 1024.0;

/// How documents are written to a path.
type Form = fn(&Path, &[Value]) -> Outcome<()>;

const FORMS: [(&str, Form); 4] = [
    ("YAML, one file", one_file),
    ("YAML, a folder", folder),
    ("a List on one line", one_line),
    ("kubectl get -o json", exported),
];

fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let mut sizes = vec![1000, 2000, 4000, 8000];
    match (arguments.next().as_deref(), arguments.next()) {
        (None, _) => {}
        (Some(MEASURE), Some(path)) => return measure(&path),
        (Some("--sizes"), Some(value)) => {
            sizes = value.split(',').map(str::parse).collect::<Result<_, _>>()?;
        }
        (Some(other), _) => return Err(format!("there is no {other}; there is --sizes N,N").into()),
    }
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("documents");
    let mut out = std::io::stdout();
    writeln!(out, "form                 documents      MiB    CPU s   us each   MiB held")?;
    for (form, write) in FORMS {
        for &size in &sizes {
            let documents: Vec<Value> = (0..size).flat_map(documents_of_service).collect();
            write(&path, &documents)?;
            let bytes = size_of(&path)?;
            let measured = Command::new(std::env::current_exe()?).arg(MEASURE).arg(&path).output()?;
            let measured = String::from_utf8(measured.stdout)?;
            let (cpu, held) = measured.trim().split_once(' ').ok_or("lint has failed")?;
            let (cpu, held): (f64, f64) = (cpu.parse()?, held.parse()?);
            let count = 4 * size;
            let each = cpu * 1e6 / f64::from(count);
            writeln!(
                out,
                "{form:<20} {count:>9} {:>8.1} {cpu:>8.2} {each:>9.1} {:>10.0}",
                bytes / MEBIBYTE,
                held / MEBIBYTE
            )?;
            if path.is_dir() { fs::remove_dir_all(&path)? } else { fs::remove_file(&path)? }
        }
    }
    Ok(())
}

/// Runs `lint` and says its CPU time in seconds and the bytes that it held at most.
fn measure(path: &str) -> Outcome<()> {
    let status = Command::new(env!("CARGO_BIN_EXE_websockets-cli"))
        .args(["lint", "-f", path])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?;
    if !status.success() {
        return Err("the documents have an error".into());
    }
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let microseconds = (usage.user_time() + usage.system_time()).num_microseconds();
    #[expect(clippy::cast_precision_loss, reason = "a figure for a reader")]
    let (cpu, held) = (microseconds as f64 / 1e6, usage.max_rss() as f64 * 1024.0);
    writeln!(std::io::stdout(), "{cpu} {held}")?;
    Ok(())
}

fn size_of(path: &Path) -> Outcome<f64> {
    let bytes = if path.is_dir() {
        let entries = fs::read_dir(path)?.map(|entry| Ok(entry?.metadata()?.len()));
        entries.collect::<std::io::Result<Vec<u64>>>()?.into_iter().sum()
    } else {
        fs::metadata(path)?.len()
    };
    #[expect(clippy::cast_precision_loss, reason = "a figure for a reader")]
    Ok(bytes as f64)
}

/// A Service, what it selects, and what Istio is told of it.
fn documents_of_service(number: u32) -> [Value; 4] {
    let name = format!("service-{number}");
    let metadata = json!({"name": name, "namespace": format!("namespace-{}", number % 100)});
    let labels = json!({"app": name});
    let istio = "networking.istio.io/v1";
    [
        json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {
            "selector": labels,
            "ports": [{"name": "http-websocket", "port": 8080, "targetPort": 80, "protocol": "TCP"}],
        }}),
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [{
                "name": "server", "image": "server:1", "ports": [{"containerPort": 80}],
            }]}},
        }}),
        json!({"apiVersion": istio, "kind": "DestinationRule", "metadata": metadata, "spec": {
            "host": name,
            "trafficPolicy": {"connectionPool": {"http": {"h2UpgradePolicy": "DO_NOT_UPGRADE"}}},
        }}),
        json!({"apiVersion": istio, "kind": "VirtualService", "metadata": metadata, "spec": {
            "hosts": [name],
            "http": [{"route": [{"destination": {"host": name, "port": {"number": 8080}}}]}],
        }}),
    ]
}

/// A value as block YAML, with its lines indented.
fn yaml(value: &Value, indent: usize, out: &mut String) {
    let margin = " ".repeat(indent);
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                out.extend([margin.as_str(), name, ":", line_end(value)]);
                yaml(value, indent + 2, out);
            }
        }
        Value::Array(items) => {
            for item in items {
                out.extend([margin.as_str(), "-", line_end(item)]);
                yaml(item, indent + 2, out);
            }
        }
        scalar => out.extend([" ", &scalar.to_string(), "\n"]),
    }
}

/// What ends the line before a value that has lines of its own.
fn line_end(value: &Value) -> &'static str {
    if value.is_object() || value.is_array() { "\n" } else { "" }
}

fn one_file(path: &Path, documents: &[Value]) -> Outcome<()> {
    let mut text = String::new();
    for document in documents {
        text.push_str("---\n");
        yaml(document, 0, &mut text);
    }
    Ok(fs::write(path, text)?)
}

fn folder(path: &Path, documents: &[Value]) -> Outcome<()> {
    fs::create_dir(path)?;
    for (number, document) in documents.iter().enumerate() {
        let mut text = String::new();
        yaml(document, 0, &mut text);
        fs::write(path.join(format!("{number}.yaml")), text)?;
    }
    Ok(())
}

fn one_line(path: &Path, documents: &[Value]) -> Outcome<()> {
    let list = json!({"apiVersion": "v1", "kind": "List", "items": documents});
    Ok(fs::write(path, list.to_string())?)
}

/// As a cluster exports them, with an account of who wrote which field that is longer than the
/// rest.
fn exported(path: &Path, documents: &[Value]) -> Outcome<()> {
    let fields = (0..30).map(|field| (format!("f:field-{field}"), json!({".": {}, "f:value": {}})));
    let manager = json!({
        "apiVersion": "v1", "fieldsType": "FieldsV1", "manager": "kubectl-client-side-apply",
        "operation": "Update", "time": "2026-01-01T00:00:00Z",
        "fieldsV1": {"f:spec": fields.collect::<serde_json::Map<_, _>>()},
    });
    let with_managers = |document: &Value| {
        let mut document = document.clone();
        document["metadata"]["managedFields"] = json!([manager]);
        document
    };
    let items: Vec<Value> = documents.iter().map(with_managers).collect();
    let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
    Ok(fs::write(path, serde_json::to_string_pretty(&list)?)?)
}
