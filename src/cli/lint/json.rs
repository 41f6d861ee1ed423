//! `--output json`: one document, whose form is described in `docs/lint.md`.

use std::io::{self, Write};

use serde::Serialize;

use super::count;
use super::proxies::JsonProxy;
use crate::escape::to_json_pretty;
use crate::mesh::Severity;
use crate::mesh::config_dump::DumpedProxy;
use crate::mesh::lint::Finding;

/// Raised when a field goes or changes its meaning; a new one does not raise it.
const VERSION: u32 = 1;

#[derive(Serialize)]
struct FindingsReport<'f> {
    version: u32,
    findings: Vec<JsonFinding<'f>>,
    summary: FindingCounts,
    /// What is in force in proxies whose dumps were given.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    proxies: Vec<JsonProxy<'f>>,
}

#[derive(Serialize)]
struct JsonFinding<'f> {
    code: &'static str,
    severity: String,
    file: &'f str,
    line: u64,
    column: u64,
    span: ByteSpan,
    message: &'f str,
    why: &'static str,
    fix: JsonFix<'f>,
}

/// In bytes of the file.
#[derive(Serialize)]
struct ByteSpan {
    offset: usize,
    length: usize,
}

#[derive(Serialize)]
struct JsonFix<'f> {
    words: &'static str,
    yaml: Option<&'f str>,
}

#[derive(Serialize)]
struct FindingCounts {
    errors: usize,
    warnings: usize,
    notes: usize,
}

pub(super) fn write(out: &mut impl Write, proxies: &[DumpedProxy], findings: &[Finding]) -> io::Result<()> {
    let report = FindingsReport {
        version: VERSION,
        findings: findings.iter().map(entry).collect(),
        summary: FindingCounts {
            errors: count(findings, Severity::Error),
            warnings: count(findings, Severity::Warning),
            notes: count(findings, Severity::Note),
        },
        proxies: proxies.iter().map(JsonProxy::of).collect(),
    };
    writeln!(out, "{}", to_json_pretty(&report)?)
}

fn entry(finding: &Finding) -> JsonFinding<'_> {
    let Finding { rule, place, message, yaml } = finding;
    JsonFinding {
        code: rule.code,
        severity: rule.severity.to_string(),
        file: &place.file,
        line: place.line,
        column: place.column,
        span: ByteSpan { offset: place.span.start, length: place.span.len() },
        message,
        why: rule.why,
        fix: JsonFix { words: rule.fix, yaml: Some(yaml.as_str()).filter(|yaml| !yaml.is_empty()) },
    }
}
