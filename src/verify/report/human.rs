//! The report for people: a block a scenario with the fields that decided it, what failed and the
//! lines that show it, a line at the end; a progress bar beside it where there is a terminal to
//! show one.

use std::fmt::{self, Write as _};
use std::io::{self, Write};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::Reporter;
use super::failed_lines::{FailedLine, failed_lines};
use crate::escape::{escape, escape_line};
use crate::verify::event::{Summary, VerifyEvent};
use crate::verify::expect::Side;
use crate::verify::judge::{Evidence, Outcome, Reservation, Verdict};

/// Keys whose values say what they are, and so are shown without the key.
const SELF_EXPLANATORY: [&str; 5] =
    ["protocol", "method", "response_code", "response_flags", "response_code_details"];

/// SGR parameters (ECMA-48, section 8.3.117).
const GREEN: &str = "32";
const RED: &str = "31";
const YELLOW: &str = "33";
const BOLD: &str = "1";
const FAINT: &str = "2";

/// The report for people.
#[derive(Debug)]
pub struct Human<W> {
    out: W,
    colour: bool,
    progress: ProgressBar,
    /// Of all scenarios so far, each once.
    reservations: Vec<Reservation>,
}

impl<W: Write> Human<W> {
    /// Writes to `out`, with escape sequences for colour or without. With `progress`, a bar is
    /// drawn on standard error.
    pub fn new(out: W, colour: bool, progress: bool) -> Self {
        let target = if progress { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let progress = ProgressBar::with_draw_target(None, target);
        // Only a wrong template is an error; then indicatif's own style stays.
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len}") {
            progress.set_style(style);
        }
        Self { out, colour, progress, reservations: Vec::new() }
    }

    fn painted(&self, sgr: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{sgr}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn verdict(&self, verdict: &Verdict) -> Result<String, fmt::Error> {
        let mut text = String::new();
        // The usual two as wide, so that the names stand in one column.
        let status = match verdict.outcome() {
            Outcome::Ok => self.painted(GREEN, "ok  "),
            Outcome::NotJudged => self.painted(YELLOW, "not judged"),
            Outcome::Failed => self.painted(RED, "FAIL"),
        };
        writeln!(text, "{status}  {}", self.painted(BOLD, &escape(&verdict.scenario)))?;
        if !verdict.reservations.is_empty() {
            let names: Vec<_> = verdict.reservations.iter().map(Reservation::name).collect();
            writeln!(text, "      not judged: {}", escape(&names.join(", ")))?;
        }
        for case in &verdict.cases {
            if let Some(label) = &case.label {
                writeln!(text, "      {}", escape_line(label))?;
            }
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
            for failed in failed_lines(case) {
                self.failed(&mut text, &verdict.scenario, &failed)?;
            }
        }
        Ok(text)
    }

    fn failed(&self, text: &mut String, scenario: &str, failed: &FailedLine<'_>) -> fmt::Result {
        for check in &failed.checks {
            let what = format!("{scenario}: {}: {}:", check.subject, check.field);
            let found = format!("expected {}, was {}", check.expected, check.actual);
            writeln!(text, "      {} {}", self.painted(RED, &escape_line(&what)), escape(&found))?;
        }
        if let Some(line) = failed.line {
            writeln!(text, "        {}", self.painted(FAINT, &escape_line(line)))?;
        }
        for more in failed.explanation.map(str::to_owned).into_iter().chain(failed.more()) {
            writeln!(text, "        {}", escape_line(&more))?;
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
    use crate::verify::judge::{CaseVerdict, Check, Subject};

    fn check(subject: Subject, field: &str, expected: &str, actual: &str, line: Option<&str>) -> Check {
        Check {
            subject,
            field: field.to_owned(),
            expected: expected.to_owned(),
            actual: actual.to_owned(),
            holds: expected == actual,
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

    fn reported(colour: bool, cases: Vec<CaseVerdict>) -> String {
        let mut out = Vec::new();
        let mut human = Human::new(&mut out, colour, false);
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
    fn a_failed_check_names_scenario_side_field_expected_and_actual_and_shows_its_line_once() {
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
FAIL  http2
      http2: session: connect: expected 101, was 503
      http2: server: protocol: expected HTTP/2, was HTTP/1.1
      http2: server: response_flags: expected UC, was DC
        {1}
        and 1 more like this

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
