//! `websockets-cli verify`: five programs behind one command. [`files`] writes what somebody needs
//! who writes a scenario, [`list`] lists the scenarios; [`logs`], [`play`] and [`cluster`] judge
//! sessions, each once everything that was typed is known to be right and the reports are open.

#[cfg(feature = "kubernetes")]
mod cluster;
mod documents;
mod files;
mod kubernetes;
mod list;
mod logs;
mod no_verdict;
mod play;
mod reports;
mod signals;

use std::path::PathBuf;
use std::process::ExitCode;

#[cfg(feature = "kubernetes")]
use self::cluster::ClusterJob;
use self::no_verdict::NoVerdict;
use self::reports::ReportArg;
use super::{exit, istio_version, levels, lint, mesh_config};
use crate::verify::{LogsConfig, Plan, PlanRequest, Scenario, VerifyError, select};

/// Drives sessions through a pair of sidecars and judges their access logs.
///
/// The echo server, the server's sidecar and the client's sidecar run in this process, on loopback
/// and on ports of the system's choice. One verdict a scenario; exit status 0 when all hold, 1 when
/// one does not, 5 when none fails and one is not judged: the documents say of its sessions what is
/// not played, such as a fault or a route that no session takes.
// A cluster has documents of its own.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, group = clap::ArgGroup::new("documents").multiple(true))]
pub(super) struct Args {
    #[command(subcommand)]
    command: Option<files::FilesCommand>,

    #[command(flatten)]
    scenarios: ScenarioArgs,

    /// Report in another form too: junit=PATH, json=PATH, or github for annotations and a summary;
    /// repeatable.
    ///
    /// PATH may be - for standard output; what is for people is then on standard error. Under
    /// GitHub Actions (`GITHUB_ACTIONS=true`) its report is on by itself. `verify schema report`
    /// prints the JSON schema of json.
    #[arg(long = "report", value_name = "FORMAT=PATH")]
    reports: Vec<ReportArg>,

    /// Of what failed show everything: also the fields that only follow from the cause, and the
    /// access-log lines.
    #[arg(short, long)]
    verbose: bool,

    /// List the scenarios and end; with --scenario, only these.
    #[arg(long)]
    list: bool,

    #[command(flatten)]
    documents: documents::Args,

    #[command(flatten)]
    play: play::Args,

    /// Leave the access logs as DIR/SCENARIO/client-sidecar.jsonl and server-sidecar.jsonl.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,

    #[command(flatten)]
    levels: levels::Args,

    #[command(flatten)]
    kubernetes: kubernetes::Args,

    #[command(flatten)]
    logs: logs::Args,
}

/// The scenarios that are meant.
#[derive(Debug, clap::Args)]
#[group(skip)]
struct ScenarioArgs {
    /// Run this scenario, a built-in one or one in a YAML file; repeatable. All built-in ones if
    /// none is named.
    ///
    /// `verify init FILE` writes an example, `verify schema` prints the JSON schema. A scenario
    /// reads files in its folder alone.
    #[arg(long = "scenario", value_name = "NAME-OR-FILE")]
    scenarios: Vec<String>,

    /// Let scenarios read files in this folder, beside those in their own.
    ///
    /// Without it a file that leads elsewhere, absolute, by `..` or by a link, is refused: a
    /// scenario may come from a stranger.
    #[arg(long, value_name = "DIR", requires = "scenarios")]
    scenario_root: Option<PathBuf>,
}

impl ScenarioArgs {
    /// The scenarios that are named, or else all built-in ones.
    fn select(&self) -> Result<Vec<Scenario>, VerifyError> {
        select(&self.scenarios, self.scenario_root.as_deref())
    }
}

impl Args {
    /// Whether verdicts, or what was asked for instead, are written to standard output.
    pub(super) fn writes_data(&self) -> bool {
        !matches!(self.command, Some(files::FilesCommand::Init { .. }))
    }
}

/// Sessions to be judged, with everything that was typed found to be right.
enum Job {
    Logs(LogsConfig),
    Play(Plan),
    #[cfg(feature = "kubernetes")]
    Cluster(Box<ClusterJob>),
}

pub(super) fn run(args: Args) -> ExitCode {
    let done = if let Some(command) = &args.command {
        files::run(command)
    } else if args.list {
        list::run(&args.scenarios)
    } else {
        judge(args)
    };
    done.unwrap_or_else(|failure| failure.report())
}

fn judge(args: Args) -> Result<ExitCode, NoVerdict> {
    let (asked, verbose) = (args.reports.clone(), args.verbose);
    let job = job(args)?;
    let reports = reports::open(&asked, verbose)?;
    match job {
        Job::Logs(config) => logs::run(&config, reports),
        Job::Play(plan) => play::run(plan, reports),
        #[cfg(feature = "kubernetes")]
        Job::Cluster(job) => cluster::run(*job, reports),
    }
}

fn job(args: Args) -> Result<Job, NoVerdict> {
    if args.logs.is_asked_for() {
        return args.logs.config(&args.scenarios).map(Job::Logs);
    }
    #[cfg(not(feature = "kubernetes"))]
    if args.kubernetes.is_asked_for() {
        return Err(NoVerdict::WithoutKubernetes);
    }
    let (mesh, mesh_warnings) = args.documents.mesh()?;
    for warning in &mesh_warnings {
        tracing::warn!("{warning}");
    }
    let levels = args.levels.levels()?;
    let (documents, findings) = args.documents.load(mesh.as_ref(), &levels)?;
    let request = PlanRequest {
        scenarios: args.scenarios.scenarios,
        scenario_root: args.scenarios.scenario_root,
        documents,
        findings,
        levels,
        istio_version: Some(args.documents.istio_version),
        mesh,
        mesh_warnings,
        service: args.documents.service,
        client_workload: args.documents.client_workload,
        path: args.documents.path,
        keep: args.keep,
        ..PlanRequest::default()
    };
    #[cfg(feature = "kubernetes")]
    if args.kubernetes.is_asked_for() {
        return Ok(Job::Cluster(Box::new(ClusterJob { request, args: args.kubernetes })));
    }
    let targets = args.play.targets()?;
    Ok(Job::Play(Plan::new(PlanRequest { targets, ..request })?))
}
