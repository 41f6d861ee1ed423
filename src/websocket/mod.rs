//! What RFC 6455, RFC 7692 and RFC 8441 say beside the frames themselves: the opening handshake,
//! the close codes, and the compression of messages.
//!
//! Frames are tokio-tungstenite's; [`TransportAdapter`] is the byte stream that it is given. A
//! proxy never looks at them.

pub mod close_code;
pub mod deflate;
pub mod extended_connect;
pub mod frame_header;
pub mod opening;
mod transport_adapter;
mod utf8_splitter;

pub use transport_adapter::{TransportAdapter, max_frame_bytes};
