//! What `explain` reads: files, standard input and lines themselves, a line of each in turn, so
//! that the two lines of a session in two logs are never far apart.

use std::io;
use std::path::Path;

use super::ExplainError;
use crate::access_log::{LineFormat, Lines, ParsedLine, Records, Unread};

/// The name that stands for standard input.
const STANDARD_INPUT: &str = "-";

/// What is still to be read.
pub(super) struct Inputs {
    open: Vec<(String, Records)>,
    turn: usize,
    read: Read,
}

/// What was read of the inputs that came to their end.
#[derive(Debug, Default)]
pub(super) struct Read {
    /// How many lines there were, those that were skipped included.
    pub(super) lines: usize,
    /// How many of them were skipped: too long to be one of an access log.
    pub(super) too_long: usize,
    /// Those that look like lines of an access log and are none of the format.
    pub(super) unread: Unread,
}

impl Inputs {
    /// Opens them: `-` is standard input, which is also read where nothing is named.
    pub(super) fn open(named: &[String], format: &LineFormat) -> Result<Self, ExplainError> {
        // A second lock of it would wait for the first.
        if named.iter().filter(|name| *name == STANDARD_INPUT).count() > 1 {
            return Err(ExplainError::StandardInputTwice);
        }
        let open = |name: &String| Ok((name.clone(), open(name, format)?));
        let mut open = named.iter().map(open).collect::<Result<Vec<_>, ExplainError>>()?;
        if open.is_empty() {
            open.push((STANDARD_INPUT.to_owned(), Records::new(Lines::standard_input())));
        }
        Ok(Self { open, turn: 0, read: Read::default() })
    }

    /// The next line of the format; none at the end of all inputs.
    pub(super) fn next(&mut self, format: &LineFormat) -> Result<Option<ParsedLine>, ExplainError> {
        while !self.open.is_empty() {
            self.turn %= self.open.len();
            let (name, input) = &mut self.open[self.turn];
            let read = input.next(format);
            if let Some((_, line)) =
                read.map_err(|source| ExplainError::Read { name: name.clone(), source })?
            {
                self.turn += 1;
                return Ok(Some(line));
            }
            self.read.lines += input.lines();
            self.read.too_long += input.too_long();
            self.read.unread.add(input.unread().clone());
            self.open.remove(self.turn);
        }
        Ok(None)
    }

    /// What was read, once all inputs have come to their end.
    pub(super) fn read(self) -> Read {
        self.read
    }
}

fn open(name: &str, format: &LineFormat) -> Result<Records, ExplainError> {
    if name == STANDARD_INPUT {
        Ok(Records::new(Lines::standard_input()))
    } else if Path::new(name).exists() {
        let read = |source| ExplainError::Read { name: name.to_owned(), source };
        Lines::open(Path::new(name)).map(Records::new).map_err(read)
    } else if line(name).next(format).is_ok_and(|found| found.is_some()) {
        Ok(line(name))
    } else {
        Err(ExplainError::Neither { name: name.to_owned() })
    }
}

/// A line that was given itself.
fn line(text: &str) -> Records {
    Records::new(Lines::new(io::Cursor::new(format!("{text}\n"))))
}
