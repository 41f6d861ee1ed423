//! Opening a WebSocket as a client, in one deadline: the way there ([`dial`], perhaps through a
//! [`proxy`]), TLS, the opening handshake over HTTP/1.1 ([`http1`], RFC 6455 section 4.1) or as an
//! extended CONNECT ([`http2`], RFC 8441), redirects.
//!
//! The defaults are Python websockets'. Frames that came in the same packet as the answer are not
//! lost.

mod dial;
mod endpoint;
mod error;
mod event;
mod frames;
mod heads;
mod http1;
mod http2;
mod http2_stream;
mod proxy;
mod uri;

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::Duration;

use bytes::BytesMut;
use http::header::{AUTHORIZATION, COOKIE, LOCATION, ORIGIN, SEC_WEBSOCKET_PROTOCOL};
use http::{HeaderValue, StatusCode};
use tokio_tungstenite::WebSocketStream;
use tungstenite::protocol::{Role, WebSocketConfig};

pub use endpoint::{Endpoint, HostPort, HostPortError, Peer};
pub use error::{ConnectError, Refusal};
pub use event::{ConnectEvent, Observer};
pub use frames::FrameDirection;
pub use heads::response as response_lines;
pub use proxy::{Proxy, ProxyChoice, ProxyError};
pub use uri::{UriError, UriProblem, WebSocketUri};

use self::http2::Http2Options;
use crate::http1::{Fields, RequestHead, ResponseHead};
use crate::net::Transport;
use crate::tls::{self, client::ClientOptions};
use crate::websocket::opening::client::{offer_compression, request};
use crate::websocket::{TransportAdapter, max_frame_bytes};

/// How long opening may take in all: Python websockets' `open_timeout`.
pub const OPEN_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest message that is accepted: Python websockets' `max_size`, 1 MiB.
pub const MAX_MESSAGE_BYTES: usize = 1024 * 1024;

/// How many redirects are followed: Python websockets' `WEBSOCKETS_MAX_REDIRECTS`.
pub const MAX_REDIRECTS: usize = 10;

/// The version of HTTP that opens a WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Http {
    /// By an upgrade.
    Http1,
    /// By an extended CONNECT.
    Http2 {
        /// With `sec-websocket-key`, which RFC 8441 does without; Envoy passes it on to servers
        /// that need one.
        send_key: bool,
    },
}

/// What to connect to, and how.
#[derive(Debug, Clone)]
pub struct ConnectConfig {
    /// The server. Its authority is the `Host` field.
    pub uri: WebSocketUri,
    /// What is dialled for it.
    pub endpoint: Endpoint,
    /// Dial from this address.
    pub source: Option<IpAddr>,
    /// Which proxy is asked for the connection.
    pub proxy: ProxyChoice,
    /// Whom to trust over wss://.
    pub tls: ClientOptions,
    /// Which version of HTTP opens the WebSocket.
    pub http: Http,
    /// The `Origin` field.
    pub origin: Option<HeaderValue>,
    /// User name and password for Basic authentication, instead of the URI's.
    pub user: Option<(String, String)>,
    /// The subprotocols that are offered, the preferred one first.
    pub subprotocols: Vec<String>,
    /// Fields for the request beside the handshake's own.
    pub fields: Fields,
    /// Whether permessage-deflate is offered.
    pub compression: bool,
    /// How many redirects are followed.
    pub max_redirects: usize,
    /// How long opening may take in all.
    pub timeout: Duration,
    /// The longest message that is accepted.
    pub max_message_bytes: usize,
    /// Who is told what happens.
    pub observer: Observer,
    /// Whether the observer is told each frame.
    pub observe_frames: bool,
}

impl ConnectConfig {
    /// Directly, with the defaults.
    #[must_use]
    pub fn new(uri: WebSocketUri) -> Self {
        Self {
            uri,
            endpoint: Endpoint::Uri,
            source: None,
            proxy: ProxyChoice::Direct,
            tls: ClientOptions::default(),
            http: Http::Http1,
            origin: None,
            user: None,
            subprotocols: Vec::new(),
            fields: Fields::new(),
            compression: true,
            max_redirects: MAX_REDIRECTS,
            timeout: OPEN_TIMEOUT,
            max_message_bytes: MAX_MESSAGE_BYTES,
            observer: Observer::default(),
            observe_frames: false,
        }
    }

    /// The upgrade that opens the WebSocket; [`http2`] makes a CONNECT of it.
    fn request(&self) -> RequestHead {
        let mut extra = Fields::new();
        if let Some(user) = self.user.as_ref().or(self.uri.user.as_ref()) {
            extra.append(AUTHORIZATION, proxy::basic(user));
        }
        if let Some(origin) = &self.origin {
            extra.append(ORIGIN, origin.clone());
        }
        if let Ok(offered) = HeaderValue::try_from(self.subprotocols.join(", "))
            && !offered.is_empty()
        {
            extra.append(SEC_WEBSOCKET_PROTOCOL, offered);
        }
        for (name, value) in self.fields.iter() {
            extra.append(name.clone(), value.clone());
        }
        let mut request = request(self.uri.target.clone(), self.uri.authority.clone(), &extra);
        if self.compression {
            offer_compression(&mut request);
        }
        request
    }

    /// What to connect to after a redirect, by Python websockets' rules: not from TLS to none, and
    /// to another origin neither with credentials nor where the way was given.
    fn redirected(&self, location: &str) -> Result<Self, ConnectError> {
        let uri = self.uri.join(location)?;
        let unfollowed =
            |why: &str| Err(ConnectError::Redirect { location: uri.to_string(), why: why.to_owned() });
        if self.uri.secure && !uri.secure {
            return unfollowed("it is not secure");
        }
        let mut config = self.clone();
        if !self.uri.is_same_origin(&uri) {
            match self.endpoint {
                Endpoint::Uri => {}
                Endpoint::Tcp(_) => return unfollowed("another origin, while the address was given"),
                Endpoint::Unix(_) => return unfollowed("another origin, over a Unix socket"),
            }
            config.user = None;
            config.fields.retain(|name, _| *name != AUTHORIZATION && *name != COOKIE);
        } else if uri.user.is_none() {
            config.user = config.user.or_else(|| self.uri.user.clone());
        }
        config.uri = uri;
        Ok(config)
    }
}

/// An open WebSocket.
#[derive(Debug)]
pub struct Connection {
    /// Messages in both directions.
    pub stream: WebSocketStream<TransportAdapter<Transport>>,
    /// The head of the request that opened it, a line each.
    pub request: Vec<String>,
    /// The server's answer.
    pub response: ResponseHead,
}

/// Opens a WebSocket.
///
/// # Errors
/// [`ConnectError`]; a refusal carries the server's whole answer.
pub async fn connect(config: &ConnectConfig) -> Result<Connection, ConnectError> {
    match tokio::time::timeout(config.timeout, follow(config)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(ConnectError::TimedOut(config.timeout)),
    }
}

/// Opens the WebSocket where the redirects lead.
async fn follow(config: &ConnectConfig) -> Result<Connection, ConnectError> {
    let mut config = Cow::Borrowed(config);
    let mut followed = 0;
    loop {
        let refusal = match open(&config).await {
            Err(ConnectError::Refused(refusal)) => refusal,
            outcome => return outcome,
        };
        let Some(location) = redirection(&refusal).filter(|_| config.max_redirects > 0) else {
            return Err(ConnectError::Refused(refusal));
        };
        if followed == config.max_redirects {
            return Err(ConnectError::Redirects(followed));
        }
        followed += 1;
        config = Cow::Owned(config.redirected(location)?);
        config.observer.notice(&ConnectEvent::Redirected { uri: &config.uri.to_string() });
    }
}

/// Where a refusal sends to.
fn redirection(refusal: &Refusal) -> Option<&str> {
    let redirects = [
        StatusCode::MULTIPLE_CHOICES,
        StatusCode::MOVED_PERMANENTLY,
        StatusCode::FOUND,
        StatusCode::SEE_OTHER,
        StatusCode::TEMPORARY_REDIRECT,
        StatusCode::PERMANENT_REDIRECT,
    ];
    let head = &refusal.head;
    redirects.contains(&head.status).then(|| head.fields.get(&LOCATION)?.to_str().ok()).flatten()
}

async fn open(config: &ConnectConfig) -> Result<Connection, ConnectError> {
    let uri = &config.uri;
    // What is wrong with the options is said whatever the network does.
    let tls = uri.secure.then(|| tls::client::Client::load(&config.tls)).transpose()?;
    let (mut stream, peer) = dial::dial(config).await?;
    if let Some(tls) = tls {
        let alpn = match config.http {
            Http::Http1 => http1::ALPN,
            Http::Http2 { .. } => http2::ALPN,
        };
        stream = dial::secure(stream, &tls, &uri.host, alpn, config).await?;
    }
    let request = config.request();
    let observer = &config.observer;
    let (stream, early, opened, request) = if let Http::Http2 { send_key } = config.http {
        let options = Http2Options { secure: uri.secure, send_key };
        let (stream, opened, lines) = http2::open(&request, options, stream, observer).await?;
        (Box::new(stream) as Transport, BytesMut::new(), opened, lines)
    } else {
        let (opened, early) = http1::open(&request, &mut stream, &peer, observer).await?;
        (stream, early, opened, heads::request(&request))
    };
    let stream = if config.observe_frames { frames::observed(stream, observer, &early) } else { stream };
    let limits = WebSocketConfig::default()
        .max_message_size(Some(config.max_message_bytes))
        .max_frame_size(Some(config.max_message_bytes));
    let (response, agreement) = opened;
    let max_frame_bytes = max_frame_bytes(config.max_message_bytes, agreement);
    let frames = TransportAdapter::new(stream, early.freeze(), Role::Client, agreement, max_frame_bytes);
    let stream = WebSocketStream::from_raw_socket(frames, Role::Client, Some(limits)).await;
    Ok(Connection { stream, request, response })
}

#[cfg(test)]
mod tests;
