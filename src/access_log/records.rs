//! The access-log lines of a log as it comes: bare, behind a prefix, or wrapped by what collected
//! it.
//!
//! A container's runtime, a collector or a query puts lines into something of its own: a field of a
//! JSON object (docker's `log`, Google Cloud's `textPayload` and `jsonPayload`, Loki's `values`),
//! elements of an array, an object over several lines, parts of a line (CRI). Whatever it is
//! called, a line is found where it is: the first field of an object that is one, or has one, and
//! every element of an array.
//!
//! What looks like a line of an access log and could not be read is counted, since nothing said of
//! a log holds for what was not read of it. Meaning is not looked at.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::io;
use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

use super::{LineFormat, Lines, MAX_LINE_BYTES, ParsedLine};

/// How deep lines are looked for in what wraps them. Elasticsearch's answer has them five deep.
const MAX_DEPTH: usize = 8;

/// What of a log is no access-log line of the format.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unread {
    /// How many lines, and objects of several lines: those of other programs, and those below.
    pub others: usize,
    /// How many of them look like lines of an access log.
    pub alike: usize,
    /// The first that does.
    pub first: Option<Box<str>>,
    /// How many have bytes that are zero, which no text has but one in UTF-16.
    pub with_zeros: usize,
}

impl Unread {
    /// Adds those of another log.
    pub fn add(&mut self, other: Unread) {
        self.others += other.others;
        self.alike += other.alike;
        self.with_zeros += other.with_zeros;
        if self.first.is_none() {
            self.first = other.first;
        }
    }

    fn note(&mut self, text: &str) {
        self.others += usize::from(!text.trim().is_empty());
        self.with_zeros += usize::from(text.contains('\0'));
        if looks_like_a_line(text) {
            self.alike += 1;
            self.first.get_or_insert_with(|| text.trim().into());
        }
    }
}

/// See the module.
pub struct Records {
    lines: Lines,
    /// The number of the line that was read last.
    number: usize,
    buffer: Vec<u8>,
    finder: Finder,
}

/// Finds access-log lines in the lines of a log, which it is given one after the other.
#[derive(Debug, Default)]
pub struct Finder {
    /// What was found and not yet handed out.
    found: VecDeque<ParsedLine>,
    /// The beginning of a line that CRI cut.
    cut: String,
    /// The beginning of a JSON object that goes on.
    object: Option<OpenObject>,
    unread: Unread,
}

/// A JSON object of which some lines are there.
#[derive(Debug, Clone, Default)]
struct OpenObject {
    text: String,
    depth: usize,
    in_string: bool,
    escaped: bool,
}

impl Records {
    /// Those of `lines`.
    #[must_use]
    pub fn new(lines: Lines) -> Self {
        Self { lines, number: 0, buffer: Vec::new(), finder: Finder::default() }
    }

    /// The next access-log line, with the number of the line, from 1, on which it ends; `None` at
    /// the end.
    ///
    /// # Errors
    /// What the system says.
    pub fn next(&mut self, format: &LineFormat) -> io::Result<Option<(usize, ParsedLine)>> {
        loop {
            if let Some(line) = self.finder.found() {
                return Ok(Some((self.number, line)));
            }
            let Some(number) = self.lines.next(&mut self.buffer)? else {
                self.finder.end();
                return Ok(None);
            };
            self.number = number;
            self.finder.take(&self.buffer, format);
        }
    }

    /// How many lines were skipped because they are longer than [`MAX_LINE_BYTES`].
    #[must_use]
    pub fn too_long(&self) -> usize {
        self.lines.too_long()
    }

    /// How many lines were read so far, of whatever kind.
    #[must_use]
    pub fn lines(&self) -> usize {
        self.number
    }

    /// What looked like a line of an access log and was none of the format.
    #[must_use]
    pub fn unread(&self) -> &Unread {
        &self.finder.unread
    }
}

impl Finder {
    /// The next access-log line that was found.
    pub fn found(&mut self) -> Option<ParsedLine> {
        self.found.pop_front()
    }

    /// Whether something goes on in the next line of the log.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.object.is_some() || !self.cut.is_empty()
    }

    /// At the end of the log: what goes on does not.
    pub fn end(&mut self) {
        if let Some(object) = self.object.take() {
            self.unread.note(&object.text);
        }
    }

    /// The first line that looks like one of an access log and was not understood.
    #[must_use]
    pub fn first_unread(&self) -> Option<&str> {
        self.unread.first.as_deref()
    }

    /// Hands out what was counted so far, and counts from nothing.
    pub fn take_unread(&mut self) -> Unread {
        std::mem::take(&mut self.unread)
    }

    /// Takes the next line of the log.
    pub fn take(&mut self, line: &[u8], format: &LineFormat) {
        // Most lines are UTF-8, which is seen sooner than it is mended.
        let line = str::from_utf8(line).map_or_else(|_| String::from_utf8_lossy(line), Cow::Borrowed);
        let line = line.trim_end_matches(['\n', '\r']);
        if let Some((is_whole, part)) = of_cri(line) {
            self.cut.push_str(part);
            if is_whole {
                let whole = std::mem::take(&mut self.cut);
                self.take_whole(&whole, format);
            } else if self.cut.len() > MAX_LINE_BYTES {
                self.cut.clear();
            }
            return;
        }
        self.take_whole(line, format);
    }

    fn take_whole(&mut self, line: &str, format: &LineFormat) {
        if let Some(mut object) = self.object.take() {
            // A line that is one by itself ends an object that nobody closes.
            if let Some(found) = format.read(line).filter(|_| !line.starts_with([' ', '\t'])) {
                self.unread.note(&object.text);
                self.found.push_back(found);
            } else {
                object.text.push('\n');
                self.go_on(object, line, format);
            }
            return;
        }
        let of_csv = csv_field(line).and_then(|field| format.read(&field));
        if let Some(found) = of_csv.or_else(|| format.read(line)) {
            self.found.push_back(found);
            return;
        }
        let text = line.trim();
        if let Some(quoted) = quoted(text) {
            if !search(&quoted, format, MAX_DEPTH, &mut self.found) {
                self.unread.note(text);
            }
        } else if let Some(elements) = elements_of_array(text) {
            self.go_on(OpenObject::default(), elements, format);
        } else if let Some(start) = text.find('{').filter(|start| is_object_start(&text[*start..])) {
            self.go_on(OpenObject::default(), &text[start..], format);
        } else {
            self.unread.note(text);
        }
    }

    /// Adds text to an object; what is whole is searched, and what goes on waits for the next line.
    fn go_on(&mut self, mut object: OpenObject, text: &str, format: &LineFormat) {
        let mut rest = text;
        while let Some(end) = object.end_in(rest) {
            object.text.push_str(&rest[..end]);
            self.search_text(&object.text, format);
            // Further elements of an array, or another object on the same line.
            rest = rest[end..].trim_start_matches([',', ' ', '\t', ']']);
            if !rest.starts_with('{') {
                return;
            }
            object = OpenObject::default();
        }
        object.text.push_str(rest);
        if object.text.len() > MAX_LINE_BYTES {
            self.unread.note(&object.text);
        } else {
            self.object = Some(object).filter(|object| object.depth > 0);
        }
    }

    /// Looks for lines in a whole JSON object, or Ruby's hash; of one that has none, whether it looks
    /// like a line.
    fn search_text(&mut self, text: &str, format: &LineFormat) {
        let before = self.found.len();
        let of_hash = || serde_json::from_str(&json_of_hash(text)?).ok();
        if let Some(value) = serde_json::from_str::<Value>(text).ok().or_else(of_hash) {
            search(&value, format, MAX_DEPTH, &mut self.found);
        }
        if self.found.len() == before {
            self.unread.note(text);
        }
    }
}

impl OpenObject {
    /// Where, in the text that follows, the object ends.
    fn end_in(&mut self, text: &str) -> Option<usize> {
        for (at, byte) in text.bytes().enumerate() {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' if self.in_string => self.escaped = true,
                b'"' => self.in_string = !self.in_string,
                b'{' if !self.in_string => self.depth += 1,
                b'}' if !self.in_string => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.depth == 0 {
                        return Some(at + 1);
                    }
                }
                _ => {}
            }
        }
        None
    }
}

/// Adds the lines that are in a value, and whether there is one.
fn search(value: &Value, format: &LineFormat, depth: usize, found: &mut VecDeque<ParsedLine>) -> bool {
    let Some(below) = depth.checked_sub(1) else { return false };
    match value {
        Value::Object(fields) => {
            if let Some(line) = format.read(&value.to_string()) {
                found.push_back(line);
                return true;
            }
            // Of what has the text of a line and its fields, too, one is enough.
            fields.values().any(|value| search(value, format, below, found))
        }
        Value::Array(elements) => {
            let before = found.len();
            for element in elements {
                search(element, format, below, found);
            }
            found.len() > before
        }
        Value::String(text) => {
            let before = found.len();
            for text in text.lines() {
                match format.read(text) {
                    Some(line) => found.push_back(line),
                    None if text.trim_start().starts_with('{') => {
                        if let Ok(inner) = serde_json::from_str(text) {
                            search(&inner, format, below, found);
                        }
                    }
                    None => {}
                }
            }
            found.len() > before
        }
        _ => false,
    }
}

/// The JSON object of a hash as Ruby prints it, which is how Fluentd and Fluent Bit show records:
/// `{"log"=>"…", "pid"=>nil}`.
fn json_of_hash(text: &str) -> Option<String> {
    text.contains("=>").then_some(())?;
    let mut json = String::with_capacity(text.len());
    // Each second piece between quotation marks is within a string, unless a mark was escaped.
    let mut in_string = false;
    for piece in text.split_inclusive('"') {
        if in_string {
            json.push_str(piece);
            let backslashes =
                piece.trim_end_matches('"').bytes().rev().take_while(|byte| *byte == b'\\').count();
            in_string = backslashes % 2 == 1;
        } else {
            json.push_str(&piece.replace("=>", ":").replace("nil", "null"));
            in_string = true;
        }
    }
    Some(json)
}

/// The text of a line in the format of the container runtime interface, `TIME stdout F TEXT`, and
/// whether it is the end of it (`F`) or a part (`P`).
fn of_cri(line: &str) -> Option<(bool, &str)> {
    // A date; most lines show at once that they have none.
    if line.as_bytes().get(4) != Some(&b'-') {
        return None;
    }
    let mut parts = line.splitn(4, ' ');
    let (time, stream, tag) = (parts.next()?, parts.next()?, parts.next()?);
    let is_time = time.len() >= 20 && time.contains('T');
    if !is_time || !["stdout", "stderr"].contains(&stream) || !["F", "P"].contains(&tag) {
        return None;
    }
    Some((tag == "F", parts.next().unwrap_or_default()))
}

/// The field of a line of CSV that is a line of a log: `"{""path"":…}"` or `"[2026-…] ""GET …"`.
fn csv_field(line: &str) -> Option<String> {
    // As most lines that are one by themselves.
    if line.starts_with(['{', '[']) {
        return None;
    }
    let field = |begins: &str| {
        let mut places = line.match_indices(begins).map(|(at, _)| at);
        places.find(|at| *at == 0 || line[..*at].ends_with(','))
    };
    let start = field("\"{\"\"").or_else(|| field("\"[2"))?;
    let (mut text, mut rest) = (String::new(), &line[start + 1..]);
    loop {
        let (part, after) = rest.split_once('"')?;
        text.push_str(part);
        let Some(more) = after.strip_prefix('"') else { return Some(text) };
        text.push('"');
        rest = more;
    }
}

/// The text that a line is as a JSON string, as `jq` prints one, or as an element of an array; or
/// the array of such texts that it is.
fn quoted(text: &str) -> Option<Value> {
    if !text.starts_with('"') && !text.starts_with("[\"") {
        return None;
    }
    serde_json::from_str(text.strip_suffix(',').unwrap_or(text)).ok()
}

/// The objects of a JSON array that begins on this line, or nothing of them, and not `[2026-…`,
/// with which a text line begins.
fn elements_of_array(text: &str) -> Option<&str> {
    let rest = text.strip_prefix('[')?.trim_start();
    (rest.is_empty() || rest.starts_with('{')).then_some(rest)
}

/// Whether a JSON object begins here: with a key, its end, or the end of the line.
fn is_object_start(text: &str) -> bool {
    let rest = text[1..].trim_start();
    rest.is_empty() || rest.starts_with(['"', '}'])
}

/// Whether a line is of an ambient mesh's ztunnel, which carries connections and sees no request.
#[must_use]
pub fn is_of_ztunnel(text: &str) -> bool {
    text.contains("src.addr") && text.contains("dst.addr")
}

/// Whether a text has what access logs have: a request's first line, or a key for the status.
fn looks_like_a_line(text: &str) -> bool {
    static REQUEST: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(concat!(
            r#"\b[A-Z]{3,16} \S+ HTTP/[0-9]|"#,
            r#"\\?"+(?:status|status_?[cC]ode|response_?[cC]ode(?:_details)?|response_?[fF]lags|%?RESPONSE_CODE%?)\\?"+\s*:|"#,
            r#"\[\d{4}-\d\d-\d\dT[0-9:.]+Z?\] ""#,
        ))
        .expect("a test uses it")
    });
    REQUEST.is_match(text) || is_of_ztunnel(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"[2026-07-05T10:00:00.000Z] "GET /ws HTTP/1.1" 101 DC downstream_remote_disconnect - "-" 61 105 13342 - "-" "Mozilla/5.0" "e5248829" "chat:8080" "10.80.47.192:8000" inbound|8000|| 127.0.0.6:37132 10.80.47.192:8000 10.80.45.233:59375 - default"#;

    fn read(log: &str) -> (Vec<ParsedLine>, Unread) {
        let mut records = Records::new(Lines::new(io::Cursor::new(log.to_owned())));
        let format = LineFormat::default();
        let mut read = Vec::new();
        while let Some((_, line)) = records.next(&format).expect("readable") {
            read.push(line);
        }
        (read, records.unread().clone())
    }

    /// The paths of the lines of a log of which every line that looks like one is read.
    fn paths(log: &str) -> Vec<String> {
        let (lines, unread) = read(log);
        assert_eq!((unread.alike, unread.first), (0, None), "{log}");
        lines.iter().map(|line| line.text_of("path").unwrap_or("none").to_owned()).collect()
    }

    #[test]
    fn a_line_without_a_value_is_not_understood() {
        for blank in [
            r#"{"path":null,"response_code":null,"response_flags":"-","start_time":"2026-07-05T10:00:00.000Z"}"#,
            r#"[2026-07-05T10:00:00.000Z] "- - -" - - - - "-" - - - - "-" "-" "-" "-" "-" - - - - - -"#,
        ] {
            let (lines, unread) = read(blank);
            assert!(lines.is_empty(), "{lines:?}");
            assert_eq!((unread.alike, unread.first.as_deref()), (1, Some(blank)));
        }
    }

    #[test]
    fn lines_of_utf_16_are_counted_as_what_they_are() {
        let bytes: Vec<u8> = format!("{LINE}\n{LINE}\n").encode_utf16().flat_map(u16::to_le_bytes).collect();
        let mut records = Records::new(Lines::new(io::Cursor::new(bytes)));
        assert!(records.next(&LineFormat::default()).expect("readable").is_none());
        assert!(records.unread().with_zeros >= 2, "{:?}", records.unread());
    }

    #[test]
    fn a_line_is_found_in_whatever_wraps_it() {
        let text = serde_json::to_string(LINE).expect("JSON");
        let json = r#"{"path":"/ws","response_code":101}"#;
        let json_text = serde_json::to_string(json).expect("JSON");
        for wrapped in [
            format!(r#"{{"log":{text},"stream":"stdout","time":"2026-07-21T08:33:12.9Z"}}"#),
            format!(r#"{{"insertId":"a","textPayload":{text},"resource":{{"labels":{{}}}}}}"#),
            format!(r#"{{"insertId":"a","jsonPayload":{json},"logName":"b"}}"#),
            format!(r#"{{"date":1.5,"log":{json_text},"kubernetes":{{"pod_name":"a"}}}}"#),
            format!(r#"{{"file":"/var/log/a","message":{text},"source_type":"kubernetes_logs"}}"#),
            format!(r#"[0] kube.var.log: [1751709600.123456789, {{"log"=>{text}, "stream"=>"stdout"}}]"#),
            format!(
                r#"[0] kube: [[1751709600.1, {{}}], {{"log" => {text}, "pid" => nil, "nil=>" => [{{"a"=>1}}]}}]"#
            ),
            r#"[0] kube: [1751709600.1, {"path"=>"/ws", "response_code"=>101, "upstream_host"=>nil}]"#
                .to_owned(),
            format!(
                r#"{{"status":"success","data":{{"result":[{{"stream":{{}},"values":[["1",{text}]]}}]}}}}"#
            ),
            format!(r#"{{"hits":{{"hits":[{{"_source":{{"message":{json_text}}}}}]}}}}"#),
            format!("2026-07-05T10:00:00.000000000Z stdout F {LINE}"),
            format!("2026-07-05T10:00:00.000000000Z stdout F {json}"),
            format!("[{json}]"),
            format!("[\n  {json}\n]\n"),
            format!("[{{\"textPayload\":{text}}}]"),
            text.clone(),
            json_text.clone(),
            format!("[{text}]"),
            format!("[\n  {json_text},\n  \"starting\"\n]"),
            format!("\"2026-07-05\",\"{}\",\"web\"", LINE.replace('"', "\"\"")),
            format!("2026-07-05,\"{}\"", json.replace('"', "\"\"")),
            format!("2026-07-05T10:00:00+02:00 {{app=\"web\", pod=\"web-1\"}} {LINE}"),
            format!("2026-07-05T10:00:00+02:00 {{app=\"web\", pod=\"web-1\"}} {json}"),
            serde_json::to_string_pretty(&serde_json::json!([{"path": "/ws", "response_code": 101}]))
                .expect("JSON"),
        ] {
            assert_eq!(paths(&wrapped), ["/ws"], "{wrapped}");
        }
    }

    #[test]
    fn lines_of_all_kinds_may_stand_in_one_log() {
        let pretty = "{\n  \"path\": \"/pretty\",\n  \"note\": \"} {\",\n  \"response_code\": 101\n}\n";
        let array = r#"[{"path":"/1","response_code":1},{"path":"/2","response_code":2}]"#;
        let own = "2026-07-05T10:00:00Z\tinfo\tEnvoy proxy is ready\n";
        let cut = "2026-07-05T10:00:00.0Z stdout P {\"path\":\"/c\n2026-07-05T10:00:00.0Z stdout F ut\",\"response_code\":101}\n";
        let log = format!("{own}{LINE}\n{pretty}{own}{array}\n{pretty}{LINE}\n{cut}");
        assert_eq!(paths(&log), ["/ws", "/pretty", "/1", "/2", "/pretty", "/ws", "/cut"]);
    }

    #[test]
    fn what_wraps_a_line_and_has_its_fields_too_is_one_line() {
        let text = serde_json::to_string(LINE).expect("JSON");
        let both = format!(r#"{{"log":{text},"log_processed":{{"path":"/ws","response_code":101}}}}"#);
        assert_eq!(paths(&both), ["/ws"]);
    }

    #[test]
    fn what_looks_like_a_line_and_is_not_understood_is_counted_and_the_first_is_kept() {
        let nginx =
            r#"127.0.0.6 - - [11/Jul/2026:08:54:13 +0000] "GET /api HTTP/1.1" 426 0 "-" "Mozilla/5.0""#;
        let json = r#"{"status":200,"verb":"GET"}"#;
        let (lines, unread) = read(&format!("starting\n{nginx}\n{LINE}\n{json}\n{{\"open\":1,\n"));
        assert_eq!(lines.len(), 1);
        assert_eq!(unread, Unread { others: 4, alike: 2, first: Some(nginx.into()), with_zeros: 0 });
        let hash = r#"[0] kube: [[1690000000.1, {}], {"log"=>"{\"response_code\":101}"}]"#;
        assert_eq!(paths(hash), ["none"], "it is read");
    }

    #[test]
    fn an_object_that_nobody_closes_costs_itself_alone() {
        let (lines, unread) = read(&format!("{{\"response_code\": 101,\n{LINE}\n"));
        assert_eq!((lines.len(), unread.alike), (1, 1));
        let endless =
            format!("{{\"response_code\": 101,\n{}{LINE}\n", "  \"a\": 1,\n".repeat(MAX_LINE_BYTES / 8));
        let (lines, unread) = read(&endless);
        assert_eq!(lines.len(), 1);
        assert!(unread.alike >= 1, "{unread:?}");
    }

    #[test]
    fn the_number_of_a_line_is_that_of_its_end() {
        let log = format!("a\n{{\n\"response_code\": 1\n}}\n{LINE}\n");
        let mut records = Records::new(Lines::new(io::Cursor::new(log)));
        let format = LineFormat::default();
        let numbers =
            std::iter::from_fn(|| records.next(&format).expect("readable")).map(|(number, _)| number);
        assert_eq!(numbers.collect::<Vec<_>>(), [4, 5]);
    }
}
