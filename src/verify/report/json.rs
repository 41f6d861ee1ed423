//! The report for programs: one JSON document at the end. Its form is published as a JSON schema
//! and has a version, which changes when a reader of the old form would misread the new one.

use std::io::{self, Write};

use schemars::{JsonSchema, Schema, schema_for};
use serde::Serialize;

use super::Reporter;
use super::failures::failures;
use crate::access_log::explain::Explanation;
use crate::escape::to_json_pretty;
use crate::verify::event::{Summary, VerifyEvent};
use crate::verify::expect::Side;
use crate::verify::judge::{CaseVerdict, Check, Evidence, Outcome, Reservation, Subject, Verdict};

/// The version of the form.
const VERSION: u32 = 1;

/// The report for programs.
#[derive(Debug)]
pub struct Json<W> {
    out: W,
    scenarios: Vec<ScenarioReport>,
}

/// What `verify --report json` writes.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(title = "A report of websockets-cli verify")]
struct Document<'a> {
    /// The version of this form.
    version: u32,
    /// Whether everything was as expected, and judged: the outcome is ok.
    holds: bool,
    /// The worst of what the scenarios came to.
    outcome: OutcomeReport,
    /// How many scenarios hold.
    held: usize,
    /// How many do not.
    failed: usize,
    /// How many hold as far as they were looked at, which is not all that decides.
    not_judged: usize,
    /// How many findings in the documents are allowed, and so not shown.
    allowed_findings: usize,
    /// How long the run took, in seconds.
    seconds: f64,
    /// In the order in which they were asked for.
    scenarios: &'a [ScenarioReport],
}

/// What a scenario came to.
#[derive(Debug, Serialize, JsonSchema)]
struct ScenarioReport {
    /// Its name.
    name: String,
    /// Its file; null for a built-in one.
    file: Option<String>,
    /// Whether everything was as expected, and judged: the outcome is ok.
    holds: bool,
    /// What it came to.
    outcome: OutcomeReport,
    /// What decides about sessions and was not looked at; of a scenario that is not judged at least
    /// one.
    not_judged: Vec<ReservationReport>,
    /// How long it took, in seconds.
    seconds: f64,
    /// Itself and its variants, as far as they were run.
    cases: Vec<CaseReport>,
}

/// What a scenario came to.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum OutcomeReport {
    /// Everything was as expected.
    Ok,
    /// Everything that was looked at was as expected, and that is not all that decides.
    NotJudged,
    /// Something was not as expected.
    Failed,
}

impl From<Outcome> for OutcomeReport {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Ok => Self::Ok,
            Outcome::NotJudged => Self::NotJudged,
            Outcome::Failed => Self::Failed,
        }
    }
}

/// Something that decides about sessions and was not looked at.
#[derive(Debug, Serialize, JsonSchema)]
struct ReservationReport {
    /// What it is called, as a finding of `lint` if it is one.
    code: &'static str,
    /// What was not looked at, in words.
    message: String,
    /// What to do about it, in words.
    fix: String,
    /// The document that says it; null where that is no document.
    file: Option<String>,
    /// The line in it, from 1.
    line: Option<u64>,
    /// The column, in characters from 1.
    column: Option<u64>,
}

impl From<&Reservation> for ReservationReport {
    fn from(Reservation { place, message, code, fix }: &Reservation) -> Self {
        Self {
            code,
            message: message.clone(),
            fix: fix.clone().into_owned(),
            file: place.as_ref().map(|place| place.file.to_string()),
            line: place.as_ref().map(|place| place.line),
            column: place.as_ref().map(|place| place.column),
        }
    }
}

/// What one case of a scenario came to.
#[derive(Debug, Serialize, JsonSchema)]
struct CaseReport {
    /// What it is called beside the others; null where there are none.
    label: Option<String>,
    /// Whether everything was as expected.
    holds: bool,
    /// How long it took, in seconds.
    seconds: f64,
    /// Why it failed, as its access-log lines show it; null where it holds, or they show nothing.
    cause: Option<CauseReport>,
    /// The fields that decided it.
    decided_by: Vec<EvidenceReport>,
    /// Everything that was looked at.
    checks: Vec<CheckReport>,
}

/// Why a case failed.
#[derive(Debug, Serialize, JsonSchema)]
struct CauseReport {
    /// Who ended its sessions and how.
    why: String,
    /// What to change; null where nothing is known to help.
    change: Option<String>,
}

/// A field with what it said.
#[derive(Debug, Serialize, JsonSchema)]
struct EvidenceReport {
    /// As `client.protocol`.
    field: String,
    /// Its values, each once.
    values: Vec<String>,
    /// In how many lines.
    lines: usize,
}

/// One expectation and what was found.
#[derive(Debug, Serialize, JsonSchema)]
struct CheckReport {
    /// What it is about.
    subject: SubjectReport,
    /// The key of the line, or the step of the session.
    field: String,
    /// In words.
    expected: String,
    /// In words.
    actual: String,
    /// Whether they agree.
    holds: bool,
    /// The access-log line that it was read from; null where it was none.
    line: Option<String>,
    /// What that line means, in words; null where the check holds, where there is no line, and where
    /// the cause or a check before it says the same.
    explanation: Option<String>,
    /// The line of the scenario's file that expects it; null where that is not known.
    at: Option<u64>,
}

/// What a check is about.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum SubjectReport {
    /// What the client saw.
    Session,
    /// What was found in the documents of the sessions, and is denied.
    Documents,
    /// What the client's sidecar wrote.
    Client,
    /// What the server's sidecar wrote.
    Server,
}

impl From<&Verdict> for ScenarioReport {
    fn from(verdict: &Verdict) -> Self {
        Self {
            name: verdict.scenario.clone(),
            file: verdict.file.as_ref().map(|path| path.display().to_string()),
            holds: verdict.outcome() == Outcome::Ok,
            outcome: verdict.outcome().into(),
            not_judged: verdict.reservations.iter().map(ReservationReport::from).collect(),
            seconds: verdict.elapsed.as_secs_f64(),
            cases: verdict.cases.iter().map(CaseReport::from).collect(),
        }
    }
}

impl From<&CaseVerdict> for CaseReport {
    fn from(case: &CaseVerdict) -> Self {
        let evidence = |Evidence { field, values, lines }: &Evidence| EvidenceReport {
            field: field.to_string(),
            values: values.iter().cloned().collect(),
            lines: *lines,
        };
        let failures = failures(case);
        let reason = failures.first().and_then(|first| first.cause);
        let mut told: Vec<&Explanation> = reason.into_iter().collect();
        let mut checks = Vec::new();
        for check in &case.checks {
            let new = check.explanation.as_ref().filter(|new| !told.contains(new));
            checks.push(CheckReport { explanation: new.map(Explanation::to_string), ..check.into() });
            told.extend(new);
        }
        Self {
            label: case.label.clone(),
            holds: case.holds(),
            seconds: case.elapsed.as_secs_f64(),
            cause: reason.map(|reason| CauseReport {
                why: reason.ended.to_string(),
                change: reason.change.as_deref().map(str::to_owned),
            }),
            decided_by: case.decided_by.iter().map(evidence).collect(),
            checks,
        }
    }
}

impl From<&Check> for CheckReport {
    fn from(check: &Check) -> Self {
        Self {
            subject: match check.subject {
                Subject::Session => SubjectReport::Session,
                Subject::Documents => SubjectReport::Documents,
                Subject::Log(Side::Client) => SubjectReport::Client,
                Subject::Log(Side::Server) => SubjectReport::Server,
            },
            field: check.field.clone(),
            expected: check.expected.clone(),
            actual: check.actual.clone(),
            holds: check.holds,
            line: check.line.clone(),
            explanation: None,
            at: check.at,
        }
    }
}

impl<W: Write> Json<W> {
    /// Writes to `out`, once, at the end.
    pub fn new(out: W) -> Self {
        Self { out, scenarios: Vec::new() }
    }

    fn write(&mut self, summary: &Summary) -> io::Result<()> {
        let document = Document {
            version: VERSION,
            holds: summary.outcome() == Outcome::Ok,
            outcome: summary.outcome().into(),
            held: summary.held,
            failed: summary.failed,
            not_judged: summary.not_judged,
            allowed_findings: summary.allowed_findings,
            seconds: summary.elapsed.as_secs_f64(),
            scenarios: &self.scenarios,
        };
        writeln!(self.out, "{}", to_json_pretty(&document)?)?;
        self.out.flush()
    }
}

impl<W: Write> Reporter for Json<W> {
    fn hear(&mut self, event: &VerifyEvent) -> io::Result<()> {
        match event {
            VerifyEvent::Judged(verdict) => {
                self.scenarios.push(verdict.into());
                Ok(())
            }
            VerifyEvent::Finished(summary) => self.write(summary),
            VerifyEvent::Started { .. } | VerifyEvent::CaseFinished => Ok(()),
        }
    }
}

/// The JSON schema of the report.
#[must_use]
pub fn schema() -> Schema {
    schema_for!(Document<'static>)
}
