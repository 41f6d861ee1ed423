//! One HTTP/2 connection that carries many streams, WebSocket sessions by extended CONNECT (RFC
//! 8441) among them.
//!
//! The home of `h2`. What is ours: backpressure by the bytes that really went out, memory that is
//! bounded while a reader stalls, resets that lose no data queued before them, and an opening
//! ([`Settings`]) that is Envoy's to the byte. How that is done beneath `h2` is drawn in `wire`.
//! Which requests exist and what becomes of them is the sidecar's business.

mod byte_stream;
mod client;
mod server;
mod settings;
mod stream;
mod wire;

pub use byte_stream::ByteStream;
pub use client::{AwaitedResponse, Client, connect};
pub use h2::Reason;
pub use server::{Respond, Server};
pub use settings::Settings;
pub use stream::{Stream, StreamError};
pub use wire::frame_header;
pub use wire::{PeekedSettings, PeerSettings, peek_settings};

/// Whether a connection that begins with these bytes is HTTP/2 with prior knowledge (RFC 9113
/// section 3.3). `None`: they are too few to tell.
#[must_use]
pub fn is_http2(first: &[u8]) -> Option<bool> {
    if first.starts_with(frame_header::PREFACE) {
        Some(true)
    } else if frame_header::PREFACE.starts_with(first) {
        None
    } else {
        Some(false)
    }
}
