//! A client that writes the very bytes it means.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{AUTHORITY, patiently};

/// `hello` as a client's text frame, masked with zeros.
pub(crate) const HELLO: &[u8] = b"\x81\x85\0\0\0\0hello";
/// Close 1000 as a client's frame.
pub(crate) const CLOSE: &[u8] = b"\x88\x82\0\0\0\0\x03\xe8";

/// The bytes of a WebSocket handshake.
pub(crate) fn handshake() -> Vec<u8> {
    format!(
        "GET / HTTP/1.1\r\nHost: {AUTHORITY}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    .into_bytes()
}

/// Reads up to and including the empty line.
///
/// # Errors
/// The connection ends before that.
pub(crate) async fn try_read_head(stream: &mut TcpStream) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(patiently(stream.read_u8()).await?);
    }
    Ok(String::from_utf8(head).unwrap())
}

/// Reads up to and including the empty line.
pub(crate) async fn read_head(stream: &mut TcpStream) -> String {
    try_read_head(stream).await.expect("the rest of a head")
}

/// Reads to the end, which may be an error.
pub(crate) async fn try_read_all(stream: &mut TcpStream) -> (Vec<u8>, io::Result<()>) {
    let mut all = Vec::new();
    loop {
        match patiently(stream.read_buf(&mut all)).await {
            Ok(0) => return (all, Ok(())),
            Ok(_) => {}
            Err(error) => return (all, Err(error)),
        }
    }
}

/// Reads to the end.
pub(crate) async fn read_all(stream: &mut TcpStream) -> Vec<u8> {
    let (all, end) = try_read_all(stream).await;
    end.unwrap();
    all
}

/// Reads so many bytes.
pub(crate) async fn read_exactly(stream: &mut (impl AsyncRead + Unpin), length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    let mut read = 0;
    while read < length {
        match patiently(stream.read(&mut bytes[read..])).await.unwrap() {
            0 => panic!("the end after {read} bytes of {length}"),
            more => read += more,
        }
    }
    bytes
}

/// Opens a session and has `hello` echoed.
pub(crate) async fn open_session(address: SocketAddr) -> TcpStream {
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(&handshake()).await.unwrap();
    let head = read_head(&mut client).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    client.write_all(HELLO).await.unwrap();
    assert_eq!(read_exactly(&mut client, 7).await, b"\x81\x05hello");
    client
}

/// A plain request, on a connection that lives on.
pub(crate) fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: {AUTHORITY}\r\n\r\n").into_bytes()
}

/// Sends these bytes on a new connection.
pub(crate) async fn send(address: SocketAddr, bytes: impl AsRef<[u8]>) -> TcpStream {
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(bytes.as_ref()).await.unwrap();
    client
}

/// Sends these bytes on a new connection, and returns everything that comes until it ends.
pub(crate) async fn ask(address: SocketAddr, bytes: impl AsRef<[u8]>) -> String {
    String::from_utf8(read_all(&mut send(address, bytes).await).await).unwrap()
}

/// Ends a connection by RST.
pub(crate) fn reset(stream: TcpStream) {
    stream.set_zero_linger().unwrap();
    drop(stream);
}
