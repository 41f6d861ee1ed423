//! Fields that do not exist where they are written, with the nearest name that does.

use serde_json::Value;

use super::finding::Finding;
use super::manifest::{Node, Set};
use super::rules::UNKNOWN_FIELD;
use super::schema::{self, Message};
use crate::mesh::field::snake_case;
use crate::mesh::scalar::scalar;

/// How similar (Jaro-Winkler) a name must be to be what was meant.
const SIMILAR: f64 = 0.8;

pub(super) fn check(set: &Set, findings: &mut Vec<Finding>) {
    for manifest in &set.manifests {
        let Some(message) = schema::spec_of(&manifest.kind) else { continue };
        let Some(spec) = manifest.at("spec") else { continue };
        check_message(&spec, message, "spec", findings);
        for (index, patch) in spec.at("configPatches").iter().flat_map(Node::items).enumerate() {
            if let Some(config) = patch.at("patch.value.typedConfig").filter(is_connection_manager) {
                let path = format!("spec.configPatches[{index}].patch.value.typed_config");
                check_message(&config, &schema::HTTP_CONNECTION_MANAGER, &path, findings);
            }
        }
    }
}

/// Whether a filter's configuration is the HTTP connection manager's, of whichever API version, or does not say.
pub(super) fn is_connection_manager(config: &Node<'_>) -> bool {
    let type_url = config.at("@type");
    type_url.is_none_or(|url| url.text().is_none_or(|url| url.ends_with(".HttpConnectionManager")))
}

fn check_message(node: &Node<'_>, message: &Message, path: &str, findings: &mut Vec<Finding>) {
    for entry in node.entries() {
        let (Some(name), Some(key)) = (entry.name(), entry.key()) else { continue };
        if !message.fields.contains(&name.as_str()) {
            findings.push(unknown(&entry, &name, key, message, path));
        } else if let Some(below) = message.below(&name) {
            let items = entry.items();
            if items.is_empty() {
                check_message(&entry, below, &format!("{path}.{key}"), findings);
            }
            for (index, item) in items.iter().enumerate() {
                check_message(item, below, &format!("{path}.{key}[{index}]"), findings);
            }
        }
    }
}

/// The field's value as it is to be written again; what is longer than a word stays as it is.
fn value(entry: &Node<'_>) -> String {
    match entry.field().to_exact_json() {
        Value::String(text) => scalar(&text).into_owned(),
        word @ (Value::Bool(_) | Value::Number(_)) => word.to_string(),
        _ => "…".to_owned(),
    }
}

fn unknown(entry: &Node<'_>, name: &str, key: &str, message: &Message, path: &str) -> Finding {
    // As the user spells fields; a word without either sign in Envoy's configuration is taken for the usual way there.
    let camel = key.contains(|character: char| character.is_ascii_uppercase());
    let snake = key.contains('_') || (!camel && path.contains("typed_config"));
    let spelled = |field: &str| if snake { snake_case(field) } else { field.to_owned() };
    let place = entry.place_of_key();
    if let Some((parent, _)) = message.below.iter().find(|(_, below)| below.fields.contains(&name)) {
        let parent = spelled(parent);
        let message = format!("{path} has no field {key}: it belongs in {path}.{parent}");
        return UNKNOWN_FIELD.at(place, message, format!("{parent}:\n  {key}: {}", value(entry)));
    }
    let similarity = |field: &str| strsim::jaro_winkler(name, field);
    let nearest = message.fields.iter().max_by(|one, other| similarity(one).total_cmp(&similarity(other)));
    match nearest.filter(|field| similarity(field) >= SIMILAR) {
        Some(nearest) => {
            let nearest = spelled(nearest);
            let message = format!("{path} has no field {key}: the nearest is {nearest}");
            UNKNOWN_FIELD.at(place, message, format!("{nearest}: {}", value(entry)))
        }
        None => UNKNOWN_FIELD.at(place, format!("{path} has no field {key}"), ""),
    }
}
