//! What `explain` reads: files, standard input and lines themselves, a line of each in turn, so
//! that the two lines of a session in two logs are never far apart.

use std::io;
use std::path::Path;

use super::ExplainError;
use crate::access_log::{LineFormat, Lines};

/// The name that stands for standard input.
const STANDARD_INPUT: &str = "-";

/// What is still to be read.
pub(super) struct Inputs {
    open: Vec<(String, Lines)>,
    turn: usize,
    too_long: usize,
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
            open.push((STANDARD_INPUT.to_owned(), Lines::standard_input()));
        }
        Ok(Self { open, turn: 0, too_long: 0 })
    }

    /// Reads the next line into `buffer`; whether there was one.
    pub(super) fn next(&mut self, buffer: &mut Vec<u8>) -> Result<bool, ExplainError> {
        while !self.open.is_empty() {
            self.turn %= self.open.len();
            let (name, input) = &mut self.open[self.turn];
            let read = input.next(buffer);
            if read.map_err(|source| ExplainError::Read { name: name.clone(), source })?.is_some() {
                self.turn += 1;
                return Ok(true);
            }
            self.too_long += input.too_long();
            self.open.remove(self.turn);
        }
        Ok(false)
    }

    /// How many lines were skipped, as too long to be one of an access log, in what is read to its
    /// end.
    pub(super) fn too_long(&self) -> usize {
        self.too_long
    }
}

fn open(name: &str, format: &LineFormat) -> Result<Lines, ExplainError> {
    if name == STANDARD_INPUT {
        Ok(Lines::standard_input())
    } else if Path::new(name).exists() {
        let read = |source| ExplainError::Read { name: name.to_owned(), source };
        Lines::open(Path::new(name)).map_err(read)
    } else if name.lines().any(|line| format.read(line).is_some()) {
        Ok(Lines::new(io::Cursor::new(format!("{name}\n"))))
    } else {
        Err(ExplainError::Neither { name: name.to_owned() })
    }
}
