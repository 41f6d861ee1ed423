//! What a proxy changes in the fields that pass through it (Envoy's
//! `ConnectionManagerUtility::mutateRequestHeaders` and `mutateResponseHeaders`, as Istio
//! configures them).

use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, DATE, SERVER, TE, TRANSFER_ENCODING, UPGRADE, USER_AGENT,
};
use http::{HeaderName, HeaderValue, StatusCode};

use super::connection_info::DownstreamTls;
use super::edge;
use super::path;
use super::route_fields::X_ENVOY_ORIGINAL_PATH;
use super::routes::Route;
use crate::access_log::Record;
use crate::http1::Fields;
use crate::mesh::{ForwardClientCertDetails, HttpConnectionManager, ServerName};
use crate::websocket::extended_connect::RequestParts;

const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const X_FORWARDED_CLIENT_CERT: HeaderName = HeaderName::from_static("x-forwarded-client-cert");
pub(super) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
pub(super) const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Envoy's inline headers, of which several are joined to one list, as far as they decide something
/// here, are logged, or are trusted by an application.
const JOINED: [HeaderName; 10] = [
    CONNECTION,
    TE,
    UPGRADE,
    USER_AGENT,
    X_ENVOY_ORIGINAL_PATH,
    X_FORWARDED_CLIENT_CERT,
    X_FORWARDED_FOR,
    X_FORWARDED_HOST,
    X_FORWARDED_PROTO,
    X_REQUEST_ID,
];

/// A request with so many names in `Connection` is refused (`MAX_ALLOWED_NOMINATED_HEADERS` in
/// Envoy's `sanitizeConnectionHeader`).
const TOO_MANY_NOMINATED: usize = 10;

/// Fields that are removed from the requests of clients outside the mesh (Envoy's
/// `cleanInternalHeaders`).
const INTERNAL: [HeaderName; 16] = [
    HeaderName::from_static("x-envoy-expected-rq-timeout-ms"),
    HeaderName::from_static("x-envoy-force-trace"),
    HeaderName::from_static("x-envoy-hedge-on-per-try-timeout"),
    HeaderName::from_static("x-envoy-internal"),
    HeaderName::from_static("x-envoy-ip-tags"),
    HeaderName::from_static("x-envoy-max-retries"),
    HeaderName::from_static("x-envoy-original-url"),
    HeaderName::from_static("x-envoy-retriable-header-names"),
    HeaderName::from_static("x-envoy-retriable-status-codes"),
    HeaderName::from_static("x-envoy-retry-grpc-on"),
    HeaderName::from_static("x-envoy-retry-on"),
    HeaderName::from_static("x-envoy-upstream-alt-stat-name"),
    HeaderName::from_static("x-envoy-upstream-rq-per-try-timeout-ms"),
    HeaderName::from_static("x-envoy-upstream-rq-timeout-alt-response"),
    HeaderName::from_static("x-envoy-upstream-rq-timeout-ms"),
    HeaderName::from_static("x-envoy-upstream-stream-duration-ms"),
];

/// Why a request is refused before anything is done with it: the status and the details.
pub(super) type Rejection = (StatusCode, &'static str);

/// Makes one field of several where Envoy has one.
pub(super) fn join_lists(fields: &mut Fields) {
    for name in &JOINED {
        fields.join(name);
    }
}

/// Checks the authority and normalises the path (the first part of Envoy's `decodeHeaders`).
pub(super) fn check_request(request: &mut RequestParts) -> Result<(), Rejection> {
    if request.authority.is_none() {
        return Err((StatusCode::BAD_REQUEST, "missing_host_header"));
    }
    if request.method.as_str() == "QUERY" && !request.fields.contains(&CONTENT_TYPE) {
        return Err((StatusCode::BAD_REQUEST, "query_missing_content_type"));
    }
    let Some(path) = &mut request.path else { return Ok(()) };
    if !path.as_bytes().starts_with(b"/") {
        return Err((StatusCode::NOT_FOUND, "absolute_path_rejected"));
    }
    let failed = (StatusCode::BAD_REQUEST, "path_normalization_failed");
    let normal = path::normalize(&Bytes::copy_from_slice(path.as_bytes())).map_err(|_| failed)?;
    *path = HeaderValue::from_maybe_shared(normal).map_err(|_| failed)?;
    Ok(())
}

/// Removes what belongs to the downstream connection alone, and adds what the next hop is told. At
/// the edge of the mesh, returns whose address counts as the client's where that is not the peer's.
pub(super) fn prepare_request(
    request: &mut RequestParts,
    upgrade: bool,
    tls: Option<&DownstreamTls>,
    manager: &HttpConnectionManager,
    peer: IpAddr,
) -> Option<SocketAddr> {
    let fields = &mut request.fields;
    if !upgrade {
        fields.remove(&CONNECTION);
        fields.remove(&UPGRADE);
    }
    fields.remove(&KEEP_ALIVE);
    fields.remove(&PROXY_CONNECTION);
    fields.remove(&TRANSFER_ENCODING);
    // Envoy passes on `trailers` alone of what the client would accept.
    if fields.elements(&TE).any(|element| element == "trailers") {
        fields.set(TE, HeaderValue::from_static("trailers"));
    } else {
        fields.remove(&TE);
    }
    fields.retain(|name, _| !INTERNAL.contains(name));
    // The scheme of the connection itself, whatever `:scheme` claims.
    let scheme = if tls.is_some() { "https" } else { "http" };
    let believed = if manager.use_remote_address {
        edge::prepare_request(fields, scheme, manager, peer)
    } else {
        if !fields.contains(&X_FORWARDED_PROTO) {
            fields.append(X_FORWARDED_PROTO, HeaderValue::from_static(scheme));
        }
        None
    };
    let is_forged = manager.use_remote_address && !manager.preserve_external_request_id;
    if is_forged || fields.get(&X_REQUEST_ID).is_none_or(HeaderValue::is_empty) {
        let id = Bytes::from(uuid::Uuid::new_v4().hyphenated().to_string());
        fields.set(X_REQUEST_ID, HeaderValue::from_maybe_shared(id).expect("a UUID is visible ASCII"));
    }
    forward_client_cert(fields, tls, manager.forward_client_cert_details);
    believed
}

/// Envoy's `mutateXfccRequestHeader`: with mutual TLS the client's certificate is added to the list
/// of those before it (`APPEND_FORWARD`, a server's sidecar), or is all of the list (`SANITIZE_SET`, a
/// gateway). Without mutual TLS the list is dropped: the client may have forged it.
fn forward_client_cert(fields: &mut Fields, tls: Option<&DownstreamTls>, details: ForwardClientCertDetails) {
    let shown = tls.filter(|tls| !tls.client_certificate.is_empty());
    let (Some(tls), true) = (shown, details != ForwardClientCertDetails::Sanitize) else {
        return fields.remove(&X_FORWARDED_CLIENT_CERT);
    };
    if details == ForwardClientCertDetails::SanitizeSet {
        fields.remove(&X_FORWARDED_CLIENT_CERT);
    }
    let mut list: Vec<u8> = Vec::new();
    for value in fields.get_all(&X_FORWARDED_CLIENT_CERT) {
        list.extend_from_slice(value.as_bytes());
        list.push(b',');
    }
    list.extend_from_slice(tls.client_certificate.as_bytes());
    match HeaderValue::from_bytes(&list) {
        Ok(list) => fields.set(X_FORWARDED_CLIENT_CERT, list),
        // Without a list rather than with one that the client alone has written.
        Err(_) => fields.remove(&X_FORWARDED_CLIENT_CERT),
    }
}

/// `Connection` names a field that a client must not have removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NominationRejected;

/// Removes the fields that `Connection` names (RFC 9110 section 7.6.1), as Envoy's
/// `sanitizeConnectionHeader` does.
///
/// # Errors
/// A request that has the fields removed which say where it comes from, or names a pseudo-header
/// field, or very many fields, is refused.
pub(super) fn remove_nominated(fields: &mut Fields) -> Result<(), NominationRejected> {
    let Some(connection) = fields.get(&CONNECTION).cloned() else { return Ok(()) };
    let options: Vec<&[u8]> =
        connection.as_bytes().split(|byte| *byte == b',').filter(|option| !option.is_empty()).collect();
    if options.len() >= TOO_MANY_NOMINATED {
        return Err(NominationRejected);
    }
    for option in options {
        let option = option.trim_ascii();
        if option.starts_with(b":") {
            return Err(NominationRejected);
        }
        // A malformed name names no field.
        let Ok(name) = HeaderName::from_bytes(option) else { continue };
        match name.as_str() {
            "close" | "connection" | "http2-settings" | "keep-alive" | "upgrade" => {}
            "x-forwarded-for" | "x-forwarded-host" | "x-forwarded-proto" => return Err(NominationRejected),
            "te" if fields.has_element(&TE, "trailers") => {
                fields.set(TE, HeaderValue::from_static("trailers"));
            }
            _ => fields.remove(&name),
        }
    }
    Ok(())
}

/// Puts what the access log shows of a request into the record.
pub(super) fn note_request(request: &RequestParts, record: &mut Record) {
    record.method = Some(request.method.clone());
    let path = request.fields.get(&X_ENVOY_ORIGINAL_PATH).or(request.path.as_ref());
    record.path = path.map(|path| Bytes::copy_from_slice(path.as_bytes()));
    record.authority.clone_from(&request.authority);
    record.request_id = request.fields.get(&X_REQUEST_ID).cloned();
    record.user_agent = request.fields.get(&USER_AGENT).cloned();
    record.x_forwarded_for = request.fields.get(&X_FORWARDED_FOR).cloned();
}

/// With `use_remote_address: false`, as Istio has it in sidecars, the last address that was forwarded
/// counts as the peer's.
pub(super) fn note_forwarded_address(request: &RequestParts, record: &mut Record) {
    let forwarded = request.fields.elements(&X_FORWARDED_FOR).last().and_then(|last| last.parse().ok());
    if let Some(address) = forwarded {
        record.downstream_remote_address = SocketAddr::new(address, 0);
    }
}

/// Whether the token of an upgrade request is one of `upgrade_configs`, whatever its letter case: of
/// the route's, else of the connection manager's.
pub(super) fn is_upgrade_taken(
    request: &RequestParts,
    manager: &HttpConnectionManager,
    route: &Route,
) -> bool {
    let Some(token) = request.fields.get(&UPGRADE).and_then(|token| token.to_str().ok()) else {
        return false;
    };
    let is_taken = || manager.upgrade_types.iter().any(|taken| taken.eq_ignore_ascii_case(token));
    route.takes_upgrade(token).unwrap_or_else(is_taken)
}

/// Whether the client's own connection is encrypted, as far as is known here.
pub(super) fn is_encrypted(request: &RequestParts) -> bool {
    request.fields.get(&X_FORWARDED_PROTO).is_some_and(|scheme| scheme == "https")
}

/// Drops the fields that ask for an upgrade to `h2c`, or agree to it: to Envoy's HTTP/1.1
/// `ConnectionImpl` it is not an upgrade.
pub(super) fn ignore_h2c(fields: &mut Fields) {
    if fields.get(&UPGRADE).is_none_or(|token| !token.as_bytes().eq_ignore_ascii_case(b"h2c")) {
        return;
    }
    let rest: Vec<&str> = fields
        .elements(&CONNECTION)
        .filter(|option| {
            !option.eq_ignore_ascii_case("upgrade") && !option.eq_ignore_ascii_case("http2-settings")
        })
        .collect();
    let rest = HeaderValue::from_str(&rest.join(",")).ok().filter(|rest| !rest.is_empty());
    fields.remove(&UPGRADE);
    fields.remove(&HTTP2_SETTINGS);
    match rest {
        Some(rest) => fields.set(CONNECTION, rest),
        None => fields.remove(&CONNECTION),
    }
}

/// Removes what belongs to the upstream connection alone, which is all that is done to an interim
/// response (1xx).
pub(super) fn prepare_interim(fields: &mut Fields) {
    fields.remove(&CONNECTION);
    fields.remove(&UPGRADE);
    remove_hop_fields(fields);
}

fn remove_hop_fields(fields: &mut Fields) {
    fields.remove(&TRANSFER_ENCODING);
    fields.remove(&KEEP_ALIVE);
    fields.remove(&PROXY_CONNECTION);
}

/// Removes what belongs to the upstream connection alone, adds a missing date, and names this
/// proxy. A response to an upgrade request that has an upgrade's fields keeps them (`is_upgrade`),
/// and says how long it is.
pub(super) fn prepare_response(
    status: StatusCode,
    fields: &mut Fields,
    is_upgrade: bool,
    server_name: ServerName,
) {
    let says_length = fields.contains(&CONTENT_LENGTH) || fields.contains(&TRANSFER_ENCODING);
    if is_upgrade {
        remove_hop_fields(fields);
    } else {
        prepare_interim(fields);
    }
    if !fields.contains(&DATE) {
        fields.append(DATE, date());
    }
    fields.set(SERVER, HeaderValue::from_static(server_name.as_str()));
    if is_upgrade && !says_length && !status.is_informational() {
        fields.append(CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
}

/// The fields of an answer of our own (Envoy's `sendLocalReply`).
pub(super) fn local_reply(body: &str) -> Fields {
    let mut fields = Fields::new();
    if !body.is_empty() {
        fields.append(CONTENT_LENGTH, HeaderValue::from(body.len()));
        fields.append(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    }
    fields
}

/// A length of time as Envoy's fields have it.
pub(super) fn milliseconds(duration: Duration) -> HeaderValue {
    HeaderValue::from(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

/// The date as a response has it (RFC 9110 section 6.6.1), written once a second.
fn date() -> HeaderValue {
    thread_local! {
        static CACHED: RefCell<Option<(Instant, HeaderValue)>> = const { RefCell::new(None) };
    }
    CACHED.with_borrow_mut(|cached| {
        if let Some((since, value)) = cached
            && since.elapsed() < Duration::from_millis(500)
        {
            return value.clone();
        }
        let now = jiff::Timestamp::try_from(SystemTime::now()).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        let text = now.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        let value = HeaderValue::from_str(&text).expect("a date is visible ASCII");
        *cached = Some((Instant::now(), value.clone()));
        value
    })
}
