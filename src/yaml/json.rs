//! JSON (RFC 8259), which is YAML, and which large exports of a cluster are written in. It is read
//! here in less time than YAML takes. Whatever is not JSON is left to YAML's reader, which says what
//! is wrong with it.

use super::events::is_unread;
use super::place::{Mark, count};
use super::plain;
use super::tree::{Key, KeyValue, Node, TextSlice, Value};
use super::{MAX_DEPTH, events};

/// The value of a text that is one JSON object or array; `None` of any other text.
pub(super) fn read(text: &str) -> Option<Node> {
    if u32::try_from(text.len()).is_err() {
        return None;
    }
    let start = text.len() - text.trim_start_matches('\u{feff}').len();
    let mut reader = JsonReader {
        text,
        at: start,
        line: 1,
        line_start: start,
        continuations: 0,
        nodes: Vec::new(),
        entries: Vec::new(),
    };
    reader.skip_blanks();
    if !matches!(reader.peek()?, b'{' | b'[') {
        return None;
    }
    let root = reader.value(0, true)?;
    reader.skip_blanks();
    (reader.at == text.len()).then_some(root)
}

struct JsonReader<'t> {
    text: &'t str,
    at: usize,
    line: u32,
    /// The first byte of the line.
    line_start: usize,
    /// How many bytes of the line so far continue a character (UTF-8).
    continuations: usize,
    /// The items, and the fields, of the lists and mappings that are open.
    nodes: Vec<Node>,
    entries: Vec<KeyValue>,
}

impl JsonReader<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_blanks(&mut self) {
        while let Some(byte @ (b' ' | b'\t' | b'\r' | b'\n')) = self.peek() {
            self.at += 1;
            // A carriage return alone breaks a line, too (YAML 1.2.2, section 5.4).
            if byte == b'\n' || (byte == b'\r' && self.peek() != Some(b'\n')) {
                self.line += 1;
                self.line_start = self.at;
                self.continuations = 0;
            }
        }
    }

    /// The mark of what begins here.
    fn mark(&self) -> Mark {
        let column = count(self.at - self.line_start - self.continuations + 1);
        Mark { line: self.line, column, start: count(self.at), end: count(self.at) }
    }

    /// Reads a value. One that is not wanted is looked at, and nothing is kept of it.
    fn value(&mut self, depth: usize, wanted: bool) -> Option<Node> {
        let mut mark = self.mark();
        let value = match self.peek()? {
            b'{' if depth < MAX_DEPTH => self.object(depth, wanted)?,
            b'[' if depth < MAX_DEPTH => self.array(depth, wanted)?,
            b'"' => Value::Text(self.string()?),
            _ => self.word()?,
        };
        mark.end = match value {
            Value::Mapping(_) | Value::Sequence(_) => mark.start + 1,
            _ => count(self.at),
        };
        Some(Node { mark, value })
    }

    fn object(&mut self, depth: usize, wanted: bool) -> Option<Value> {
        let first = self.entries.len();
        self.at += 1;
        self.skip_blanks();
        if self.peek()? == b'}' {
            self.at += 1;
            return Some(Value::Mapping(Box::default()));
        }
        loop {
            let mut mark = self.mark();
            let text = self.string()?;
            mark.end = count(self.at);
            self.skip_blanks();
            self.take(b':')?;
            self.skip_blanks();
            let is_wanted = wanted && !is_unread(text.of(self.text));
            let value = self.value(depth + 1, is_wanted)?;
            if is_wanted {
                self.entries.push(KeyValue { key: Key { mark, text }, value });
            }
            self.skip_blanks();
            match self.peek()? {
                b',' => self.at += 1,
                b'}' => break,
                _ => return None,
            }
            self.skip_blanks();
        }
        self.at += 1;
        if events::repeated(&self.entries[first..], self.text).is_some() {
            return None;
        }
        Some(Value::Mapping(self.entries.drain(first..).collect()))
    }

    fn array(&mut self, depth: usize, wanted: bool) -> Option<Value> {
        let first = self.nodes.len();
        self.at += 1;
        self.skip_blanks();
        if self.peek()? == b']' {
            self.at += 1;
            return Some(Value::Sequence(Box::default()));
        }
        loop {
            let item = self.value(depth + 1, wanted)?;
            if wanted {
                self.nodes.push(item);
            }
            self.skip_blanks();
            match self.peek()? {
                b',' => self.at += 1,
                b']' => break,
                _ => return None,
            }
            self.skip_blanks();
        }
        self.at += 1;
        Some(Value::Sequence(self.nodes.drain(first..).collect()))
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    fn string(&mut self) -> Option<TextSlice> {
        self.take(b'"')?;
        let start = self.at;
        let bytes = self.text.as_bytes();
        let mut has_escapes = false;
        loop {
            let end = self.at + memchr::memchr2(b'"', b'\\', &bytes[self.at..])?;
            self.at = end + 1;
            if bytes[end] == b'"' {
                break;
            }
            has_escapes = true;
            // What is escaped does not end the string.
            self.at += 1;
            bytes.get(self.at)?;
        }
        let inner = &bytes[start..self.at - 1];
        // A line break in quotes means something else in YAML.
        if inner.iter().any(|byte| *byte < b' ') {
            return None;
        }
        if !inner.is_ascii() {
            self.continuations += inner.iter().filter(|byte| **byte & 0xc0 == 0x80).count();
        }
        if has_escapes {
            let text: String = serde_json::from_str(&self.text[start - 1..self.at]).ok()?;
            return Some(TextSlice::Owned(text.into_boxed_str()));
        }
        Some(TextSlice::Slice { start: count(start), end: count(self.at - 1) })
    }

    /// A number or one of the three words.
    fn word(&mut self) -> Option<Value> {
        let rest = &self.text[self.at..];
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
        let length = rest.bytes().take_while(|byte| is_part(*byte)).count();
        let word = &rest[..length];
        self.at += length;
        match word {
            "true" => Some(Value::Boolean(true)),
            "false" => Some(Value::Boolean(false)),
            "null" => Some(Value::Null),
            _ if serde_json::from_str::<serde_json::Number>(word).is_ok() => {
                plain::number(word).map(Value::Number)
            }
            _ => None,
        }
    }
}
