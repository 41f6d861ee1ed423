//! Findings for people: annotate-snippets' report, as rustc draws it, with the lines of the
//! document, in colour where that is wanted. What is drawn of a finding is bounded, whatever the
//! document looks like: a list of ten thousand objects may be one line.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::ops::Range;
use std::os::fd::AsFd;
use std::sync::Arc;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Level, Origin, Renderer, Snippet};
use terminal_size::{Width, terminal_size_of};

use crate::escape::{Excerpt, escape, escape_line};
use crate::mesh::Severity;
use crate::mesh::lint::Finding;
use crate::telemetry::may_colour;
use crate::yaml::Text;

/// How wide a report is: narrow enough for a log, and the same everywhere, so that it can be
/// compared. In a terminal that is narrower, as wide as that.
const WIDTH: usize = 100;

/// Prose is not broken into shorter lines than this, even where a narrow terminal breaks them once
/// more.
const MIN_PROSE_WIDTH: usize = 40;

/// How many bytes of the document are looked at before and behind the beginning of what a finding
/// is about: more than fit beside it.
const REACH: usize = 4 * WIDTH;

/// How many findings with one code are drawn each by itself.
const MAX_ALONE: usize = 3;

/// Of how many more the places are named.
const MAX_LISTED: usize = 4;

/// What stands before the YAML of a fix, beyond what stands before its words.
const YAML_MARGIN: &str = "    ";

/// How findings are drawn.
#[derive(Debug)]
pub(in crate::cli) struct Human {
    renderer: Renderer,
    width: usize,
    /// Whether each finding is drawn, however many there are of its kind.
    all: bool,
}

impl Human {
    /// As a stream takes it: a terminal gets lines and colours, everything else plain characters.
    /// With `all` each finding is drawn; without, of many of a kind the first.
    pub(in crate::cli) fn for_stream(stream: &(impl IsTerminal + AsFd), all: bool) -> Self {
        let renderer = if may_colour(stream) { Renderer::styled() } else { Renderer::plain() };
        let decor = if stream.is_terminal() { DecorStyle::Unicode } else { DecorStyle::Ascii };
        let width = terminal_size_of(stream).map_or(WIDTH, |(Width(width), _)| WIDTH.min(width.into()));
        Self { renderer: renderer.decor_style(decor).term_width(width), width, all }
    }

    /// All findings that are not allowed, an empty line after each.
    pub(in crate::cli) fn render(&self, texts: &[Arc<Text>], findings: &[Finding]) -> String {
        let texts: HashMap<&str, &str> = texts.iter().map(|text| (&*text.name, &*text.text)).collect();
        let text_of = |finding: &Finding| texts.get(&*finding.place.file).copied().unwrap_or_default();
        let mut out = String::new();
        for (severity, alike) in self.groups(findings) {
            let (first, others) = alike.split_first().map_or((None, &[][..]), |(it, all)| (Some(it), all));
            out.extend(first.map(|first| self.report(first, severity, text_of(first)) + "\n"));
            if !others.is_empty() {
                out.push_str(&listed(severity, alike[0].rule.code, others));
            }
            out.push('\n');
        }
        out
    }

    /// The findings that are drawn together, by the first of each group: all of a kind if there are
    /// many, else each alone.
    fn groups<'f>(&self, findings: &'f [Finding]) -> Vec<(Severity, Vec<&'f Finding>)> {
        let mut counts: HashMap<(&str, Severity), usize> = HashMap::new();
        let shown = || findings.iter().filter_map(|finding| Some((finding.severity()?, finding)));
        for (severity, finding) in shown() {
            *counts.entry((finding.rule.code, severity)).or_default() += 1;
        }
        let mut groups: Vec<(Severity, Vec<&Finding>)> = Vec::new();
        let mut positions: HashMap<(&str, Severity), usize> = HashMap::new();
        for (severity, finding) in shown() {
            let kind = (finding.rule.code, severity);
            let many = !self.all && counts[&kind] > MAX_ALONE;
            if let Some(&position) = positions.get(&kind).filter(|_| many) {
                groups[position].1.push(finding);
            } else {
                positions.insert(kind, groups.len());
                groups.push((severity, vec![finding]));
            }
        }
        groups
    }

    fn report(&self, finding: &Finding, severity: Severity, text: &str) -> String {
        let Finding { rule, place, message, yaml, .. } = finding;
        let level = match severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
            Severity::Note => Level::NOTE,
        };
        let window = Window::new(text, &place.span);
        let excerpt = Excerpt::of(&with_joiners_seen(window.text));
        let [line, column] =
            [place.line, place.column].map(|counted| usize::try_from(counted).unwrap_or(usize::MAX));
        let snippet = Snippet::source(&excerpt.text)
            .line_start(line.saturating_sub(window.lines_before))
            .fold(false)
            .annotation(AnnotationKind::Primary.span(excerpt.range(&window.span)));
        let label = format!("{severity}[{}]: ", rule.code);
        let margin = line.to_string().len() + "  = why: ".len();
        let mut fix = self.broken(rule.fix, margin);
        yaml.lines().for_each(|line| fix.extend(["\n", YAML_MARGIN, &escape_line(line)]));
        let message = self.broken(&escape(&with_joiners_seen(message)), label.len());
        let title = level.primary_title(message).id(rule.code);
        let file = escape(&place.file);
        let group = if window.is_cut {
            // The column is not that of what is left of the line.
            title.element(Origin::path(file).line(line).char_column(column)).element(snippet)
        } else {
            title.element(snippet.path(file))
        };
        let group = group
            .element(Level::HELP.with_name("why").message(self.broken(rule.why, margin)))
            .element(Level::HELP.with_name("fix").message(fix));
        self.renderer.render(&[group])
    }

    /// Prose in lines that fit beside a margin, none of which is a workflow command.
    fn broken(&self, prose: &str, margin: usize) -> String {
        let lines = textwrap::wrap(prose, self.width.saturating_sub(margin).max(MIN_PROSE_WIDTH));
        lines.iter().map(|line| escape_line(line)).collect::<Vec<_>>().join("\n")
    }
}

/// The others of many findings of a kind, a line each as far as there are not too many.
fn listed(severity: Severity, code: &str, others: &[&Finding]) -> String {
    let mut lines = vec![format!("{severity}[{code}]: {} more like this:", others.len())];
    let named = others.iter().take(MAX_LISTED);
    lines.extend(named.map(|Finding { place, message, .. }| format!("  {place}: {message}")));
    let rest = others.len().saturating_sub(MAX_LISTED);
    if rest > 0 {
        lines.push(format!("  and {rest} more (lint --all draws each, --output json has all)"));
    } else {
        lines.push("  (lint --all draws each)".to_owned());
    }
    lines.iter().map(|line| escape_line(&with_joiners_seen(line)).into_owned() + "\n").collect()
}

/// A text without zero-width joiners, which annotate-snippets leaves out: what they kept apart
/// could then be a workflow command. What takes their place has as many bytes.
fn with_joiners_seen(text: &str) -> String {
    text.replace('\u{200d}', "\u{fffd}")
}

/// What is drawn of a text.
#[derive(Debug, PartialEq, Eq)]
struct Window<'t> {
    /// The lines that the span touches, the one before and the one behind, cut where they are very
    /// long.
    text: &'t str,
    /// Whether something is missing before the span in its first line.
    is_cut: bool,
    /// How many of its lines stand before the span.
    lines_before: usize,
    /// The span within it, cut likewise.
    span: Range<usize>,
}

impl<'t> Window<'t> {
    /// A span that is not in the text, as of a text that is not there, is the text's end.
    fn new(text: &'t str, span: &Range<usize>) -> Self {
        let start = boundary(text, span.start);
        let end = boundary(text, span.end.clamp(start, start + REACH));
        let reach = boundary(text, start.saturating_sub(REACH));
        let mut breaks_before = text[reach..start].rmatch_indices('\n').map(|(at, _)| reach + at + 1);
        // The second break is before the line before.
        let (from, is_cut) = match (breaks_before.next(), breaks_before.next()) {
            (_, Some(line_before)) => (line_before, false),
            (Some(line), None) if reach > 0 => (line, false),
            (_, None) => (reach, reach > 0),
        };
        let reach = boundary(text, end + REACH);
        let to = text[end..reach].match_indices('\n').nth(1).map_or(reach, |(at, _)| end + at);
        let text = text[from..to].trim_end_matches('\r');
        let span = start - from..(end - from).min(text.len());
        Self { text, is_cut, lines_before: text[..span.start].matches('\n').count(), span }
    }
}

/// `at`, or where the character begins that is there.
fn boundary(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "a: 1\nb: ä\r\nc: 漢字\r\nd: 4\n";

    #[test]
    fn an_window_is_the_lines_of_the_span_and_those_around_them() {
        for (marked, text, lines_before) in [
            ("a", "a: 1\nb: ä", 0),
            ("b", "a: 1\nb: ä\r\nc: 漢字", 1),
            ("漢", "b: ä\r\nc: 漢字\r\nd: 4", 1),
            ("4", "c: 漢字\r\nd: 4\n", 1),
            ("ä\r\nc", "a: 1\nb: ä\r\nc: 漢字\r\nd: 4", 1),
        ] {
            let start = TEXT.find(marked).expect("there");
            let window = Window::new(TEXT, &(start..start + marked.len()));
            assert_eq!((window.text, window.lines_before), (text, lines_before), "{marked}");
            assert_eq!(&window.text[window.span], marked);
            assert!(!window.is_cut, "{marked}");
        }
    }

    #[test]
    fn of_a_long_line_only_what_is_near_the_span_is_looked_at() {
        let line = "漢".repeat(10 * REACH);
        let start = line.len() / 2;
        let window = Window::new(&line, &(start..line.len()));
        assert!(window.is_cut);
        assert!(window.text.len() <= 3 * REACH, "{}", window.text.len());
        assert!(window.span.len() <= REACH, "{}", window.span.len());
        // The line before is left out if it is long, and its line with it counts no more.
        let below = format!("{line}\nb: 1\n{line}");
        let start = line.len() + 1;
        let window = Window::new(&below, &(start..start + 1));
        assert_eq!((window.lines_before, window.is_cut), (0, false));
        assert!(window.text.starts_with("b: 1\n漢"));
    }

    #[test]
    fn a_span_that_the_text_does_not_have_is_drawn_at_its_end() {
        for text in ["", "a", "a\n", "ä", TEXT] {
            for span in [0..0, 1..2, 3..100, 100..200] {
                let window = Window::new(text, &span);
                assert!(window.text.get(window.span).is_some(), "{text:?} {span:?}");
            }
        }
    }
}
