//! A whole log in numbers: how many lines of each protocol, code and flag, and which ways of ending
//! are worth a look.

use std::collections::BTreeMap;
use std::fmt;

use super::{LineOrSession, explanation};
use crate::access_log::ParsedLine;
use crate::access_log::explain::{Explanation, Health, explain, flag_meaning};
use crate::escape::{Escaped, escape_line};

/// The width of the longest bar, in columns.
const BAR: usize = 40;

#[derive(Debug, Default)]
pub(super) struct LogSummary {
    lines: usize,
    /// Lines that were skipped.
    pub(super) too_long: usize,
    protocols: BTreeMap<String, usize>,
    codes: BTreeMap<String, usize>,
    flags: BTreeMap<String, usize>,
    health: BTreeMap<Health, usize>,
    /// By what is said of them; lines that say the same differ in their request only.
    worth_a_look: BTreeMap<String, Worth>,
}

/// A way of ending that is worth a look.
#[derive(Debug)]
struct Worth {
    times: usize,
    first: Explanation,
    request_id: Option<String>,
}

impl LogSummary {
    pub(super) fn count(&mut self, found: &LineOrSession<'_>) {
        let explanation = explanation(found);
        let line = match found {
            LineOrSession::Line(line) => line,
            LineOrSession::Session(client, server) => {
                // The session stands for its two lines.
                self.take_back(client);
                self.take_back(server);
                let who = format!("a session, both sides, told by the {}", explanation.sidecar);
                self.worth(&who, explanation, client);
                return;
            }
        };
        self.lines += 1;
        add(&mut self.protocols, line.text_of("protocol").unwrap_or("none"));
        let code = line.number_of("response_code").map(|code| code.to_string());
        add(&mut self.codes, code.as_deref().unwrap_or("none"));
        for flag in line.text_of("response_flags").unwrap_or("-").split(',') {
            add(&mut self.flags, flag_meaning(flag).map_or(flag, |known| known.short));
        }
        *self.health.entry(explanation.health).or_default() += 1;
        self.worth(&explanation.sidecar.to_string(), explanation, line);
    }

    /// A line that was counted among those that are worth a look is no longer.
    fn take_back(&mut self, line: &ParsedLine) {
        let explanation = explain(line);
        let key = format!("{}: {}", explanation.sidecar, explanation.ended);
        if let Some(worth) = self.worth_a_look.get_mut(&key) {
            worth.times -= 1;
            if worth.times == 0 {
                self.worth_a_look.remove(&key);
            }
        }
    }

    fn worth(&mut self, who: &str, explanation: Explanation, line: &ParsedLine) {
        if explanation.health == Health::Normal {
            return;
        }
        let key = format!("{who}: {}", explanation.ended);
        let request_id = line.text_of("request_id").map(str::to_owned);
        self.worth_a_look.entry(key).or_insert(Worth { times: 0, first: explanation, request_id }).times += 1;
    }

    /// Those that are worth a look, the most frequent first.
    fn by_frequency(&self) -> Vec<(&String, &Worth)> {
        let mut all: Vec<_> = self.worth_a_look.iter().collect();
        all.sort_by_key(|(_, worth)| std::cmp::Reverse(worth.times));
        all
    }

    pub(super) fn json(&self, version: u32) -> serde_json::Value {
        let worth = |(ended, worth): (&String, &Worth)| {
            serde_json::json!({
                "count": worth.times,
                "ended": ended,
                "request_id": worth.request_id,
                "explanation": worth.first,
            })
        };
        serde_json::json!({
            "version": version,
            "lines": self.lines,
            "lines_too_long": self.too_long,
            "protocols": self.protocols,
            "codes": self.codes,
            "flags": self.flags,
            "health": self.health.iter().map(|(health, count)| (health.to_string(), *count)).collect::<BTreeMap<_, _>>(),
            "worth_a_look": self.by_frequency().into_iter().map(worth).collect::<Vec<_>>(),
        })
    }
}

/// Counts `what`, of which mostly some were counted before.
fn add(counts: &mut BTreeMap<String, usize>, what: &str) {
    match counts.get_mut(what) {
        Some(count) => *count += 1,
        None => {
            counts.insert(what.to_owned(), 1);
        }
    }
}

impl fmt::Display for LogSummary {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{} {}", self.lines, if self.lines == 1 { "line" } else { "lines" })?;
        if self.too_long > 0 {
            writeln!(out, "skipped, since it is longer than 1 MiB: {}", self.too_long)?;
        }
        let health: BTreeMap<_, _> =
            self.health.iter().map(|(health, count)| (health.to_string(), *count)).collect();
        for (title, counts) in [
            ("protocol", &self.protocols),
            ("code", &self.codes),
            ("flag", &self.flags),
            ("outcome", &health),
        ] {
            writeln!(out, "\n{title}")?;
            chart(out, counts)?;
        }
        if self.worth_a_look.is_empty() {
            return writeln!(out, "\nnothing is worth a look");
        }
        writeln!(out, "\nworth a look")?;
        for (ended, worth) in self.by_frequency() {
            let id = worth.request_id.as_deref().map(|id| format!(", first {id}")).unwrap_or_default();
            let times = if worth.times == 1 { "once".to_owned() } else { format!("{} times", worth.times) };
            writeln!(out, "  {}", Escaped(format_args!("{times}{id}: {ended}")))?;
            if let Some(change) = &worth.first.change {
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
