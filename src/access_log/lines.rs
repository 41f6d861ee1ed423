//! The lines of a log as bytes, one at a time. One that is longer than any access-log line is not
//! held: it is counted and skipped. What a line says is not looked at.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

/// The longest line that is read, without its newline. Envoy takes 60 KiB of a request's fields,
/// unless it is told otherwise, and a line has a few of them.
pub const MAX_LINE_BYTES: usize = 1024 * 1024;

/// Room for a few hundred lines.
const BUFFER_BYTES: usize = 256 * 1024;

/// See the module.
pub struct Lines {
    input: Box<dyn BufRead>,
    /// How many lines were read or skipped.
    number: usize,
    too_long: usize,
}

impl Lines {
    /// The lines of `input`.
    pub fn new(input: impl BufRead + 'static) -> Self {
        Self { input: Box::new(input), number: 0, too_long: 0 }
    }

    /// The lines of a file.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self::new(BufReader::with_capacity(BUFFER_BYTES, File::open(path)?)))
    }

    /// The lines of standard input, which nobody else can read from then on.
    #[must_use]
    pub fn standard_input() -> Self {
        Self::new(io::stdin().lock())
    }

    /// Reads the next line that is not too long into `buffer`; its number, from 1, or `None` at the
    /// end.
    ///
    /// # Errors
    /// What the system says.
    pub fn next(&mut self, buffer: &mut Vec<u8>) -> io::Result<Option<usize>> {
        loop {
            buffer.clear();
            let max = MAX_LINE_BYTES as u64 + 1;
            if self.input.by_ref().take(max).read_until(b'\n', buffer)? == 0 {
                return Ok(None);
            }
            self.number += 1;
            if buffer.len() <= MAX_LINE_BYTES || buffer.ends_with(b"\n") {
                return Ok(Some(self.number));
            }
            self.too_long += 1;
            self.input.skip_until(b'\n')?;
        }
    }

    /// How many lines were skipped.
    #[must_use]
    pub fn too_long(&self) -> usize {
        self.too_long
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_one_mebibyte_is_read_and_a_longer_one_is_counted_and_skipped() {
        for end in ["\n", ""] {
            let line = |bytes: usize| format!("{}\n", "x".repeat(bytes));
            let text =
                [line(3), line(MAX_LINE_BYTES), line(MAX_LINE_BYTES + 1), line(5 * MAX_LINE_BYTES), line(0)];
            let text = text.concat() + &"y".repeat(MAX_LINE_BYTES + usize::from(end.is_empty())) + end;
            let mut lines = Lines::new(io::Cursor::new(text));
            let (mut buffer, mut read) = (Vec::new(), Vec::new());
            while let Some(number) = lines.next(&mut buffer).expect("readable") {
                read.push((number, buffer.len()));
            }
            let mut wanted = vec![(1, 4), (2, MAX_LINE_BYTES + 1), (5, 1)];
            if !end.is_empty() {
                wanted.push((6, MAX_LINE_BYTES + 1));
            }
            assert_eq!(read, wanted);
            assert_eq!(lines.too_long(), 2 + usize::from(end.is_empty()));
        }
    }
}
