//! What in a set of documents will go wrong for WebSockets, before a cluster has seen them: texts
//! in, findings out.
//!
//! ```text
//!  texts ──Set──▶ Documents, typed and as they were written ──▶ one file a family of rules ──▶ Findings, by place
//! ```
//!
//! A rule asks the very functions that configure a sidecar (`traffic_policy`, `patches`, `host`)
//! and so cannot disagree with it. What the rules are, why and what to do is one table, [`rules`];
//! `docs/lint.md` is that table for people.

mod allowances;
mod backends;
mod clients;
mod config_dump;
mod destinations;
mod envoy_filter;
mod exports;
mod fields;
mod filters;
mod finding;
mod gateway_api;
mod handshake;
mod hop;
mod hosts;
mod imports;
mod kinds;
mod levels;
mod mutual_tls;
mod network_policies;
mod policies;
mod proxies;
mod refused;
mod routes;
mod schema;
mod service;
mod set;
mod telemetry;
mod timeouts;
mod unplayed;
mod unread;
mod upgrade;

#[cfg(test)]
mod tests;

pub use config_dump::lint_dumps;
pub use finding::{Allowance, Finding, Level};
pub use levels::{CodeLevels, Contradiction, Levels};
pub use unplayed::{Judged, of_mesh_config};
pub use unread::of_unread;

use std::collections::HashMap;
use std::sync::Arc;

use self::set::Set;
use super::error::{MeshError, Warning};
use super::mesh_config::MeshDefaults;
use super::rules;
use crate::yaml::Text;

/// What the documents are judged against.
#[derive(Debug, Clone, Copy)]
pub struct Circumstances<'a> {
    /// What the mesh does where no document says otherwise; without it what the documents say of
    /// the mesh, where people have it.
    pub mesh: Option<&'a MeshDefaults>,
    /// The version that an `EnvoyFilter`'s `proxyVersion` is searched in.
    pub istio_version: &'a str,
}

/// Finds what will go wrong, by file and place. A document that Istio would refuse is a finding,
/// and the others are judged without it. What the documents themselves allow is marked as such.
///
/// # Errors
/// A text is not YAML, what is in it is no document of Kubernetes' form, or there is none.
pub fn lint(texts: &[Arc<Text>], circumstances: &Circumstances<'_>) -> Result<Vec<Finding>, MeshError> {
    let set = Set::read(texts)?;
    let mut findings = Vec::new();
    if circumstances.mesh.is_none() {
        let differ = set.documents.contradicting_mesh();
        findings.extend(differ.map(|Warning { place, text, rule }| rule.at(place, text, "")));
    }
    refused::check(&set, &mut findings);
    kinds::check(&set, &mut findings);
    fields::check(&set, &mut findings);
    service::check(&set, &mut findings);
    hosts::check(&set, &mut findings);
    exports::check(&set, &mut findings);
    routes::check(&set, &mut findings);
    destinations::check(&set, &mut findings);
    upgrade::check(&set, circumstances, &mut findings);
    envoy_filter::check(&set, circumstances, &mut findings);
    timeouts::check(&set, &mut findings);
    filters::check(&set, circumstances, &mut findings);
    policies::check(&set, &mut findings);
    mutual_tls::check(&set, &mut findings);
    clients::check(&set, &mut findings);
    network_policies::check(&set, &mut findings);
    gateway_api::check(&set, &mut findings);
    backends::check(&set, &mut findings);
    imports::check(&set, &mut findings);
    telemetry::check(&set, &mut findings);
    unplayed::check(&set, &mut findings);
    allowances::apply(&set, texts, &mut findings);
    let texts = texts.iter().enumerate().rev();
    let positions: HashMap<&str, usize> = texts.map(|(position, text)| (&*text.name, position)).collect();
    let position = |finding: &Finding| positions.get(&*finding.place.file).copied();
    findings.sort_by_key(|finding| (position(finding), finding.place.line, finding.place.column));
    Ok(findings)
}
