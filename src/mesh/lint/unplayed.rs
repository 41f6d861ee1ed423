//! What the sidecars of this program leave out when they run: each warning of theirs is a finding
//! here, too.

use std::collections::{BTreeMap, HashSet};

use super::finding::Finding;
use super::rules::NOT_PLAYED;
use super::set::Set;
use crate::mesh::error::Warning;
use crate::yaml::Place;

/// The places of findings. Of what is left out there something is said already.
#[derive(Debug)]
pub struct Judged<'f>(HashSet<(&'f str, u64, u64)>);

impl<'f> Judged<'f> {
    /// Where the findings are, but for those that say no more than that something is left out.
    #[must_use]
    pub fn of(findings: &'f [Finding]) -> Self {
        let others = findings.iter().filter(|finding| *finding.rule != NOT_PLAYED);
        Self(others.map(|finding| key(&finding.place)).collect())
    }

    /// Whether a warning has a finding at its place.
    #[must_use]
    pub fn covers(&self, warning: &Warning) -> bool {
        self.0.contains(&key(&warning.place))
    }
}

fn key(place: &Place) -> (&str, u64, u64) {
    (&place.file, place.line, place.column)
}

/// One note for all places that are left out in the same way: a cluster has many of each. The other
/// rules of warnings look for themselves.
pub(super) fn check(set: &Set, findings: &mut Vec<Finding>) {
    let judged = Judged::of(findings);
    let warnings = set.documents.warnings().iter();
    let left_out = warnings.filter(|warning| *warning.rule == NOT_PLAYED && !judged.covers(warning));
    let mut alike: BTreeMap<String, (usize, &Warning)> = BTreeMap::new();
    for warning in left_out {
        alike.entry(without_positions(&warning.text)).or_insert((0, warning)).0 += 1;
    }
    let found: Vec<Finding> = alike
        .into_values()
        .map(|(count, first)| {
            let more = if count > 1 { format!(" (and {} more like this)", count - 1) } else { String::new() };
            NOT_PLAYED.at(first.place.clone(), format!("{}{more}", first.text), "")
        })
        .collect();
    findings.extend(found);
}

/// The findings of what is left out of the mesh's configuration.
#[must_use]
pub fn of_mesh_config(warnings: &[Warning]) -> Vec<Finding> {
    warnings.iter().map(|warning| warning.rule.at(warning.place.clone(), warning.text.clone(), "")).collect()
}

/// A path without the positions in lists: `spec.http[2].fault` is `spec.http[].fault`.
fn without_positions(text: &str) -> String {
    let mut in_brackets = false;
    text.chars()
        .filter(|&character| {
            in_brackets = match character {
                '[' => true,
                ']' => false,
                _ => in_brackets,
            };
            !(in_brackets && character.is_ascii_digit())
        })
        .collect()
}
