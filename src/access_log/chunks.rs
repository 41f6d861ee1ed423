//! A log in pieces of whole lines, so that several threads can read it, each a piece. Of a line
//! that is longer than any access-log line only so much is held that it is seen to be. What a line
//! says is not looked at.

use std::io::{self, Read};

use super::MAX_LINE_BYTES;

/// How much is read at once: a few hundred lines, more than it costs to hand them to a thread.
pub const CHUNK_BYTES: usize = 256 * 1024;

/// Whole lines of a log.
#[derive(Debug, Default)]
pub struct Chunk(Vec<u8>);

impl Chunk {
    /// Its lines one after the other, with their line feeds.
    pub fn lines(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = self.0.as_slice();
        std::iter::from_fn(move || {
            let end = memchr::memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
            let (line, after) = rest.split_at(end);
            rest = after;
            (!line.is_empty()).then_some(line)
        })
    }

    /// All of them.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Whether a line is longer than [`MAX_LINE_BYTES`], so that it is skipped.
#[must_use]
pub fn is_too_long(line: &[u8]) -> bool {
    line.strip_suffix(b"\n").unwrap_or(line).len() > MAX_LINE_BYTES
}

/// See the module.
pub struct Chunks {
    input: Box<dyn Read>,
    chunk_bytes: usize,
    /// The beginning of the line that the last chunk left.
    begun: Vec<u8>,
}

impl Chunks {
    /// Those of `input`, of about so many bytes each.
    pub fn new(input: impl Read + 'static, chunk_bytes: usize) -> Self {
        Self { input: Box::new(input), chunk_bytes, begun: Vec::new() }
    }

    /// The next lines; `used` is a chunk whose memory is taken for them. `None` at the end.
    ///
    /// # Errors
    /// What the system says.
    pub fn next(&mut self, Chunk(mut used): Chunk) -> io::Result<Option<Chunk>> {
        used.clear();
        used.append(&mut self.begun);
        let line_start = memchr::memrchr(b'\n', &used).map_or(0, |end| end + 1);
        loop {
            let before = used.len();
            let more = self.input.by_ref().take(self.chunk_bytes as u64).read_to_end(&mut used)?;
            if more == 0 {
                return Ok(Some(Chunk(used)).filter(|Chunk(lines)| !lines.is_empty()));
            }
            if let Some(end) = memchr::memrchr(b'\n', &used[before..]) {
                let end = border(&used[..=before + end]).unwrap_or(before + end + 1);
                self.begun.extend_from_slice(&used[end..]);
                used.truncate(end);
                return Ok(Some(Chunk(used)));
            }
            // The rest of a line that is too long already.
            used.truncate(line_start + MAX_LINE_BYTES + 1);
        }
    }
}

/// How many lines are looked at for one that begins something: an object over several lines, which
/// is read the better if it is not parted, has a line for each field.
const BORDER_LINES: usize = 64;

/// Where the last of some lines begins that goes on with nothing that is before it, by its looks.
fn border(lines: &[u8]) -> Option<usize> {
    let ends = memchr::memrchr_iter(b'\n', &lines[..lines.len() - 1]).map(|at| at + 1);
    ends.take(BORDER_LINES).find(|start| match lines[*start..].trim_ascii_start() {
        [b'{', ..] => true,
        [b'}' | b']', ..] | [] => false,
        _ => !lines[*start].is_ascii_whitespace(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access_log::Lines;

    fn line(bytes: usize) -> String {
        format!("{}\n", "x".repeat(bytes))
    }

    /// That the lines of chunks of about so many bytes are those of the log.
    fn is_read(log: &str, chunk_bytes: usize) {
        let mut lines = Lines::new(io::Cursor::new(log.to_owned()));
        let (mut buffer, mut expected) = (Vec::new(), Vec::new());
        while lines.next(&mut buffer).expect("readable").is_some() {
            expected.push(buffer.clone());
        }
        let mut chunks = Chunks::new(io::Cursor::new(log.to_owned()), chunk_bytes);
        let (mut read, mut too_long, mut used) = (Vec::new(), 0, Chunk::default());
        while let Some(chunk) = chunks.next(used).expect("readable") {
            for line in chunk.lines() {
                if is_too_long(line) { too_long += 1 } else { read.push(line.to_vec()) }
            }
            used = chunk;
        }
        assert!(read == expected, "{chunk_bytes} bytes at once");
        assert_eq!(too_long, lines.too_long(), "{chunk_bytes} bytes at once");
    }

    #[test]
    fn the_lines_of_the_chunks_are_those_of_the_log_whatever_their_size() {
        let log = [3, 0, 9, 1, 20, 0, 4].map(line).concat() + "{\n \"a\": 1\n}\n\n{\n}\r\n";
        for bytes in 1..=log.len() + 2 {
            is_read("", bytes);
            is_read(&log, bytes);
            is_read(&(log.clone() + "y"), bytes);
        }
    }

    #[test]
    fn of_a_line_that_is_too_long_only_so_much_is_held_that_it_is_seen() {
        let lengths = [3, MAX_LINE_BYTES, MAX_LINE_BYTES + 1, 5 * MAX_LINE_BYTES, 20, MAX_LINE_BYTES, 4];
        let log = lengths.map(line).concat();
        for bytes in [4096, CHUNK_BYTES, 3 * MAX_LINE_BYTES] {
            is_read(&log, bytes);
            is_read(&(log.clone() + &"y".repeat(MAX_LINE_BYTES + 1)), bytes);
        }
        let endless = io::repeat(b'x').take(50 * MAX_LINE_BYTES as u64);
        let held = Chunks::new(endless, CHUNK_BYTES).next(Chunk::default()).expect("readable");
        assert_eq!(held.map(|chunk| chunk.bytes().len()), Some(MAX_LINE_BYTES + 1));
    }
}
