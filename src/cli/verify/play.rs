//! `websockets-cli verify`: sessions that are played through pairs of sidecars on this machine.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use tokio::sync::mpsc::unbounded_channel;

use super::reports::Reports;
use super::signals::{block_on, until_signal};
use super::{NoVerdict, exit};
use crate::verify::{Envoy, Outcome, Plan, Targets, VerifyError, run as run_plan};

#[derive(Debug, clap::Args)]
#[group(skip)]
pub(super) struct Args {
    /// Run two real Envoys on loopback instead of the sidecars of this program.
    /// [default PATH: $ENVOY, else envoy on PATH]
    ///
    /// Their configuration is what Istio would make of the same documents; with --keep it stays
    /// beside the logs.
    #[arg(long, value_name = "PATH", num_args = 0..=1, default_missing_value = "")]
    envoy: Option<OsString>,

    /// Run both, the sidecars of this program and two Envoys, and report every field of the access
    /// logs that differs.
    ///
    /// Not compared are times, ports and ids, beyond what they have in common. The logs of the
    /// Envoys are kept in DIR/SCENARIO-envoy.
    #[arg(long)]
    compare: bool,
}

impl Args {
    /// What the sessions are driven through.
    pub(super) fn targets(&self) -> Result<Targets, VerifyError> {
        // Empty: the option without its value.
        let named = self.envoy.as_ref().filter(|path| !path.is_empty()).map(Path::new);
        Ok(if self.compare {
            Targets::Both(Envoy::find(named)?)
        } else if self.envoy.is_some() {
            Targets::Envoy(Envoy::find(named)?)
        } else {
            Targets::Bundled
        })
    }
}

pub(super) fn run(plan: Plan, reports: Reports) -> Result<ExitCode, NoVerdict> {
    let judged = async { played(plan, reports).await.map(exit::verdict) };
    block_on(async |mut signals| until_signal(&mut signals, judged).await)
}

/// Runs the plan to its end, and reports as it goes. Returns the worst of what its scenarios
/// came to.
pub(super) async fn played(plan: Plan, mut reports: Reports) -> Result<Outcome, NoVerdict> {
    let (events, mut heard) = unbounded_channel();
    let reporting = async {
        while let Some(event) = heard.recv().await {
            reports.hear(&event);
        }
    };
    let (summary, ()) = tokio::join!(run_plan(plan, events), reporting);
    let outcome = summary?.outcome();
    reports.finish()?;
    Ok(outcome)
}
