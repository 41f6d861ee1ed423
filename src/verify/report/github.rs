//! The report for GitHub Actions: an annotation for each thing that failed, at the line of the
//! scenario that expects it, and a summary of the step in Markdown (GitHub's "workflow commands").

use std::fmt::Write as _;
use std::io::{self, Write};

use super::Reporter;
use super::failures::{Failure, failures};
use crate::escape::{WorkflowCommand, escape};
use crate::verify::event::{Summary, VerifyEvent};
use crate::verify::judge::{Outcome, Reservation, Verdict};

/// The report for GitHub Actions.
#[derive(Debug)]
pub struct Github<W, S> {
    /// For the annotations, which the runner reads from the output of the step.
    commands: W,
    /// For the summary, where the runner takes one.
    summary: Option<S>,
    everything: bool,
    verdicts: Vec<Verdict>,
}

impl<W: Write, S: Write> Github<W, S> {
    /// Writes annotations to `commands`, as they come, and the summary to `summary`, at the end; with
    /// `everything` annotations have also what follows from a cause, and the access-log lines.
    pub fn new(commands: W, summary: Option<S>, everything: bool) -> Self {
        Self { commands, summary, everything, verdicts: Vec::new() }
    }

    fn annotate(&mut self, verdict: &Verdict) -> io::Result<()> {
        for failure in verdict.cases.iter().flat_map(failures) {
            writeln!(self.commands, "{}", annotation(verdict, &failure, self.everything))?;
        }
        // Most scenarios are played with the same documents.
        let is_new = |it: &&Reservation| !self.verdicts.iter().any(|before| before.reservations.contains(it));
        for reservation in verdict.reservations.iter().filter(is_new) {
            writeln!(self.commands, "{}", annotation_of(reservation))?;
        }
        self.commands.flush()
    }

    fn summarise(&mut self, summary: &Summary) -> io::Result<()> {
        let Some(out) = &mut self.summary else { return Ok(()) };
        out.write_all(markdown(&self.verdicts, summary).as_bytes())?;
        out.flush()
    }
}

impl<W: Write, S: Write> Reporter for Github<W, S> {
    fn hear(&mut self, event: &VerifyEvent) -> io::Result<()> {
        match event {
            VerifyEvent::Judged(verdict) => {
                self.annotate(verdict)?;
                self.verdicts.push(verdict.clone());
                Ok(())
            }
            VerifyEvent::Finished(summary) => self.summarise(summary),
            VerifyEvent::Started { .. } | VerifyEvent::CaseFinished => Ok(()),
        }
    }
}

fn annotation(verdict: &Verdict, failed: &Failure<'_>, everything: bool) -> WorkflowCommand {
    let mut command = WorkflowCommand::new("error");
    if let Some(file) = &verdict.file {
        command = command.property("file", file.display());
        if let Some(line) = failed.checks.iter().find_map(|check| check.at) {
            command = command.property("line", line);
        }
    }
    command = command.property("title", format_args!("verify: {}", verdict.scenario));
    failed.all(everything).iter().fold(command, |command, line| command.line(line))
}

/// At the place in the document, since that is what has to change.
fn annotation_of(reservation: &Reservation) -> WorkflowCommand {
    let mut command = WorkflowCommand::new("error");
    if let Some(place) = &reservation.place {
        command = command.property("file", &place.file).property("line", place.line);
        command = command.property("col", place.column);
    }
    let title = format_args!("verify: {}: {}", Outcome::NotJudged, reservation.code);
    command.property("title", title).line(&reservation.message).line(&reservation.fix)
}

fn markdown(verdicts: &[Verdict], summary: &Summary) -> String {
    let mut text = format!(
        "### websockets-cli verify: {}\n\n| scenario | verdict | why |\n| --- | --- | --- |\n",
        summary.in_words()
    );
    for verdict in verdicts {
        // Cases most often fail for the same reason.
        let mut failed: Vec<String> = Vec::new();
        for failure in verdict.cases.iter().flat_map(failures) {
            for line in failure.all(false) {
                let line = cell(&line);
                if !failed.contains(&line) {
                    failed.push(line);
                }
            }
        }
        let failed = failed.into_iter();
        let reservations = verdict.reservations.iter().map(|it| cell(&it.to_string()));
        let status = match verdict.outcome() {
            Outcome::Ok => "ok",
            Outcome::NotJudged => "**not judged**",
            Outcome::Failed => "**FAIL**",
        };
        // Writing to a text does not fail.
        let _ = writeln!(
            text,
            "| {} | {status} | {} |",
            cell(&verdict.scenario),
            failed.chain(reservations).collect::<Vec<_>>().join("<br>")
        );
    }
    text
}

/// A text as the cell of a table: nothing of it is markup.
fn cell(text: &str) -> String {
    let mut cell = String::with_capacity(text.len());
    for char in escape(text).chars() {
        match char {
            '&' => cell.push_str("&amp;"),
            '<' => cell.push_str("&lt;"),
            '|' | '\\' | '`' | '*' | '_' | '[' | ']' => cell.extend(['\\', char]),
            _ => cell.push(char),
        }
    }
    cell
}
