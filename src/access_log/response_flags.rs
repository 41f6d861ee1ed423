//! `%RESPONSE_FLAGS%`: why a response is not simply the upstream's (Envoy's
//! `StreamInfo::CoreResponseFlag`).

use std::fmt;

/// One flag, with the short name that Envoy logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResponseFlag {
    /// `UH`: no healthy upstream host.
    NoHealthyUpstream,
    /// `UT`: the route's timeout fired.
    UpstreamRequestTimeout,
    /// `LR`: this proxy reset the upstream stream.
    LocalReset,
    /// `UR`: the upstream reset the stream.
    UpstreamRemoteReset,
    /// `UF`: no connection to the upstream.
    UpstreamConnectionFailure,
    /// `UC`: the upstream connection ended.
    UpstreamConnectionTermination,
    /// `UO`: the circuit breaker's limits.
    UpstreamOverflow,
    /// `NR`: no route for the request.
    NoRouteFound,
    /// `NC`: the route's cluster does not exist.
    NoClusterFound,
    /// `DC`: the downstream connection ended.
    DownstreamConnectionTermination,
    /// `URX`: the retries are used up.
    UpstreamRetryLimitExceeded,
    /// `DI`: the fault filter let the request wait.
    DelayInjected,
    /// `FI`: the fault filter answered.
    FaultInjected,
    /// `SI`: the stream was idle too long.
    StreamIdleTimeout,
    /// `DPE`: the downstream broke the protocol.
    DownstreamProtocolError,
    /// `UMSDR`: the stream lived too long.
    UpstreamMaxStreamDurationReached,
    /// `UPE`: the upstream broke the protocol.
    UpstreamProtocolError,
    /// `DR`: the downstream reset the stream.
    DownstreamRemoteReset,
    /// `OM`: the overload manager ended the stream.
    OverloadManager,
}

impl ResponseFlag {
    /// The short name, as logged.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoHealthyUpstream => "UH",
            Self::UpstreamRequestTimeout => "UT",
            Self::LocalReset => "LR",
            Self::UpstreamRemoteReset => "UR",
            Self::UpstreamConnectionFailure => "UF",
            Self::UpstreamConnectionTermination => "UC",
            Self::UpstreamOverflow => "UO",
            Self::NoRouteFound => "NR",
            Self::NoClusterFound => "NC",
            Self::DownstreamConnectionTermination => "DC",
            Self::UpstreamRetryLimitExceeded => "URX",
            Self::DelayInjected => "DI",
            Self::FaultInjected => "FI",
            Self::StreamIdleTimeout => "SI",
            Self::DownstreamProtocolError => "DPE",
            Self::UpstreamMaxStreamDurationReached => "UMSDR",
            Self::UpstreamProtocolError => "UPE",
            Self::DownstreamRemoteReset => "DR",
            Self::OverloadManager => "OM",
        }
    }
}

/// The flags of one stream, in the order in which they were set, each once; Envoy logs them so
/// (`URX,UF`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ResponseFlags {
    flags: [Option<ResponseFlag>; Self::MOST],
}

impl ResponseFlags {
    /// No stream ends for more reasons than these.
    const MOST: usize = 4;

    /// Sets a flag; one that is set already keeps its place.
    pub fn set(&mut self, flag: ResponseFlag) {
        if self.flags.contains(&Some(flag)) {
            return;
        }
        if let Some(free) = self.flags.iter_mut().find(|slot| slot.is_none()) {
            *free = Some(flag);
        }
    }

    /// Whether no flag is set.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.flags[0].is_none()
    }
}

impl fmt::Display for ResponseFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("-");
        }
        for (index, flag) in self.flags.iter().flatten().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            f.write_str(flag.as_str())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_logged_in_the_order_in_which_they_were_set_and_once() {
        let mut flags = ResponseFlags::default();
        assert_eq!(flags.to_string(), "-");
        for flag in [
            ResponseFlag::UpstreamRetryLimitExceeded,
            ResponseFlag::UpstreamConnectionFailure,
            ResponseFlag::UpstreamRetryLimitExceeded,
        ] {
            flags.set(flag);
        }
        assert_eq!(flags.to_string(), "URX,UF");
    }
}
