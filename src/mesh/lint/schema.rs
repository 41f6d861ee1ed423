//! The names of the fields of Istio's and Envoy's messages, in `lowerCamelCase`, as far as an
//! operator writes them for WebSockets: `networking.istio.io/v1`, and Envoy 1.40's
//! `HttpConnectionManager` with the options inside it.

/// The fields of a message, and of those that are looked into the message below.
pub(super) struct MessageSchema {
    pub(super) fields: &'static [&'static str],
    pub(super) below: &'static [(&'static str, &'static MessageSchema)],
}

impl MessageSchema {
    /// The message of a field; of a list, that of its items.
    pub(super) fn below(&self, field: &str) -> Option<&'static Self> {
        self.below.iter().find(|(name, _)| *name == field).map(|(_, message)| *message)
    }
}

/// The message of a kind's `spec`.
pub(super) fn spec_of(kind: &str) -> Option<&'static MessageSchema> {
    match kind {
        "DestinationRule" => Some(&DESTINATION_RULE),
        "VirtualService" => Some(&VIRTUAL_SERVICE),
        "EnvoyFilter" => Some(&ENVOY_FILTER),
        _ => None,
    }
}

const DESTINATION_RULE: MessageSchema = MessageSchema {
    fields: &["host", "trafficPolicy", "subsets", "exportTo", "workloadSelector"],
    below: &[("trafficPolicy", &TRAFFIC_POLICY), ("subsets", &SUBSET)],
};

const SUBSET: MessageSchema = MessageSchema {
    fields: &["name", "labels", "trafficPolicy"],
    below: &[("trafficPolicy", &TRAFFIC_POLICY)],
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
    below: &[("connectionPool", &CONNECTION_POOL), ("portLevelSettings", &PORT_LEVEL_SETTINGS)],
};

const PORT_LEVEL_SETTINGS: MessageSchema = MessageSchema {
    fields: &["port", "loadBalancer", "connectionPool", "outlierDetection", "tls"],
    below: &[("connectionPool", &CONNECTION_POOL)],
};

const CONNECTION_POOL: MessageSchema =
    MessageSchema { fields: &["tcp", "http"], below: &[("tcp", &TCP_SETTINGS), ("http", &HTTP_SETTINGS)] };

const TCP_SETTINGS: MessageSchema = MessageSchema {
    fields: &["maxConnections", "connectTimeout", "tcpKeepalive", "maxConnectionDuration", "idleTimeout"],
    below: &[],
};

const HTTP_SETTINGS: MessageSchema = MessageSchema {
    fields: &[
        "http1MaxPendingRequests",
        "http2MaxRequests",
        "maxRequestsPerConnection",
        "maxRetries",
        "idleTimeout",
        "h2UpgradePolicy",
        "useClientProtocol",
        "maxConcurrentStreams",
    ],
    below: &[],
};

const VIRTUAL_SERVICE: MessageSchema = MessageSchema {
    fields: &["hosts", "gateways", "http", "tls", "tcp", "exportTo"],
    below: &[("http", &HTTP_ROUTE)],
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
    below: &[],
};

const ROUTE_DESTINATION: MessageSchema =
    MessageSchema { fields: &["destination", "weight", "headers"], below: &[("destination", &DESTINATION)] };

const DESTINATION: MessageSchema = MessageSchema { fields: &["host", "subset", "port"], below: &[] };

const ENVOY_FILTER: MessageSchema = MessageSchema {
    fields: &["workloadSelector", "targetRefs", "configPatches", "priority"],
    below: &[("workloadSelector", &WORKLOAD_SELECTOR), ("configPatches", &CONFIG_PATCH)],
};

const WORKLOAD_SELECTOR: MessageSchema = MessageSchema { fields: &["labels"], below: &[] };

const CONFIG_PATCH: MessageSchema = MessageSchema {
    fields: &["applyTo", "match", "patch"],
    below: &[("match", &PATCH_MATCH), ("patch", &PATCH)],
};

const PATCH_MATCH: MessageSchema = MessageSchema {
    fields: &["context", "proxy", "listener", "routeConfiguration", "cluster", "waypoint"],
    below: &[("proxy", &PROXY_MATCH), ("listener", &LISTENER_MATCH)],
};

const PROXY_MATCH: MessageSchema = MessageSchema { fields: &["proxyVersion", "metadata"], below: &[] };

const LISTENER_MATCH: MessageSchema = MessageSchema {
    fields: &["portNumber", "portName", "filterChain", "listenerFilter", "name"],
    below: &[("filterChain", &FILTER_CHAIN_MATCH)],
};

const FILTER_CHAIN_MATCH: MessageSchema = MessageSchema {
    fields: &["name", "sni", "transportProtocol", "applicationProtocols", "filter", "destinationPort"],
    below: &[("filter", &FILTER_MATCH)],
};

const FILTER_MATCH: MessageSchema = MessageSchema { fields: &["name", "subFilter"], below: &[] };

const PATCH: MessageSchema = MessageSchema { fields: &["operation", "value", "filterClass"], below: &[] };

/// `envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager`.
pub(super) const HTTP_CONNECTION_MANAGER: MessageSchema = MessageSchema {
    fields: &[
        "@type",
        "codecType",
        "statPrefix",
        "rds",
        "routeConfig",
        "scopedRoutes",
        "httpFilters",
        "addUserAgent",
        "tracing",
        "commonHttpProtocolOptions",
        "http1SafeMaxConnectionDuration",
        "httpProtocolOptions",
        "http2ProtocolOptions",
        "http3ProtocolOptions",
        "serverName",
        "serverHeaderTransformation",
        "schemeHeaderTransformation",
        "maxRequestHeadersKb",
        "streamIdleTimeout",
        "streamFlushTimeout",
        "requestTimeout",
        "requestHeadersTimeout",
        "drainTimeout",
        "delayedCloseTimeout",
        "accessLog",
        "accessLogFlushInterval",
        "flushAccessLogOnNewRequest",
        "accessLogOptions",
        "useRemoteAddress",
        "xffNumTrustedHops",
        "originalIpDetectionExtensions",
        "earlyHeaderMutationExtensions",
        "internalAddressConfig",
        "skipXffAppend",
        "via",
        "generateRequestId",
        "preserveExternalRequestId",
        "alwaysSetRequestIdInResponse",
        "forwardClientCertDetails",
        "setCurrentClientCertDetails",
        "proxy100Continue",
        "representIpv4RemoteAddressAsIpv4MappedIpv6",
        "upgradeConfigs",
        "normalizePath",
        "mergeSlashes",
        "pathWithEscapedSlashesAction",
        "requestIdExtension",
        "localReplyConfig",
        "stripMatchingHostPort",
        "stripAnyHostPort",
        "streamErrorOnInvalidHttpMessage",
        "pathNormalizationOptions",
        "stripTrailingHostDot",
        "proxyStatusConfig",
        "typedHeaderValidationConfig",
        "appendXForwardedPort",
        "appendLocalOverload",
        "addProxyProtocolConnectionState",
        "forwardClientCertMatcher",
    ],
    below: &[
        ("http2ProtocolOptions", &HTTP2_OPTIONS),
        ("commonHttpProtocolOptions", &COMMON_HTTP_OPTIONS),
        ("upgradeConfigs", &UPGRADE_CONFIG),
    ],
};

/// `envoy.config.core.v3.Http2ProtocolOptions`.
const HTTP2_OPTIONS: MessageSchema = MessageSchema {
    fields: &[
        "hpackTableSize",
        "maxConcurrentStreams",
        "initialStreamWindowSize",
        "initialConnectionWindowSize",
        "allowConnect",
        "allowMetadata",
        "maxOutboundFrames",
        "maxOutboundControlFrames",
        "maxConsecutiveInboundFramesWithEmptyPayload",
        "maxInboundPriorityFramesPerStream",
        "maxInboundWindowUpdateFramesPerDataFrameSent",
        "streamErrorOnInvalidHttpMessaging",
        "overrideStreamErrorOnInvalidHttpMessage",
        "customSettingsParameters",
        "connectionKeepalive",
        "useOghttp2Codec",
        "maxMetadataSize",
        "enableHuffmanEncoding",
        "maxHeaderFieldSizeKb",
    ],
    below: &[],
};

/// `envoy.config.core.v3.HttpProtocolOptions`.
const COMMON_HTTP_OPTIONS: MessageSchema = MessageSchema {
    fields: &[
        "idleTimeout",
        "maxConnectionDuration",
        "maxHeadersCount",
        "maxResponseHeadersKb",
        "maxStreamDuration",
        "headersWithUnderscoresAction",
        "maxRequestsPerConnection",
    ],
    below: &[],
};

/// `HttpConnectionManager.UpgradeConfig`.
const UPGRADE_CONFIG: MessageSchema =
    MessageSchema { fields: &["upgradeType", "filters", "enabled", "ignoreOnHttp11"], below: &[] };
