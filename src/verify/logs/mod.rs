//! Judging access logs that came from elsewhere: lines that a real proxy wrote, read as they come,
//! joined, and held against expectations, one verdict over all sessions. Nothing is started; what
//! is kept are the lines that have not met their other side, of each side at most so many, and a
//! few of those that are not as expected.

mod applicable;
mod source;

use std::io;
use std::path::PathBuf;
use std::time::Instant;

use self::applicable::Applicable;
pub use self::applicable::NotJudged;
use self::source::{Number, SideReader};
use super::expect::{Expectations, Side};
use super::expression::Expectation;
use super::judge::{Judge, Reservation, Verdict};
use super::played::Joined;
use super::template::Facts;
use crate::access_log::explain::Proxy;
use crate::access_log::{BySide, Joiner, LineFormat, ParsedLine, Unread, WaitingLine};

/// The path that stands for standard input.
const STANDARD_INPUT: &str = "-";

/// What is to be judged, and how.
#[derive(Debug)]
pub struct LogsConfig {
    /// What the verdict is called.
    pub name: String,
    /// The scenario's file, where all that is expected is one's.
    pub file: Option<PathBuf>,
    /// The logs of the sidecars of each side, `-` for standard input.
    pub files: BySide<Vec<PathBuf>>,
    /// How their lines are read.
    pub format: LineFormat,
    /// How many lines of each side wait for their other side; of more the oldest are given up.
    pub max_waiting: usize,
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
        /// The file that was named.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// What is read once cannot be two logs.
    #[error("standard input (-) is named as a log more than once")]
    StandardInputTwice,
    /// A session has a line of each side.
    #[error(
        "sessions are judged by the lines of both sidecars, and there is no log of the {0}'s: --log {0}=FILE"
    )]
    OneSide(Side),
    /// Two proxies do not write one line.
    #[error(
        "the log of the client's sidecar and that of the server's are the same: line {client} of {} is line {server} of {}",
        files.client.display(), files.server.display()
    )]
    SameLog {
        /// The files.
        files: BySide<PathBuf>,
        /// Numbers of a line that both have.
        client: usize,
        /// The same in the other.
        server: usize,
    },
    /// Each is the log of the other side.
    #[error(
        "the logs seem to be named the wrong way round: of a session, line {client} of {} was written by the server's sidecar, and \
         line {server} of {} by the client's",
        files.client.display(), files.server.display()
    )]
    WrongWayRound {
        /// The files.
        files: BySide<PathBuf>,
        /// The number of the line that is said to be the client's.
        client: usize,
        /// The number of the line that is said to be the server's.
        server: usize,
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
    pub unmatched: Vec<LinePlace>,
    /// What was no access-log line.
    pub unread: Unread,
    /// How many lines are longer than what is read.
    pub too_long: usize,
    /// How many lines were given up before they met their other side.
    pub given_up: BySide<usize>,
}

impl LogsOutcome {
    /// Whether there was nothing to judge: no session, or nothing that is expected of any.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sessions == 0 || self.verdict.cases.iter().all(|case| case.checks.is_empty())
    }

    /// Whether there may be sessions that were not judged: a line was too long, or both lines of a
    /// session may be among those that did not join, and one of them was given up.
    #[must_use]
    pub fn may_lack_sessions(&self) -> bool {
        let unmatched =
            |side| self.given_up[side] > 0 || self.unmatched.iter().any(|place| place.side == side);
        let missed = |side: Side| self.given_up[side] > 0 && unmatched(side.other());
        self.too_long > 0 || Side::BOTH.into_iter().any(missed)
    }
}

/// Where a line is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinePlace {
    /// The sidecar that wrote it.
    pub side: Side,
    /// The file.
    pub path: PathBuf,
    /// The line's number, from 1.
    pub number: usize,
    /// By what it would have been joined, for a line that was not.
    pub request_id: Option<String>,
}

/// Reads both sides side by side, joins and judges.
///
/// # Errors
/// A log cannot be read, or they are not those of two sidecars.
pub fn judge_logs(config: &LogsConfig) -> Result<LogsOutcome, LogsError> {
    let started = Instant::now();
    let logs = Side::BOTH.into_iter().flat_map(|side| &config.files[side]);
    if logs.filter(|path| path.as_os_str() == STANDARD_INPUT).count() > 1 {
        return Err(LogsError::StandardInputTwice);
    }
    if let Some(missing) = Side::BOTH.into_iter().find(|side| config.files[*side].is_empty()) {
        return Err(LogsError::OneSide(missing));
    }
    let Applicable { assertions, across, mut not_judged } = Applicable::of(config);
    // Of logs from elsewhere nobody knows what a run would know.
    let facts = Facts::default();
    let mut judge = Judge::of_logs(assertions, across, &facts);
    let mut sources = Side::BOTH.map(|side| SideReader::new(side, &config.files[side]));
    let mut joiner = Joiner::keeping(config.max_waiting);
    // In turn, so that the lines of a session are never far apart.
    loop {
        let mut ended = 0;
        for source in &mut sources {
            let side = source.side;
            let Some((line, place)) = source.next(&config.format)? else {
                ended += 1;
                continue;
            };
            if let Some(other) = joiner.line(side, &line, place) {
                let Some(other_line) = config.format.read(&other.text) else { continue };
                let places = BySide::with(side, place, other.place);
                let lines = BySide::with(side, line, other_line);
                config.check(&lines, places)?;
                judge.session(&Joined { client: Some(lines.client), server: Some(lines.server) });
            }
        }
        if ended == sources.len() {
            break;
        }
    }
    let given_up = joiner.given_up();
    let rest = joiner.finish();
    for BySide { client, server } in &rest.by_connection {
        if let Some(client) = config.format.read(&client.text) {
            let server = config.format.read(&server.text);
            judge.session(&Joined { client: Some(client), server });
        }
    }
    let sessions = judge.sessions();
    if sessions > 0 {
        not_judged.extend(judge.not_judged().map(NotJudged));
    }
    not_judged.sort();
    not_judged.dedup();
    let unmatched = Side::BOTH
        .into_iter()
        .flat_map(|side| rest.unmatched[side].iter().map(move |line| config.place(side, line)));
    let mut unread = Unread::default();
    for source in &mut sources {
        unread.add(std::mem::take(&mut source.unread));
    }
    let elapsed = started.elapsed();
    let mut outcome = LogsOutcome {
        verdict: Verdict {
            scenario: config.name.clone(),
            file: config.file.clone(),
            elapsed,
            cases: vec![judge.verdict(None, elapsed)],
            reservations: Vec::new(),
        },
        sessions,
        not_judged,
        unmatched: unmatched.collect(),
        unread,
        too_long: sources.iter().map(|source| source.too_long).sum(),
        given_up,
    };
    if outcome.may_lack_sessions() {
        outcome.verdict.reservations.push(sessions_missed());
    }
    Ok(outcome)
}

/// That what was judged may not be all.
fn sessions_missed() -> Reservation {
    Reservation {
        place: None,
        message: "there may be sessions that were not judged, since lines were given up or skipped"
            .to_owned(),
        code: "sessions-missed",
        fix: "Give logs of the same time, in files whose lines are in its order.".into(),
    }
}

impl LogsConfig {
    /// Whether lines that joined can be those of a session's two sidecars.
    fn check(&self, lines: &BySide<ParsedLine>, places: BySide<Number>) -> Result<(), LogsError> {
        let BySide { client: (client_file, client), server: (server_file, server) } = places;
        let files = || BySide {
            client: self.files.client[client_file].clone(),
            server: self.files.server[server_file].clone(),
        };
        if lines.client.text() == lines.server.text() {
            return Err(LogsError::SameLog { files: files(), client, server });
        }
        if (Proxy::of(&lines.client), Proxy::of(&lines.server)) == (Proxy::Server, Proxy::Client) {
            return Err(LogsError::WrongWayRound { files: files(), client, server });
        }
        Ok(())
    }

    fn place(&self, side: Side, line: &WaitingLine<Number>) -> LinePlace {
        let (file, number) = line.place;
        let read = self.format.read(&line.text);
        let request_id = read.and_then(|line| line.text_of("request_id").map(str::to_owned));
        LinePlace { side, path: self.files[side][file].clone(), number, request_id }
    }
}

#[cfg(test)]
mod tests;
