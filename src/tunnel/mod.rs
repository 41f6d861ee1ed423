//! One HTTP/2 connection that carries many streams, WebSocket sessions by extended CONNECT (RFC 8441) among them.
//!
//! The home of `h2`. What is ours: backpressure by the bytes that really went out, resets that lose no data queued
//! before them, and an opening ([`Settings`]) that is Envoy's to the byte. Which requests exist and what becomes of
//! them is the sidecar's business.

mod arrivals;
mod byte_stream;
mod client;
pub mod frame_header;
mod held;
mod incoming;
mod outgoing;
mod peer_settings;
mod server;
mod settings;
mod stream;
mod stream_window;
mod trailers;
mod wire;
mod written;

pub use byte_stream::ByteStream;
pub use client::{AwaitedResponse, Client, connect};
pub use h2::Reason;
pub use peer_settings::{Opening, PeerSettings, noted};
pub use server::{Respond, Server};
pub use settings::Settings;
pub use stream::{Stream, StreamError};
