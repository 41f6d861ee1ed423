//! Drives sessions through a pair of sidecars and judges what their access logs say.
//!
//! ```text
//!  scenario (YAML) ─▶ plan ─▶ runner ─┬─▶ target: application, sidecars ─▶ access logs ─┐
//!                                     ├─▶ driver: sessions, step by step ─▶ endings ────┤ played
//!                                     └─▶ events ─▶ reports                             ▼
//!  logs from elsewhere ─▶ logs ─────────────── sessions, joined ─────────────────────▶ judge
//! ```
//!
//! Scenarios with all that they expect are data. The judge takes sessions one after the other, of a
//! run with what the run knows besides; it starts nothing. Only `target` starts programs, in this
//! process or as children of it, and nothing outlives it.

mod compare;
mod driver;
mod event;
mod expect;
mod expression;
mod judge;
mod logs;
mod pair;
mod path;
mod plan;
mod played;
pub mod report;
mod reservations;
mod runner;
mod scenario;
mod target;
mod template;

use std::io;
use std::path::PathBuf;

pub use event::{Summary, VerifyEvent};
pub use expect::{Across, Comparison, Expectations, Expected, FieldRef, LineCounts, Network, Pattern, Side};
pub use expression::{Expectation, ExpressionError};
pub use judge::{CaseVerdict, Check, Evidence, Outcome, Reservation, Subject, Verdict};
pub use logs::{LinePlace, LogsConfig, LogsError, LogsOutcome, NotJudged, judge_logs};
pub use pair::PairConfig;
pub use plan::{Plan, PlanRequest, PlannedCase, PlannedScenario, Targets, select};
pub use played::{Joined, LogFileError};
pub use runner::run;
pub use scenario::{
    Application, Awaited, Case, Closing, Connect, Content, EXAMPLE, Ended, Headers, Inline, Length,
    MethodName, PingPayload, Policy, Request, Scenario, ScenarioError, Sessions, Step, Variant, Wanted,
    built_in, load, scenario_schema,
};
pub use target::envoy::{Envoy, EnvoyError};
#[cfg(feature = "kubernetes")]
pub use target::kubernetes::{Change, ChangeKind, KubernetesConfig, KubernetesError, LiveMesh};
pub use template::{Fact, Facts, Filled, Template};

use crate::mesh::MeshError;
use crate::sidecar::StartError;

/// Why nothing could be verified.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// No scenario has this name, and it is no file either.
    #[error("no scenario is named {name:?}, and there is no such file")]
    UnknownScenario {
        /// What was asked for.
        name: String,
        /// The name that it resembles, if there is one.
        nearest: Option<&'static str>,
    },
    /// Two of the scenarios that are to be run have the same name.
    #[error("two scenarios are named {name:?}")]
    SameName {
        /// The name that both have.
        name: String,
    },
    /// The file of a scenario is malformed, or cannot be read.
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
    /// The documents are malformed, or do not say what is asked of them.
    #[error(transparent)]
    Mesh(#[from] MeshError),
    /// There is no folder to write the access logs to.
    #[error("make room for the access logs in {}: {source}", path.display())]
    Folder {
        /// The folder or the file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A program could not be started.
    #[error(transparent)]
    Start(#[from] StartError),
    /// There is no pair of Envoys.
    #[error(transparent)]
    Envoy(#[from] EnvoyError),
    /// The mesh in the cluster cannot be verified.
    #[cfg(feature = "kubernetes")]
    #[error(transparent)]
    Kubernetes(#[from] KubernetesError),
    /// A log could not be read.
    #[error(transparent)]
    LogFile(#[from] LogFileError),
}
