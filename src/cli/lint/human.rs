//! Findings for people: miette's report, with the lines of the document, in colour where that is wanted.

use std::fmt;
use std::io::IsTerminal;
use std::os::fd::AsFd;

use miette::{
    Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, SourceCode, SourceSpan,
};
use terminal_size::{Width, terminal_size_of};

use super::is_coloured;
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
        for finding in findings {
            let text = texts.iter().find(|text| *text.name == *finding.place.file);
            let text = text.map_or("", |text| &text.text);
            let source = NamedSource::new(&finding.place.file, text.to_owned());
            // Writing to a String does not fail.
            let _ = self.handler.render_report(&mut rendered, &Report { finding, source });
            // Not part of the report, which would break long lines, and then it would be YAML no more.
            for line in finding.yaml.lines() {
                rendered.extend([YAML_MARGIN, line, "\n"]);
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
    source: NamedSource<String>,
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.finding.message)
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
        Some(&self.source)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let span = &self.finding.place.span;
        let span = SourceSpan::from((span.start, span.len()));
        Some(Box::new(std::iter::once(LabeledSpan::new_with_span(None, span))))
    }
}
