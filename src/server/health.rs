//! The other side of `/healthz`: asks a server, as a container runtime does that has nothing but
//! the server's own program.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, HOST};
use http::{HeaderValue, Request, StatusCode};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::tls::client::{self, Client};

/// How long the answer may take. A healthy server needs milliseconds, and a container runtime kills
/// the question after 30 s.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Why a server is not healthy.
#[derive(Debug, thiserror::Error)]
pub enum Unhealthy {
    /// The connection was refused, or it broke.
    #[error("no connection to {address}: {error}")]
    Connection {
        /// Where the server was asked.
        address: SocketAddr,
        /// What the system says.
        error: io::Error,
    },
    /// The port does not speak TLS, or refuses us.
    #[error(transparent)]
    Tls(#[from] client::ConnectError),
    /// No HTTP response came.
    #[error("no answer to GET /healthz: {0}")]
    Http(#[from] hyper::Error),
    /// A response came, with another status than 200.
    #[error("GET /healthz was answered with {0}")]
    Status(StatusCode),
    /// It took too long.
    #[error("no answer to GET /healthz within {} s", TIMEOUT.as_secs())]
    TimedOut,
}

/// Asks the server at this address, over TLS if that is given, whether it is healthy.
///
/// # Errors
/// [`Unhealthy`] if it is not.
pub async fn ask(address: SocketAddr, tls: Option<&Client>) -> Result<(), Unhealthy> {
    timeout(TIMEOUT, async {
        let connecting = TcpStream::connect(address).await;
        let stream = connecting.map_err(|error| Unhealthy::Connection { address, error })?;
        match tls {
            None => get(stream, address).await,
            Some(tls) => {
                let host = address.ip().to_string();
                get(tls.connect(stream, &host, &["http/1.1"]).await?.0, address).await
            }
        }
    })
    .await
    .unwrap_or(Err(Unhealthy::TimedOut))
}

async fn get<T>(stream: T, address: SocketAddr) -> Result<(), Unhealthy>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let mut request = Request::new(Empty::<Bytes>::new());
    *request.uri_mut() = http::Uri::from_static("/healthz");
    let host = HeaderValue::try_from(address.to_string()).expect("an address has no control characters");
    request.headers_mut().insert(HOST, host);
    request.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let answer = sender.send_request(request);
    tokio::pin!(connection, answer);
    // The connection is driven beside its one request, and dropped with the answer.
    let response = tokio::select! {
        response = &mut answer => response?,
        ended = connection => {
            ended?;
            answer.await?
        }
    };
    match response.status() {
        StatusCode::OK => Ok(()),
        status => Err(Unhealthy::Status(status)),
    }
}
