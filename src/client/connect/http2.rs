//! A WebSocket over HTTP/2 (RFC 8441): the connection's one stream, opened by an extended CONNECT
//! once the peer's SETTINGS allow it.

use std::future::poll_fn;
use std::task::Poll;

use bytes::{Bytes, BytesMut};
use http::header::{HOST, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY};
use http::{HeaderValue, Request, Response, Version};
use tokio::io::AsyncReadExt;

use super::error::{ConnectError, Refusal};
use super::event::{ConnectEvent, Observer};
use super::heads;
use super::http1::{BODY_TIMEOUT, MAX_BODY_BYTES, OpeningAnswer};
use super::http2_stream::{Driver, OnlyStream};
use crate::http1::{Fields, RequestHead, ResponseHead};
use crate::net::{Budget, Transport};
use crate::tunnel::{self, Client, PeekedSettings, PeerSettings, Settings, StreamError};
use crate::websocket::extended_connect::{RequestParts, request_to_http2};
use crate::websocket::opening::client::{AnswerError, check_agreement, is_accepted};

/// The name of HTTP/2 in ALPN (RFC 9113 section 3.2).
pub(super) const ALPN: &str = "h2";

/// What this client announces. Windows as large as Envoy's: one large message is not to wait for a
/// round trip.
const SETTINGS: Settings = Settings {
    allow_connect: false,
    max_concurrent_streams: 100,
    initial_stream_window_size: 16 << 20,
    initial_connection_window_size: 24 << 20,
};

/// How an extended CONNECT is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Http2Options {
    /// Whether `:scheme` is https.
    pub(super) secure: bool,
    /// Whether `sec-websocket-key` is sent, which RFC 8441 does without.
    pub(super) send_key: bool,
}

/// Opens a WebSocket for what `request` asks as an upgrade.
pub(super) async fn open(
    request: &RequestHead,
    options: Http2Options,
    stream: Transport,
    observer: &Observer,
) -> Result<(OnlyStream, OpeningAnswer, Vec<String>), ConnectError> {
    let (client, driver, settings) = shake_hands(stream).await?;
    observer.notice(&ConnectEvent::Settings(&settings));
    if !settings.allows_connect() {
        return Err(ConnectError::ConnectNotAllowed(settings));
    }
    let asked = extended_connect(request, options)?;
    let lines = heads::http2_request(&asked);
    observer.notice(&ConnectEvent::Request(&lines));
    let (mut stream, head) = ask(client, driver, asked, observer).await?;
    if !head.status.is_success() {
        let body = read_body(&mut stream).await;
        return Err(ConnectError::Refused(Box::new(Refusal { head, body })));
    }
    let agreement = check_agreement(&request.fields, &head.fields).map_err(ConnectError::Answer)?;
    if let Some(value) = head.fields.get(&SEC_WEBSOCKET_ACCEPT) {
        let key = request.fields.get(&SEC_WEBSOCKET_KEY).filter(|_| options.send_key);
        if !key.is_some_and(|key| is_accepted(key, &head.fields)) {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            return Err(ConnectError::Answer(AnswerError::Invalid { name: "Sec-WebSocket-Accept", value }));
        }
    }
    Ok((stream, (head, agreement), lines))
}

/// Opens the connection and waits for the peer's SETTINGS, without which nothing may be asked (RFC
/// 8441 section 3).
pub(super) async fn shake_hands(stream: Transport) -> Result<(Client, Driver, PeerSettings), ConnectError> {
    let (stream, peeked) = tunnel::peek_settings(stream);
    let (client, driver) = tunnel::connect(stream, &SETTINGS, Budget::unlimited()).await?;
    let mut driver: Driver = Box::pin(driver);
    let settings = poll_fn(|cx| {
        let ended = driver.as_mut().poll(cx).is_ready();
        let seen = peeked.borrow().clone();
        if ended || !matches!(seen, PeekedSettings::Awaited(_)) { Poll::Ready(seen) } else { Poll::Pending }
    });
    match settings.await {
        PeekedSettings::Received(settings) => Ok((client, driver, settings)),
        PeekedSettings::Awaited(bytes) | PeekedSettings::NotHttp2(bytes) => {
            Err(ConnectError::NotHttp2(bytes))
        }
    }
}

/// The upgrade as an extended CONNECT.
fn extended_connect(request: &RequestHead, options: Http2Options) -> Result<Request<()>, ConnectError> {
    let mut fields = request.fields.clone();
    let authority = fields.get(&HOST).cloned();
    fields.remove(&HOST);
    if !options.send_key {
        fields.remove(&SEC_WEBSOCKET_KEY);
    }
    let parts = RequestParts {
        method: request.method.clone(),
        scheme: if options.secure { "https" } else { "http" },
        authority,
        path: HeaderValue::from_maybe_shared(request.target.clone()).ok(),
        fields,
    };
    Ok(request_to_http2(&parts)?)
}

/// Sends the request on a stream and waits for the head of the final answer.
async fn ask(
    mut client: Client,
    driver: Driver,
    request: Request<()>,
    observer: &Observer,
) -> Result<(OnlyStream, ResponseHead), StreamError> {
    let (stream, mut awaited) = client.open(request, false)?;
    let mut stream = OnlyStream::new(stream, driver, client);
    loop {
        let head = poll_fn(|cx| stream.poll_head(&mut awaited, cx)).await?;
        let head = response_head(head);
        observer.notice(&ConnectEvent::Response(&head));
        if !head.status.is_informational() {
            return Ok((stream, head));
        }
    }
}

fn response_head(response: Response<()>) -> ResponseHead {
    let (parts, ()) = response.into_parts();
    ResponseHead { status: parts.status, version: Version::HTTP_2, fields: Fields::from(&parts.headers) }
}

async fn read_body(stream: &mut OnlyStream) -> Bytes {
    let mut body = BytesMut::new();
    while body.len() < MAX_BODY_BYTES {
        match tokio::time::timeout(BODY_TIMEOUT, stream.read_buf(&mut body)).await {
            Ok(Ok(count)) if count > 0 => {}
            _ => break,
        }
    }
    body.truncate(MAX_BODY_BYTES);
    body.freeze()
}
