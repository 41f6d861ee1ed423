//! Comments that begin with a word (YAML 1.2.2, section 6.6). Trees have none: where nobody looks
//! for comments they cost nothing, and where there is none with the word a search through the bytes.

use std::sync::Arc;

use granit_parser::{Event, Parser};

use super::place::{Mark, Place, Text, count};

/// A comment of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comment<'t> {
    /// Where it is, from its number sign to the end of the line.
    pub place: Place,
    /// What stands behind the word.
    pub words: &'t str,
    /// The line that it is about: its own or, where nothing else is in that, the next one that has
    /// more than a comment.
    pub line: u64,
}

/// The comments of a text that begin with `word`, behind blanks; of a text that is not YAML none.
#[must_use]
pub fn comments<'t>(text: &'t Arc<Text>, word: &str) -> Vec<Comment<'t>> {
    let found = memchr::memmem::find_iter(text.text.as_bytes(), word);
    let candidates: Vec<usize> = found.filter_map(|at| number_sign(&text.text, at)).collect();
    let mut lines = LineCounter { text: &text.text, at: 0, line: 1, start: 0, value: 0 };
    let comments = outside_of_values(&text.text, &candidates);
    comments.into_iter().filter_map(|at| lines.comment(text, at, word)).collect()
}

/// The number sign that has nothing but blanks between it and what is at `at`.
fn number_sign(text: &str, at: usize) -> Option<usize> {
    let before = text[..at].trim_end_matches([' ', '\t']).strip_suffix('#')?;
    let begins = before.bytes().next_back().is_none_or(|before| before.is_ascii_whitespace());
    begins.then_some(before.len())
}

/// Those positions, in the order of the text, that are in no value.
fn outside_of_values(text: &str, candidates: &[usize]) -> Vec<usize> {
    let mut outside = Vec::new();
    let mut candidates = candidates.iter().copied().peekable();
    let mut options = granit_parser::Options::default();
    options.set_emit_comments(false);
    let mut parser = Parser::new_from_str_with_options(text, options);
    while candidates.peek().is_some()
        && let Some(next) = parser.next_event()
    {
        let Ok((event, span)) = next else { return Vec::new() };
        if !matches!(event, Event::Scalar(..)) {
            continue;
        }
        // Of `|` and `>` it begins with the text, behind what may be a comment.
        let value = span.byte_range().unwrap_or_default();
        while let Some(at) = candidates.next_if(|at| *at < value.end) {
            outside.extend((!value.contains(&at)).then_some(at));
        }
    }
    outside.extend(candidates);
    outside
}

/// Counts the lines up to one comment after the other.
struct LineCounter<'t> {
    text: &'t str,
    /// The end of the last comment.
    at: usize,
    /// The line that it is in, and its first byte.
    line: u64,
    start: usize,
    /// The line of the last value that was looked for: above it are only comments up to the one
    /// that it was looked for.
    value: u64,
}

impl<'t> LineCounter<'t> {
    /// The comment that begins there; none inside of another one.
    fn comment(&mut self, text: &Arc<Text>, at: usize, word: &str) -> Option<Comment<'t>> {
        if at < self.at {
            return None;
        }
        for (end, _) in self.text[self.at..at].match_indices(is_break) {
            let end = self.at + end;
            if !self.text[end..].starts_with("\r\n") {
                self.line += 1;
                self.start = end + 1;
            }
        }
        let end = self.text[at..].find(is_break).map_or(self.text.len(), |length| at + length);
        self.at = end;
        if self.text[self.start..at].trim_start().starts_with('#') {
            return None;
        }
        let column = self.text[self.start..at].chars().count() + 1;
        let mark = Mark {
            line: u32::try_from(self.line).unwrap_or(u32::MAX),
            column: count(column),
            start: count(at),
            end: count(end),
        };
        let words = self.text[at..end].trim_start_matches(['#', ' ', '\t']);
        let words = words.strip_prefix(word).unwrap_or(words).trim();
        Some(Comment { place: Place::new(text, mark), words, line: self.line_of_value(at, end) })
    }

    /// The line of what the comment is about: its own if something stands before it, or nothing
    /// below.
    fn line_of_value(&mut self, at: usize, end: usize) -> u64 {
        if !self.text[self.start..at].trim().is_empty() {
            return self.line;
        }
        if self.value <= self.line {
            // The first is what is left of the comment's own line.
            let below = self.text[end..].lines().zip(self.line..).skip(1).map(|(line, at)| (line.trim(), at));
            let mut values = below.filter(|(line, _)| !line.is_empty() && !line.starts_with('#'));
            self.value = values.next().map_or(u64::MAX, |(_, line)| line);
        }
        if self.value == u64::MAX { self.line } else { self.value }
    }
}

fn is_break(character: char) -> bool {
    character == '\n' || character == '\r'
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the comments say, and their lines: where they are, and what they are about.
    fn found(text: &str) -> Vec<(String, u64, u64)> {
        let text = Text::new("a.yaml", text.to_owned());
        let all = comments(&text, "word:").into_iter();
        all.map(|comment| (comment.words.to_owned(), comment.place.line, comment.line)).collect()
    }

    fn one(words: &str, at: u64, about: u64) -> Vec<(String, u64, u64)> {
        vec![(words.to_owned(), at, about)]
    }

    #[test]
    fn a_comment_is_about_its_line_or_what_follows_it() {
        assert_eq!(found("a: 1\nb: 2 # word: x y \n"), one("x y", 2, 2));
        assert_eq!(found("# word: x\n\n  # another\r\na: 1\n"), one("x", 1, 4));
        assert_eq!(found("a:\r\n#word:x\r\n  b: 1\r\n"), one("x", 2, 3));
        assert_eq!(found("a: 1\n# word: the end"), one("the end", 2, 2));
        assert_eq!(found("a: 1 # b # word: x # word: y\n"), one("x # word: y", 1, 1));
        assert_eq!(found("---\na: | # word: x\n  b\n"), one("x", 2, 2));
        let places = Text::new("a.yaml", "ä: 1 # word: x\n".to_owned());
        let found = &comments(&places, "word:")[0].place;
        assert_eq!((found.to_string().as_str(), &found.span), ("a.yaml:1:6", &(6..15)));
    }

    #[test]
    fn what_is_part_of_a_value_or_has_another_word_first_is_no_such_comment() {
        for text in [
            "a: '# word: x'\n",
            "a: \" # word: x\"\n",
            "a: 'b\n  # word: x\n  c'\n",
            "a: |\n  b\n  # word: x\nb: 1\n",
            "a: >-\n  # word: x\n\n",
            "a: |2\n     # word: x\n  b\n",
            "a: b# word: x\n",
            "a: 1 # see word: x\n",
            "a: 1 # words: x\n",
            "image: word:1\n",
            "{\"a\": \"# word: x\"}",
            "a: b: c # word: x\n",
            "# a: 1 # word: x\nb: 1\n",
        ] {
            assert_eq!(found(text), [], "{text}");
        }
    }

    #[test]
    fn comments_around_values_are_found_beside_what_only_looks_like_one() {
        let text = "# word: a\n- '# word: b'\n- x # word: c\n- |\n  # word: d\n# word: e\n- y\n";
        let all: Vec<_> = found(text).into_iter().map(|(words, _, about)| (words, about)).collect();
        assert_eq!(all, [("a".to_owned(), 2), ("c".to_owned(), 3), ("e".to_owned(), 7)]);
    }
}
