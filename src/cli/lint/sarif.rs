//! `--output sarif`: SARIF 2.1.0 (OASIS), which code scanning reads: all rules, and a result for each
//! finding, also for those that are allowed.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::sync::Arc;

use serde_json::{Value, json};

use crate::escape::to_json_pretty;
use crate::mesh::lint::{Allowance, Finding};
use crate::mesh::{CONFIGURATION_FILE, Rule, Severity, rules};
use crate::yaml::{Place, Text};

/// Of SARIF, and where its own schema is.
const VERSION: &str = "2.1.0";
const SCHEMA: &str =
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";

/// Where this program's sources are published; empty where the package does not say it.
const REPOSITORY: &str = env!("CARGO_PKG_REPOSITORY");

/// Of how long a part of a text its end is looked for: what findings are about is a word or a line.
const MAX_SPAN: usize = 4096;

pub(super) fn write(out: &mut impl Write, texts: &[Arc<Text>], findings: &[Finding]) -> io::Result<()> {
    let texts: HashMap<&str, &str> = texts.iter().map(|text| (&*text.name, &*text.text)).collect();
    let mut driver = json!({
        "name": env!("CARGO_PKG_NAME"),
        "version": env!("CARGO_PKG_VERSION"),
        "semanticVersion": env!("CARGO_PKG_VERSION"),
        "rules": rules::ALL.iter().map(|rule| descriptor(rule, REPOSITORY)).collect::<Vec<_>>(),
    });
    if !REPOSITORY.is_empty() {
        driver["informationUri"] = REPOSITORY.into();
    }
    let results: Vec<Value> = findings.iter().map(|finding| result(finding, &texts)).collect();
    let log = json!({
        "$schema": SCHEMA,
        "version": VERSION,
        "runs": [{
            "tool": {"driver": driver},
            "invocations": [{"executionSuccessful": true}],
            // As places count.
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    });
    writeln!(out, "{}", to_json_pretty(&log)?)
}

/// A rule, with its section of the page on findings.
fn descriptor(rule: &Rule, repository: &str) -> Value {
    let Rule { code, severity, why, fix } = rule;
    let mut descriptor = json!({
        "id": code,
        "shortDescription": {"text": code.replace('-', " ")},
        "fullDescription": {"text": why},
        "help": {
            "text": format!("{why}\n{fix}\n"),
            "markdown": format!("{why}\n\n**Fix**: {fix}\n"),
        },
        "defaultConfiguration": {"level": level(*severity)},
    });
    if !repository.is_empty() {
        descriptor["helpUri"] = format!("{repository}/blob/main/docs/lint.md#{code}").into();
    }
    descriptor
}

fn result(finding: &Finding, texts: &HashMap<&str, &str>) -> Value {
    let Finding { rule, place, message, yaml, .. } = finding;
    let mut result = json!({
        "ruleId": rule.code,
        "ruleIndex": rules::ALL.iter().position(|known| known.code == rule.code),
        "level": level(finding.severity().unwrap_or(rule.severity)),
        "message": {"text": message},
        "locations": [location(place, texts)],
        "suppressions": finding.allowance().map(|by| suppression(by, texts)).into_iter().collect::<Vec<_>>(),
    });
    if !yaml.is_empty() {
        // What would replace what is not known: YAML to write is no fix in SARIF's sense.
        result["properties"] = json!({"yaml": yaml});
    }
    result
}

fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Note => "note",
    }
}

fn suppression(allowance: &Allowance, texts: &HashMap<&str, &str>) -> Value {
    let external = |by: &str| json!({"kind": "external", "status": "accepted", "justification": by});
    match allowance {
        Allowance::CommandLine => external("--allow"),
        Allowance::File => external(CONFIGURATION_FILE),
        Allowance::Document(place) => {
            json!({"kind": "inSource", "status": "accepted", "location": location(place, texts)})
        }
    }
}

fn location(place: &Place, texts: &HashMap<&str, &str>) -> Value {
    let mut region = json!({"startLine": place.line, "startColumn": place.column});
    let text = texts.get(&*place.file).copied().unwrap_or_default();
    let meant = text.get(place.span.clone()).filter(|meant| !meant.is_empty() && meant.len() <= MAX_SPAN);
    if let Some(meant) = meant {
        let breaks = meant.matches('\n').count();
        let last = meant.rsplit('\n').next().unwrap_or_default().chars().count() as u64;
        region["endLine"] = (place.line + breaks as u64).into();
        region["endColumn"] = (if breaks == 0 { place.column } else { 1 } + last).into();
    }
    json!({"physicalLocation": {"artifactLocation": {"uri": uri(&place.file)}, "region": region}})
}

/// A path as a URI (RFC 3986): of an absolute one with its scheme, else relative to the working
/// folder, which in code scanning is the repository's.
fn uri(path: &str) -> String {
    let path = path.strip_prefix("./").unwrap_or(path);
    let mut uri = if path.starts_with('/') { "file://".to_owned() } else { String::new() };
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            uri.push(byte.into());
        } else {
            // Writing to a text does not fail.
            let _ = write!(uri, "%{byte:02X}");
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_a_uri_whatever_is_in_it() {
        for (path, expected) in [
            ("a/b.yaml", "a/b.yaml"),
            ("./a.yaml", "a.yaml"),
            ("/tmp/a b.yaml", "file:///tmp/a%20b.yaml"),
            ("c:d%/é#?.yaml", "c%3Ad%25/%C3%A9%23%3F.yaml"),
            ("Service/a in b", "Service/a%20in%20b"),
            ("-", "-"),
        ] {
            assert_eq!(uri(path), expected);
        }
    }

    #[test]
    fn a_region_ends_behind_what_is_meant_in_characters() {
        let text = "é: x\nb: |\n  cä\n  d\n";
        let texts = HashMap::from([("a", text)]);
        let region = |line, column, span| {
            let place = Place { file: "a".into(), line, column, span };
            location(&place, &texts)["physicalLocation"]["region"].clone()
        };
        let at = |part: &str| text.find(part).expect("there")..text.find(part).expect("there") + part.len();
        let expected = json!({"startLine": 1, "startColumn": 1, "endLine": 1, "endColumn": 2});
        assert_eq!(region(1, 1, at("é")), expected);
        let expected = json!({"startLine": 3, "startColumn": 3, "endLine": 4, "endColumn": 4});
        assert_eq!(region(3, 3, at("cä\n  d")), expected);
        for unknown in [0..0, 3..2000, 1..2] {
            assert_eq!(region(1, 2, unknown), json!({"startLine": 1, "startColumn": 2}));
        }
    }

    #[test]
    fn a_rule_leads_to_its_section_where_it_is_known_where_the_page_is() {
        let rule = rules::ALL[0];
        assert_eq!(descriptor(rule, "")["helpUri"], Value::Null);
        let expected = format!("https://example.org/it/blob/main/docs/lint.md#{}", rule.code);
        assert_eq!(descriptor(rule, "https://example.org/it")["helpUri"], expected);
    }
}
