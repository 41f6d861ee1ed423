//! `--output json`: one document. The form is an interface: `schemas/lint.schema.json`.

use std::io::{self, Write};

use schemars::JsonSchema;
use serde::Serialize;

use super::proxies::JsonProxy;
use super::summary::count;
use crate::escape::to_json_pretty;
use crate::mesh::Severity;
use crate::mesh::config_dump::DumpedProxy;
use crate::mesh::lint::{Allowance, Finding};

/// Raised when a field goes or changes its meaning; a new one does not raise it.
const VERSION: u32 = 1;

/// What `lint` found.
#[derive(Serialize, JsonSchema)]
#[schemars(title = "What lint of websockets-cli found")]
struct FindingsReport<'f> {
    /// Raised when a field goes or changes its meaning; a new one does not raise it.
    #[schemars(extend("const" = VERSION))]
    version: u32,
    /// What was found and is not allowed, by file and place.
    findings: Vec<JsonFinding<'f>>,
    /// What was found and is allowed.
    allowed: Vec<JsonAllowedFinding<'f>>,
    /// How many there are.
    summary: FindingCounts,
    /// What is in force in proxies whose dumps were given.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    proxies: Vec<JsonProxy<'f>>,
}

/// Something that was found.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Finding")]
struct JsonFinding<'f> {
    /// What it is called; docs/lint.md explains each.
    code: &'static str,
    /// How bad it is.
    severity: JsonSeverity,
    /// The file as it was named, - for standard input, or the object in a cluster.
    file: &'f str,
    /// The line, from 1.
    line: u64,
    /// The column in characters, from 1.
    column: u64,
    /// What is meant, in bytes of the file.
    span: ByteSpan,
    /// What stands there and does not work.
    message: &'f str,
    /// What happens because of it.
    why: &'static str,
    /// What to do about it.
    fix: JsonFix<'f>,
}

/// Something that was found and is allowed.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AllowedFinding")]
struct JsonAllowedFinding<'f> {
    /// What was found; its severity is what it would be.
    #[serde(flatten)]
    finding: JsonFinding<'f>,
    /// Who allows it.
    allowed_by: AllowedBy,
    /// Where a document allows it: the line of its comment or annotation.
    allowed_at: Option<u64>,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum AllowedBy {
    /// --allow
    CommandLine,
    /// A comment or an annotation in the same file
    Document,
    /// .websockets-cli.yaml
    File,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "Severity")]
enum JsonSeverity {
    /// Sessions will fail, the cluster refuses the document, or the code is denied
    Error,
    /// Something has no effect, or will cut or hinder sessions
    Warning,
    /// Worth knowing
    Note,
}

/// A part of a file.
#[derive(Serialize, JsonSchema)]
struct ByteSpan {
    /// Where it begins, in bytes.
    offset: usize,
    /// How long it is, in bytes; 0 where only a beginning is known.
    length: usize,
}

/// What to do.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Fix")]
struct JsonFix<'f> {
    /// In words.
    words: &'static str,
    /// What to write there; null where nothing takes its place.
    yaml: Option<&'f str>,
}

/// How many findings there are.
#[derive(Serialize, JsonSchema)]
struct FindingCounts {
    /// Errors that are not allowed.
    errors: usize,
    /// Warnings that are not allowed.
    warnings: usize,
    /// Notes that are not allowed.
    notes: usize,
    /// What is allowed, however bad.
    allowed: usize,
}

pub(super) fn write(out: &mut impl Write, proxies: &[DumpedProxy], findings: &[Finding]) -> io::Result<()> {
    let shown = findings.iter().filter_map(|finding| Some(entry(finding, finding.severity()?)));
    let allowed: Vec<_> = findings.iter().filter_map(allowed).collect();
    let report = FindingsReport {
        version: VERSION,
        findings: shown.collect(),
        summary: FindingCounts {
            errors: count(findings, Severity::Error),
            warnings: count(findings, Severity::Warning),
            notes: count(findings, Severity::Note),
            allowed: allowed.len(),
        },
        proxies: proxies.iter().map(JsonProxy::of).collect(),
        allowed,
    };
    writeln!(out, "{}", to_json_pretty(&report)?)
}

fn allowed(finding: &Finding) -> Option<JsonAllowedFinding<'_>> {
    let (allowed_by, allowed_at) = match finding.allowance()? {
        Allowance::CommandLine => (AllowedBy::CommandLine, None),
        Allowance::Document(place) => (AllowedBy::Document, Some(place.line)),
        Allowance::File => (AllowedBy::File, None),
    };
    Some(JsonAllowedFinding { finding: entry(finding, finding.rule.severity), allowed_by, allowed_at })
}

fn entry(finding: &Finding, severity: Severity) -> JsonFinding<'_> {
    let Finding { rule, place, message, yaml, .. } = finding;
    JsonFinding {
        code: rule.code,
        severity: match severity {
            Severity::Error => JsonSeverity::Error,
            Severity::Warning => JsonSeverity::Warning,
            Severity::Note => JsonSeverity::Note,
        },
        file: &place.file,
        line: place.line,
        column: place.column,
        span: ByteSpan { offset: place.span.start, length: place.span.len() },
        message,
        why: rule.why,
        fix: JsonFix { words: rule.fix, yaml: Some(yaml.as_str()).filter(|yaml| !yaml.is_empty()) },
    }
}

#[cfg(test)]
mod tests {
    use super::FindingsReport;

    #[test]
    fn the_published_schema_is_that_of_the_report() {
        let settings = schemars::generate::SchemaSettings::draft2020_12().for_serialize();
        let schema = settings.into_generator().into_root_schema_for::<FindingsReport<'_>>();
        let made = serde_json::to_string_pretty(&schema).expect("JSON");
        let published = include_str!("../../../schemas/lint.schema.json");
        assert_eq!(published.trim_end(), made, "schemas/lint.schema.json");
    }
}
