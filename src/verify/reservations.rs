//! What a run has to say beside its verdicts: what the documents of its sessions say and no session
//! of it meets. Sessions that went as expected are then not judged to be right.

use super::judge::Reservation;
use super::pair::PairConfig;
use super::plan::Targets;
use crate::mesh::lint::{Finding, rules};
use crate::mesh::{Documents, Sessions};

/// Those of the findings that no session between the pair meets, each once.
///
/// In a cluster sessions meet all that is there.
pub(super) fn of(
    findings: &[Finding],
    documents: &Documents,
    pair: &PairConfig,
    targets: &Targets,
) -> Vec<Reservation> {
    if targets.are_whole_meshes() {
        return Vec::new();
    }
    let sessions = Sessions { client: &pair.client, service: &pair.service, server: &pair.server };
    let not_played = findings.iter().filter(|finding| rules::NOT_PLAYED.contains(&finding.rule));
    let places = documents.by_place();
    let about_these = not_played.filter(|finding| places.concerns(&finding.place, &sessions));
    let reservation = |finding: &Finding| Reservation {
        place: Some(finding.place.clone()),
        message: finding.message.clone(),
        code: finding.rule.code,
        fix: finding.rule.fix.into(),
    };
    about_these.map(reservation).collect()
}
