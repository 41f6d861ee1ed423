//! The way to the server: a name becomes addresses, an address a connection; a proxy may stand in
//! between.

use std::io;
use std::net::SocketAddr;
use std::path::Path;

use tokio::net::UnixStream;

use super::ConnectConfig;
use super::endpoint::{Endpoint, HostPort, Peer};
use super::error::ConnectError;
use super::event::ConnectEvent;
use super::proxy::{self, ProxyChoice};
use crate::net::{self, Transport};
use crate::tls;

/// Dials what `config` says: the bytes that are sent there go to the server.
pub(super) async fn dial(config: &ConnectConfig) -> Result<(Transport, Peer), ConnectError> {
    let uri = &config.uri;
    let place = match &config.endpoint {
        Endpoint::Unix(path) => return dial_unix(path, config).await,
        Endpoint::Tcp(place) => place.clone(),
        Endpoint::Uri => HostPort { host: uri.host.clone(), port: uri.port },
    };
    // `--connect-to` and `--unix` name the way themselves, so no proxy is asked.
    let choice = match (&config.proxy, &config.endpoint) {
        (ProxyChoice::Environment, Endpoint::Tcp(_)) => &ProxyChoice::Direct,
        (choice, _) => choice,
    };
    let Some(proxy) = choice.proxy(uri)? else { return dial_tcp(&place, config).await };
    let unreachable =
        |source| ConnectError::ProxyUnreachable { proxy: proxy.to_string(), source: Box::new(source) };
    let (mut stream, peer) = dial_tcp(&proxy.place, config).await.map_err(unreachable)?;
    if proxy.secure {
        // `--servername` is for the server's certificate, not for the proxy's.
        let options = tls::client::ClientOptions { server_name: None, ..config.tls.clone() };
        let secured = secure(
            stream,
            &tls::client::Client::load(&options)?,
            &proxy.place.host,
            super::http1::ALPN,
            config,
        )
        .await;
        stream = secured.map_err(|error| match error {
            ConnectError::Tls(_) => unreachable(error),
            other => other,
        })?;
    }
    let stream = proxy::connect(&proxy, &place, stream, &peer, &config.observer).await?;
    Ok((stream, peer))
}

/// Puts TLS on a connection.
pub(super) async fn secure(
    stream: Transport,
    tls: &tls::client::Client,
    host: &str,
    alpn: &str,
    config: &ConnectConfig,
) -> Result<Transport, ConnectError> {
    let (stream, facts) = tls.connect(stream, host, &[alpn]).await?;
    config.observer.notice(&ConnectEvent::Tls(&facts));
    Ok(Box::new(stream))
}

async fn dial_unix(path: &Path, config: &ConnectConfig) -> Result<(Transport, Peer), ConnectError> {
    let refused = |source| ConnectError::Unix { path: path.to_owned(), source };
    let stream = UnixStream::connect(path).await.map_err(refused)?;
    let peer = Peer::Unix(path.to_owned());
    config.observer.notice(&ConnectEvent::Connected { peer: &peer, local: None });
    Ok((Box::new(stream), peer))
}

/// Dials the addresses of a host one after the other.
async fn dial_tcp(place: &HostPort, config: &ConnectConfig) -> Result<(Transport, Peer), ConnectError> {
    let unresolved = |source| ConnectError::Resolve { host: place.host.clone(), source };
    let found = tokio::net::lookup_host((place.host.as_str(), place.port)).await.map_err(unresolved)?;
    let addresses: Vec<SocketAddr> = found.collect();
    config.observer.notice(&ConnectEvent::Resolved { host: &place.host, addresses: &addresses });
    let nothing = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    let mut outcome = Err(unresolved(nothing));
    for address in addresses {
        match net::connect(address, config.source, config.timeout).await {
            Ok(socket) => {
                let peer = Peer::Tcp(address);
                let local = socket.local_addr().ok();
                config.observer.notice(&ConnectEvent::Connected { peer: &peer, local });
                return Ok((Box::new(socket), peer));
            }
            Err(error) => {
                config.observer.notice(&ConnectEvent::Unreachable(&error));
                outcome = Err(error.into());
            }
        }
    }
    outcome
}
