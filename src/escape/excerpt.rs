//! The lines of a document, as a message shows them: what would be obeyed is one character that is
//! seen, so that all columns stay where they are.

use std::borrow::Cow;
use std::ops::Range;

use super::{Choice, Obeyed, replace};

/// A text for excerpts, and where in it the bytes of the original are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Excerpt {
    /// The text as it can be shown.
    pub text: String,
    /// Where something was replaced, in order: the end of the original's bytes and of those that
    /// took their place.
    ends: Vec<(usize, usize)>,
}

impl Excerpt {
    /// Makes a text fit to be shown. Its lines and their numbers stay; what ends a line is a line
    /// feed alone.
    #[must_use]
    pub fn of(original: &str) -> Self {
        let mut excerpt = Self::default();
        let mut obeyed = Obeyed::default();
        let mut characters = original.char_indices().peekable();
        while let Some((at, character)) = characters.next() {
            let is_line_end = character == '\r' && characters.peek().is_some_and(|(_, next)| *next == '\n');
            let replaced = obeyed.takes(character) && !is_layout(character);
            if replaced && !is_line_end {
                excerpt.text.push(picture(character));
            } else if !replaced {
                excerpt.text.push(character);
            }
            if replaced {
                excerpt.ends.push((at + character.len_utf8(), excerpt.text.len()));
            }
        }
        excerpt
    }

    /// Where these bytes of the original are in the text.
    #[must_use]
    pub fn range(&self, original: &Range<usize>) -> Range<usize> {
        self.offset(original.start)..self.offset(original.end)
    }

    fn offset(&self, original: usize) -> usize {
        let before = self.ends.partition_point(|(end, _)| *end <= original);
        match before.checked_sub(1).and_then(|last| self.ends.get(last)) {
            Some((end, shown)) => shown + (original - end),
            None => original,
        }
    }
}

/// A line of an editor as it can be shown while it is edited, with as many characters as it has.
#[must_use]
pub fn pictured(line: &str) -> Cow<'_, str> {
    let choice = |character| super::is_obeyed(character) && !is_layout(character);
    replace(line, choice, |out, character| out.push(picture(character)))
}

/// Tabs and line feeds are the layout of a document.
fn is_layout(character: char) -> bool {
    matches!(character, '\t' | '\n')
}

/// What is seen in the character's place: Unicode's picture of a control character, where it has
/// one.
fn picture(character: char) -> char {
    let pictured = match u32::from(character) {
        c0 @ ..0x20 => char::from_u32(0x2400 + c0),
        0x7f => Some('\u{2421}'),
        _ => None,
    };
    pictured.unwrap_or(char::REPLACEMENT_CHARACTER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_and_lines_stay_and_ranges_are_found_again() {
        let original = "a: \x1b[1m\r\n\u{202e}é: \tb\n# ##[error]\rc\x7f";
        let excerpt = Excerpt::of(original);
        assert_eq!(excerpt.text, "a: ␛[1m\n\u{fffd}é: \tb\n# ##\u{fffd}error]␍c␡");
        for (line, shown) in original.split('\n').zip(excerpt.text.split('\n')) {
            assert_eq!(line.trim_end_matches('\r').chars().count(), shown.chars().count(), "{line:?}");
        }
        for (named, shown) in
            [("a", "a"), ("\x1b[1m", "␛[1m"), ("é: \tb", "é: \tb"), ("error]", "error]"), ("\x7f", "␡")]
        {
            let at = original.find(named).unwrap();
            assert_eq!(&excerpt.text[excerpt.range(&(at..at + named.len()))], shown);
        }
        let (all, empty) =
            (excerpt.range(&(0..original.len())), excerpt.range(&(original.len()..original.len())));
        assert_eq!((all, empty), (0..excerpt.text.len(), excerpt.text.len()..excerpt.text.len()));
    }

    #[test]
    fn a_line_that_is_edited_shows_what_is_in_it() {
        assert_eq!(pictured("a\x1b]52;c;eA==\x07\u{9b}b\u{202e}\tc"), "a␛]52;c;eA==␇\u{fffd}b\u{fffd}\tc");
        assert!(matches!(pictured("# plain"), Cow::Borrowed(_)));
    }
}
