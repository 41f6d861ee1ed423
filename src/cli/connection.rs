//! How a connection is opened, as options: of the client and of `probe`.

use std::path::PathBuf;
use std::time::Duration;

use http::header::SEC_WEBSOCKET_PROTOCOL;
use http::{HeaderName, HeaderValue};

use super::duration;
use crate::client::{ConnectConfig, Endpoint, HostPort, Http, Proxy, ProxyChoice, WebSocketUri};
use crate::tls::client::ClientOptions;
use crate::websocket::opening::client::is_handshake_field;

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Connection")]
pub(super) struct ConnectionArgs {
    /// Add a header to the request (repeatable); Host and User-Agent take the place of the built-in
    /// ones.
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = parse_header)]
    headers: Vec<(HeaderName, HeaderValue)>,

    /// Offer a subprotocol (repeatable, the preferred one first).
    #[arg(long, value_name = "NAME", value_parser = parse_token)]
    subprotocol: Vec<String>,

    /// Do not offer compression (permessage-deflate) to the server.
    #[arg(long)]
    no_compression: bool,

    /// Send this Origin header.
    #[arg(long, value_name = "ORIGIN")]
    origin: Option<HeaderValue>,

    /// Send Basic authentication, as `ws://NAME:PASSWORD@HOST` does.
    #[arg(long, value_name = "NAME:PASSWORD", value_parser = parse_user)]
    user: Option<(String, String)>,

    /// Connect to this address instead of the URI's host and port; the Host header stays the URI's.
    #[arg(long, value_name = "HOST:PORT")]
    connect_to: Option<HostPort>,

    /// Connect to this Unix socket; the Host header stays the URI's.
    #[arg(long, value_name = "PATH", conflicts_with_all = ["connect_to", "proxy"])]
    unix: Option<PathBuf>,

    /// Ask this HTTP proxy for the connection (CONNECT), instead of the one that the environment
    /// names: `WS_PROXY` or `WSS_PROXY`, `HTTPS_PROXY`, `HTTP_PROXY` (for ws://), `ALL_PROXY`,
    /// unless `NO_PROXY` lists the host.
    #[arg(long, value_name = "http[s]://[NAME:PASSWORD@]HOST:PORT")]
    proxy: Option<Proxy>,

    /// Ask no proxy, whatever the environment says.
    #[arg(long, conflicts_with = "proxy")]
    no_proxy: bool,

    /// How long opening may take in all.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration::parse)]
    open_timeout: Duration,

    #[command(flatten)]
    tls: ClientTlsArgs,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "TLS (wss://)")]
struct ClientTlsArgs {
    /// Trust the CA certificates of this PEM file instead of the system's.
    #[arg(long, value_name = "FILE")]
    cacert: Option<PathBuf>,

    /// Present this certificate, in PEM, to a server that asks for one.
    #[arg(long, value_name = "FILE")]
    cert: Option<PathBuf>,

    /// The private key of --cert, where that file does not hold it.
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,

    /// Trust whoever answers.
    #[arg(short = 'k', long)]
    insecure: bool,

    /// Ask for this server name (SNI) and verify it, instead of the URI's host.
    #[arg(long, value_name = "NAME")]
    servername: Option<String>,
}

/// Which version of HTTP the client speaks; `probe` tries both.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Connection")]
pub(super) struct HttpArgs {
    /// Open the WebSocket over HTTP/2, as an extended CONNECT (RFC 8441): by ALPN with wss://, with
    /// prior knowledge with ws://.
    #[arg(long)]
    http2: bool,

    /// With --http2, send sec-websocket-key all the same: Envoy passes it on to servers that speak
    /// HTTP/1.1 and need one.
    #[arg(long, requires = "http2")]
    send_key: bool,
}

impl HttpArgs {
    pub(super) fn http(&self) -> Http {
        if self.http2 { Http::Http2 { send_key: self.send_key } } else { Http::Http1 }
    }
}

impl ConnectionArgs {
    pub(super) fn config(self, uri: WebSocketUri) -> ConnectConfig {
        ConnectConfig {
            endpoint: match (self.connect_to, self.unix) {
                (_, Some(path)) => Endpoint::Unix(path),
                (Some(place), None) => Endpoint::Tcp(place),
                (None, None) => Endpoint::Uri,
            },
            proxy: match self.proxy {
                Some(proxy) => ProxyChoice::Explicit(proxy),
                None if self.no_proxy => ProxyChoice::Direct,
                None => ProxyChoice::Environment,
            },
            tls: ClientOptions {
                ca: self.tls.cacert,
                certificate: self.tls.cert,
                key: self.tls.key,
                insecure: self.tls.insecure,
                server_name: self.tls.servername,
            },
            origin: self.origin,
            user: self.user,
            subprotocols: self.subprotocol,
            compression: !self.no_compression,
            fields: self.headers.into_iter().collect(),
            timeout: self.open_timeout,
            ..ConnectConfig::new(uri)
        }
    }
}

fn parse_header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text.split_once(':').ok_or("a header is NAME: VALUE")?;
    let name: HeaderName = name.trim().parse().map_err(|error| format!("{error}"))?;
    if is_handshake_field(&name) {
        return Err(format!("{name} belongs to the opening handshake"));
    }
    if name == SEC_WEBSOCKET_PROTOCOL {
        return Err("subprotocols are offered with --subprotocol".to_owned());
    }
    let value = value.trim().parse().map_err(|error| format!("{error}"))?;
    Ok((name, value))
}

/// A subprotocol's name is a token (RFC 6455 section 4.1), as a header's is.
pub(super) fn parse_token(text: &str) -> Result<String, String> {
    let is_token = HeaderName::from_bytes(text.as_bytes()).is_ok();
    if is_token { Ok(text.to_owned()) } else { Err("not a token (RFC 9110 section 5.6.2)".to_owned()) }
}

fn parse_user(text: &str) -> Result<(String, String), String> {
    let (name, password) = text.split_once(':').ok_or("credentials are NAME:PASSWORD")?;
    Ok((name.to_owned(), password.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_a_name_and_a_value() {
        let (name, value) = parse_header("X-Request-Id:  a: b ").unwrap();
        assert_eq!((name.as_str(), value.to_str().unwrap()), ("x-request-id", "a: b"));
        assert!(parse_header("no colon").is_err());
        assert!(parse_header("Sec-WebSocket-Key: x").unwrap_err().contains("opening handshake"));
        assert!(parse_header("Sec-WebSocket-Protocol: x").unwrap_err().contains("--subprotocol"));
        assert!(parse_header("X: a\nb").is_err());
    }

    #[test]
    fn credentials_and_subprotocols_have_a_form() {
        assert_eq!(parse_user("me:se:cret").unwrap(), ("me".to_owned(), "se:cret".to_owned()));
        assert!(parse_user("me").is_err());
        assert_eq!(parse_token("graphql-ws").unwrap(), "graphql-ws");
        assert!(parse_token("a, b").is_err());
    }
}
