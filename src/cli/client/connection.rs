//! Options of the client about how the connection is opened.

use std::net::SocketAddr;

use http::{HeaderName, HeaderValue};

use crate::client::{ConnectConfig, WebSocketUri};
use crate::websocket::opening::client::is_handshake_field;

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Connection")]
pub(super) struct ConnectionArgs {
    /// Add a header to the request (repeatable); Host and User-Agent take the place of the built-in ones.
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = parse_header)]
    headers: Vec<(HeaderName, HeaderValue)>,

    /// Connect to this address instead of the URI's host and port; the Host header stays the URI's.
    #[arg(long, value_name = "IP:PORT")]
    connect_to: Option<SocketAddr>,

    /// Do not offer compression (permessage-deflate) to the server.
    #[arg(long)]
    no_compression: bool,
}

impl ConnectionArgs {
    pub(super) fn config(self, uri: WebSocketUri) -> ConnectConfig {
        let mut config = ConnectConfig::new(uri);
        config.address = self.connect_to;
        config.compression = !self.no_compression;
        config.fields = self.headers.into_iter().collect();
        config
    }
}

fn parse_header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text.split_once(':').ok_or("a header is NAME: VALUE")?;
    let name: HeaderName = name.trim().parse().map_err(|error| format!("{error}"))?;
    if is_handshake_field(&name) {
        return Err(format!("{name} belongs to the opening handshake"));
    }
    let value = value.trim().parse().map_err(|error| format!("{error}"))?;
    Ok((name, value))
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
        assert!(parse_header("X: a\nb").is_err());
    }
}
