//! `--output github`: a workflow command a finding, which GitHub Actions shows at its line.

use std::io::{self, Write};

use crate::mesh::lint::{Finding, Severity};

pub(super) fn write(out: &mut impl Write, findings: &[Finding]) -> io::Result<()> {
    for Finding { rule, place, message, yaml } in findings {
        let command = match rule.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "notice",
        };
        let mut text = format!("{message}\nwhy: {}\nfix: {}", rule.why, rule.fix);
        if !yaml.is_empty() {
            text.push('\n');
            text.push_str(yaml);
        }
        let (file, line, column) = (property(&place.file), place.line, place.column);
        let (title, text) = (property(rule.code), data(&text));
        writeln!(out, "::{command} file={file},line={line},col={column},title={title}::{text}")?;
    }
    Ok(())
}

/// Escapes what would end a command.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// Escapes what would end a property.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}
