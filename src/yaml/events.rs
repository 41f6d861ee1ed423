//! YAML's events, as the parser tells them, made into trees.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use granit_parser::{Event, Parser, ScalarStyle, Span, StrInput, Tag};

use super::error::{Error, Problem};
use super::place::{Mark, Place, Text, count};
use super::tree::{Key, KeyValue, Node, TextSlice, Value};
use super::{MAX_DEPTH, MAX_REPEATED_BYTES, MAX_REPEATED_NODES, plain};

/// A field of `metadata` that a cluster keeps for itself, one entry for whoever wrote a field.
/// Nothing is kept of it: in an export it is most of the text.
pub(super) fn is_unread(key: &str) -> bool {
    key == "managedFields"
}

/// The values of the documents of a text; those of empty ones are null.
pub(super) fn read(text: &Arc<Text>) -> Result<Vec<Node>, Error> {
    if u32::try_from(text.text.len()).is_err() {
        return Err(Error::at_beginning(text, "it is longer than 4 GiB, the most that has places"));
    }
    let mut options = granit_parser::Options::default();
    options.set_emit_comments(false);
    let mut reader = TreeBuilder {
        text,
        parser: Parser::new_from_str_with_options(&text.text, options),
        anchors: HashMap::new(),
        repeated: Size::default(),
        nodes: Vec::new(),
        entries: Vec::new(),
    };
    let mut roots = Vec::new();
    while let Some((event, span)) = reader.next()? {
        match event {
            Event::StreamStart | Event::DocumentEnd => {}
            Event::DocumentStart(..) => reader.anchors.clear(),
            Event::StreamEnd => break,
            event => {
                let (root, _) = reader.node(event, span, 0, true)?;
                roots.push(root);
            }
        }
    }
    Ok(roots)
}

/// The second of two fields with one name.
pub(super) fn repeated<'e>(entries: &'e [KeyValue], text: &str) -> Option<(&'e KeyValue, &'e KeyValue)> {
    let key = |entry: &'e KeyValue| entry.key.text.of(text);
    // Few are compared sooner than they are hashed.
    if entries.len() <= 16 {
        let pairs = entries.iter().enumerate();
        let mut pairs =
            pairs.flat_map(|(at, first)| entries[at + 1..].iter().map(move |second| (first, second)));
        return pairs.find(|(first, second)| key(first) == key(second));
    }
    let mut seen = HashSet::with_capacity(entries.len());
    let second = entries.iter().find(|entry| !seen.insert(key(entry)))?;
    let first = entries.iter().find(|entry| key(entry) == key(second))?;
    Some((first, second))
}

/// What a value has in it, aliases written out.
#[derive(Debug, Clone, Copy, Default)]
struct Size {
    nodes: u64,
    bytes: u64,
}

impl Size {
    fn add(&mut self, other: Self) {
        self.nodes = self.nodes.saturating_add(other.nodes);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
}

struct TreeBuilder<'t> {
    text: &'t Arc<Text>,
    parser: Parser<'t, StrInput<'t>>,
    /// What has an anchor, by the parser's number of it.
    anchors: HashMap<usize, (Arc<Value>, Size)>,
    /// What aliases and merges have repeated so far.
    repeated: Size,
    /// The items, and the fields, of the lists and mappings that are open.
    nodes: Vec<Node>,
    entries: Vec<KeyValue>,
}

impl<'t> TreeBuilder<'t> {
    fn next(&mut self) -> Result<Option<(Event<'t>, Span)>, Error> {
        self.parser.next_event().transpose().map_err(|error| {
            let marker = error.marker();
            let start = count(marker.byte_offset().unwrap_or_default());
            let mark =
                Mark { line: count(marker.line()), column: count(marker.col() + 1), start, end: start };
            self.error(mark, Problem::Syntax(error.info()))
        })
    }

    fn error(&self, mark: Mark, problem: Problem) -> Error {
        Error::new(Place::new(self.text, mark), problem)
    }

    /// The next event of a document that is not at its end.
    fn following(&mut self) -> Result<(Event<'t>, Span), Error> {
        let end = Mark { line: 1, column: 1, ..Mark::default() };
        let following = self.next()?;
        following.ok_or_else(|| self.error(end, Problem::Syntax("it ends too soon".to_owned())))
    }

    /// The value that begins with an event. Of one that is not wanted nothing is kept.
    fn node(
        &mut self,
        event: Event<'t>,
        span: Span,
        depth: usize,
        wanted: bool,
    ) -> Result<(Node, Size), Error> {
        let mark = mark(span);
        let (value, anchor, size) = match event {
            Event::Alias(anchor) => return self.alias(anchor, mark),
            Event::Scalar(text, style, anchor, tag) => {
                let size = Size { nodes: 1, bytes: text.len() as u64 };
                (self.scalar(text, style, tag.as_deref(), mark)?, anchor, size)
            }
            Event::SequenceStart(_, anchor, _) => {
                let (items, size) = self.sequence(self.deeper(depth, mark)?, wanted)?;
                (items, anchor, size)
            }
            Event::MappingStart(_, anchor, _) => {
                let (fields, size) = self.mapping(self.deeper(depth, mark)?, wanted)?;
                (fields, anchor, size)
            }
            _ => return Err(self.error(mark, Problem::Syntax("a value is missing here".to_owned()))),
        };
        if anchor == 0 {
            return Ok((Node { mark, value }, size));
        }
        let shared = Arc::new(value);
        self.anchors.insert(anchor, (Arc::clone(&shared), size));
        Ok((Node { mark, value: Value::Shared(shared) }, size))
    }

    fn deeper(&self, depth: usize, mark: Mark) -> Result<usize, Error> {
        if depth < MAX_DEPTH {
            return Ok(depth + 1);
        }
        let problem = format!("lists and mappings are nested deeper than {MAX_DEPTH}, the most that is read");
        Err(self.error(mark, Problem::Bound(problem)))
    }

    fn alias(&mut self, anchor: usize, mark: Mark) -> Result<(Node, Size), Error> {
        let Some((shared, size)) = self.anchors.get(&anchor) else {
            let problem = "an alias is part of what it repeats".to_owned();
            return Err(self.error(mark, Problem::Syntax(problem)));
        };
        let (value, size) = (Value::Shared(Arc::clone(shared)), *size);
        self.repeat(size, mark)?;
        Ok((Node { mark, value }, size))
    }

    /// Counts what is repeated at a place.
    fn repeat(&mut self, size: Size, mark: Mark) -> Result<(), Error> {
        self.repeated.add(size);
        let bound = if self.repeated.nodes > MAX_REPEATED_NODES {
            format!("{MAX_REPEATED_NODES} values")
        } else if self.repeated.bytes > MAX_REPEATED_BYTES {
            format!("{} MiB of text", MAX_REPEATED_BYTES / 1024 / 1024)
        } else {
            return Ok(());
        };
        let problem = format!("aliases repeat more than {bound}, the most that is read");
        Err(self.error(mark, Problem::Bound(problem)))
    }

    fn sequence(&mut self, depth: usize, wanted: bool) -> Result<(Value, Size), Error> {
        let first = self.nodes.len();
        let mut size = Size { nodes: 1, bytes: 0 };
        loop {
            let (event, span) = self.following()?;
            if event == Event::SequenceEnd {
                break;
            }
            let (item, of_item) = self.node(event, span, depth, wanted)?;
            if wanted {
                self.nodes.push(item);
                size.add(of_item);
            }
        }
        Ok((Value::Sequence(self.nodes.drain(first..).collect()), size))
    }

    fn mapping(&mut self, depth: usize, wanted: bool) -> Result<(Value, Size), Error> {
        let first = self.entries.len();
        let mut size = Size { nodes: 1, bytes: 0 };
        let mut merges = Vec::new();
        loop {
            let (event, span) = self.following()?;
            if event == Event::MappingEnd {
                break;
            }
            let is_merge = matches!(
                &event,
                Event::Scalar(text, ScalarStyle::Plain, _, tag)
                    if text == "<<" && tag.as_ref().is_none_or(|tag| tag.suffix() == "merge")
            );
            let key = self.key(event, span)?;
            let (event, span) = self.following()?;
            let is_wanted = wanted && !is_unread(key.text.of(&self.text.text));
            let (value, of_value) = self.node(event, span, depth, is_wanted)?;
            if !is_wanted {
                continue;
            }
            if is_merge {
                merges.push(value);
            } else {
                size.add(of_value);
                size.bytes = size.bytes.saturating_add(key.text.of(&self.text.text).len() as u64);
                self.entries.push(KeyValue { key, value });
            }
        }
        if let Some((one, other)) = repeated(&self.entries[first..], &self.text.text) {
            let key = one.key.text.of(&self.text.text);
            let problem = format!("the key {key:?} is there twice, first in line {}", one.key.mark.line);
            return Err(self.error(other.key.mark, Problem::Syntax(problem)));
        }
        if !merges.is_empty() {
            let own = self.entries[first..].iter().map(|entry| entry.key.text.of(&self.text.text));
            let mut own: HashSet<String> = own.map(str::to_owned).collect();
            for merge in merges {
                size.add(self.merge(&merge.value, merge.mark, &mut own)?);
            }
        }
        Ok((Value::Mapping(self.entries.drain(first..).collect()), size))
    }

    /// Adds the fields of a mapping, or of several, that the one that is being read does not have of
    /// its `own` (`<<`, YAML 1.1).
    fn merge(&mut self, value: &Value, mark: Mark, own: &mut HashSet<String>) -> Result<Size, Error> {
        let mut size = Size::default();
        match value {
            Value::Null => {}
            Value::Shared(shared) => return self.merge(shared, mark, own),
            Value::Sequence(items) => {
                for item in items {
                    size.add(self.merge(&item.value, mark, own)?);
                }
            }
            Value::Mapping(entries) => {
                for entry in entries {
                    if own.insert(entry.key.text.of(&self.text.text).to_owned()) {
                        let of_value = size_of(&entry.value.value);
                        self.repeat(of_value, mark)?;
                        size.add(of_value);
                        self.entries.push(entry.clone());
                    }
                }
            }
            _ => {
                let problem = "<< merges a mapping, or a list of mappings".to_owned();
                return Err(self.error(mark, Problem::Syntax(problem)));
            }
        }
        Ok(size)
    }

    fn key(&mut self, event: Event<'t>, span: Span) -> Result<Key, Error> {
        let mark = mark(span);
        match event {
            Event::Scalar(text, _, anchor, _) => {
                let text = self.piece(text);
                if anchor != 0 {
                    let size = Size { nodes: 1, bytes: text.of(&self.text.text).len() as u64 };
                    self.anchors.insert(anchor, (Arc::new(Value::Text(text.clone())), size));
                }
                Ok(Key { mark, text })
            }
            Event::Alias(anchor) => {
                let (node, _) = self.alias(anchor, mark)?;
                match node.value {
                    Value::Shared(shared) => match &*shared {
                        Value::Text(text) => Ok(Key { mark, text: text.clone() }),
                        _ => Err(self.no_key(mark)),
                    },
                    _ => Err(self.no_key(mark)),
                }
            }
            _ => Err(self.no_key(mark)),
        }
    }

    fn no_key(&self, mark: Mark) -> Error {
        self.error(mark, Problem::Syntax("a key is a text, not a list or a mapping".to_owned()))
    }

    fn piece(&self, text: Cow<'t, str>) -> TextSlice {
        if let Cow::Borrowed(slice) = text {
            let start = (slice.as_ptr() as usize).wrapping_sub(self.text.text.as_ptr() as usize);
            let end = start.saturating_add(slice.len());
            // What the parser writes for nothing (`~`) is borrowed, too, and not from the text.
            if self.text.text.get(start..end).is_some() {
                return TextSlice::Slice { start: count(start), end: count(end) };
            }
        }
        TextSlice::Owned(text.into_owned().into_boxed_str())
    }

    fn scalar(
        &self,
        text: Cow<'t, str>,
        style: ScalarStyle,
        tag: Option<&Tag>,
        mark: Mark,
    ) -> Result<Value, Error> {
        let kind = tag.and_then(Tag::core_suffix);
        match (kind, plain::resolve(&text)) {
            (Some("null"), _) => Ok(Value::Null),
            (Some("bool"), Some(value @ Value::Boolean(_)))
            | (Some("int" | "float"), Some(value @ Value::Number(_))) => Ok(value),
            (Some(kind @ ("bool" | "int" | "float")), _) => {
                let problem = format!("{text:?} is tagged as !!{kind}, and is none");
                Err(self.error(mark, Problem::Syntax(problem)))
            }
            (_, Some(value)) if style == ScalarStyle::Plain && tag.is_none_or(says_nothing) => Ok(value),
            _ => Ok(Value::Text(self.piece(text))),
        }
    }
}

/// Whether a tag is of neither YAML's schema nor `!`, which makes a text of every scalar.
fn says_nothing(tag: &Tag) -> bool {
    let local = tag.suffix_in_namespace("!");
    tag.is_custom() && !matches!(local.as_deref(), Some("" | "!"))
}

fn mark(span: Span) -> Mark {
    let bytes = span.byte_range().unwrap_or_default();
    Mark {
        line: count(span.start.line()),
        column: count(span.start.col() + 1),
        start: count(bytes.start),
        end: count(bytes.end),
    }
}

fn size_of(value: &Value) -> Size {
    let mut size = Size { nodes: 1, bytes: 0 };
    match value {
        Value::Text(TextSlice::Slice { start, end }) => size.bytes = u64::from(end - start),
        Value::Text(TextSlice::Owned(text)) => size.bytes = text.len() as u64,
        Value::Sequence(items) => items.iter().for_each(|item| size.add(size_of(&item.value))),
        Value::Mapping(entries) => entries.iter().for_each(|entry| size.add(size_of(&entry.value.value))),
        Value::Shared(shared) => return size_of(shared),
        Value::Null | Value::Boolean(_) | Value::Number(_) => {}
    }
    size
}
