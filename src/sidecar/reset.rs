//! Why a stream was reset, in Envoy's terms (`Http::StreamResetReason`): by its upstream or by its
//! downstream, each with the flag and the details that the access log shows for it.

use std::borrow::Cow;

use http::StatusCode;

use crate::access_log::{Record, ResponseFlag};
use crate::tunnel::{Reason, StreamError};

/// Why the upstream's half of a stream ended early.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum UpstreamReset {
    /// `RemoteConnectionFailure`: the connection could not be opened; with Envoy's transport
    /// failure reason, if it has one.
    ConnectionFailure(Option<Cow<'static, str>>),
    /// `ConnectionTimeout`: the connection could not be opened in time.
    ConnectionTimeout,
    /// `ConnectionTermination`: the connection ended.
    ConnectionTermination,
    /// `RemoteReset`: RST_STREAM with any other code.
    RemoteReset,
    /// `RemoteRefusedStreamReset`: RST_STREAM REFUSED_STREAM; the request was not processed.
    RemoteRefusedStream,
    /// `ConnectError`: RST_STREAM CONNECT_ERROR; the tunnel's peer has lost its own upstream.
    ConnectError,
    /// `ProtocolError`: what came is not HTTP.
    ProtocolError,
}

impl From<StreamError> for UpstreamReset {
    fn from(error: StreamError) -> Self {
        match error {
            StreamError::Reset(Reason::REFUSED_STREAM) | StreamError::GoAway => Self::RemoteRefusedStream,
            StreamError::Reset(Reason::CONNECT_ERROR) => Self::ConnectError,
            StreamError::Reset(Reason::PROTOCOL_ERROR)
            | StreamError::Protocol(_)
            | StreamError::Malformed => Self::ProtocolError,
            StreamError::Reset(_) => Self::RemoteReset,
            StreamError::ConnectionLost => Self::ConnectionTermination,
        }
    }
}

impl UpstreamReset {
    /// The reason's name in words (`Utility::resetReasonToString`), which a local reply shows to
    /// the client.
    pub(super) fn words(&self) -> &'static str {
        match self {
            Self::ConnectionFailure(_) => "remote connection failure",
            Self::ConnectionTimeout => "connection timeout",
            Self::ConnectionTermination => "connection termination",
            Self::RemoteReset => "remote reset",
            Self::RemoteRefusedStream => "remote refused stream reset",
            Self::ConnectError => "remote error with CONNECT request",
            Self::ProtocolError => "protocol error",
        }
    }

    /// The body of the local reply to a request that this ended before a response.
    pub(super) fn body(&self, retried: bool) -> String {
        let retried = if retried { "retried and the latest " } else { "" };
        let words = self.words();
        format!("upstream connect error or disconnect/reset before headers. {retried}reset reason: {words}")
    }

    /// The response flag (`Filter::streamResetReasonToResponseFlag`).
    pub(super) fn flag(&self) -> ResponseFlag {
        match self {
            Self::ConnectionFailure(_) | Self::ConnectionTimeout => ResponseFlag::UpstreamConnectionFailure,
            Self::ConnectionTermination => ResponseFlag::UpstreamConnectionTermination,
            Self::RemoteReset | Self::RemoteRefusedStream | Self::ConnectError => {
                ResponseFlag::UpstreamRemoteReset
            }
            Self::ProtocolError => ResponseFlag::UpstreamProtocolError,
        }
    }

    /// The status of the local reply to a request that this ended before a response.
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::ProtocolError => StatusCode::BAD_GATEWAY,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// `%RESPONSE_CODE_DETAILS%`, blanks as underscores.
    pub(super) fn details(&self, after_response_started: bool) -> Cow<'static, str> {
        let when = if after_response_started { "after" } else { "before" };
        let words = self.words();
        let reason = self
            .transport_failure()
            .map_or_else(|| words.to_owned(), |transport| format!("{words}|{transport}"));
        Cow::Owned(format!("upstream_reset_{when}_response_started{{{}}}", reason.replace(' ', "_")))
    }

    /// `%UPSTREAM_TRANSPORT_FAILURE_REASON%`.
    pub(super) fn transport_failure(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::ConnectionFailure(reason) => reason.clone(),
            _ => None,
        }
    }

    /// The code that the downstream's HTTP/2 stream is reset with for it, once the response has
    /// begun: CONNECT_ERROR if the upstream connection ended; any other reset is an error of this
    /// proxy to the downstream.
    pub(super) fn downstream_code(&self) -> Reason {
        match self {
            Self::ConnectionTermination => Reason::CONNECT_ERROR,
            _ => Reason::INTERNAL_ERROR,
        }
    }
}

/// Why the downstream's half of a stream ended early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DownstreamReset {
    /// The connection ended.
    Disconnected,
    /// RST_STREAM, with its code.
    RemoteReset(Reason),
    /// The connection is given up because its peer broke the protocol; the details that Envoy logs
    /// for it.
    ProtocolError(&'static str),
}

impl DownstreamReset {
    /// Puts flag and details into the record.
    pub(super) fn note(self, record: &mut Record) {
        let (flag, details) = match self {
            Self::Disconnected => {
                (ResponseFlag::DownstreamConnectionTermination, "downstream_remote_disconnect")
            }
            Self::RemoteReset(Reason::PROTOCOL_ERROR) => {
                (ResponseFlag::DownstreamProtocolError, "http2.remote_reset")
            }
            Self::RemoteReset(Reason::REFUSED_STREAM) => {
                (ResponseFlag::DownstreamRemoteReset, "http2.remote_refuse")
            }
            Self::RemoteReset(_) => (ResponseFlag::DownstreamRemoteReset, "http2.remote_reset"),
            Self::ProtocolError(details) => (ResponseFlag::DownstreamProtocolError, details),
        };
        record.response_flags.set(flag);
        record.response_code_details = Some(Cow::Borrowed(details));
    }
}
