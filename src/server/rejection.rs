//! Opening handshakes that are refused, and requests that hyper could not answer: each gets a
//! status and a sentence.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, Response, StatusCode, Version};

use crate::http1::{Fields, HeadError, ResponseHead};
use crate::websocket::opening::server::Refusal;

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Rejection {
    #[error("no complete request within {0:?}")]
    TimedOut(Duration),
    #[error("the request target is too long")]
    TargetTooLong,
    #[error(transparent)]
    Head(HeadError),
    #[error(transparent)]
    Handshake(#[from] Refusal),
    #[error("sessions are not taken from this origin")]
    Origin,
    #[error("too many sessions are open")]
    Full,
    #[error("the open sessions hold as much memory as they may")]
    Buffers,
    #[error("the server is shutting down")]
    Draining,
    #[error("every session is refused, as this server was told to")]
    OnPurpose(StatusCode),
}

impl Rejection {
    /// What is wrong with the bytes that have come.
    pub(super) fn of_head(error: HeadError, bytes: &[u8]) -> Self {
        match error {
            HeadError::TooLong(_) if !bytes.contains(&b'\n') => Self::TargetTooLong,
            error => Self::Head(error),
        }
    }

    fn status(self) -> StatusCode {
        match self {
            Self::TimedOut(_) => StatusCode::REQUEST_TIMEOUT,
            Self::TargetTooLong => StatusCode::URI_TOO_LONG,
            Self::Head(HeadError::TooLong(_) | HeadError::TooManyFields) => {
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
            }
            Self::Head(HeadError::Malformed(_)) => StatusCode::BAD_REQUEST,
            Self::Handshake(refusal) => refusal.status(),
            Self::Origin => StatusCode::FORBIDDEN,
            Self::Full | Self::Buffers | Self::Draining => StatusCode::SERVICE_UNAVAILABLE,
            Self::OnPurpose(status) => status,
        }
    }

    /// The reason that `/metrics` counts it under.
    pub(super) fn reason(self) -> RejectionReason {
        match self {
            Self::TimedOut(_) => RejectionReason::Timeout,
            Self::TargetTooLong => RejectionReason::TargetTooLong,
            Self::Head(HeadError::TooLong(_) | HeadError::TooManyFields) => RejectionReason::HeadTooLarge,
            Self::Head(HeadError::Malformed(_)) => RejectionReason::Malformed,
            Self::Handshake(refusal) => RejectionReason::of(refusal),
            Self::Origin => RejectionReason::Origin,
            Self::Full => RejectionReason::MaxConnections,
            Self::Buffers => RejectionReason::MaxBufferedBytes,
            Self::Draining => RejectionReason::Draining,
            Self::OnPurpose(_) => RejectionReason::OnPurpose,
        }
    }

    /// The answer: a sentence, unless the status has no body (RFC 9110 sections 15.3.5 and 15.4.5).
    pub(super) fn response(self) -> Response<Bytes> {
        let status = self.status();
        let has_body = !matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let mut response = Response::new(if has_body { format!("{self}\n").into() } else { Bytes::new() });
        *response.status_mut() = status;
        if let Self::Handshake(refusal) = self {
            *response.headers_mut() = refusal.fields().into();
        }
        if has_body {
            response
                .headers_mut()
                .insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        }
        response
    }

    /// The answer in the bytes of HTTP/1.1, as the last one on its connection.
    pub(super) fn last_response(self) -> BytesMut {
        let (parts, body) = self.response().into_parts();
        let mut fields = Fields::from(&parts.headers);
        if !body.is_empty() {
            fields.append(CONTENT_LENGTH, HeaderValue::from(body.len()));
        }
        fields.append(CONNECTION, HeaderValue::from_static("close"));
        let mut response = BytesMut::new();
        ResponseHead { status: parts.status, version: Version::HTTP_11, fields }.write(&mut response);
        response.extend_from_slice(&body);
        response
    }
}

/// A [`Rejection`] as `/metrics` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RejectionReason {
    Timeout,
    Malformed,
    HeadTooLarge,
    TargetTooLong,
    Method,
    HttpVersion,
    Target,
    Host,
    Body,
    Protocol,
    Upgrade,
    Connection,
    WebSocketVersion,
    Key,
    Origin,
    MaxConnections,
    MaxBufferedBytes,
    Draining,
    OnPurpose,
}

impl RejectionReason {
    /// All reasons, in the order of their numbers.
    pub(super) const ALL: [Self; 19] = [
        Self::Timeout,
        Self::Malformed,
        Self::HeadTooLarge,
        Self::TargetTooLong,
        Self::Method,
        Self::HttpVersion,
        Self::Target,
        Self::Host,
        Self::Body,
        Self::Protocol,
        Self::Upgrade,
        Self::Connection,
        Self::WebSocketVersion,
        Self::Key,
        Self::Origin,
        Self::MaxConnections,
        Self::MaxBufferedBytes,
        Self::Draining,
        Self::OnPurpose,
    ];

    fn of(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Method => Self::Method,
            Refusal::HttpVersion => Self::HttpVersion,
            Refusal::Target => Self::Target,
            Refusal::Host => Self::Host,
            Refusal::Body => Self::Body,
            Refusal::Protocol => Self::Protocol,
            Refusal::Upgrade => Self::Upgrade,
            Refusal::Connection => Self::Connection,
            Refusal::WebSocketVersion => Self::WebSocketVersion,
            Refusal::Key => Self::Key,
        }
    }

    /// The value of the label `reason`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Malformed => "malformed",
            Self::HeadTooLarge => "head_too_large",
            Self::TargetTooLong => "target_too_long",
            Self::Method => "method",
            Self::HttpVersion => "http_version",
            Self::Target => "target",
            Self::Host => "host",
            Self::Body => "body",
            Self::Protocol => "protocol",
            Self::Upgrade => "upgrade",
            Self::Connection => "connection",
            Self::WebSocketVersion => "websocket_version",
            Self::Key => "key",
            Self::Origin => "origin",
            Self::MaxConnections => "max_connections",
            Self::MaxBufferedBytes => "max_buffered_bytes",
            Self::Draining => "draining",
            Self::OnPurpose => "on_purpose",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_stands_at_its_number() {
        for (number, reason) in RejectionReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, number);
        }
    }

    #[test]
    fn a_status_without_a_body_has_none() {
        let response = Rejection::OnPurpose(StatusCode::NO_CONTENT).last_response();
        assert_eq!(&response[..], b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n");
    }
}
