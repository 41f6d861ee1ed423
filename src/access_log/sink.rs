//! Where lines go: one thread that formats and writes them in batches, so that no session ever waits for a disk.
//!
//! A line that cannot be written is lost and said so on standard error; the session it tells of is not touched. Lines are
//! lost whole: a disk that is full in the middle of one gets the rest of it first when there is room again.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Weak};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Entry, Format};

/// A batch is written when it has this many bytes, even if more lines wait: bounds the memory of a burst.
const BATCH_BYTES: usize = 256 * 1024;

/// So many lines wait for the disk or a reader; what comes then is lost. Each takes about 1 KiB, so this is 32 MiB, and
/// some seconds of a sidecar under full load.
const MOST_WAITING: usize = 32 * 1024;

/// Where the lines are written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
    queue: Arc<Queue>,
}

#[derive(Debug)]
struct Queue {
    /// Bounded by [`Requests::waiting`] and not by itself: a bounded channel takes its whole memory at the start.
    messages: Sender<Message>,
    requests: Arc<Requests>,
}

/// What the thread is told beside the queue, which may be full.
#[derive(Debug, Default)]
struct Requests {
    /// Lines in the queue.
    waiting: AtomicUsize,
    /// Lines that found no room.
    lost: AtomicUsize,
    reopen: AtomicBool,
}

/// What the thread is told.
#[derive(Debug)]
enum Message {
    Entry(Box<Entry>),
    /// Look at [`Requests`].
    Wake,
}

/// Has the file opened again, for whoever rotates it; does not keep the log alive.
#[derive(Debug, Clone)]
pub struct Reopen {
    queue: Weak<Queue>,
}

impl Reopen {
    /// Lines that are logged from now on go to a file of the configured name, made if it is not there.
    pub fn reopen(&self) {
        if let Some(queue) = self.queue.upgrade() {
            queue.requests.reopen.store(true, Ordering::Release);
            // Without a thread nothing is written any more.
            let _ = queue.messages.send(Message::Wake);
        }
    }
}

/// The thread that writes.
#[derive(Debug)]
pub struct Writer {
    /// Nothing ever comes; its other end goes with the thread.
    ended: Receiver<()>,
}

impl Writer {
    /// Waits until everything is written, which it is some time after the last [`Sink`] is dropped; at most `patience`,
    /// for who reads the log may not read. Whether it is.
    #[must_use]
    pub fn wait(&self, patience: Duration) -> bool {
        self.ended.recv_timeout(patience) != Err(RecvTimeoutError::Timeout)
    }
}

impl Sink {
    /// Opens the target and starts the thread.
    ///
    /// # Errors
    /// [`SinkError`] for a file that cannot be opened.
    ///
    /// # Panics
    /// If the system can start no thread.
    pub fn open(target: Target, format: Format) -> Result<(Self, Writer), SinkError> {
        let output = Output { file: open(&target)?, rest: Vec::new(), failing: false, lost: 0 };
        let (messages, queue) = channel();
        let requests = Arc::new(Requests::default());
        let seen = Arc::clone(&requests);
        let (alive, ended) = channel();
        std::thread::Builder::new()
            .name("access-log".into())
            .spawn(move || {
                let _alive = alive;
                write_all(&queue, &seen, &target, output, format);
            })
            .expect("the system can start a thread");
        Ok((Self { queue: Arc::new(Queue { messages, requests }) }, Writer { ended }))
    }

    /// The way to have the file opened again.
    #[must_use]
    pub fn reopener(&self) -> Reopen {
        Reopen { queue: Arc::downgrade(&self.queue) }
    }

    /// Hands a line over. Never blocks.
    pub(super) fn write(&self, entry: Box<Entry>) {
        let Queue { messages, requests } = &*self.queue;
        // The thread lives as long as any sender does, so sending does not fail.
        if requests.waiting.fetch_add(1, Ordering::Relaxed) < MOST_WAITING {
            let _ = messages.send(Message::Entry(entry));
            return;
        }
        requests.waiting.fetch_sub(1, Ordering::Relaxed);
        if requests.lost.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::error!("the access log is not written fast enough: lines are lost");
        }
    }
}

/// Unbuffered: a batch is buffer enough, and it has to be known what was written.
fn open(target: &Target) -> Result<File, SinkError> {
    let named = |path: &PathBuf, source| SinkError { path: path.clone(), source };
    match target {
        Target::Stdout => {
            let own = io::stdout().as_fd().try_clone_to_owned();
            own.map(File::from).map_err(|source| named(&PathBuf::from("-"), source))
        }
        Target::File(path) => {
            OpenOptions::new().create(true).append(true).open(path).map_err(|source| named(path, source))
        }
    }
}

/// Where the thread writes.
struct Output {
    file: File,
    /// Of a line whose beginning is written.
    rest: Vec<u8>,
    failing: bool,
    /// Lines since it began to fail.
    lost: usize,
}

impl Output {
    /// Writes whole lines.
    fn write(&mut self, batch: &[u8], lines: usize) {
        match self.try_write(batch) {
            Ok(()) => {
                if std::mem::take(&mut self.failing) {
                    let lost = std::mem::take(&mut self.lost);
                    tracing::warn!("the access log is written again; {lost} lines were lost");
                }
            }
            Err((error, left)) => {
                self.lost += left.min(lines);
                if !std::mem::replace(&mut self.failing, true) {
                    let lost = self.lost;
                    tracing::error!(
                        "the access log cannot be written ({error}): lost {lost} lines, more may follow"
                    );
                }
            }
        }
    }

    /// The error comes with the number of lines of which nothing was written.
    fn try_write(&mut self, batch: &[u8]) -> Result<(), (io::Error, usize)> {
        let count = |lines: &[u8]| memchr::memchr_iter(b'\n', lines).count();
        let rest = std::mem::take(&mut self.rest);
        if let Err((error, written)) = write(&mut self.file, &rest) {
            self.rest = rest[written..].to_vec();
            return Err((error, count(batch)));
        }
        write(&mut self.file, batch).map_err(|(error, written)| {
            let (done, left) = batch.split_at(written);
            if !done.is_empty() && !done.ends_with(b"\n") {
                let end = memchr::memchr(b'\n', left).map_or(left.len(), |end| end + 1);
                self.rest = left[..end].to_vec();
                return (error, count(&left[end..]));
            }
            (error, count(left))
        })
    }
}

/// Writes all of it. The error comes with how much was written before.
fn write(file: &mut File, bytes: &[u8]) -> Result<(), (io::Error, usize)> {
    let mut written = 0;
    while written < bytes.len() {
        match file.write(&bytes[written..]) {
            Ok(0) => return Err((io::ErrorKind::WriteZero.into(), written)),
            Ok(more) => written += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err((error, written)),
        }
    }
    Ok(())
}

fn write_all(
    queue: &Receiver<Message>,
    requests: &Requests,
    target: &Target,
    mut output: Output,
    format: Format,
) {
    let mut batch = Vec::with_capacity(8 * 1024);
    while let Ok(mut message) = queue.recv() {
        batch.clear();
        let (mut lines, mut caught_up) = (0, false);
        loop {
            match message {
                Message::Entry(entry) => {
                    requests.waiting.fetch_sub(1, Ordering::Relaxed);
                    lines += append(&entry, format, &mut batch);
                }
                Message::Wake => break,
            }
            if batch.len() >= BATCH_BYTES {
                break;
            }
            let Ok(next) = queue.try_recv() else {
                caught_up = true;
                break;
            };
            message = next;
        }
        output.write(&batch, lines);
        // Once for all that were lost since the queue was full, however often it was in between.
        let lost = if caught_up { requests.lost.swap(0, Ordering::Relaxed) } else { 0 };
        if lost > 0 {
            tracing::warn!("the access log has caught up; {lost} lines were lost");
        }
        if requests.reopen.swap(false, Ordering::Acquire) {
            match open(target) {
                Ok(opened) => (output.file, output.rest) = (opened, Vec::new()),
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
        let (sink, writer) = Sink::open(Target::File(path.clone()), Format::Json).unwrap();
        let entry = || Entry::new("127.0.0.1:1".parse().unwrap(), "127.0.0.1:2".parse().unwrap());
        Record::start(entry(), &sink).finish();
        drop(Record::start(entry(), &sink));
        drop(sink);
        assert!(writer.wait(Duration::from_secs(20)));
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
        let (sink, writer) = Sink::open(Target::File(path.clone()), Format::Text).unwrap();
        let entry = || Entry::new("127.0.0.1:1".parse().unwrap(), "127.0.0.1:2".parse().unwrap());
        std::fs::rename(&path, &moved).unwrap();
        Record::start(entry(), &sink).finish();
        let reopen = sink.reopener();
        reopen.reopen();
        Record::start(entry(), &sink).finish();
        Record::start(entry(), &sink).finish();
        drop(sink);
        assert!(writer.wait(Duration::from_secs(20)));
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
