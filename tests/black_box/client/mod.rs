//! `websockets-cli client` against servers that follow a script, on a terminal and in a pipe.

mod commands;
mod echo;
mod failure;
mod keepalive;
mod pipe;
mod script;
mod terminal;

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread::JoinHandle;

use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Message, WebSocket};

use crate::support::TIMEOUT;

/// The server's end of a connection.
type Peer = WebSocket<TcpStream>;

/// A server for one connection.
struct Server<T> {
    uri: String,
    address: SocketAddr,
    script: JoinHandle<T>,
}

impl<T: Send + 'static> Server<T> {
    /// Accepts a connection and follows the script on it.
    fn raw(script: impl FnOnce(TcpStream) -> T + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let address = listener.local_addr().expect("it is bound");
        let script = std::thread::spawn(move || {
            let (stream, _) = listener.accept().expect("a client comes");
            stream.set_read_timeout(Some(TIMEOUT)).expect("not zero");
            script(stream)
        });
        Self { uri: format!("ws://{address}/"), address, script }
    }

    /// Accepts a WebSocket and follows the script on it.
    fn start(script: impl FnOnce(Peer) -> T + Send + 'static) -> Self {
        Self::raw(|stream| script(tungstenite::accept(stream).expect("a WebSocket is opened")))
    }

    /// Waits for the end of the script and returns its result.
    fn result(self) -> T {
        self.script.join().expect("the script went well")
    }
}

/// Sends every message back until the connection ends. Returns the Close frame's code, if there was
/// one.
fn echo(mut peer: Peer) -> Option<CloseCode> {
    let mut code = None;
    loop {
        match peer.read() {
            Ok(message @ (Message::Text(_) | Message::Binary(_))) => {
                peer.send(message).expect("the client reads");
            }
            Ok(Message::Close(frame)) => code = frame.map(|frame| frame.code),
            Ok(_) => {}
            Err(_) => return code,
        }
    }
}

/// Closes with this code and reason, and waits for the answer.
fn close(peer: &mut Peer, code: CloseCode, reason: &str) {
    peer.close(Some(CloseFrame { code, reason: reason.into() })).expect("the client is there");
    while peer.read().is_ok() {}
}

/// Reads the next text message.
fn read_text(peer: &mut Peer) -> String {
    loop {
        if let Message::Text(text) = peer.read().expect("the client sends something") {
            return text.as_str().to_owned();
        }
    }
}
