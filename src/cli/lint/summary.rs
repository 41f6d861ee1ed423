//! How many findings there are, in words.

use std::collections::BTreeMap;

use crate::mesh::Severity;
use crate::mesh::lint::Finding;

/// How many findings of a severity there are that are not allowed.
pub(super) fn count(findings: &[Finding], severity: Severity) -> usize {
    findings.iter().filter(|finding| finding.severity() == Some(severity)).count()
}

/// `1 error, 2 warnings, no notes`, and what is allowed, if anything is.
pub(super) fn summary(findings: &[Finding]) -> String {
    let counted = [Severity::Error, Severity::Warning, Severity::Note].map(|severity| {
        match count(findings, severity) {
            0 => format!("no {severity}s"),
            1 => format!("1 {severity}"),
            many => format!("{many} {severity}s"),
        }
    });
    counted.into_iter().chain(allowed(findings)).collect::<Vec<_>>().join(", ")
}

/// `3 allowed (1 tcp-port, 2 unseen-host)`; nothing if nothing is allowed.
pub(super) fn allowed(findings: &[Finding]) -> Option<String> {
    let mut by_code: BTreeMap<&str, usize> = BTreeMap::new();
    for finding in findings.iter().filter(|finding| finding.allowance().is_some()) {
        *by_code.entry(finding.rule.code).or_default() += 1;
    }
    let all: usize = by_code.values().sum();
    let by_code: Vec<String> = by_code.iter().map(|(code, count)| format!("{count} {code}")).collect();
    (all > 0).then(|| format!("{all} allowed ({})", by_code.join(", ")))
}
