//! The messages of `networking.istio.io`.

use super::{EMPTY, MessageSchema};

pub(super) const DESTINATION_RULE: MessageSchema = MessageSchema {
    fields: &["host", "trafficPolicy", "subsets", "exportTo", "workloadSelector"],
    below: &[("trafficPolicy", &TRAFFIC_POLICY), ("subsets", &SUBSET)],
    ..EMPTY
};

const SUBSET: MessageSchema = MessageSchema {
    fields: &["name", "labels", "trafficPolicy"],
    below: &[("trafficPolicy", &TRAFFIC_POLICY)],
    ..EMPTY
};

const TRAFFIC_POLICY: MessageSchema = MessageSchema {
    fields: &[
        "loadBalancer",
        "connectionPool",
        "outlierDetection",
        "tls",
        "portLevelSettings",
        "tunnel",
        "proxyProtocol",
        "retryBudget",
    ],
    below: &[
        ("connectionPool", &CONNECTION_POOL),
        ("portLevelSettings", &PORT_LEVEL_SETTINGS),
        ("tls", &CLIENT_TLS),
        ("loadBalancer", &LOAD_BALANCER),
    ],
    ..EMPTY
};

const PORT_LEVEL_SETTINGS: MessageSchema = MessageSchema {
    fields: &["port", "loadBalancer", "connectionPool", "outlierDetection", "tls"],
    below: &[("connectionPool", &CONNECTION_POOL), ("tls", &CLIENT_TLS), ("loadBalancer", &LOAD_BALANCER)],
    ..EMPTY
};

const CONNECTION_POOL: MessageSchema = MessageSchema {
    fields: &["tcp", "http"],
    below: &[("tcp", &TCP_SETTINGS), ("http", &HTTP_SETTINGS)],
    ..EMPTY
};

const TCP_SETTINGS: MessageSchema = MessageSchema {
    fields: &["maxConnections", "connectTimeout", "tcpKeepalive", "maxConnectionDuration", "idleTimeout"],
    ..EMPTY
};

const HTTP_SETTINGS: MessageSchema = MessageSchema {
    fields: &[
        "http2KeepAlive",
        "http1MaxPendingRequests",
        "http2MaxRequests",
        "maxRequestsPerConnection",
        "maxRetries",
        "idleTimeout",
        "h2UpgradePolicy",
        "useClientProtocol",
        "maxConcurrentStreams",
    ],
    ..EMPTY
};

pub(super) const VIRTUAL_SERVICE: MessageSchema = MessageSchema {
    fields: &["hosts", "gateways", "http", "tls", "tcp", "exportTo"],
    below: &[("http", &HTTP_ROUTE)],
    ..EMPTY
};

const HTTP_ROUTE: MessageSchema = MessageSchema {
    fields: &[
        "name",
        "match",
        "route",
        "redirect",
        "directResponse",
        "delegate",
        "rewrite",
        "timeout",
        "retries",
        "fault",
        "mirror",
        "mirrors",
        "mirrorPercent",
        "mirrorPercentage",
        "corsPolicy",
        "headers",
    ],
    below: &[("retries", &HTTP_RETRY), ("route", &ROUTE_DESTINATION)],
    ..EMPTY
};

const CLIENT_TLS: MessageSchema = MessageSchema {
    fields: &[
        "mode",
        "clientCertificate",
        "privateKey",
        "caCertificates",
        "credentialName",
        "subjectAltNames",
        "sni",
        "insecureSkipVerify",
        "caCrl",
    ],
    values: &[("mode", &["DISABLE", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL"])],
    ..EMPTY
};

const LOAD_BALANCER: MessageSchema = MessageSchema {
    fields: &[
        "simple",
        "consistentHash",
        "localityLbSetting",
        "warmup",
        "warmupDurationSecs",
        "zoneAwareLbSetting",
        "backendUtilization",
    ],
    values: &[(
        "simple",
        &["UNSPECIFIED", "LEAST_CONN", "RANDOM", "PASSTHROUGH", "ROUND_ROBIN", "LEAST_REQUEST"],
    )],
    ..EMPTY
};

const HTTP_RETRY: MessageSchema = MessageSchema {
    fields: &[
        "attempts",
        "perTryTimeout",
        "retryOn",
        "retryRemoteLocalities",
        "retryIgnorePreviousHosts",
        "backoff",
    ],
    ..EMPTY
};

const ROUTE_DESTINATION: MessageSchema = MessageSchema {
    fields: &["destination", "weight", "headers"],
    below: &[("destination", &DESTINATION)],
    ..EMPTY
};

const DESTINATION: MessageSchema = MessageSchema { fields: &["host", "subset", "port"], ..EMPTY };

pub(super) const ENVOY_FILTER: MessageSchema = MessageSchema {
    fields: &["workloadSelector", "targetRefs", "configPatches", "priority"],
    below: &[("workloadSelector", &WORKLOAD_SELECTOR), ("configPatches", &CONFIG_PATCH)],
    ..EMPTY
};

const WORKLOAD_SELECTOR: MessageSchema = MessageSchema { fields: &["labels"], ..EMPTY };

const CONFIG_PATCH: MessageSchema = MessageSchema {
    fields: &["applyTo", "match", "patch"],
    below: &[("match", &PATCH_MATCH), ("patch", &PATCH)],
    ..EMPTY
};

const PATCH_MATCH: MessageSchema = MessageSchema {
    fields: &["context", "proxy", "listener", "routeConfiguration", "cluster", "waypoint"],
    below: &[("proxy", &PROXY_MATCH), ("listener", &LISTENER_MATCH)],
    ..EMPTY
};

const PROXY_MATCH: MessageSchema = MessageSchema { fields: &["proxyVersion", "metadata"], ..EMPTY };

const LISTENER_MATCH: MessageSchema = MessageSchema {
    fields: &["portNumber", "portName", "filterChain", "listenerFilter", "name"],
    below: &[("filterChain", &FILTER_CHAIN_MATCH)],
    ..EMPTY
};

const FILTER_CHAIN_MATCH: MessageSchema = MessageSchema {
    fields: &["name", "sni", "transportProtocol", "applicationProtocols", "filter", "destinationPort"],
    below: &[("filter", &FILTER_MATCH)],
    ..EMPTY
};

const FILTER_MATCH: MessageSchema = MessageSchema { fields: &["name", "subFilter"], ..EMPTY };

const PATCH: MessageSchema = MessageSchema { fields: &["operation", "value", "filterClass"], ..EMPTY };

pub(super) const SERVICE_ENTRY: MessageSchema = MessageSchema {
    fields: &[
        "hosts",
        "addresses",
        "ports",
        "location",
        "resolution",
        "endpoints",
        "workloadSelector",
        "exportTo",
        "subjectAltNames",
    ],
    below: &[("ports", &PORT)],
    values: &[
        ("location", &["MESH_EXTERNAL", "MESH_INTERNAL"]),
        ("resolution", &["NONE", "STATIC", "DNS", "DNS_ROUND_ROBIN", "DYNAMIC_DNS"]),
    ],
    ..EMPTY
};

const PORT: MessageSchema = MessageSchema { fields: &["name", "number", "protocol", "targetPort"], ..EMPTY };

pub(super) const SIDECAR: MessageSchema = MessageSchema {
    fields: &["egress", "ingress", "inboundConnectionPool", "outboundTrafficPolicy", "workloadSelector"],
    below: &[
        ("egress", &EGRESS),
        ("ingress", &INGRESS),
        ("inboundConnectionPool", &CONNECTION_POOL),
        ("outboundTrafficPolicy", &OUTBOUND_TRAFFIC_POLICY),
        ("workloadSelector", &WORKLOAD_SELECTOR),
    ],
    ..EMPTY
};

const EGRESS: MessageSchema = MessageSchema {
    fields: &["bind", "captureMode", "hosts", "port"],
    below: &[("port", &PORT)],
    values: &[CAPTURE_MODE],
    ..EMPTY
};

const INGRESS: MessageSchema = MessageSchema {
    fields: &["bind", "captureMode", "connectionPool", "defaultEndpoint", "port", "tls"],
    below: &[("port", &PORT), ("connectionPool", &CONNECTION_POOL), ("tls", &SERVER_TLS)],
    values: &[CAPTURE_MODE],
    ..EMPTY
};

const CAPTURE_MODE: (&str, &[&str]) = ("captureMode", &["DEFAULT", "IPTABLES", "NONE"]);

pub(super) const OUTBOUND_TRAFFIC_POLICY: MessageSchema = MessageSchema {
    fields: &["mode", "egressProxy"],
    values: &[("mode", &["REGISTRY_ONLY", "ALLOW_ANY"])],
    ..EMPTY
};

pub(super) const GATEWAY: MessageSchema =
    MessageSchema { fields: &["selector", "servers"], below: &[("servers", &SERVER)], ..EMPTY };

const SERVER: MessageSchema = MessageSchema {
    fields: &["bind", "defaultEndpoint", "hosts", "name", "port", "tls"],
    below: &[("port", &PORT), ("tls", &SERVER_TLS)],
    ..EMPTY
};

/// Of its fields there are many that newer versions add.
const SERVER_TLS: MessageSchema = MessageSchema {
    values: &[(
        "mode",
        &["PASSTHROUGH", "SIMPLE", "MUTUAL", "AUTO_PASSTHROUGH", "ISTIO_MUTUAL", "OPTIONAL_MUTUAL"],
    )],
    ..EMPTY
};
