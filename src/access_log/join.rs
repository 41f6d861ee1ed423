//! Which two lines speak of the same session, while both logs are still being read: by request id,
//! and a line of the server's sidecar without one (`DPE`) by the connection between the sidecars,
//! its `downstream_remote_address`, which is the client line's `upstream_local_address`.
//!
//! Only the lines that have not met their other side yet are kept, as text, and of each side no
//! more than so many.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::mem;
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

/// What a line is joined by.
#[derive(Debug, Clone, Copy)]
pub struct JoinKeys<'line> {
    /// Whose line it is.
    pub side: Side,
    /// The request id.
    pub id: Option<&'line str>,
    /// Of the connection between the sidecars, as this side has it.
    pub address: Option<&'line str>,
}

impl<'line> JoinKeys<'line> {
    /// Those of a line of `side`.
    #[must_use]
    pub fn of(side: Side, line: &'line ParsedLine) -> Self {
        let address = match side {
            Side::Client => "upstream_local_address",
            Side::Server => "downstream_remote_address",
        };
        Self { side, id: line.text_of("request_id"), address: line.text_of(address) }
    }
}

/// The lines of one side that wait, by number in the order of arrival.
#[derive(Debug)]
struct Unmatched<P> {
    lines: BTreeMap<u64, Line<P>>,
    /// Which of them have an id; made once a line of the other side asks, which in the log of one
    /// sidecar none does.
    by_id: Option<ById>,
}

/// The numbers of lines, by request id.
#[derive(Debug, Default)]
struct ById(HashMap<Arc<str>, Numbers>);

/// The lines of one request id in their order; mostly there is one.
#[derive(Debug)]
struct Numbers {
    first: u64,
    others: VecDeque<u64>,
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
    /// Below it are the numbers of the lines that were there at the last [`Joiner::settle`].
    settled: u64,
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
        let unmatched = BySide::from_fn(|_| Unmatched { lines: BTreeMap::new(), by_id: None });
        Self { unmatched, next: 0, max_waiting, given_up: BySide::default(), settled: 0 }
    }

    /// How many lines of each side were given up before they met their other side.
    #[must_use]
    pub fn given_up(&self) -> BySide<usize> {
        self.given_up
    }

    /// Takes a line of one side's sidecar; gives the other side's line of the same session if it
    /// was there before.
    pub fn line(&mut self, side: Side, line: &ParsedLine, place: P) -> Option<WaitingLine<P>> {
        let waiting = || WaitingLine { text: line.text().into(), place };
        self.join(JoinKeys::of(side, line), waiting)
    }

    /// The same of a line of which the caller knows its keys.
    pub fn join(
        &mut self,
        JoinKeys { side, id, address }: JoinKeys<'_>,
        waiting: impl FnOnce() -> WaitingLine<P>,
    ) -> Option<WaitingLine<P>> {
        let met = id.and_then(|id| self.unmatched[side.other()].take(id));
        if met.is_none() {
            self.next += 1;
            let (id, address) = (id.map(Into::into), address.map(Into::into));
            self.unmatched[side].wait(self.next, Line { waiting: waiting(), id, address });
            self.given_up[side] += self.unmatched[side].give_up(self.max_waiting);
        }
        met
    }

    /// At the end of both logs: joins by connection what has no request id at the server's side,
    /// then gives what stays unmatched. An address says less than an id, so it comes last.
    #[must_use]
    pub fn finish(mut self) -> Rest<P> {
        let by_connection = self.join_by_connection(u64::MAX);
        let BySide { client, server } = self.unmatched;
        let lines = |side: Unmatched<P>| side.lines.into_values().map(|line| line.waiting).collect();
        Rest { by_connection, unmatched: BySide { client: lines(client), server: lines(server) } }
    }

    /// Of logs that go on: joins by connection what was there when this was called last. A line
    /// whose other side has the same id has had so long to meet it.
    #[must_use]
    pub fn settle(&mut self) -> Vec<BySide<WaitingLine<P>>> {
        let before = mem::replace(&mut self.settled, self.next + 1);
        self.join_by_connection(before)
    }

    /// Joins by connection the lines with a number below `before`.
    fn join_by_connection(&mut self, before: u64) -> Vec<BySide<WaitingLine<P>>> {
        let BySide { client, server } = &mut self.unmatched;
        let without_id: Vec<u64> = server
            .lines
            .range(..before)
            .filter(|(_, line)| line.id.is_none() && line.address.is_some())
            .map(|(number, _)| *number)
            .collect();
        if without_id.is_empty() {
            return Vec::new();
        }
        let mut by_port: HashMap<Box<str>, Vec<u64>> = HashMap::new();
        for (number, line) in client.lines.range(..before) {
            if let Some(address) = &line.address {
                by_port.entry(port(address).into()).or_default().push(*number);
            }
        }
        let meets = |number: u64| {
            let address = server.lines[&number].address.as_deref()?;
            let numbers = by_port.get_mut(port(address))?;
            let is_it = |number: &u64| {
                client.lines[number].address.as_deref().is_some_and(|it| same_address(it, address))
            };
            let at = numbers.iter().position(is_it)?;
            Some(BySide { client: client.remove(numbers.remove(at))?, server: server.remove(number)? })
        };
        without_id.into_iter().filter_map(meets).collect()
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
    fn wait(&mut self, number: u64, line: Line<P>) {
        if let (Some(by_id), Some(id)) = (&mut self.by_id, &line.id) {
            by_id.add(id, number);
        }
        self.lines.insert(number, line);
    }

    /// Takes the first line with this id.
    fn take(&mut self, id: &str) -> Option<WaitingLine<P>> {
        let by_id = self.by_id.get_or_insert_with(|| {
            let mut by_id = ById::default();
            for (number, line) in &self.lines {
                line.id.iter().for_each(|id| by_id.add(id, *number));
            }
            by_id
        });
        let number = by_id.take_first(id)?;
        self.lines.remove(&number).map(|line| line.waiting)
    }

    /// Takes the line of a number.
    fn remove(&mut self, number: u64) -> Option<WaitingLine<P>> {
        let line = self.lines.remove(&number)?;
        if let (Some(by_id), Some(id)) = (&mut self.by_id, &line.id) {
            by_id.remove(id, number);
        }
        Some(line.waiting)
    }

    /// Forgets the first lines until no more than `max` are left; how many that were.
    fn give_up(&mut self, max: usize) -> usize {
        let mut given_up = 0;
        while self.lines.len() > max
            && let Some((_, line)) = self.lines.pop_first()
        {
            // Lines with one id wait in the order in which they came, so it is its first.
            if let (Some(by_id), Some(id)) = (&mut self.by_id, line.id) {
                by_id.take_first(&id);
            }
            given_up += 1;
        }
        given_up
    }
}

impl ById {
    /// Adds a line, which came after all others with this id.
    fn add(&mut self, id: &Arc<str>, number: u64) {
        match self.0.entry(Arc::clone(id)) {
            Entry::Vacant(none) => {
                none.insert(Numbers { first: number, others: VecDeque::new() });
            }
            Entry::Occupied(some) => some.into_mut().others.push_back(number),
        }
    }

    fn remove(&mut self, id: &str, number: u64) {
        match self.0.get_mut(id) {
            Some(numbers) if numbers.first != number => numbers.others.retain(|other| *other != number),
            _ => {
                self.take_first(id);
            }
        }
    }

    fn take_first(&mut self, id: &str) -> Option<u64> {
        let numbers = self.0.get_mut(id)?;
        let first = numbers.first;
        match numbers.others.pop_front() {
            Some(next) => numbers.first = next,
            None => {
                self.0.remove(id);
            }
        }
        Some(first)
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
    fn of_logs_that_go_on_what_has_waited_joins_by_the_connection_and_leaves_the_index_whole() {
        let mut joiner = Joiner::default();
        joiner.line(Side::Client, &line(Some("a"), "upstream_local_address", "c:1"), 1);
        joiner.line(Side::Client, &line(Some("a"), "upstream_local_address", "c:2"), 2);
        joiner.line(Side::Server, &line(Some("b"), "downstream_remote_address", "c:9"), 3);
        joiner.line(Side::Server, &line(None, "downstream_remote_address", "c:1"), 4);
        assert!(joiner.settle().is_empty(), "they have just come");
        joiner.line(Side::Server, &line(None, "downstream_remote_address", "c:2"), 5);
        let places = |joined: Vec<BySide<WaitingLine<i32>>>| {
            joined.iter().map(|lines| (lines.client.place, lines.server.place)).collect::<Vec<_>>()
        };
        assert_eq!(places(joiner.settle()), [(1, 4)]);
        let met = joiner.line(Side::Server, &line(Some("a"), "downstream_remote_address", "c:9"), 6);
        assert_eq!(met.map(|line| line.place), Some(2));
        assert!(joiner.settle().is_empty(), "its client's line has met another");
        assert_eq!(joiner.finish().unmatched.server.len(), 2);
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
