//! What a run left behind: the lines of both sidecars, all of them kept, joined to sessions as
//! [`Joiner`] does with logs of any size.

use std::io;
use std::path::{Path, PathBuf};

use super::expect::{FieldRef, Side};
use crate::access_log::{Field, Joiner, ParsedLine};

/// An access log could not be read.
#[derive(Debug, thiserror::Error)]
#[error("read the access log {}: {source}", path.display())]
pub struct EvidenceError {
    /// The file.
    pub path: PathBuf,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

/// The lines of both sidecars, joined.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// One a session that left at least one line.
    pub sessions: Vec<Joined>,
    /// Lines that are none.
    pub unreadable: Vec<Unreadable>,
}

/// The lines of one session. A line that no line of the other side speaks to stands alone.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Joined {
    /// Of the client's sidecar.
    pub client: Option<ParsedLine>,
    /// Of the server's sidecar.
    pub server: Option<ParsedLine>,
}

/// A line that could not be parsed.
#[derive(Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// Whose.
    pub side: Side,
    /// As it was written.
    pub text: String,
    /// Why not.
    pub reason: String,
}

impl Joined {
    /// The line of one side.
    #[must_use]
    pub fn line(&self, side: Side) -> Option<&ParsedLine> {
        match side {
            Side::Client => self.client.as_ref(),
            Side::Server => self.server.as_ref(),
        }
    }

    /// What the named line says for the named key; absent too where there is no such line.
    #[must_use]
    pub fn field(&self, field: &FieldRef) -> Field<'_> {
        self.line(field.side).map_or(Field::Absent, |line| line.field(&field.key))
    }
}

impl Evidence {
    /// Joins lines that are read already.
    #[must_use]
    pub fn of(client: Vec<ParsedLine>, server: Vec<ParsedLine>) -> Self {
        Self { sessions: join(client, server), unreadable: Vec::new() }
    }

    /// Parses and joins the texts of two access logs.
    #[must_use]
    pub fn parse(client: &str, server: &str) -> Self {
        let mut unreadable = Vec::new();
        let mut lines = |side, log: &str| -> Vec<ParsedLine> {
            let mut parsed = Vec::new();
            for text in log.lines() {
                match ParsedLine::parse(text) {
                    Ok(line) => parsed.push(line),
                    Err(error) => {
                        unreadable.push(Unreadable {
                            side,
                            text: text.to_owned(),
                            reason: error.to_string(),
                        });
                    }
                }
            }
            parsed
        };
        let client = lines(Side::Client, client);
        let server = lines(Side::Server, server);
        Self { sessions: join(client, server), unreadable }
    }

    /// How many lines one side wrote, readable or not.
    #[must_use]
    pub fn count(&self, side: Side) -> usize {
        let readable = self.sessions.iter().filter(|session| session.line(side).is_some()).count();
        readable + self.unreadable.iter().filter(|line| line.side == side).count()
    }
}

/// Sessions keep the order of the client's log; lines that stay alone on the server's side come last.
fn join(client: Vec<ParsedLine>, server: Vec<ParsedLine>) -> Vec<Joined> {
    let mut joiner = Joiner::default();
    for (index, line) in client.iter().enumerate() {
        joiner.client(line, index);
    }
    let mut pairs = Vec::new();
    for (index, line) in server.iter().enumerate() {
        pairs.extend(joiner.server(line, index).map(|client| (client.place, index)));
    }
    let by_connection = joiner.finish().by_connection;
    pairs.extend(by_connection.into_iter().map(|(client, server)| (client.place, server.place)));

    let mut server: Vec<_> = server.into_iter().map(Some).collect();
    let mut sessions: Vec<Joined> =
        client.into_iter().map(|line| Joined { client: Some(line), server: None }).collect();
    for (at_client, at_server) in pairs {
        sessions[at_client].server = server[at_server].take();
    }
    let alone = server.into_iter().flatten().map(|line| Joined { client: None, server: Some(line) });
    sessions.extend(alone);
    sessions
}

/// Where the two access logs of one run are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logs {
    /// Of the client's sidecar.
    pub client: PathBuf,
    /// Of the server's sidecar.
    pub server: PathBuf,
}

impl Logs {
    /// The logs in a folder of their own, by the names that `--keep` promises.
    #[must_use]
    pub fn within(folder: &Path) -> Self {
        Self { client: folder.join("client-sidecar.jsonl"), server: folder.join("server-sidecar.jsonl") }
    }

    /// The log of one side.
    #[must_use]
    pub fn path(&self, side: Side) -> &Path {
        match side {
            Side::Client => &self.client,
            Side::Server => &self.server,
        }
    }

    /// How many whole lines one side has written by now.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn count(&self, side: Side) -> Result<usize, EvidenceError> {
        Ok(self.text(side)?.matches('\n').count())
    }

    /// Reads and joins both.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn read(&self) -> Result<Evidence, EvidenceError> {
        Ok(Evidence::parse(&self.text(Side::Client)?, &self.text(Side::Server)?))
    }

    fn text(&self, side: Side) -> Result<String, EvidenceError> {
        let path = self.path(side);
        let bytes = std::fs::read(path).map_err(|source| EvidenceError { path: path.to_owned(), source })?;
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
    fn pairs(evidence: &Evidence) -> Vec<(Option<&str>, Option<&str>)> {
        evidence
            .sessions
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
        let evidence = Evidence::parse(&clients, &servers);
        assert_eq!(pairs(&evidence), [(Some("a"), Some("c:1")), (Some("b"), Some("c:2"))]);
    }

    #[test]
    fn a_line_without_a_request_id_joins_by_the_connection_between_the_sidecars() {
        let clients = client("a", "c:1") + &client("b", "c:2");
        let evidence = Evidence::parse(&clients, &(undecodable("c:2") + &server("a", "c:1")));
        assert_eq!(pairs(&evidence), [(Some("a"), Some("c:1")), (Some("b"), Some("c:2"))]);
    }

    #[test]
    fn a_line_without_a_request_id_does_not_take_a_session_that_has_its_line() {
        let clients = client("a", "c:1") + &client("b", "c:1");
        let evidence = Evidence::parse(&clients, &(undecodable("c:1") + &server("a", "c:1")));
        assert!(
            evidence.sessions[0].server.as_ref().is_some_and(|line| line.text_of("request_id") == Some("a"))
        );
        assert!(
            evidence.sessions[1].server.as_ref().is_some_and(|line| line.text_of("request_id").is_none())
        );
    }

    #[test]
    fn a_second_line_of_one_session_stands_alone() {
        let evidence = Evidence::parse(&client("a", "c:1"), &server("a", "c:1").repeat(2));
        assert_eq!(pairs(&evidence), [(Some("a"), Some("c:1")), (None, Some("c:1"))]);
        assert_eq!(evidence.count(Side::Server), 2);
    }

    #[test]
    fn a_line_that_is_no_json_is_kept_with_its_reason() {
        let evidence = Evidence::parse("oops\n", "");
        assert_eq!(evidence.count(Side::Client), 1);
        let line = &evidence.unreadable[0];
        assert_eq!((line.side, line.text.as_str()), (Side::Client, "oops"));
        assert!(line.reason.starts_with("not a JSON access-log line"), "{}", line.reason);
    }
}
