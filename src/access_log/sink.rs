//! Where lines go: one thread that formats and writes them in batches, so that no session ever
//! waits for a disk.
//!
//! A line that cannot be written is lost and said so on standard error; the session it tells of is
//! not touched. How lines stay whole is the business of `output`.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::output::{Output, SinkError, Target};
use super::{Entry, Format};

/// A batch is written when it has this many bytes, even if more lines wait: bounds the memory of a
/// burst.
const BATCH_BYTES: usize = 256 * 1024;

/// How many lines wait for the disk or a reader; further ones are lost. Each takes about 1 KiB, so
/// this is 32 MiB, and some seconds of a sidecar under full load.
const MAX_QUEUED: usize = 32 * 1024;

/// The data path's end of the log. Clones write to the same log; the thread ends, everything
/// written, after the last one is dropped.
#[derive(Debug, Clone)]
pub struct Sink {
    queue: Arc<Queue>,
}

#[derive(Debug)]
struct Queue {
    /// Bounded by [`Requests::waiting`] and not by itself: a bounded channel takes its whole memory
    /// at the start.
    messages: Sender<SinkMessage>,
    requests: Arc<Requests>,
}

/// Requests to the thread that do not go through the queue, which may be full.
#[derive(Debug, Default)]
struct Requests {
    /// Lines in the queue.
    waiting: AtomicUsize,
    /// Lines that found no room.
    lost: AtomicUsize,
    reopen: AtomicBool,
}

/// A message in the queue of the thread.
#[derive(Debug)]
enum SinkMessage {
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
    /// Lines that are logged from now on go to a file of the configured name, made if it is not
    /// there.
    pub fn reopen(&self) {
        if let Some(queue) = self.queue.upgrade() {
            queue.requests.reopen.store(true, Ordering::Release);
            // Without a thread nothing is written any more.
            let _ = queue.messages.send(SinkMessage::Wake);
        }
    }
}

/// The thread that writes.
#[derive(Debug)]
pub struct Writer {
    /// Disconnected by the end of the thread; carries no values.
    ended: Receiver<()>,
}

impl Writer {
    /// Waits until everything is written, which it is some time after the last [`Sink`] is dropped;
    /// at most `limit`, for who reads the log may not read. Whether it is.
    #[must_use]
    pub fn wait(&self, limit: Duration) -> bool {
        self.ended.recv_timeout(limit) != Err(RecvTimeoutError::Timeout)
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
        let output = Output::open(&target)?;
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
        if requests.waiting.fetch_add(1, Ordering::Relaxed) < MAX_QUEUED {
            let _ = messages.send(SinkMessage::Entry(entry));
            return;
        }
        requests.waiting.fetch_sub(1, Ordering::Relaxed);
        if requests.lost.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::error!("the access log is not written fast enough: lines are lost");
        }
    }
}

fn write_all(
    queue: &Receiver<SinkMessage>,
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
                SinkMessage::Entry(entry) => {
                    requests.waiting.fetch_sub(1, Ordering::Relaxed);
                    lines += append(&entry, format, &mut batch);
                }
                SinkMessage::Wake => break,
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
            output.reopen(target);
        }
    }
}

fn append(entry: &Entry, format: Format, batch: &mut Vec<u8>) -> usize {
    // Writing to memory does not fail.
    usize::from(format.write(entry, batch).is_ok())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

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
