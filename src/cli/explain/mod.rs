//! `websockets-cli explain`.

mod all_cores;
mod follow;
mod input;
mod lengths;
mod summary;
mod tally;
mod wrap;

use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use terminal_size::{Width, terminal_size_of};

use super::exit;
use crate::access_log::explain::{
    Explanation, Proxy, explain, explain_session, particulars, session_particulars,
};
use crate::access_log::{
    BySide, Joiner, LineFormat, MAX_WAITING, ParsedLine, Side, WaitingLine, is_of_ztunnel,
};
use crate::escape::{escape_line, to_json};
use all_cores::{Parting, summarise};
use follow::Following;
use input::{Came, Inputs, NamedLog, Source, WasRead};
use summary::LogSummary;
use wrap::wrapped;

/// The version of what `--output json` writes.
const VERSION: u32 = 1;

/// Says in words what access-log lines mean: who ended a session and how, whether that is normal,
/// and what to change.
///
/// Lines are those that Istio (since 1.1), Envoy, Envoy Gateway, Contour, Kuma, OSM and Consul
/// write by default, JSON or text, bare or wrapped by docker, CRI, a collector or a query; other
/// output between them is skipped. Where the lines of both sidecars are there, each session is also
/// explained as a whole; at most 100000 lines of each side wait for the other side. A line of more
/// than
/// 1 MiB is skipped. What is given up or skipped is counted and said.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Files, - for standard input, or lines themselves. [default: -]
    #[arg(value_name = "FILE|LINE")]
    inputs: Vec<String>,

    /// A paragraph for each line, with what its flags, details and counts say.
    #[arg(short, long)]
    verbose: bool,

    /// The whole log instead: counts by protocol, code and flag, and the sessions worth a look.
    #[arg(long, conflicts_with = "verbose")]
    summary: bool,

    /// Reads on as logs are written, files by name as tail -F does, rotated ones too, and standard
    /// input to its end; Ctrl-C ends it, with the summary if that is asked for.
    #[arg(short, long)]
    follow: bool,

    /// How the answer is written.
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = ExplainFormat::Text)]
    output: ExplainFormat,

    /// The format of the lines as Envoy has it, such as '%PROTOCOL% %DURATION%'. [default: those
    /// that meshes write by themselves]
    #[arg(long, value_name = "FORMAT", value_parser = LineFormat::compile)]
    log_format: Option<LineFormat>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum ExplainFormat {
    /// For people.
    Text,
    /// One JSON document with a version.
    Json,
}

/// Why nothing could be explained.
#[derive(Debug, thiserror::Error)]
enum ExplainError {
    #[error("read {name}: {source}")]
    Read {
        name: String,
        #[source]
        source: io::Error,
    },
    #[error("standard input (-) is named more than once")]
    StandardInputTwice,
    #[error("{name:?} is neither a file nor an access-log line")]
    Neither { name: String },
    #[error(
        "no access-log line among {lines} lines; they have bytes that are zero, so they are UTF-16, as PowerShell's > writes it: make \
         UTF-8 of them (iconv -f UTF-16 -t UTF-8, or in PowerShell: … | Out-File -Encoding utf8 FILE)"
    )]
    Utf16 { lines: usize },
    #[error(
        "these {lines} lines are ztunnel's, which carries connections and sees no request: a WebSocket is one connection to it, whose \
         bytes, duration and error its line has; the request is in the log of a waypoint, if there is one, or of the application: {line}"
    )]
    OfZtunnel { lines: usize, line: Box<str> },
    #[error("no access-log line among {lines} lines, {too_long} of them longer than 1 MiB and skipped")]
    NoLine { lines: usize, too_long: usize },
    #[error(
        "no line is in a format that is known; of those that look like an access log's there are {lines}, the first of them: {line}; \
         name their format with --log-format, as Envoy has it; a sidecar's log is that of the container istio-proxy, \
         not of the application or of nginx"
    )]
    OtherFormat { lines: usize, line: Box<str> },
    #[error("write the explanation: {0}")]
    Write(#[from] io::Error),
}

/// What was found: a line, or both lines of a session.
enum LineOrSession<'a> {
    Line(&'a ParsedLine),
    Session(&'a ParsedLine, &'a ParsedLine),
}

pub(super) fn run(args: Args) -> ExitCode {
    let out = io::stdout().lock();
    let width = terminal_size_of(&out).map(|(Width(width), _)| width.into());
    // Lines from a pipe may come slowly, so each is explained at once.
    let live = args.follow || args.inputs.is_empty() || args.inputs.iter().any(|input| input == "-");
    let explained =
        if live { explained(args, out, width) } else { explained(args, BufWriter::new(out), width) };
    match explained {
        Ok(()) => ExitCode::from(exit::OK),
        // The reader of a closed pipe has read enough.
        Err(ExplainError::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::from(exit::OK)
        }
        Err(error @ ExplainError::Write(_)) => exit::report(&error, None, exit::FAILED),
        Err(error) => exit::report(&error, None, exit::USAGE),
    }
}

/// Prose is broken to fit the terminal, if there is one; what is a line each stays one.
fn explained(args: Args, mut out: impl Write, width: Option<usize>) -> Result<(), ExplainError> {
    let fitting = |text: String| match width {
        Some(width) => wrapped(&text, width),
        None => text,
    };
    let format = args.log_format.unwrap_or_default();
    let inputs = NamedLog::open_all(&args.inputs, &format)?;
    if args.summary {
        let summary = if args.follow {
            followed(Following::new(inputs), &format)?
        } else {
            whole(inputs, &format, Parting::default())?
        };
        match args.output {
            ExplainFormat::Text => write!(out, "{}", fitting(summary.to_string()))?,
            ExplainFormat::Json => {
                writeln!(out, "{}", to_json(&summary.json(VERSION)).map_err(io::Error::from)?)?;
            }
        }
        return Ok(out.flush()?);
    }
    let each = |tell: &mut dyn FnMut(LineOrSession<'_>) -> io::Result<()>| {
        if args.follow {
            each(Following::new(inputs), &format, tell)
        } else {
            each(Inputs::new(inputs), &format, tell)
        }
    };
    if args.output == ExplainFormat::Json {
        let mut before = format!("{{\"version\":{VERSION},\"explanations\":[\n");
        let too_long = each(&mut |found| {
            write!(out, "{before}{}", to_json(&json(&found))?)?;
            ",\n".clone_into(&mut before);
            // It has no line feed yet, and whoever follows logs is to see it now.
            if args.follow { out.flush() } else { Ok(()) }
        })?;
        writeln!(out, "\n],\"lines_too_long\":{too_long}}}")?;
    } else if args.verbose {
        // An empty line between paragraphs.
        each(&mut |found| writeln!(out, "{}\n", fitting(words(&found, true))))?;
    } else {
        each(&mut |found| writeln!(out, "{}", words(&found, false)))?;
    }
    Ok(out.flush()?)
}

/// The summary of whole logs.
fn whole(inputs: Vec<NamedLog>, format: &LineFormat, parting: Parting) -> Result<LogSummary, ExplainError> {
    let mut summary = LogSummary::default();
    let read = summarise(inputs, format, parting, &mut summary)?;
    finished(summary, &read, format)
}

/// The summary of logs that are written meanwhile.
fn followed(mut logs: Following, format: &LineFormat) -> Result<LogSummary, ExplainError> {
    let mut summary = LogSummary::default();
    while let Some(came) = logs.next(format)? {
        if let Came::Line(line) = came {
            summary.add(&line, format);
        }
    }
    finished(summary, &logs.read(), format)
}

fn finished(
    mut summary: LogSummary,
    read: &WasRead,
    format: &LineFormat,
) -> Result<LogSummary, ExplainError> {
    say_unread(read, summary.counts.lines)?;
    let given_up = summary.given_up();
    summary.finish(format);
    summary.too_long = read.too_long;
    say_skipped(read, given_up, summary.sessions());
    Ok(summary)
}

/// Calls `tell` with each line, and with both lines of a session once the second is there. How many
/// lines were skipped.
fn each(
    mut inputs: impl Source,
    format: &LineFormat,
    tell: &mut dyn FnMut(LineOrSession<'_>) -> io::Result<()>,
) -> Result<usize, ExplainError> {
    let (mut told, mut sessions) = (0_usize, 0_usize);
    let mut joiner = Joiner::default();
    while let Some(came) = inputs.next(format)? {
        let Came::Line(line) = came else {
            sessions += tell_joined(joiner.settle(), format, tell)?;
            continue;
        };
        told += 1;
        tell(LineOrSession::Line(&line))?;
        let Some(side) = side(Proxy::of(&line), &line) else { continue };
        let met = joiner.line(side, &line, ());
        if let Some(other) = met.and_then(|met| format.read(&met.text)) {
            sessions += 1;
            let BySide { client, server } = BySide::with(side, &line, &other);
            tell(LineOrSession::Session(client, server))?;
        }
    }
    let read = inputs.read();
    say_unread(&read, told)?;
    let given_up = joiner.given_up().client + joiner.given_up().server;
    sessions += tell_joined(joiner.finish().by_connection, format, tell)?;
    say_skipped(&read, given_up, sessions);
    Ok(read.too_long)
}

/// Calls `tell` with sessions that were joined by their connection; how many they are.
fn tell_joined(
    joined: Vec<BySide<WaitingLine<()>>>,
    format: &LineFormat,
    tell: &mut dyn FnMut(LineOrSession<'_>) -> io::Result<()>,
) -> io::Result<usize> {
    let mut sessions = 0;
    for BySide { client, server } in joined {
        if let (Some(client), Some(server)) = (format.read(&client.text), format.read(&server.text)) {
            sessions += 1;
            tell(LineOrSession::Session(&client, &server))?;
        }
    }
    Ok(sessions)
}

/// Warns of lines that were not understood; that there is none that was is an error.
fn say_unread(read: &WasRead, told: usize) -> Result<(), ExplainError> {
    if told == 0 {
        return Err(match read.unread.first.clone() {
            _ if read.unread.with_zeros > 0 => ExplainError::Utf16 { lines: read.lines },
            Some(line) if is_of_ztunnel(&line) => ExplainError::OfZtunnel { lines: read.unread.alike, line },
            Some(line) => ExplainError::OtherFormat { lines: read.unread.alike, line },
            None => ExplainError::NoLine { lines: read.lines, too_long: read.too_long },
        });
    }
    if read.unread.with_zeros > 0 {
        tracing::warn!(
            "lines with bytes that are zero, as UTF-16 has them, were not read: {}; make UTF-8 of them",
            read.unread.with_zeros
        );
    }
    if let Some(line) = &read.unread.first {
        tracing::warn!(
            "lines that look like those of an access log and were not understood: {}, the first of them: {line}; \
             --log-format names their format",
            read.unread.alike
        );
    }
    Ok(())
}

/// Warns of lines that nothing, or not all, is said of.
fn say_skipped(read: &WasRead, given_up: usize, sessions: usize) {
    if read.too_long > 0 {
        tracing::warn!("skipped what is longer than 1 MiB: {} lines", read.too_long);
    }
    // Of one side alone no line has another to wait for.
    if given_up > 0 && sessions > 0 {
        tracing::warn!(
            "{given_up} lines found no other side among the {MAX_WAITING} after them and are explained alone: name each side's log by itself"
        );
    }
}

/// Whose line it is, as far as the line shows it. That of a request that could not be decoded does
/// not, but what it is of interest for is the client's line that it joins.
fn side(sidecar: Proxy, line: &ParsedLine) -> Option<Side> {
    match sidecar {
        // A gateway is where the way to the server begins.
        Proxy::Client | Proxy::Gateway => Some(Side::Client),
        Proxy::Server => Some(Side::Server),
        Proxy::Waypoint => None,
        Proxy::Unknown => line.text_of("request_id").is_none().then_some(Side::Server),
    }
}

fn explanation(found: &LineOrSession<'_>) -> Explanation {
    match found {
        LineOrSession::Line(line) => explain(line),
        LineOrSession::Session(client, server) => explain_session(client, server),
    }
}

fn particulars_of(found: &LineOrSession<'_>) -> Vec<String> {
    match found {
        LineOrSession::Line(line) => particulars(line),
        LineOrSession::Session(client, server) => session_particulars(client, server),
    }
}

/// What was found, in one line.
fn words(found: &LineOrSession<'_>, verbose: bool) -> String {
    let explanation = explanation(found);
    let paragraph = || explanation.paragraph(&particulars_of(found));
    let words = match found {
        LineOrSession::Line(_) if verbose => paragraph(),
        LineOrSession::Line(_) => explanation.to_string(),
        LineOrSession::Session(client, _) => {
            let id = client.text_of("request_id").unwrap_or("without a request id");
            if verbose {
                format!("session {id}, both sides: {}", paragraph())
            } else {
                format!("session {id}, both sides, told by the {explanation}")
            }
        }
    };
    escape_line(&words).into_owned()
}

fn json(found: &LineOrSession<'_>) -> serde_json::Value {
    let explanation = explanation(found);
    let (kind, request_id) = match found {
        LineOrSession::Line(line) => ("line", line.text_of("request_id")),
        LineOrSession::Session(client, _) => ("session", client.text_of("request_id")),
    };
    let lines: Vec<&str> = match found {
        LineOrSession::Line(line) => vec![line.text()],
        LineOrSession::Session(client, server) => vec![client.text(), server.text()],
    };
    let mut told = serde_json::json!(explanation);
    told["particulars"] = particulars_of(found).into();
    serde_json::json!({
        "kind": kind,
        "request_id": request_id,
        "explanation": told,
        "text": explanation.to_string(),
        "lines": lines,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes of a source that was made up.
    struct MadeUp(std::vec::IntoIter<Came>);

    impl Source for MadeUp {
        fn next(&mut self, _: &LineFormat) -> Result<Option<Came>, ExplainError> {
            Ok(self.0.next())
        }

        fn read(self) -> WasRead {
            WasRead::default()
        }
    }

    #[test]
    fn a_session_without_a_request_id_is_told_once_its_lines_have_waited() {
        let line = |text: &str| Came::Line(ParsedLine::parse(text).expect("a line"));
        let client = r#"{"upstream_cluster":"outbound|80||a","request_id":"1","response_code":503,"upstream_local_address":"10.0.0.1:5"}"#;
        let server = r#"{"upstream_cluster":"inbound|80||","response_code":0,"response_flags":"DPE","downstream_remote_address":"10.0.0.1:5"}"#;
        let last = r#"{"response_code":200,"request_id":"2"}"#;
        let came = vec![line(client), line(server), Came::TimePassed, Came::TimePassed, line(last)];
        let mut told = Vec::new();
        let skipped = each(MadeUp(came.into_iter()), &LineFormat::default(), &mut |found| {
            told.push(matches!(found, LineOrSession::Session(..)));
            Ok(())
        });
        assert_eq!(skipped.expect("written"), 0);
        assert_eq!(told, [false, false, true, false]);
    }
}
