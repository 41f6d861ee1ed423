//! Judging access logs that came from elsewhere: lines that a real proxy wrote, read as they come, joined, and held against
//! expectations, one verdict over all sessions. Nothing is started; what is kept are the lines that have not met their
//! other side, of each side at most so many, and a few of those that are not as expected.

mod claim;
mod source;
mod tally;

use std::io;
use std::path::PathBuf;
use std::time::Instant;

use super::evidence::Joined;
use super::expect::{Expectations, Side};
use super::expression::Expectation;
use super::judge::{CaseVerdict, Verdict};
use crate::access_log::{GivenUp, Joiner, LineFormat, ParsedLine, Waiting};
use claim::Claims;
pub use claim::NotJudged;
use source::Source;
use tally::{Spread, Tally};

/// The path that stands for standard input.
const STANDARD_INPUT: &str = "-";

/// What is to be judged, and how.
#[derive(Debug)]
pub struct LogsConfig {
    /// What the verdict is called.
    pub name: String,
    /// The scenario's file, where all that is expected is one's.
    pub file: Option<PathBuf>,
    /// Logs of the client's sidecars, `-` for standard input.
    pub client: Vec<PathBuf>,
    /// Logs of the server's sidecars.
    pub server: Vec<PathBuf>,
    /// How their lines are read.
    pub format: LineFormat,
    /// How many lines of each side wait for their other side; of more the oldest are given up.
    pub most_waiting: usize,
    /// What is expected of every session.
    pub expectations: Vec<Expectation>,
    /// What scenarios expect, so far as that can be said of any log.
    pub scenarios: Vec<Expectations>,
}

/// Why logs could not be judged.
#[derive(Debug, thiserror::Error)]
pub enum LogsError {
    /// A log cannot be read.
    #[error("read the access log {}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// What is read once cannot be two logs.
    #[error("standard input (-) is named as a log more than once")]
    StandardInputTwice,
    /// An expectation speaks of a side of which there is no log.
    #[error("what is expected of {field} needs a log of the {side}, and none was given")]
    NoLog {
        /// The field.
        field: String,
        /// The side.
        side: Side,
    },
}

/// What the logs came to.
#[derive(Debug)]
pub struct LogsOutcome {
    /// One case over all sessions.
    pub verdict: Verdict,
    /// How many sessions were judged.
    pub sessions: usize,
    /// Expectations that nothing could be said of.
    pub not_judged: Vec<NotJudged>,
    /// Lines whose other side is in no log.
    pub alone: Vec<Place>,
    /// How many lines were no access-log lines.
    pub other_lines: usize,
    /// How many lines are longer than what is read.
    pub too_long: usize,
    /// How many lines were given up before they met their other side.
    pub given_up: GivenUp,
}

impl LogsOutcome {
    /// Whether there may be sessions that were not judged: a line was too long, or both lines of a session may be among those
    /// that did not join, and one of them was given up.
    #[must_use]
    pub fn may_lack_sessions(&self) -> bool {
        let unjoined = |side, given_up| given_up > 0 || self.alone.iter().any(|place| place.side == side);
        let GivenUp { client, server } = self.given_up;
        let missed =
            client > 0 && unjoined(Side::Server, server) || server > 0 && unjoined(Side::Client, client);
        missed || self.too_long > 0
    }
}

/// Where a line is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Whose log.
    pub side: Side,
    /// The file.
    pub path: PathBuf,
    /// The line's number, from 1.
    pub number: usize,
    /// By what it would have been joined, for a line that was not.
    pub request_id: Option<String>,
}

/// The sessions of logs, one after the other.
struct Judging<'config> {
    started: Instant,
    config: &'config LogsConfig,
    tallies: Vec<Tally>,
    spreads: Vec<Spread>,
    not_judged: Vec<NotJudged>,
    sessions: usize,
}

/// Reads both sides side by side, joins and judges.
///
/// # Errors
/// A log cannot be read, or an expectation speaks of a side without one.
pub fn judge_logs(config: &LogsConfig) -> Result<LogsOutcome, LogsError> {
    let logs = config.client.iter().chain(&config.server);
    if logs.filter(|path| path.as_os_str() == STANDARD_INPUT).count() > 1 {
        return Err(LogsError::StandardInputTwice);
    }
    let claims = Claims::of(config)?;
    let mut judging = Judging {
        started: Instant::now(),
        config,
        tallies: claims.of_lines.into_iter().map(Tally::from).collect(),
        spreads: claims.across.into_iter().map(Spread::from).collect(),
        not_judged: claims.not_judged,
        sessions: 0,
    };
    let mut sources = Side::BOTH.map(|side| Source::new(side, config.of(side)));
    let both = Side::BOTH.iter().all(|side| !config.of(*side).is_empty());
    let mut joiner = Joiner::keeping(config.most_waiting);
    let mut other_lines = 0;
    // In turn, so that the lines of a session are never far apart.
    loop {
        let mut ended = 0;
        for source in &mut sources {
            let side = source.side;
            let Some((text, place)) = source.next()? else {
                ended += 1;
                continue;
            };
            let Some(line) = config.format.read(&text) else {
                other_lines += usize::from(!text.trim().is_empty());
                continue;
            };
            if !both {
                judging.session(&joined(side, line, None));
                continue;
            }
            let met = match side {
                Side::Client => joiner.client(&line, place),
                Side::Server => joiner.server(&line, place),
            };
            if let Some(met) = met {
                judging.session(&joined(side, line, config.format.read(&met.text)));
            }
        }
        if ended == sources.len() {
            break;
        }
    }
    let given_up = joiner.given_up();
    let rest = joiner.finish();
    for (client, server) in &rest.by_connection {
        if let Some(client) = config.format.read(&client.text) {
            judging.session(&joined(Side::Client, client, config.format.read(&server.text)));
        }
    }
    let alone = rest.client.into_iter().map(|line| (Side::Client, line));
    let alone = alone.chain(rest.server.into_iter().map(|line| (Side::Server, line)));
    let alone = alone.map(|(side, line)| config.place(side, &line)).collect();
    let too_long = sources.iter().map(|source| source.too_long).sum();
    Ok(judging.outcome(alone, other_lines, too_long, given_up))
}

fn joined(side: Side, line: ParsedLine, other: Option<ParsedLine>) -> Joined {
    match side {
        Side::Client => Joined { client: Some(line), server: other },
        Side::Server => Joined { client: other, server: Some(line) },
    }
}

impl LogsConfig {
    fn of(&self, side: Side) -> &[PathBuf] {
        match side {
            Side::Client => &self.client,
            Side::Server => &self.server,
        }
    }

    fn place(&self, side: Side, line: &Waiting<(usize, usize)>) -> Place {
        let (file, number) = line.place;
        let read = self.format.read(&line.text);
        let request_id = read.and_then(|line| line.text_of("request_id").map(str::to_owned));
        Place { side, path: self.of(side)[file].clone(), number, request_id }
    }
}

impl Judging<'_> {
    fn session(&mut self, session: &Joined) {
        self.sessions += 1;
        for tally in &mut self.tallies {
            tally.session(session);
        }
        for spread in &mut self.spreads {
            spread.session(session);
        }
    }

    fn outcome(
        self,
        alone: Vec<Place>,
        other_lines: usize,
        too_long: usize,
        given_up: GivenUp,
    ) -> LogsOutcome {
        let mut not_judged = self.not_judged;
        if self.sessions > 0 {
            not_judged.extend(self.tallies.iter().filter_map(Tally::not_judged).map(NotJudged::OfARun));
        }
        not_judged.sort();
        not_judged.dedup();
        let of_lines = self.tallies.iter().flat_map(Tally::checks);
        let case = CaseVerdict {
            label: None,
            checks: of_lines.chain(self.spreads.iter().filter_map(Spread::check)).collect(),
            decided_by: self.tallies.iter().filter_map(Tally::decisive).collect(),
        };
        LogsOutcome {
            verdict: Verdict {
                scenario: self.config.name.clone(),
                file: self.config.file.clone(),
                elapsed: self.started.elapsed(),
                cases: vec![case],
            },
            sessions: self.sessions,
            not_judged,
            alone,
            other_lines,
            too_long,
            given_up,
        }
    }
}

#[cfg(test)]
mod tests;
