//! The lines of one side's logs, file after file, as text and one at a time.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::path::PathBuf;

use super::{LogsError, STANDARD_INPUT};
use crate::access_log::Lines;
use crate::verify::expect::Side;

/// Which file of this side, and which line of it.
pub(super) type Number = (usize, usize);

/// The logs of one side, being read.
pub(super) struct SideReader {
    pub(super) side: Side,
    waiting: VecDeque<(usize, PathBuf)>,
    open: Option<OpenFile>,
    buffer: Vec<u8>,
    /// How many lines of the files that were read are longer than what is read.
    pub(super) too_long: usize,
}

struct OpenFile {
    index: usize,
    path: PathBuf,
    lines: Lines,
}

impl SideReader {
    pub(super) fn new(side: Side, paths: &[PathBuf]) -> Self {
        let waiting = paths.iter().cloned().enumerate().collect();
        Self { side, waiting, open: None, buffer: Vec::new(), too_long: 0 }
    }

    /// The next line; none at the end of the last file. Bytes that are no UTF-8 are replaced.
    pub(super) fn next(&mut self) -> Result<Option<(Cow<'_, str>, Number)>, LogsError> {
        loop {
            let Some(open) = &mut self.open else {
                let Some((index, path)) = self.waiting.pop_front() else { return Ok(None) };
                self.open = Some(OpenFile::new(index, path)?);
                continue;
            };
            let read = open.lines.next(&mut self.buffer);
            if let Some(line) = read.map_err(|source| LogsError::Read { path: open.path.clone(), source })? {
                return Ok(Some((String::from_utf8_lossy(&self.buffer), (open.index, line))));
            }
            self.too_long += open.lines.too_long();
            self.open = None;
        }
    }
}

impl OpenFile {
    fn new(index: usize, path: PathBuf) -> Result<Self, LogsError> {
        let lines = if path.as_os_str() == STANDARD_INPUT {
            Lines::standard_input()
        } else {
            match Lines::open(&path) {
                Ok(lines) => lines,
                Err(source) => return Err(LogsError::Read { path, source }),
            }
        };
        Ok(Self { index, path, lines })
    }
}
