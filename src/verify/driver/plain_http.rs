//! One plain HTTP/1.1 request on a connection of its own (RFC 9112), by hyper's client.

use std::net::SocketAddr;

use bytes::Bytes;
use http::header::HOST;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::verify::scenario::Request;

/// The longest body that is taken.
const MAX_BODY_BYTES: usize = 16 * 1024 * 1024;

/// Sends the request and takes the whole answer: its status and its body.
///
/// # Errors
/// In words.
pub(super) async fn exchange(
    address: SocketAddr,
    authority: &str,
    request: &Request,
) -> Result<(u16, Bytes), String> {
    let mut head = hyper::Request::builder()
        .method(request.method.0.clone())
        .uri(&request.path)
        .header(HOST, request.host.as_deref().unwrap_or(authority));
    for (name, value) in request.headers.0.iter() {
        head = head.header(name, value);
    }
    let message = head.body(Full::new(Bytes::from(request.body.clone()))).map_err(said)?;
    let socket = TcpStream::connect(address).await.map_err(said)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(socket)).await.map_err(said)?;
    let answer = async {
        let response = sender.send_request(message).await.map_err(said)?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), MAX_BODY_BYTES).collect().await;
        Ok((status, body.map_err(|error| error.to_string())?.to_bytes()))
    };
    // The connection is driven beside, and dropped with the answer.
    tokio::pin!(connection);
    tokio::select! {
        answer = answer => answer,
        ended = async { (&mut connection).await } => {
            Err(ended.map_or_else(said, |()| "the end of the connection".to_owned()))
        }
    }
}

fn said(error: impl std::error::Error) -> String {
    error.to_string()
}
