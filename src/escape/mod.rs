//! What strangers write, made harmless: the text of a log line, a document, a file's name, a peer
//! or the environment passes through here before it reaches a terminal, a report or the log of a CI
//! job.
//!
//! A terminal obeys control characters (C0, DEL and C1) and the sequences that they begin (ESC,
//! CSI, OSC). It also obeys the controls of Unicode's bidirectional algorithm (UAX #9), which show
//! text in another order than it has. Whoever reads lines obeys what ends one, U+2028 and U+2029
//! among it. A CI server obeys commands in its log: GitHub's runner takes `::name::` at the
//! beginning of a line, behind blanks too, and `##[name]` anywhere in it (`ActionCommand.cs`);
//! `##vso[…]` is Azure's, `##teamcity[…]` that of `TeamCity`. All of these are escaped; everything
//! else stays as it is, a backslash too, as in Python websockets, so that both clients show the
//! same.
//!
//! What is data does not belong here: the access log, and the messages that `client` passes on in a
//! pipe.

mod excerpt;
mod json;
mod workflow_command;

use std::borrow::Cow;
use std::fmt::{self, Display, Write};

pub use excerpt::{Excerpt, pictured};
pub use json::{to_json, to_json_pretty};
pub use workflow_command::WorkflowCommand;

/// A text of which nothing is obeyed, in one line: what would be is written as Python's `repr`
/// writes it, `\n`, `\x1b`, `\u202e`.
///
/// It must not begin a line; [`escape_line`] is for that.
#[must_use]
pub fn escape(text: &str) -> Cow<'_, str> {
    replace(text, Obeyed::default(), as_python)
}

/// As [`escape`], for a text that makes or begins a line, which then is no workflow command.
#[must_use]
pub fn escape_line(text: &str) -> Cow<'_, str> {
    without_command(escape(text), as_python)
}

/// As [`escape_line`], in the notation of JSON: `\u000a`, `\u001b`, `\u202e`. It is for reports
/// that programs read.
#[must_use]
pub fn escape_line_as_json(text: &str) -> Cow<'_, str> {
    without_command(replace(text, Obeyed::default(), as_json), as_json)
}

/// A value that displays itself as [`escape`] writes it.
#[derive(Debug, Clone, Copy)]
pub struct Escaped<T>(pub T);

impl<T: Display> Display for Escaped<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&escape(&self.0.to_string()))
    }
}

/// Whether a terminal, a reader of lines or a CI server obeys the character by itself.
fn is_obeyed(character: char) -> bool {
    // U+2028 to U+202E: the separators of lines and paragraphs, then embeddings and overrides.
    let in_any_direction = matches!(
        character,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    );
    character.is_control() || in_any_direction
}

/// Chooses the characters of a text that somebody obeys.
trait Choice {
    /// Whether this one, which follows those before, is one.
    fn takes(&mut self, character: char) -> bool;
}

impl<F: FnMut(char) -> bool> Choice for F {
    fn takes(&mut self, character: char) -> bool {
        self(character)
    }
}

/// All characters that somebody obeys, and the bracket of `##[` and `##name[`, without which it is
/// no command.
#[derive(Debug, Default)]
struct Obeyed {
    /// How many number signs stand before the next character, 2 also if letters follow them.
    number_signs: u8,
}

impl Choice for Obeyed {
    fn takes(&mut self, character: char) -> bool {
        let is_bracket_of_command = character == '[' && self.number_signs == 2;
        self.number_signs = match character {
            '#' => 2.min(self.number_signs + 1),
            letter if letter.is_ascii_alphabetic() && self.number_signs == 2 => 2,
            _ => 0,
        };
        is_bracket_of_command || is_obeyed(character)
    }
}

/// A line that does not begin as a workflow command does, behind blanks too.
fn without_command(line: Cow<'_, str>, write: fn(&mut String, char)) -> Cow<'_, str> {
    let blanks = line.len() - line.trim_start().len();
    if !line[blanks..].starts_with("::") {
        return line;
    }
    let mut escaped = line[..blanks].to_owned();
    write(&mut escaped, ':');
    escaped.push_str(&line[blanks + 1..]);
    Cow::Owned(escaped)
}

/// The text with each chosen character as `write` writes it.
fn replace(text: &str, mut choice: impl Choice, write: fn(&mut String, char)) -> Cow<'_, str> {
    // Nearly all text has none of the bytes that such a character begins with in UTF-8 (of U+2000
    // to U+2FFF it is E2).
    if !text.bytes().any(|byte| matches!(byte, ..b' ' | b'#' | 0x7f | 0xc2 | 0xd8 | 0xe2)) {
        return Cow::Borrowed(text);
    }
    let mut replaced = String::new();
    let mut copied = 0;
    for (at, character) in text.char_indices() {
        if choice.takes(character) {
            replaced.push_str(&text[copied..at]);
            write(&mut replaced, character);
            copied = at + character.len_utf8();
        }
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    replaced.push_str(&text[copied..]);
    Cow::Owned(replaced)
}

fn as_python(out: &mut String, character: char) {
    // Writing to a string cannot fail.
    let _ = match character {
        '\t' => write!(out, "\\t"),
        '\n' => write!(out, "\\n"),
        '\r' => write!(out, "\\r"),
        '\0'..='\u{ff}' => write!(out, "\\x{:02x}", u32::from(character)),
        _ => write!(out, "\\u{:04x}", u32::from(character)),
    };
}

fn as_json(out: &mut String, character: char) {
    // Writing to a string cannot fail. All that is obeyed has four digits.
    let _ = write!(out, "\\u{:04x}", u32::from(character));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_obeyed_is_escaped_and_nothing_else_is() {
        let text = "tab\there nl\nline2 esc\x1b[31mred del\x7f nel\u{85} nbsp\u{a0} back\\slash 你好 😀";
        let expected =
            "tab\\there nl\\nline2 esc\\x1b[31mred del\\x7f nel\\x85 nbsp\u{a0} back\\slash 你好 😀";
        assert_eq!(escape(text), expected);
        let text = "\u{61c}\u{200d}\u{200e}\u{200f}\u{2028}\u{2029}\u{202a}\u{202e}\u{202f}\u{2066}\u{2069}م";
        let expected = "\\u061c\u{200d}\\u200e\\u200f\\u2028\\u2029\\u202a\\u202e\u{202f}\\u2066\\u2069م";
        assert_eq!(escape(text), expected);
        for plain in ["plain 😀", "# one", "“quoted”", ""] {
            assert!(matches!(escape(plain), Cow::Borrowed(_)), "{plain}");
        }
    }

    #[test]
    fn every_character_that_is_obeyed_is_escaped_in_every_notation_once() {
        let obeyed = (0..0x20).chain(0x7f..0xa0).chain([0x61c, 0x200e, 0x200f]);
        let obeyed = obeyed.chain(0x2028..=0x202e).chain(0x2066..=0x2069);
        let all: String = obeyed.filter_map(char::from_u32).collect();
        assert_eq!(all.chars().count(), 32 + 33 + 3 + 7 + 4);
        for escaped in [escape(&all), escape_line(&all), escape_line_as_json(&all)] {
            assert!(escaped.chars().all(|character| character.is_ascii_graphic()), "{escaped}");
            assert_eq!(escape(&escaped), escaped, "it is escaped twice");
        }
        assert_eq!(escape_line_as_json("\n\x1b\u{9b}\u{202e}"), "\\u000a\\u001b\\u009b\\u202e");
        assert_eq!(escape_line_as_json(" ::error::##[x]"), " \\u003a:error::##\\u005bx]");
        assert_eq!(format!("{:>6}|", Escaped("a\n")), "   a\\n|");
    }

    #[test]
    fn a_workflow_command_is_none_wherever_it_stands() {
        for (text, expected) in [
            ("##[error]x", "##\\x5berror]x"),
            ("a ##[add-mask]b", "a ##\\x5badd-mask]b"),
            ("###[group]", "###\\x5bgroup]"),
            ("##vso[task.setvariable variable=a]b", "##vso\\x5btask.setvariable variable=a]b"),
            ("##teamcity[buildStop]", "##teamcity\\x5bbuildStop]"),
            ("# [a] #[b] ## [c] ##d [e]", "# [a] #[b] ## [c] ##d [e]"),
            ("::1 is an address", "::1 is an address"),
        ] {
            assert_eq!(escape(text), expected);
        }
        for (text, expected) in [
            ("::error::x", "\\x3a:error::x"),
            (" \u{a0}\u{3000}::stop-commands::x", " \u{a0}\u{3000}\\x3a:stop-commands::x"),
            ("\t::error::x", "\\t::error::x"),
            ("x ::error::x", "x ::error::x"),
        ] {
            assert_eq!(escape_line(text), expected);
        }
    }
}
