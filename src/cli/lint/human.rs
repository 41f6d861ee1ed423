//! Findings for people: miette's report, with the lines of the document, in colour where that is wanted.

use std::fmt;
use std::io::IsTerminal;
use std::os::fd::AsFd;

use miette::{
    Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteError, MietteSpanContents,
    SourceCode, SourceSpan, SpanContents,
};
use terminal_size::{Width, terminal_size_of};

use super::is_coloured;
use crate::escape::{Excerpt, escape, escape_line};
use crate::mesh::Text;
use crate::mesh::lint::{Finding, Severity};

/// How wide a report is: narrow enough for a log, and the same everywhere, so that it can be compared. In a terminal that is
/// narrower, as wide as that.
const WIDTH: usize = 100;

/// What stands before the YAML of a fix: a little more than before its words.
const YAML_MARGIN: &str = "            ";

/// How findings are drawn.
#[derive(Debug)]
pub(in crate::cli) struct Human {
    handler: GraphicalReportHandler,
}

impl Human {
    /// As a stream takes it: a terminal gets lines and colours, everything else plain characters.
    pub(in crate::cli) fn for_stream(stream: &(impl IsTerminal + AsFd)) -> Self {
        let theme = match (stream.is_terminal(), is_coloured(stream)) {
            (true, true) => GraphicalTheme::unicode(),
            (true, false) => GraphicalTheme::unicode_nocolor(),
            (false, _) => GraphicalTheme::none(),
        };
        let width = terminal_size_of(stream).map_or(WIDTH, |(Width(width), _)| WIDTH.min(width.into()));
        let handler = GraphicalReportHandler::new_themed(theme);
        Self { handler: handler.with_width(width).with_links(false).with_context_lines(1) }
    }

    /// All findings, an empty line after each.
    pub(in crate::cli) fn render(&self, texts: &[Text], findings: &[Finding]) -> String {
        let mut rendered = String::new();
        // Findings come file by file.
        let mut last: Option<(&str, Excerpt)> = None;
        for finding in findings {
            let file = &*finding.place.file;
            if last.as_ref().is_none_or(|(name, _)| *name != file) {
                let text = texts.iter().find(|text| text.name == file).map_or("", |text| &text.text);
                last = Some((file, Excerpt::of(text)));
            }
            let Some((_, excerpt)) = &last else { continue };
            // Writing to a String does not fail.
            let _ = self.handler.render_report(&mut rendered, &Report { finding, excerpt });
            // Not part of the report, which would break long lines, and then it would be YAML no more.
            for line in finding.yaml.lines() {
                rendered.extend([YAML_MARGIN, &escape_line(line), "\n"]);
            }
            rendered.push('\n');
        }
        rendered
    }
}

/// A finding as miette wants it.
#[derive(Debug)]
struct Report<'f> {
    finding: &'f Finding,
    excerpt: &'f Excerpt,
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&escape(&self.finding.message))
    }
}

impl std::error::Error for Report<'_> {}

impl Diagnostic for Report<'_> {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        let rule = self.finding.rule;
        Some(Box::new(format!("{}[{}]", rule.severity, rule.code)))
    }

    fn severity(&self) -> Option<miette::Severity> {
        Some(match self.finding.rule.severity {
            Severity::Error => miette::Severity::Error,
            Severity::Warning => miette::Severity::Warning,
            Severity::Note => miette::Severity::Advice,
        })
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        let rule = self.finding.rule;
        Some(Box::new(format!("why: {}\nfix: {}", rule.why, rule.fix)))
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(self)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let span = self.excerpt.range(&self.finding.place.span);
        let span = SourceSpan::from((span.start, span.len()));
        Some(Box::new(std::iter::once(LabeledSpan::new_with_span(None, span))))
    }
}

impl SourceCode for Report<'_> {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        lines_before: usize,
        lines_after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let contents = self.excerpt.text.read_span(span, lines_before, lines_after)?;
        let place = &self.finding.place;
        // The column of a span without context is the one that is shown, and miette counts bytes.
        let column = match (lines_before, usize::try_from(place.column)) {
            (0, Ok(column)) => column.saturating_sub(1),
            _ => contents.column(),
        };
        Ok(Box::new(MietteSpanContents::new_named(
            escape(&place.file).into_owned(),
            contents.data(),
            *contents.span(),
            contents.line(),
            column,
            contents.line_count(),
        )))
    }
}
