//! What a summary needs of the lines of a piece of a log. A piece is read for itself, on any
//! thread; what one line is to another, on its own side or the other, is the summary's.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use super::lengths::Lengths;
use super::side;
use crate::access_log::explain::{Ending, Health, Proxy, Testimony, flag_meaning};
use crate::access_log::{Chunk, Finder, JoinKeys, LineFormat, LinePart, ParsedLine, Side, is_too_long};

/// A way of ending that is worth a look: whose line says it, and what.
pub(super) type WorthALook = (Proxy, Cow<'static, str>);

/// What was counted of lines, each by itself.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) lines: usize,
    pub(super) protocols: BTreeMap<String, usize>,
    /// `None` is of lines without one.
    pub(super) codes: BTreeMap<Option<u64>, usize>,
    pub(super) flags: BTreeMap<String, usize>,
    pub(super) health: BTreeMap<Health, usize>,
}

/// A line that was counted.
#[derive(Debug)]
pub(super) struct TalliedLine {
    text: LineText,
    /// Which of the ways of ending in [`Tally::worth_a_look`].
    pub(super) worth_a_look: Option<usize>,
    /// What it may be to a line of the other side.
    pub(super) joins: Option<Joins>,
}

/// What a line is joined by, and what it then says.
#[derive(Debug)]
pub(super) struct Joins {
    side: Side,
    id: Option<LinePart>,
    address: Option<LinePart>,
    pub(super) testimony: Testimony,
}

/// The text of a line, which most lines are in the log as it is.
#[derive(Debug)]
enum LineText {
    In(Range<usize>),
    Apart(Box<str>),
}

impl TalliedLine {
    /// The text, of a line in `chunk`.
    pub(super) fn text<'line>(&'line self, chunk: &'line Chunk) -> &'line str {
        match &self.text {
            LineText::In(range) => {
                str::from_utf8(&chunk.bytes()[range.clone()]).expect("it was read as such")
            }
            LineText::Apart(text) => text,
        }
    }
}

impl Joins {
    fn of(line: &ParsedLine, testimony: Testimony) -> Option<Self> {
        let side = side(testimony.sidecar, line)?;
        let JoinKeys { side, id, address } = JoinKeys::of(side, line);
        let part = |part: Option<&str>| part.map(|part| LinePart::new(line.text(), part));
        Some(Self { side, id: part(id), address: part(address), testimony })
    }

    /// The keys, with `text`, the line's.
    pub(super) fn keys<'line>(&'line self, text: &'line str) -> JoinKeys<'line> {
        let of = |part: &'line Option<LinePart>| part.as_ref().map(|part| part.of(text));
        JoinKeys { side: self.side, id: of(&self.id), address: of(&self.address) }
    }
}

/// Lines, in their order, and what was counted of them.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) counts: Counts,
    pub(super) lengths: Lengths,
    pub(super) worth_a_look: Vec<WorthALook>,
    pub(super) lines: Vec<TalliedLine>,
    numbers: HashMap<WorthALook, usize>,
}

impl Tally {
    /// That of one line, which is in no chunk.
    pub(super) fn of(line: &ParsedLine) -> Self {
        let mut tally = Self::default();
        tally.add(line, LineText::Apart(line.text().into()));
        tally
    }

    fn add(&mut self, line: &ParsedLine, text: LineText) {
        let ending = Ending::of(line);
        self.lengths.add(line, &ending);
        let Ending { ended, health, testimony, .. } = ending;
        let sidecar = testimony.sidecar;
        self.counts.add(line, health);
        let worth_a_look = (health != Health::Normal).then(|| {
            let (known, next) = (&mut self.worth_a_look, self.numbers.len());
            *self.numbers.entry((sidecar, ended)).or_insert_with_key(|ending| {
                known.push(ending.clone());
                next
            })
        });
        self.lines.push(TalliedLine { text, worth_a_look, joins: Joins::of(line, testimony) });
    }
}

impl Counts {
    fn add(&mut self, line: &ParsedLine, health: Health) {
        self.lines += 1;
        add(&mut self.protocols, line.text_of("protocol").unwrap_or("none"), 1);
        *self.codes.entry(line.number_of("response_code")).or_default() += 1;
        for flag in line.text_of("response_flags").unwrap_or("-").split(',') {
            add(&mut self.flags, flag_meaning(flag).map_or(flag, |known| known.short), 1);
        }
        *self.health.entry(health).or_default() += 1;
    }

    /// Adds those of other lines.
    pub(super) fn merge(&mut self, other: &Self) {
        self.lines += other.lines;
        other.protocols.iter().for_each(|(protocol, count)| add(&mut self.protocols, protocol, *count));
        other.codes.iter().for_each(|(code, count)| *self.codes.entry(*code).or_default() += count);
        other.flags.iter().for_each(|(flag, count)| add(&mut self.flags, flag, *count));
        other.health.iter().for_each(|(health, count)| *self.health.entry(*health).or_default() += count);
    }
}

/// Counts `what`, of which mostly some were counted before.
fn add(counts: &mut BTreeMap<String, usize>, what: &str, more: usize) {
    match counts.get_mut(what) {
        Some(count) => *count += more,
        None => {
            counts.insert(what.to_owned(), more);
        }
    }
}

/// A chunk of a log that was read.
pub(super) struct ReadChunk {
    pub(super) chunk: Chunk,
    pub(super) tally: Tally,
    /// How many lines it has, and how many of them are too long.
    pub(super) lines: usize,
    pub(super) too_long: usize,
    /// What goes on in the next chunk, and what was not read.
    pub(super) finder: Finder,
}

impl ReadChunk {
    /// Reads a chunk; `finder` has what goes on in it.
    pub(super) fn read(chunk: Chunk, mut finder: Finder, format: &LineFormat) -> Self {
        let mut tally = Tally::default();
        let (mut lines, mut too_long) = (0, 0);
        let mut at = 0;
        for line in chunk.lines() {
            lines += 1;
            let start = at;
            at += line.len();
            if is_too_long(line) {
                too_long += 1;
                continue;
            }
            finder.take(line, format);
            while let Some(found) = finder.found() {
                let bare = line.trim_ascii();
                let text = if found.text().as_bytes() == bare {
                    let before = line.len() - line.trim_ascii_start().len();
                    LineText::In(start + before..start + before + bare.len())
                } else {
                    LineText::Apart(found.text().into())
                };
                tally.add(&found, text);
            }
        }
        Self { chunk, tally, lines, too_long, finder }
    }
}
