//! `--output github`: a workflow command a finding, which GitHub Actions shows at its line, and one
//! for all that are allowed.

use std::io::{self, Write};

use super::summary::allowed;
use crate::escape::WorkflowCommand;
use crate::mesh::Severity;
use crate::mesh::lint::Finding;

pub(super) fn write(out: &mut impl Write, findings: &[Finding]) -> io::Result<()> {
    for finding in findings {
        let Finding { rule, place, message, yaml, .. } = finding;
        let Some(severity) = finding.severity() else { continue };
        let name = match severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "notice",
        };
        let command = WorkflowCommand::new(name)
            .property("file", &place.file)
            .property("line", place.line)
            .property("col", place.column)
            .property("title", rule.code)
            .line(message)
            .line(&format!("why: {}", rule.why))
            .line(&format!("fix: {}", rule.fix));
        let command = yaml.lines().fold(command, WorkflowCommand::line);
        writeln!(out, "{command}")?;
    }
    if let Some(allowed) = allowed(findings) {
        let command = WorkflowCommand::new("notice").property("title", "allowed findings").line(&allowed);
        writeln!(out, "{command}")?;
    }
    Ok(())
}
