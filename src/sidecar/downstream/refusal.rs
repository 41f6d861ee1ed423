//! How an HTTP/1.1 codec refuses what is not a request.

use http::StatusCode;

use super::super::http1::CODEC_ERROR;
use crate::http1::{FramingError, HeadError};

/// The answer to bytes that are not a request (Envoy's codec errors).
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) body: &'static str,
    /// `%RESPONSE_CODE_DETAILS%`.
    pub(super) details: &'static str,
}

impl From<HeadError> for Refusal {
    fn from(error: HeadError) -> Self {
        match error {
            HeadError::Malformed(httparse::Error::Version) => Self::low_version(),
            HeadError::Malformed(httparse::Error::HeaderValue) => {
                Self::bad_request("http1.invalid_characters")
            }
            HeadError::Malformed(_) => Self::bad_request(CODEC_ERROR),
            HeadError::TooLong(_) => Self::too_large("http1.headers_too_large"),
            HeadError::TooManyFields => Self::too_large("http1.too_many_headers"),
        }
    }
}

impl From<FramingError> for Refusal {
    fn from(error: FramingError) -> Self {
        match error {
            FramingError::ContentLength => Self::bad_request(CODEC_ERROR),
            FramingError::Both => Self::bad_request("http1.content_length_and_chunked_not_allowed"),
            FramingError::TransferEncoding => Self {
                status: StatusCode::NOT_IMPLEMENTED,
                body: "Not Implemented",
                details: "http1.invalid_transfer_encoding",
            },
        }
    }
}

impl Refusal {
    pub(super) fn bad_request(details: &'static str) -> Self {
        Self { status: StatusCode::BAD_REQUEST, body: "Bad Request", details }
    }

    fn too_large(details: &'static str) -> Self {
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        Self { status, body: "Request Header Fields Too Large", details }
    }

    /// Istio does not let Envoy take HTTP/1.0 (`accept_http_10`).
    pub(super) fn low_version() -> Self {
        Self { status: StatusCode::UPGRADE_REQUIRED, body: "Upgrade Required", details: "low_version" }
    }
}
