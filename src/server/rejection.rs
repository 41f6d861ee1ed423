//! Requests that are neither an opening handshake nor plain HTTP that hyper could answer: each gets a status and a
//! sentence, and its connection ends.

use std::time::Duration;

use bytes::BytesMut;
use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, StatusCode, Version};

use crate::http1::{Fields, HeadError, ResponseHead};
use crate::websocket::opening::server::Refusal;

/// Why a connection ends with its first request.
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
            Self::Head(HeadError::Malformed(httparse::Error::Version)) => {
                StatusCode::HTTP_VERSION_NOT_SUPPORTED
            }
            Self::Head(HeadError::Malformed(_)) => StatusCode::BAD_REQUEST,
            Self::Handshake(refusal) => refusal.status(),
        }
    }

    /// The whole response: head and sentence.
    pub(super) fn response(self) -> BytesMut {
        let text = format!("{self}\n");
        let mut fields = match self {
            Self::Handshake(refusal) => refusal.fields(),
            _ => Fields::new(),
        };
        fields.append(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        fields.append(CONTENT_LENGTH, HeaderValue::from(text.len()));
        fields.append(CONNECTION, HeaderValue::from_static("close"));
        let mut response = BytesMut::new();
        ResponseHead { status: self.status(), version: Version::HTTP_11, fields }.write(&mut response);
        response.extend_from_slice(text.as_bytes());
        response
    }
}
