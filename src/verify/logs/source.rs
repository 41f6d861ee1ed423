//! The lines of one side's logs, file after file, as text and one at a time.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::PathBuf;

use super::{LogsError, STANDARD_INPUT};
use crate::verify::expect::Side;

/// Room for a few hundred lines.
const BUFFER_BYTES: usize = 256 * 1024;

/// Which file of this side, and which line of it.
pub(super) type Number = (usize, usize);

/// The logs of one side, being read.
pub(super) struct Source {
    pub(super) side: Side,
    waiting: VecDeque<(usize, PathBuf)>,
    open: Option<Open>,
    buffer: Vec<u8>,
}

struct Open {
    index: usize,
    path: PathBuf,
    reader: Box<dyn BufRead>,
    line: usize,
}

impl Source {
    pub(super) fn new(side: Side, paths: &[PathBuf]) -> Self {
        Self { side, waiting: paths.iter().cloned().enumerate().collect(), open: None, buffer: Vec::new() }
    }

    /// The next line; none at the end of the last file. Bytes that are no UTF-8 are replaced.
    pub(super) fn next(&mut self) -> Result<Option<(Cow<'_, str>, Number)>, LogsError> {
        loop {
            let Some(open) = &mut self.open else {
                let Some((index, path)) = self.waiting.pop_front() else { return Ok(None) };
                self.open = Some(Open::new(index, path)?);
                continue;
            };
            self.buffer.clear();
            let read = open.reader.read_until(b'\n', &mut self.buffer);
            if read.map_err(|source| LogsError::Read { path: open.path.clone(), source })? > 0 {
                open.line += 1;
                let number = (open.index, open.line);
                return Ok(Some((String::from_utf8_lossy(&self.buffer), number)));
            }
            self.open = None;
        }
    }
}

impl Open {
    fn new(index: usize, path: PathBuf) -> Result<Self, LogsError> {
        let reader: Box<dyn BufRead> = if path.as_os_str() == STANDARD_INPUT {
            Box::new(io::stdin().lock())
        } else {
            match File::open(&path) {
                Ok(file) => Box::new(BufReader::with_capacity(BUFFER_BYTES, file)),
                Err(source) => return Err(LogsError::Read { path, source }),
            }
        };
        Ok(Self { index, path, reader, line: 0 })
    }
}
