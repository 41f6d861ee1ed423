//! The WebSocket client.

mod connect;
mod uri;

pub use connect::{
    ConnectConfig, ConnectError, Connection, MAX_MESSAGE_BYTES, OPEN_TIMEOUT, Refusal, connect,
};
pub use uri::{UriError, UriProblem, WebSocketUri};
