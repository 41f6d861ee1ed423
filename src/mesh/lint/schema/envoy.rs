//! Envoy 1.40's `HttpConnectionManager`, with the options inside it.

use super::{EMPTY, MessageSchema};

/// `envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager`.
pub(in crate::mesh::lint) const HTTP_CONNECTION_MANAGER: MessageSchema = MessageSchema {
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
    ..EMPTY
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
    ..EMPTY
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
    ..EMPTY
};

/// `HttpConnectionManager.UpgradeConfig`.
const UPGRADE_CONFIG: MessageSchema =
    MessageSchema { fields: &["upgradeType", "filters", "enabled", "ignoreOnHttp11"], ..EMPTY };
