//! Which two lines speak of the same session, while both logs are still being read: by request id,
//! and a line of the server's sidecar without one (`DPE`) by the connection between the sidecars,
//! its `downstream_remote_address`, which is the client line's `upstream_local_address`.
//!
//! Only the lines that have not met their other side yet are kept, as text, and of each side no
//! more than so many.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use super::{BySide, ParsedLine, Side};

/// How many lines of a side wait for their other side: about 120 MB of them, and more than a busy
/// sidecar writes in a minute.
pub const MAX_WAITING: usize = 100_000;

/// A line that waits, or has met its other side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitingLine<P> {
    /// As it was written.
    pub text: Box<str>,
    /// Where, as the caller counts.
    pub place: P,
}

/// The lines of one side that wait, by number in the order of arrival.
#[derive(Debug)]
struct Unmatched<P> {
    lines: BTreeMap<u64, Line<P>>,
    by_id: HashMap<Arc<str>, VecDeque<u64>>,
}

#[derive(Debug)]
struct Line<P> {
    waiting: WaitingLine<P>,
    id: Option<Arc<str>>,
    /// Of the connection between the sidecars.
    address: Option<Box<str>>,
}

/// Joins the lines of a client's and a server's sidecar as they come.
#[derive(Debug)]
pub struct Joiner<P> {
    unmatched: BySide<Unmatched<P>>,
    next: u64,
    max_waiting: usize,
    given_up: BySide<usize>,
}

impl<P> Default for Joiner<P> {
    /// Keeps [`MAX_WAITING`] lines of each side.
    fn default() -> Self {
        Self::keeping(MAX_WAITING)
    }
}

impl<P> Joiner<P> {
    /// Keeps at most so many lines of each side; then the one that has waited longest is given up.
    #[must_use]
    pub fn keeping(max_waiting: usize) -> Self {
        let unmatched = BySide::from_fn(|_| Unmatched { lines: BTreeMap::new(), by_id: HashMap::new() });
        Self { unmatched, next: 0, max_waiting, given_up: BySide::default() }
    }

    /// How many lines of each side were given up before they met their other side.
    #[must_use]
    pub fn given_up(&self) -> BySide<usize> {
        self.given_up
    }

    /// Takes a line of one side's sidecar; gives the other side's line of the same session if it
    /// was there before.
    pub fn line(&mut self, side: Side, line: &ParsedLine, place: P) -> Option<WaitingLine<P>> {
        let id = line.text_of("request_id");
        let met = id.and_then(|id| self.unmatched[side.other()].take(id));
        if met.is_none() {
            self.next += 1;
            // The key of the connection between the sidecars.
            let address = match side {
                Side::Client => "upstream_local_address",
                Side::Server => "downstream_remote_address",
            };
            self.unmatched[side].wait(self.next, line, place, address);
            self.given_up[side] += self.unmatched[side].give_up(self.max_waiting);
        }
        met
    }

    /// At the end of both logs: joins by connection what has no request id at the server's side,
    /// then gives what stays unmatched. An address says less than an id, so it comes last.
    #[must_use]
    pub fn finish(self) -> Rest<P> {
        let mut clients = self.unmatched.client.lines;
        let mut by_port: HashMap<Box<str>, Vec<u64>> = HashMap::new();
        for (number, line) in &clients {
            if let Some(address) = &line.address {
                by_port.entry(port(address).into()).or_default().push(*number);
            }
        }
        let mut found = Rest { by_connection: Vec::new(), unmatched: BySide::default() };
        for line in self.unmatched.server.lines.into_values() {
            let address = line.address.as_deref().filter(|_| line.id.is_none());
            let met = address.and_then(|address| {
                let numbers = by_port.get_mut(port(address))?;
                let is_it = |number: &u64| {
                    clients[number].address.as_deref().is_some_and(|it| same_address(it, address))
                };
                let at = numbers.iter().position(is_it)?;
                clients.remove(&numbers.remove(at))
            });
            match met {
                Some(client) => {
                    found.by_connection.push(BySide { client: client.waiting, server: line.waiting });
                }
                None => found.unmatched.server.push(line.waiting),
            }
        }
        found.unmatched.client.extend(clients.into_values().map(|line| line.waiting));
        found
    }
}

/// What the end of the logs leaves.
#[derive(Debug)]
pub struct Rest<P> {
    /// The lines of each session that was joined by the connection.
    pub by_connection: Vec<BySide<WaitingLine<P>>>,
    /// The lines of each side whose other side is not there.
    pub unmatched: BySide<Vec<WaitingLine<P>>>,
}

impl<P> Unmatched<P> {
    /// `address` is the key of the connection between the sidecars.
    fn wait(&mut self, number: u64, line: &ParsedLine, place: P, address: &str) {
        let id: Option<Arc<str>> = line.text_of("request_id").map(Into::into);
        if let Some(id) = &id {
            self.by_id.entry(Arc::clone(id)).or_default().push_back(number);
        }
        let waiting = WaitingLine { text: line.text().into(), place };
        let address = line.text_of(address).map(Into::into);
        self.lines.insert(number, Line { waiting, id, address });
    }

    fn take(&mut self, id: &str) -> Option<WaitingLine<P>> {
        let number = self.first_of(id)?;
        self.lines.remove(&number).map(|line| line.waiting)
    }

    /// Takes the first line with this id from the index of ids.
    fn first_of(&mut self, id: &str) -> Option<u64> {
        let numbers = self.by_id.get_mut(id)?;
        let number = numbers.pop_front();
        if numbers.is_empty() {
            self.by_id.remove(id);
        }
        number
    }

    /// Forgets the first lines until no more than `max` are left; how many that were.
    fn give_up(&mut self, max: usize) -> usize {
        let mut given_up = 0;
        while self.lines.len() > max
            && let Some((_, line)) = self.lines.pop_first()
        {
            // Lines with one id wait in the order in which they came, so it is its first.
            if let Some(id) = line.id {
                self.first_of(&id);
            }
            given_up += 1;
        }
        given_up
    }
}

fn port(address: &str) -> &str {
    address.rsplit_once(':').map_or(address, |(_, port)| port)
}

/// Whether two addresses may be one: a part that is masked, `127.0.**.**:53983`, may be any.
fn same_address(one: &str, other: &str) -> bool {
    if one == other {
        return true;
    }
    let masked = |part: &str| part.contains('*');
    if !masked(one) && !masked(other) {
        return false;
    }
    let parts = |address| str::split(address, ['.', ':']);
    parts(one).count() == parts(other).count()
        && parts(one).zip(parts(other)).all(|(a, b)| a == b || masked(a) || masked(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(id: Option<&str>, key: &str, address: &str) -> ParsedLine {
        let line = serde_json::json!({ "request_id": id, key: address });
        ParsedLine::parse(&line.to_string()).expect("a line")
    }

    #[test]
    fn a_line_meets_its_other_side_by_request_id_in_either_order_and_waits_no_longer() {
        let mut joiner = Joiner::default();
        assert_eq!(joiner.line(Side::Client, &line(Some("a"), "upstream_local_address", "c:1"), 1), None);
        assert_eq!(joiner.line(Side::Server, &line(Some("b"), "downstream_remote_address", "c:1"), 2), None);
        let met = joiner.line(Side::Server, &line(Some("a"), "downstream_remote_address", "c:1"), 3);
        assert_eq!(met.map(|line| line.place), Some(1));
        let met = joiner.line(Side::Client, &line(Some("b"), "upstream_local_address", "c:1"), 4);
        assert_eq!(met.map(|line| line.place), Some(2));
        let rest = joiner.finish();
        assert!(rest.by_connection.is_empty() && rest.unmatched == BySide::default());
    }

    #[test]
    fn a_line_without_an_id_joins_by_the_connection_also_where_addresses_are_masked() {
        for (client, server) in [("127.0.0.1:51914", "127.0.0.1:51914"), ("10.2.0.9:5", "10.2.**.**:5")] {
            let mut joiner = Joiner::default();
            joiner.line(Side::Server, &line(None, "downstream_remote_address", server), 1);
            joiner.line(Side::Client, &line(Some("a"), "upstream_local_address", "10.9.0.9:6"), 2);
            joiner.line(Side::Client, &line(Some("b"), "upstream_local_address", client), 3);
            let rest = joiner.finish();
            let pairs: Vec<_> =
                rest.by_connection.iter().map(|lines| (lines.client.place, lines.server.place)).collect();
            assert_eq!(pairs, [(3, 1)], "{client} {server}");
            assert_eq!(rest.unmatched.client.iter().map(|line| line.place).collect::<Vec<_>>(), [2]);
        }
    }

    #[test]
    fn of_more_lines_than_are_kept_the_first_is_given_up() {
        let mut joiner = Joiner::keeping(2);
        for (place, id) in ["a", "b", "a", "c"].into_iter().enumerate() {
            joiner.line(Side::Client, &line(Some(id), "upstream_local_address", "c:1"), place);
        }
        assert_eq!(joiner.given_up(), BySide { client: 2, server: 0 });
        let mut met = |id| {
            let met = joiner.line(Side::Server, &line(Some(id), "downstream_remote_address", "c:1"), 9);
            met.map(|line| line.place)
        };
        assert_eq!([met("a"), met("b"), met("c"), met("a")], [Some(2), None, Some(3), None]);
    }

    #[test]
    fn a_server_line_with_an_id_is_never_joined_by_its_address() {
        let mut joiner = Joiner::default();
        joiner.line(Side::Client, &line(Some("a"), "upstream_local_address", "c:1"), 1);
        joiner.line(Side::Server, &line(Some("b"), "downstream_remote_address", "c:1"), 2);
        let rest = joiner.finish();
        assert_eq!(
            (rest.by_connection.len(), rest.unmatched.client.len(), rest.unmatched.server.len()),
            (0, 1, 1)
        );
    }
}
