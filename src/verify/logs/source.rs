//! The lines of one side's logs, file after file, one at a time.

use std::collections::VecDeque;
use std::path::PathBuf;

use super::{LogsError, STANDARD_INPUT};
use crate::access_log::{LineFormat, Lines, ParsedLine, Records, Unread};
use crate::verify::expect::Side;

/// Which file of this side, and which line of it.
pub(super) type Number = (usize, usize);

/// The logs of one side, being read.
pub(super) struct SideReader {
    pub(super) side: Side,
    waiting: VecDeque<(usize, PathBuf)>,
    open: Option<OpenFile>,
    /// What of the files that were read is no access-log line.
    pub(super) unread: Unread,
    /// How many lines of the files that were read are longer than what is read.
    pub(super) too_long: usize,
}

struct OpenFile {
    index: usize,
    path: PathBuf,
    records: Records,
}

impl SideReader {
    pub(super) fn new(side: Side, paths: &[PathBuf]) -> Self {
        let waiting = paths.iter().cloned().enumerate().collect();
        Self { side, waiting, open: None, unread: Unread::default(), too_long: 0 }
    }

    /// The next line of the format; none at the end of the last file.
    pub(super) fn next(&mut self, format: &LineFormat) -> Result<Option<(ParsedLine, Number)>, LogsError> {
        loop {
            let Some(open) = &mut self.open else {
                let Some((index, path)) = self.waiting.pop_front() else { return Ok(None) };
                self.open = Some(OpenFile::new(index, path)?);
                continue;
            };
            let read = open.records.next(format);
            let read = read.map_err(|source| LogsError::Read { path: open.path.clone(), source })?;
            if let Some((number, line)) = read {
                return Ok(Some((line, (open.index, number))));
            }
            self.unread.add(open.records.unread().clone());
            self.too_long += open.records.too_long();
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
        Ok(Self { index, path, records: Records::new(lines) })
    }
}
