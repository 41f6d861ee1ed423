//! What RFC 6455 and RFC 8441 say beside the frames: the opening handshake and the close codes.
//!
//! Frames are tokio-tungstenite's; a proxy never looks at them.

pub mod close_code;
pub mod extended_connect;
pub mod opening;
