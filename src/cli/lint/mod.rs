//! `websockets-cli lint`.

mod dumps;
mod error;
mod github;
mod human;
mod in_force;
mod json;
mod kubernetes;
mod proxies;
mod sarif;
mod summary;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use dumps::{DumpArg, Dumps};
use error::LintError;
use human::Human;
use summary::summary;

use super::{exit, istio_version, levels, mesh_config};
use crate::escape::escape_line;
use crate::mesh::config_dump::DumpedProxy;
use crate::mesh::lint::{Circumstances, Finding, Levels, lint, of_mesh_config};
use crate::mesh::{ISTIO_VERSION, Severity, Source, rules};
use crate::yaml::Text;

/// Says what in Kubernetes and Istio documents will go wrong for WebSockets.
///
/// Each finding has a code, which docs/lint.md explains: an error (sessions will fail, or Istio
/// refuses the document), a warning (something has no effect, or will cut sessions), or a note.
/// Give it all documents that belong together.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("input").multiple(true).required(true))]
#[command(after_help = "\
Examples:
  websockets-cli lint -f manifests
  kubectl get svc,deploy,dr,vs,envoyfilter -A -o yaml | websockets-cli lint -f -
  websockets-cli lint --config-dump client=client.json server=server.json
  websockets-cli lint --kubernetes -A --proxies
  websockets-cli lint -f deploy --output sarif > lint.sarif

Exit status:
  0    no error; there may be warnings and notes
  1    at least one error
  2    wrong usage, or the input cannot be read: no such file, not YAML, no document in it, no such
       cluster; or it has nothing that can be judged, or a document or a part of the cluster could
       not be, and no error (also if all of these findings are allowed)")]
pub(super) struct Args {
    /// Documents: YAML or JSON files or folders of them (not recursively), - for standard input;
    /// repeatable. A file has at most 256 MiB; of a longer one nothing is judged, and the exit
    /// status is 2.
    #[arg(short, long, value_name = "PATH", num_args = 1.., group = "input")]
    filename: Vec<PathBuf>,

    /// What Envoy's `/config_dump` printed, of a proxy that runs; repeatable. With both sides of a hop
    /// it is also judged whether they fit together.
    ///
    /// `pilot-agent request GET config_dump` prints it in an istio-proxy, the admin port everywhere;
    /// with `?include_eds` it has the endpoints, too, by which a cluster is known to lead to the other
    /// proxy. The side is client, server, gateway or waypoint; left out, it is taken from the node's
    /// id (sidecar~, router~, waypoint~).
    #[arg(long, value_name = "[SIDE=]FILE", num_args = 1.., group = "input")]
    config_dump: Vec<DumpArg>,

    /// The mesh's own configuration: Istio's `MeshConfig`, or the `ConfigMap`, `IstioOperator`, `Istio` or
    /// Helm values that hold it. [default: what of these is among the documents]
    #[arg(long, value_name = "FILE")]
    mesh_config: Option<PathBuf>,

    /// The Istio version that an `EnvoyFilter`'s `proxyVersion` is matched against.
    #[arg(long, value_name = "VERSION", default_value = ISTIO_VERSION, value_parser = istio_version::parse)]
    istio_version: String,

    /// Draw each finding. Of more than three with one code only the first is drawn otherwise, and the
    /// places of the next few are named.
    #[arg(long)]
    all: bool,

    /// How the findings are written.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    output: OutputArg,

    // These have headings, which count for what follows them.
    #[command(flatten)]
    levels: levels::Args,

    #[command(flatten)]
    kubernetes: kubernetes::Args,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum OutputArg {
    /// For people, with the lines of the documents
    Text,
    /// One JSON document
    Json,
    /// GitHub Actions' workflow commands, which annotate the lines of a pull request
    Github,
    /// SARIF 2.1.0, for code scanning
    Sarif,
}

pub(super) fn run(args: &Args) -> ExitCode {
    match find(args) {
        Ok(found) => match write(args, &found) {
            // Who closed the pipe has read enough; the verdict is in the exit status.
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                exit::report(&exit::unwritten(&error), None, exit::FAILED)
            }
            _ => status(&found.findings),
        },
        Err(error) => exit::report(&error, error.hint(), exit::USAGE),
    }
}

/// What was looked at, and what was found.
struct Linted {
    texts: Vec<Arc<Text>>,
    dumps: Dumps,
    findings: Vec<Finding>,
    /// What was read of a cluster, in words.
    covered: Option<String>,
}

/// What is judged.
#[derive(Default)]
struct Input {
    texts: Vec<Arc<Text>>,
    dumps: Dumps,
    /// What of it could not be read.
    unread: Vec<Finding>,
    covered: Option<String>,
}

impl Input {
    fn read(args: &Args) -> Result<Self, LintError> {
        if args.kubernetes.is_asked_for() {
            #[cfg(feature = "kubernetes")]
            return Ok(Self::of_cluster(args.kubernetes.read()?));
            #[cfg(not(feature = "kubernetes"))]
            return Err(LintError::WithoutKubernetes);
        }
        if let Some(option) = args.kubernetes.is_of_no_cluster() {
            return Err(LintError::OfNoCluster(option));
        }
        let sources: Vec<Source> = args.filename.iter().cloned().map(Source::from).collect();
        let texts = Source::read_all(&sources)?;
        Ok(Self { texts, dumps: Dumps::read(&args.config_dump)?, ..Self::default() })
    }
}

fn find(args: &Args) -> Result<Linted, LintError> {
    let levels = args.levels.levels()?;
    let Input { mut texts, dumps, unread, covered } = Input::read(args)?;
    let (mesh, warnings) = mesh_config::load(args.mesh_config.as_deref())?;
    let mut findings = of_mesh_config(&warnings);
    if !texts.is_empty() {
        findings.extend(lint(
            &texts,
            &Circumstances { mesh: mesh.as_ref(), istio_version: &args.istio_version },
        )?);
    }
    findings.extend(dumps.findings());
    findings.extend(unread);
    levels.apply(&mut findings);
    texts.extend(dumps.shown.iter().cloned());
    Ok(Linted { texts, dumps, findings, covered })
}

fn write(args: &Args, Linted { texts, dumps, findings, covered }: &Linted) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match args.output {
        OutputArg::Text => {
            out.write_all(in_force::overview(&dumps.proxies).as_bytes())?;
            out.write_all(Human::for_stream(&io::stdout(), args.all).render(texts, findings).as_bytes())?;
            if let Some(covered) = covered {
                writeln!(io::stderr(), "{}", escape_line(covered))?;
            }
            writeln!(io::stderr(), "{}", summary(findings))?;
        }
        OutputArg::Json => json::write(&mut out, &dumps.proxies, findings)?,
        OutputArg::Github => github::write(&mut out, findings)?,
        OutputArg::Sarif => sarif::write(&mut out, texts, findings)?,
    }
    out.flush()
}

/// Findings in each form that they are written in, for who wants to know that all of them can be:
/// whatever a text holds, drawing a finding in it does not fail.
///
/// # Errors
/// None: nothing is written but to memory.
pub fn draw(texts: &[Arc<Text>], proxies: &[DumpedProxy], findings: &[Finding]) -> io::Result<Vec<u8>> {
    let mut out = in_force::overview(proxies).into_bytes();
    for all in [false, true] {
        out.extend(Human::for_stream(&io::stdout(), all).render(texts, findings).into_bytes());
    }
    json::write(&mut out, proxies, findings)?;
    github::write(&mut out, findings)?;
    sarif::write(&mut out, texts, findings)?;
    Ok(out)
}

/// Shows on standard error what will go wrong with documents that something else is done with; what
/// cannot be read is for that to say. Returns the findings.
pub(super) fn show(texts: &[Arc<Text>], circumstances: &Circumstances<'_>, levels: &Levels) -> Vec<Finding> {
    let Ok(mut findings) = lint(texts, circumstances) else { return Vec::new() };
    levels.apply(&mut findings);
    let mut shown = Human::for_stream(&io::stderr(), false).render(texts, &findings);
    shown.extend(summary::allowed(&findings).map(|allowed| format!("{allowed}\n\n")));
    // Nothing is lost with these lines but the lines.
    let _ = io::stderr().write_all(shown.as_bytes());
    findings
}

fn status(findings: &[Finding]) -> ExitCode {
    let failed = findings.iter().any(|finding| finding.severity() == Some(Severity::Error));
    // Allowed or not.
    let nothing = findings.iter().any(|finding| rules::NOTHING_SAID.contains(&finding.rule));
    ExitCode::from(match (failed, nothing) {
        (true, _) => exit::FAILED,
        (false, true) => exit::USAGE,
        (false, false) => exit::OK,
    })
}
