//! `verify --log`: judging what real proxies wrote.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use super::reports::{Reports, unreported};
use super::{NoVerdict, ScenarioArgs, exit};
use crate::access_log::{BySide, LineFormat, MAX_WAITING, Side};
use crate::escape::{Escaped, escape_line};
use crate::verify::{
    Expectation, LinePlace, LogsConfig, LogsOutcome, Outcome, Summary, VerifyEvent, judge_logs,
};

/// How many lines without another side are named one by one; of more, only where they are.
const MAX_NAMED: usize = 10;

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Logs from elsewhere")]
#[group(id = "elsewhere")]
pub(super) struct Args {
    /// Judge an access log that a proxy wrote, and start nothing; FILE may be -; repeatable.
    ///
    /// Of the client's sidecar client=FILE, of the server's server=FILE. Lines are joined by
    /// request id, a line without one by the connection between the sidecars. Exit status 0 when
    /// all expectations hold for every joined session, 1 when one does not, 2 when there was
    /// nothing to judge.
    ///
    /// At most 100000 lines of each side wait for their other side; of more the oldest go. A line
    /// of more than 1 MiB is skipped. Both are counted and said, and where a session may have been
    /// missed so, the exit status is 2 instead of 0.
    #[arg(long = "log", value_name = "SIDE=FILE", value_parser = log,
        conflicts_with_all = ["filename", "envoy", "compare", "kubernetes", "keep"])]
    logs: Vec<(Side, PathBuf)>,

    /// What is expected of every session of the logs, as 'server.protocol == HTTP/2'; repeatable.
    ///
    /// Operators are == != =~ !~ > >= < <=, one of A, B and in A..B or in 10.0.0.0/8; values null,
    /// numbers, texts, and fields of the other side, as 'client.authority == server.authority'.
    /// Without it, what --scenario expects.
    #[arg(long = "expect", value_name = "EXPRESSION", requires = "logs")]
    expectations: Vec<Expectation>,

    /// The format of the logs as Envoy has it, such as '%PROTOCOL% %DURATION%'.
    /// [default: Istio's JSON and text]
    #[arg(long, value_name = "FORMAT", requires = "logs", value_parser = LineFormat::compile)]
    log_format: Option<LineFormat>,
}

fn log(text: &str) -> Result<(Side, PathBuf), String> {
    match text.split_once('=') {
        Some(("client", file)) if !file.is_empty() => Ok((Side::Client, file.into())),
        Some(("server", file)) if !file.is_empty() => Ok((Side::Server, file.into())),
        _ => Err("it is written client=FILE or server=FILE".to_owned()),
    }
}

impl Args {
    /// Whether there are logs to be judged.
    pub(super) fn is_asked_for(&self) -> bool {
        !self.logs.is_empty()
    }

    /// What is to be judged: by the expectations that were typed, and by those of the scenarios
    /// that are named.
    pub(super) fn config(self, scenarios: &ScenarioArgs) -> Result<LogsConfig, NoVerdict> {
        let chosen = if scenarios.scenarios.is_empty() { Vec::new() } else { scenarios.select()? };
        if self.expectations.is_empty() && chosen.is_empty() {
            return Err(NoVerdict::NothingExpected);
        }
        let names: Vec<&str> = chosen.iter().map(|scenario| scenario.name.as_str()).collect();
        let mut files = BySide::default();
        for (side, file) in self.logs {
            let files: &mut Vec<PathBuf> = &mut files[side];
            files.push(file);
        }
        Ok(LogsConfig {
            name: if names.is_empty() { "logs".to_owned() } else { names.join(", ") },
            file: match chosen.as_slice() {
                [scenario] => scenario.file.clone(),
                _ => None,
            },
            files,
            format: self.log_format.unwrap_or_default(),
            max_waiting: MAX_WAITING,
            expectations: self.expectations,
            scenarios: chosen.into_iter().map(|scenario| scenario.expect).collect(),
        })
    }
}

pub(super) fn run(config: &LogsConfig, mut reports: Reports) -> Result<ExitCode, NoVerdict> {
    let outcome = judge_logs(config)?;
    let judged = outcome.verdict.outcome();
    if outcome.sessions > 0 {
        let mut summary = Summary { elapsed: outcome.verdict.elapsed, ..Summary::default() };
        summary.count(&outcome.verdict);
        reports.hear(&VerifyEvent::Judged(outcome.verdict.clone()));
        reports.hear(&VerifyEvent::Finished(summary));
    }
    let mut talk = reports.talk();
    reports.finish()?;
    match tell(&outcome, &mut talk) {
        // The reader of a closed pipe has read enough.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(unreported(&error)),
        _ if outcome.is_empty() => Err(NoVerdict::NothingJudged {
            other_lines: outcome.unread.others,
            unmatched: outcome.unmatched.len(),
        }),
        _ if judged == Outcome::NotJudged => Err(NoVerdict::SessionsMissed),
        _ => Ok(exit::verdict(judged)),
    }
}

/// Says how the lines joined, and what was not judged.
fn tell(outcome: &LogsOutcome, out: &mut dyn Write) -> io::Result<()> {
    let (sessions, unmatched) =
        (counted(outcome.sessions, "session"), counted(outcome.unmatched.len(), "line"));
    writeln!(out, "{sessions} joined; {unmatched} did not join")?;
    for side in Side::BOTH {
        let given_up = outcome.given_up[side];
        if given_up > 0 {
            let more = counted(given_up, "more line");
            writeln!(out, "{more} of the {side} log did not join the {MAX_WAITING} that may wait at once")?;
        }
    }
    if outcome.too_long > 0 {
        writeln!(out, "{} skipped: longer than 1 MiB", counted(outcome.too_long, "line"))?;
    }
    if let Some(line) = &outcome.unread.first {
        let lines = counted(outcome.unread.alike, "line");
        writeln!(
            out,
            "{lines} not understood that may be of an access log (--log-format): {}",
            Escaped(line)
        )?;
    }
    for what in &outcome.not_judged {
        writeln!(out, "{}", escape_line(&what.to_string()))?;
    }
    for place in outcome.unmatched.iter().take(MAX_NAMED) {
        let id =
            place.request_id.as_deref().map_or("no request id".to_owned(), |id| format!("request id {id}"));
        let file = Escaped(place.path.display());
        writeln!(out, "{} log {file}:{} did not join: {}", place.side, place.number, Escaped(id))?;
    }
    for line in ranges(outcome.unmatched.get(MAX_NAMED..).unwrap_or_default()) {
        writeln!(out, "{}", escape_line(&line))?;
    }
    out.flush()
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// The lines of each file, runs of them as `3-7`.
fn ranges(places: &[LinePlace]) -> Vec<String> {
    let mut files: Vec<(&LinePlace, Vec<(usize, usize)>)> = Vec::new();
    for place in places {
        let same = |(first, _): &(&LinePlace, _)| first.side == place.side && first.path == place.path;
        match files.last_mut().filter(|file| same(file)) {
            Some((_, runs)) => match runs.last_mut() {
                Some((_, last)) if *last + 1 == place.number => *last = place.number,
                _ => runs.push((place.number, place.number)),
            },
            None => files.push((place, vec![(place.number, place.number)])),
        }
    }
    let said = |(first, last): &(usize, usize)| {
        if first == last { first.to_string() } else { format!("{first}-{last}") }
    };
    let line = |(place, runs): &(&LinePlace, Vec<(usize, usize)>)| {
        let runs: Vec<String> = runs.iter().map(said).collect();
        format!("{} log {}: nor did lines {}", place.side, place.path.display(), runs.join(", "))
    };
    files.iter().map(line).collect()
}
