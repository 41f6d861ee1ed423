//! The report for people: a block a scenario with the fields that decided it, or why it failed and
//! what differs because of that; a line at the end; a progress bar beside it where there is a terminal to
//! show one.

use std::fmt::{self, Write as _};
use std::io::{self, Write};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::Reporter;
use super::failures::{Failure, failures};
use crate::escape::{escape, escape_line};
use crate::verify::event::{Summary, VerifyEvent};
use crate::verify::expect::Side;
use crate::verify::judge::{CaseVerdict, Evidence, Outcome, Reservation, Verdict};

/// Keys whose values say what they are, and so are shown without the key.
const SELF_EXPLANATORY: [&str; 5] =
    ["protocol", "method", "response_code", "response_flags", "response_code_details"];

/// SGR parameters (ECMA-48, section 8.3.117).
const GREEN: &str = "32";
const RED: &str = "31";
const YELLOW: &str = "33";
const BOLD: &str = "1";

/// The report for people.
#[derive(Debug)]
pub struct Human<W> {
    out: W,
    colour: bool,
    everything: bool,
    progress: ProgressBar,
    /// Of all scenarios so far, each once.
    reservations: Vec<Reservation>,
    /// What to change that was said already: scenarios most often fail for the same reason.
    changes: Vec<String>,
}

impl<W: Write> Human<W> {
    /// Writes to `out`, with escape sequences for colour or without. With `progress`, a bar is
    /// drawn on standard error. With `everything` also what follows from a cause is shown, and the
    /// access-log lines.
    pub fn new(out: W, colour: bool, progress: bool, everything: bool) -> Self {
        let target = if progress { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let progress = ProgressBar::with_draw_target(None, target);
        // Only a wrong template is an error; then indicatif's own style stays.
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len}") {
            progress.set_style(style);
        }
        Self { out, colour, everything, progress, reservations: Vec::new(), changes: Vec::new() }
    }

    fn painted(&self, sgr: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{sgr}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn verdict(&mut self, verdict: &Verdict) -> Result<String, fmt::Error> {
        let mut text = String::new();
        // The usual two as wide, so that the names stand in one column.
        let status = match verdict.outcome() {
            Outcome::Ok => self.painted(GREEN, "ok  "),
            Outcome::NotJudged => self.painted(YELLOW, "not judged"),
            Outcome::Failed => self.painted(RED, "FAIL"),
        };
        let name = self.painted(BOLD, &escape(&verdict.scenario));
        let headline = verdict.cases.iter().find_map(|case| failures(case).first().map(Failure::headline));
        match &headline {
            Some(headline) => writeln!(text, "{status}  {name}: {}", escape(headline))?,
            None => writeln!(text, "{status}  {name}")?,
        }
        if !verdict.reservations.is_empty() {
            let names: Vec<_> = verdict.reservations.iter().map(Reservation::name).collect();
            writeln!(text, "      not judged: {}", escape(&names.join(", ")))?;
        }
        let mut told: Vec<String> = headline.into_iter().collect();
        for case in &verdict.cases {
            if let Some(label) = &case.label {
                writeln!(text, "      {}", escape_line(label))?;
            }
            // What differs says the same of a case that failed.
            if self.everything || case.holds() {
                evidence(&mut text, case)?;
            }
            for failure in failures(case) {
                self.failed(&mut text, &failure, &mut told)?;
            }
        }
        Ok(text)
    }

    /// A failure; its reason, if that is not `told` above it.
    fn failed(&mut self, text: &mut String, failure: &Failure<'_>, told: &mut Vec<String>) -> fmt::Result {
        let headline = failure.headline();
        if !told.contains(&headline) {
            writeln!(text, "      {}", escape_line(&format!("also: {headline}")))?;
            told.push(headline);
        }
        if let Some(change) = failure.change().filter(|change| !self.changes.contains(change)) {
            writeln!(text, "      {}", escape_line(&change))?;
            self.changes.push(change);
        }
        for line in failure.details(self.everything) {
            writeln!(text, "        {}", escape_line(&line))?;
        }
        Ok(())
    }

    fn summary(&self, summary: &Summary) -> String {
        let scenarios = summary.held + summary.failed + summary.not_judged;
        let noun = if scenarios == 1 { "scenario" } else { "scenarios" };
        let colour = match summary.outcome() {
            Outcome::Ok => GREEN,
            Outcome::NotJudged => YELLOW,
            Outcome::Failed => RED,
        };
        let outcome = self.painted(colour, &summary.in_words());
        let mut text = format!("\n{scenarios} {noun}: {outcome} in {:.2} s\n", summary.elapsed.as_secs_f64());
        if !self.reservations.is_empty() {
            text.push_str("\nNot judged:\n");
        }
        for reservation in &self.reservations {
            let lines = [format!("  {reservation}"), format!("    {}", reservation.fix)];
            text.extend(lines.iter().map(|line| format!("{}\n", escape(line))));
        }
        text
    }
}

impl<W: Write> Reporter for Human<W> {
    fn hear(&mut self, event: &VerifyEvent) -> io::Result<()> {
        let text = match event {
            VerifyEvent::Started { cases } => {
                self.progress.set_length(u64::try_from(*cases).unwrap_or(u64::MAX));
                self.progress.tick();
                return Ok(());
            }
            VerifyEvent::CaseFinished => {
                self.progress.inc(1);
                return Ok(());
            }
            VerifyEvent::Judged(verdict) => {
                let new = verdict.reservations.iter().filter(|it| !self.reservations.contains(it));
                let new: Vec<_> = new.cloned().collect();
                self.reservations.extend(new);
                self.verdict(verdict).map_err(io::Error::other)?
            }
            VerifyEvent::Finished(summary) => {
                self.progress.finish_and_clear();
                self.summary(summary)
            }
        };
        let out = &mut self.out;
        self.progress.suspend(|| out.write_all(text.as_bytes()).and_then(|()| out.flush()))
    }
}

/// The fields that decided, a line a side.
fn evidence(text: &mut String, case: &CaseVerdict) -> fmt::Result {
    for side in Side::BOTH {
        let decided_by: Vec<_> = case.decided_by.iter().filter(|it| it.field.side == side).collect();
        if decided_by.is_empty() {
            continue;
        }
        let has_lines = decided_by.iter().any(|evidence| evidence.lines > 0);
        let said: Vec<String> = decided_by.into_iter().map(said).collect();
        let said = if has_lines { said.join("  ") } else { "no line".to_owned() };
        writeln!(text, "        {side}  {}", escape(&said))?;
    }
    Ok(())
}

/// A field that decided, in words.
fn said(Evidence { field, values, lines }: &Evidence) -> String {
    let value = match values.first() {
        Some(value) if values.len() == 1 => value,
        _ => return format!("{} {} different in {lines} lines", field.key, values.len()),
    };
    let speaks_for_itself =
        SELF_EXPLANATORY.contains(&field.key.as_str()) && !["null", "absent"].contains(&value.as_str());
    if speaks_for_itself {
        value.clone()
    } else if *lines == 1 {
        format!("{} {value}", field.key)
    } else {
        format!("{} {value} in all {lines} lines", field.key)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::access_log::explain::{Explanation, Health, Origin, Proxy};
    use crate::verify::judge::{CaseVerdict, Check, Subject};

    fn check(subject: Subject, field: &str, expected: &str, actual: &str, line: Option<&str>) -> Check {
        Check {
            subject,
            field: field.to_owned(),
            expected: expected.to_owned(),
            actual: actual.to_owned(),
            holds: expected == actual,
            request_id: None,
            line: line.map(str::to_owned),
            explanation: None,
            at: None,
        }
    }

    fn evidence(field: &str, values: &[&str], lines: usize) -> Evidence {
        Evidence {
            field: field.parse().expect("a field"),
            values: values.iter().map(|&value| value.to_owned()).collect(),
            lines,
        }
    }

    /// A check of a session that did not begin.
    fn refused(subject: Subject, field: &str, expected: &str, actual: &str, line: &str) -> Check {
        let explanation = Explanation {
            sidecar: Proxy::Server,
            asked: "GET /".to_owned(),
            ended: "nobody let it in".into(),
            origin: Origin::Here,
            health: Health::Failed,
            change: Some("open the door".into()),
        };
        let request_id = Some("id".to_owned());
        let explanation = Some(explanation);
        Check { request_id, explanation, ..check(subject, field, expected, actual, Some(line)) }
    }

    fn reported(colour: bool, cases: Vec<CaseVerdict>) -> String {
        told(colour, false, cases)
    }

    fn told(colour: bool, everything: bool, cases: Vec<CaseVerdict>) -> String {
        let mut out = Vec::new();
        let mut human = Human::new(&mut out, colour, false, everything);
        let verdict = Verdict {
            scenario: "http2".to_owned(),
            file: None,
            elapsed: Duration::ZERO,
            cases,
            reservations: Vec::new(),
        };
        let mut summary = Summary { elapsed: Duration::from_millis(1234), ..Summary::default() };
        summary.count(&verdict);
        for event in [
            VerifyEvent::Started { cases: 1 },
            VerifyEvent::CaseFinished,
            VerifyEvent::Judged(verdict),
            VerifyEvent::Finished(summary),
        ] {
            human.hear(&event).expect("memory takes everything");
        }
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn a_verdict_that_holds_shows_the_fields_that_decided_it() {
        let case = CaseVerdict {
            label: Some("UPGRADE".to_owned()),
            elapsed: Duration::ZERO,
            checks: vec![check(Subject::Session, "steps", "done", "done", None)],
            decided_by: vec![
                evidence("client.protocol", &["HTTP/1.1"], 20),
                evidence("client.upstream_local_address", &["127.0.0.1:1"], 20),
                evidence("server.protocol", &["HTTP/2"], 20),
                evidence("server.upstream_local_address", &["127.0.0.6:1", "127.0.0.6:2"], 20),
            ],
        };
        let expected = "\
ok    http2
      UPGRADE
        client  HTTP/1.1  upstream_local_address 127.0.0.1:1 in all 20 lines
        server  HTTP/2  upstream_local_address 2 different in 20 lines

1 scenario: 1 ok in 1.23 s
";
        assert_eq!(reported(false, vec![case]), expected);
    }

    #[test]
    fn a_side_without_a_line_says_so_and_nothing_of_fields() {
        let decided_by = vec![evidence("server.protocol", &[], 0), evidence("server.method", &[], 0)];
        let case = CaseVerdict { label: None, elapsed: Duration::ZERO, checks: Vec::new(), decided_by };
        assert!(reported(false, vec![case]).contains("\n        server  no line\n"));
    }

    #[test]
    fn the_cause_is_the_first_line_and_once_and_what_follows_from_it_a_number() {
        let [client, server] = [Side::Client, Side::Server].map(Subject::Log);
        let case = |label: &str| CaseVerdict {
            label: Some(label.to_owned()),
            elapsed: Duration::ZERO,
            checks: vec![
                check(Subject::Session, "connect", "101", "503", None),
                refused(client, "response_code", "101", "503", "{1}"),
                refused(client, "bytes_sent", "18", "95", "{1}"),
                refused(server, "method", "GET", "null", "{2}"),
                refused(server, "response_flags", "UC", "DPE", "{2}"),
                refused(client, "response_code", "101", "503", "{3}"),
            ],
            decided_by: vec![evidence("client.protocol", &["HTTP/1.1"], 2)],
        };
        let expected = "\
FAIL  http2: nobody let it in
      one
      what to do: open the door
        session: connect: expected 101, was 503
        client: response_code: expected 101, was 503
        server: response_flags: expected UC, was DPE
        and 2 that follow from it, in 2 sessions, the first with request id id (-v shows all, and the access-log lines)
      two
        session: connect: expected 101, was 503
        client: response_code: expected 101, was 503
        server: response_flags: expected UC, was DPE
        and 2 that follow from it, in 2 sessions, the first with request id id (-v shows all, and the access-log lines)

1 scenario: 0 ok, 1 failed in 1.23 s
";
        assert_eq!(reported(false, vec![case("one"), case("two")]), expected);
        let expected = "\
FAIL  http2: nobody let it in
      one
        client  protocol HTTP/1.1 in all 2 lines
      what to do: open the door
        session: connect: expected 101, was 503
        client: response_code: expected 101, was 503
        server: response_flags: expected UC, was DPE
        client: bytes_sent: expected 18, was 95
        server: method: expected GET, was null
        {1}
        {2}
        {3}
        in 2 sessions

1 scenario: 0 ok, 1 failed in 1.23 s
";
        let expected = expected.replace("protocol HTTP/1.1 in all 2 lines", "HTTP/1.1");
        assert_eq!(told(false, true, vec![case("one")]), expected);
    }

    #[test]
    fn a_session_that_fails_as_it_should_is_no_reason_for_what_else_differs() {
        let client = Subject::Log(Side::Client);
        let case = CaseVerdict {
            label: None,
            elapsed: Duration::ZERO,
            checks: vec![refused(client, "bytes_sent", "18", "95", "{1}")],
            decided_by: Vec::new(),
        };
        let text = reported(false, vec![case]);
        assert!(text.starts_with("FAIL  http2: client: bytes_sent: expected 18, was 95\n"), "{text}");
        assert!(!text.contains("nobody let it in"), "{text}");
    }

    #[test]
    fn without_a_cause_the_first_line_is_what_differs_first() {
        let server = Subject::Log(Side::Server);
        let case = CaseVerdict {
            label: None,
            elapsed: Duration::ZERO,
            checks: vec![
                check(Subject::Session, "connect", "101", "503", None),
                check(server, "protocol", "HTTP/2", "HTTP/1.1", Some("{1}")),
                check(server, "method", "GET", "GET", Some("{1}")),
                check(server, "response_flags", "UC", "DC", Some("{1}")),
                check(server, "protocol", "HTTP/2", "HTTP/1.1", Some("{2}")),
                check(server, "response_flags", "UC", "DC", Some("{2}")),
            ],
            decided_by: Vec::new(),
        };
        let expected = "\
FAIL  http2: session: connect: expected 101, was 503
      also: server: protocol: expected HTTP/2, was HTTP/1.1
        server: response_flags: expected UC, was DC
        in 2 sessions (-v shows all, and the access-log lines)

1 scenario: 0 ok, 1 failed in 1.23 s
";
        assert_eq!(reported(false, vec![case]), expected);
    }

    #[test]
    fn escape_sequences_are_written_only_where_colour_is_wanted() {
        let case = || CaseVerdict {
            label: None,
            elapsed: Duration::ZERO,
            checks: Vec::new(),
            decided_by: Vec::new(),
        };
        assert!(reported(true, vec![case()]).contains("\x1b[32mok"));
        assert!(!reported(false, vec![case()]).contains('\x1b'));
    }
}
