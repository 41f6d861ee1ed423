//! The report for CI servers: JUnit's XML, in the form of Jenkins. A scenario is a test suite, each
//! of its cases a test. XML has no way to write most control characters: what is escaped is written
//! as in JSON.

use std::io::{self, Write};

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use super::Reporter;
use super::failures::failures;
use crate::escape::escape_line_as_json;
use crate::verify::event::VerifyEvent;
use crate::verify::judge::{CaseVerdict, Outcome, Reservation, Verdict};

/// The report for CI servers.
#[derive(Debug)]
pub struct Junit<W> {
    out: W,
    everything: bool,
    report: Report,
}

impl<W: Write> Junit<W> {
    /// Writes to `out`, once, at the end; with `everything` also what follows from a cause, and the
    /// access-log lines.
    pub fn new(out: W, everything: bool) -> Self {
        Self { out, everything, report: Report::new("websockets-cli verify") }
    }
}

impl<W: Write> Reporter for Junit<W> {
    fn hear(&mut self, event: &VerifyEvent) -> io::Result<()> {
        match event {
            VerifyEvent::Judged(verdict) => {
                self.report.add_test_suite(suite(verdict, self.everything));
                Ok(())
            }
            VerifyEvent::Finished(summary) => {
                self.report.set_time(summary.elapsed);
                if summary.allowed_findings > 0 {
                    let allowed = summary.allowed_findings.to_string();
                    for suite in &mut self.report.test_suites {
                        suite.add_property(("allowed_findings", allowed.as_str()));
                    }
                }
                let text = self.report.to_string().map_err(io::Error::other)?;
                self.out.write_all(text.as_bytes())?;
                self.out.flush()
            }
            VerifyEvent::Started { .. } | VerifyEvent::CaseFinished => Ok(()),
        }
    }
}

fn suite(verdict: &Verdict, everything: bool) -> TestSuite {
    let name = escape_line_as_json(&verdict.scenario);
    let mut suite = TestSuite::new(&*name);
    suite.set_time(verdict.elapsed);
    for case in &verdict.cases {
        let mut test = TestCase::new(
            case.label.as_deref().map_or(name.clone(), escape_line_as_json),
            status(case, verdict, everything),
        );
        test.set_classname(&*name).set_time(case.elapsed);
        test.set_assertions(case.checks.len());
        suite.add_test_case(test);
    }
    suite
}

fn status(case: &CaseVerdict, verdict: &Verdict, everything: bool) -> TestCaseStatus {
    let failures = failures(case);
    let Some((first, check)) = failures.first().and_then(|it| Some((it, it.checks.first()?))) else {
        return unfailed(&verdict.reservations);
    };
    let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
    status.set_message(escape_line_as_json(&first.headline())).set_type(escape_line_as_json(&check.field));
    // The first line is the message.
    let lines = failures.iter().flat_map(|failure| failure.all(everything)).skip(1);
    let lines: Vec<String> = lines.map(|line| escape_line_as_json(&line).into_owned()).collect();
    status.set_description(lines.join("\n"));
    status
}

/// What is not judged is an error, as JUnit calls a test that came to no result: what is skipped
/// is green with most of its readers.
fn unfailed(reservations: &[Reservation]) -> TestCaseStatus {
    let Some(first) = reservations.first() else { return TestCaseStatus::success() };
    let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
    status.set_message(escape_line_as_json(&format!("{}: {first}", Outcome::NotJudged)));
    status.set_type(escape_line_as_json(first.code));
    let lines = reservations.iter().flat_map(|it| [it.to_string(), it.fix.clone().into_owned()]);
    let lines: Vec<String> = lines.map(|line| escape_line_as_json(&line).into_owned()).collect();
    status.set_description(lines.join("\n"));
    status
}
