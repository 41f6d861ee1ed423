//! `websockets-cli server --health`: asks the server that listens there, instead of being it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;

use super::{Args, ServerTlsArgs};
use crate::cli::exit;
use crate::server::health;
use crate::tls::CredentialsError;
use crate::tls::client::{Client, ClientOptions};

pub(super) fn run(args: Args) -> ExitCode {
    let address = reachable(args.listen);
    let tls = match client(args.tls) {
        Ok(tls) => tls,
        Err(error) => return exit::report(&error, None, exit::USAGE),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return exit::report(&error, None, exit::FAILED),
    };
    match runtime.block_on(health::ask(address, tls.as_ref())) {
        Ok(()) => ExitCode::from(exit::OK),
        Err(error) => exit::report(&error, None, exit::FAILED),
    }
}

/// A client of our own server: it need not verify whom it asks, and shows the server's certificate
/// where one is asked for.
fn client(tls: ServerTlsArgs) -> Result<Option<Client>, CredentialsError> {
    let Some(certificate) = tls.cert else { return Ok(None) };
    let options =
        ClientOptions { certificate: Some(certificate), key: tls.key, insecure: true, ..Default::default() };
    Client::load(&options).map(Some)
}

/// Where a server that listens there can be reached: on all addresses is on the loopback one too.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_on_all_addresses_is_asked_on_the_loopback_one() {
        for (listen, expected) in [
            ("0.0.0.0:80", "127.0.0.1:80"),
            ("[::]:80", "[::1]:80"),
            ("127.0.0.2:80", "127.0.0.2:80"),
            ("[::1]:80", "[::1]:80"),
        ] {
            let address = reachable(listen.parse().expect("an address"));
            assert_eq!(address.to_string(), expected, "{listen}");
        }
    }
}
