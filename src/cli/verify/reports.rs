//! `websockets-cli verify --report`: which reports are wanted, and where they go. Everything is
//! opened before the run.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::NoVerdict;
use crate::telemetry::may_colour;
use crate::verify::VerifyEvent;
use crate::verify::report::{Github, Human, Json, Junit, Reporter};

/// Is `true` in a step of GitHub Actions.
const GITHUB_ACTIONS: &str = "GITHUB_ACTIONS";

/// The file that takes the summary of such a step.
const GITHUB_STEP_SUMMARY: &str = "GITHUB_STEP_SUMMARY";

/// The path that stands for standard output.
const STANDARD_OUTPUT: &str = "-";

/// A report beside the one for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ReportArg {
    /// JUnit's XML.
    Junit(PathBuf),
    /// JSON.
    Json(PathBuf),
    /// Annotations and a summary for GitHub Actions.
    Github,
}

/// A report has nowhere to go.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReportError {
    /// The file cannot be written.
    #[error("write the report {}: {source}", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Standard output takes one document.
    #[error("two reports on standard output")]
    TwoOnStandardOutput,
}

impl FromStr for ReportArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some(("junit", path)) if !path.is_empty() => Ok(Self::Junit(path.into())),
            Some(("json", path)) if !path.is_empty() => Ok(Self::Json(path.into())),
            None if text == "github" => Ok(Self::Github),
            _ => Err("a report is junit=PATH, json=PATH or github".to_owned()),
        }
    }
}

impl ReportArg {
    fn is_on_standard_output(&self) -> bool {
        matches!(self, Self::Junit(path) | Self::Json(path) if path.as_os_str() == STANDARD_OUTPUT)
    }
}

/// The reports of one run.
pub(super) struct Reports {
    reporters: Vec<Box<dyn Reporter>>,
    outcome: io::Result<()>,
    talk: Talk,
}

/// Where what is for people goes: standard output, unless a report is to be there.
#[derive(Debug, Clone, Copy)]
struct Talk {
    on_standard_error: bool,
    /// Whether what only follows from a cause is told too, and the access-log lines.
    everything: bool,
}

impl Talk {
    fn open(self) -> Box<dyn Write> {
        if self.on_standard_error { Box::new(io::stderr()) } else { Box::new(io::stdout()) }
    }

    fn human(self) -> Human<Box<dyn Write>> {
        let colour =
            if self.on_standard_error { may_colour(&io::stderr()) } else { may_colour(&io::stdout()) };
        Human::new(self.open(), colour, io::stderr().is_terminal(), self.everything)
    }
}

/// The report for people, those that are asked for, and GitHub's where this is a step of its.
///
/// What is for people is on standard output, unless a report is to be there: data and talk do not
/// mix. With `everything` they tell also what only follows from a cause, and the access-log lines.
pub(super) fn open(asked: &[ReportArg], everything: bool) -> Result<Reports, ReportError> {
    let on_standard_output = asked.iter().filter(|report| report.is_on_standard_output()).count();
    if on_standard_output > 1 {
        return Err(ReportError::TwoOnStandardOutput);
    }
    let talk = Talk { on_standard_error: on_standard_output > 0, everything };
    let mut reporters: Vec<Box<dyn Reporter>> = vec![Box::new(talk.human())];
    for report in asked {
        match report {
            ReportArg::Junit(path) => reporters.push(Box::new(Junit::new(destination(path)?, everything))),
            ReportArg::Json(path) => reporters.push(Box::new(Json::new(destination(path)?))),
            ReportArg::Github => {}
        }
    }
    let in_github_actions = std::env::var_os(GITHUB_ACTIONS).is_some_and(|value| value == "true");
    if in_github_actions || asked.contains(&ReportArg::Github) {
        reporters.push(Box::new(Github::new(talk.open(), step_summary()?, everything)));
    }
    Ok(Reports { reporters, outcome: Ok(()), talk })
}

impl Reports {
    /// Tells all of them. One that cannot write any more does not keep the others from their end.
    pub(super) fn hear(&mut self, event: &VerifyEvent) {
        let outcome = &mut self.outcome;
        self.reporters.retain_mut(|reporter| match reporter.hear(event) {
            Ok(()) => true,
            // The reader of a closed pipe has read enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => false,
            Err(error) => {
                *outcome = Err(error);
                false
            }
        });
    }

    /// Whether all that was to be written is.
    pub(super) fn finish(self) -> Result<(), NoVerdict> {
        self.outcome.map_err(|error| unreported(&error))
    }

    /// Opens what takes what is for people beside the reports.
    pub(super) fn talk(&self) -> Box<dyn Write> {
        self.talk.open()
    }
}

/// The failure to write a report, to wherever it goes.
pub(super) fn unreported(error: &io::Error) -> NoVerdict {
    NoVerdict::System(io::Error::new(error.kind(), format!("write the report: {error}")))
}

fn destination(path: &Path) -> Result<Box<dyn Write>, ReportError> {
    if path.as_os_str() == STANDARD_OUTPUT {
        return Ok(Box::new(io::stdout()));
    }
    let unwritable = |source| ReportError::Unwritable { path: path.to_owned(), source };
    Ok(Box::new(File::create(path).map_err(unwritable)?))
}

/// The summary of the step, to which every command of the step adds.
fn step_summary() -> Result<Option<File>, ReportError> {
    let Some(path) = std::env::var_os(GITHUB_STEP_SUMMARY).filter(|path| !path.is_empty()) else {
        return Ok(None);
    };
    let path = PathBuf::from(path);
    let opened = OpenOptions::new().append(true).create(true).open(&path);
    opened.map(Some).map_err(|source| ReportError::Unwritable { path, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_a_format_and_a_path_and_githubs_has_none() {
        assert_eq!("junit=out/it.xml".parse(), Ok(ReportArg::Junit("out/it.xml".into())));
        assert_eq!("json=-".parse(), Ok(ReportArg::Json("-".into())));
        assert_eq!("github".parse(), Ok(ReportArg::Github));
        for wrong in ["junit", "json=", "github=x", "html=x", ""] {
            assert!(wrong.parse::<ReportArg>().is_err(), "{wrong:?} was accepted");
        }
    }

    #[test]
    fn standard_output_takes_one_report() {
        let twice = [ReportArg::Json("-".into()), ReportArg::Junit("-".into())];
        assert!(matches!(open(&twice, false), Err(ReportError::TwoOnStandardOutput)));
    }
}
