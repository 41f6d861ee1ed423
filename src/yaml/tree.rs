//! Documents as trees. Texts are slices of the source wherever they stand there as they are, and
//! what an alias repeats is shared.

use std::sync::Arc;

use super::error::{Error, Problem};
use super::place::{Mark, Place, Text};

/// A value, and where it is.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    pub(super) mark: Mark,
    pub(super) value: Value,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Null,
    Boolean(bool),
    Number(serde_json::Number),
    Text(TextSlice),
    Sequence(Box<[Node]>),
    Mapping(Box<[KeyValue]>),
    /// What has an anchor, there and where an alias repeats it.
    Shared(Arc<Value>),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct KeyValue {
    pub(super) key: Key,
    pub(super) value: Node,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Key {
    pub(super) mark: Mark,
    pub(super) text: TextSlice,
}

/// The text of a scalar or of a key.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum TextSlice {
    /// These bytes of the source.
    Slice { start: u32, end: u32 },
    /// What the source says in another way: with escapes, or on several lines.
    Owned(Box<str>),
}

impl TextSlice {
    pub(super) fn of<'t>(&'t self, source: &'t str) -> &'t str {
        match self {
            Self::Slice { start, end } => &source[*start as usize..*end as usize],
            Self::Owned(text) => text,
        }
    }
}

/// A document: a value of its own in a text.
#[derive(Debug, Clone)]
pub struct Document {
    text: Arc<Text>,
    root: Node,
}

/// A value in a document, with its key if it is a field.
#[derive(Debug, Clone, Copy)]
pub struct NodeRef<'d> {
    pub(super) text: &'d Arc<Text>,
    key: Option<&'d Key>,
    mark: Mark,
    pub(super) value: &'d Value,
}

impl Document {
    pub(super) fn new(text: &Arc<Text>, root: Node) -> Self {
        Self { text: Arc::clone(text), root }
    }

    /// The whole of it.
    #[must_use]
    pub fn root(&self) -> NodeRef<'_> {
        NodeRef::new(&self.text, None, &self.root)
    }

    /// Where the document begins.
    #[must_use]
    pub fn place(&self) -> Place {
        self.root().place_of_value()
    }

    /// The error that something else is expected than this document.
    #[must_use]
    pub fn unexpected(&self, expected: &str) -> Error {
        let (expected, found) = (expected.to_owned(), self.root().in_words());
        Error::new(self.place(), Problem::Unexpected { expected, found })
    }

    /// The items of a field that is a list, each as a document of its own; none of another field.
    #[must_use]
    pub fn into_items(self, field: &str) -> Vec<Self> {
        let Value::Mapping(entries) = self.root.value else { return Vec::new() };
        let found = entries.into_iter().find(|entry| entry.key.text.of(&self.text.text) == field);
        match found.map(|entry| entry.value.value) {
            Some(Value::Sequence(items)) => {
                items.into_iter().map(|root| Self::new(&self.text, root)).collect()
            }
            Some(Value::Shared(shared)) => match &*shared {
                Value::Sequence(items) => {
                    items.iter().map(|root| Self::new(&self.text, root.clone())).collect()
                }
                _ => Vec::new(),
            },
            _ => Vec::new(),
        }
    }

    /// The value at a path such as `spec.ports[0].name`.
    #[must_use]
    pub fn at(&self, path: &str) -> Option<NodeRef<'_>> {
        self.root().at(path)
    }

    /// Where a path is; where it is not there, the last part of it that is.
    #[must_use]
    pub fn place_of(&self, path: &str) -> Place {
        let mut path = path;
        loop {
            if let Some(node) = self.at(path) {
                return node.place();
            }
            match path.rfind(['.', '[']) {
                Some(end) => path = &path[..end],
                None => return self.place(),
            }
        }
    }
}

impl<'d> NodeRef<'d> {
    pub(super) fn new(text: &'d Arc<Text>, key: Option<&'d Key>, node: &'d Node) -> Self {
        let mut value = &node.value;
        while let Value::Shared(shared) = value {
            value = shared;
        }
        Self { text, key, mark: node.mark, value }
    }

    pub(super) fn entry(text: &'d Arc<Text>, entry: &'d KeyValue) -> Self {
        Self::new(text, Some(&entry.key), &entry.value)
    }

    /// The value at a path below this one, with names in `lowerCamelCase`, however the document
    /// writes them. A null is not there.
    #[must_use]
    pub fn at(self, path: &str) -> Option<Self> {
        let mut node = self;
        for part in path.split('.') {
            let (name, index) = match part.split_once('[') {
                Some((name, index)) => (name, Some(index.strip_suffix(']')?.parse::<usize>().ok()?)),
                None => (part, None),
            };
            node = node.entries().find(|entry| entry.is_named(name))?;
            if let Some(index) = index {
                let Value::Sequence(items) = node.value else { return None };
                node = Self::new(node.text, None, items.get(index)?);
            }
        }
        (!node.is_null()).then_some(node)
    }

    /// Whether it is null, which in Kubernetes is the same as not being there.
    #[must_use]
    pub fn is_null(self) -> bool {
        matches!(self.value, Value::Null)
    }

    /// The fields of a mapping; none of anything else.
    #[must_use]
    pub fn entries(self) -> impl ExactSizeIterator<Item = Self> {
        let entries: &'d [KeyValue] = match self.value {
            Value::Mapping(entries) => entries,
            _ => &[],
        };
        entries.iter().map(move |entry| Self::entry(self.text, entry))
    }

    /// The items of a list; none of anything else.
    #[must_use]
    pub fn items(self) -> impl ExactSizeIterator<Item = Self> {
        let items: &'d [Node] = match self.value {
            Value::Sequence(items) => items,
            _ => &[],
        };
        items.iter().map(move |item| Self::new(self.text, None, item))
    }

    /// The name of a field, as it is written.
    #[must_use]
    pub fn key(self) -> Option<&'d str> {
        self.key.map(|key| key.text.of(&self.text.text))
    }

    /// The text that it is.
    #[must_use]
    pub fn text(self) -> Option<&'d str> {
        match self.value {
            Value::Text(piece) => Some(piece.of(&self.text.text)),
            _ => None,
        }
    }

    /// Whether that is the field's name, in `lowerCamelCase`.
    fn is_named(self, name: &str) -> bool {
        self.key().is_some_and(|key| key == name || (key.contains('_') && lower_camel_case(key) == name))
    }

    /// Where it is, for a reader: a scalar itself, of anything larger its name.
    #[must_use]
    pub fn place(self) -> Place {
        match self.value {
            Value::Mapping(_) | Value::Sequence(_) | Value::Null => self.place_of_key(),
            _ => self.place_of_value(),
        }
    }

    /// Where its name is, or what has no name itself.
    #[must_use]
    pub fn place_of_key(self) -> Place {
        Place::new(self.text, self.key.map_or(self.mark, |key| key.mark))
    }

    /// Where the value begins.
    #[must_use]
    pub fn place_of_value(self) -> Place {
        Place::new(self.text, self.mark)
    }

    /// Where in the file is what is at a place of the text that this value is: a literal block, whose
    /// lines are the text's behind their indentation. Nothing of a text that is written otherwise.
    #[must_use]
    pub fn place_within(self, place: &Place) -> Option<Place> {
        let (before, rest) = self.text.text.split_at_checked(self.mark.start as usize)?;
        if !before.trim_end().trim_end_matches(['-', '+']).ends_with('|') {
            return None;
        }
        // Empty lines at its beginning are before the value's mark.
        let text = self.text()?;
        let skipped = u64::try_from(text.len() - text.trim_start_matches('\n').len()).ok()?;
        let below = place.line.checked_sub(1 + skipped)?;
        let column = place.column + u64::from(self.mark.column) - 1;
        let mut lines = rest.split_inclusive('\n');
        let above: usize = lines.by_ref().take(usize::try_from(below).ok()?).map(str::len).sum();
        // The first line begins where the value does.
        let from = if below == 0 { place.column } else { column };
        let characters = lines.next()?.chars().take(usize::try_from(from).ok()?.saturating_sub(1));
        let start = before.len() + above + characters.map(char::len_utf8).sum::<usize>();
        let line = u64::from(self.mark.line) + below;
        Some(Place { file: Arc::clone(&self.text.name), line, column, span: start..start })
    }

    /// Where a field whose name `is_name` takes, or this text, is first in the value.
    pub fn find(self, is_name: &dyn Fn(&str) -> bool, text: &str) -> Option<Place> {
        let within = |value: Self| match value.text() {
            Some(found) => (found == text).then(|| value.place_of_value()),
            None => value.find(is_name, text),
        };
        self.entries().chain(self.items()).find_map(|value| match value.key() {
            Some(key) if is_name(key) => Some(value.place_of_key()),
            _ => within(value),
        })
    }

    /// What stands in the source for a scalar without escapes, such as a number.
    pub(super) fn source(self) -> &'d str {
        self.text.text.get(self.mark.start as usize..self.mark.end as usize).unwrap_or_default()
    }

    /// The value as JSON, with each name changed by `rename`.
    #[must_use]
    pub fn to_json(self, rename: fn(&str) -> String) -> serde_json::Value {
        match self.value {
            Value::Null | Value::Shared(_) => serde_json::Value::Null,
            Value::Boolean(value) => (*value).into(),
            Value::Number(number) => number.clone().into(),
            Value::Text(piece) => piece.of(&self.text.text).into(),
            Value::Sequence(_) => self.items().map(|item| item.to_json(rename)).collect(),
            Value::Mapping(_) => {
                let field = |entry: Self| Some((rename(entry.key()?), entry.to_json(rename)));
                self.entries().filter_map(field).collect()
            }
        }
    }

    /// What it is, in words: a scalar as it is, of anything larger its kind.
    pub(super) fn in_words(self) -> String {
        match self.value {
            Value::Null | Value::Shared(_) => "nothing".to_owned(),
            Value::Boolean(value) => value.to_string(),
            Value::Number(number) => number.to_string(),
            Value::Text(piece) => format!("{:?}", piece.of(&self.text.text)),
            Value::Sequence(_) => "a list".to_owned(),
            Value::Mapping(_) => "a mapping".to_owned(),
        }
    }
}

/// Protobuf's JSON name of a field: `allow_connect` is `allowConnect`; a name without `_` stays as
/// it is.
#[must_use]
pub fn lower_camel_case(name: &str) -> String {
    let mut camel = String::with_capacity(name.len());
    let mut capital = false;
    for character in name.chars() {
        if character == '_' {
            capital = true;
        } else if capital {
            camel.push(character.to_ascii_uppercase());
            capital = false;
        } else {
            camel.push(character);
        }
    }
    camel
}
