//! What Envoy says of a configuration that it does not take, in the terms of the documents: the
//! line that put the value there, and Envoy's reason without the configuration that it prints
//! before it.

use std::sync::LazyLock;

use regex::Regex;

use crate::mesh::Places;
use crate::yaml::Place;

/// What Envoy says, and where in the documents it comes from if that can be told.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Complaint {
    pub(super) place: Option<Place>,
    pub(super) reason: String,
}

/// Finds the complaint in what `envoy --mode validate` wrote.
pub(super) fn complaint(output: &str, places: &Places) -> Complaint {
    let reason = reason(output);
    let place = names(&reason).into_iter().rev().find_map(|name| places.of(&name));
    Complaint { place, reason: innermost(&reason).to_owned() }
}

/// The whole reason: what follows `error initializing configuration 'FILE':`, without a dump of the
/// configuration before or after it, on one line.
fn reason(output: &str) -> String {
    const BEFORE: &str = "error initializing configuration '";
    let said = match output.rfind(BEFORE) {
        Some(at) => &output[at + BEFORE.len()..],
        None => output,
    };
    let said = said.split_once("': ").map_or(said, |(_, said)| said);
    // A violated constraint comes after the message in protobuf's text format, a syntax error
    // before the JSON.
    let said = said.rfind("Proto constraint validation failed").map_or(said, |at| &said[at..]);
    let said = said.find("): {").map_or(said, |at| &said[..=at]);
    said.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What is wrong, without where in the configuration it is: after the position in the JSON, or
/// after the last `caused by`.
fn innermost(reason: &str) -> &str {
    let inner = if let Some((_, inner)) = reason.split_once("(offset ") {
        inner.split_once("): ").map_or(inner, |(_, inner)| inner)
    } else if let Some((_, inner)) = reason.rsplit_once("caused by ") {
        inner
    } else {
        return reason;
    };
    inner.trim_end_matches(" has unknown fields").trim_end_matches(')')
}

/// What a reason names, from the general to the particular: the path of a JSON value, then what is
/// in quotes, and the fields of the violated constraints,
/// `Http2ProtocolOptionsValidationError.MaxConcurrentStreams`.
fn names(reason: &str) -> Vec<String> {
    static NAMES: LazyLock<Regex> = LazyLock::new(|| {
        let pattern = r"@ (?<path>[^:]+):|'(?<quoted>[^']+)'|ValidationError\.(?<field>[A-Za-z0-9]+)";
        Regex::new(pattern).expect("a regular expression")
    });
    let mut names = Vec::new();
    for found in NAMES.captures_iter(reason) {
        if let Some(path) = found.name("path") {
            names.extend(
                path.as_str().split('.').map(|part| part.split('[').next().unwrap_or(part).to_owned()),
            );
        } else if let Some(quoted) = found.name("quoted") {
            names.push(quoted.as_str().to_owned());
        } else if let Some(field) = found.name("field") {
            names.push(snake_case(field.as_str()));
        }
    }
    names
}

/// `MaxConcurrentStreams` is the field `max_concurrent_streams`.
fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for character in name.chars() {
        if character.is_ascii_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.push(character.to_ascii_lowercase());
    }
    snake
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::Documents;

    const DOCUMENTS: &str = "\
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: f}
spec:
  configPatches:
  - applyTo: NETWORK_FILTER
    patch:
      operation: MERGE
      value:
        typed_config:
          '@type': type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          codecType: HTTP9
          http2ProtocolOptions:
            alow_connect: true
            maxConcurrentStreams: 5
          upgrade_configs:
          - upgrade_type: websocket
";

    /// The line that `output` is about, and the reason.
    fn found(output: &str) -> (Option<u64>, String) {
        let documents = Documents::parse("filter.yaml", DOCUMENTS).expect("valid documents");
        let complaint = complaint(output, &documents.places());
        (complaint.place.map(|place| place.line), complaint.reason)
    }

    // As Envoy 1.40.0 wrote them, with less configuration.

    #[test]
    fn an_unknown_field_is_found_by_its_name() {
        let (line, reason) = found(
            "[2026-11-25 22:19:53.491][28846][critical][main] [source/server/config_validation/server.cc:76] error \
             initializing configuration 't.json': Protobuf message (type envoy.config.bootstrap.v3.Bootstrap reason \
             INVALID_ARGUMENT: invalid JSON in envoy.config.bootstrap.v3.Bootstrap @ \
             static_resources.listeners[0].filter_chains[0].filters[0].typed_config.<any>.http2_protocol_options: message   \
             envoy.config.core.v3.Http2ProtocolOptions,   near   1:3685  (offset 3684): no  such   field: 'alow_connect') \
             has unknown fields",
        );
        assert_eq!(line, Some(14));
        assert_eq!(reason, "no such field: 'alow_connect'");
    }

    #[test]
    fn a_value_that_is_no_value_is_found_by_the_path_of_its_field() {
        let (line, reason) = found(
            "error initializing configuration 't.json': Unable to parse JSON as proto (INVALID_ARGUMENT: invalid JSON in \
             envoy.config.bootstrap.v3.Bootstrap @ \
             static_resources.listeners[0].filter_chains[0].filters[0].typed_config.<any>.http2_protocol_options.max_concurrent_streams: \
             uint32 google.protobuf.UInt32Value, near 1:1483 (offset 1482): expected number): {\"node\": {\"id\": 1}}",
        );
        assert_eq!(line, Some(15));
        assert_eq!(reason, "expected number");
    }

    #[test]
    fn a_violated_constraint_is_found_by_its_innermost_field_and_the_dump_is_left_out() {
        let (line, reason) = found(
            "error initializing configuration 't.json': goo.gle/debugproto   \nstat_prefix: \"inbound\"\n\
             http2_protocol_options {\n  max_concurrent_streams {\n  }\n}\n: Proto constraint validation failed \
             (HttpConnectionManagerValidationError.Http2ProtocolOptions: embedded message failed validation | caused by \
             Http2ProtocolOptionsValidationError.MaxConcurrentStreams: value must be inside range [1, 2147483647])",
        );
        assert_eq!(line, Some(15));
        assert_eq!(
            reason,
            "Http2ProtocolOptionsValidationError.MaxConcurrentStreams: value must be inside range [1, 2147483647]"
        );
    }

    #[test]
    fn a_value_is_found_by_what_envoy_quotes() {
        let unknown = "error initializing configuration 't.json': Protobuf message (type \
                       envoy.config.bootstrap.v3.Bootstrap reason INVALID_ARGUMENT: unknown enum value: 'HTTP9') has \
                       unknown fields";
        assert_eq!(found(unknown).0, Some(12));
        let twice = "error initializing configuration 't.json': Error: multiple upgrade configs with the same name: \
                     'websocket'";
        assert_eq!(
            found(twice),
            (Some(17), "Error: multiple upgrade configs with the same name: 'websocket'".to_owned())
        );
    }

    #[test]
    fn what_the_documents_do_not_say_has_no_place() {
        let (line, reason) =
            found("error initializing configuration 't.json': Only a single wildcard domain is permitted");
        assert_eq!((line, reason.as_str()), (None, "Only a single wildcard domain is permitted"));
    }
}
