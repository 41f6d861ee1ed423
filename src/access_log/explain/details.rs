//! What Envoy lists for `%RESPONSE_CODE_DETAILS%`, with what each value means and what to do: of
//! the connection manager, the router and the filters that Istio configures by one name; of the
//! codecs, and of the validators of heads before them, by a root, which is the version of HTTP or
//! `uhv`, and a name that several of them may share. Data alone: what was seen of WebSocket
//! sessions, and what flags and codes add, is in [`super::cause`].

use super::Origin::{self, Downstream, Here, Upstream};

/// One value of the field, without what follows it in braces, brackets or parentheses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DetailMeaning {
    pub(super) name: &'static str,
    pub(super) origin: Origin,
    pub(super) meaning: &'static str,
    /// Empty where nothing is to be done.
    pub(super) change: &'static str,
}

/// The meaning of the field's value: `upstream_reset_before_response_started{overflow}` is found by
/// its first part.
pub(super) fn detail_meaning(details: &str) -> Option<&'static DetailMeaning> {
    let name = details.split(['{', '[', '(', ':']).next().unwrap_or(details);
    DETAILS.iter().find(|detail| detail.name == name).or_else(|| codec_detail_meaning(name))
}

/// The meaning of `http1.codec_error` and its like.
fn codec_detail_meaning(details: &str) -> Option<&'static DetailMeaning> {
    let is_it =
        |root: &str, name: &str| details.strip_prefix(root)?.strip_prefix('.').map(|rest| rest == name);
    let found = CODEC_DETAILS
        .iter()
        .find(|(roots, detail)| roots.iter().any(|root| is_it(root, detail.name) == Some(true)));
    found.map(|(_, detail)| detail)
}

/// What stands in the braces of `upstream_reset_…_response_started{…}`, or the parentheses of
/// `downstream_local_disconnect(…)`, in words.
pub(super) fn reason_meaning(details: &str) -> Option<&'static str> {
    let (_, inner) = details.split_once(['{', '('])?;
    let reason = inner.split(['|', '}', ')', ':']).next().unwrap_or(inner);
    let all = RESET_REASONS.iter().chain(&CLOSE_REASONS);
    all.into_iter().find(|(name, _)| *name == reason).map(|(_, words)| *words)
}

/// Envoy's `LocalCloseReasonValues`, and what it says as its process ends.
const CLOSE_REASONS: [(&str, &str); 14] = [
    ("purging_socket_that_have_not_progressed_to_connections", "its process was ending"),
    ("deferred_close_on_drained_connection", "the connection was drained"),
    ("on_idle_timeout", "the connection was idle too long"),
    ("http2_ping_timeout", "its pings on the HTTP/2 connection were not answered"),
    ("http2_connection_protocol_violation", "the HTTP/2 connection broke the protocol"),
    ("transport_socket_timeout", "the TLS handshake took too long"),
    ("triggered_delayed_close_timeout", "the peer had not closed its side in time"),
    ("close_for_connect_request_or_tcp_tunneling", "the tunnel had ended"),
    ("tcp_session_idle_timeout", "the TCP session was idle too long"),
    ("max_connection_duration_reached", "the connection was as old as it may be"),
    ("closing_upstream_tcp_connection_due_to_downstream_remote_close", "the client closed its connection"),
    ("closing_upstream_tcp_connection_due_to_downstream_local_close", "it closed the client's connection"),
    ("closing_upstream_tcp_connection_due_to_downstream_reset_close", "the client reset its connection"),
    ("non_pooled_tcp_connection_host_health_failure", "the host was no longer healthy"),
];

const RESET_REASONS: [(&str, &str); 15] = [
    ("connection_termination", "its connection ended"),
    ("remote_reset", "it reset the stream"),
    ("remote_refused_stream_reset", "it refused the stream"),
    ("remote_error_with_CONNECT_request", "it ended the extended CONNECT stream"),
    ("local_reset", "this proxy reset the stream"),
    ("local_refused_stream_reset", "this proxy refused the stream"),
    ("connection_failure", "no connection could be made"),
    ("local_connection_failure", "this proxy could not make a connection"),
    ("remote_connection_failure", "it did not take the connection"),
    ("connection_timeout", "no connection was made in time"),
    ("overflow", "a limit of the cluster was reached"),
    ("protocol_error", "it broke the protocol"),
    ("http1_premature_upstream_half_close", "it closed its side before the request had ended"),
    ("connect_error", "the extended CONNECT failed"),
    ("overload_manager", "this proxy is overloaded"),
];

const fn detail(
    name: &'static str,
    origin: Origin,
    meaning: &'static str,
    change: &'static str,
) -> DetailMeaning {
    DetailMeaning { name, origin, meaning, change }
}

/// What to do about a request that is not valid HTTP.
const MEND_CLIENT: &str = "correct what the client sends";

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

const DETAILS: [DetailMeaning; 57] = [
    // The connection manager and the router.
    detail("via_upstream", Upstream, "the response is the upstream's own", ""),
    detail(
        "absolute_path_rejected",
        Downstream,
        "the request had an absolute URL as its path, which this route does not take",
        MEND_CLIENT,
    ),
    detail("admin_filter_response", Here, "the proxy's admin interface answered", ""),
    detail(
        "cluster_not_found",
        Here,
        "the route leads to a cluster that this proxy does not have",
        "look at the subset and host that the VirtualService names, and whether a DestinationRule defines that subset",
    ),
    detail(
        "direct_response",
        Here,
        "the route itself says what to answer",
        "look at the VirtualService's directResponse; under REGISTRY_ONLY hosts outside the registry need a ServiceEntry",
    ),
    detail(
        "downstream_header_timeout",
        Downstream,
        "the head of the request did not arrive in time",
        "look at the client and the network before it",
    ),
    detail(
        "downstream_local_disconnect",
        Here,
        "this proxy closed the client's connection",
        "look whether the proxy was being shut down",
    ),
    detail("downstream_remote_disconnect", Downstream, "the client closed its connection", ""),
    detail(
        "drop_overload",
        Here,
        "a configured share of the requests to this cluster is dropped",
        "look at drop_overloads in the cluster's load assignment",
    ),
    detail(
        "unconditional_drop_overload",
        Here,
        "every request to this cluster is dropped by configuration",
        "look at drop_overloads in the cluster's load assignment",
    ),
    detail(
        "duration_timeout",
        Here,
        "the connection lasted as long as it may",
        "raise maxConnectionDuration, or have the client connect again",
    ),
    detail(
        "early_connect_data",
        Downstream,
        "data came on a CONNECT request before it was accepted",
        "let the client wait for the answer before it sends",
    ),
    detail(
        "filter_added_invalid_request_data",
        Here,
        "a filter added request data at a wrong moment",
        "look at the filters added by EnvoyFilter or Wasm",
    ),
    detail(
        "filter_added_invalid_response_data",
        Here,
        "a filter added response data at a wrong moment",
        "look at the filters added by EnvoyFilter or Wasm",
    ),
    detail(
        "filter_chain_not_found",
        Downstream,
        "no filter chain fits the connection",
        "look at the port, the server name and the mTLS mode",
    ),
    detail(
        "filter_removed_required_headers",
        Here,
        "a filter took header fields away that HTTP needs",
        "look at the filters added by EnvoyFilter or Wasm",
    ),
    detail(
        "filter_removed_required_request_headers",
        Here,
        "a filter took header fields of the request away that HTTP needs",
        "look at the filters added by EnvoyFilter or Wasm",
    ),
    detail(
        "filter_removed_required_response_headers",
        Here,
        "a filter took header fields of the response away that HTTP needs",
        "look at the filters added by EnvoyFilter or Wasm",
    ),
    detail(
        "internal_redirect",
        Here,
        "the proxy followed a redirect itself; the rest is in another line",
        "",
    ),
    detail("invalid_path", Downstream, "the request's path is not valid", MEND_CLIENT),
    detail(
        "low_version",
        Downstream,
        "the request was HTTP/1.0 or older, which this listener does not take",
        "let the client speak HTTP/1.1, which a WebSocket needs: before a mesh that is nginx nearly always, with proxy_http_version 1.1, and Upgrade and Connection passed on",
    ),
    detail(
        "maintenance_mode",
        Here,
        "the cluster is in maintenance mode",
        "end the maintenance mode (a runtime setting of the cluster)",
    ),
    detail(
        "max_duration_timeout",
        Here,
        "the stream lived as long as it may",
        "raise max_stream_duration, or have the client connect again",
    ),
    detail("missing_host_header", Downstream, "the request has no Host or :authority", MEND_CLIENT),
    detail("missing_path_rejected", Downstream, "the request has no path", MEND_CLIENT),
    detail(
        "no_healthy_upstream",
        Here,
        "the cluster has no healthy host",
        "look whether the Service has ready endpoints, and at outlier detection and subset labels",
    ),
    detail(
        "overload",
        Here,
        "the proxy is overloaded: it takes no more, or has reset the stream since that held most memory",
        "give the proxy more memory or spread the load",
    ),
    detail(
        "path_normalization_failed",
        Downstream,
        "the request's path could not be normalised",
        MEND_CLIENT,
    ),
    detail(
        "rejecting_because_detection_failed",
        Downstream,
        "the client's original address could not be found out",
        "look at the original IP detection extensions of the listener",
    ),
    detail(
        "request_header_timeout",
        Downstream,
        "the head of the request did not arrive in time",
        "look at the client and the network before it",
    ),
    detail(
        "request_headers_failed_strict_check",
        Downstream,
        "an x-envoy-* field of the request failed the strict check",
        MEND_CLIENT,
    ),
    detail(
        "request_overall_timeout",
        Downstream,
        "the request did not arrive in full in time",
        "raise request_timeout, or look at the client",
    ),
    detail(
        "request_payload_exceeded_retry_buffer_limit",
        Here,
        "more of the request came than is kept for a retry",
        "lower the retries, or raise the buffer limit",
    ),
    detail(
        "request_payload_too_large",
        Downstream,
        "the request's body is larger than a buffering filter takes",
        "send less, or raise the limit",
    ),
    detail(
        "response_payload_too_large",
        Upstream,
        "the response's body is larger than a buffering filter takes",
        "send less, or raise the limit",
    ),
    detail(
        "response_timeout",
        Upstream,
        "no response came within the route's timeout",
        "raise or remove the timeout in the VirtualService, or find out why the application does not answer",
    ),
    detail(
        "upstream_response_timeout",
        Upstream,
        "no response came within the route's timeout",
        "raise or remove the timeout in the VirtualService, or find out why the application does not answer",
    ),
    detail(
        "route_configuration_not_found",
        Here,
        "the listener has no route configuration (yet)",
        "look whether istiod reaches the proxy (istioctl proxy-status)",
    ),
    detail(
        "route_not_found",
        Here,
        "no route fits the authority and the path",
        "use the Service's name and port as the authority, or add a Service, VirtualService or ServiceEntry for it",
    ),
    detail(
        "stream_idle_timeout",
        Here,
        "nothing passed in either direction for as long as a stream may be idle",
        "send pings more often than that, or raise stream_idle_timeout",
    ),
    detail(
        "upgrade_failed",
        Downstream,
        "the listener does not take this kind of upgrade",
        "send exactly \"Upgrade: websocket\"; a list or another protocol is refused, and so is everything where upgrade_configs has no websocket",
    ),
    detail(
        "upstream_max_stream_duration_reached",
        Here,
        "the stream lived as long as it may",
        "raise max_stream_duration, or have the client connect again",
    ),
    detail(
        "upstream_per_try_timeout",
        Upstream,
        "the last attempt got no answer within its own timeout",
        "raise perTryTimeout, or find out why the upstream does not answer",
    ),
    detail(
        "upstream_per_try_idle_timeout",
        Upstream,
        "the last attempt was idle too long",
        "raise the idle timeout of an attempt, or find out why the upstream is silent",
    ),
    detail(
        "upstream_reset_after_response_started",
        Upstream,
        "the upstream ended the stream after its response had begun",
        "",
    ),
    detail(
        "upstream_reset_before_response_started",
        Upstream,
        "the upstream was lost before any response",
        "look at the next hop: its log, and whether it runs",
    ),
    detail(
        "websocket_handshake_unsuccessful",
        Upstream,
        "the upstream answered the WebSocket handshake with something else than 101",
        "let the application answer the handshake with 101: the path or the port may be that of a plain HTTP handler",
    ),
    // Filters that Istio configures.
    detail(
        "rbac_access_denied_matched_policy",
        Here,
        "an AuthorizationPolicy denies it",
        "allow the client's identity, path and method in the AuthorizationPolicy; an upgrade is a GET to it",
    ),
    detail(
        "jwt_authn_access_denied",
        Here,
        "the request's JWT is missing or not accepted",
        "look at the RequestAuthentication and the token",
    ),
    detail("ext_authz_denied", Here, "the external authorization service denied it", "look at that service"),
    detail(
        "ext_authz_error",
        Here,
        "the external authorization service could not be asked",
        "look at that service",
    ),
    detail(
        "fault_filter_abort",
        Here,
        "a fault injected by a VirtualService answered",
        "remove the fault from the VirtualService",
    ),
    detail(
        "dns_resolution_failure",
        Here,
        "the upstream's name could not be resolved",
        "correct the name, or look at the DNS that the proxy asks",
    ),
    detail(
        "health_check_failed",
        Here,
        "this proxy's own health check is failing, so it takes no requests",
        "look why the health check of this pod fails",
    ),
    detail(
        "rate_limiter_error",
        Here,
        "the rate limit service could not be asked",
        "look whether the rate limit service runs",
    ),
    detail("local_rate_limited", Here, "a local rate limit was reached", "raise the limit, or send less"),
    detail("request_rate_limited", Here, "a rate limit was reached", "raise the limit, or send less"),
];

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_are_found_by_their_first_part_and_each_is_listed_once() {
        let rooted = CODEC_DETAILS
            .iter()
            .flat_map(|(roots, detail)| roots.iter().map(|root| format!("{root}.{}", detail.name)));
        let all: Vec<_> = DETAILS.iter().map(|detail| detail.name.to_owned()).chain(rooted).collect();
        let names: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(names.len(), all.len());
        for details in [
            "upstream_reset_before_response_started{connection_termination}",
            "downstream_local_disconnect(on_idle_timeout)",
            "rbac_access_denied_matched_policy[none]",
            "http1.codec_error",
        ] {
            assert!(detail_meaning(details).is_some(), "{details}");
        }
        assert_eq!(detail_meaning("something_else"), None);
    }

    #[test]
    fn the_reason_is_the_first_word_in_the_braces() {
        let refused =
            "upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_x}";
        assert_eq!(reason_meaning(refused), Some("it did not take the connection"));
        let idle = "downstream_local_disconnect(on_idle_timeout)";
        assert_eq!(reason_meaning(idle), Some("the connection was idle too long"));
        assert_eq!(reason_meaning("via_upstream"), None);
    }
}
