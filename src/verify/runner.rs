//! Runs what was planned: all cases side by side, each with a pair of its own; judges each and
//! emits events.
//!
//! Dropping the future ends everything that it started and removes the logs that nobody asked to
//! keep.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::future::try_join_all;
use futures_util::stream::FuturesOrdered;
use tempfile::TempDir;
use tokio::sync::mpsc::UnboundedSender;

use super::VerifyError;
use super::compare::compare;
use super::driver::{Loopback, drive};
use super::event::{Summary, VerifyEvent};
use super::expect::Side;
use super::judge::{CaseVerdict, Verdict, judge};
use super::plan::{Plan, PlannedCase, PlannedScenario, Targets};
use super::played::{LogFiles, Played};
use super::scenario::Case;
use super::target::Target;
use super::template::Facts;

/// How long the last lines are awaited after the last session has ended: a sidecar writes a line
/// only when it is done with both sides of a stream.
const LINES_LIMIT: Duration = Duration::from_secs(3);

/// The same where a session went otherwise than it should, and may have left no line at all.
const LINES_LIMIT_AFTER_FAILURE: Duration = Duration::from_millis(500);

/// How often a log is looked at for its last lines.
const LINES_INTERVAL: Duration = Duration::from_millis(2);

/// Where the logs are.
enum Folder {
    /// Where the user wants them.
    Kept(PathBuf),
    /// Where they are removed in the end.
    Temporary(TempDir),
}

impl Folder {
    fn open(keep: Option<&Path>) -> Result<Self, VerifyError> {
        match keep {
            Some(path) => Ok(Self::Kept(path.to_owned())),
            None => tempfile::Builder::new()
                .prefix("websockets-cli-verify-")
                .tempdir()
                .map(Self::Temporary)
                .map_err(|source| VerifyError::Folder { path: std::env::temp_dir(), source }),
        }
    }

    fn path(&self) -> &Path {
        match self {
            Self::Kept(path) => path,
            Self::Temporary(folder) => folder.path(),
        }
    }

    /// New, empty logs in a folder of their own.
    fn logs(&self, name: &str) -> Result<LogFiles, VerifyError> {
        let path = self.path().join(name);
        std::fs::create_dir_all(&path)
            .map_err(|source| VerifyError::Folder { path: path.clone(), source })?;
        let logs = LogFiles::within(&path);
        for side in Side::BOTH {
            let path = logs.path(side);
            std::fs::write(path, "")
                .map_err(|source| VerifyError::Folder { path: path.to_owned(), source })?;
        }
        Ok(logs)
    }
}

/// Runs the plan.
///
/// # Errors
/// Something could not be started or a log could not be read: nothing that was verified. What is
/// not as a scenario expects is no error but a verdict.
pub async fn run(plan: Plan, events: UnboundedSender<VerifyEvent>) -> Result<Summary, VerifyError> {
    let started = Instant::now();
    let folder = Folder::open(plan.keep.as_deref())?;
    // A run without a listener goes on.
    let emit = |event| drop(events.send(event));
    emit(VerifyEvent::Started { cases: plan.scenarios.iter().map(|scenario| scenario.cases.len()).sum() });
    let mut verdicts: FuturesOrdered<_> =
        plan.scenarios.iter().map(|scenario| run_scenario(scenario, &plan.targets, &folder, &emit)).collect();
    let mut summary = Summary { allowed_findings: plan.allowed_findings, ..Summary::default() };
    while let Some(verdict) = verdicts.next().await {
        let verdict = verdict?;
        summary.count(&verdict);
        emit(VerifyEvent::Judged(verdict));
    }
    summary.elapsed = started.elapsed();
    emit(VerifyEvent::Finished(summary));
    Ok(summary)
}

async fn run_scenario(
    scenario: &PlannedScenario,
    targets: &Targets,
    folder: &Folder,
    emit: &impl Fn(VerifyEvent),
) -> Result<Verdict, VerifyError> {
    let run = async |planned| {
        let verdicts = run_case(planned, targets, folder).await?;
        emit(VerifyEvent::CaseFinished);
        Ok::<_, VerifyError>(verdicts)
    };
    let started = Instant::now();
    let cases = try_join_all(scenario.cases.iter().map(run)).await?;
    let mut cases: Vec<CaseVerdict> = cases.into_iter().flatten().collect();
    // What is wrong with the documents is said once.
    if let Some(first) = cases.first_mut() {
        first.checks.splice(0..0, scenario.denied.iter().cloned());
    }
    Ok(Verdict {
        scenario: scenario.name.clone(),
        file: scenario.file.clone(),
        elapsed: started.elapsed(),
        cases,
        reservations: scenario.reservations.clone(),
    })
}

/// One verdict for each pair of sidecars that the case is run with.
async fn run_case(
    planned: &PlannedCase,
    targets: &Targets,
    folder: &Folder,
) -> Result<Vec<CaseVerdict>, VerifyError> {
    let PlannedCase { case, .. } = planned;
    let judged = |played: &Played| judge(case, played);
    Ok(match targets {
        Targets::Bundled => vec![judged(&play(planned, Target::Bundled, folder.logs(&case.folder)?).await?)],
        Targets::Envoy(envoy) => {
            vec![judged(&play(planned, Target::Envoy(envoy), folder.logs(&case.folder)?).await?)]
        }
        #[cfg(feature = "kubernetes")]
        Targets::Kubernetes(mesh) => {
            let logs = folder.logs(&case.folder)?;
            let keep = |client: &str, server: &str| {
                std::fs::write(logs.path(Side::Client), client)?;
                std::fs::write(logs.path(Side::Server), server)
            };
            vec![mesh.judge(planned, keep).await?]
        }
        Targets::Both(envoy) => {
            let of_envoy = format!("{}-envoy", case.folder);
            let (bundled, envoy) = tokio::try_join!(
                play(planned, Target::Bundled, folder.logs(&case.folder)?),
                play(planned, Target::Envoy(envoy), folder.logs(&of_envoy)?),
            )?;
            let mut of_envoy = judged(&envoy).named("Envoy");
            of_envoy.checks.extend(compare(&bundled, &envoy));
            vec![judged(&bundled).named("bundled pair"), of_envoy]
        }
    })
}

/// Plays a case through one pair of sidecars.
async fn play(planned: &PlannedCase, target: Target<'_>, logs: LogFiles) -> Result<Played, VerifyError> {
    let PlannedCase { case, pair } = planned;
    let started = Instant::now();
    let running = target.start(case.application, pair, &logs).await?;
    let facts = Facts {
        authority: pair.logged_authority.clone().into(),
        path: pair.path.clone().into(),
        route_name: pair.route_name.clone().into(),
        outbound_cluster: pair.outbound_cluster.clone().into(),
        inbound_cluster: pair.inbound_cluster.clone().into(),
        client_sidecar: running.client_sidecar.into(),
        server_sidecar: running.server_sidecar.into(),
        application: running.application.into(),
    };
    let loopback = Loopback { target: &running, authority: &pair.authority, logs: &logs };
    let endings = drive(case, &loopback).await;
    let as_planned = endings.iter().all(Result::is_ok);
    let limit = if as_planned { LINES_LIMIT } else { LINES_LIMIT_AFTER_FAILURE };
    await_lines(&logs, case, limit).await?;
    // Once the sidecars have ended there are no more lines than there are: not one too many either.
    running.stop().await;
    Ok(Played { facts, endings, logs: logs.read()?, elapsed: started.elapsed() })
}

/// Waits until both sidecars have written as many lines as they should, or for long enough.
async fn await_lines(logs: &LogFiles, case: &Case, limit: Duration) -> Result<(), VerifyError> {
    let deadline = Instant::now() + limit;
    loop {
        let mut complete = true;
        for side in Side::BOTH {
            complete &= logs.count(side)? >= case.line_count(side);
        }
        if complete || Instant::now() >= deadline {
            return Ok(());
        }
        tokio::time::sleep(LINES_INTERVAL).await;
    }
}
