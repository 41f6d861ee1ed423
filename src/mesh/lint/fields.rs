//! Fields that do not exist where they are written, with the nearest name that does.

use serde_json::Value;

use super::finding::Finding;
use super::rules::UNKNOWN_FIELD;
use super::schema::{self, MessageSchema};
use super::set::Set;
use crate::mesh::scalar::scalar;
use crate::mesh::snake_case;
use crate::nearest::nearest;
use crate::yaml::{NodeRef, lower_camel_case};

/// How similar (Jaro-Winkler) a name must be to be what was meant.
const SIMILAR: f64 = 0.8;

pub(super) fn check(set: &Set, findings: &mut Vec<Finding>) {
    for manifest in set.documents.manifests() {
        let Some(message) = schema::spec_of(&manifest.kind) else { continue };
        let Some(spec) = manifest.document.at("spec") else { continue };
        check_message(spec, message, "spec", findings);
        for (index, patch) in spec.at("configPatches").into_iter().flat_map(NodeRef::items).enumerate() {
            if let Some(config) =
                patch.at("patch.value.typedConfig").filter(|config| is_connection_manager(*config))
            {
                let path = format!("spec.configPatches[{index}].patch.value.typed_config");
                check_message(config, &schema::HTTP_CONNECTION_MANAGER, &path, findings);
            }
        }
    }
}

/// Whether a filter's configuration is the HTTP connection manager's, of whichever API version, or
/// does not say.
pub(super) fn is_connection_manager(config: NodeRef<'_>) -> bool {
    let type_url = config.at("@type");
    type_url.is_none_or(|url| url.text().is_none_or(|url| url.ends_with(".HttpConnectionManager")))
}

fn check_message(node: NodeRef<'_>, message: &MessageSchema, path: &str, findings: &mut Vec<Finding>) {
    for entry in node.entries() {
        let Some(key) = entry.key() else { continue };
        let name = lower_camel_case(key);
        if !message.fields.contains(&name.as_str()) {
            findings.push(unknown(entry, &name, key, message, path));
        } else if let Some(below) = message.below(&name) {
            if entry.items().len() == 0 {
                check_message(entry, below, &format!("{path}.{key}"), findings);
            }
            for (index, item) in entry.items().enumerate() {
                check_message(item, below, &format!("{path}.{key}[{index}]"), findings);
            }
        }
    }
}

/// The field's value as it is to be written again; what is longer than a word stays as it is.
fn value(entry: NodeRef<'_>) -> String {
    match entry.to_json(str::to_owned) {
        Value::String(text) => scalar(&text).into_owned(),
        word @ (Value::Bool(_) | Value::Number(_)) => word.to_string(),
        _ => "…".to_owned(),
    }
}

fn unknown(entry: NodeRef<'_>, name: &str, key: &str, message: &MessageSchema, path: &str) -> Finding {
    // As the user spells fields; a word without either sign in Envoy's configuration is taken for
    // the usual way there.
    let camel = key.contains(|character: char| character.is_ascii_uppercase());
    let snake = key.contains('_') || (!camel && path.contains("typed_config"));
    let spelled = |field: &str| if snake { snake_case(field) } else { field.to_owned() };
    let place = entry.place_of_key();
    if let Some((parent, _)) = message.below.iter().find(|(_, below)| below.fields.contains(&name)) {
        let parent = spelled(parent);
        let message = format!("{path} has no field {key}: it belongs in {path}.{parent}");
        return UNKNOWN_FIELD.at(place, message, format!("{parent}:\n  {key}: {}", value(entry)));
    }
    if name == "websocketUpgrade" {
        let message = format!(
            "{path} has no field {key}: WebSockets are on by default since Istio 1.0, and it is not needed"
        );
        return UNKNOWN_FIELD.at(place, message, "");
    }
    match nearest(name, message.fields.iter().copied(), SIMILAR) {
        Some(nearest) => {
            let nearest = spelled(nearest);
            let message = format!("{path} has no field {key}: the nearest is {nearest}");
            UNKNOWN_FIELD.at(place, message, format!("{nearest}: {}", value(entry)))
        }
        None => UNKNOWN_FIELD.at(place, format!("{path} has no field {key}"), ""),
    }
}
