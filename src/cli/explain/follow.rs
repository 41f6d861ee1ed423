//! Logs that are read on as they are written, `--follow`: a file by its name, as `tail -F` reads,
//! and anything else until its end.

use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use super::ExplainError;
use super::input::{Came, LogBytes, NamedLog, Source, WasRead};
use crate::access_log::{Finder, LineFormat, Lines};
use crate::signals;

/// How often is looked whether a file goes on.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// How long after one line of a session the other comes at the latest, if both proxies write:
/// Envoy's default of `--file-flush-interval-msec` (Istio's is a second).
const INTERVAL: Duration = Duration::from_secs(10);

/// How many lines wait at most until they are explained.
const WAITING_LINES: usize = 1024;

/// What comes of the logs.
enum Event {
    /// A line of the log of this number.
    Line { log: usize, line: Vec<u8>, counted: Counted },
    /// Its end, or that it could not be read.
    End { log: usize, counted: Counted, failed: Option<io::Error> },
    /// The program is asked to end.
    Asked,
}

/// How many lines a log has so far, and how many of them are too long.
#[derive(Clone, Copy, Default)]
struct Counted {
    lines: usize,
    too_long: usize,
}

/// The lines of all logs, in the order in which they come.
pub(super) struct Following {
    events: Receiver<Event>,
    logs: Vec<FollowedLog>,
    open: usize,
    interval: Duration,
    interval_ends: Instant,
    /// Whether a line that was not understood was shown.
    shown: bool,
}

struct FollowedLog {
    name: String,
    finder: Finder,
    counted: Counted,
}

impl Following {
    /// Begins to read, each log on a thread of its own. From now on SIGINT and SIGTERM end the
    /// logs, and the program only where they come once more.
    pub(super) fn new(inputs: Vec<NamedLog>) -> Self {
        // Before there is a thread that they could come to.
        let held_back = signals::hold_back_end();
        let (following, asked) = Self::begin(inputs, INTERVAL);
        thread::spawn(move || {
            held_back.wait();
            let _ = asked.send(Event::Asked);
        });
        following
    }

    /// Begins to read; who asks for the end says so to the sender.
    fn begin(inputs: Vec<NamedLog>, interval: Duration) -> (Self, SyncSender<Event>) {
        let (sender, events) = sync_channel(WAITING_LINES);
        let mut logs = Vec::new();
        for (log, NamedLog { name, bytes }) in inputs.into_iter().enumerate() {
            let sender = sender.clone();
            logs.push(FollowedLog { name, finder: Finder::default(), counted: Counted::default() });
            thread::spawn(move || read(log, bytes.followed(), &sender));
        }
        let (open, interval_ends) = (logs.len(), Instant::now() + interval);
        (Self { events, logs, open, interval, interval_ends, shown: false }, sender)
    }

    /// Shows the first line that looks like one and was not understood: who waits for what never
    /// comes is to know.
    fn show_unread(&mut self, log: usize) {
        if let Some(line) = self.logs[log].finder.first_unread().filter(|_| !self.shown) {
            tracing::warn!(
                "this looks like a line of an access log and was not understood: {line}; --log-format names its format"
            );
            self.shown = true;
        }
    }
}

/// Hands on the lines of a log until its end, or until nobody takes them.
fn read(log: usize, bytes: impl Read + 'static, events: &SyncSender<Event>) {
    let mut lines = Lines::new(io::BufReader::new(bytes));
    let mut counted = Counted::default();
    let failed = loop {
        let mut line = Vec::new();
        let read = lines.next(&mut line);
        counted.too_long = lines.too_long();
        match read {
            Ok(Some(number)) => {
                counted.lines = number;
                if events.send(Event::Line { log, line, counted }).is_err() {
                    return;
                }
            }
            Ok(None) => break None,
            Err(error) => break Some(error),
        }
    };
    let _ = events.send(Event::End { log, counted, failed });
}

impl Source for Following {
    fn next(&mut self, format: &LineFormat) -> Result<Option<Came>, ExplainError> {
        loop {
            // One line may have several.
            if let Some(found) = self.logs.iter_mut().find_map(|log| log.finder.found()) {
                return Ok(Some(Came::Line(found)));
            }
            if self.open == 0 {
                return Ok(None);
            }
            // Looked at first: where lines come all the time none is waited for.
            let now = Instant::now();
            if now >= self.interval_ends {
                self.interval_ends = now + self.interval;
                return Ok(Some(Came::TimePassed));
            }
            match self.events.recv_timeout(self.interval_ends - now) {
                Ok(Event::Line { log, line, counted }) => {
                    self.logs[log].counted = counted;
                    self.logs[log].finder.take(&line, format);
                    self.show_unread(log);
                }
                Ok(Event::End { log, counted, failed }) => {
                    self.open -= 1;
                    self.logs[log].counted = counted;
                    if let Some(source) = failed {
                        return Err(ExplainError::Read { name: self.logs[log].name.clone(), source });
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Ok(Event::Asked) | Err(RecvTimeoutError::Disconnected) => self.open = 0,
            }
        }
    }

    fn read(self) -> WasRead {
        let mut read = WasRead::default();
        for mut log in self.logs {
            log.finder.end();
            let Counted { lines, too_long } = log.counted;
            read.add(WasRead { lines, too_long, unread: log.finder.take_unread() });
        }
        read
    }
}

impl LogBytes {
    /// The bytes as they come: of a file those, too, that are written after its end was seen.
    fn followed(self) -> Box<dyn Read> {
        match self {
            Self::StandardInput => Box::new(io::stdin().lock()),
            Self::File(path, file) => match file.metadata() {
                Ok(metadata) if metadata.is_file() => Box::new(Followed::new(path, file, || {
                    thread::sleep(LOOK_AGAIN);
                    true
                })),
                // A pipe has an end.
                _ => Box::new(file),
            },
            Self::Line(line) => Box::new(io::Cursor::new(line)),
        }
    }
}

/// A file, which may be moved away and made anew (rotated), or emptied, while it is read.
struct Followed<Wait> {
    path: PathBuf,
    file: File,
    position: u64,
    /// Whether what was read last is the beginning of a line.
    in_line: bool,
    /// Waits until it is worth a look again; whether it is, at last, to be looked.
    wait: Wait,
}

impl<Wait: FnMut() -> bool> Followed<Wait> {
    fn new(path: PathBuf, file: File, wait: Wait) -> Self {
        Self { path, file, position: 0, in_line: false, wait }
    }

    /// The file that has the name by now, if it is another.
    fn successor(&self) -> io::Result<Option<File>> {
        match fs::metadata(&self.path) {
            Ok(now) => {
                let read = self.file.metadata()?;
                let is_same = (now.dev(), now.ino()) == (read.dev(), read.ino());
                if is_same { Ok(None) } else { open(&self.path) }
            }
            Err(error) => not_there(error).map(|()| None),
        }
    }

    /// Begins at the start of a file; a line that the other had begun does not go on in it.
    fn begin(&mut self, buffer: &mut [u8]) -> usize {
        self.position = 0;
        let ends_line = self.in_line && !buffer.is_empty();
        if ends_line {
            buffer[0] = b'\n';
            self.in_line = false;
        }
        usize::from(ends_line)
    }
}

impl<Wait: FnMut() -> bool> Read for Followed<Wait> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            // Looked for first: what is not in the file after it has lost its name never will be.
            let successor = self.successor()?;
            let read = self.file.read(buffer)?;
            if read > 0 {
                self.position += read as u64;
                self.in_line = buffer[read - 1] != b'\n';
                return Ok(read);
            }
            if let Some(successor) = successor {
                self.file = successor;
            } else if self.file.metadata()?.len() < self.position {
                self.file.rewind()?;
            } else if (self.wait)() {
                continue;
            } else {
                return Ok(0);
            }
            let ended = self.begin(buffer);
            if ended > 0 {
                return Ok(ended);
            }
        }
    }
}

/// Between two files of a name there may be none.
fn open(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) => not_there(error).map(|()| None),
    }
}

fn not_there(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Write as _};

    use super::*;

    /// What is done to the file, each time that its end was seen.
    type Step<'a> = &'a dyn Fn(&Path);

    fn append(path: &Path, text: &str) {
        let mut file = File::options().append(true).create(true).open(path).expect("a file");
        file.write_all(text.as_bytes()).expect("written");
    }

    /// The lines of a file that begins with `text` and that the steps are done to.
    fn lines(text: &str, steps: &[Step<'_>]) -> Vec<String> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("log");
        append(&path, text);
        let mut steps = steps.iter();
        let step = || steps.next().map(|step| step(&path)).is_some();
        let followed = Followed::new(path.clone(), File::open(&path).expect("a file"), step);
        BufReader::new(followed).lines().map(|line| line.expect("readable")).collect()
    }

    #[test]
    fn a_line_that_is_written_in_halves_is_one() {
        let steps: [Step<'_>; 3] = [&|path| append(path, "b"), &|_| {}, &|path| append(path, "c\nd\n")];
        assert_eq!(lines("a\n", &steps), ["a", "bc", "d"]);
    }

    #[test]
    fn a_file_that_is_moved_away_is_read_to_its_end_and_then_the_new_one() {
        let moved = |path: &Path| path.with_extension("1");
        let steps: [Step<'_>; 4] = [
            &|path| {
                fs::rename(path, moved(path)).expect("renamed");
                append(&moved(path), "b\nhalf");
            },
            &|_| {},
            &|path| append(path, "c\n"),
            &|path| append(path, "d\n"),
        ];
        assert_eq!(lines("a\n", &steps), ["a", "b", "half", "c", "d"]);
    }

    #[test]
    fn time_passes_where_nothing_comes_and_who_asks_ends_the_reading() {
        let (reader, _writer) = nix::unistd::pipe().expect("a pipe");
        let bytes = LogBytes::File("pipe".into(), reader.into());
        let silent = NamedLog { name: "pipe".to_owned(), bytes };
        let (mut following, asked) = Following::begin(vec![silent], Duration::from_millis(10));
        let format = LineFormat::default();
        let mut next = || following.next(&format).expect("readable");
        assert!(matches!(next(), Some(Came::TimePassed)));
        asked.send(Event::Asked).expect("somebody reads");
        let mut left = std::iter::from_fn(next);
        assert!(left.all(|came| matches!(came, Came::TimePassed)), "and it has an end");
    }

    #[test]
    fn a_file_that_is_emptied_is_read_from_its_start() {
        let steps: [Step<'_>; 2] = [
            &|path| {
                File::create(path).expect("emptied");
                append(path, "b\n");
            },
            &|path| append(path, "c\n"),
        ];
        assert_eq!(lines("first\nhalf", &steps), ["first", "half", "b", "c"]);
    }
}
