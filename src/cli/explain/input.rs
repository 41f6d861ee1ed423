//! What `explain` reads: files, standard input and lines themselves, a line of each in turn, so
//! that the two lines of a session in two logs are never far apart.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use super::ExplainError;
use crate::access_log::{LineFormat, Lines, ParsedLine, Records, Unread};

/// The name that stands for standard input.
const STANDARD_INPUT: &str = "-";

/// Room for a few hundred lines.
const BUFFER_BYTES: usize = 256 * 1024;

/// What is still to be read.
pub(super) struct Inputs {
    open: Vec<(String, Records)>,
    turn: usize,
    read: WasRead,
}

/// What was read of the inputs that came to their end.
#[derive(Debug, Default)]
pub(super) struct WasRead {
    /// How many lines there were, those that were skipped included.
    pub(super) lines: usize,
    /// How many of them were skipped: too long to be one of an access log.
    pub(super) too_long: usize,
    /// Those that look like lines of an access log and are none of the format.
    pub(super) unread: Unread,
}

impl WasRead {
    /// Adds what was read of another input.
    pub(super) fn add(&mut self, other: Self) {
        self.lines += other.lines;
        self.too_long += other.too_long;
        self.unread.add(other.unread);
    }
}

/// An input that is open.
pub(super) struct NamedLog {
    pub(super) name: String,
    pub(super) bytes: LogBytes,
}

/// Where the bytes of an input are.
pub(super) enum LogBytes {
    StandardInput,
    File(PathBuf, File),
    /// A line that was given itself.
    Line(String),
}

impl LogBytes {
    /// All of them.
    pub(super) fn whole(self) -> Box<dyn Read> {
        match self {
            Self::StandardInput => Box::new(io::stdin().lock()),
            Self::File(_, file) => Box::new(file),
            Self::Line(line) => Box::new(io::Cursor::new(line)),
        }
    }
}

/// What comes of a source.
pub(super) enum Came {
    /// A line of the format.
    Line(ParsedLine),
    /// So much time has passed that what came before the last time is no longer waited for.
    TimePassed,
}

/// Where lines come from.
pub(super) trait Source {
    /// What comes next; nothing at the end of all inputs.
    fn next(&mut self, format: &LineFormat) -> Result<Option<Came>, ExplainError>;

    /// What was read, once all inputs have come to their end.
    fn read(self) -> WasRead;
}

impl NamedLog {
    /// Opens what is named: `-` is standard input, which is also read where nothing is.
    pub(super) fn open_all(named: &[String], format: &LineFormat) -> Result<Vec<Self>, ExplainError> {
        // A second lock of it would wait for the first.
        if named.iter().filter(|name| *name == STANDARD_INPUT).count() > 1 {
            return Err(ExplainError::StandardInputTwice);
        }
        if named.is_empty() {
            return Self::open(STANDARD_INPUT, format).map(|input| vec![input]);
        }
        named.iter().map(|name| Self::open(name, format)).collect()
    }

    fn open(name: &str, format: &LineFormat) -> Result<Self, ExplainError> {
        let of = |bytes| Ok(Self { name: name.to_owned(), bytes });
        if name == STANDARD_INPUT {
            return of(LogBytes::StandardInput);
        }
        let path = Path::new(name);
        if path.exists() {
            let file = File::open(path);
            let file = file.map_err(|source| ExplainError::Read { name: name.to_owned(), source })?;
            return of(LogBytes::File(path.to_owned(), file));
        }
        let line = format!("{name}\n");
        match Records::new(Lines::new(io::Cursor::new(line.clone()))).next(format) {
            Ok(Some(_)) => of(LogBytes::Line(line)),
            _ => Err(ExplainError::Neither { name: name.to_owned() }),
        }
    }
}

impl Inputs {
    /// Those of bytes.
    pub(super) fn new(inputs: Vec<NamedLog>) -> Self {
        let records = |NamedLog { name, bytes }| {
            (name, Records::new(Lines::new(BufReader::with_capacity(BUFFER_BYTES, bytes.whole()))))
        };
        Self { open: inputs.into_iter().map(records).collect(), turn: 0, read: WasRead::default() }
    }
}

impl Source for Inputs {
    fn next(&mut self, format: &LineFormat) -> Result<Option<Came>, ExplainError> {
        while !self.open.is_empty() {
            self.turn %= self.open.len();
            let (name, input) = &mut self.open[self.turn];
            let read = input.next(format);
            if let Some((_, line)) =
                read.map_err(|source| ExplainError::Read { name: name.clone(), source })?
            {
                self.turn += 1;
                return Ok(Some(Came::Line(line)));
            }
            self.read.add(WasRead {
                lines: input.lines(),
                too_long: input.too_long(),
                unread: input.unread().clone(),
            });
            self.open.remove(self.turn);
        }
        Ok(None)
    }

    fn read(self) -> WasRead {
        self.read
    }
}
