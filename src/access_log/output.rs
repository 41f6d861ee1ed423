//! Where lines are written: a file, or what stands for standard output. Lines are written whole,
//! whatever happens.
//!
//! A disk may be full in the middle of a line. In a file the beginning of such a line is cut off
//! again, and the whole line is written once there is room; a pipe gets the rest of it first. A
//! file whose last line has no end, because of another process that ended in the middle of it, is
//! mended before it is written to. Of processes that share a file each holds its lock while it
//! writes. Which lines there are to write is not known here.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::LineFormat;

/// How much of a file is searched for the beginning of its last line: more than a line of a sidecar
/// has.
const MAX_LINE_BYTES: u64 = 1024 * 1024;

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

/// An open log.
pub(super) struct Output {
    file: File,
    kind: FileKind,
    /// What is written next begins a line.
    at_line_start: bool,
    /// What is written first: of a file a line that found no room, of anything else the rest of a
    /// line.
    rest: Vec<u8>,
    failing: bool,
    /// Lines since it began to fail.
    lost: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum FileKind {
    /// A file that this process appends to.
    Appended,
    /// A file that standard output was redirected to: what is in it is not ours to cut off.
    Redirected,
    /// A pipe, a terminal, a device: what is written is gone.
    Stream,
}

/// Bytes that could not be written.
struct Unwritten {
    error: io::Error,
    /// Where they begin.
    from: usize,
    /// The line that they begin with was written in part.
    broken: bool,
}

impl Output {
    /// Opens the target.
    ///
    /// # Errors
    /// [`SinkError`] for a file that cannot be opened.
    pub(super) fn open(target: &Target) -> Result<Self, SinkError> {
        let (file, kind) = open(target)?;
        let at_line_start = kind == FileKind::Stream;
        Ok(Self { file, kind, at_line_start, rest: Vec::new(), failing: false, lost: 0 })
    }

    /// Opens the target again, for whoever rotates it. Where that fails lines go where they went
    /// before.
    pub(super) fn reopen(&mut self, target: &Target) {
        match open(target) {
            Ok((file, kind)) => {
                (self.file, self.kind, self.at_line_start) = (file, kind, kind == FileKind::Stream);
                if kind == FileKind::Stream {
                    // The rest of a line that began elsewhere.
                    self.rest.clear();
                }
            }
            Err(error) => tracing::error!("{error}; lines go where they went before"),
        }
    }

    /// Writes whole lines. Those that cannot be written are lost and counted.
    pub(super) fn write(&mut self, batch: &[u8], lines: usize) {
        if batch.is_empty() && self.rest.is_empty() {
            return;
        }
        // A file system without locks has no processes that wait for each other.
        let locked = self.kind != FileKind::Stream && self.file.lock().is_ok();
        let written = self.try_write(batch);
        if locked {
            let _ = self.file.unlock();
        }
        match written {
            Ok(()) => {
                if std::mem::take(&mut self.failing) {
                    let lost = std::mem::take(&mut self.lost);
                    tracing::warn!("the access log is written again; {lost} lines were lost");
                }
            }
            Err((error, left)) => {
                self.lost += left.min(lines);
                if !std::mem::replace(&mut self.failing, true) {
                    // Of a line that was begun the rest is kept; those after it are lost.
                    tracing::error!(
                        "the access log cannot be written ({error}): lines are lost until it can"
                    );
                }
            }
        }
    }

    /// The error comes with the number of lines of which nothing was written.
    fn try_write(&mut self, batch: &[u8]) -> Result<(), (io::Error, usize)> {
        let count = |lines: &[u8]| memchr::memchr_iter(b'\n', lines).count();
        if !self.at_line_start {
            begin_line(&self.file, self.kind).map_err(|error| (error, count(batch)))?;
            self.at_line_start = true;
        }
        let rest = std::mem::take(&mut self.rest);
        if let Err(Unwritten { error, from, .. }) = self.put(&rest) {
            self.rest = rest[from..].to_vec();
            return Err((error, count(batch)));
        }
        self.put(batch).map_err(|Unwritten { error, from, broken }| {
            let left = &batch[from..];
            let end = if broken { memchr::memchr(b'\n', left).map_or(left.len(), |end| end + 1) } else { 0 };
            self.rest = left[..end].to_vec();
            (error, count(&left[end..]))
        })
    }

    /// Writes all of it, or of a file as many whole lines as there is room for.
    fn put(&mut self, bytes: &[u8]) -> Result<(), Unwritten> {
        let Err((error, written)) = write(&self.file, bytes) else { return Ok(()) };
        let line = memchr::memrchr(b'\n', &bytes[..written]).map_or(0, |end| end + 1);
        let broken = written > line;
        if self.kind == FileKind::Stream {
            return Err(Unwritten { error, from: written, broken });
        }
        if broken && self.kind == FileKind::Appended {
            cut_off(&mut self.file, (written - line) as u64);
        }
        // Another process may have written half a line, too, for the same reason.
        self.at_line_start = false;
        Err(Unwritten { error, from: line, broken })
    }
}

/// Unbuffered: a batch is buffer enough, and it has to be known what was written.
fn open(target: &Target) -> Result<(File, FileKind), SinkError> {
    let named = |path: &PathBuf, source| SinkError { path: path.clone(), source };
    let (file, kind) = match target {
        Target::Stdout => {
            let own = io::stdout().as_fd().try_clone_to_owned();
            (own.map(File::from).map_err(|source| named(&PathBuf::from("-"), source))?, FileKind::Redirected)
        }
        Target::File(path) => {
            let file = OpenOptions::new().create(true).append(true).open(path);
            (file.map_err(|source| named(path, source))?, FileKind::Appended)
        }
    };
    let is_file = file.metadata().is_ok_and(|metadata| metadata.is_file());
    Ok((file, if is_file { kind } else { FileKind::Stream }))
}

/// Writes all of it. The error comes with how much was written before.
fn write(mut file: &File, bytes: &[u8]) -> Result<(), (io::Error, usize)> {
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

/// Takes back what was written last, unless somebody else has written since, who does not care for
/// locks.
fn cut_off(file: &mut File, length: u64) {
    if let (Ok(position), Ok(metadata)) = (file.stream_position(), file.metadata())
        && position == metadata.len()
    {
        // If it cannot be cut off, it is completed before the next line.
        let _ = file.set_len(position.saturating_sub(length));
    }
}

/// Makes the next appended byte begin a line. What is there is completed by a line feed,
/// unless it is known to be the beginning of a line of an access log: that is cut off.
fn begin_line(mut file: &File, kind: FileKind) -> io::Result<()> {
    let length = file.metadata()?.len();
    let last = match last_line(file, length) {
        Ok(last) if last.is_empty() => return Ok(()),
        Ok(last) => last,
        // A file that may be appended to and not read. An empty line does less harm than two lines
        // in one.
        Err(_) if length > 0 => return file.write_all(b"\n"),
        Err(_) => return Ok(()),
    };
    let is_half = last.starts_with(b"{") || last.starts_with(b"[");
    if kind == FileKind::Appended
        && is_half
        && LineFormat::default().read(&String::from_utf8_lossy(&last)).is_none()
        && file.set_len(length - last.len() as u64).is_ok()
    {
        tracing::warn!("the access log ended with {} bytes of half a line, which are cut off", last.len());
        return Ok(());
    }
    file.write_all(b"\n")
}

/// What follows the last line feed of a file of this length, nothing if it is one; at most
/// [`MAX_LINE_BYTES`] bytes.
fn last_line(file: &File, length: u64) -> io::Result<Vec<u8>> {
    // The log itself is open for writing alone; its name may by now be another file's.
    let readable = File::open(format!("/dev/fd/{}", file.as_raw_fd()))?;
    let from = length.saturating_sub(MAX_LINE_BYTES);
    let mut end = vec![0; usize::try_from(length - from).unwrap_or_default()];
    readable.read_exact_at(&mut end, from)?;
    let line = memchr::memrchr(b'\n', &end).map_or(0, |feed| feed + 1);
    Ok(end.split_off(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a file holds after a line was appended to `before` by a process that has just begun.
    fn appended(before: &[u8]) -> Vec<u8> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("access.log");
        std::fs::write(&path, before).unwrap();
        let mut output = Output::open(&Target::File(path.clone())).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), before, "nothing is changed before there is a line");
        output.write(b"{\"new\":1}\n", 1);
        output.write(b"{\"new\":2}\n", 1);
        std::fs::read(&path).unwrap()
    }

    #[test]
    fn the_first_line_begins_a_line_whatever_a_log_ends_with() {
        let whole = "{\"response_code\":200}\n";
        let text = "[2026-11-29T08:00:00.000Z] \"GET / HTTP/1.1\" 200 - via_upstream - \"-\" 0 3 1 - \"-\" \"-\" \"-\" \
                    \"a\" \"-\" - - 127.0.0.1:1 127.0.0.1:2 - default";
        let cases = [
            (String::new(), String::new()),
            (whole.to_owned(), whole.to_owned()),
            // A line that was cut in two is removed; a whole one, and a line of another program,
            // get their line feed.
            (format!("{whole}{{\"response_co"), whole.to_owned()),
            ("{\"authority\":null,\"bytes_received\":0".to_owned(), String::new()),
            (whole.trim_end().to_owned(), whole.to_owned()),
            (format!("{whole}{}", &text[..60]), whole.to_owned()),
            (text.to_owned(), format!("{text}\n")),
            ("notes".to_owned(), "notes\n".to_owned()),
            (format!("{{{}", "a".repeat(70_000)), String::new()),
        ];
        for (before, kept) in cases {
            let after = String::from_utf8(appended(before.as_bytes())).unwrap();
            assert_eq!(after, format!("{kept}{{\"new\":1}}\n{{\"new\":2}}\n"), "{before:.80}");
        }
        assert!(appended(b"{\xff\xc3").starts_with(b"{\"new\":1}\n"));
    }

    #[test]
    fn a_log_that_is_opened_again_is_mended_too() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("access.log");
        let target = Target::File(path.clone());
        let mut output = Output::open(&target).unwrap();
        output.write(b"{\"new\":1}\n", 1);
        std::fs::write(&path, "notes\n{\"half").unwrap();
        output.reopen(&target);
        output.write(b"{\"new\":2}\n", 1);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "notes\n{\"new\":2}\n");
    }

    #[test]
    fn processes_that_share_a_log_leave_whole_lines() {
        const LINES: usize = 200;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("access.log");
        std::fs::write(&path, "{\"half").unwrap();
        let target = Target::File(path.clone());
        std::thread::scope(|scope| {
            for writer in ["{\"response_code\":1}\n", "{\"response_code\":2}\n"] {
                let target = &target;
                scope.spawn(move || {
                    for _ in 0..LINES {
                        // Each of them begins anew, so that each looks at what the other has left.
                        Output::open(target).unwrap().write(writer.repeat(500).as_bytes(), 500);
                    }
                });
            }
        });
        let log = std::fs::read_to_string(&path).unwrap();
        assert!(log.lines().all(|line| line == "{\"response_code\":1}" || line == "{\"response_code\":2}"));
        assert_eq!(log.lines().count(), 2 * LINES * 500);
    }
}
