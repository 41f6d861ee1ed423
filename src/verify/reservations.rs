//! What a run has to say beside its verdicts: what the documents of its sessions say and no session
//! of it meets. Sessions that went as expected are then not judged to be right.

use super::judge::Reservation;
use super::pair::PairConfig;
use super::plan::Targets;
use crate::mesh::lint::{Finding, Judged};
use crate::mesh::{Documents, Rule, Sessions, Warning, rules};
use crate::yaml::Place;

/// Those of the findings that no session between the pair meets, and what the sidecars leave out of
/// the documents and, by its own warnings, of the mesh's configuration; each once.
///
/// In a cluster sessions meet all that is there.
pub(super) fn of(
    findings: &[Finding],
    documents: &Documents,
    mesh_warnings: &[Warning],
    pair: &PairConfig,
    targets: &Targets,
) -> Vec<Reservation> {
    if targets.are_whole_meshes() {
        return Vec::new();
    }
    let not_met = findings.iter().filter(|finding| rules::NOT_MET.contains(&finding.rule));
    let not_met = not_met.map(|finding| reservation(&finding.place, &finding.message, finding.rule));
    let judged = Judged::of(findings);
    let left_out = documents.warnings().iter().filter(|warning| match warning.rule {
        rule if *rule == rules::NOT_PLAYED => !judged.covers(warning),
        // Of several documents of a kind the finding names the first.
        rule => *rule == rules::NOT_JUDGED,
    });
    let left_out = left_out.chain(mesh_warnings);
    let left_out = left_out.map(|warning| reservation(&warning.place, &warning.text, warning.rule));
    let sessions = Sessions { client: &pair.client, service: &pair.service, server: &pair.server };
    let places = documents.by_place();
    let about_these =
        |it: &Reservation| it.place.as_ref().is_none_or(|place| places.concerns(place, &sessions));
    not_met.chain(left_out).filter(about_these).collect()
}

fn reservation(place: &Place, message: &str, rule: &'static Rule) -> Reservation {
    Reservation {
        place: Some(place.clone()),
        message: message.to_owned(),
        code: rule.code,
        fix: rule.fix.into(),
    }
}
