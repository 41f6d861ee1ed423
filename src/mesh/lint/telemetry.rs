//! Istio's `Telemetry`, as far as it keeps sessions out of the access log. What else it says has no
//! part in what becomes of them.

use super::finding::Finding;
use super::rules::NO_ACCESS_LOG;
use super::set::Set;
use crate::yaml::NodeRef;

/// The provider that Istio has for lines on standard output.
const LINES: &str = "envoy";

pub(super) fn check(set: &Set, findings: &mut Vec<Finding>) {
    for telemetry in set.of_kind("telemetry.istio.io", "Telemetry") {
        let logging = telemetry.document.at("spec.accessLogging").into_iter().flat_map(NodeRef::items);
        findings.extend(logging.filter_map(without_lines));
    }
}

fn without_lines(logging: NodeRef<'_>) -> Option<Finding> {
    if let Some(disabled) = logging.at("disabled")
        && disabled.to_json(str::to_owned) == true
    {
        let message = "access logging is off: no session has a line";
        return Some(NO_ACCESS_LOG.at(disabled.place(), message, "disabled: false"));
    }
    if let Some(expression) = logging.at("filter.expression") {
        let message = format!(
            "only what fulfils the expression {} has a line; an opened session has the response code 101",
            expression.text().unwrap_or_default()
        );
        return Some(NO_ACCESS_LOG.at(expression.place(), message, ""));
    }
    let providers = logging.at("providers")?;
    let names: Vec<&str> =
        providers.items().filter_map(|provider| provider.at("name")).filter_map(NodeRef::text).collect();
    if names.is_empty() || names.contains(&LINES) {
        return None;
    }
    let message = format!(
        "the access log goes to {}: whether these are lines on standard output is in the mesh's \
         extensionProviders",
        names.join(", ")
    );
    Some(NO_ACCESS_LOG.at(providers.place_of_key(), message, ""))
}
