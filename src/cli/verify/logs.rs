//! `verify --log`: judging what real proxies wrote.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use super::super::exit;
use super::reports::{self, Report};
use super::{failed, status};
use crate::access_log::{BySide, LineFormat, MAX_WAITING};
use crate::escape::{Escaped, escape_line};
use crate::verify::report::Reporter;
use crate::verify::{
    Expectation, LinePlace, LogsConfig, LogsOutcome, Side, Summary, VerifyError, VerifyEvent, judge_logs,
    select,
};

/// How many lines without another side are named one by one; of more, only where they are.
const NAMED_ALONE: usize = 10;

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Logs from elsewhere")]
#[group(id = "elsewhere")]
pub(super) struct Args {
    /// Judge an access log that a proxy wrote, and start nothing; FILE may be -; repeatable.
    ///
    /// Of the client's sidecar client=FILE, of the server's server=FILE. Lines are joined by request id, a line without one
    /// by the connection between the sidecars. Exit status 0 when all expectations hold for every joined session, 1 when
    /// one does not, 2 when there was nothing to judge.
    ///
    /// At most 100000 lines of each side wait for their other side; of more the oldest go. A line of more than 1 MiB is
    /// skipped. Both are counted and said, and where a session may have been missed so, the exit status is 2 instead of 0.
    #[arg(long = "log", value_name = "SIDE=FILE", value_parser = log,
        conflicts_with_all = ["filename", "envoy", "compare", "kubernetes", "keep"])]
    logs: Vec<(Side, PathBuf)>,

    /// What is expected of every session of the logs, as 'server.protocol == HTTP/2'; repeatable.
    ///
    /// Operators are == != =~ !~ > >= < <=, one of A, B and in A..B or in 10.0.0.0/8; values null, numbers, texts, and
    /// fields of the other side, as 'client.authority == server.authority'. Without it, what --scenario expects.
    #[arg(long = "expect", value_name = "EXPRESSION", requires = "logs")]
    expectations: Vec<Expectation>,

    /// The format of the logs as Envoy has it, such as '%PROTOCOL% %DURATION%'. [default: Istio's JSON and text]
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
    pub(super) fn is_asked_for(&self) -> bool {
        !self.logs.is_empty()
    }
}

pub(super) fn run(args: Args, scenarios: &[String], root: Option<&Path>, asked: &[Report]) -> ExitCode {
    let config = match config(args, scenarios, root) {
        Ok(config) => config,
        Err(error) => return failed(&error),
    };
    if config.expectations.is_empty() && config.scenarios.is_empty() {
        return exit::report(
            &NothingExpected,
            Some("say --expect 'client.response_code == 101', or --scenario NAME"),
            exit::USAGE,
        );
    }
    let mut reporters = match reports::open(asked) {
        Ok(reporters) => reporters,
        Err(error) => return exit::report(&error, None, exit::USAGE),
    };
    let started = Instant::now();
    let outcome = match judge_logs(&config) {
        Ok(outcome) => outcome,
        Err(error) => return exit::report(&error, None, exit::USAGE),
    };
    match report(&outcome, started, &mut reporters, &mut reports::talk(asked)) {
        // Who closed the pipe has read enough.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            exit::report(&exit::unreported(&error), None, exit::FAILED)
        }
        _ if outcome.sessions == 0 || outcome.verdict.cases.iter().all(|case| case.checks.is_empty()) => {
            exit::report(
                &NothingJudged { other_lines: outcome.other_lines, alone: outcome.unmatched.len() },
                None,
                exit::USAGE,
            )
        }
        _ if outcome.verdict.holds() && outcome.may_lack_sessions() => exit::report(
            &SessionsMissed,
            Some("give logs of the same time, in files whose lines are in its order"),
            exit::USAGE,
        ),
        _ => status(outcome.verdict.holds()),
    }
}

/// No expectation was given.
#[derive(Debug, thiserror::Error)]
#[error("nothing is expected of the logs")]
struct NothingExpected;

/// No session was found in the logs.
#[derive(Debug, thiserror::Error)]
#[error(
    "nothing to judge: no session in the logs ({alone} lines without another side, {other_lines} that are no access-log lines)"
)]
struct NothingJudged {
    other_lines: usize,
    alone: usize,
}

/// What was judged holds, and is not all.
#[derive(Debug, thiserror::Error)]
#[error("there may be sessions that were not judged, since lines were given up or skipped")]
struct SessionsMissed;

fn config(args: Args, scenarios: &[String], root: Option<&Path>) -> Result<LogsConfig, VerifyError> {
    let of =
        |wanted| args.logs.iter().filter(|(side, _)| *side == wanted).map(|(_, path)| path.clone()).collect();
    let chosen = if scenarios.is_empty() { Vec::new() } else { select(scenarios, root)? };
    let names: Vec<&str> = chosen.iter().map(|scenario| scenario.name.as_str()).collect();
    let file = match chosen.as_slice() {
        [scenario] => scenario.file.clone(),
        _ => None,
    };
    Ok(LogsConfig {
        name: if names.is_empty() { "logs".to_owned() } else { names.join(", ") },
        file,
        files: BySide::from_fn(of),
        format: args.log_format.unwrap_or_default(),
        max_waiting: MAX_WAITING,
        expectations: args.expectations,
        scenarios: chosen.into_iter().map(|scenario| scenario.expect).collect(),
    })
}

fn report(
    outcome: &LogsOutcome,
    started: Instant,
    reporters: &mut [Box<dyn Reporter>],
    out: &mut dyn Write,
) -> io::Result<()> {
    if outcome.sessions > 0 {
        let holds = outcome.verdict.holds();
        let (held, failed) = (usize::from(holds), usize::from(!holds));
        let finished = Summary { held, failed, elapsed: started.elapsed() };
        for reporter in reporters {
            reporter.hear(&VerifyEvent::Judged(outcome.verdict.clone()))?;
            reporter.hear(&VerifyEvent::Finished(finished))?;
        }
    }
    let (sessions, alone) = (counted(outcome.sessions, "session"), counted(outcome.unmatched.len(), "line"));
    writeln!(out, "{sessions} joined; {alone} did not join")?;
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
    for what in &outcome.not_judged {
        writeln!(out, "{}", escape_line(&what.to_string()))?;
    }
    for place in outcome.unmatched.iter().take(NAMED_ALONE) {
        let id =
            place.request_id.as_deref().map_or("no request id".to_owned(), |id| format!("request id {id}"));
        let file = Escaped(place.path.display());
        writeln!(out, "{} log {file}:{} did not join: {}", place.side, place.number, Escaped(id))?;
    }
    for line in ranges(outcome.unmatched.get(NAMED_ALONE..).unwrap_or_default()) {
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
