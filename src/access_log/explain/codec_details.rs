//! What Envoy's codecs, and the validators of heads before them, give as `%RESPONSE_CODE_DETAILS%`: a root, which is the
//! version of HTTP or `uhv`, and a name that several of them may share. Data alone.

use super::Origin::{Downstream, Upstream};
use super::details::{DetailMeaning, MEND_CLIENT, detail};

/// What to do about limits on the size of a head.
const SMALLER_HEAD: &str =
    "send fewer or smaller header fields (cookies, mostly), or raise the limit on the listener";

/// What to do about an answer that is not valid HTTP.
const MEND_APPLICATION: &str = "correct what the application answers";

/// What the HTTP/2 codecs have no name for, and what to do then.
const NAMELESS: &str = "the HTTP/2 codec failed without a name for it";
const SEE_ENVOYS_LOG: &str = "look at Envoy's own log at debug level";

const HTTP1: &[&str] = &["http1"];
const HTTP2: &[&str] = &["http2"];
const HTTP3: &[&str] = &["http3"];
const VALIDATOR: &[&str] = &["uhv"];
const VALIDATOR_OF_HTTP1: &[&str] = &["uhv.http1"];

/// A name under each of its roots.
type CodecDetail = (&'static [&'static str], DetailMeaning);

/// The meaning of `http1.codec_error` and its like.
pub(super) fn codec_detail_meaning(details: &str) -> Option<&'static DetailMeaning> {
    let is_it =
        |root: &str, name: &str| details.strip_prefix(root)?.strip_prefix('.').map(|rest| rest == name);
    let found = CODEC_DETAILS
        .iter()
        .find(|(roots, detail)| roots.iter().any(|root| is_it(root, detail.name) == Some(true)));
    found.map(|(_, detail)| detail)
}

/// Every value with its root.
#[cfg(test)]
pub(super) fn all() -> impl Iterator<Item = String> {
    let rooted =
        |(roots, detail): &'static CodecDetail| roots.iter().map(|root| format!("{root}.{}", detail.name));
    CODEC_DETAILS.iter().flat_map(rooted)
}

/// A request that is not valid, which its sender has to correct.
const fn invalid(roots: &'static [&'static str], name: &'static str, meaning: &'static str) -> CodecDetail {
    (roots, detail(name, Downstream, meaning, MEND_CLIENT))
}

/// A limit on heads that the downstream has gone beyond.
const fn limit(roots: &'static [&'static str], name: &'static str, meaning: &'static str) -> CodecDetail {
    (roots, detail(name, Downstream, meaning, SMALLER_HEAD))
}

const CODEC_DETAILS: &[CodecDetail] = &[
    // Several of them.
    limit(&["http1", "http3"], "headers_too_large", "the head is larger than the limit"),
    limit(&["http1", "http2", "http3"], "too_many_headers", "the head has more fields than the limit"),
    invalid(
        &["http1", "http2", "http3", "uhv"],
        "unexpected_underscore",
        "a field name has an underscore, which this listener refuses",
    ),
    (&["http2", "http3"], detail("remote_refuse", Downstream, "the peer refused the stream", "")),
    (&["http2", "http3"], detail("remote_reset", Downstream, "the peer reset the stream", "")),
    invalid(&["http1", "uhv"], "invalid_scheme", "the request's scheme is not valid"),
    invalid(&["http1", "uhv"], "invalid_url", "the request's URL is not valid"),
    invalid(
        &["http1", "uhv.http1"],
        "content_length_and_chunked_not_allowed",
        "both Content-Length and chunked coding were given",
    ),
    invalid(&["http1", "uhv.http1"], "invalid_transfer_encoding", "the Transfer-Encoding is not valid"),
    // HTTP/1.
    invalid(
        HTTP1,
        "https_url_on_plaintext_connection",
        "the request has an https URL on a connection without TLS",
    ),
    invalid(HTTP1, "body_disallowed", "a body came where none is allowed"),
    (
        HTTP1,
        detail(
            "codec_error",
            Downstream,
            "it could not be parsed as HTTP/1.1",
            "look whether the peer speaks TLS, HTTP/2 or another protocol to this port",
        ),
    ),
    invalid(HTTP1, "connection_header_rejected", "the Connection field is malformed or too long"),
    (
        HTTP1,
        detail(
            "content_length_not_allowed",
            Upstream,
            "a Content-Length came where none is allowed",
            MEND_APPLICATION,
        ),
    ),
    invalid(HTTP1, "invalid_characters", "the head has characters that are not allowed"),
    (
        HTTP1,
        detail(
            "transfer_encoding_not_allowed",
            Upstream,
            "a transfer coding came where none is allowed",
            MEND_APPLICATION,
        ),
    ),
    invalid(HTTP1, "unexpected_body", "a body came where none is allowed"),
    // HTTP/2.
    limit(HTTP2, "header_list_size_too_large", "the head is larger than the limit"),
    limit(HTTP2, "cookies_total_bytes_too_large", "the head's cookies are larger than the limit"),
    invalid(HTTP2, "inbound_empty_frames_flood", "the peer flooded the connection with empty frames"),
    invalid(HTTP2, "invalid.header.field", "a header field of the request is not valid here"),
    (
        HTTP2,
        detail(
            "outbound_frames_flood",
            Downstream,
            "too many frames wait to be sent to the peer, which does not read them",
            "look at the peer, which asks much and reads little",
        ),
    ),
    (HTTP2, detail("unknown.nghttp2.error", Downstream, NAMELESS, SEE_ENVOYS_LOG)),
    (HTTP2, detail("unknown.oghttp2.error", Downstream, NAMELESS, SEE_ENVOYS_LOG)),
    invalid(HTTP2, "violation.of.messaging.rule", "the request breaks a rule of HTTP/2 messages"),
    // HTTP/3.
    invalid(HTTP3, "inconsistent_content_length", "the body is not as long as Content-Length says"),
    invalid(HTTP3, "invalid_header_field", "a header field is not valid"),
    invalid(HTTP3, "too_many_trailers", "there are more trailers than the limit"),
    // Validators of heads.
    invalid(VALIDATOR, "invalid_name_characters", "a field name has characters that are not allowed"),
    invalid(VALIDATOR, "invalid_value_characters", "a field has characters that are not allowed"),
    invalid(VALIDATOR, "invalid_host", "the request's Host or :authority is not valid"),
    invalid(
        VALIDATOR,
        "invalid_host_deprecated_user_info",
        "the request's :authority names a user, which is not allowed",
    ),
    invalid(VALIDATOR, "invalid_method", "the request's method is not valid"),
    invalid(VALIDATOR, "invalid_content_length", "the Content-Length is not valid"),
    invalid(VALIDATOR, "invalid_status", "the status of the response is not valid"),
    invalid(VALIDATOR, "empty_header_name", "a field has no name"),
    invalid(VALIDATOR, "invalid_pseudo_header", "a pseudo-header field is not allowed there, or not known"),
    invalid(VALIDATOR, "fragment_in_url_path", "the request's path has a fragment (#)"),
    invalid(
        VALIDATOR,
        "escaped_slashes_in_url_path",
        "the request's path has escaped slashes, which this listener refuses",
    ),
    invalid(VALIDATOR, "percent_00_in_url_path", "the request's path has an escaped null character"),
    invalid(
        VALIDATOR,
        "path_normalization_redirect",
        "the request's path was normalised, and the client redirected to it",
    ),
    invalid(
        VALIDATOR_OF_HTTP1,
        "transfer_encoding_not_allowed",
        "a Transfer-Encoding came where none is allowed",
    ),
    invalid(VALIDATOR_OF_HTTP1, "content_length_not_allowed", "a Content-Length came where none is allowed"),
];
