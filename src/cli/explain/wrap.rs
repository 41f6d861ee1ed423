//! Long lines in a terminal: broken between words, which the terminal itself does not care about.

use textwrap::{Options, WordSeparator, WordSplitter};

use crate::escape::escape_line;

/// What the rest of a broken line of a list stands further in than its beginning.
const HANGING: usize = 2;

/// The text with no line wider than that, as far as its words allow. A line that is indented hangs.
pub(super) fn wrapped(text: &str, width: usize) -> String {
    let lines = text.split('\n').map(|line| {
        let words = line.trim_start_matches(' ');
        let indent = line.len() - words.len();
        let (first, rest) = match indent {
            0 => (String::new(), String::new()),
            _ => (" ".repeat(indent), " ".repeat(indent + HANGING)),
        };
        let options = Options::new(width)
            .initial_indent(&first)
            .subsequent_indent(&rest)
            // An id or a name with a hyphen is one word.
            .word_separator(WordSeparator::AsciiSpace)
            .word_splitter(WordSplitter::NoHyphenation)
            .break_words(false);
        // A word of the log's may begin a line now.
        textwrap::wrap(words, options).iter().map(|line| escape_line(line).into_owned()).collect::<Vec<_>>()
    });
    lines.flatten().collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::wrapped;

    #[test]
    fn lines_break_between_words_and_the_rest_of_a_list_hangs() {
        for (text, expected) in [
            ("short\n", "short\n"),
            ("once upon a-long-time ago", "once upon\na-long-time\nago"),
            ("  once upon a time\n    there was", "  once upon\n    a time\n    there\n      was"),
            ("incomprehensibilities", "incomprehensibilities"),
            ("a\n\nb\n", "a\n\nb\n"),
            ("once ::error::x", "once\n\\x3a:error::x"),
        ] {
            assert_eq!(wrapped(text, 11), expected);
        }
    }
}
