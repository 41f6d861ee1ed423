//! Fields that do not exist where they are written, and words that a field does not have, with the
//! nearest that there is.

use serde_json::Value;

use super::finding::Finding;
use super::rules::{INVALID_DOCUMENT, UNKNOWN_FIELD};
use super::schema::{self, MessageSchema};
use super::set::Set;
use crate::mesh::scalar::scalar;
use crate::mesh::snake_case;
use crate::nearest::nearest;
use crate::yaml::{NodeRef, lower_camel_case};

/// How similar (Jaro-Winkler) a name must be to be what was meant.
const SIMILAR: f64 = 0.8;

/// How similar (Jaro-Winkler) a word must be to be what was meant.
const SIMILAR_WORD: f64 = 0.7;

pub(super) fn check(set: &Set, findings: &mut Vec<Finding>) {
    for manifest in set.documents.manifests() {
        let Some(message) = schema::spec_of(manifest) else { continue };
        let Some(spec) = manifest.document.at("spec") else { continue };
        check_message(spec, message, Names::Kubernetes, "spec", findings);
        for (index, patch) in spec.at("configPatches").into_iter().flat_map(NodeRef::items).enumerate() {
            if let Some(config) =
                patch.at("patch.value.typedConfig").filter(|config| is_connection_manager(*config))
            {
                let path = format!("spec.configPatches[{index}].patch.value.typed_config");
                let message = &schema::HTTP_CONNECTION_MANAGER;
                check_message(config, message, Names::Protobuf, &path, findings);
            }
        }
    }
    for mesh in set.documents.declared_meshes() {
        let mut found = Vec::new();
        if let Some(config) = mesh.config() {
            check_message(config, &schema::MESH_CONFIG, Names::Protobuf, &mesh.path, &mut found);
        }
        findings.extend(found.into_iter().map(|finding| {
            let place = mesh.place_in_documents(finding.place.clone());
            Finding { place, ..finding }
        }));
    }
}

/// How names may be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Names {
    /// As they are: a cluster drops, and kubectl refuses, every other field.
    Kubernetes,
    /// Also in `snake_case`.
    Protobuf,
}

/// Whether a filter's configuration is the HTTP connection manager's, of whichever API version, or
/// does not say.
pub(super) fn is_connection_manager(config: NodeRef<'_>) -> bool {
    let type_url = config.at("@type");
    type_url.is_none_or(|url| url.text().is_none_or(|url| url.ends_with(".HttpConnectionManager")))
}

fn check_message(
    node: NodeRef<'_>,
    message: &MessageSchema,
    names: Names,
    path: &str,
    findings: &mut Vec<Finding>,
) {
    for entry in node.entries() {
        let Some(key) = entry.key() else { continue };
        let name = match names {
            Names::Protobuf => lower_camel_case(key),
            Names::Kubernetes => key.to_owned(),
        };
        let at = if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
        if !message.fields.is_empty() && !message.fields.contains(&name.as_str()) {
            findings.push(unknown(entry, &name, key, names, message, path));
        } else if let Some(below) = message.below(&name) {
            if entry.items().len() == 0 {
                check_message(entry, below, names, &at, findings);
            }
            for (index, item) in entry.items().enumerate() {
                check_message(item, below, names, &format!("{at}[{index}]"), findings);
            }
        }
        let words = message.values.iter().find(|(field, _)| *field == name);
        findings.extend(words.and_then(|(_, words)| other_word(entry, key, words, &at)));
    }
}

/// A word that the field does not have. A null is none.
fn other_word(entry: NodeRef<'_>, key: &str, words: &[&str], path: &str) -> Option<Finding> {
    let written = match entry.to_json(str::to_owned) {
        Value::Null => return None,
        Value::String(text) => text,
        other => other.to_string(),
    };
    if words.contains(&written.as_str()) {
        return None;
    }
    let message = format!("{path}: expected one of {}, found {written:?}", words.join(", "));
    let in_capitals = written.to_ascii_uppercase();
    let same = words.iter().find(|word| word.eq_ignore_ascii_case(&written)).copied();
    let meant = same.or_else(|| nearest(&in_capitals, words.iter().copied(), SIMILAR_WORD));
    let yaml = meant.map(|word| format!("{key}: {word}")).unwrap_or_default();
    Some(INVALID_DOCUMENT.at(entry.place(), message, yaml))
}

/// The field's value as it is to be written again; what is longer than a word stays as it is.
fn value(entry: NodeRef<'_>) -> String {
    match entry.to_json(str::to_owned) {
        Value::String(text) => scalar(&text).into_owned(),
        word @ (Value::Bool(_) | Value::Number(_)) => word.to_string(),
        _ => "…".to_owned(),
    }
}

fn unknown(
    entry: NodeRef<'_>,
    name: &str,
    key: &str,
    names: Names,
    message: &MessageSchema,
    path: &str,
) -> Finding {
    // As the user spells fields; a word without either sign in Envoy's configuration is taken for
    // the usual way there.
    let camel = key.contains(|character: char| character.is_ascii_uppercase());
    let snake = names == Names::Protobuf && (key.contains('_') || (!camel && path.contains("typed_config")));
    let spelled = |field: &str| if snake { snake_case(field) } else { field.to_owned() };
    let place = entry.place_of_key();
    let path = if path.is_empty() { "the mesh's configuration" } else { path };
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
    match nearest(&lower_camel_case(name), message.fields.iter().copied(), SIMILAR) {
        Some(nearest) => {
            let nearest = spelled(nearest);
            let message = format!("{path} has no field {key}: the nearest is {nearest}");
            UNKNOWN_FIELD.at(place, message, format!("{nearest}: {}", value(entry)))
        }
        None => UNKNOWN_FIELD.at(place, format!("{path} has no field {key}"), ""),
    }
}
