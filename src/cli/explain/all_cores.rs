//! Logs read on all cores for a summary: whole lines of each go to workers in chunks, and what they
//! read comes back in the order of the log, so that the answer does not depend on how many workers
//! there are.
//!
//! A worker reads a chunk as if nothing went on from the one before it. Where something does, an
//! object over several lines or a line that CRI cut, the chunk is read once more, with that.

use std::collections::VecDeque;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Mutex, PoisonError};
use std::{mem, thread, vec};

use super::ExplainError;
use super::input::{NamedLog, WasRead};
use super::summary::LogSummary;
use super::tally::{ReadChunk, TalliedLine};
use crate::access_log::{CHUNK_BYTES, Chunk, Chunks, Finder, LineFormat, Unread};

/// How many chunks are read ahead for each worker, so that none waits for the next.
const AHEAD: usize = 3;

/// How logs are parted, and among how many.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parting {
    pub(super) workers: usize,
    pub(super) chunk_bytes: usize,
}

impl Default for Parting {
    fn default() -> Self {
        // Where the system does not say how many cores there are it is as if there were one.
        let workers = thread::available_parallelism().map_or(1, Into::into);
        Self { workers, chunk_bytes: CHUNK_BYTES }
    }
}

/// A chunk, and where to send what was read of it.
type SentChunk = (Chunk, Sender<ReadChunk>);

/// Adds the logs to a summary, a line of each in turn.
pub(super) fn summarise(
    logs: Vec<NamedLog>,
    format: &LineFormat,
    parting: Parting,
    summary: &mut LogSummary,
) -> Result<WasRead, ExplainError> {
    let (jobs, waiting) = mpsc::channel::<SentChunk>();
    let waiting = Mutex::new(waiting);
    thread::scope(|scope| {
        for _ in 0..parting.workers {
            scope.spawn(|| work(&waiting, format));
        }
        // What ends this function drops the logs, and with them the last of those who send, which
        // ends the workers.
        let open = |log| OpenLog::new(log, jobs.clone(), parting);
        let mut open: Vec<_> = logs.into_iter().map(open).collect();
        drop(jobs);
        let (mut read, mut turn) = (WasRead::default(), 0);
        while !open.is_empty() {
            turn %= open.len();
            if open[turn].next(format, summary)? {
                turn += 1;
            } else {
                read.add(open.remove(turn).read);
            }
        }
        Ok(read)
    })
}

/// Reads chunks until there are no more.
fn work(waiting: &Mutex<Receiver<SentChunk>>, format: &LineFormat) {
    loop {
        let job = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((chunk, answer)) = job else { return };
        // Nobody waits for it once another log could not be read.
        let _ = answer.send(ReadChunk::read(chunk, Finder::default(), format));
    }
}

/// A log that is being read.
struct OpenLog {
    name: String,
    chunks: Chunks,
    jobs: Sender<SentChunk>,
    ahead: usize,
    /// Whether all of it has gone to workers.
    all_sent: bool,
    /// What comes back, in the order of the log.
    answers: VecDeque<Receiver<ReadChunk>>,
    /// The chunk that came back last, its lines that are left, and the places in the summary of what
    /// they say.
    chunk: Chunk,
    lines: vec::IntoIter<TalliedLine>,
    slots: Vec<usize>,
    /// What goes on.
    finder: Finder,
    read: WasRead,
    /// Chunks that were read, for their memory.
    used: Vec<Chunk>,
}

impl OpenLog {
    fn new(NamedLog { name, bytes }: NamedLog, jobs: Sender<SentChunk>, parting: Parting) -> Self {
        Self {
            name,
            chunks: Chunks::new(bytes.whole(), parting.chunk_bytes),
            jobs,
            ahead: parting.workers * AHEAD,
            all_sent: false,
            answers: VecDeque::new(),
            chunk: Chunk::default(),
            lines: Vec::new().into_iter(),
            slots: Vec::new(),
            finder: Finder::default(),
            read: WasRead::default(),
            used: Vec::new(),
        }
    }

    /// Adds the next line to the summary; whether there was one.
    fn next(&mut self, format: &LineFormat, summary: &mut LogSummary) -> Result<bool, ExplainError> {
        loop {
            if let Some(line) = self.lines.next() {
                let slot = line.worth_a_look.map(|number| self.slots[number]);
                summary.line(line.text(&self.chunk), line.joins.as_ref(), slot, format);
                return Ok(true);
            }
            self.send_ahead()?;
            let Some(answer) = self.answers.pop_front() else {
                self.finder.end();
                self.unread();
                return Ok(false);
            };
            let read = answer.recv().expect("a worker ends after what it was given");
            self.take(read, format, summary);
        }
    }

    fn send_ahead(&mut self) -> Result<(), ExplainError> {
        while !self.all_sent && self.answers.len() < self.ahead {
            let chunk = self.chunks.next(self.used.pop().unwrap_or_default());
            let chunk = chunk.map_err(|source| ExplainError::Read { name: self.name.clone(), source })?;
            let Some(chunk) = chunk else {
                self.all_sent = true;
                return Ok(());
            };
            let (answer, answers) = mpsc::channel();
            self.jobs.send((chunk, answer)).expect("workers end after those who send");
            self.answers.push_back(answers);
        }
        Ok(())
    }

    fn take(&mut self, mut read: ReadChunk, format: &LineFormat, summary: &mut LogSummary) {
        if self.finder.is_open() {
            read = ReadChunk::read(read.chunk, mem::take(&mut self.finder), format);
        }
        self.finder = read.finder;
        self.unread();
        self.read.lines += read.lines;
        self.read.too_long += read.too_long;
        summary.counts.merge(&read.tally.counts);
        summary.lengths.merge(&mut read.tally.lengths);
        self.slots.clear();
        self.slots.extend(read.tally.worth_a_look.into_iter().map(|ending| summary.slot(ending)));
        self.lines = read.tally.lines.into_iter();
        self.used.push(mem::replace(&mut self.chunk, read.chunk));
    }

    fn unread(&mut self) {
        let unread: Unread = self.finder.take_unread();
        self.read.unread.add(unread);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cli::explain::input::{Came, Inputs, LogBytes, Source};
    use crate::escape::to_json;

    /// What stands in logs, one after the other: lines of both sides, of other programs and of
    /// other formats, objects over several lines, whole and not, and parts of lines.
    const PIECES: [&str; 16] = [
        r#"{"method":"GET","path":"/a","protocol":"HTTP/1.1","request_id":"1","response_code":101,"response_flags":"UC","response_code_details":"upstream_reset_after_response_started{connection_termination}","upstream_cluster":"outbound|80||web","upstream_local_address":"10.0.0.1:1"}"#,
        r#"{"method":"GET","path":"/a","protocol":"HTTP/2","request_id":"1","response_code":101,"response_flags":"-","upstream_cluster":"inbound|80||","downstream_remote_address":"10.0.0.1:1"}"#,
        r#"{"method":"GET","path":"/b","protocol":"HTTP/1.1","request_id":"2","response_code":503,"response_flags":"UF","upstream_cluster":"outbound|80||web","upstream_local_address":"10.0.0.1:2"}"#,
        r#"{"method":"GET","path":"/b","protocol":"HTTP/2","request_id":"2","response_code":503,"response_flags":"UC","upstream_cluster":"inbound|80||"}"#,
        r#"{"downstream_remote_address":"10.0.0.1:2","method":null,"protocol":"HTTP/2","response_code":0,"response_code_details":"http2.invalid.header.field","response_flags":"DPE"}"#,
        r#"[2026-07-05T10:00:00.000Z] "GET /ws HTTP/1.1" 101 DC downstream_remote_disconnect - "-" 61 105 13342 - "-" "Mozilla/5.0" "3" "chat:8080" "10.80.47.192:8000" inbound|8000|| 127.0.0.6:37132 10.80.47.192:8000 10.80.45.233:59375 - default"#,
        "{\n  \"path\": \"/\u{fc}\",\n  \"note\": \"} {\",\n  \"response_code\": 426,\n  \"response_flags\": \"NR\"\n}",
        "[\n  {\"path\":\"/1\",\"response_code\":200},\n  {\"path\":\"/2\",\n\"response_code\":404}\n]",
        "{\"response_code\": 101,",
        "  \"path\": \"/\",",
        "}",
        "2026-07-05T10:00:00.0Z stdout P {\"path\":\"/c",
        "2026-07-05T10:00:00.0Z stdout F ut\",\"response_code\":500,\"response_flags\":\"UO\"}",
        "2026-07-05T10:00:00Z\tinfo\tEnvoy proxy is ready",
        r#"127.0.0.6 - - [11/Jul/2026:08:54:13 +0000] "GET /api HTTP/1.1" 426 0 "-" "Mozilla/5.0""#,
        "",
    ];

    /// Any log of the pieces; its lines end as on Unix or as on Windows, the last may have no end.
    fn log() -> impl Strategy<Value = String> {
        let pieces = prop::collection::vec(prop::sample::select(&PIECES[..]), 0..40);
        (pieces, any::<bool>(), any::<bool>()).prop_map(|(pieces, carriage_return, ended)| {
            let log = pieces.join("\n") + if ended { "\n" } else { "" };
            if carriage_return { log.replace('\n', "\r\n") } else { log }
        })
    }

    fn named(logs: &[String]) -> Vec<NamedLog> {
        let log = |log: &String| NamedLog { name: "log".to_owned(), bytes: LogBytes::Line(log.clone()) };
        logs.iter().map(log).collect()
    }

    /// All that is said of logs that were added to a summary.
    fn said(mut summary: LogSummary, read: &WasRead, format: &LineFormat) -> String {
        let given_up = summary.given_up();
        summary.finish(format);
        let json = to_json(&summary.json(1)).expect("JSON");
        format!("{summary}\n{json}\n{given_up} {} {read:?}", summary.sessions())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn logs_read_by_many_say_what_they_say_read_by_one(
            logs in prop::collection::vec(log(), 1..4),
            workers in 1_usize..5,
            chunk_bytes in prop_oneof![1_usize..2000, Just(CHUNK_BYTES)],
        ) {
            let format = LineFormat::default();
            let (mut one, mut many) = (LogSummary::default(), LogSummary::default());
            let mut inputs = Inputs::new(named(&logs));
            while let Some(Came::Line(line)) = inputs.next(&format).expect("readable") {
                one.add(&line, &format);
            }
            let read = summarise(named(&logs), &format, Parting { workers, chunk_bytes }, &mut many);
            prop_assert_eq!(said(many, &read.expect("readable"), &format), said(one, &inputs.read(), &format));
        }
    }

    #[test]
    fn a_log_that_cannot_be_read_ends_the_reading_with_its_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = std::fs::File::open(folder.path()).expect("opened");
        let unread = NamedLog { name: "mine".to_owned(), bytes: LogBytes::File(folder.path().into(), file) };
        let logs = named(&[PIECES[0].to_owned()]).into_iter().chain([unread]).collect();
        let failed = summarise(logs, &LineFormat::default(), Parting::default(), &mut LogSummary::default());
        assert!(matches!(failed, Err(ExplainError::Read { name, .. }) if name == "mine"));
    }
}
