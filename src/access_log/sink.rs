//! Where lines go: one thread that formats and writes them in batches, so that no session ever waits for a disk.
//!
//! A line that cannot be written is lost and said so on standard error; the session it tells of is not touched.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;

use super::{Entry, Format};

/// A batch is written when it has this many bytes, even if more lines wait: bounds the memory of a burst.
const BATCH_BYTES: usize = 256 * 1024;

/// Where the lines are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Standard output.
    Stdout,
    /// A file, appended to, made if it is not there.
    File(PathBuf),
}

/// The log could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("open the access log {path}: {source}", path = path.display())]
pub struct SinkError {
    /// The file.
    pub path: PathBuf,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

/// The data path's end of the log. Clones write to the same log; the thread ends, everything written, after the last
/// one is dropped.
#[derive(Debug, Clone)]
pub struct Sink {
    queue: Arc<Sender<Message>>,
}

/// What the thread is told.
#[derive(Debug)]
enum Message {
    Entry(Box<Entry>),
    Reopen,
}

/// Has the file opened again, for whoever rotates it; does not keep the log alive.
#[derive(Debug, Clone)]
pub struct Reopen {
    queue: Weak<Sender<Message>>,
}

impl Reopen {
    /// Lines that are logged from now on go to a file of the configured name, made if it is not there.
    pub fn reopen(&self) {
        if let Some(queue) = self.queue.upgrade() {
            // The thread lives as long as any sender does.
            let _ = queue.send(Message::Reopen);
        }
    }
}

impl Sink {
    /// Opens the target and starts the thread. Joining the handle after the last clone is gone means: all is written.
    ///
    /// # Errors
    /// [`SinkError`] for a file that cannot be opened.
    ///
    /// # Panics
    /// If the system can start no thread.
    pub fn open(target: Target, format: Format) -> Result<(Self, JoinHandle<()>), SinkError> {
        let output = open(&target)?;
        let (sender, queue) = channel();
        let thread = std::thread::Builder::new()
            .name("access-log".into())
            .spawn(move || write_all(&queue, &target, output, format))
            .expect("the system can start a thread");
        Ok((Self { queue: Arc::new(sender) }, thread))
    }

    /// The way to have the file opened again.
    #[must_use]
    pub fn reopener(&self) -> Reopen {
        Reopen { queue: Arc::downgrade(&self.queue) }
    }

    /// Hands a line over. Never blocks.
    pub(super) fn write(&self, entry: Box<Entry>) {
        // The thread lives as long as any sender does.
        let _ = self.queue.send(Message::Entry(entry));
    }
}

/// Where the thread writes.
type Output = Box<dyn Write + Send>;

fn open(target: &Target) -> Result<Output, SinkError> {
    let Target::File(path) = target else { return Ok(Box::new(io::stdout())) };
    match OpenOptions::new().create(true).append(true).open(path) {
        Ok(file) => Ok(Box::new(file)),
        Err(source) => Err(SinkError { path: path.clone(), source }),
    }
}

fn write_all(queue: &Receiver<Message>, target: &Target, mut output: Output, format: Format) {
    let mut batch = Vec::with_capacity(8 * 1024);
    let mut failing = false;
    while let Ok(mut message) = queue.recv() {
        batch.clear();
        let mut lines = 0;
        let mut reopen = false;
        loop {
            match message {
                Message::Entry(entry) => lines += append(&entry, format, &mut batch),
                Message::Reopen => reopen = true,
            }
            if reopen || batch.len() >= BATCH_BYTES {
                break;
            }
            let Ok(next) = queue.try_recv() else { break };
            message = next;
        }
        match output.write_all(&batch).and_then(|()| output.flush()) {
            Ok(()) => failing = false,
            Err(error) if !failing => {
                failing = true;
                tracing::error!(
                    "the access log cannot be written ({error}): lost {lines} lines, more may follow"
                );
            }
            Err(_) => {}
        }
        if reopen {
            match open(target) {
                Ok(opened) => output = opened,
                Err(error) => tracing::error!("{error}; lines go where they went before"),
            }
        }
    }
}

fn append(entry: &Entry, format: Format, batch: &mut Vec<u8>) -> usize {
    // Writing to memory does not fail.
    usize::from(format.write(entry, batch).is_ok())
}

#[cfg(test)]
mod tests {
    use super::super::Record;
    use super::*;

    #[test]
    fn a_record_leaves_one_line_whether_it_is_finished_or_dropped() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("access.log");
        let (sink, thread) = Sink::open(Target::File(path.clone()), Format::Json).unwrap();
        let entry = || Entry::new("127.0.0.1:1".parse().unwrap(), "127.0.0.1:2".parse().unwrap());
        Record::start(entry(), &sink).finish();
        drop(Record::start(entry(), &sink));
        drop(sink);
        thread.join().unwrap();
        let lines: Vec<serde_json::Value> = std::fs::read_to_string(&path)
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0]["response_flags"], "-");
        assert_eq!(lines[1]["response_flags"], "DC");
        assert_eq!(
            lines[1]["response_code_details"],
            "downstream_local_disconnect(purging_socket_that_have_not_progressed_to_connections)"
        );
    }

    #[test]
    fn a_log_that_was_moved_away_is_opened_again() {
        let directory = tempfile::tempdir().unwrap();
        let (path, moved) = (directory.path().join("access.log"), directory.path().join("access.log.1"));
        let (sink, thread) = Sink::open(Target::File(path.clone()), Format::Text).unwrap();
        let entry = || Entry::new("127.0.0.1:1".parse().unwrap(), "127.0.0.1:2".parse().unwrap());
        std::fs::rename(&path, &moved).unwrap();
        Record::start(entry(), &sink).finish();
        let reopen = sink.reopener();
        reopen.reopen();
        Record::start(entry(), &sink).finish();
        Record::start(entry(), &sink).finish();
        drop(sink);
        thread.join().unwrap();
        let lines = |path| std::fs::read_to_string(path).unwrap().lines().count();
        assert_eq!((lines(&moved), lines(&path)), (1, 2));
        // Nobody listens any more.
        reopen.reopen();
    }

    #[test]
    fn a_log_that_cannot_be_opened_is_named() {
        let path = PathBuf::from("/nonexistent/access.log");
        let error = Sink::open(Target::File(path), Format::Json).unwrap_err();
        assert!(error.to_string().starts_with("open the access log /nonexistent/access.log: "));
    }
}
