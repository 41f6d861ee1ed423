//! Every flag that Envoy documents for `%RESPONSE_FLAGS%` (short) and `%RESPONSE_FLAGS_LONG%`, with
//! what it means and what to do where the line says no more. Data alone: what a combination of
//! flags says about a session is in [`super::cause`].

/// One response flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlagMeaning {
    /// As `%RESPONSE_FLAGS%` has it.
    pub short: &'static str,
    /// As `%RESPONSE_FLAGS_LONG%` has it.
    pub long: &'static str,
    /// What it says of the stream.
    pub meaning: &'static str,
    /// What to do about a request that failed so; empty where nothing is to be done.
    pub change: &'static str,
}

/// The meaning of a flag, by its short or its long name.
#[must_use]
pub fn flag_meaning(name: &str) -> Option<&'static FlagMeaning> {
    FLAGS.iter().find(|flag| flag.short == name || flag.long == name)
}

const fn flag(
    short: &'static str,
    long: &'static str,
    meaning: &'static str,
    change: &'static str,
) -> FlagMeaning {
    FlagMeaning { short, long, meaning, change }
}

/// In the order of Envoy's `CoreResponseFlag`.
pub(super) const FLAGS: [FlagMeaning; 30] = [
    flag(
        "LH",
        "FailedLocalHealthCheck",
        "this proxy's own health check is failing, so it takes no requests",
        "look why the health check of this pod fails",
    ),
    flag(
        "UH",
        "NoHealthyUpstream",
        "none of the cluster's hosts is healthy, or it has none",
        "look whether the Service has ready endpoints, and at outlier detection and subset labels",
    ),
    flag(
        "UT",
        "UpstreamRequestTimeout",
        "no response came within the route's timeout",
        "raise or remove the timeout in the VirtualService, or find out why the application does not answer",
    ),
    flag("LR", "LocalReset", "this proxy reset the stream itself", "look at Envoy's own log"),
    flag(
        "UR",
        "UpstreamRemoteReset",
        "the upstream reset the stream",
        "look at the next hop: its log, and whether it was ending",
    ),
    flag(
        "UF",
        "UpstreamConnectionFailure",
        "no connection to the upstream could be made",
        "look whether the next hop runs and listens where the Service leads, and at the mTLS mode of both sides",
    ),
    flag(
        "UC",
        "UpstreamConnectionTermination",
        "the upstream's connection ended",
        "look at the next hop: its log of this request, and whether it was ending",
    ),
    flag(
        "UO",
        "UpstreamOverflow",
        "a limit of the cluster (circuit breaker) was reached",
        "raise connectionPool.tcp.maxConnections, http.http1MaxPendingRequests or http.http2MaxRequests in the DestinationRule (each open session holds one), or add pods",
    ),
    flag(
        "NR",
        "NoRouteFound",
        "no route fits the request, or no filter chain fits the connection",
        "use the Service's name and port as the authority, or add a Service, VirtualService or ServiceEntry for it",
    ),
    flag("DI", "DelayInjected", "an injected fault delayed the request", ""),
    flag(
        "FI",
        "FaultInjected",
        "an injected fault ended the request",
        "remove the fault from the VirtualService",
    ),
    flag("RL", "RateLimited", "a rate limit answered with 429", "raise the limit, or send less"),
    flag(
        "UAEX",
        "UnauthorizedExternalService",
        "the external authorization service said no",
        "look at that service",
    ),
    flag(
        "RLSE",
        "RateLimitServiceError",
        "the rate limit service could not be asked",
        "look whether the rate limit service runs",
    ),
    flag(
        "DC",
        "DownstreamConnectionTermination",
        "the downstream's connection ended",
        "look why the answer took so long, and at the timeout of the client",
    ),
    flag(
        "URX",
        "UpstreamRetryLimitExceeded",
        "the retries, or the attempts to connect, are used up",
        "look at the next hop: its log, and whether it runs and listens",
    ),
    flag(
        "SI",
        "StreamIdleTimeout",
        "nothing passed for as long as the stream may be idle",
        "send pings more often than that, or raise stream_idle_timeout",
    ),
    flag(
        "IH",
        "InvalidEnvoyRequestHeaders",
        "an x-envoy-* field of the request failed the strict check",
        "correct what the client sends",
    ),
    flag(
        "DPE",
        "DownstreamProtocolError",
        "the downstream sent what is not valid HTTP here",
        "correct what the client sends",
    ),
    flag(
        "UMSDR",
        "UpstreamMaxStreamDurationReached",
        "the stream lived as long as it may",
        "raise max_stream_duration, or have the client connect again",
    ),
    flag("RFCF", "ResponseFromCacheFilter", "the response came from a cache in this proxy", ""),
    flag(
        "NFCF",
        "NoFilterConfigFound",
        "the configuration of a filter did not arrive in time",
        "look whether istiod reaches the proxy (istioctl proxy-status)",
    ),
    flag(
        "DT",
        "DurationTimeout",
        "the connection or the request lasted as long as it may",
        "raise maxConnectionDuration, or have the client connect again",
    ),
    flag(
        "UPE",
        "UpstreamProtocolError",
        "the upstream answered with what is not valid HTTP here",
        "look what the next hop speaks on this port",
    ),
    flag(
        "NC",
        "NoClusterFound",
        "the route names a cluster that this proxy does not know",
        "look at the subset and host that the VirtualService names, and whether a DestinationRule defines that subset",
    ),
    flag(
        "OM",
        "OverloadManagerTerminated",
        "this proxy is overloaded and shed the request",
        "give the proxy more memory or spread the load",
    ),
    flag(
        "DF",
        "DnsResolutionFailed",
        "the upstream's name could not be resolved",
        "correct the name, or look at the DNS that the proxy asks",
    ),
    flag(
        "DO",
        "DropOverload",
        "a configured share of the cluster's requests is dropped",
        "look at drop_overloads in the cluster's load assignment",
    ),
    flag(
        "DR",
        "DownstreamRemoteReset",
        "the downstream reset the stream",
        "look why the answer took so long, and at the timeout of the client",
    ),
    flag(
        "UDO",
        "UnconditionalDropOverload",
        "all of the cluster's requests are dropped by configuration",
        "look at drop_overloads in the cluster's load assignment",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_is_known_by_its_short_and_by_its_long_name_and_no_name_is_used_twice() {
        let names: std::collections::BTreeSet<_> =
            FLAGS.iter().flat_map(|flag| [flag.short, flag.long]).collect();
        assert_eq!(names.len(), 2 * FLAGS.len());
        assert_eq!(flag_meaning("DR"), flag_meaning("DownstreamRemoteReset"));
        assert_eq!(flag_meaning("XX"), None);
    }
}
