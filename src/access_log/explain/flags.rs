//! Every flag that Envoy documents for `%RESPONSE_FLAGS%` (short) and `%RESPONSE_FLAGS_LONG%`, with what it means. Data
//! alone: what a combination of flags says about a session is in [`super::cause`].

/// One response flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlagMeaning {
    /// As `%RESPONSE_FLAGS%` has it.
    pub short: &'static str,
    /// As `%RESPONSE_FLAGS_LONG%` has it.
    pub long: &'static str,
    /// In words.
    pub meaning: &'static str,
}

/// The meaning of a flag, by its short or its long name.
#[must_use]
pub fn flag_meaning(name: &str) -> Option<&'static FlagMeaning> {
    FLAGS.iter().find(|flag| flag.short == name || flag.long == name)
}

const fn flag(short: &'static str, long: &'static str, meaning: &'static str) -> FlagMeaning {
    FlagMeaning { short, long, meaning }
}

/// In the order of Envoy's `CoreResponseFlag`.
pub(super) const FLAGS: [FlagMeaning; 30] = [
    flag("LH", "FailedLocalHealthCheck", "this proxy's own health check is failing, so it takes no requests"),
    flag("UH", "NoHealthyUpstream", "none of the cluster's hosts is healthy, or it has none"),
    flag("UT", "UpstreamRequestTimeout", "no response came within the route's timeout"),
    flag("LR", "LocalReset", "this proxy reset the stream itself"),
    flag("UR", "UpstreamRemoteReset", "the upstream reset the stream"),
    flag("UF", "UpstreamConnectionFailure", "no connection to the upstream could be made"),
    flag("UC", "UpstreamConnectionTermination", "the upstream's connection ended"),
    flag("UO", "UpstreamOverflow", "a limit of the cluster (circuit breaker) was reached"),
    flag("NR", "NoRouteFound", "no route fits the request, or no filter chain fits the connection"),
    flag("DI", "DelayInjected", "an injected fault delayed the request"),
    flag("FI", "FaultInjected", "an injected fault ended the request"),
    flag("RL", "RateLimited", "a rate limit answered with 429"),
    flag("UAEX", "UnauthorizedExternalService", "the external authorization service said no"),
    flag("RLSE", "RateLimitServiceError", "the rate limit service could not be asked"),
    flag("DC", "DownstreamConnectionTermination", "the downstream's connection ended"),
    flag("URX", "UpstreamRetryLimitExceeded", "the retries, or the attempts to connect, are used up"),
    flag("SI", "StreamIdleTimeout", "nothing passed for as long as the stream may be idle"),
    flag("IH", "InvalidEnvoyRequestHeaders", "an x-envoy-* field of the request failed the strict check"),
    flag("DPE", "DownstreamProtocolError", "the downstream sent what is not valid HTTP here"),
    flag("UMSDR", "UpstreamMaxStreamDurationReached", "the stream lived as long as it may"),
    flag("RFCF", "ResponseFromCacheFilter", "the response came from a cache in this proxy"),
    flag("NFCF", "NoFilterConfigFound", "the configuration of a filter did not arrive in time"),
    flag("DT", "DurationTimeout", "the connection or the request lasted as long as it may"),
    flag("UPE", "UpstreamProtocolError", "the upstream answered with what is not valid HTTP here"),
    flag("NC", "NoClusterFound", "the route names a cluster that this proxy does not know"),
    flag("OM", "OverloadManagerTerminated", "this proxy is overloaded and shed the request"),
    flag("DF", "DnsResolutionFailed", "the upstream's name could not be resolved"),
    flag("DO", "DropOverload", "a configured share of the cluster's requests is dropped"),
    flag("DR", "DownstreamRemoteReset", "the downstream reset the stream"),
    flag("UDO", "UnconditionalDropOverload", "all of the cluster's requests are dropped by configuration"),
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
