//! The messages of `security.istio.io` and `telemetry.istio.io`.

use super::{EMPTY, MessageSchema};

pub(super) const AUTHORIZATION_POLICY: MessageSchema = MessageSchema {
    fields: &["action", "provider", "rules", "selector", "targetRef", "targetRefs"],
    below: &[("rules", &RULE), ("selector", &SELECTOR)],
    values: &[("action", &["ALLOW", "DENY", "AUDIT", "CUSTOM"])],
    ..EMPTY
};

const SELECTOR: MessageSchema = MessageSchema { fields: &["matchLabels"], ..EMPTY };

const RULE: MessageSchema = MessageSchema {
    fields: &["from", "to", "when"],
    below: &[("from", &FROM), ("to", &TO), ("when", &CONDITION)],
    ..EMPTY
};

const FROM: MessageSchema = MessageSchema { fields: &["source"], below: &[("source", &SOURCE)], ..EMPTY };

const SOURCE: MessageSchema = MessageSchema {
    fields: &[
        "principals",
        "notPrincipals",
        "requestPrincipals",
        "notRequestPrincipals",
        "namespaces",
        "notNamespaces",
        "ipBlocks",
        "notIpBlocks",
        "remoteIpBlocks",
        "notRemoteIpBlocks",
        "serviceAccounts",
        "notServiceAccounts",
        "trustDomains",
        "notTrustDomains",
    ],
    ..EMPTY
};

const TO: MessageSchema =
    MessageSchema { fields: &["operation"], below: &[("operation", &OPERATION)], ..EMPTY };

const OPERATION: MessageSchema = MessageSchema {
    fields: &["hosts", "notHosts", "ports", "notPorts", "methods", "notMethods", "paths", "notPaths"],
    ..EMPTY
};

const CONDITION: MessageSchema = MessageSchema { fields: &["key", "values", "notValues"], ..EMPTY };

pub(super) const PEER_AUTHENTICATION: MessageSchema = MessageSchema {
    fields: &["mtls", "portLevelMtls", "selector"],
    below: &[("mtls", &MUTUAL_TLS), ("portLevelMtls", &PORTS_MUTUAL_TLS), ("selector", &SELECTOR)],
    ..EMPTY
};

const PORTS_MUTUAL_TLS: MessageSchema = MessageSchema { of_each: Some(&MUTUAL_TLS), ..EMPTY };

const MUTUAL_TLS: MessageSchema = MessageSchema {
    fields: &["mode"],
    values: &[("mode", &["UNSET", "DISABLE", "PERMISSIVE", "STRICT"])],
    ..EMPTY
};

pub(super) const REQUEST_AUTHENTICATION: MessageSchema = MessageSchema {
    fields: &["jwtRules", "selector", "targetRef", "targetRefs"],
    below: &[("jwtRules", &JWT_RULE), ("selector", &SELECTOR)],
    ..EMPTY
};

const JWT_RULE: MessageSchema = MessageSchema {
    fields: &[
        "issuer",
        "audiences",
        "jwksUri",
        "jwks_uri",
        "jwks",
        "fromHeaders",
        "fromParams",
        "fromCookies",
        "outputPayloadToHeader",
        "outputClaimToHeaders",
        "forwardOriginalToken",
        "spaceDelimitedClaims",
        "timeout",
        "presence",
    ],
    ..EMPTY
};

pub(super) const TELEMETRY: MessageSchema = MessageSchema {
    fields: &["accessLogging", "metrics", "tracing", "selector", "targetRef", "targetRefs"],
    below: &[("accessLogging", &ACCESS_LOGGING), ("selector", &SELECTOR)],
    ..EMPTY
};

const ACCESS_LOGGING: MessageSchema = MessageSchema {
    fields: &["disabled", "filter", "match", "providers"],
    below: &[("filter", &FILTER), ("match", &MODE), ("providers", &PROVIDER)],
    ..EMPTY
};

const FILTER: MessageSchema = MessageSchema { fields: &["expression"], ..EMPTY };

const PROVIDER: MessageSchema = MessageSchema { fields: &["name"], ..EMPTY };

const MODE: MessageSchema = MessageSchema {
    fields: &["mode"],
    values: &[("mode", &["CLIENT_AND_SERVER", "CLIENT", "SERVER"])],
    ..EMPTY
};
