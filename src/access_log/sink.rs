//! Where lines go: one thread that formats and writes them in batches, so that no session ever waits for a disk.
//!
//! A line that cannot be written is lost and said so on standard error; the session it tells of is not touched.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
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
    entries: Sender<Box<Entry>>,
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
        let output: Box<dyn Write + Send> = match target {
            Target::Stdout => Box::new(io::stdout()),
            Target::File(path) => Box::new(open(path)?),
        };
        let (entries, queue) = channel();
        let thread = std::thread::Builder::new()
            .name("access-log".into())
            .spawn(move || write_all(&queue, output, format))
            .expect("the system can start a thread");
        Ok((Self { entries }, thread))
    }

    /// Hands a line over. Never blocks.
    pub(super) fn write(&self, entry: Box<Entry>) {
        // The thread lives as long as any sender does.
        let _ = self.entries.send(entry);
    }
}

fn open(path: PathBuf) -> Result<File, SinkError> {
    OpenOptions::new().create(true).append(true).open(&path).map_err(|source| SinkError { path, source })
}

fn write_all(queue: &Receiver<Box<Entry>>, mut output: Box<dyn Write + Send>, format: Format) {
    let mut batch = Vec::with_capacity(8 * 1024);
    let mut failing = false;
    while let Ok(entry) = queue.recv() {
        batch.clear();
        let mut lines = append(&entry, format, &mut batch);
        while batch.len() < BATCH_BYTES
            && let Ok(entry) = queue.try_recv()
        {
            lines += append(&entry, format, &mut batch);
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
    fn a_log_that_cannot_be_opened_is_named() {
        let path = PathBuf::from("/nonexistent/access.log");
        let error = Sink::open(Target::File(path), Format::Json).unwrap_err();
        assert!(error.to_string().starts_with("open the access log /nonexistent/access.log: "));
    }
}
