//! What of a cluster could not be read: a finding, so that every report has it.

use super::finding::Finding;
use super::rules::NOT_READ;
use crate::yaml::Place;

/// The finding that a part of a cluster, which messages call `name`, could not be read, and the
/// rule of a role that would let it be.
#[must_use]
pub fn of_unread(name: &str, message: String, rule: String) -> Finding {
    NOT_READ.at(Place { file: name.into(), line: 1, column: 1, span: 0..0 }, message, rule)
}
