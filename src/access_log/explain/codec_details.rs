//! What Envoy's codecs, and the validators of heads before them, give as `%RESPONSE_CODE_DETAILS%`, each kind rooted at
//! its version of HTTP. Data alone.

use super::Origin::{Downstream, Upstream};
use super::details::{DetailMeaning, MEND_CLIENT, detail};

/// What to do about limits on the size of a head.
const SMALLER_HEAD: &str =
    "send fewer or smaller header fields (cookies, mostly), or raise the limit on the listener";

pub(super) const CODEC_DETAILS: [DetailMeaning; 53] = [
    // HTTP/1.
    detail(
        "http1.https_url_on_plaintext_connection",
        Downstream,
        "the request has an https URL on a connection without TLS",
        MEND_CLIENT,
    ),
    detail("http1.body_disallowed", Downstream, "a body came where none is allowed", MEND_CLIENT),
    detail(
        "http1.codec_error",
        Downstream,
        "it could not be parsed as HTTP/1.1",
        "look whether the peer speaks TLS, HTTP/2 or another protocol to this port",
    ),
    detail(
        "http1.connection_header_rejected",
        Downstream,
        "the Connection field is malformed or too long",
        MEND_CLIENT,
    ),
    detail(
        "http1.content_length_and_chunked_not_allowed",
        Downstream,
        "both Content-Length and chunked coding were given",
        MEND_CLIENT,
    ),
    detail(
        "http1.content_length_not_allowed",
        Upstream,
        "a Content-Length came where none is allowed",
        "correct what the application answers",
    ),
    detail("http1.headers_too_large", Downstream, "the head is larger than the limit", SMALLER_HEAD),
    detail(
        "http1.invalid_characters",
        Downstream,
        "the head has characters that are not allowed",
        MEND_CLIENT,
    ),
    detail("http1.invalid_scheme", Downstream, "the scheme in the request's URL is not valid", MEND_CLIENT),
    detail("http1.invalid_transfer_encoding", Downstream, "the Transfer-Encoding is not valid", MEND_CLIENT),
    detail("http1.invalid_url", Downstream, "the request's URL is not valid", MEND_CLIENT),
    detail("http1.too_many_headers", Downstream, "the head has more fields than the limit", SMALLER_HEAD),
    detail(
        "http1.transfer_encoding_not_allowed",
        Upstream,
        "a transfer coding came where none is allowed",
        "correct what the application answers",
    ),
    detail(
        "http1.unexpected_underscore",
        Downstream,
        "a field name has an underscore, which this listener refuses",
        MEND_CLIENT,
    ),
    detail("http1.unexpected_body", Downstream, "a body came where none is allowed", MEND_CLIENT),
    // HTTP/2.
    detail(
        "http2.inbound_empty_frames_flood",
        Downstream,
        "the peer flooded the connection with empty frames",
        MEND_CLIENT,
    ),
    detail(
        "http2.invalid.header.field",
        Downstream,
        "a header field of the request is not valid here",
        MEND_CLIENT,
    ),
    detail(
        "http2.outbound_frames_flood",
        Downstream,
        "too many frames wait to be sent to the peer, which does not read them",
        "look at the peer, which asks much and reads little",
    ),
    detail("http2.remote_refuse", Downstream, "the peer refused the stream", ""),
    detail("http2.remote_reset", Downstream, "the peer reset the stream", ""),
    detail("http2.too_many_headers", Downstream, "the head has more fields than the limit", SMALLER_HEAD),
    detail(
        "http2.unexpected_underscore",
        Downstream,
        "a field name has an underscore, which this listener refuses",
        MEND_CLIENT,
    ),
    detail(
        "http2.unknown.nghttp2.error",
        Downstream,
        "the HTTP/2 codec failed without a name for it",
        "look at Envoy's own log at debug level",
    ),
    detail(
        "http2.unknown.oghttp2.error",
        Downstream,
        "the HTTP/2 codec failed without a name for it",
        "look at Envoy's own log at debug level",
    ),
    detail(
        "http2.violation.of.messaging.rule",
        Downstream,
        "the request breaks a rule of HTTP/2 messages",
        MEND_CLIENT,
    ),
    // HTTP/3.
    detail("http3.headers_too_large", Downstream, "the head is larger than the limit", SMALLER_HEAD),
    detail(
        "http3.inconsistent_content_length",
        Downstream,
        "the body is not as long as Content-Length says",
        MEND_CLIENT,
    ),
    detail("http3.invalid_header_field", Downstream, "a header field is not valid", MEND_CLIENT),
    detail("http3.remote_refuse", Downstream, "the peer refused the stream", ""),
    detail("http3.remote_reset", Downstream, "the peer reset the stream", ""),
    detail("http3.too_many_headers", Downstream, "the head has more fields than the limit", SMALLER_HEAD),
    detail("http3.too_many_trailers", Downstream, "there are more trailers than the limit", MEND_CLIENT),
    detail(
        "http3.unexpected_underscore",
        Downstream,
        "a field name has an underscore, which this listener refuses",
        MEND_CLIENT,
    ),
    // Validators of heads.
    detail(
        "uhv.invalid_name_characters",
        Downstream,
        "a field name has characters that are not allowed",
        MEND_CLIENT,
    ),
    detail(
        "uhv.invalid_value_characters",
        Downstream,
        "a field has characters that are not allowed",
        MEND_CLIENT,
    ),
    detail("uhv.invalid_url", Downstream, "the request's URL is not valid", MEND_CLIENT),
    detail("uhv.invalid_host", Downstream, "the request's Host or :authority is not valid", MEND_CLIENT),
    detail(
        "uhv.invalid_host_deprecated_user_info",
        Downstream,
        "the request's :authority names a user, which is not allowed",
        MEND_CLIENT,
    ),
    detail("uhv.invalid_scheme", Downstream, "the request's scheme is not valid", MEND_CLIENT),
    detail("uhv.invalid_method", Downstream, "the request's method is not valid", MEND_CLIENT),
    detail("uhv.invalid_content_length", Downstream, "the Content-Length is not valid", MEND_CLIENT),
    detail("uhv.invalid_status", Downstream, "the status of the response is not valid", MEND_CLIENT),
    detail(
        "uhv.unexpected_underscore",
        Downstream,
        "a field name has an underscore, which this listener refuses",
        MEND_CLIENT,
    ),
    detail("uhv.empty_header_name", Downstream, "a field has no name", MEND_CLIENT),
    detail(
        "uhv.invalid_pseudo_header",
        Downstream,
        "a pseudo-header field is not allowed there, or not known",
        MEND_CLIENT,
    ),
    detail("uhv.fragment_in_url_path", Downstream, "the request's path has a fragment (#)", MEND_CLIENT),
    detail(
        "uhv.escaped_slashes_in_url_path",
        Downstream,
        "the request's path has escaped slashes, which this listener refuses",
        MEND_CLIENT,
    ),
    detail(
        "uhv.percent_00_in_url_path",
        Downstream,
        "the request's path has an escaped null character",
        MEND_CLIENT,
    ),
    detail(
        "uhv.path_normalization_redirect",
        Downstream,
        "the request's path was normalised, and the client redirected to it",
        MEND_CLIENT,
    ),
    detail(
        "uhv.http1.transfer_encoding_not_allowed",
        Downstream,
        "a Transfer-Encoding came where none is allowed",
        MEND_CLIENT,
    ),
    detail(
        "uhv.http1.content_length_not_allowed",
        Downstream,
        "a Content-Length came where none is allowed",
        MEND_CLIENT,
    ),
    detail(
        "uhv.http1.invalid_transfer_encoding",
        Downstream,
        "the Transfer-Encoding is not valid",
        MEND_CLIENT,
    ),
    detail(
        "uhv.http1.content_length_and_chunked_not_allowed",
        Downstream,
        "both Content-Length and chunked coding were given",
        MEND_CLIENT,
    ),
];
