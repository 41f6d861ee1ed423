//! The operators of Envoy's format strings, and the keys that Istio has for them.

use super::LineFormatError;

/// Operators for which Istio has a key.
const KEYS: [(&str, &str); 32] = [
    ("START_TIME", "start_time"),
    ("ROUTE_NAME", "route_name"),
    ("REQ(:METHOD)", "method"),
    ("REQ(X-ENVOY-ORIGINAL-PATH?:PATH)", "path"),
    ("REQ(X-ENVOY-ORIGINAL-PATH?)", "path"),
    ("REQ(:PATH)", "path"),
    ("PATH", "path"),
    ("PROTOCOL", "protocol"),
    ("RESPONSE_CODE", "response_code"),
    ("RESPONSE_FLAGS", "response_flags"),
    ("RESPONSE_FLAGS_LONG", "response_flags"),
    ("RESPONSE_CODE_DETAILS", "response_code_details"),
    ("CONNECTION_TERMINATION_DETAILS", "connection_termination_details"),
    ("BYTES_RECEIVED", "bytes_received"),
    ("BYTES_SENT", "bytes_sent"),
    ("DURATION", "duration"),
    ("RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)", "upstream_service_time"),
    ("REQ(X-FORWARDED-FOR)", "x_forwarded_for"),
    ("REQ(USER-AGENT)", "user_agent"),
    ("REQ(X-REQUEST-ID)", "request_id"),
    ("STREAM_ID", "request_id"),
    ("REQ(:AUTHORITY)", "authority"),
    ("REQ(HOST)", "authority"),
    ("UPSTREAM_HOST", "upstream_host"),
    ("UPSTREAM_CLUSTER", "upstream_cluster"),
    ("UPSTREAM_CLUSTER_RAW", "upstream_cluster"),
    ("UPSTREAM_LOCAL_ADDRESS", "upstream_local_address"),
    ("DOWNSTREAM_LOCAL_ADDRESS", "downstream_local_address"),
    ("DOWNSTREAM_REMOTE_ADDRESS", "downstream_remote_address"),
    ("DOWNSTREAM_DIRECT_REMOTE_ADDRESS", "downstream_remote_address"),
    ("REQUESTED_SERVER_NAME", "requested_server_name"),
    ("UPSTREAM_TRANSPORT_FAILURE_REASON", "upstream_transport_failure_reason"),
];

/// The operators of Envoy 1.40, by their names alone (`config_access_log_command_operators`), those
/// of its formatter extensions included. Each was put before an Envoy 1.40.
const OPERATORS: [&str; 163] = [
    "ACCESS_LOG_TYPE",
    "BYTES_RECEIVED",
    "BYTES_RETRANSMITTED",
    "BYTES_SENT",
    "CEL",
    "CLUSTER_METADATA",
    "COALESCE",
    "COMMON_DURATION",
    "CONNECTION_ID",
    "CONNECTION_TERMINATION_DETAILS",
    "CUSTOM_FLAGS",
    "DOWNSTREAM_CX_RTT",
    "DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED",
    "DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_SENT",
    "DOWNSTREAM_DETECTED_CLOSE_TYPE",
    "DOWNSTREAM_DIRECT_LOCAL_ADDRESS",
    "DOWNSTREAM_DIRECT_LOCAL_ADDRESS_ENDPOINT_ID",
    "DOWNSTREAM_DIRECT_LOCAL_ADDRESS_WITHOUT_PORT",
    "DOWNSTREAM_DIRECT_LOCAL_PORT",
    "DOWNSTREAM_DIRECT_REMOTE_ADDRESS",
    "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT",
    "DOWNSTREAM_DIRECT_REMOTE_PORT",
    "DOWNSTREAM_HANDSHAKE_DURATION",
    "DOWNSTREAM_HEADER_BYTES_RECEIVED",
    "DOWNSTREAM_HEADER_BYTES_SENT",
    "DOWNSTREAM_LOCAL_ADDRESS",
    "DOWNSTREAM_LOCAL_ADDRESS_ENDPOINT_ID",
    "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT",
    "DOWNSTREAM_LOCAL_CLOSE_REASON",
    "DOWNSTREAM_LOCAL_DNS_SAN",
    "DOWNSTREAM_LOCAL_EMAIL_SAN",
    "DOWNSTREAM_LOCAL_IP_SAN",
    "DOWNSTREAM_LOCAL_OTHERNAME_SAN",
    "DOWNSTREAM_LOCAL_PORT",
    "DOWNSTREAM_LOCAL_SUBJECT",
    "DOWNSTREAM_LOCAL_URI_SAN",
    "DOWNSTREAM_PEER_CERT",
    "DOWNSTREAM_PEER_CERT_V_END",
    "DOWNSTREAM_PEER_CERT_V_START",
    "DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_1",
    "DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_256",
    "DOWNSTREAM_PEER_CHAIN_SERIALS",
    "DOWNSTREAM_PEER_DNS_SAN",
    "DOWNSTREAM_PEER_EMAIL_SAN",
    "DOWNSTREAM_PEER_FINGERPRINT_1",
    "DOWNSTREAM_PEER_FINGERPRINT_256",
    "DOWNSTREAM_PEER_IP_SAN",
    "DOWNSTREAM_PEER_ISSUER",
    "DOWNSTREAM_PEER_ISSUER_FINGERPRINT_256",
    "DOWNSTREAM_PEER_ISSUER_SERIAL",
    "DOWNSTREAM_PEER_OTHERNAME_SAN",
    "DOWNSTREAM_PEER_SERIAL",
    "DOWNSTREAM_PEER_SUBJECT",
    "DOWNSTREAM_PEER_URI_SAN",
    "DOWNSTREAM_REMOTE_ADDRESS",
    "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
    "DOWNSTREAM_REMOTE_PORT",
    "DOWNSTREAM_TLS_CIPHER",
    "DOWNSTREAM_TLS_GROUP",
    "DOWNSTREAM_TLS_SESSION_ID",
    "DOWNSTREAM_TLS_VERSION",
    "DOWNSTREAM_TRANSPORT_FAILURE_REASON",
    "DOWNSTREAM_WIRE_BYTES_RECEIVED",
    "DOWNSTREAM_WIRE_BYTES_SENT",
    "DURATION",
    "DYNAMIC_METADATA",
    "EMIT_TIME",
    "EMIT_TIME_LOCAL",
    "ENVIRONMENT",
    "FILTER_CHAIN_NAME",
    "FILTER_STATE",
    "GRPC_STATUS",
    "GRPC_STATUS_NUMBER",
    "HOSTNAME",
    "LOCAL_REPLY_BODY",
    "METADATA",
    "PACKETS_RETRANSMITTED",
    "PATH",
    "PROTOCOL",
    "QUERY_PARAM",
    "QUERY_PARAMS",
    "REQ",
    "REQUESTED_SERVER_NAME",
    "REQUEST_DURATION",
    "REQUEST_HEADER",
    "REQUEST_HEADERS_BYTES",
    "REQUEST_TX_DURATION",
    "REQ_WITHOUT_QUERY",
    "RESP",
    "RESPONSE_CODE",
    "RESPONSE_CODE_DETAILS",
    "RESPONSE_DURATION",
    "RESPONSE_FLAGS",
    "RESPONSE_FLAGS_LONG",
    "RESPONSE_HEADER",
    "RESPONSE_HEADERS_BYTES",
    "RESPONSE_TRAILER",
    "RESPONSE_TRAILERS_BYTES",
    "RESPONSE_TX_DURATION",
    "ROUNDTRIP_DURATION",
    "ROUTE_NAME",
    "ROUTE_RESOLUTION_COUNT",
    "ROUTE_RESOLUTION_TIME_US",
    "SPAN_ID",
    "START_TIME",
    "START_TIME_LOCAL",
    "STREAM_ID",
    "STREAM_INFO_REQ",
    "TLS_JA3_FINGERPRINT",
    "TLS_JA4_FINGERPRINT",
    "TRACE_ID",
    "TRAILER",
    "TYPED_CEL",
    "UNIQUE_ID",
    "UPSTREAM_CLUSTER",
    "UPSTREAM_CLUSTER_RAW",
    "UPSTREAM_CONNECTION_ID",
    "UPSTREAM_CONNECTION_IDS_ATTEMPTED",
    "UPSTREAM_CONNECTION_POOL_READY_DURATION",
    "UPSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED",
    "UPSTREAM_DECOMPRESSED_HEADER_BYTES_SENT",
    "UPSTREAM_DETECTED_CLOSE_TYPE",
    "UPSTREAM_FILTER_STATE",
    "UPSTREAM_HEADER_BYTES_RECEIVED",
    "UPSTREAM_HEADER_BYTES_SENT",
    "UPSTREAM_HOST",
    "UPSTREAM_HOSTS_ATTEMPTED",
    "UPSTREAM_HOSTS_ATTEMPTED_WITHOUT_PORT",
    "UPSTREAM_HOST_NAME",
    "UPSTREAM_HOST_NAMES_ATTEMPTED",
    "UPSTREAM_HOST_NAMES_ATTEMPTED_WITHOUT_PORT",
    "UPSTREAM_HOST_NAME_WITHOUT_PORT",
    "UPSTREAM_LOCAL_ADDRESS",
    "UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT",
    "UPSTREAM_LOCAL_CLOSE_REASON",
    "UPSTREAM_LOCAL_DNS_SAN",
    "UPSTREAM_LOCAL_IP_SAN",
    "UPSTREAM_LOCAL_PORT",
    "UPSTREAM_LOCAL_URI_SAN",
    "UPSTREAM_METADATA",
    "UPSTREAM_PEER_CERT",
    "UPSTREAM_PEER_CERT_V_END",
    "UPSTREAM_PEER_CERT_V_START",
    "UPSTREAM_PEER_DNS_SAN",
    "UPSTREAM_PEER_IP_SAN",
    "UPSTREAM_PEER_ISSUER",
    "UPSTREAM_PEER_SUBJECT",
    "UPSTREAM_PEER_URI_SAN",
    "UPSTREAM_PROTOCOL",
    "UPSTREAM_REMOTE_ADDRESS",
    "UPSTREAM_REMOTE_ADDRESS_ENDPOINT_ID",
    "UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
    "UPSTREAM_REMOTE_PORT",
    "UPSTREAM_REQUEST_ATTEMPT_COUNT",
    "UPSTREAM_SERVER_NAME",
    "UPSTREAM_TLS_CIPHER",
    "UPSTREAM_TLS_GROUP",
    "UPSTREAM_TLS_SESSION_ID",
    "UPSTREAM_TLS_VERSION",
    "UPSTREAM_TRANSPORT_FAILURE_REASON",
    "UPSTREAM_WIRE_BYTES_RECEIVED",
    "UPSTREAM_WIRE_BYTES_SENT",
    "VIRTUAL_CLUSTER_NAME",
];

/// What the operators begin with that Kuma replaces by their values before Envoy sees the format.
const OF_KUMA: &str = "KUMA_";

/// Keys whose values are numbers in Istio's JSON.
const NUMBERS: [&str; 4] = ["response_code", "bytes_received", "bytes_sent", "duration"];

/// Where the operator that `from` begins with ends: at the first `%` that is in no parentheses,
/// since a format of
/// `START_TIME` has some of its own.
pub(super) fn operator_end(from: &str) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, byte) in from.bytes().enumerate() {
        match byte {
            b'(' => depth += 1,
            b')' => depth = depth.saturating_sub(1),
            b'%' if depth == 0 => return Some(at),
            _ => {}
        }
    }
    None
}

/// Whether the key's values are numbers in Istio's JSON.
pub(super) fn is_number(key: &str) -> bool {
    NUMBERS.contains(&key)
        || ["DURATION", "_BYTES_"].iter().any(|part| key.contains(part) && !key.contains('('))
}

/// The key for an operator: Istio's, else the operator as it is written. A limit of its length,
/// `:20`, is no part of it.
pub(super) fn key_of(operator: &str) -> String {
    let without_length = match operator.rsplit_once(':') {
        Some((operator, length)) if length.bytes().all(|byte| byte.is_ascii_digit()) => operator,
        _ => operator,
    };
    for (start, key) in [("START_TIME(", "start_time"), ("PATH(", "path")] {
        if without_length.starts_with(start) {
            return key.to_owned();
        }
    }
    let known = KEYS.iter().find(|(name, _)| name.eq_ignore_ascii_case(without_length));
    known.map_or_else(|| without_length.to_owned(), |(_, key)| (*key).to_owned())
}

/// Refuses an operator that Envoy would refuse, too.
pub(super) fn check(operator: &str) -> Result<(), LineFormatError> {
    let name = operator.split(['(', ':']).next().unwrap_or_default();
    if OPERATORS.contains(&name) || name.starts_with(OF_KUMA) {
        return Ok(());
    }
    Err(LineFormatError::UnknownOperator { operator: operator.to_owned() })
}
