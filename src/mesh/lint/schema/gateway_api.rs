//! The messages of an `HTTPRoute` (`gateway.networking.k8s.io/v1`).

use super::{EMPTY, MessageSchema};

pub(super) const HTTP_ROUTE: MessageSchema = MessageSchema {
    fields: &["parentRefs", "hostnames", "rules", "useDefaultGateways"],
    below: &[("rules", &RULE)],
    ..EMPTY
};

const RULE: MessageSchema = MessageSchema {
    fields: &["name", "matches", "filters", "backendRefs", "timeouts", "retry", "sessionPersistence"],
    below: &[("matches", &MATCH), ("filters", &FILTER), ("backendRefs", &BACKEND), ("timeouts", &TIMEOUTS)],
    ..EMPTY
};

const MATCH: MessageSchema = MessageSchema {
    fields: &["path", "headers", "queryParams", "method"],
    below: &[("path", &PATH), ("headers", &FIELD), ("queryParams", &FIELD)],
    values: &[("method", &["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"])],
    ..EMPTY
};

const PATH: MessageSchema = MessageSchema {
    fields: &["type", "value"],
    values: &[("type", &["Exact", "PathPrefix", "RegularExpression"])],
    ..EMPTY
};

const FIELD: MessageSchema = MessageSchema {
    fields: &["type", "name", "value"],
    values: &[("type", &["Exact", "RegularExpression"])],
    ..EMPTY
};

const FILTER: MessageSchema = MessageSchema {
    fields: &[
        "type",
        "requestHeaderModifier",
        "responseHeaderModifier",
        "requestMirror",
        "requestRedirect",
        "urlRewrite",
        "cors",
        "externalAuth",
        "extensionRef",
    ],
    below: &[("requestHeaderModifier", &FIELDS), ("responseHeaderModifier", &FIELDS)],
    values: &[(
        "type",
        &[
            "RequestHeaderModifier",
            "ResponseHeaderModifier",
            "RequestMirror",
            "RequestRedirect",
            "URLRewrite",
            "CORS",
            "ExternalAuth",
            "ExtensionRef",
        ],
    )],
    ..EMPTY
};

const FIELDS: MessageSchema = MessageSchema { fields: &["set", "add", "remove"], ..EMPTY };

const BACKEND: MessageSchema = MessageSchema {
    fields: &["group", "kind", "name", "namespace", "port", "weight", "filters"],
    below: &[("filters", &FILTER)],
    ..EMPTY
};

const TIMEOUTS: MessageSchema = MessageSchema { fields: &["request", "backendRequest"], ..EMPTY };
