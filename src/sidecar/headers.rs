//! What a sidecar changes in the fields that pass through it (Envoy's `ConnectionManagerUtility::mutateRequestHeaders`
//! and `mutateResponseHeaders`, as Istio configures them).

use std::cell::RefCell;
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http::header::{CONNECTION, DATE, SERVER, TE, TRANSFER_ENCODING, UPGRADE, USER_AGENT};
use http::{HeaderName, HeaderValue};

use super::worker::{DownstreamTls, Worker};
use crate::access_log::Record;
use crate::http1::Fields;
use crate::websocket::extended_connect::RequestParts;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const X_FORWARDED_CLIENT_CERT: HeaderName = HeaderName::from_static("x-forwarded-client-cert");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Removes what belongs to the downstream connection alone, and adds what the next hop is told.
pub(super) fn prepare_request(request: &mut RequestParts, upgrade: bool, tls: Option<&DownstreamTls>) {
    let fields = &mut request.fields;
    if !upgrade {
        fields.remove(&CONNECTION);
        fields.remove(&UPGRADE);
    }
    fields.remove(&KEEP_ALIVE);
    fields.remove(&PROXY_CONNECTION);
    fields.remove(&TRANSFER_ENCODING);
    // Envoy passes on `trailers` alone of what the client would accept.
    if fields.contains(&TE) && !fields.has_element(&TE, "trailers") {
        fields.remove(&TE);
    }
    if !fields.contains(&X_FORWARDED_PROTO) {
        let scheme = if tls.is_some() { "https" } else { request.scheme };
        fields.append(X_FORWARDED_PROTO, HeaderValue::from_static(scheme));
    }
    if !fields.contains(&X_REQUEST_ID) {
        let id = Bytes::from(uuid::Uuid::new_v4().hyphenated().to_string());
        fields.append(X_REQUEST_ID, HeaderValue::from_maybe_shared(id).expect("a UUID is visible ASCII"));
    }
    forward_client_cert(fields, tls);
}

/// Envoy's `mutateXfccRequestHeader`: with mutual TLS the client's certificate is added to the list of those before it
/// (`APPEND_FORWARD`, a server's sidecar); without, nobody can have vouched for such a list.
fn forward_client_cert(fields: &mut Fields, tls: Option<&DownstreamTls>) {
    let Some(tls) = tls else { return fields.remove(&X_FORWARDED_CLIENT_CERT) };
    let mut list: Vec<u8> = Vec::new();
    for value in fields.get_all(&X_FORWARDED_CLIENT_CERT) {
        list.extend_from_slice(value.as_bytes());
        list.push(b',');
    }
    list.extend_from_slice(tls.client_certificate.as_bytes());
    match HeaderValue::from_bytes(&list) {
        Ok(list) => fields.set(X_FORWARDED_CLIENT_CERT, list),
        // Better none than one that the client alone has written.
        Err(_) => fields.remove(&X_FORWARDED_CLIENT_CERT),
    }
}

/// Puts what the access log shows of a request into the record.
pub(super) fn note_request(request: &RequestParts, record: &mut Record) {
    record.method = Some(request.method.clone());
    record.path = Some(Bytes::copy_from_slice(request.path.as_bytes()));
    record.authority = Some(request.authority.clone());
    record.request_id = request.fields.get(&X_REQUEST_ID).cloned();
    record.user_agent = request.fields.get(&USER_AGENT).cloned();
    record.x_forwarded_for = request.fields.get(&X_FORWARDED_FOR).cloned();
    // With `use_remote_address: false`, as Istio has it, the last address there counts as the peer's.
    let forwarded = request.fields.elements(&X_FORWARDED_FOR).last().and_then(|last| last.parse().ok());
    if let Some(address) = forwarded {
        record.downstream_remote_address = SocketAddr::new(address, 0);
    }
}

/// Whether the token of an upgrade request is one of `upgrade_configs`, whatever its letter case.
pub(super) fn is_upgrade_taken(request: &RequestParts, worker: &Worker) -> bool {
    request.fields.get(&UPGRADE).and_then(|token| token.to_str().ok()).is_some_and(|token| {
        worker.connection_manager.upgrade_types.iter().any(|taken| taken.eq_ignore_ascii_case(token))
    })
}

/// Removes what belongs to the upstream connection alone, adds the date where there is none, and names this proxy.
/// A response that switches protocols keeps its `upgrade` and `connection`.
pub(super) fn prepare_response(fields: &mut Fields, switching: bool, server_name: &'static str) {
    if !switching {
        fields.remove(&CONNECTION);
        fields.remove(&UPGRADE);
    }
    fields.remove(&TRANSFER_ENCODING);
    fields.remove(&KEEP_ALIVE);
    fields.remove(&PROXY_CONNECTION);
    if !fields.contains(&DATE) {
        fields.append(DATE, date());
    }
    fields.set(SERVER, HeaderValue::from_static(server_name));
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
