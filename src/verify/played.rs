//! What a run left behind: how its sessions ended, what it knows, and the lines of both sidecars,
//! all of them kept, joined to sessions as [`Joiner`] does with logs of any size.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::driver::StepFailure;
use super::expect::Side;
use super::template::Facts;
use crate::access_log::{BySide, Joiner, ParsedLine};

/// An access log could not be read.
#[derive(Debug, thiserror::Error)]
#[error("read the access log {}: {source}", path.display())]
pub struct LogFileError {
    /// The file.
    pub path: PathBuf,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

/// A case that was played.
#[derive(Debug)]
pub(super) struct Played {
    /// What names in the scenario stand for.
    pub(super) facts: Facts,
    /// How each session ended for the client.
    pub(super) endings: Vec<Result<(), StepFailure>>,
    /// What the sidecars wrote.
    pub(super) logs: RunLogs,
    /// How long it took, from the start of the sidecars to their end.
    pub(super) elapsed: Duration,
}

/// The lines of both sidecars, joined.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct RunLogs {
    /// One a session that left at least one line.
    pub(super) sessions: Vec<Joined>,
    /// Lines that could not be parsed.
    pub(super) unreadable: Vec<Unreadable>,
}

/// The lines of one session; at a side that left none, or whose line did not join, there is none.
pub type Joined = BySide<Option<ParsedLine>>;

/// A line that could not be parsed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unreadable {
    /// The sidecar that wrote it.
    pub(super) side: Side,
    /// As it was written.
    pub(super) text: String,
    /// What is wrong with it.
    pub(super) reason: String,
}

impl RunLogs {
    /// Joins lines that are read already. Sessions keep the order of the client's log; lines that
    /// stay unmatched on the server's side come last.
    pub(super) fn of(lines: BySide<Vec<ParsedLine>>) -> Self {
        let mut joiner = Joiner::default();
        let mut pairs = Vec::new();
        for side in Side::BOTH {
            for (index, line) in lines[side].iter().enumerate() {
                // The client's lines come first, so that the one that was met is the client's.
                pairs.extend(joiner.line(side, line, index).map(|client| (client.place, index)));
            }
        }
        let by_connection = joiner.finish().by_connection;
        pairs.extend(by_connection.into_iter().map(|lines| (lines.client.place, lines.server.place)));

        let mut server: Vec<_> = lines.server.into_iter().map(Some).collect();
        let mut sessions: Vec<Joined> =
            lines.client.into_iter().map(|line| Joined { client: Some(line), server: None }).collect();
        for (at_client, at_server) in pairs {
            sessions[at_client].server = server[at_server].take();
        }
        let unmatched = server.into_iter().flatten();
        sessions.extend(unmatched.map(|line| Joined { client: None, server: Some(line) }));
        Self { sessions, unreadable: Vec::new() }
    }

    /// Parses and joins the texts of two access logs.
    pub(super) fn parse(client: &str, server: &str) -> Self {
        let mut unreadable = Vec::new();
        let logs = BySide { client, server };
        let lines = BySide::from_fn(|side| {
            let mut parsed = Vec::new();
            for text in logs[side].lines() {
                match ParsedLine::parse(text) {
                    Ok(line) => parsed.push(line),
                    Err(error) => {
                        let (text, reason) = (text.to_owned(), error.to_string());
                        unreadable.push(Unreadable { side, text, reason });
                    }
                }
            }
            parsed
        });
        Self { unreadable, ..Self::of(lines) }
    }

    /// How many lines one side wrote, readable or not.
    pub(super) fn count(&self, side: Side) -> usize {
        self.lines(side).count() + self.unreadable.iter().filter(|line| line.side == side).count()
    }

    /// The lines of one side, in the order of their sessions.
    pub(super) fn lines(&self, side: Side) -> impl Iterator<Item = &ParsedLine> {
        self.sessions.iter().filter_map(move |session| session[side].as_ref())
    }
}

/// Where the two access logs of one run are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LogFiles(BySide<PathBuf>);

impl LogFiles {
    /// The logs in a folder of their own, by the names that `--keep` promises.
    pub(super) fn within(folder: &Path) -> Self {
        Self(BySide::from_fn(|side| folder.join(format!("{side}-sidecar.jsonl"))))
    }

    /// The log of one side.
    pub(super) fn path(&self, side: Side) -> &Path {
        &self.0[side]
    }

    /// How many whole lines one side has written by now.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn count(&self, side: Side) -> Result<usize, LogFileError> {
        Ok(self.text(side)?.matches('\n').count())
    }

    /// Reads and joins both.
    ///
    /// # Errors
    /// A file cannot be read.
    pub(super) fn read(&self) -> Result<RunLogs, LogFileError> {
        Ok(RunLogs::parse(&self.text(Side::Client)?, &self.text(Side::Server)?))
    }

    fn text(&self, side: Side) -> Result<String, LogFileError> {
        let path = self.path(side);
        let bytes = std::fs::read(path).map_err(|source| LogFileError { path: path.to_owned(), source })?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(id: &str, connection: &str) -> String {
        format!("{{\"request_id\":\"{id}\",\"upstream_local_address\":\"{connection}\"}}\n")
    }

    fn server(id: &str, connection: &str) -> String {
        format!("{{\"request_id\":\"{id}\",\"downstream_remote_address\":\"{connection}\"}}\n")
    }

    fn undecodable(connection: &str) -> String {
        format!("{{\"request_id\":null,\"downstream_remote_address\":\"{connection}\"}}\n")
    }

    /// For each session, the request id at the client's side and the connection at the server's.
    fn pairs(logs: &RunLogs) -> Vec<(Option<&str>, Option<&str>)> {
        logs.sessions
            .iter()
            .map(|session| {
                (
                    session.client.as_ref().and_then(|line| line.text_of("request_id")),
                    session.server.as_ref().and_then(|line| line.text_of("downstream_remote_address")),
                )
            })
            .collect()
    }

    #[test]
    fn lines_join_by_request_id_whatever_their_order() {
        let clients = client("a", "c:1") + &client("b", "c:2");
        let servers = server("b", "c:2") + &server("a", "c:1");
        let logs = RunLogs::parse(&clients, &servers);
        assert_eq!(pairs(&logs), [(Some("a"), Some("c:1")), (Some("b"), Some("c:2"))]);
    }

    #[test]
    fn a_line_without_a_request_id_joins_by_the_connection_between_the_sidecars() {
        let clients = client("a", "c:1") + &client("b", "c:2");
        let logs = RunLogs::parse(&clients, &(undecodable("c:2") + &server("a", "c:1")));
        assert_eq!(pairs(&logs), [(Some("a"), Some("c:1")), (Some("b"), Some("c:2"))]);
    }

    #[test]
    fn a_line_without_a_request_id_does_not_take_a_session_that_has_its_line() {
        let clients = client("a", "c:1") + &client("b", "c:1");
        let logs = RunLogs::parse(&clients, &(undecodable("c:1") + &server("a", "c:1")));
        assert!(logs.sessions[0].server.as_ref().is_some_and(|line| line.text_of("request_id") == Some("a")));
        assert!(logs.sessions[1].server.as_ref().is_some_and(|line| line.text_of("request_id").is_none()));
    }

    #[test]
    fn a_second_line_of_one_session_stands_alone() {
        let logs = RunLogs::parse(&client("a", "c:1"), &server("a", "c:1").repeat(2));
        assert_eq!(pairs(&logs), [(Some("a"), Some("c:1")), (None, Some("c:1"))]);
        assert_eq!(logs.count(Side::Server), 2);
    }

    #[test]
    fn a_line_that_is_no_json_is_kept_with_its_reason() {
        let logs = RunLogs::parse("oops\n", "");
        assert_eq!(logs.count(Side::Client), 1);
        let line = &logs.unreadable[0];
        assert_eq!((line.side, line.text.as_str()), (Side::Client, "oops"));
        assert!(line.reason.starts_with("not a JSON access-log line"), "{}", line.reason);
    }
}
