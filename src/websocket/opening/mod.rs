//! The opening handshake (RFC 6455 section 4), as plain functions on heads: what a client asks,
//! what a server answers.
//!
//! tungstenite's own handshake loses frames that come in the same packet, has no deadline and
//! answers a refused request with nothing; so only its key functions are used.

pub mod client;
pub mod server;
