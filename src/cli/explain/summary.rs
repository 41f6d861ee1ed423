//! A whole log in numbers: how many lines of each protocol, code and flag, and which ways of ending
//! are worth a look.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::{fmt, mem};

use super::lengths::{Lengths, Timed};
use super::tally::{Counts, Joins, Tally, WorthALook};
use crate::access_log::explain::{Explanation, Proxy, Teller, Testimony, explain, explain_session};
use crate::access_log::{BySide, Joiner, LineFormat, ParsedLine, WaitingLine};
use crate::escape::{Escaped, escape_line};

/// The width of the longest bar, in columns.
const BAR: usize = 40;

/// The lines that were added, in the order in which they were.
#[derive(Debug, Default)]
pub(super) struct LogSummary {
    pub(super) counts: Counts,
    pub(super) lengths: Lengths,
    /// Lines that were skipped.
    pub(super) too_long: usize,
    /// Lines that say the same differ in their request only.
    worth_a_look: Vec<Worth>,
    slots: HashMap<WorthALook, usize>,
    /// Where sessions are counted, by who tells it and by what of the client's line.
    session_slots: HashMap<(Teller, Proxy, Option<usize>), usize>,
    joiner: Joiner<Waiting>,
    sessions: usize,
}

/// What is to be known of a line once its other side is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Waiting {
    slot: Option<usize>,
    testimony: Testimony,
}

/// A way of ending that is worth a look.
#[derive(Debug)]
struct Worth {
    /// What is said of it, by whom.
    told: String,
    times: usize,
    /// The first of those that count, if one does.
    first: Option<(Explanation, Option<String>)>,
}

impl Worth {
    fn new(told: String) -> Self {
        Self { told, times: 0, first: None }
    }

    fn count(&mut self, first: impl FnOnce() -> (Explanation, Option<String>)) {
        self.times += 1;
        self.first.get_or_insert_with(first);
    }

    /// One that was counted is so no longer.
    fn take_back(&mut self) {
        self.times -= 1;
        if self.times == 0 {
            self.first = None;
        }
    }
}

impl LogSummary {
    /// Where a way of ending is counted.
    pub(super) fn slot(&mut self, ending: WorthALook) -> usize {
        let worth_a_look = &mut self.worth_a_look;
        *self.slots.entry(ending).or_insert_with_key(|(sidecar, ended)| {
            worth_a_look.push(Worth::new(format!("{sidecar}: {ended}")));
            worth_a_look.len() - 1
        })
    }

    /// Adds a line by itself.
    pub(super) fn add(&mut self, line: &ParsedLine, format: &LineFormat) {
        let mut tally = Tally::of(line);
        self.counts.merge(&tally.counts);
        self.lengths.merge(&mut tally.lengths);
        let slots: Vec<_> = tally.worth_a_look.into_iter().map(|ending| self.slot(ending)).collect();
        for counted in tally.lines {
            let slot = counted.worth_a_look.map(|number| slots[number]);
            self.line(line.text(), counted.joins.as_ref(), slot, format);
        }
    }

    /// Adds a line that was counted, worth a look in `slot` if it is, and the session once both of
    /// its lines are there.
    pub(super) fn line(
        &mut self,
        text: &str,
        joins: Option<&Joins>,
        slot: Option<usize>,
        format: &LineFormat,
    ) {
        if let Some(slot) = slot {
            self.worth_a_look[slot].count(|| {
                let line = read_again(text, format);
                (explain(&line), request_id(&line))
            });
        }
        let Some(joins) = joins else { return };
        let place = Waiting { slot, testimony: joins.testimony };
        let waiting = || WaitingLine { text: text.into(), place };
        let keys = joins.keys(text);
        if let Some(met) = self.joiner.join(keys, waiting) {
            self.session(&BySide::with(keys.side, waiting(), met), format);
        }
    }

    /// A session stands for its two lines.
    fn session(&mut self, lines: &BySide<WaitingLine<Waiting>>, format: &LineFormat) {
        self.sessions += 1;
        let BySide { client, server } = lines;
        for slot in [client.place.slot, server.place.slot].into_iter().flatten() {
            self.worth_a_look[slot].take_back();
        }
        let teller = Teller::of(client.place.testimony, server.place.testimony);
        let told = match teller {
            Teller::Client | Teller::LostConnection => client.place.slot,
            Teller::Server | Teller::Refusal => server.place.slot,
        };
        if told.is_none() && matches!(teller, Teller::Client | Teller::Server) {
            return;
        }
        let explained = || {
            let read = |line: &WaitingLine<_>| read_again(&line.text, format);
            let (client, server) = (read(client), read(server));
            (explain_session(&client, &server), request_id(&client))
        };
        let worth_a_look = &mut self.worth_a_look;
        let slot =
            *self.session_slots.entry((teller, client.place.testimony.sidecar, told)).or_insert_with(|| {
                let (explanation, _) = explained();
                let told = format!(
                    "a session, both sides, told by the {}: {}",
                    explanation.sidecar, explanation.ended
                );
                worth_a_look.iter().position(|worth| worth.told == told).unwrap_or_else(|| {
                    worth_a_look.push(Worth::new(told));
                    worth_a_look.len() - 1
                })
            });
        worth_a_look[slot].count(explained);
    }

    /// At the end of all logs: joins what is left by the connection, and looks at how long sessions
    /// lasted.
    pub(super) fn finish(&mut self, format: &LineFormat) {
        for lines in mem::take(&mut self.joiner).finish().by_connection {
            self.session(&lines, format);
        }
        for Timed { times, explanation, request_id } in self.lengths.timed() {
            let told = format!("{}: {}", explanation.sidecar, explanation.ended);
            self.worth_a_look.push(Worth { told, times, first: Some((explanation, request_id)) });
        }
    }

    /// How many lines of both sides were given up.
    pub(super) fn given_up(&self) -> usize {
        let BySide { client, server } = self.joiner.given_up();
        client + server
    }

    /// How many sessions there were with the lines of both sides.
    pub(super) fn sessions(&self) -> usize {
        self.sessions
    }

    fn codes(&self) -> BTreeMap<String, usize> {
        let name = |code: &Option<u64>| code.map_or_else(|| "none".to_owned(), |code| code.to_string());
        self.counts.codes.iter().map(|(code, count)| (name(code), *count)).collect()
    }

    fn health(&self) -> BTreeMap<String, usize> {
        self.counts.health.iter().map(|(health, count)| (health.to_string(), *count)).collect()
    }

    /// Those that are worth a look, the most frequent first, with the first of each.
    fn by_frequency(&self) -> Vec<(&Worth, &Explanation, Option<&str>)> {
        let mut all = Vec::new();
        for worth in &self.worth_a_look {
            all.extend(worth.first.as_ref().map(|(first, id)| (worth, first, id.as_deref())));
        }
        all.sort_by_key(|(worth, ..)| (Reverse(worth.times), &worth.told));
        all
    }

    pub(super) fn json(&self, version: u32) -> serde_json::Value {
        let worth = |(worth, first, request_id): (&Worth, &Explanation, Option<&str>)| {
            serde_json::json!({
                "count": worth.times,
                "ended": worth.told,
                "request_id": request_id,
                "explanation": first,
            })
        };
        serde_json::json!({
            "version": version,
            "lines": self.counts.lines,
            "lines_too_long": self.too_long,
            "protocols": self.counts.protocols,
            "codes": self.codes(),
            "flags": self.counts.flags,
            "health": self.health(),
            "worth_a_look": self.by_frequency().into_iter().map(worth).collect::<Vec<_>>(),
        })
    }
}

/// A line that was read before.
fn read_again(text: &str, format: &LineFormat) -> ParsedLine {
    format.read(text).expect("what was read once is so again")
}

fn request_id(line: &ParsedLine) -> Option<String> {
    line.text_of("request_id").map(str::to_owned)
}

impl fmt::Display for LogSummary {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = self.counts.lines;
        writeln!(out, "{lines} {}", if lines == 1 { "line" } else { "lines" })?;
        if self.too_long > 0 {
            writeln!(out, "skipped, since it is longer than 1 MiB: {}", self.too_long)?;
        }
        for (title, counts) in [
            ("protocol", &self.counts.protocols),
            ("code", &self.codes()),
            ("flag", &self.counts.flags),
            ("outcome", &self.health()),
        ] {
            writeln!(out, "\n{title}")?;
            chart(out, counts)?;
        }
        let worth_a_look = self.by_frequency();
        if worth_a_look.is_empty() {
            return writeln!(out, "\nnothing is worth a look");
        }
        writeln!(out, "\nworth a look")?;
        for (Worth { told, times, .. }, first, id) in worth_a_look {
            let id = id.map(|id| format!(", first {id}")).unwrap_or_default();
            let times = if *times == 1 { "once".to_owned() } else { format!("{times} times") };
            writeln!(out, "  {}", Escaped(format_args!("{times}{id}: {told}")))?;
            if let Some(change) = &first.change {
                writeln!(out, "    {}", escape_line(change))?;
            }
        }
        Ok(())
    }
}

/// A bar for each count, the largest as wide as bars get, none that counts something empty.
fn chart(out: &mut fmt::Formatter<'_>, counts: &BTreeMap<String, usize>) -> fmt::Result {
    let max = counts.values().copied().max().unwrap_or(1).max(1);
    let digits = max.to_string().len();
    let mut sorted: Vec<_> = counts.iter().map(|(name, count)| (escape_line(name), count)).collect();
    let width = sorted.iter().map(|(name, _)| name.chars().count()).max().unwrap_or_default();
    sorted.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    for (name, count) in sorted {
        let bar = "█".repeat((count * BAR).div_ceil(max));
        writeln!(out, "  {name:width$}  {count:digits$}  {bar}")?;
    }
    Ok(())
}
